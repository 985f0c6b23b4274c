"""What clients ask of the models: predictions in two protocols, classes of pictures, what there is."""

import asyncio
import importlib.metadata
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from cornu.serving import pictures, protocols
from cornu.serving.batcher import Closed, retry_after
from cornu.serving.http import Bodies, Refused
from cornu.serving.repository import Repository, Version
from cornu.serving.servable import Arrays, Servable
from cornu.serving.settings import Settings

# JSON of fewer bytes is read at once, and not by a thread.
_SMALL = 32 * 2**10
# Files in a form.
_MOST_FILES = 256
_JSON_LENGTH = "inference-header-content-length"


class Answers:
    """Answers requests about the models of a repository.

    Attributes:
        waiting: requests whose answer is being made.

    Its methods raise `Refused`, LookupError for what is not there, and ValueError for what is wrong in a
    request.
    """

    def __init__(self, repository: Repository, bodies: Bodies, settings: Settings):
        self.repository, self._bodies, self.settings = repository, bodies, settings
        self._pool = ThreadPoolExecutor(
            os.cpu_count() or 1, thread_name_prefix="cornu-serve-bodies"
        )
        self.waiting = 0

    def table(self) -> list[tuple[str, str, Any]]:
        """Paths, methods, and what answers them."""
        table: list[tuple[str, str, Any]] = [
            ("/v1/models", "GET", self._models),
            ("/v2", "GET", self._about),
            ("/images/{name}", "POST", self._images),
            ("/images/{name}/versions/{number}", "POST", self._images),
        ]
        for path in ("/v1/models/{name}", "/v1/models/{name}/versions/{number}"):
            # The longer first: a name in the shorter could hold a colon.
            table.append((f"{path}:predict", "POST", self._predict))
            table.append((f"{path}/metadata", "GET", self._metadata_v1))
            table.append((path, "GET", self._status))
        for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{number}"):
            table.append((f"{path}/infer", "POST", self._infer))
            table.append((f"{path}/ready", "GET", self._model_ready))
            table.append((path, "GET", self._metadata_v2))
        return table

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _found(self, request: Request) -> tuple[Version, Servable]:
        """The version that a request names, which must have been loaded."""
        version = self._named(request)
        request.state.version = version
        if version.batcher is None:
            why = version.problem or "it is being loaded"
            raise Refused(503, f"{version.name} is not ready: {why}.", 5)
        return version, version.batcher.servable

    def _named(self, request: Request) -> Version:
        given = request.path_params.get("number")
        if given is not None and not (given.isascii() and given.isdecimal() and len(given) < 19):
            raise LookupError(f"{given[:100]!r} is no number of a version.")
        return self.repository.find(
            request.path_params["name"], None if given is None else int(given)
        )

    async def _in_pool(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _body(self, request: Request, version: Version) -> bytes:
        """The body, if there is room in the queue when it has come."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refused(415, "Bodies must not be compressed.")
        body = await self._bodies.read(request)
        if self.waiting >= self.settings.max_queue:
            after = retry_after(version.batcher) if version.batcher else 1
            raise Refused(429, f"{self.waiting} requests wait already. Try again later.", after)
        return body

    async def _answered(self, request: Request, version: Version, prepare, finish) -> Response:
        """Prepare arrays, run the model, make an answer of what came out; all in the time there is."""
        self.waiting += 1
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
            self.waiting -= 1

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
            return as_json({**about, "images": images})

        return await self._answered(request, version, prepare, finish)

    # ---- what it says of them

    async def _about(self, request: Request) -> Response:
        version = importlib.metadata.version("cornu")
        return as_json({"name": "cornu", "version": version, "extensions": ["binary_tensor_data"]})

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
        return as_json({"models": found})

    async def _status(self, request: Request) -> Response:
        if "number" in request.path_params:
            versions = [self._named(request)]
        else:
            versions = self.repository.versions(request.path_params["name"])
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
        return as_json({"model_version_status": listed})

    async def _metadata_v1(self, request: Request) -> Response:
        version, servable = self._found(request)
        return as_json(protocols.metadata_v1(version.name, version.number, servable))

    async def _metadata_v2(self, request: Request) -> Response:
        version, servable = self._found(request)
        numbers = [v.number for v in self.repository.versions(version.name)]
        return as_json(protocols.metadata_v2(version.name, numbers, servable))

    async def _model_ready(self, request: Request) -> Response:
        version, _ = self._found(request)
        return as_json({"name": version.name, "ready": True})


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


def _size(outputs: Arrays) -> int:
    """About how many bytes of JSON they become."""
    return sum(20 * y.size for y in outputs)


def as_json(data: dict[str, Any], status: int = 200) -> Response:
    return _json_of(protocols.dump(data), status)


def _json_of(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")
