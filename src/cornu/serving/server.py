"""The inference server: two protocols for tensors, pictures as files, health, metrics, and a page."""

import hmac
import ssl
import time
import traceback
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cornu.serving.answers import Answers, as_json
from cornu.serving.batcher import Batcher
from cornu.serving.connections import quickest
from cornu.serving.http import (
    HEADERS,
    OF_A_PAGE,
    Bodies,
    Refused,
    address_of,
    files_of_page,
    is_loopback,
    listen,
    named_by,
)
from cornu.serving.listener import Listener, Uvicorn
from cornu.serving.metrics import Metrics, resident_bytes
from cornu.serving.repository import Load, Report, Repository, Version
from cornu.serving.servable import Servable
from cornu.serving.settings import Settings


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
        listening = listen(settings.host, settings.port)
        self.port = listening.getsockname()[1]
        self.is_shared = not is_loopback(settings.host)
        self._bodies = Bodies(settings.max_body, 8 * settings.max_body, settings.timeout)
        self._answers = Answers(self.repository, self._bodies, settings)
        self._is_stopping = False
        self._files = files_of_page("cornu.serving")
        scheme = "https" if settings.tls_cert else "http"
        self.address = address_of(settings.host, self.port, scheme)
        self._listener = Listener(
            self._application(),
            listening,
            "cornu-serve",
            Uvicorn,
            http=quickest(),
            limit_concurrency=settings.max_connections,
            # Longer than any request may take.
            timeout_graceful_shutdown=int(2 * settings.timeout) + 5,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )
        self._gauges()

    # ---- its life

    def start(self) -> "Server":
        """Begin to listen; returns at once."""
        self._listener.start()
        return self

    def load(self) -> None:
        """Load and compile all models, and look after their files from then on.

        Raises what the first that is damaged raises.
        """
        self.repository.load()
        self.repository.watch(self.settings.look)
        self._heard("ready", address=self.address)

    def wait(self) -> None:
        """Return when the server has stopped, or on Ctrl-C."""
        self._listener.wait()

    def stop(self) -> None:
        """Answer what was accepted, and end.

        For a moment it goes on accepting, while it says that it is not ready and each answer closes its
        connection: so no client sends a request into a connection that is just being closed.
        """
        if self._is_stopping:
            return
        self._is_stopping = True
        self._listener.stop(2 * self.settings.timeout + 10, self.settings.drain)
        self.repository.close()
        self._answers.close()
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
        self.metrics.gauge("cornu_requests_waiting", lambda: [({}, float(self._answers.waiting))])
        self.metrics.gauge("cornu_body_bytes_held", lambda: [({}, float(self._bodies.held))])
        self.metrics.gauge("process_resident_memory_bytes", lambda: [({}, resident_bytes())])

    # ---- who may ask

    def _application(self) -> Starlette:
        table: list[tuple[str, str, Any, bool]] = [
            *((path, "GET", self._file, False) for path in self._files),
            ("/v2/health/live", "GET", self._live, False),
            ("/v2/health/ready", "GET", self._ready, False),
            ("/metrics", "GET", self._metrics, True),
            *((*each, True) for each in self._answers.table()),
        ]
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
            response.headers.update(HEADERS)
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

    # ---- what it says of itself

    async def _file(self, request: Request) -> Response:
        return self._files[request.url.path].answer(request, OF_A_PAGE)

    async def _live(self, request: Request) -> Response:
        return as_json({"live": True})

    async def _ready(self, request: Request) -> Response:
        is_ready = self.repository.is_ready and not self._is_stopping
        return as_json({"ready": is_ready}, 200 if is_ready else 503)

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")


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


def _protocol(request: Request) -> str:
    return {"v1": "v1", "v2": "v2"}.get(request.url.path.split("/")[1], "images")


def _said(error: Exception) -> str:
    """Its words, with what somebody sent: that may be long, and, by JSON's escapes, half a character."""
    return str(error)[:1000].encode("utf-8", "backslashreplace").decode()


def _refusal(status: int, reason: str, headers: dict | None = None) -> JSONResponse:
    return JSONResponse({"error": reason}, status, {**HEADERS, **(headers or {})})
