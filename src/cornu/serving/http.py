"""What the servers of Cornu share: where they listen, whom they refuse, how they read what is sent."""

import asyncio
import contextlib
import ctypes
import ipaddress
import re
import socket
import struct
import sys

import h11
import uvicorn
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol


class Refused(Exception):
    """A request that is not answered: the status, the reason, and when to try again, in seconds."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None):
        super().__init__(reason)
        self.status = status
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError with the address if it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends what is small at once (TCP_NODELAY) only on sockets whose protocol is named; else an
    # answer waits 40 ms for the acknowledgement of its header.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        # Where two begin at once, it is this that the later one cannot.
        listening.listen(128)
    except OSError as error:
        listening.close()
        where = f"{host}, port {port}" if port else host
        refused = OSError(
            f"Cannot listen on {where}: {error.strerror}. Choose another host or port."
        )
        refused.errno = error.errno
        raise refused from error
    return listening


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def own_address() -> str:
    """This machine's address in its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent; this only finds the local address.
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def named_by(host: str) -> tuple[str, int | None] | None:
    """The name and the port of a `Host` header; None if it is none."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?", host)
    return found and (found[1].strip("[]").lower(), int(found[2]) if found[2] else None)


class Bodies:
    """Reads the bodies of requests, within limits of one and of all.

    Args:
        most: bytes of a body.
        most_held: bytes of all bodies that are held at once.
        seconds: in which a body must arrive.
    """

    def __init__(self, most: int, most_held: int, seconds: float):
        self.most, self.most_held, self.seconds = most, most_held, seconds
        self.held = 0

    async def read(self, request: Request, most: int | None = None) -> bytes:
        """The body; `release` gives its bytes back. Raises Refused."""
        most = self.most if most is None else most
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            raise Refused(413, f"At most {most:,} bytes are taken.")
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.seconds):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        raise Refused(413, f"At most {most:,} bytes are taken.")
                    parts.append(part)
                    self.held += len(part)
                    request.state.held += len(part)
                    if self.held > self.most_held:
                        raise Refused(503, "Too much is sent at once. Try again in a moment.", 1)
        except TimeoutError:
            raise Refused(408, f"It took more than {self.seconds:g} seconds to arrive.") from None
        return b"".join(parts)

    def release(self, request: Request) -> None:
        self.held -= request.state.held
        request.state.held = 0


class Connection(H11Protocol):
    """A connection that is closed if its client stalls: sends no whole header, or does not read its answer.

    uvicorn has limits for neither, so that a few hundred idle clients would lock out all others. Nor has it
    one for the chunks of a body, each of which takes as long as a thousand bytes: four clients that send
    byte by byte would do the same.
    """

    # Between looks, and how long a client may take; and how long an idle one has when the server stops.
    looks, patience, linger = 2.0, 15.0, 0.5
    # Chunks of a body, from which on their mean size matters, and what that must be.
    few_chunks, least_chunk = 1000, 16

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._since, self._unread, self._last = self.loop.time(), 0, self.cycle
        self._look_again = self.loop.call_later(self.looks, self._look)
        self._chunks = self._chunked = 0
        self._parsed, self.conn.next_event = self.conn.next_event, self._next_event

    def _next_event(self):
        event = self._parsed()
        if isinstance(event, h11.Request):
            self._chunks = self._chunked = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._chunked += len(event.data)
            if self._chunks > max(self.few_chunks, self._chunked / self.least_chunk):
                # What uvicorn answers with 400, and closes.
                raise h11.RemoteProtocolError("The chunks of the body are too small.")
        return event

    def connection_lost(self, error) -> None:
        self._look_again.cancel()
        super().connection_lost(error)

    def shutdown(self) -> None:
        """The server stops: who waits is answered, and who is just sending a request may do so."""
        if self._is_idle:
            self.loop.call_later(self.linger, self._close)
        else:
            super().shutdown()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close(self) -> None:
        if self._is_idle and not self.transport.is_closing():
            super().shutdown()

    def _look(self) -> None:
        now = self.loop.time()
        unread = self.transport.get_write_buffer_size()
        # Bytes that wait for the client, and grew no fewer since the last look.
        stalls = unread >= self._unread > 0
        # Since the last look there was a request, perhaps a short one.
        is_another = self.cycle is not self._last
        if is_another or (not self._is_idle and not unread) or (unread and not stalls):
            self._since = now
        self._unread, self._last = unread, self.cycle
        if now - self._since > self.patience:
            self.transport.abort()
            return
        self._look_again = self.loop.call_later(self.looks, self._look)


class Uvicorn(uvicorn.Server):
    """uvicorn resets the connections that wait to be accepted when it stops. Here they are served."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        waiting: list[socket.socket] = []
        for listening in sockets or []:
            _let_in_nobody(listening)
            listening.setblocking(False)
            with contextlib.suppress(OSError):
                while True:
                    waiting.append(listening.accept()[0])
        begun = [asyncio.ensure_future(self._serve_accepted(each)) for each in waiting]
        # Not one instruction of the loop's lies between the last `accept` and this closing the socket.
        await super().shutdown(sockets)
        await asyncio.gather(*begun, return_exceptions=True)

    async def _serve_accepted(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        _, connection = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Connection(self.config, self.server_state, self.lifespan.state),
            accepted,
            ssl=self.config.ssl,
        )
        connection.shutdown()


def _let_in_nobody(listening: socket.socket) -> None:
    """Let the system drop what asks for a connection from now on; when the socket is closed, it refuses."""
    if not sys.platform.startswith("linux"):
        return
    # A program of the Berkeley packet filter: return 0, which passes no byte on.
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", 1, ctypes.addressof(program)))
