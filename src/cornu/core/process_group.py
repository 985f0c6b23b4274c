"""What the processes of one training say to each other beside JAX: what they do, and why they end.

XLA's collectives wait for each other without a limit, and know nothing of scripts. So each process keeps a
connection to process 0 (`distribution.initialize` makes it), and a thread that listens. It ends the process
as soon as another one has failed: whoever goes on alone would wait forever.
"""

import builtins
import contextlib
import json
import math
import os
import selectors
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

from cornu.core.connection import Connection

# Seconds that a process may still be in a call that another one has left, or will never make; and in one
# that the other has made to its end: it may be slow, or compile.
GRACE, LATE = 10, 300
# Seconds after which process 0 says for whom all wait.
PATIENCE = 60
# Seconds between two signs of life, and after which process 0 says that one is missed.
BEAT, SILENCE = 3, 12
# The variable that has the pid of who has started the processes on this machine, and what they tell it.
PARENT, HAVE_MET = "CORNU_PROCESSES_PARENT", "cornu: the processes have met"
_OURS = os.path.dirname(os.path.dirname(__file__))


class Member(NamedTuple):
    """One of the processes."""

    number: int
    host: str
    pid: int

    def __str__(self):
        return f"Process {self.number} (host {self.host}, pid {self.pid})"


class Group:
    """All processes, as one of them sees them.

    Args:
        number: that of this process.
        members: all of them.
        connections: in process 0 those to all others, by their numbers; elsewhere that to process 0.
    """

    def __init__(self, number: int, members: list[Member], connections: dict[int, Connection]):
        self.number, self.members = number, members
        self._connections = connections
        # Notified of whatever changes below.
        self._news = threading.Condition(threading.RLock())
        self._round = 0
        self._answers: dict[int, dict] = {}
        # In process 0: what each process has asked, by round.
        self._asked: dict[int, dict[int, dict]] = {}
        self._asked_since: dict[int, float] = {}
        # The call that this process is in, and how many there were.
        self._in_call: list[str] = []
        self._calls = 0
        # What has ended the last one, if the script ends for it.
        self._exit: SystemExit | None = None
        # Whether that call is one of these, or this process waits between them, as for a file.
        self._is_counted = False
        # When another process has left a call early or has ended its script: from which call to which, and
        # until when, this one may stay.
        self._limits: list[tuple[int, float, float, str]] = []
        self._finished: set[int] = set()
        self._all_finished = False
        self._failed, self._has_said_why, self._status = False, False, 1
        self._reason: str | None = None
        # The signal that this process has got, and the one that all have stopped for.
        self._signal: str | None = None
        self._stop: str | None = None
        # How many times process 0 has written each file, and what went wrong the last time.
        self._written: dict[str, tuple[int, list | None]] = {}
        self._awaited: dict[str, int] = {}
        # When each process was last heard of; in others than process 0, when that last heard of this one.
        self._heard_of = dict.fromkeys(connections, time.monotonic())
        self._said_alive = time.monotonic()
        # Whoever started it on this machine, and has to watch it.
        self._parent = os.environ.get(PARENT)
        if self._parent:
            print(HAVE_MET, file=sys.stderr, flush=True)
        self.pid = os.getpid()
        threading.Thread(target=self._listen, daemon=True, name="cornu processes").start()
        if hasattr(os, "register_at_fork"):
            # A child that lives on would keep the connections open.
            os.register_at_fork(after_in_child=self._close)

    def _close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    # What all processes do together.

    def same(self, what: str, values: dict[str, Any], hint: str = "") -> dict:
        """Compare values, in each process those of the same call, with process 0's; returns those.

        Raises ValueError in every process if they differ in one of them, with the hint at the end of its
        message, or if it is in another call.
        """
        return self._compare(self._ask(what, values), hint)

    def _compare(self, answer: dict, hint: str = "") -> dict:
        for number, (other, found) in sorted(
            answer["others"].items(), key=lambda item: int(item[0])
        ):
            if other != answer["what"]:
                raise ValueError(
                    f"Process {number} is in `{other}`, and process 0 in `{answer['what']}`. Every process "
                    "has to make the same calls in the same order: they compute together."
                )
            first = answer["value"]
            name = next(n for n in [*first, *found] if first.get(n) != found.get(n))
            raise ValueError(
                f"{answer['what']}: {name} must be the same in every process. Process {number} "
                f"({self.members[int(number)].host}) has {_short(found.get(name))}, process 0 has "
                f"{_short(first.get(name))}.{hint}"
            )
        return answer["value"]

    def first(self, what: str, value):
        """Process 0's value."""
        return self._ask(what, value)["value"]

    def common(self, what: str, values: list[dict[str, Any]], hint: str = "") -> int:
        """How many of the values, in their order, all processes have; these must be the same."""
        answer = self._ask(what, values)
        others = answer["others"]
        if any(other != answer["what"] for other, _ in others.values()):
            self._compare(answer)
        for number, (_, found) in others.items():
            pairs = zip(answer["value"], found, strict=False)
            first, other = next(pair for pair in pairs if pair[0] != pair[1])
            pair_alone = {"what": what, "value": first, "others": {number: (what, other)}}
            self._compare(pair_alone, hint)
        return answer["least"]

    def least(self, what: str, value: int) -> int:
        """The least of all processes' values."""
        return self._ask(what, value)["least"]

    def _ask(self, what: str, value) -> dict:
        with self._news:
            self._round += 1
            number = self._round
        # In process 0, too, as others read it.
        value = json.loads(json.dumps(value))
        self._tell_first({"kind": "ask", "round": number, "what": what, "value": value})
        with self._news:
            # With a limit, as some systems hear no signal in a wait without one.
            self._in_call.append(what)
            try:
                while number not in self._answers:
                    self._news.wait(0.5)
            finally:
                self._in_call.pop()
            return self._answers.pop(number)

    @contextlib.contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Within, this process makes a call that all others make, too."""
        with self._news:
            if not self._in_call:
                self._calls += 1
                self._is_counted = True
                self._exit = None
            self._in_call.append(name)
        try:
            yield
        except BaseException as error:
            if len(self._in_call) == 1:
                self._tell_first({"kind": "left", "call": self._calls, "why": describe(error)})
                self._exit = error if type(error) is SystemExit else None
            raise
        finally:
            with self._news:
                self._in_call.remove(name)
                self._is_counted = self._is_counted and bool(self._in_call)

    # Files, which process 0 writes.

    def wrote(self, path: str, error: BaseException | None) -> None:
        """Process 0 has written a file, or could not: the others need not wait for it any more."""
        why = None if error is None else [type(error).__name__, str(error)]
        self._tell_others({"kind": "written", "path": path, "why": why})

    def wait_until_written(self, path: str) -> None:
        """Wait until process 0 has written a file once more; raises the error that it had."""
        with self._news:
            self._awaited[path] = self._awaited.get(path, 0) + 1
            self._in_call.append(f"save {path}")
            try:
                while self._written.get(path, (0, None))[0] < self._awaited[path]:
                    self._news.wait(0.5)
            finally:
                self._in_call.remove(f"save {path}")
            why = self._written[path][1]
        if why is not None:
            kind = getattr(builtins, why[0], None)
            kind = (
                kind
                if isinstance(kind, type) and issubclass(kind, OSError | ValueError)
                else RuntimeError
            )
            raise kind(f"In process 0: {why[1]}")

    # Stopping after the same step everywhere.

    def stops(self, what: str, last: bool) -> bool:
        """Called between steps, as often in every process: whether one of them wants to stop.

        If that is for a signal, `stop_reason` says so afterwards.

        Args:
            last: whether this process wants no more steps, as when its `stop_training` is set.
        """
        wanted = self._ask(what, {"signal": self._signal, "last": last})["wanted"]
        if wanted.get("signal") and self._stop is None:
            self._stop = wanted["signal"]
            if self.number == 0:
                _say(f"{self._stop}: all processes stop training here.")
        return bool(wanted)

    def stop_reason(self) -> str | None:
        """Which signal has stopped all, if one has."""
        return self._stop

    def stop(self, why: str) -> None:
        """Let all processes stop after the same step, for a signal that this one has got."""
        self._signal = f"{self.members[self.number]} received {why}"

    @property
    def is_in_fit(self) -> bool:
        """Whether this process trains together with the others just now."""
        return "fit" in self._in_call

    # How a process ends.

    def say_why_first(self) -> None:
        """This process has said why it will end; the others have a second to say it themselves.

        Perhaps all have the same error, as when a terminal sends Ctrl-C.
        """
        self._has_said_why = True
        time.sleep(1)

    def fail(self, why: str, status: int = 1) -> None:
        """Tell the others that this process ends, and why. It shall end soon, with this exit status."""
        if self._failed or self._all_finished:
            return
        self._failed, self._status = True, status
        self._tell_first({"kind": "failed", "why": f"{self.members[self.number]} has ended: {why}"})
        if self.number == 0:
            # The end of process 0 is noticed by JAX's own threads, which say less.
            time.sleep(0.3)

    def reason(self, wait: float = 0) -> str | None:
        """Why another process has failed, if it has; it may take a moment until that is known."""
        with self._news:
            self._news.wait_for(lambda: self._reason is not None, wait)
            return self._reason

    def finish(self) -> None:
        """The script has ended: wait for the others' ends."""
        if os.getpid() != self.pid:
            return
        if self._exit is not None:
            # Python calls no hook for it.
            status = self._exit.code
            self.fail(describe(self._exit), status if isinstance(status, int) else bool(status))
        if self._failed:
            leave(self._status)
        self._tell_first({"kind": "finished", "calls": self._calls})
        try:
            with self._news:
                while not self._all_finished:
                    self._news.wait(0.5)
        except BaseException as error:
            self.fail(describe(error))
            leave(130)

    def _end_because(self, why: str) -> None:
        """End this process at once, from the listening thread."""
        with self._news:
            if self._all_finished:
                return
            self._reason = why
            self._news.notify_all()
        if self._failed or self._has_said_why:
            # It is on its way.
            return
        if self.number == 0:
            self._tell_others({"kind": "failed", "why": why})
            time.sleep(0.3)
        of_itself = why.startswith(f"Process {self.number} (")
        _say(why if of_itself else f"{why} So process {self.number} ends, too.")
        leave(1)

    # Messages.

    def _tell_first(self, message: dict) -> None:
        if self.number == 0:
            self._hear(0, message)
        else:
            self._connections[0].send(message)

    def _tell_others(self, message: dict) -> None:
        for connection in self._connections.values():
            connection.send(message)

    def _tell_all(self, message: dict) -> None:
        self._tell_others(message)
        self._hear(0, message)

    def _listen(self) -> None:
        chosen = selectors.DefaultSelector()
        for number, connection in self._connections.items():
            chosen.register(connection.stream, selectors.EVENT_READ, (number, connection))
        while not self._all_finished:
            for key, _ in chosen.select(timeout=0.5):
                number, connection = key.data
                try:
                    messages = connection.receive()
                except OSError:
                    chosen.unregister(connection.stream)
                    self._lost(number)
                    continue
                self._heard_of[number] = time.monotonic()
                for message in messages:
                    self._hear(number, message)
            self._look_at_the_clock()
        chosen.close()

    def _lost(self, number: int) -> None:
        # What was said before the end has been read before it.
        self._end_because(
            f"{self.members[number]} ended without a word: it was killed, as for want of memory, or its "
            "machine or network failed."
        )

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if self._parent and str(os.getppid()) != self._parent:
            self._end_because("The process that started this one is gone.")
        if self.number and now > self._said_alive + BEAT:
            self._said_alive = now
            self._tell_first({"kind": "alive"})
        for number, heard in self._heard_of.items():
            if self.number == 0 and now > heard + SILENCE:
                # JAX will end all if this goes on; its message names no host.
                self._heard_of[number] = float("inf")
                _say(f"{self.members[number]} is silent since {SILENCE} seconds. Is it stopped?")
        with self._news:
            in_call = self._in_call[0] if self._in_call else None
            number = self._calls if self._is_counted else self._calls + 1
            due = [
                why
                for first, last, limit, why in self._limits
                if in_call and now > limit and first <= number <= last
            ]
            waited = [n for n, since in self._asked_since.items() if now > since + PATIENCE]
        if due:
            why = f"{due[0]} Process {self.number} is still in `{in_call}` and waits."
            if self.number:
                self._tell_first({"kind": "failed", "why": why})
            self._end_because(why)
        for number in waited:
            with self._news:
                asked = self._asked.get(number)
                self._asked_since[number] = now
            if asked:
                missing = sorted(set(range(len(self.members))) - set(asked))
                what = next(iter(asked.values()))["what"]
                names = ", ".join(str(self.members[n]) for n in missing[:5])
                _say(f"waiting in `{what}` for: {names}")

    def _hear(self, sender: int, message: dict) -> None:
        getattr(self, f"_hear_{message['kind']}")(sender, message)

    def _hear_ask(self, sender, message) -> None:
        number = message["round"]
        with self._news:
            asked = self._asked.setdefault(number, {})
            self._asked_since.setdefault(number, time.monotonic())
            asked[sender] = message
            if len(asked) < len(self.members):
                return
            del self._asked[number], self._asked_since[number]
        own = asked[0]
        values = [each["value"] for each in asked.values()]
        counts = [len(v) if isinstance(v, list) else v for v in values]
        least = min(counts) if all(isinstance(n, int) for n in counts) else None
        # Of lists, what is in all of them.
        common = {
            n: (each["what"], v[:least] if isinstance(v := each["value"], list) else v)
            for n, each in sorted(asked.items())
        }
        others = [(n, found) for n, found in common.items() if found != common[0]]
        self._tell_all(
            {
                "kind": "answer",
                "round": number,
                "what": own["what"],
                "value": own["value"],
                "others": dict(others[:3]),
                "least": least,
                "wanted": _wanted(values),
            }
        )

    def _hear_alive(self, sender, message) -> None:
        """That is all that it says."""

    def _hear_written(self, sender, message) -> None:
        with self._news:
            times = self._written.get(message["path"], (0, None))[0]
            self._written[message["path"]] = times + 1, message["why"]
            self._news.notify_all()

    def _hear_answer(self, sender, message) -> None:
        with self._news:
            message["others"] = {int(n): found for n, found in message["others"].items()}
            self._answers[message["round"]] = message
            self._news.notify_all()

    def _hear_failed(self, sender, message) -> None:
        if self.number == 0 and self._failed:
            # It tells of itself.
            self._tell_others(message)
        else:
            self._end_because(message["why"])

    def _hear_left(self, sender, message) -> None:
        if self.number == 0:
            self._tell_others({**message, "who": sender})
        who = message.get("who", sender)
        if who != self.number:
            why = f"{self.members[who]} has left the call: {message['why']}"
            with self._news:
                call = message["call"]
                self._limits.append((call, call, time.monotonic() + GRACE, why))

    def _hear_finished(self, sender, message) -> None:
        who = message.get("who", sender)
        if self.number == 0:
            self._tell_others({**message, "who": who})
        with self._news:
            self._finished.add(who)
            if who != self.number:
                why = f"{self.members[who]} has ended its script."
                now = time.monotonic()
                self._limits.append((message["calls"] + 1, math.inf, now + GRACE, why))
                self._limits.append((0, math.inf, now + LATE, why))
            if len(self._finished) == len(self.members):
                self._all_finished = True
                self._news.notify_all()


def _wanted(values: list) -> dict:
    """What any process wants, by name."""
    named = [
        each for each in values if isinstance(each, dict) and each.keys() == {"signal", "last"}
    ]
    return {name: value for each in named for name, value in each.items() if value}


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"cornu: {text}", file=sys.stderr, flush=True)


def _short(value) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def describe(error: BaseException) -> str:
    """An error in one line, with the line of the user's that it came from."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    text = text if len(text) <= 500 else f"{text[:500]}…"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_OURS, "<")) and "site-packages" not in frame.filename
    ]
    if frames:
        text += f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"
    return text if text.endswith(".") else f"{text}."


def leave(status: int) -> None:
    """End the process, without JAX's wait for the others."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)
