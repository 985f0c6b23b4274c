"""What can be served: named arrays in, named arrays out, and what is known of pictures."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cornu.core.optional import required
from cornu.inference.quick import may_run
from cornu.training.buckets import examples_are_alone
from cornu.utils.image_folder import reader_for

Arrays = list[np.ndarray]
Run = Callable[[Arrays], Arrays]


@dataclasses.dataclass(frozen=True)
class Spec:
    """One input or output: its name, the shape of one example (None: any size), and its dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class Pictures:
    """How pictures become the input of a model, and its output becomes classes.

    Attributes:
        class_names: by number.
        read: from an image (a path, or an `io.BytesIO`) to its pixels; OSError if it is damaged.
        white: the value of a white pixel.
        finish: from the model's output to calibrated probabilities; both `(n, classes)`.
        thresholds: from which probability on a picture is of each class; None where it is of one class.
    """

    class_names: list[str]
    read: Callable[[Any], np.ndarray]
    white: float = 255.0
    finish: Callable[[np.ndarray], np.ndarray] = lambda probabilities: probabilities
    thresholds: list[float] | None = None


@dataclasses.dataclass(frozen=True)
class Servable:
    """A model as a server uses it.

    Attributes:
        inputs, outputs: in the order in which `run` takes and returns them.
        run: from a list of arrays to a list of arrays; called by one thread at a time.
        is_alone: whether no example can see another of its batch, so that those of several requests may
            go through the model together, and a batch may be filled up.
        batch_size: the only number of examples that it takes; None for any.
        platform: what runs it, as the protocols call it.
        pictures: None if its inputs are no pictures, or its output no classes.
        programs: from numbers of examples to what computes batches of these sooner than `run`; None if
            nothing does.
        takes_any_number: whether it takes another number of examples without compiling for it.
    """

    inputs: list[Spec]
    outputs: list[Spec]
    run: Run
    is_alone: bool
    batch_size: int | None = None
    platform: str = "cornu_keras"
    pictures: Pictures | None = None
    programs: Callable[[list[int]], Run | None] = lambda sizes: None
    takes_any_number: bool = False

    def zeros(self, count: int) -> Arrays:
        """So many examples of zeros; of a free axis, one element."""
        return [
            np.full((count, *(1 if n is None else n for n in spec.shape)), "", object)
            if spec.dtype == "string"
            else np.zeros((count, *(1 if n is None else n for n in spec.shape)), spec.dtype)
            for spec in self.inputs
        ]

    @property
    def has_free_axes(self) -> bool:
        return any(None in spec.shape for spec in self.inputs)


def pictures(
    shape, class_names: list[str], white: float | None, aspect=None, **known
) -> Pictures | None:
    """`Pictures` of a model's input shape; None if that, or `white`, is of no pictures."""
    read = reader_for(shape, white, aspect)
    return None if read is None or white is None else Pictures(class_names, read, white, **known)


def of_model(model, class_names: list[str] | None = None, white: float | None = None) -> Servable:
    """A built model, to be served.

    Args:
        model: a Sequential or functional model; of a dict of inputs or outputs, the keys are the names.
        class_names: of a classifier of pictures; default: numbers.
        white: the value of a white pixel in what it takes; None if these are no pictures.

    Raises ValueError if it is not built, or a subclass whose inputs are not known.

    >>> import cornu
    >>> from cornu.serving import of_model
    >>> model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(2)])
    >>> of_model(model).outputs[0].shape
    (2,)
    """
    graph = getattr(model, "_graph", None)
    if graph is None:
        raise ValueError(
            f"{model.name} cannot be served: its inputs are not known. Expected a Sequential that begins "
            "with Input, or Model(inputs, outputs). Wrap a model of your own: x = Input(shape); "
            "Model(x, own(x))."
        )
    structure: Any = jax.tree.structure(graph.inputs)
    is_one = structure == jax.tree.structure(0)

    def given(arrays: Arrays):
        return arrays[0] if is_one else jax.tree.unflatten(structure, arrays)

    def run(arrays: Arrays) -> Arrays:
        return [np.asarray(y) for y in jax.tree.leaves(model.predict_on_batch(given(arrays)))]

    def programs(sizes: list[int]) -> Run | None:
        if not may_run():
            return None
        try:
            compiled = model.compile_inference(batch_sizes=sizes)
        except ValueError:
            # An operation without a kernel, or inputs of any size.
            return None
        return lambda arrays: jax.tree.leaves(compiled(given(arrays)))

    inputs = _specs(graph.inputs, model.input_names)
    outputs = _specs(graph.outputs, model.output_names)
    found = None
    if is_one and len(outputs) == len(outputs[0].shape) == 1 and outputs[0].shape[0] is not None:
        names = class_names or [str(number) for number in range(outputs[0].shape[0])]
        if len(names) != outputs[0].shape[0]:
            raise ValueError(
                f"`class_names` must name {outputs[0].shape[0]} classes. Received: {len(names)} names."
            )
        found = pictures(inputs[0].shape, names, white)
    return Servable(
        inputs, outputs, run, examples_are_alone(model), pictures=found, programs=programs
    )


def _specs(tensors, names: list[str]) -> list[Spec]:
    """Of a structure of symbolic tensors; what has no batch axis is refused."""
    flat = jax.tree.leaves(tensors)
    if isinstance(tensors, dict) and len(tensors) == len(flat):
        # As `jax.tree` orders them.
        names = sorted(tensors)
    for tensor in flat:
        if not tensor.shape or tensor.shape[0] is not None:
            raise ValueError(
                f"A served model takes batches of any size. {tensor.name} has the shape {tensor.shape}."
            )
    return [
        Spec(name, tuple(tensor.shape[1:]), str(tensor.dtype))
        for name, tensor in zip(_apart(names), flat, strict=True)
    ]


def _apart(names: list[str]) -> list[str]:
    """Names of which no two are equal: a layer that is used twice has two outputs of its name."""
    found: list[str] = []
    for name in names:
        own, number = name, 0
        while own in found or (number and own in names):
            number += 1
            own = f"{name}_{number}"
        found.append(own)
    return found


_ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({n})": n for n in ("int8", "int16", "int32", "int64")},
    **{f"tensor({n})": n for n in ("uint8", "uint16", "uint32", "uint64")},
}


def of_onnx(path: Path, threads: int = 0) -> Servable:
    """An ONNX file, run by ONNX Runtime on the CPU; without what is known of pictures.

    Raises ValueError if it is damaged, or has an input of a kind that cannot be served.
    """
    runtime = required("onnxruntime", "Serving an ONNX file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = runtime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except OSError:
        raise
    except Exception as error:
        # Its exceptions have no common class but this.
        raise ValueError(f"{path} is damaged, or no ONNX file: {error}") from error
    batches: set = set()

    def spec(tensor) -> Spec:
        dtype = _ONNX_TYPES.get(tensor.type)
        if dtype is None or not tensor.shape:
            raise ValueError(
                f"{path}: {tensor.name} is {tensor.type} of shape {tensor.shape}. Expected batches of "
                "numbers."
            )
        sizes = [n if isinstance(n, int) else None for n in tensor.shape]
        batches.add(sizes[0])
        return Spec(tensor.name, tuple(sizes[1:]), dtype)

    inputs = [spec(tensor) for tensor in session.get_inputs()]
    fixed = batches - {None}
    outputs = [spec(tensor) for tensor in session.get_outputs()]
    if len(fixed) > 1 or (fixed and None in batches):
        raise ValueError(
            f"{path}: the first axes of its inputs and outputs are no common batch axis."
        )
    names = [each.name for each in inputs]

    has_free_axes = any(None in each.shape for each in inputs)

    def run(arrays: Arrays) -> Arrays:
        try:
            return session.run(None, dict(zip(names, arrays, strict=True)))
        except Exception as error:
            if not has_free_axes:
                raise
            raise ValueError(f"ONNX Runtime cannot compute this size: {error}") from error

    size = next(iter(fixed), None)
    made = Servable(
        inputs, outputs, run, False, size, "onnxruntime_onnx", takes_any_number=size is None
    )
    try:
        is_alone = _seems_alone(made)
    except ValueError:
        # Of free axes, one element may be too few.
        is_alone = False
    return dataclasses.replace(made, is_alone=is_alone)


def _seems_alone(servable: Servable) -> bool:
    """Whether a row of the output stays the same, to the bit, whatever the other rows of the batch are.

    Nothing can be proved of a graph of another's; it is tried, with random numbers and with NaN.
    """
    count = servable.batch_size or 3
    if count == 1:
        return True
    random = np.random.default_rng(0)
    first = [_made_up(random, x) for x in servable.zeros(count)]
    tried = []
    for fill in (None, np.nan):
        other = [_made_up(random, x) for x in first]
        for x, y in zip(first, other, strict=True):
            if fill is not None and y.dtype.kind == "f":
                y[...] = fill
            y[-1] = x[-1]
        tried.append(servable.run(other))
    expected = servable.run(first)
    return all(
        len(x) == count and np.array_equal(x[-1], y[-1], equal_nan=x.dtype.kind == "f")
        for found in tried
        for x, y in zip(expected, found, strict=True)
    )


def _made_up(random, like: np.ndarray) -> np.ndarray:
    if like.dtype.kind == "f":
        return random.standard_normal(like.shape).astype(like.dtype)
    # Numbers that any table has.
    return random.integers(0, 2, like.shape).astype(like.dtype)
