"""The page's server: by default on this machine only, for whoever has the link."""

import asyncio
import hmac
import ipaddress
import json
import math
import re
import secrets
import socket
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cornu.callbacks.monitor import more_is_better
from cornu.core.notebook import as_page
from cornu.explorer import tour
from cornu.explorer.batches import Batches
from cornu.explorer.edits import Batch, Steps, Value, parsed, rate_of, target_of
from cornu.explorer.examples import Examples
from cornu.explorer.images import MOST_CHANNELS
from cornu.explorer.network import Network
from cornu.explorer.runs import Runs
from cornu.explorer.snapshot import png_of
from cornu.explorer.watch import Watch
from cornu.serving.http import (
    HEADERS,
    IN_A_CELL,
    OF_A_PAGE,
    Bodies,
    Refused,
    address_of,
    files_of_page,
    is_loopback,
    listen,
    named_by,
)
from cornu.serving.listener import Listener
from cornu.serving.pictures import TooManyPixels, decoded
from cornu.utils.image_folder import reader_for

# Of an image file; of its pixels, which may be many in a small file.
MOST_BYTES, MOST_PIXELS = 16 * 2**20, 25_000_000
SECONDS_FOR_A_BODY = 30
# Questions that wait for one of the two threads that answer; a class of fifty has few of them at once.
MOST_WAITING = 200
# Bytes of what a question says besides its example.
MOST_SAID = 64 * 2**10
# Bytes of all bodies that are held at once.
MOST_HELD = 16 * MOST_BYTES

_HEADERS = {**HEADERS, **OF_A_PAGE}


class Asked(NamedTuple):
    """A question: a network, an example, which weights are changed, and what else is said."""

    network: Network
    x: np.ndarray
    edits: list[Value] | Steps | Batch | None
    said: dict[str, Any]

    def about(self) -> Network:
        """The network with the changed weights; to be called where answers are computed."""
        return self.network.edited(self.x, self.edits)


class Server:
    """Serves the page of a network in a thread of its own.

    Args:
        network: what is shown.
        examples: inputs to choose from; None for none.
        watch: the training to show and control; None for none.
        compare: trainings whose curves are shown beside it; see `Runs`.
        host: the address to listen on. The default is heard on this machine alone; `"0.0.0.0"` is heard
            on all of its networks.
        port: 0 takes a free one.

    Attributes:
        link: the page, for whoever may pause and stop training.
        viewer_link: the page for others: they look, draw and ask.
        is_shared: whether other machines can reach it.

    Raises OSError if the address cannot be had.
    """

    def __init__(
        self,
        network: Network,
        examples: Examples | None = None,
        watch: Watch | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        compare: Any = None,
    ):
        self.network, self.examples, self.watch = network, examples or Examples.none(), watch
        self.runs = compare if isinstance(compare, Runs) else Runs(compare)
        self.network.batches = Batches(network, self.examples, watch is not None)
        self._tokens = {"owner": secrets.token_urlsafe(24), "viewer": secrets.token_urlsafe(24)}
        # Who knows it may show the page in a frame: cells of notebooks.
        self._cell = secrets.token_urlsafe(12)
        listening = listen(host, port)
        self.port = listening.getsockname()[1]
        self.is_shared = not is_loopback(host)
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="cornu-explore")
        self._waiting = 0
        self._bodies = Bodies(MOST_BYTES, MOST_HELD, SECONDS_FOR_A_BODY)
        self._files = files_of_page("cornu.explorer")
        self._listener = Listener(
            self._application(),
            listening,
            "cornu-explore",
            http="h11",
            limit_concurrency=500,
            timeout_graceful_shutdown=2,
        )
        self._address = f"{address_of(host, self.port)}/"

    @property
    def link(self) -> str:
        # A fragment never leaves the browser: it is in no log and no header.
        return f"{self._address}#{self._tokens['owner']}"

    @property
    def viewer_link(self) -> str:
        return f"{self._address}#{self._tokens['viewer']}"

    def start(self) -> "Server":
        """Begin to listen; returns at once."""
        self._listener.start()
        return self

    def wait(self) -> None:
        """Return when the server has stopped, or on Ctrl-C."""
        self._listener.wait()

    def stop(self) -> None:
        """Stop, and wait until all is closed."""
        self._listener.stop(10)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __repr__(self) -> str:
        return f"<Server {self.link}>"

    def _repr_html_(self) -> str:
        name = self.network.model.name
        otherwise = (
            f"The page of {name} cannot be reached from here. The kernel serves it while it runs.",
            "Run this cell again. If the kernel is on another machine, first open a way to it: "
            f"ssh -L {self.port}:127.0.0.1:{self.port} MACHINE",
            "Without a notebook: cornu explore MODEL.keras",
        )
        framed = self.link.replace("/#", f"/?cell={self._cell}#")
        png = png_of(self.network, self.examples)
        return as_page(self.link, f"Explore {name}", framed, otherwise, png)

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *error) -> None:
        self.stop()

    # ---- who may ask

    def _application(self) -> Starlette:
        routes = [
            Route(path, self._guarded(self._file, token=None), methods=["GET"])
            for path in self._files
        ]
        for path, method, answer, token in [
            ("/api/model", "GET", self._model, "viewer"),
            ("/api/run", "POST", self._run, "viewer"),
            ("/api/backward", "POST", self._backward, "viewer"),
            ("/api/batch", "POST", self._batch, "viewer"),
            ("/api/update", "POST", self._update, "viewer"),
            ("/api/back_window", "POST", self._back_window, "viewer"),
            ("/api/weights", "POST", self._weights, "viewer"),
            ("/api/map", "POST", self._layer_map, "viewer"),
            ("/api/sheet", "POST", self._sheet, "viewer"),
            ("/api/links", "POST", self._links, "viewer"),
            ("/api/field", "GET", self._field, "viewer"),
            ("/api/window", "POST", self._window, "viewer"),
            ("/api/class", "POST", self._class_map, "viewer"),
            ("/api/image", "POST", self._image, "viewer"),
            ("/api/examples", "GET", self._thumbnails, "viewer"),
            ("/api/example", "GET", self._example, "viewer"),
            ("/api/training", "GET", self._training, "viewer"),
            ("/api/histograms", "GET", self._histograms, "viewer"),
            ("/api/filters", "GET", self._filters, "viewer"),
            ("/api/followed", "GET", self._followed, "viewer"),
            ("/api/training", "POST", self._control, "owner"),
            ("/api/runs", "GET", self._compared, "viewer"),
        ]:
            routes.append(Route(path, self._guarded(answer, token), methods=[method]))

        async def not_found(request, error):
            return _refusal(error.status_code, f"{error.detail}: {request.method}.")

        application = Starlette(routes=routes, exception_handlers={404: not_found, 405: not_found})
        # It would lead to whatever name the request gives this server.
        application.router.redirect_slashes = False
        return application

    def _guarded(self, answer, token: str | None):
        async def guarded(request: Request) -> Response:
            request.state.held = 0
            try:
                self._check_where_from(request)
                if token is not None:
                    self._check_token(request, token)
                response = await answer(request)
            except Refused as error:
                response = _refusal(error.status, str(error))
            except ValueError as error:
                response = _refusal(400, str(error))
            except ClientDisconnect:
                response = Response(status_code=400)
            except Exception as error:
                traceback.print_exc()
                response = _refusal(500, f"A defect of Cornu: {type(error).__name__}: {error}")
            finally:
                self._bodies.release(request)
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return guarded

    def _check_where_from(self, request: Request) -> None:
        """A page from elsewhere, or a name of somebody's that leads here, is not answered."""
        host = request.headers.get("host", "")
        if not self._is_own(host):
            raise Refused(
                421, f"This server is not called {host[:100]!r}. Use the link it printed."
            )
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            raise Refused(403, "Requests from other pages are refused.")

    def _is_own(self, host: str) -> bool:
        found = named_by(host)
        if found is None or (found[1] or 80) != self.port:
            return False
        name = found[0]
        try:
            # A name can be made to lead here by its owner; a number cannot.
            address = ipaddress.ip_address(name)
            return self.is_shared or address.is_loopback
        except ValueError:
            return name in self._names

    def _check_token(self, request: Request, wanted: str) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        roles = [r for r, t in self._tokens.items() if hmac.compare_digest(given, t.encode())]
        if not roles:
            raise Refused(
                401, "The link lacks its token, or it is old. Open the link that was printed."
            )
        if wanted == "owner" and "owner" not in roles:
            raise Refused(403, "This link is for looking; it does not control the training.")
        request.state.role = roles[0]

    async def _compute(self, function, *arguments):
        if self._waiting >= MOST_WAITING:
            raise Refused(503, "Too many questions at once. Try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, function, *arguments
            )
        finally:
            self._waiting -= 1

    async def _asked(self, request: Request) -> "Asked":
        """What a question is about: an example, with or without what is said of it before.

        A body is the example alone; or the length of JSON (uint32), the JSON, spaces up to a multiple of
        four bytes, and the example. JSON may hold `edits`, and what a question takes besides.
        """
        network = (await self._shown(request)).network
        expected = 4 * math.prod(network.shape)
        body = await self._bodies.read(request, expected + MOST_SAID)
        said: Any = {}
        if len(body) > expected + 4:
            length = int.from_bytes(body[:4], "little")
            if length % 4 == 0 and len(body) == 4 + length + expected:
                said = _from_json(body[4 : 4 + length])
                body = body[4 + length :]
        if len(body) != expected:
            raise ValueError(
                f"Expected an example of shape {network.shape} as {expected:,} bytes of float32. Received: "
                f"{len(body):,} bytes."
            )
        x = np.frombuffer(body, "<f4").reshape(network.shape)
        if not np.isfinite(x).all():
            raise ValueError("The example holds values that are not finite.")
        return Asked(network, x, parsed(said.pop("edits", None)), said)

    # ---- answers

    async def _file(self, request: Request) -> Response:
        key = request.query_params.get("cell", "").encode()
        is_in_cell = hmac.compare_digest(key, self._cell.encode())
        return self._files[request.url.path].answer(request, IN_A_CELL if is_in_cell else None)

    async def _shown(self, request: Request) -> tour.Shown:
        """What a question is about: the network that is served, or that of the tour."""
        name = request.query_params.get("net", "")
        if name == "tour":
            return await self._compute(tour.shown)
        if name:
            raise ValueError(
                f"There is no network {name[:20]!r} besides the one shown, but 'tour'."
            )
        return tour.Shown(self.network, self.examples)

    async def _model(self, request: Request) -> Response:
        network, examples = await self._shown(request)
        return _json(
            {
                **network.describe(),
                "examples": len(examples),
                "range": examples.range,
                # The background of images, as a share of white.
                "border": _share(examples.border(), network.white),
                "is_training": self.watch is not None and network is self.network,
                "runs": len(self.runs) if network is self.network else 0,
                # Why it cannot learn step by step; empty if it can.
                "no_batches": network.batches.refusal,
                "is_tour": tour.is_shown(network),
                "may_control": request.state.role == "owner",
                # For "Copy link": whoever is given it looks, and controls nothing.
                "viewer": self._tokens["viewer"],
            }
        )

    async def _run(self, request: Request) -> Response:
        asked = await self._asked(request)
        given = request.query_params
        layers = _numbers(request, "layers", 1000) if "layers" in given else None
        channels = _number(request, "channels") if "channels" in given else MOST_CHANNELS
        return await self._compute(lambda: _packed(*asked.about().run(asked.x, layers, channels)))

    async def _sheet(self, request: Request) -> Response:
        asked, layer = await self._asked(request), _number(request, "layer")
        given = request.query_params
        channels = _numbers(request, "channels", MOST_CHANNELS) if "channels" in given else None
        start = _number(request, "start") if "start" in given else 0
        by_strength = given.get("by") == "strength"

        def answer():
            return _packed(*asked.about().sheet(asked.x, layer, start, by_strength, channels))

        return await self._compute(answer)

    async def _links(self, request: Request) -> Response:
        asked = await self._asked(request)
        layer, channel = _number(request, "layer"), _number(request, "channel")
        position = _numbers(request, "position") if "position" in request.query_params else None

        def answer():
            return asked.about().links(asked.x, layer, channel, position)

        return _json(await self._compute(answer))

    async def _field(self, request: Request) -> Response:
        network, _ = await self._shown(request)
        layer, position = _number(request, "layer"), _numbers(request, "position")
        return _json({"field": await self._compute(network.field, layer, position)})

    async def _backward(self, request: Request) -> Response:
        asked = await self._asked(request)
        target = target_of(asked.said.get("target"))
        channels = _number(request, "channels") if "channels" in request.query_params else 64
        return await self._compute(
            lambda: _packed(*asked.about().backward(asked.x, target, channels))
        )

    async def _back_window(self, request: Request) -> Response:
        asked = await self._asked(request)
        layer, index = _number(request, "layer"), _numbers(request, "index")
        target, rate = target_of(asked.said.get("target")), rate_of(asked.said.get("rate"))
        weight = request.query_params.get("weight", "")[:100]

        def answer():
            return asked.about().back_window(asked.x, target, layer, weight, index, rate)

        return _json(await self._compute(answer))

    async def _batch(self, request: Request) -> Response:
        asked, example = await self._asked(request), _number(request, "example")
        batch = _batch_of(asked)

        def answer():
            return _packed(*asked.network.batches.told(batch.number, batch.size, example))

        return await self._compute(answer)

    async def _update(self, request: Request) -> Response:
        asked = await self._asked(request)
        layer, index = _number(request, "layer"), _numbers(request, "index")
        weight, batch = request.query_params.get("weight", "")[:100], _batch_of(asked)

        def answer():
            return asked.network.batches.update(batch.number, batch.size, layer, weight, index)

        return _json(await self._compute(answer))

    async def _weights(self, request: Request) -> Response:
        asked, layer = await self._asked(request), _number(request, "layer")
        channel = _number(request, "channel") if "channel" in request.query_params else None
        target = target_of(asked.said["target"]) if "target" in asked.said else None

        def answer():
            return {"weights": asked.about().weights(asked.x, layer, channel, target)}

        return _json(await self._compute(answer))

    async def _layer_map(self, request: Request) -> Response:
        asked = await self._asked(request)
        layer, channel = _number(request, "layer"), _number(request, "channel")

        def answer():
            found = asked.about().layer_map(asked.x, layer, channel)
            return _packed({"shape": list(found.shape)}, [found])

        return await self._compute(answer)

    async def _window(self, request: Request) -> Response:
        asked = await self._asked(request)
        layer, channel = _number(request, "layer"), _number(request, "channel")
        position = _numbers(request, "position")

        def answer():
            return asked.about().window(asked.x, layer, position, channel)

        return _json(await self._compute(answer))

    async def _class_map(self, request: Request) -> Response:
        asked = await self._asked(request)
        target = _number(request, "target") if "target" in request.query_params else None
        method = request.query_params.get("method", "")

        def answer():
            chosen, found = asked.about().class_map(asked.x, method, target)
            return _packed({"target": chosen, "shape": list(found.shape)}, [found])

        return await self._compute(answer)

    async def _image(self, request: Request) -> Response:
        network = (await self._shown(request)).network
        body = await self._bodies.read(request)
        x = await self._compute(_decoded, body, network)
        return _packed({"shape": list(x.shape)}, [x])

    async def _thumbnails(self, request: Request) -> Response:
        examples = (await self._shown(request)).examples
        return _packed(*examples.thumbnails(_number(request, "start")))

    async def _example(self, request: Request) -> Response:
        examples = (await self._shown(request)).examples
        x, label = examples.one(_number(request, "number"))
        return _packed({"label": label}, [x])

    async def _training(self, request: Request) -> Response:
        since = _number(request, "since") if "since" in request.query_params else 0
        return _json(self._watched().state(since))

    async def _histograms(self, request: Request) -> Response:
        since = _number(request, "since") if "since" in request.query_params else 0
        return _json(await self._compute(self._watched().histograms, since))

    async def _filters(self, request: Request) -> Response:
        return _packed(*self._watched().filters())

    async def _followed(self, request: Request) -> Response:
        asked = "numbers" in request.query_params
        numbers = _numbers(request, "numbers", 24) if asked else None
        return _packed(*self._watched().followed(numbers))

    async def _compared(self, request: Request) -> Response:
        runs = await self._compute(self.runs.told)
        names = dict.fromkeys(name for run in runs for name in run["values"])
        better = {name: more_is_better(name, self.network.model) for name in names}
        return _json({"runs": runs, "more_is_better": better})

    async def _control(self, request: Request) -> Response:
        self._watched().control(request.query_params.get("action", ""))
        return _json(self._watched().state())

    def _watched(self) -> Watch:
        if self.watch is None:
            raise Refused(404, "No training is shown here.")
        return self.watch


def _batch_of(asked: Asked) -> Batch:
    if not isinstance(asked.edits, Batch):
        raise ValueError("Expected as edits batch, size and phase.")
    return asked.edits


def _refusal(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status, _HEADERS)


def _json(data: dict[str, Any]) -> JSONResponse:
    return JSONResponse(_plain(data))


def _plain(data):
    """With non-finite values as text, as JSON has no form for them."""
    if isinstance(data, dict):
        return {name: _plain(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return str(data)
    return data


def _packed(header: dict[str, Any], arrays: list[np.ndarray]) -> Response:
    """A header and arrays in one piece: the header's length (uint32), the header, the arrays.

    All numbers are little-endian, and each part begins at a multiple of four bytes.
    """
    text = json.dumps(_plain(header), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    parts = [len(text).to_bytes(4, "little"), text]
    for array in arrays:
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        parts += [data, b"\0" * (-len(data) % 4)]
    return Response(b"".join(parts), media_type="application/octet-stream")


def _share(value: float | None, white: float | None) -> float | None:
    return value / white if value is not None and white else None


def _from_json(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text.decode())
    # What is nested deeper than Python's stack is no JSON of the page.
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ValueError("Expected an object in JSON before the example.")
    return said


def _number(request: Request, name: str) -> int:
    numbers = _numbers(request, name)
    if len(numbers) != 1:
        raise ValueError(f"Expected a number as {name}.")
    return numbers[0]


def _numbers(request: Request, name: str, most: int = 8) -> tuple[int, ...]:
    text = request.query_params.get(name, "")
    if not re.fullmatch(rf"(\d{{1,9}}(,\d{{1,9}}){{0,{most - 1}}})?", text, re.ASCII):
        raise ValueError(f"Expected numbers as {name}. Received: {text[:50]!r}")
    return tuple(map(int, text.split(","))) if text else ()


def _decoded(body: bytes, network: Network) -> np.ndarray:
    """An image file as the network takes images, as `cornu predict` reads it."""

    read = reader_for(network.shape, network.white, network.aspect)
    if read is None:
        raise ValueError(
            f"The network takes arrays of shape {network.shape}, which are not the pixels of images."
        )
    try:
        return decoded(body, read, MOST_PIXELS)
    except TooManyPixels as error:
        raise Refused(413, str(error)) from None
