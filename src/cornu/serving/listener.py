"""uvicorn in a thread, on a socket of its own, with what it lacks: limits, and a stop that loses nobody."""

import asyncio
import contextlib
import ctypes
import socket
import struct
import sys
import threading

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol


class Listener:
    """Answers on a socket, by an application, in a thread of its own.

    Args:
        application: of ASGI.
        listening: the socket.
        name: of the thread.
        server: what serves.
        options: of uvicorn, besides those that all have.
    """

    def __init__(
        self,
        application,
        listening: socket.socket,
        name: str,
        server: type[uvicorn.Server] = uvicorn.Server,
        **options,
    ):
        config = uvicorn.Config(
            application,
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            loop="asyncio",
            ws="none",
            timeout_keep_alive=15,
            **options,
        )
        self._socket, self._server = listening, server(config)
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        # A thread's own `join` forgets, on Ctrl-C, that the thread still runs.
        self._ended = threading.Event()
        self._ended.set()

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections)

    def start(self) -> None:
        if self._ended.is_set():
            self._ended.clear()
            self._thread.start()
            while not self._server.started and not self._ended.wait(0.005):
                pass

    def _serve(self) -> None:
        try:
            self._server.run([self._socket])
        finally:
            self._ended.set()

    def wait(self) -> None:
        """Return when it has stopped, or on Ctrl-C."""
        while not self._ended.wait(0.5):
            pass

    def stop(self, seconds: float, drain: float = 0.0) -> None:
        """Go on for `drain` seconds, then accept nothing more, and wait until all is closed."""
        self._ended.wait(drain)
        self._server.should_exit = True
        self._ended.wait(seconds)
        self._socket.close()


class _Parser(h11.Connection):
    """Refuses bodies of many small chunks.

    Each takes as long as a thousand bytes of a larger one, so that four clients that send byte by byte
    would keep the server from all others.
    """

    # Chunks from which on their mean size matters, and what that must be.
    few, least = 1000, 16

    def next_event(self):
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._count = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._count += event.chunk_start
            self._bytes += len(event.data)
            if self._count > max(self.few, self._bytes / self.least):
                # What uvicorn answers with 400, and closes.
                raise h11.RemoteProtocolError("The chunks of the body are too small.")
        return event


class Connection(H11Protocol):
    """A connection that is closed if its client stalls: sends no whole header, or does not read its answer.

    uvicorn has limits for neither, so that a few hundred idle clients would lock out all others.
    """

    # Between looks, and how long a client may take; and how long an idle one has when the server stops.
    looks, patience, linger = 2.0, 15.0, 0.5

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.conn = _Parser(h11.SERVER)

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._since, self._unread, self._last = self.loop.time(), 0, self.cycle
        self._look_again = self.loop.call_later(self.looks, self._look)

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
