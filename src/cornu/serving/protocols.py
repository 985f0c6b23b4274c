"""The bodies of two protocols: TensorFlow Serving's (v1), and the Open Inference Protocol (v2), KServe's.

Each reads a request into arrays in the order of the model's inputs, and writes the answer.

Source: TensorFlow Serving: RESTful API; Open Inference Protocol: REST, binary tensor data extension.
"""

import json
import math
from typing import Any

import numpy as np

from cornu.serving import tensors
from cornu.serving.servable import Arrays, Servable, Spec

SIGNATURE = "serving_default"
# Of an input. An empty one has no bytes, but axes of any size, and an example of them is made.
_MOST_VALUES = 2**28


def read_v1(body: bytes, servable: Servable) -> tuple[Arrays, bool]:
    """The inputs of a predict request, and whether it was in rows (`instances`) or columns (`inputs`)."""
    given = tensors.read_json(body)
    if not isinstance(given, dict) or ("instances" in given) == ("inputs" in given):
        raise ValueError(
            'Expected {"instances": [example, …]} or {"inputs": {name: examples}}. See the model\'s '
            "metadata for shapes."
        )
    _refuse_others(given, ("instances", "inputs", "signature_name"))
    if given.get("signature_name", SIGNATURE) not in (SIGNATURE, ""):
        raise ValueError(f"The only signature is {SIGNATURE!r}.")
    is_rows = "instances" in given
    columns = _columns(given["instances"], servable) if is_rows else given["inputs"]
    names = [spec.name for spec in servable.inputs]
    if not isinstance(columns, dict):
        if len(names) > 1:
            raise ValueError(f"Expected values for each of the inputs {names}, by name.")
        columns = {names[0]: columns}
    _check_names(columns, names)
    arrays = []
    for spec in servable.inputs:
        what = f"The input {spec.name}"
        array = tensors.array_of(columns[spec.name], spec, what)
        if not array.size and is_rows and array.shape == (0,):
            # No example says what an example is.
            array = np.zeros((0, *(n or 1 for n in spec.shape)), array.dtype)
        tensors.check_shape(array.shape, spec, what)
        arrays.append(array)
    _check_counts(arrays, names)
    return arrays, is_rows


def _columns(instances: Any, servable: Servable) -> Any:
    """Rows as columns: a dict from names if the rows are such dicts."""
    if not isinstance(instances, list):
        raise ValueError("`instances` must be a list of examples.")
    names = [spec.name for spec in servable.inputs]
    if not instances:
        return {name: [] for name in names}
    if not any(isinstance(row, dict) for row in instances):
        return instances
    for row in instances:
        if not isinstance(row, dict):
            raise ValueError("`instances` mixes objects with other values.")
        _check_names(row, names)
    return {name: [row[name] for row in instances] for name in names}


def write_v1(outputs: Arrays, servable: Servable, is_rows: bool) -> dict:
    """The answer to a predict request."""
    columns = {
        spec.name: tensors.plain(y) for spec, y in zip(servable.outputs, outputs, strict=True)
    }
    if len(columns) == 1:
        (only,) = columns.values()
        return {"predictions": only} if is_rows else {"outputs": only}
    if not is_rows:
        return {"outputs": columns}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


_TF_TYPES = {
    "float16": "DT_HALF",
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "bfloat16": "DT_BFLOAT16",
    "string": "DT_STRING",
}


def metadata_v1(name: str, version: int, servable: Servable) -> dict:
    """The signature, as TensorFlow Serving describes it."""

    def described(spec: Spec) -> dict:
        sizes = [{"size": str(-1 if n is None else n), "name": ""} for n in (None, *spec.shape)]
        return {
            "dtype": _TF_TYPES.get(spec.dtype, f"DT_{spec.dtype.upper()}"),
            "tensor_shape": {"dim": sizes, "unknown_rank": False},
            "name": spec.name,
        }

    signature = {
        "inputs": {spec.name: described(spec) for spec in servable.inputs},
        "outputs": {spec.name: described(spec) for spec in servable.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def metadata_v2(name: str, versions: list[int], servable: Servable) -> dict:
    """Inputs and outputs, as the Open Inference Protocol describes them."""

    def described(spec: Spec) -> dict:
        batch = servable.batch_size or -1
        return {
            "name": spec.name,
            "datatype": tensors.DATATYPES[spec.dtype],
            "shape": [batch, *(-1 if n is None else n for n in spec.shape)],
        }

    return {
        "name": name,
        "versions": [str(version) for version in versions],
        "platform": servable.platform,
        "inputs": [described(spec) for spec in servable.inputs],
        "outputs": [described(spec) for spec in servable.outputs],
    }


class Inference:
    """An inference request of v2.

    Args:
        body: JSON, after which the bytes of arrays may follow.
        json_length: where the JSON ends, as the header `Inference-Header-Content-Length` says; None: all.
        servable: the model.

    Attributes:
        arrays: in the order of the model's inputs.
    """

    def __init__(self, body: bytes, json_length: int | None, servable: Servable):
        json_length = len(body) if json_length is None else json_length
        if json_length > len(body):
            raise ValueError(
                f"The JSON has {json_length} bytes, by its header; the body {len(body)}."
            )
        given = tensors.read_json(body[:json_length])
        self._rest, self._at = memoryview(body), json_length
        if not isinstance(given, dict) or not isinstance(given.get("inputs"), list):
            raise ValueError(
                'Expected {"inputs": [{"name", "shape", "datatype", "data"}, …]}. See its metadata.'
            )
        _refuse_others(given, ("id", "parameters", "inputs", "outputs"))
        self._id = given.get("id")
        if self._id is not None and not isinstance(self._id, str):
            raise ValueError("`id` must be a string.")
        parameters = _parameters(given, ("binary_data_output",), "The request")
        self._is_binary = bool(_flag(parameters, "binary_data_output", "The request"))
        found: dict[str, np.ndarray] = {}
        specs = {spec.name: spec for spec in servable.inputs}
        # As the bytes lie, which need not be the model's order.
        for each in given["inputs"]:
            name = each.get("name") if isinstance(each, dict) else None
            if not isinstance(name, str) or name not in specs or name in found:
                raise ValueError(
                    f"Expected each of the inputs {list(specs)} once. Received: {tensors.short(name)}"
                )
            found[name] = self._array(each, specs[name])
        if self._at != len(body):
            raise ValueError(f"{len(body) - self._at} bytes follow the last of the arrays.")
        _check_names(found, list(specs))
        self.arrays = [found[name] for name in specs]
        _check_counts(self.arrays, list(specs))
        self._wanted = _wanted(given.get("outputs"), servable)

    def _array(self, given: dict, spec: Spec) -> np.ndarray:
        what = f"The input {spec.name}"
        _refuse_others(given, ("name", "shape", "datatype", "parameters", "data"))
        shape, datatype = given.get("shape"), given.get("datatype")
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{what}: `shape` must be a list of sizes.")
        # Before anything is computed with sizes of whatever magnitude.
        tensors.check_shape(shape, spec, what)
        if math.prod(max(n, 1) for n in shape) > _MOST_VALUES:
            raise ValueError(f"{what}: an array of shape {tensors.short(shape)} is too large.")
        if not isinstance(datatype, str) or datatype not in tensors.DTYPES:
            raise ValueError(
                f"{what}: `datatype` must be one of {', '.join(tensors.DTYPES)}. Received: "
                f"{tensors.short(datatype)}"
            )
        if (datatype == "BYTES") != (spec.dtype == "string"):
            raise ValueError(
                f"{what}: expected {tensors.DATATYPES[spec.dtype]}. Received: {datatype}."
            )
        size = _parameters(given, ("binary_data_size",), what).get("binary_data_size")
        if (size is None) == ("data" not in given):
            raise ValueError(f"{what}: expected either `data`, or `binary_data_size` and bytes.")
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(self._rest) - self._at:
                raise ValueError(f"{what}: its bytes are not all there.")
            raw = self._rest[self._at : self._at + size]
            self._at += size
            array = tensors.from_bytes(raw, datatype, shape, what)
        else:
            array = tensors.array_of(
                given["data"], Spec(spec.name, (), tensors.DTYPES[datatype]), what
            )
            if array.size != math.prod(shape):
                raise ValueError(
                    f"{what}: `data` has {array.size} values; the shape {shape} has {math.prod(shape)}."
                )
            array = array.reshape(shape)
        return array if spec.dtype == "string" else tensors.cast(array, spec, what)

    def answer(
        self, name: str, version: int, outputs: Arrays, servable: Servable
    ) -> tuple[bytes, int | None]:
        """The answer's body, and the length of its JSON if bytes follow."""
        listed, raws = [], []
        every = dict(zip((spec.name for spec in servable.outputs), outputs, strict=True))
        for output, is_binary in self._wanted.items():
            y, binary = every[output], self._is_binary if is_binary is None else is_binary
            datatype = "BYTES" if y.dtype == object else tensors.DATATYPES[str(y.dtype)]
            described: dict[str, Any] = {"name": output, "datatype": datatype}
            described["shape"] = list(y.shape)
            if binary:
                raws.append(tensors.to_bytes(y))
                described["parameters"] = {"binary_data_size": len(raws[-1])}
            else:
                described["data"] = tensors.plain(y.reshape(-1))
            listed.append(described)
        said: dict[str, Any] = {"model_name": name, "model_version": str(version)}
        if self._id is not None:
            said["id"] = self._id
        text = dump({**said, "outputs": listed})
        return b"".join([text, *raws]), len(text) if raws else None


def _wanted(outputs: Any, servable: Servable) -> dict[str, bool | None]:
    """The outputs that are asked for, and whether in bytes; None: as the request says."""
    names = [spec.name for spec in servable.outputs]
    if outputs is None:
        return dict.fromkeys(names)
    if not isinstance(outputs, list):
        raise ValueError("`outputs` must be a list of objects with names.")
    wanted: dict[str, bool | None] = {}
    for each in outputs:
        if not isinstance(each, dict) or each.get("name") not in names:
            raise ValueError(f"The outputs are called {names}. Received: {tensors.short(each)}")
        _refuse_others(each, ("name", "parameters"))
        what = f"The output {each['name']}"
        parameters = _parameters(each, ("binary_data",), what)
        wanted[each["name"]] = _flag(parameters, "binary_data", what)
    return wanted


def _flag(parameters: dict, name: str, what: str) -> bool | None:
    given = parameters.get(name)
    if given is not None and not isinstance(given, bool):
        raise ValueError(
            f"{what}: `{name}` must be true or false. Received: {tensors.short(given)}"
        )
    return given


def _parameters(given: dict, known: tuple[str, ...], what: str) -> dict:
    found = given.get("parameters", {})
    if not isinstance(found, dict):
        raise ValueError(f"{what}: `parameters` must be an object.")
    if unknown := sorted(set(found) - set(known)):
        raise ValueError(
            f"{what}: this server knows no parameter {unknown[0]!r}. It knows: {', '.join(known)}."
        )
    return found


def _refuse_others(given: dict, known: tuple[str, ...]) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{unknown[0]!r} is not known here. Known are: {', '.join(known)}.")


def _check_names(given: dict, names: list[str]) -> None:
    if set(given) != set(names):
        raise ValueError(f"The inputs are called {names}. Received: {sorted(given)}")


def _check_counts(arrays: Arrays, names: list[str]) -> None:
    if len({len(array) for array in arrays}) > 1:
        counts = {name: len(array) for name, array in zip(names, arrays, strict=True)}
        raise ValueError(f"The inputs must have the same number of examples. Received: {counts}")


def dump(value: Any) -> bytes:
    """Strict JSON, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
