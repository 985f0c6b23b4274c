"""Connections with the limits that uvicorn's lack."""

import asyncio
import importlib.util
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class TooSmall(Exception):
    """The chunks of a body are too small."""


class Watched(asyncio.Protocol):
    """A connection that is closed if its client stalls: sends no whole header, or does not read its answer.

    uvicorn has limits for neither, so that a few hundred idle clients would lock out all others. It is
    mixed into one of uvicorn's protocols.
    """

    # Between looks, and how long a client may take; and how long an idle one has when the server stops.
    looks, patience, linger = 2.0, 15.0, 0.5
    # Chunks of a body from which on their mean size matters, and what that must be.
    few, least = 1000, 16

    # uvicorn's.
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    cycle: Any

    _chunks = _bytes = 0

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
            super().shutdown()  # type: ignore[misc]

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close(self) -> None:
        if self._is_idle and not self.transport.is_closing():
            super().shutdown()  # type: ignore[misc]

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

    def _begin_body(self) -> None:
        self._chunks = self._bytes = 0

    def _count(self, chunks: int, size: int) -> None:
        """Raise `TooSmall` for a body of many small chunks.

        Each takes as long as a thousand bytes of a larger one, so that four clients that send byte by byte
        would keep the server from all others.
        """
        self._chunks += chunks
        self._bytes += size
        if self._chunks > max(self.few, self._bytes / self.least):
            raise TooSmall("The chunks of the body are too small.")


class _Parser(h11.Connection):
    """h11's, which tells a connection of chunks."""

    def __init__(self, connection: Watched):
        super().__init__(h11.SERVER)
        self._watched = connection

    def next_event(self):
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._watched._begin_body()
        elif isinstance(event, h11.Data):
            try:
                self._watched._count(event.chunk_start, len(event.data))
            except TooSmall as error:
                # What uvicorn answers with 400, and closes.
                raise h11.RemoteProtocolError(str(error)) from None
        return event


class PlainConnection(Watched, H11Protocol):
    """With h11, a parser in Python."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.conn = _Parser(self)


class _OfHttptools(Watched):
    """What connections with httptools, a parser in C, lack besides: limits of what is around a body.

    What its callbacks raise, uvicorn answers with 400, and closes.
    """

    # Bytes of a header, of all trailers, or between two pieces of a body.
    most = 64 * 2**10

    # Those of the request's header, and those that have come since the parser last told of anything.
    _header = _untold = 0
    # How often the parser has told.
    _told = 0

    def data_received(self, data: bytes) -> None:
        told = self._told
        super().data_received(data)
        self._untold = self._untold + len(data) if told == self._told else 0
        if self._untold > self.most and not self.transport.is_closing():
            self.send_400_response("The header is too large.")  # type: ignore[attr-defined]

    def on_message_begin(self) -> None:
        super().on_message_begin()  # type: ignore[misc]
        self._header = 0
        self._begin_body()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header += len(name) + len(value)
        if self._header > self.most:
            raise ValueError("The header is too large.")
        super().on_header(name, value)  # type: ignore[misc]

    def on_headers_complete(self) -> None:
        self._told += 1
        super().on_headers_complete()  # type: ignore[misc]

    def on_chunk_header(self) -> None:
        self._count(1, 0)

    def on_body(self, body: bytes) -> None:
        self._told += 1
        self._count(0, len(body))
        super().on_body(body)  # type: ignore[misc]

    def on_message_complete(self) -> None:
        self._told += 1
        super().on_message_complete()  # type: ignore[misc]


def quickest() -> type[Watched]:
    """The class of connections whose parser is in C, if httptools is installed; else h11's."""
    if importlib.util.find_spec("httptools") is None:
        return PlainConnection
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    return type("QuickConnection", (_OfHttptools, HttpToolsProtocol), {})
