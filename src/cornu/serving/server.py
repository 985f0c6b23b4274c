"""The inference server: two protocols for tensors, pictures as files, health, metrics, and a page."""

import asyncio
import hmac
import importlib.metadata
import importlib.resources
import os
import ssl
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cornu.serving import pictures, protocols
from cornu.serving.batcher import Batcher, Closed, retry_after
from cornu.serving.http import (
    Bodies,
    Connection,
    Refused,
    Uvicorn,
    is_loopback,
    listen,
    named_by,
    own_address,
)
from cornu.serving.metrics import Metrics, resident_bytes
from cornu.serving.repository import Load, Report, Repository, Version
from cornu.serving.servable import Arrays, Servable
from cornu.serving.settings import Settings

_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
# Nothing is loaded from elsewhere, nothing is run that is not in a file, nobody frames the page.
_OF_THE_PAGE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
_HEADERS = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# JSON of fewer bytes is read at once, and not by a thread.
_SMALL = 32 * 2**10
# Files in a form.
_MOST_FILES = 256
_JSON_LENGTH = "inference-header-content-length"


class Server:
    """Serves models in a thread of its own.

    Args:
        sources: the name of each model, and its path: a `.keras` or `.onnx` file, the folder of a run, or a
            folder of numbered versions of these.
        load: makes a `Servable` of a path, such as `lambda path: of_model(load_model(path))`.
        settings: limits, and where to listen.
        report: called with each event and its facts, such as `"request"`, model, status and seconds.

    `start()` listens, and answers that it lives; `load()` loads and compiles, after which it is ready.

    Raises OSError if the address cannot be had, and ValueError for a model's name or folder that is none.

    >>> import cornu, tempfile, pathlib
    >>> from cornu.serving import Client, Server, Settings, of_model
    >>> path = pathlib.Path(tempfile.mkdtemp(), "double.keras")
    >>> x = cornu.Input((1,))
    >>> cornu.Model(x, cornu.layers.Rescaling(2.0)(x)).save(path)
    >>> load = lambda path: of_model(cornu.saving.load_model(path))
    >>> with Server({"double": path}, load, Settings(port=0)) as server:
    ...     server.load()
    ...     with Client(server.address) as client:
    ...         client.predict([[1.5]]).tolist()
    [[3.0]]
    """

    def __init__(
        self,
        sources: dict[str, Path],
        load: Load,
        settings: Settings | None = None,
        report: Report = lambda event, **facts: None,
    ):
        self.settings = settings = settings or Settings()
        self.metrics, self._report = Metrics(), report
        self.repository = Repository(sources, load, self._batcher, self._heard)
        _check_certificate(settings)
        self._socket = listen(settings.host, settings.port)
        self.port = self._socket.getsockname()[1]
        self.is_shared = not is_loopback(settings.host)
        self._bodies = Bodies(settings.max_body, 8 * settings.max_body, settings.timeout)
        self._pool = ThreadPoolExecutor(
            os.cpu_count() or 1, thread_name_prefix="cornu-serve-bodies"
        )
        self._waiting = 0
        self._is_stopping = False
        self._files = _files()
        scheme = "https" if settings.tls_cert else "http"
        shown = own_address() if settings.host in ("0.0.0.0", "::") else settings.host
        self.address = f"{scheme}://{f'[{shown}]' if ':' in shown else shown}:{self.port}"
        self._server = Uvicorn(self._config())
        self._thread = threading.Thread(target=self._serve, name="cornu-serve", daemon=True)
        # A thread's own `join` forgets, on Ctrl-C, that the thread still runs.
        self._ended = threading.Event()
        self._ended.set()
        self._gauges()

    def _config(self) -> uvicorn.Config:
        settings = self.settings
        return uvicorn.Config(
            self._application(),
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            http=Connection,
            loop="asyncio",
            ws="none",
            limit_concurrency=settings.max_connections,
            timeout_keep_alive=15,
            # Longer than any request may take.
            timeout_graceful_shutdown=int(2 * settings.timeout) + 5,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )

    # ---- its life

    def start(self) -> "Server":
        """Begin to listen; returns at once."""
        if self._ended.is_set():
            self._ended.clear()
            self._thread.start()
            while not self._server.started and not self._ended.wait(0.005):
                pass
        return self

    def load(self) -> None:
        """Load and compile all models, and look after their files from then on.

        Raises what the first that is damaged raises.
        """
        self.repository.load()
        self.repository.watch(self.settings.look)
        self._heard("ready", address=self.address)

    def _serve(self) -> None:
        try:
            self._server.run([self._socket])
        finally:
            self._ended.set()

    def wait(self) -> None:
        """Return when the server has stopped, or on Ctrl-C."""
        while not self._ended.wait(0.5):
            pass

    def stop(self) -> None:
        """Answer what was accepted, and end.

        For a moment it goes on accepting, while it says that it is not ready and each answer closes its
        connection: so no client sends a request into a connection that is just being closed.
        """
        if self._is_stopping:
            return
        self._is_stopping = True
        if not self._ended.is_set():
            self._ended.wait(self.settings.drain)
        self._server.should_exit = True
        self._ended.wait(2 * self.settings.timeout + 10)
        self._socket.close()
        self.repository.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._heard("stopped")

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *error) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Server {self.address}>"

    # ---- what it counts

    def _heard(self, event: str, **facts) -> None:
        if event in ("loaded", "reloaded", "load_failed"):
            labels = {"model": facts["model"], "version": facts["version"]}
            self.metrics.count("cornu_loads_total", result=event, **labels)
        self._report(event, **facts)

    def _batcher(self, name: str, number: int, servable: Servable) -> Batcher:
        labels = {"model": name, "version": number}

        def watch(rows: int, size: int, waited: list[float], took: float) -> None:
            self.metrics.observe("cornu_batch_rows", [rows], **labels)
            self.metrics.observe("cornu_queue_seconds", waited, **labels)
            self.metrics.observe("cornu_compute_seconds", [took], **labels)
            self.metrics.count("cornu_rows_total", rows, **labels)
            self.metrics.count("cornu_rows_filled_up_total", size - rows, **labels)

        settings = self.settings
        return Batcher(servable, settings.max_batch, settings.max_wait, settings.max_shapes, watch)

    def _gauges(self) -> None:
        def of_versions(ask):
            return lambda: [
                ({"model": v.name, "version": v.number}, float(ask(v))) for v in self.repository
            ]

        self.metrics.gauge("cornu_model_ready", of_versions(lambda v: v.batcher is not None))
        self.metrics.gauge(
            "cornu_queue_rows", of_versions(lambda v: v.batcher.waiting_rows if v.batcher else 0)
        )
        self.metrics.gauge("cornu_requests_waiting", lambda: [({}, float(self._waiting))])
        self.metrics.gauge("cornu_body_bytes_held", lambda: [({}, float(self._bodies.held))])
        self.metrics.gauge("process_resident_memory_bytes", lambda: [({}, resident_bytes())])

    # ---- who may ask

    def _application(self) -> Starlette:
        one, version = "/v1/models/{name}", "/v1/models/{name}/versions/{number}"
        two, of_two = "/v2/models/{name}", "/v2/models/{name}/versions/{number}"
        table: list[tuple[str, str, Any, bool]] = [
            *((path, "GET", self._file, False) for path in _files()),
            ("/v2/health/live", "GET", self._live, False),
            ("/v2/health/ready", "GET", self._ready, False),
            ("/metrics", "GET", self._metrics, True),
            ("/v1/models", "GET", self._models, True),
            ("/v2", "GET", self._about, True),
        ]
        for path in (one, version):
            # The longer first: a name in the shorter could hold a colon.
            table.append((f"{path}:predict", "POST", self._predict, True))
            table.append((f"{path}/metadata", "GET", self._metadata_v1, True))
            table.append((path, "GET", self._status, True))
        for path in (two, of_two):
            table.append((f"{path}/infer", "POST", self._infer, True))
            table.append((f"{path}/ready", "GET", self._model_ready, True))
            table.append((path, "GET", self._metadata_v2, True))
        for path in ("/images/{name}", "/images/{name}/versions/{number}"):
            table += [(path, "POST", self._images, True)]
        routes = [
            Route(path, self._guarded(answer, needs_token), methods=[method])
            for path, method, answer, needs_token in table
        ]

        async def not_found(request, error):
            return _refusal(error.status_code, f"{error.detail}: {request.method}.")

        application = Starlette(routes=routes, exception_handlers={404: not_found, 405: not_found})
        # It would lead to whatever name the request gives this server.
        application.router.redirect_slashes = False
        return application

    def _guarded(self, answer, needs_token: bool):
        async def guarded(request: Request) -> Response:
            begin = time.monotonic()
            state = request.state
            state.held, state.rows, state.version = 0, None, None
            problem = ""
            try:
                self._check_where_from(request)
                if needs_token:
                    self._check_token(request)
                response = await answer(request)
            except Refused as error:
                problem = _said(error)
                response = _refusal(error.status, problem, error.headers)
            except (LookupError, ValueError) as error:
                # A KeyError's own text is quoted; none is raised on purpose.
                problem = _said(error)
                is_missing = type(error) is LookupError
                response = _refusal(404 if is_missing else 400, problem)
            except ClientDisconnect:
                problem, response = "The client has gone.", Response(status_code=400)
            except Exception as error:
                traceback.print_exc()
                problem = f"A defect of the server: {type(error).__name__}: {_said(error)}"
                response = _refusal(500, problem)
            finally:
                self._bodies.release(request)
            response.headers.update(_HEADERS)
            if self._is_stopping:
                response.headers["connection"] = "close"
            if request.method == "POST":
                self._count(request, response.status_code, time.monotonic() - begin, problem)
            return response

        return guarded

    def _count(self, request: Request, status: int, seconds: float, problem: str) -> None:
        version: Version | None = request.state.version
        known: dict[str, Any] = {}
        if version is not None:
            known = {"model": version.name, "version": version.number}
        # Of others' models, whatever names are asked for, there is one count.
        labels: dict[str, Any] = {"model": "", "version": "", **known}
        labels["protocol"] = _protocol(request)
        self.metrics.count("cornu_requests_total", status=status, **labels)
        self.metrics.observe("cornu_request_seconds", [seconds], **labels)
        facts = {"rows": request.state.rows, "seconds": round(seconds, 6)}
        if problem:
            facts["problem"] = problem[:500]
        self._report(
            "request",
            client=request.client.host if request.client else None,
            path=request.url.path[:200],
            status=status,
            **known,
            **facts,
        )

    def _check_where_from(self, request: Request) -> None:
        """A page from elsewhere is not answered, nor, where all is open, a name that leads here."""
        host = request.headers.get("host")
        if host is None:
            # So ask programs that speak HTTP/1.0, such as balancers; no browser does.
            return
        found = named_by(host)
        if found is None:
            raise Refused(421, f"{host[:100]!r} is no host.")
        is_open = not self.is_shared and self.settings.token is None
        if is_open and found[0] != "localhost" and not is_loopback(found[0]):
            raise Refused(
                421,
                f"This server is not called {found[0][:100]!r}. Use its address, or give it a token.",
            )
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refused(403, "Requests from other pages are refused.")

    def _check_token(self, request: Request) -> None:
        wanted = self.settings.token
        if wanted is None:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if not hmac.compare_digest(given, wanted.encode()):
            raise Refused(401, "This server needs its token: Authorization: Bearer TOKEN.")

    # ---- what it computes

    def _found(self, request: Request) -> tuple[Version, Servable]:
        """The version that a request names, which must have been loaded."""
        given = request.path_params.get("number")
        if given is not None and not (given.isascii() and given.isdecimal() and len(given) < 19):
            raise LookupError(f"{given[:100]!r} is no number of a version.")
        version = self.repository.find(
            request.path_params["name"], None if given is None else int(given)
        )
        request.state.version = version
        if version.batcher is None:
            why = version.problem or "it is being loaded"
            raise Refused(503, f"{version.name} is not ready: {why}.", 5)
        return version, version.batcher.servable

    async def _in_pool(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _body(self, request: Request, version: Version) -> bytes:
        """The body, if there is room in the queue when it has come."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refused(415, "Bodies must not be compressed.")
        body = await self._bodies.read(request)
        if self._waiting >= self.settings.max_queue:
            after = retry_after(version.batcher) if version.batcher else 1
            raise Refused(429, f"{self._waiting} requests wait already. Try again later.", after)
        return body

    async def _answered(self, request: Request, version: Version, prepare, finish) -> Response:
        """Prepare arrays, run the model, make an answer of what came out; all in the time there is."""
        self._waiting += 1
        try:
            async with asyncio.timeout(self.settings.timeout):
                arrays = await prepare()
                request.state.rows = len(arrays[0])
                outputs = await self._run(version, arrays)
                return await finish(outputs)
        except TimeoutError:
            raise Refused(
                504, f"It took more than {self.settings.timeout:g} seconds to compute.", 1
            ) from None
        finally:
            self._waiting -= 1

    async def _run(self, version: Version, arrays: Arrays) -> Arrays:
        for _ in range(10):
            batcher = version.batcher
            if batcher is None:
                break
            try:
                return await batcher.run(arrays)
            except Closed:
                # A changed file has just been loaded, or the version was taken away.
                await asyncio.sleep(0.01)
        raise Refused(503, f"{version.name} has no version {version.number} any more.", 1)

    async def _predict(self, request: Request) -> Response:
        version, servable = self._found(request)
        body = await self._body(request, version)
        is_rows = True

        async def prepare():
            nonlocal is_rows
            arrays, is_rows = await self._maybe_in_pool(
                len(body), protocols.read_v1, body, servable
            )
            return arrays

        async def finish(outputs):
            def text():
                return protocols.dump(protocols.write_v1(outputs, servable, is_rows))

            return _json_of(await self._maybe_in_pool(_size(outputs), text))

        return await self._answered(request, version, prepare, finish)

    async def _infer(self, request: Request) -> Response:
        version, servable = self._found(request)
        length = request.headers.get(_JSON_LENGTH)
        if length is not None and not (length.isascii() and length.isdecimal()):
            raise Refused(400, f"{_JSON_LENGTH} must be a number of bytes.")
        body = await self._body(request, version)
        asked: protocols.Inference

        async def prepare():
            nonlocal asked
            json_length = None if length is None else int(length[:18])
            asked = await self._maybe_in_pool(
                len(body) if json_length is None else json_length,
                protocols.Inference,
                body,
                json_length,
                servable,
            )
            return asked.arrays

        async def finish(outputs):
            content, json_size = await self._maybe_in_pool(
                _size(outputs), asked.answer, version.name, version.number, outputs, servable
            )
            if json_size is None:
                return _json_of(content)
            headers = {_JSON_LENGTH: str(json_size)}
            return Response(content, headers=headers, media_type="application/octet-stream")

        return await self._answered(request, version, prepare, finish)

    async def _maybe_in_pool(self, size: int, function, *arguments):
        if size <= _SMALL:
            return function(*arguments)
        return await self._in_pool(function, *arguments)

    async def _images(self, request: Request) -> Response:
        version, servable = self._found(request)
        known = servable.pictures
        if known is None:
            raise Refused(
                400, f"{version.name} takes no pictures; send it arrays: see its metadata."
            )
        shown = _Shown(request.query_params, known)
        content_type = request.headers.get("content-type", "")
        body = await self._body(request, version)
        files = pictures.files_of(body, content_type, _MOST_FILES)
        most = self.settings.max_pixels

        def pixels(content: bytes):
            try:
                x = pictures.decoded(content, known.read, most)
                return np.float32(known.white) - x if shown.inverts else x
            except ValueError as error:
                return error

        decoded: list[Any] = []

        async def prepare():
            decoded.extend(await asyncio.gather(*(self._in_pool(pixels, c) for _, c in files)))
            read = [x for x in decoded if isinstance(x, np.ndarray)]
            if not read:
                status = 413 if isinstance(decoded[0], pictures.TooManyPixels) else 400
                raise Refused(status, str(decoded[0]))
            return [np.stack(read)]

        async def finish(outputs):
            probabilities = iter(known.finish(np.asarray(outputs[0], "float32")))
            images = []
            for (name, _), x in zip(files, decoded, strict=True):
                one: dict[str, Any] = {} if name is None else {"image": name}
                if isinstance(x, ValueError):
                    one["error"] = str(x)
                else:
                    one["classes"] = shown.classes(next(probabilities))
                images.append(one)
            about = {"model": version.name, "version": version.number}
            return _json({**about, "images": images})

        return await self._answered(request, version, prepare, finish)

    # ---- what it says of itself

    async def _file(self, request: Request) -> Response:
        content, kind = self._files[request.url.path]
        return Response(content, headers=_OF_THE_PAGE, media_type=kind)

    async def _live(self, request: Request) -> Response:
        return _json({"live": True})

    async def _ready(self, request: Request) -> Response:
        is_ready = self.repository.is_ready and not self._is_stopping
        return _json({"ready": is_ready}, 200 if is_ready else 503)

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def _about(self, request: Request) -> Response:
        version = importlib.metadata.version("cornu")
        return _json({"name": "cornu", "version": version, "extensions": ["binary_tensor_data"]})

    async def _models(self, request: Request) -> Response:
        found = []
        for name in self.repository.names:
            best = self.repository.find(name)
            servable = best.batcher.servable if best.batcher else None
            one: dict[str, Any] = {"name": name}
            one["versions"] = [v.number for v in self.repository.versions(name)]
            one["ready"] = servable is not None
            one["takes_pictures"] = servable is not None and servable.pictures is not None
            if servable is not None:
                one["inputs"] = [_described(spec) for spec in servable.inputs]
                one["outputs"] = [_described(spec) for spec in servable.outputs]
                if servable.pictures is not None:
                    one["classes"] = servable.pictures.class_names
            found.append(one)
        return _json({"models": found})

    async def _status(self, request: Request) -> Response:
        name, given = request.path_params["name"], request.path_params.get("number")
        versions = self.repository.versions(name)
        if given is not None:
            if not (given.isascii() and given.isdecimal() and len(given) < 19):
                raise LookupError(f"{given[:100]!r} is no number of a version.")
            versions = [self.repository.find(name, int(given))]
        listed = [
            {
                "version": str(v.number),
                "state": v.state,
                # Of one that goes on, this says why its changed file was not taken.
                "status": {
                    "error_code": "INVALID_ARGUMENT" if v.problem else "OK",
                    "error_message": v.problem,
                },
            }
            for v in versions
        ]
        return _json({"model_version_status": listed})

    async def _metadata_v1(self, request: Request) -> Response:
        version, servable = self._found(request)
        return _json(protocols.metadata_v1(version.name, version.number, servable))

    async def _metadata_v2(self, request: Request) -> Response:
        version, servable = self._found(request)
        numbers = [v.number for v in self.repository.versions(version.name)]
        return _json(protocols.metadata_v2(version.name, numbers, servable))

    async def _model_ready(self, request: Request) -> Response:
        version, _ = self._found(request)
        return _json({"name": version.name, "ready": True})


def _check_certificate(settings: Settings) -> None:
    """Raise ValueError if the files are no certificate with its key."""
    if settings.tls_cert is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except ssl.SSLError as error:
        raise ValueError(
            f"{settings.tls_cert} holds no certificate in PEM, or {settings.tls_key} not its key: {error}."
        ) from error


class _Shown:
    """Which classes an answer about a picture names, as the options of `cornu predict` say."""

    def __init__(self, query, known):
        self._known = known
        unknown = sorted(set(query) - {"top", "threshold", "invert"})
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} is not known here. Known are: top, threshold, invert."
            )
        try:
            self._top = int(query["top"]) if "top" in query else None
            self._threshold = float(query.get("threshold", 0))
        except ValueError:
            raise ValueError("`top` must be a whole number, `threshold` a number.") from None
        if not 0 <= self._threshold <= 1 or (self._top is not None and self._top < 1):
            raise ValueError("`top` must be at least 1, and `threshold` between 0 and 1.")
        if query.get("invert", "0") not in ("0", "1"):
            raise ValueError("`invert` must be 0 or 1.")
        self.inverts = query.get("invert") == "1"

    def classes(self, probabilities: np.ndarray) -> list[dict]:
        known, names = self._known, self._known.class_names
        least = np.full(len(names), self._threshold)
        if known.thresholds is not None and not self._threshold:
            least = np.array(known.thresholds)
        most = self._top or (3 if known.thresholds is None else len(least))
        best = np.argsort(-probabilities, kind="stable")[:most]
        # NaN, which no threshold refuses, is not left out: it says that something is wrong.
        return [
            {"class": names[i], "probability": protocols.tensors.plain(probabilities[i])}
            for i in best
            if not probabilities[i] < least[i]
        ]


def _described(spec) -> dict:
    return {"name": spec.name, "shape": [None, *spec.shape], "dtype": spec.dtype}


def _protocol(request: Request) -> str:
    return {"v1": "v1", "v2": "v2"}.get(request.url.path.split("/")[1], "images")


def _size(outputs: Arrays) -> int:
    """About how many bytes of JSON they become."""
    return sum(20 * y.size for y in outputs)


def _said(error: Exception) -> str:
    """Its words, with what somebody sent: that may be long, and, by JSON's escapes, half a character."""
    return str(error)[:1000].encode("utf-8", "backslashreplace").decode()


def _refusal(status: int, reason: str, headers: dict | None = None) -> JSONResponse:
    return JSONResponse({"error": reason}, status, headers)


def _json(data: dict[str, Any], status: int = 200) -> Response:
    return _json_of(protocols.dump(data), status)


def _json_of(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


def _files() -> dict[str, tuple[bytes, str]]:
    """What the page consists of, by path; no other path leads to a file."""
    found = {}
    for entry in (importlib.resources.files("cornu.serving") / "pages").iterdir():
        kind = _TYPES.get(f".{entry.name.rpartition('.')[2]}")
        if kind is not None:
            path = "/" if entry.name == "index.html" else f"/{entry.name}"
            found[path] = entry.read_bytes(), kind
    return found
