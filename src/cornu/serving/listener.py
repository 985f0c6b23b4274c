"""uvicorn in a thread, on a socket of its own, with what it lacks: limits, and a stop that loses nobody."""

import asyncio
import contextlib
import ctypes
import socket
import struct
import sys
import threading
from typing import Any

import uvicorn


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
        made: Any = self.config.http_protocol_class
        _, connection = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: made(self.config, self.server_state, self.lifespan.state),
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
