"""A model's prediction as one small object: no model, no tracing, no XLA."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cornu.core.kernels import native
from cornu.inference.program import Plan, Program, aligned, sharing
from cornu.inference.quick import arrays_of
from cornu.inference.translation import Translation, Unsupported
from cornu.saving.atomic import replacing

FORMAT = 1
MOST_HEADER = 16 * 2**20
DTYPES = ("float32", "uint8")


class CompiledInference:
    """A model's prediction, compiled: `Model.compile_inference` makes it.

    It holds a copy of the weights as they were, so that it stays the same while the model is trained
    further. Several threads may call it at once; Python's lock is free while it computes.

    Attributes:
        batch_sizes: numbers of examples that there are programs for. Fewer examples are filled up to
            the next size, and more are done in several calls.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((4,)), cornu.layers.Dense(2)])
    >>> compiled = model.compile_inference(batch_sizes=(1, 8))
    >>> x = np.ones((3, 4), "float32")
    >>> compiled(x).shape
    (3, 2)
    >>> bool(np.allclose(compiled(x), model.predict(x, verbose=0), atol=1e-6))
    True
    """

    def __init__(self, plans: dict[int, Plan], inputs: Any, outputs: Any):
        self.batch_sizes = sorted(plans)
        self._programs = {size: Program(plans[size]) for size in self.batch_sizes}
        # Their containers, each with the number of the input or output in its place.
        self._inputs, self._outputs = inputs, outputs
        self._structure: Any = jax.tree.structure(inputs)
        self._specs = [
            (shape[1:], np.dtype(dtype)) for shape, dtype in plans[self.batch_sizes[0]].inputs
        ]

    def __call__(self, x):
        """The outputs for a batch, as NumPy arrays.

        Args:
            x: an array, or the arrays of several inputs in the model's own structure. Numbers become
                float32; an input that was compiled for `uint8` takes nothing else.

        Raises ValueError for another structure or other shapes.
        """
        given = self._arrays(x)
        count = len(given[0])
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
        arrays = []
        for number, (leaf, (shape, dtype)) in enumerate(zip(leaves, self._specs, strict=True)):
            array = np.asarray(leaf)
            if array.shape[1:] != shape or not array.ndim or not len(array):
                raise ValueError(
                    f"Input {number} must be a batch of shape {('examples', *shape)}, of one example at "
                    f"least. Received: shape {array.shape}"
                )
            if array.dtype != dtype and (dtype == np.uint8 or array.dtype.kind not in "fiub"):
                raise ValueError(f"Input {number} must be {dtype}. Received: {array.dtype}")
            arrays.append(np.require(array, dtype, ["C", "A"]))
        if len({len(a) for a in arrays}) != 1:
            raise ValueError(
                f"All inputs must have as many examples. Received: {[len(a) for a in arrays]}"
            )
        return arrays

    def save(self, filepath) -> None:
        """Write the programs and their weights to a file, which `CompiledInference.load` reads.

        The file runs on any processor that Cornu has kernels for. OSError if it cannot be written.
        """
        header: dict[str, Any] = {
            "format": FORMAT,
            "inputs": _described(self._inputs),
            "outputs": _described(self._outputs),
            "programs": [],
        }
        with replacing(Path(filepath)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for number, size in enumerate(self.batch_sizes):
                plan = self._programs[size].plan
                header["programs"].append(
                    {
                        "examples": size,
                        "kernels": plan.names,
                        "memory": plan.memory,
                        "inputs": [[list(s), str(np.dtype(d))] for s, d in plan.inputs],
                        "outputs": [[list(s), str(np.dtype(d))] for s, d in plan.outputs],
                    }
                )
                for name, array in (("steps", plan.numbers), ("constants", plan.constants)):
                    kept = io.BytesIO()
                    np.save(kept, array, allow_pickle=False)
                    archive.writestr(f"{number}/{name}.npy", kept.getvalue())
            archive.writestr("program.json", json.dumps(header))

    @classmethod
    def load(cls, filepath) -> "CompiledInference":
        """Read what `save` has written. Nothing is traced or compiled, and no code of the file's is run.

        Raises ValueError for a file that is damaged, or that something else has written; RuntimeError where
        the native kernels are not in use.
        """
        _need_kernels()
        try:
            with zipfile.ZipFile(filepath) as archive:
                if archive.getinfo("program.json").file_size > MOST_HEADER:
                    raise ValueError("its header is too long")
                header = json.loads(archive.read("program.json"))
                if header["format"] != FORMAT:
                    raise ValueError(f"its format is {header['format']}, not {FORMAT}")
                plans: dict[int, Plan] = {}
                for number, told in enumerate(header["programs"]):
                    steps, constants = (
                        _array(archive, f"{number}/{name}.npy", dtype)
                        for name, dtype in (("steps", np.int64), ("constants", np.uint8))
                    )
                    size = told["examples"]
                    plan = Plan(
                        [str(name) for name in told["kernels"]],
                        steps,
                        told["memory"],
                        constants,
                        _specs(told["inputs"], size),
                        _specs(told["outputs"], size),
                    )
                    plans[size] = sharing(plan, plans.values())
                if not plans:
                    raise ValueError("it holds no program")
                first = next(iter(plans.values()))
                inputs = _restored(header["inputs"], len(first.inputs))
                outputs = _restored(header["outputs"], len(first.outputs))
                return cls(plans, inputs, outputs)
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{filepath} is no compiled inference that Cornu can read: {error}. Write it again with "
                "`model.compile_inference().save(path)`."
            ) from error

    def __repr__(self):
        inputs = ", ".join(f"{('n', *shape)} {dtype}" for shape, dtype in self._specs)
        return f"<CompiledInference of {inputs}, batch_sizes={self.batch_sizes}>"

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


def _array(archive: zipfile.ZipFile, name: str, dtype) -> np.ndarray:
    array = np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
    if array.dtype != dtype or array.ndim != 1:
        raise ValueError(f"{name} holds {array.dtype} of shape {array.shape}")
    placed = aligned(array.nbytes).view(dtype)
    placed[:] = array
    return placed


def _specs(told, size) -> list[tuple]:
    found = [(tuple(map(int, shape)), np.dtype(dtype)) for shape, dtype in told]
    for shape, dtype in found:
        if str(dtype) not in DTYPES or not shape or shape[0] != size or min(shape) < 1:
            raise ValueError(f"an array of {dtype} of shape {shape} for {size} examples")
    return found


# Containers in JSON: a number is an input or output; a list is told from a tuple.


def _described(structure) -> Any:
    if isinstance(structure, dict):
        return {"dict": {name: _described(part) for name, part in structure.items()}}
    if isinstance(structure, list | tuple):
        kind = "list" if isinstance(structure, list) else "tuple"
        return {kind: [_described(part) for part in structure]}
    return structure


def _restored(told, count: int) -> Any:
    if isinstance(told, dict):
        ((kind, parts),) = told.items()
        if kind == "dict":
            return {str(name): _restored(part, count) for name, part in parts.items()}
        made = [_restored(part, count) for part in parts]
        return made if kind == "list" else tuple(made)
    if not isinstance(told, int) or not 0 <= told < count:
        raise ValueError(f"number {told} of {count} arrays")
    return told


def compiled(trace, batch_sizes, precision: str) -> CompiledInference:
    """What `Model.compile_inference` returns.

    Args:
        trace: from a number of examples to `(traced, values, x)`: what JAX has traced of a prediction on
            arrays like `x`, and the values of its variables.
        batch_sizes, precision: as given by the user.
    """
    if precision != "float32":
        raise ValueError(
            f"Compiled inference computes in float32. Received: precision={precision!r}. For eight bits, "
            "export to ONNX: `cornu export … --int8`."
        )
    sizes = [batch_sizes] if isinstance(batch_sizes, int) else list(batch_sizes)
    if not sizes or not all(type(n) is int and n > 0 for n in sizes):
        raise ValueError(
            f"`batch_sizes` must be one or several positive integers. Received: {batch_sizes!r}"
        )
    _need_kernels()
    plans: dict[int, Plan] = {}
    for size in sorted(set(sizes)):
        traced, values, x = trace(size)
        results, changes = traced.out_info
        try:
            if jax.tree.leaves(changes):
                raise Unsupported("a prediction that changes variables")
            plan = Translation(traced.jaxpr, arrays_of(values)).plan()
            plans[size] = sharing(plan, plans.values())
        except Unsupported as what:
            raise ValueError(
                f"This model cannot be compiled to native kernels alone, because of this: {what}. "
                "`model.predict` and `model.predict_on_batch` compile it with XLA."
            ) from None
    return CompiledInference(plans, _numbered(x), _numbered(results))


def _numbered(tree):
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, range(len(leaves)))
