"""What the tests of the server share."""

import asyncio
import http.client
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

from cornu.serving import Servable, Spec

NAMES = ["猫", "pes", 'a "quoted" name\n']


class Visitor:
    """Somebody who asks a server, as clients do and as nobody should."""

    def __init__(self, port, **headers):
        self.port, self.headers = port, {k.replace("_", "-"): v for k, v in headers.items()}

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, status=200, headers=None):
        body = body if body is None or isinstance(body, bytes) else json.dumps(body)
        got, _, content = self.ask(method, path, body, headers)
        assert got == status, content
        # Strict: Python alone would take NaN.
        return json.loads(content, parse_constant=pytest.fail)

    def error(self, method, path, body=None, status=400, headers=None):
        return self.json(method, path, body, status, headers)["error"]


class Events(list):
    """What a server reports."""

    def __call__(self, event, **facts):
        self.append((event, facts))

    def wait(self, event, seconds=20):
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for name, facts in list(self):
                if name == event:
                    return facts
            time.sleep(0.01)
        raise AssertionError(f"{event} never came: {self}")


def doubling(calls=None, seconds=0.0, is_alone=True, gate=None, **more):
    """What can be served without a model: twice each number."""

    def run(arrays):
        if calls is not None:
            calls.append(arrays[0].copy())
        if gate is not None:
            assert gate.wait(20)
        time.sleep(seconds)
        return [2 * arrays[0]]

    spec = [Spec("x", (2,), "float32")], [Spec("y", (2,), "float32")]
    return Servable(*spec, run, is_alone, **more)


def write_run(folder, model, fit="crop", temperature=1.7):
    """What `cornu train` leaves of a model that predict and serve need."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    settings = {"classes": NAMES, "image": {"white": 255, "fit": fit}, "temperature": temperature}
    (folder / "settings.json").write_text(json.dumps(settings, ensure_ascii=False), "utf-8")
    return folder


def picture(mode="RGB", size=(30, 20), seed=0, format="PNG", **more) -> bytes:
    random = np.random.default_rng(seed)
    channels = {"L": 1, "LA": 2, "RGBA": 4}.get(mode, 3)
    values = random.integers(0, 256, (size[1], size[0], channels), "uint8")
    if mode in ("P", "1", "CMYK"):
        image = Image.fromarray(values).convert(mode)
    elif mode == "I;16":
        image = Image.fromarray(random.integers(0, 65536, size[::-1], "uint16"))
    else:
        image = Image.fromarray(
            values[..., 0] if channels == 1 else values, mode if channels != 2 else None
        )
    file = io.BytesIO()
    image.save(file, format, **more)
    return file.getvalue()


def in_loop(*coroutines):
    """Run coroutines together; their results, or errors."""

    async def gathered():
        return await asyncio.gather(*coroutines, return_exceptions=True)

    return asyncio.run(gathered())


def at_once(function, arguments):
    """Call a function in as many threads as there are arguments; what they return."""
    results = [None] * len(arguments)

    def work(number, argument):
        try:
            results[number] = function(argument)
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=work, args=each) for each in enumerate(arguments)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
