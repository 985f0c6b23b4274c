"""What the servers of Cornu share: where they listen, whom they refuse, how they read what is sent."""

import asyncio
import gzip
import importlib.resources
import ipaddress
import re
import socket
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
# Of every answer.
HEADERS = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# Of a page: nothing is loaded from elsewhere, nothing is run that is not in a file, nobody frames it.
OF_A_PAGE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
# Of a page that a notebook's cell shows: Jupyter frames it, on whatever port of this machine, or VS Code.
IN_A_CELL = {
    **OF_A_PAGE,
    # Firefox asks this of an `object`, too.
    "cross-origin-resource-policy": "cross-origin",
    "content-security-policy": OF_A_PAGE["content-security-policy"].replace(
        "frame-ancestors 'none'",
        "frame-ancestors http://localhost:* http://127.0.0.1:* https://localhost:* https://127.0.0.1:* "
        "vscode-webview: vscode-file:",
    ),
}


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


def address_of(host: str, port: int, scheme: str = "http") -> str:
    """What to type into a browser for what listens there."""
    shown = own_address() if host in ("0.0.0.0", "::") else host
    return f"{scheme}://{f'[{shown}]' if ':' in shown else shown}:{port}"


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


class PageFile(NamedTuple):
    """A file of a page: what is in it, the same compressed, and its type."""

    content: bytes
    compressed: bytes
    kind: str

    def answer(self, request: Request, headers: dict[str, str] | None = None) -> Response:
        """The file, compressed for who takes it so."""
        taken = {}
        for part in request.headers.get("accept-encoding", "").split(","):
            name, _, quality = part.replace(" ", "").lower().partition(";q=")
            taken[name] = quality.rstrip("0.") != "" or not quality
        is_taken = taken.get("gzip", False)
        encoding = {"vary": "accept-encoding", **({"content-encoding": "gzip"} if is_taken else {})}
        content = self.compressed if is_taken else self.content
        return Response(content, headers={**(headers or {}), **encoding}, media_type=self.kind)


def files_of_page(package: str) -> dict[str, PageFile]:
    """What a page consists of by path; no other path leads to a file."""
    found = {}
    for entry in (importlib.resources.files(package) / "pages").iterdir():
        kind = _TYPES.get(f".{entry.name.rpartition('.')[2]}")
        if kind is not None:
            path = "/" if entry.name == "index.html" else f"/{entry.name}"
            content = entry.read_bytes()
            found[path] = PageFile(content, gzip.compress(content, mtime=0), kind)
    return found


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
