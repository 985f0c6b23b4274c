"""A model's prediction as one small object: no model, no tracing, no XLA."""

import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cornu.core.kernels import native
from cornu.data.adapt import adapt
from cornu.data.arrays import converted, in_memory
from cornu.data.samples import unpack_x_y_sample_weight
from cornu.inference.calibration import Seen
from cornu.inference.loss import PrecisionLoss, measured
from cornu.inference.program import Plan, Program, aligned, sharing
from cornu.inference.quick import arrays_of
from cornu.inference.reduced import Range, in_bfloat16, in_bytes
from cornu.inference.translation import Translation, Unsupported
from cornu.saving import reading
from cornu.saving.atomic import replacing

FORMAT = 1
DTYPES = ("float32", "uint8")
PRECISIONS = ("float32", "bfloat16", "int8")
# How many examples are calibrated, and how many are compared together.
CALIBRATED_TOGETHER, COMPARED_TOGETHER = 8, 64


class CompiledInference:
    """A model's prediction, compiled: `Model.compile_inference` makes it.

    It holds a copy of the weights as they were, so that it stays the same while the model is trained
    further. Several threads may call it at once; Python's lock is free while it computes.

    Attributes:
        batch_sizes: numbers of examples that there are programs for. Fewer examples are filled up to
            the next size, and more are done in several calls; but not of a model with code of the user's,
            which may look at several examples at once.
        precision: "float32", "bfloat16" or "int8".
        loss: how far its predictions were from those in float32, a `PrecisionLoss`; None where nothing was
            compared.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((4,)), cornu.layers.Dense(2)])
    >>> compiled = model.compile_inference(batch_sizes=(1, 8))
    >>> x = np.ones((3, 4), "float32")
    >>> compiled(x).shape
    (3, 2)
    >>> bool(np.allclose(compiled(x), model.predict(x, verbose=0), atol=1e-6))
    True
    """

    def __init__(
        self,
        plans: dict[int, Plan],
        inputs: Any,
        outputs: Any,
        examples_are_alone: bool,
        precision: str = "float32",
        loss: PrecisionLoss | None = None,
    ):
        self.batch_sizes = sorted(plans)
        self.precision, self.loss = precision, loss
        self._programs = {size: Program(plans[size]) for size in self.batch_sizes}
        # Their containers, each with the number of the input or output in its place.
        self._inputs, self._outputs = inputs, outputs
        self._numbers: list[int] = jax.tree.leaves(inputs)
        self._structure: Any = jax.tree.structure(inputs)
        self._is_single = inputs == 0 and outputs == 0
        self._specs = _of_one_example(plans[self.batch_sizes[0]].inputs)
        self._examples_are_alone = examples_are_alone

    def __call__(self, x):
        """The outputs for a batch, as NumPy arrays.

        Args:
            x: an array, or the arrays of several inputs in the model's own structure. Numbers become
                float32; an input that was compiled for `uint8` takes nothing else.

        Raises ValueError for another structure, other shapes, or a number of examples that it does not
        take.
        """
        # One array as a program takes it: what follows would take longer than a small network.
        if self._is_single and type(x) is np.ndarray and x.ndim:
            program = self._programs.get(len(x))
            if program is not None and program.takes(x):
                return program([x])[0]
        given = self._arrays(x)
        count = len(given[0])
        if not self._examples_are_alone and count not in self.batch_sizes:
            raise ValueError(
                f"This model was compiled for {self.batch_sizes} examples, and has code of its own that "
                f"may look at several at once. Received: {count}. Compile it with `batch_sizes={count}`."
            )
        parts = []
        for at in range(0, count, self.batch_sizes[-1]):
            rows = min(count - at, self.batch_sizes[-1])
            size = next(s for s in self.batch_sizes if s >= rows)
            batch = [array[at : at + rows] for array in given]
            if size != rows:
                batch = [_filled_up(array, size) for array in batch]
            found = self._programs[size](batch)
            parts.append([y[:rows] for y in found] if size != rows else found)
        results = (
            parts[0] if len(parts) == 1 else [np.concatenate(y) for y in zip(*parts, strict=True)]
        )
        return jax.tree.map(lambda number: results[number], self._outputs)

    def _arrays(self, x) -> list[np.ndarray]:
        leaves, structure = jax.tree.flatten(x)
        if structure != self._structure:
            if isinstance(x, Sequence) and self._structure.num_leaves == 1:
                leaves = [x]
            else:
                raise ValueError(
                    f"Expected inputs as {self._structure}. Received: {structure}. Pass the arrays in the "
                    "containers that the model was compiled with."
                )
        arrays: list = [None] * len(self._specs)
        for number, leaf in zip(self._numbers, leaves, strict=True):
            array, (shape, dtype) = np.asarray(leaf), self._specs[number]
            if array.shape[1:] != shape or not array.ndim or not len(array):
                raise ValueError(
                    f"Input {number} must be a batch of shape {('examples', *shape)}, of one example at "
                    f"least. Received: shape {array.shape}"
                )
            if array.dtype != dtype and (dtype == np.uint8 or array.dtype.kind not in "fiub"):
                raise ValueError(f"Input {number} must be {dtype}. Received: {array.dtype}")
            arrays[number] = np.require(array, dtype, ["C", "A"])
        if len({len(a) for a in arrays}) != 1:
            raise ValueError(
                f"All inputs must have as many examples. Received: {[len(a) for a in arrays]}"
            )
        return arrays

    def save(self, filepath) -> None:
        """Write the programs and their weights to a file, which `CompiledInference.load` reads.

        The file runs on any processor that Cornu has kernels for. OSError if it cannot be written;
        ValueError for inputs or outputs in other containers than dicts with names, lists and tuples.
        """
        header: dict[str, Any] = {
            "format": FORMAT,
            "inputs": _described(self._inputs),
            "outputs": _described(self._outputs),
            "examples_are_alone": self._examples_are_alone,
            "precision": self.precision,
            "loss": self.loss and list(self.loss),
            "programs": [],
        }
        kept: dict[int, str] = {}
        with replacing(Path(filepath)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for number, size in enumerate(self.batch_sizes):
                plan = self._programs[size].plan
                archive.writestr(f"{number}/steps", plan.numbers.tobytes())
                # Several programs may have the same.
                if id(plan.constants) not in kept:
                    kept[id(plan.constants)] = f"{number}/constants"
                    archive.writestr(f"{number}/constants", plan.constants.tobytes())
                header["programs"].append(
                    {
                        "examples": size,
                        "kernels": plan.names,
                        "memory": plan.memory,
                        "steps": f"{number}/steps",
                        "constants": kept[id(plan.constants)],
                        "inputs": [[list(s), str(np.dtype(d))] for s, d in plan.inputs],
                        "outputs": [[list(s), str(np.dtype(d))] for s, d in plan.outputs],
                    }
                )
            archive.writestr("program.json", json.dumps(header))

    @classmethod
    def load(cls, filepath) -> "CompiledInference":
        """Read what `save` has written. Nothing is traced or compiled, and no code of the file's is run.

        Raises `cornu.saving.FileFormatError`, a ValueError, for a file that is damaged, or that something
        else has written; RuntimeError where the native kernels are not in use.
        """
        _need_kernels()
        what = "is no compiled inference that Cornu can read"
        with reading.open_file(filepath) as file, reading.explained(filepath, what):
            return cls(*_read(file, filepath))

    def __repr__(self):
        inputs = ", ".join(f"{('n', *shape)} {dtype}" for shape, dtype in self._specs)
        precision = "" if self.precision == "float32" else f", precision={self.precision!r}"
        return f"<CompiledInference of {inputs}, batch_sizes={self.batch_sizes}{precision}>"

    def __reduce__(self):
        raise TypeError(
            "A CompiledInference is not pickled. Use `save` and `CompiledInference.load`."
        )


def _need_kernels() -> None:
    if not native().in_use:
        raise RuntimeError(
            f"Compiled inference runs on the native kernels, which are not in use: {native().reason}. "
            "`model.predict` works without them."
        )


def _filled_up(array: np.ndarray, size: int) -> np.ndarray:
    whole = np.zeros((size, *array.shape[1:]), array.dtype)
    whole[: len(array)] = array
    return whole


def _of_one_example(specs) -> list[tuple]:
    return [(shape[1:], np.dtype(dtype)) for shape, dtype in specs]


# ---- files


def _read(file, path) -> tuple:
    """What `CompiledInference` is made of. Any error may come of a file that it has not written."""
    plans: dict[int, Plan] = {}
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(file) as archive:
        header = reading.parse(_bytes(archive, "program.json"), path)
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']}, not {FORMAT}")
        for told in header["programs"]:
            for name in (told["steps"], told["constants"]):
                if name not in arrays:
                    arrays[name] = _placed(_bytes(archive, name))
            size = told["examples"]
            plans[size] = Plan(
                [str(name) for name in told["kernels"]],
                arrays[told["steps"]].view(np.int64),
                told["memory"],
                arrays[told["constants"]],
                _specs(told["inputs"]),
                _specs(told["outputs"]),
            )
            for shape, _ in plans[size].inputs:
                if type(size) is not int or shape[:1] != (size,):
                    raise ValueError(f"an input of shape {shape} for {size} examples")
    if not plans or not next(iter(plans.values())).inputs:
        raise ValueError("it holds no program")
    first, *others = plans.values()
    for plan in others:
        same = _of_one_example(plan.inputs) == _of_one_example(first.inputs)
        if not same or len(plan.outputs) != len(first.outputs):
            raise ValueError("its programs have different inputs or outputs")
    inputs, outputs = _restored(header["inputs"]), _restored(header["outputs"])
    for numbers, specs in ((inputs, first.inputs), (outputs, first.outputs)):
        if sorted(jax.tree.leaves(numbers)) != list(range(len(specs))):
            raise ValueError(f"other inputs or outputs than its {len(specs)} arrays")
    precision = header.get("precision", "float32")
    if precision not in PRECISIONS:
        raise ValueError(f"numbers of kind {precision!r}")
    loss = header.get("loss")
    if loss is not None:
        count, largest, mean, *shares = loss
        found = [None if share is None else float(share) for share in shares]
        loss = PrecisionLoss(int(count), float(largest), float(mean), *found)
    return plans, inputs, outputs, bool(header["examples_are_alone"]), precision, loss


def _bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    """A part, which is not compressed: so it is no larger than the file."""
    told = archive.getinfo(name)
    if told.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return archive.read(told)


def _placed(content: bytes) -> np.ndarray:
    placed = aligned(len(content))
    placed[:] = np.frombuffer(content, np.uint8)
    return placed


def _specs(told) -> list[tuple]:
    found = [(tuple(map(int, shape)), np.dtype(dtype)) for shape, dtype in told]
    for shape, dtype in found:
        if str(dtype) not in DTYPES or min(shape, default=1) < 1:
            raise ValueError(f"an array of {dtype} of shape {shape}")
    return found


# Containers in JSON: a number is an input or output; a list is told from a tuple.


def _described(structure) -> Any:
    if structure is None or isinstance(structure, int):
        return structure
    if isinstance(structure, dict) and all(isinstance(name, str) for name in structure):
        return {"dict": {name: _described(part) for name, part in structure.items()}}
    if type(structure) in (list, tuple):
        return {type(structure).__name__: [_described(part) for part in structure]}
    raise ValueError(
        "A file keeps inputs and outputs in dicts whose keys are strings, in lists and in tuples. "
        f"Received: {structure!r:.200}"
    )


def _restored(told) -> Any:
    if told is None or type(told) is int:
        return told
    ((kind, parts),) = told.items()
    if kind == "dict":
        return {name: _restored(part) for name, part in parts.items()}
    return {"list": list, "tuple": tuple}[kind](map(_restored, parts))


def compiled(
    trace, batch_sizes, precision: str, examples_are_alone: bool, x=None, validation=None, verbose=1
) -> CompiledInference:
    """What `Model.compile_inference` returns.

    Args:
        trace: from a number of examples to `(traced, values, x)`: what JAX has traced of a prediction on
            arrays like `x`, and the values of its variables.
        batch_sizes, precision, validation, verbose: as given by the user.
        examples_are_alone: whether each output surely depends on one example only.
        x: data to calibrate with, or None.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {PRECISIONS}. Received: {precision!r}")
    if precision == "int8" and x is None:
        raise ValueError(
            "Eight bits are calibrated on data: give some hundred examples as `x`, such as "
            '`compile_inference(precision="int8", x=x_train[:500])`.'
        )
    if validation is not None and precision == "float32":
        raise ValueError(
            '`validation` tells what fewer bits lose: give it with `precision="int8"` or "bfloat16".'
        )
    sizes = list(batch_sizes) if isinstance(batch_sizes, Iterable) else [batch_sizes]
    if not sizes or not all(type(n) is int and n > 0 for n in sizes):
        raise ValueError(
            f"`batch_sizes` must be one or several positive integers. Received: {batch_sizes!r}"
        )
    _need_kernels()
    made = {size: _translated(trace, size) for size in sorted(set(sizes))}
    _, inputs, outputs = next(iter(made.values()))
    containers = inputs, outputs, examples_are_alone

    def programs(rewritten=None, **about) -> CompiledInference:
        plans: dict[int, Plan] = {}
        for size, (translation, *_) in made.items():
            plans[size] = sharing(translation.plan(rewritten), plans.values())
        return CompiledInference(plans, *containers, **about)

    if precision == "float32":
        return programs()
    # Those with code of the user's take no other numbers of examples.
    together = COMPARED_TOGETHER if examples_are_alone else min(made)
    # What yields batches may do so only once.
    data = None if x is None else list(_batches(x, together, False))
    if precision == "bfloat16":
        rewritten = in_bfloat16
    else:
        size = CALIBRATED_TOGETHER if examples_are_alone else min(made)
        translation = made[size][0] if size in made else _translated(trace, size)[0]
        ranges = _ranges(translation, size, inputs, examples_are_alone, data)

        def rewritten(steps, constants):
            return in_bytes(steps, constants, ranges)

    found = programs(rewritten, precision=precision)
    kinds = [name for p in found._programs.values() for name in p.plan.names]
    if "reduced_convolution" not in kinds:
        raise ValueError(
            f"Nothing of this model would be computed in {precision}: no convolution or dense layer of "
            'eight outputs or more. Use `precision="float32"`.'
        )
    shown = data if validation is None else _batches(validation, together, True)
    if validation is None and precision == "bfloat16" and not examples_are_alone:
        # `x` may be of another number of examples: it only says what inputs are like.
        shown = None
    if shown is not None:
        found.loss = measured(found, programs(), shown)
        if verbose:
            print(f"{precision}: {found.loss}")
    return found


def _translated(trace, size: int) -> tuple[Translation, Any, Any]:
    """The program for so many examples, and the containers of its inputs and outputs."""
    traced, values, x = trace(size)
    results, changes = traced.out_info
    try:
        if jax.tree.leaves(changes):
            raise Unsupported("a prediction that changes variables")
        return Translation(traced.jaxpr, arrays_of(values)), _numbered(x), _numbered(results)
    except Unsupported as what:
        raise ValueError(
            f"This model cannot be compiled to native kernels alone, because of this: {what}. "
            "`model.predict` and `model.predict_on_batch` compile it with XLA."
        ) from None


def _ranges(
    translation: Translation, size: int, inputs, examples_are_alone: bool, batches
) -> list[Range]:
    """How the numbers that reach each convolution become bytes, by what they are for the data."""
    plan = translation.plan_with_images()
    first = len(translation.plan().outputs)
    numbers = list(range(len(plan.outputs)))
    observed = CompiledInference({size: plan}, inputs, numbers, examples_are_alone)
    seen = [Seen() for _ in numbers[first:]]
    for batch, _ in batches:
        for each, image in zip(seen, observed(batch)[first:], strict=True):
            each.add(image)
    return [each.range() for each in seen]


def _batches(data, size: int, has_labels: bool) -> Iterator[tuple]:
    """`(x, y)` of arrays or of what yields batches; without labels, `y` is None."""
    y = None
    if has_labels and type(data) is tuple and len(data) == 2:
        data, y = data
    batch_size = size if in_memory(data) else None
    source = adapt(*converted(data, y), batch_size=batch_size, repeat=False, gather_in_step=False)
    try:
        for batch in source.batches():
            inputs, labels, _ = unpack_x_y_sample_weight(batch)
            yield jax.tree.map(np.asarray, inputs), labels if has_labels else None
    finally:
        source.close()


def _numbered(tree):
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, range(len(leaves)))
