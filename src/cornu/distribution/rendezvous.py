"""Where processes meet before JAX connects them: whoever does not fit is told so, and so are all others.

JAX ends a process with a stack trace of C++ if the coordinator cannot be reached, if a process is missing,
or if two have the same number. So the processes meet first, at the same address, and compare what they are.
"""

import contextlib
import os
import selectors
import socket
import sys
import time

from cornu.core.connection import Connection
from cornu.core.process_group import Group, Member

# Seconds after which a process says for what it waits.
_PATIENCE = 10
# Seconds that process 0 waits, after it has seen that the processes do not fit, to tell late ones.
_TELLING = 3
_GREETING = "cornu processes 1"


def meet(address: str, hello: dict, timeout: float) -> Group:
    """Meet all other processes at process 0's address.

    Args:
        address: `"host:port"`.
        hello: what this process says of itself: `process`, `processes`, `host`, `pid`, and what must be the
            same in all of them.
        timeout: seconds to wait for the others.

    Raises TimeoutError if not all come, ValueError if they do not fit together, OSError if the address
    cannot be used; in every process that can be reached.
    """
    host, _, port = address.rpartition(":")
    hello = {"kind": "hello", "greeting": _GREETING, **hello}
    deadline = time.monotonic() + timeout
    if hello["process"] == 0:
        return _wait_for_others(host, int(port), hello, deadline, timeout)
    return _go_to_first(host.strip("[]"), int(port), hello, deadline, timeout)


class _Notices:
    """Says from time to time what is waited for."""

    def __init__(self):
        self._next = time.monotonic() + _PATIENCE

    def say(self, text: str) -> None:
        if time.monotonic() > self._next:
            self._next = time.monotonic() + 3 * _PATIENCE
            print(f"cornu: {text}", file=sys.stderr, flush=True)


def _wait_for_others(host, port, hello, deadline, timeout) -> Group:
    try:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        listener = socket.create_server(
            ("", port), family=family, dualstack_ipv6=both, backlog=hello["processes"]
        )
    except OSError as error:
        raise OSError(
            error.errno,
            f"Process 0 cannot listen at port {port}: {os.strerror(error.errno or 0)}. Choose another port "
            "for the coordinator's address, in every process",
        ) from error
    chosen, notices = selectors.DefaultSelector(), _Notices()
    chosen.register(listener, selectors.EVENT_READ, None)
    found: dict[int, tuple[dict, Connection | None]] = {0: (hello, None)}
    opened: list[Connection] = []
    problem: ValueError | None = None
    try:
        while len(found) < hello["processes"]:
            missing = sorted(set(range(hello["processes"])) - set(found))
            who = ", ".join(map(str, missing[:10])) + (" …" if len(missing) > 10 else "")
            notices.say(f"process 0 waits at {host}:{port} for process {who}")
            rest = deadline - time.monotonic()
            if rest <= 0 and problem is not None:
                break
            if rest <= 0:
                raise TimeoutError(
                    f"Of {hello['processes']} processes, {len(missing)} did not come to {host}:{port} "
                    f"within {timeout:g} seconds: process {who}. Were they started, with this address and "
                    "these numbers?"
                )
            for key, _ in chosen.select(min(rest, 1)):
                if key.data is None:
                    stream, _ = listener.accept()
                    opened.append(Connection(stream))
                    chosen.register(stream, selectors.EVENT_READ, opened[-1])
                    continue
                try:
                    messages = key.data.receive()
                except OSError:
                    # It is gone again; or it is none of ours.
                    chosen.unregister(key.fileobj)
                    key.data.close()
                    found = {n: pair for n, pair in found.items() if pair[1] is not key.data}
                    continue
                for message in messages:
                    if message.get("greeting") != _GREETING:
                        continue
                    try:
                        _check(hello, message, found)
                    except ValueError as error:
                        problem = problem or error
                        deadline = min(deadline, time.monotonic() + _TELLING)
                    found.setdefault(message["process"], (message, key.data))
        if problem is not None:
            raise problem
    except BaseException as error:
        for connection in opened:
            connection.send({"kind": "refused", "why": str(error), "type": type(error).__name__})
            with contextlib.suppress(OSError):
                connection.stream.shutdown(socket.SHUT_WR)
            connection.close()
        raise
    finally:
        chosen.close()
        # JAX listens here next.
        listener.close()
    members = [Member(n, found[n][0]["host"], found[n][0]["pid"]) for n in sorted(found)]
    connections = {n: pair[1] for n, pair in found.items() if pair[1] is not None}
    for connection in opened:
        if connection not in connections.values():
            connection.close()
    for connection in connections.values():
        connection.send({"kind": "welcome", "members": members})
    return Group(0, members, connections)


def _check(first: dict, other: dict, found: dict) -> None:
    number, where = other["process"], f"{other['host']}, pid {other['pid']}"
    if other["processes"] != first["processes"]:
        raise ValueError(
            f"The processes do not agree on how many they are: process 0 ({first['host']}) was told "
            f"{first['processes']}, process {number} ({where}) {other['processes']}."
        )
    if number in found:
        known = found[number][0]
        raise ValueError(
            f"Two processes have the number {number}: one of {known['host']}, pid {known['pid']}, and one "
            f"of {where}. Each needs a number of its own, from 0 to {first['processes'] - 1}."
        )
    for name, value in first["same"].items():
        if other["same"].get(name) != value:
            raise ValueError(
                f"Every process needs the same {name}. Process 0 ({first['host']}) has {value}, process "
                f"{number} ({where}) has {other['same'].get(name)}."
            )


def _go_to_first(host, port, hello, deadline, timeout) -> Group:
    notices, problem = _Notices(), "nobody answered"
    number = hello["process"]
    while True:
        rest = deadline - time.monotonic()
        if rest <= 0:
            raise TimeoutError(
                f"Process {number} cannot reach the coordinator, process 0, at {host}:{port}: {problem}. "
                f"It has tried for {timeout:g} seconds. Is process 0 running there, and is the port open?"
            )
        try:
            stream = socket.create_connection((host, port), timeout=min(rest, 5))
        except OSError as error:
            problem = error.strerror or str(error)
            notices.say(f"process {number} tries to reach process 0 at {host}:{port}: {problem}")
            time.sleep(min(0.3, rest))
            continue
        answer = None
        connection = Connection(stream)
        connection.send(hello)
        while answer is None and time.monotonic() < deadline + 5:
            stream.settimeout(1)
            notices.say(f"process {number} has reached process 0, and waits for the others")
            try:
                answer = next(iter(connection.receive()), None)
            except TimeoutError:
                continue
            except OSError as error:
                # As of process 0 that ended, or of a port that has just been closed.
                problem = f"the connection ended ({error.strerror or error})"
                break
        if answer is None:
            connection.close()
            time.sleep(0.3)
            continue
        if answer.get("kind") == "welcome":
            stream.settimeout(None)
            members = [Member(*member) for member in answer["members"]]
            return Group(number, members, {0: connection})
        connection.close()
        kind = {"TimeoutError": TimeoutError, "ValueError": ValueError}.get(
            str(answer.get("type")), OSError
        )
        raise kind(str(answer.get("why")))
