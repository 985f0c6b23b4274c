"""A client of the server, or of another that speaks KServe's protocol with tensors in bytes."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from cornu.serving import tensors
from cornu.serving.servable import Spec


class Client:
    """Asks a server for predictions.

    Args:
        address: such as `"http://127.0.0.1:8501"`.
        token: what the server needs, if anything.
        timeout: seconds to wait for an answer.
        retries: how often to ask again where the server is busy (429 and 503), after as many seconds as
            it says.
        verify: a file of certificates to trust (PEM), for a server with its own.

    Connections are kept, and serve one thread at a time. Raises ConnectionError if there is no server, and
    ValueError with what the server says.

    >>> from cornu.serving import Client
    >>> Client("http://127.0.0.1:1").live()
    False
    """

    def __init__(
        self,
        address: str,
        token: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        verify: str | bool = True,
    ):
        import requests

        self._address, self._timeout, self._retries = address.rstrip("/"), timeout, retries
        self._session = requests.Session()
        self._verify = verify
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"
        self._models: dict = {}

    def live(self) -> bool:
        """Whether the server runs."""
        return self._is_good("/v2/health/live")

    def ready(self, model: str | None = None) -> bool:
        """Whether all models answer, or one."""
        return self._is_good("/v2/health/ready" if model is None else f"/v2/models/{model}/ready")

    def models(self) -> list[dict]:
        """Names, versions, inputs and outputs of what is served."""
        return self._ask("GET", "/v1/models").json()["models"]

    def metadata(self, model: str | None = None, version: int | None = None) -> dict:
        """Names, shapes and datatypes of a model's inputs and outputs."""
        return self._ask("GET", self._path(model, version)).json()

    def predict(self, x, model: str | None = None, version: int | None = None):
        """What `model.predict(x)` returns.

        Args:
            x: examples in an array, or a dict of arrays by the inputs' names.
            model: its name; not needed where there is one.
            version: default: the newest.

        Returns:
            an array; of several outputs, a dict by their names.
        """
        path = self._path(model, version)
        known = self._models.get(path) or self._ask("GET", path).json()
        self._models[path] = known
        if not isinstance(x, dict):
            if len(known["inputs"]) != 1:
                names = [each["name"] for each in known["inputs"]]
                raise ValueError(f"Expected a dict of arrays for the inputs {names}.")
            x = {known["inputs"][0]["name"]: x}
        wanted = {each["name"]: each["datatype"] for each in known["inputs"]}
        inputs, raws = [], []
        for name, value in x.items():
            array = _array(value, wanted.get(name))
            datatype = "BYTES" if array.dtype == object else tensors.DATATYPES[str(array.dtype)]
            raws.append(tensors.to_bytes(array))
            one = {"name": name, "shape": list(array.shape), "datatype": datatype}
            inputs.append({**one, "parameters": {"binary_data_size": len(raws[-1])}})
        asked = {"inputs": inputs, "parameters": {"binary_data_output": True}}
        text = json.dumps(asked).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        response = self._ask("POST", f"{path}/infer", b"".join([text, *raws]), headers)
        outputs = _outputs(response)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def classify(
        self,
        images,
        model: str | None = None,
        version: int | None = None,
        **options: Any,
    ) -> list[dict]:
        """The classes of image files, as `cornu predict` names them.

        Args:
            images: paths, or contents (bytes); one alone may be without a list.
            model, version: as for `predict`.
            options: `top=3`, `threshold=0.5`, `invert=1`.

        Returns:
            for each a dict with `classes`, the most probable first, or `error`.
        """
        images = [images] if isinstance(images, str | bytes | Path) else images
        name = self._name(model)
        path = f"/images/{name}" + ("" if version is None else f"/versions/{version}")
        files = [
            ("image", (f"{number}.image", each) if isinstance(each, bytes) else _opened(each))
            for number, each in enumerate(images)
        ]
        return self._ask("POST", path, files=files, params=options).json()["images"]

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _name(self, model: str | None) -> str:
        if model is not None:
            return model
        names = [each["name"] for each in self.models()]
        if len(names) != 1:
            raise ValueError(f"Which model? There are {', '.join(names)}.")
        return names[0]

    def _path(self, model: str | None, version: int | None) -> str:
        if model is None and (None, version) in self._models:
            model = self._models[None, version]
        elif model is None:
            model = self._models[None, version] = self._name(None)
        return f"/v2/models/{model}" + ("" if version is None else f"/versions/{version}")

    def _is_good(self, path: str) -> bool:
        import requests

        try:
            found = self._session.get(
                self._address + path, timeout=self._timeout, verify=self._verify
            )
        except requests.ConnectionError:
            return False
        return found.status_code == 200

    def _ask(self, method: str, path: str, data=None, headers=None, files=None, params=None):
        import requests

        for attempt in range(self._retries + 1):
            try:
                found = self._session.request(
                    method,
                    self._address + path,
                    data=data,
                    headers=headers,
                    files=files,
                    params=params,
                    timeout=self._timeout,
                    # Of the session, the environment's would count.
                    verify=self._verify,
                )
            except requests.ConnectionError as error:
                raise ConnectionError(f"No answer from {self._address}: {error}") from error
            if found.status_code not in (429, 503) or attempt == self._retries:
                break
            time.sleep(float(found.headers.get("Retry-After", 1)))
        if found.status_code != 200:
            try:
                reason = found.json()["error"]
            except (ValueError, KeyError, TypeError):
                reason = found.text[:200]
            raise ValueError(f"{self._address} refused ({found.status_code}): {reason}")
        return found


def _opened(path) -> tuple[str, bytes]:
    return Path(path).name, Path(path).read_bytes()


def _array(value, datatype: str | None) -> np.ndarray:
    """An array that the protocol has a datatype for; of lists, the one that the model takes."""
    if hasattr(value, "dtype") or datatype is None:
        array = np.asarray(value)
    elif datatype == "BYTES":
        array = np.asarray(value, object)
    else:
        array = tensors.array_of(value, _spec(datatype), "`x`")
    if array.dtype.kind in "SU":
        array = array.astype(object)
    if array.dtype != object and str(array.dtype) not in tensors.DATATYPES:
        raise ValueError(f"`x` must hold numbers or strings. Received: dtype {array.dtype}")
    return np.ascontiguousarray(array).reshape(array.shape)


def _spec(datatype: str) -> Spec:
    return Spec("x", (), tensors.DTYPES[datatype])


def _outputs(response) -> dict[str, np.ndarray]:
    """The arrays of an answer, by name."""
    content = response.content
    length = response.headers.get("Inference-Header-Content-Length")
    at = len(content) if length is None else int(length)
    found = {}
    for each in json.loads(content[:at])["outputs"]:
        size = each.get("parameters", {}).get("binary_data_size")
        if size is None:
            spec = _spec(each["datatype"])
            y = tensors.array_of(each["data"], spec, each["name"]).reshape(each["shape"])
        else:
            raw = memoryview(content)[at : at + size]
            y = tensors.from_bytes(raw, each["datatype"], each["shape"], each["name"]).copy()
            at += size
        found[each["name"]] = y
    return found
