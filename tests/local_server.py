"""A web server on this machine's loopback address that serves files well, badly or not at all."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class LocalServer:
    """`files` maps paths to contents, `status` to refusals, `cut` to the bytes sent before it ends.

    `tags` maps paths to their `ETag`; these files have ranges, unless `whole` is set.
    """

    def __init__(self, address):
        self.address = address
        self.files = {}
        self.status = {}
        self.cut = {}
        self.tags = {}
        self.whole = False
        self.asked = []
        self.ranges = []

    def url(self, name, content=None):
        if content is not None:
            self.files[name] = content
        return f"{self.address}/{name}"


@contextlib.contextmanager
def _serving():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.lstrip("/")
            state.asked.append(name)
            if name in state.status or name not in state.files:
                self.send_error(state.status.get(name, 404))
                return
            content = state.files[name]
            first, tag = 0, state.tags.get(name)
            state.ranges.append(self.headers.get("Range"))
            if state.ranges[-1] and not state.whole and self.headers.get("If-Range") == tag:
                first = int(state.ranges[-1].removeprefix("bytes=").removesuffix("-"))
            if first >= len(content) > 0:
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            if first:
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            if tag:
                self.send_header("ETag", tag)
            content = content[first:]
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: state.cut.get(name)])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = LocalServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with _serving() as state:
        yield state


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, and no folder of data at hand."""
    monkeypatch.setenv("CORNU_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CORNU_DATA_DIR", raising=False)
    return tmp_path / "cache"
