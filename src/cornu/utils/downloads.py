"""Downloads that go on where an earlier one broke off."""

import json
import os
import shutil
import tempfile
import urllib.parse
from collections.abc import Callable
from pathlib import Path

_MARK = b"part-of-a-download"


def download(origin: str, target: Path, wrong: Callable[[str], str | None]) -> None:
    """Fetch `origin` into `target`, which is replaced only by what is complete and right.

    What came before a connection broke is kept beside `target`, if the server names the version of the file
    (`ETag` or `Last-Modified`). The next call asks for the rest of that version (RFC 9110, `Range` and
    `If-Range`), and a server that has another one, or no ranges, sends the whole.

    Args:
        wrong: says what is wrong with the file at a path, or None.

    Raises:
        ConnectionError: if the download fails.
        ValueError: if the file is wrong.
    """
    if urllib.parse.urlsplit(origin).scheme not in ("http", "https", "file"):
        raise ValueError(
            "`origin` must be an address that starts with http:, https: or file:. "
            f"Received: origin={origin!r}"
        )
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    os.close(handle)
    path, kept = Path(name), target.with_name(f".{target.name}-part")
    try:
        while True:
            has_earlier = _fetch_into(path, kept, origin, target)
            reason = wrong(name)
            if reason is None:
                break
            if not has_earlier:
                raise ValueError(reason)
            # The parts do not make a whole: once more from the start.
        os.chmod(path, 0o644)
        os.replace(path, target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _fetch_into(path: Path, kept: Path, origin: str, target: Path) -> bool:
    """Fetch the file, or the rest of it; returns whether it has a part from an earlier download."""
    try:
        # Nobody else can have it now.
        os.replace(kept, path)
    except FileNotFoundError:
        path.write_bytes(b"")
    with open(path, "r+b") as file:
        part = _Part(file, origin)
        try:
            part.fetch()
        except BaseException as error:
            count = part.keep()
            file.close()
            if count:
                os.replace(path, kept)
            if not isinstance(error, OSError):
                raise
            left = (
                f"Its first {count} bytes are kept, and the next call asks for the rest."
                if count
                else "Nothing was kept of it."
            )
            raise ConnectionError(
                f"URL fetch failure on {origin} -- {error}. {left} Try again, "
                f"or fetch the file by other means and put it at {target}."
            ) from error
        file.flush()
        os.fsync(file.fileno())
        return part.first > 0


class _Part:
    """The beginning of a file, and which version of what it is the beginning of.

    That stands behind the bytes: a line of JSON, its length and a mark.
    """

    def __init__(self, file, origin: str):
        self.file, self.origin = file, origin
        self.first, self.version = self._read()
        file.truncate(self.first)
        file.seek(self.first)

    def _read(self) -> tuple[int, str | None]:
        size = self.file.seek(0, os.SEEK_END)
        end = len(_MARK) + 4
        if size < end:
            return 0, None
        self.file.seek(size - end)
        *length, mark = self.file.read(4), self.file.read()
        start = size - end - int.from_bytes(length[0], "big")
        if mark != _MARK or start < 0:
            return 0, None
        self.file.seek(start)
        try:
            about = json.loads(self.file.read(size - end - start))
            known = about["origin"] == self.origin and isinstance(about["version"], str)
        except (ValueError, KeyError, TypeError):
            known = False
        return (start, about["version"]) if known else (0, None)

    def keep(self) -> int:
        """Note what the bytes are; how many there are, or 0 if they are of no use."""
        count = self.file.seek(0, os.SEEK_END)
        if not count or self.version is None:
            return 0
        about = json.dumps({"origin": self.origin, "version": self.version}).encode()
        self.file.write(about + len(about).to_bytes(4, "big") + _MARK)
        return count

    def fetch(self) -> None:
        """Append what is missing."""
        if urllib.parse.urlsplit(self.origin).scheme == "file":
            from urllib.request import urlopen  # slow to load

            with urlopen(self.origin) as source:
                shutil.copyfileobj(source, self.file)
            return
        import requests

        headers = {"Accept-Encoding": "identity"}
        if self.first:
            headers |= {"Range": f"bytes={self.first}-", "If-Range": self.version or ""}
        with requests.get(self.origin, headers=headers, stream=True, timeout=30) as response:
            if self.first and not self._continues(response):
                self._start_again()
                if response.status_code in (206, 416):
                    return self.fetch()
            response.raise_for_status()
            self._write(response)

    def _continues(self, response) -> bool:
        given = response.headers.get("Content-Range", "")
        return response.status_code == 206 and given.startswith(f"bytes {self.first}-")

    def _start_again(self) -> None:
        self.first, self.version = 0, None
        self.file.seek(0)
        self.file.truncate()

    def _write(self, response) -> None:
        headers = response.headers
        is_plain = headers.get("Content-Encoding", "identity") == "identity"
        size = int(headers["Content-Length"]) if "Content-Length" in headers and is_plain else None
        tag = headers.get("ETag", "")
        # A weak tag may stand for other bytes.
        strong = tag if tag.startswith('"') else headers.get("Last-Modified")
        self.version = strong if is_plain else None
        rest = f", from byte {self.first}" if self.first else ""
        print(f"Downloading data from {self.origin}{rest}")
        came = 0
        with _progress() as bar:
            total = None if size is None else self.first + size
            task = bar.add_task("", total=total, completed=self.first)
            for chunk in response.iter_content(1 << 16):
                self.file.write(chunk)
                came += len(chunk)
                bar.advance(task, len(chunk))
        if size is not None and came != size:
            raise ConnectionError(f"the connection ended after {came} of {size} bytes")


def _progress():
    """A bar on standard error, and only where somebody watches: a log needs none."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
