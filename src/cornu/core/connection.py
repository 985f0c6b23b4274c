"""Messages between processes, over a socket."""

import contextlib
import json
import socket
import struct
import threading

_LONGEST_MESSAGE = 64 * 1024**2


class Connection:
    """Messages, which are dicts of plain values, over a socket."""

    def __init__(self, stream: socket.socket):
        self.stream, self._lock, self._buffer = stream, threading.Lock(), b""
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A machine that has vanished is missed after about 15 seconds.
        for name, seconds in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)

    def send(self, message: dict) -> None:
        """Send a message; if nobody is there to hear it, the listening thread will know."""
        data = json.dumps(message).encode()
        with self._lock, contextlib.suppress(OSError):
            self.stream.sendall(struct.pack(">I", len(data)) + data)

    def receive(self) -> list[dict]:
        """The messages that have come; waits for some bytes. Raises OSError at its end."""
        data = self.stream.recv(65536)
        if not data:
            raise ConnectionResetError("the connection was closed")
        self._buffer += data
        found = []
        while len(self._buffer) >= 4:
            (length,) = struct.unpack(">I", self._buffer[:4])
            if length > _LONGEST_MESSAGE:
                raise ConnectionError("this is no message")
            if len(self._buffer) < 4 + length:
                break
            try:
                found.append(dict(json.loads(self._buffer[4 : 4 + length])))
            except (ValueError, TypeError) as error:
                raise ConnectionError("this is no message") from error
            self._buffer = self._buffer[4 + length :]
        return found

    def close(self) -> None:
        self.stream.close()
