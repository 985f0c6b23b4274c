"""The part of a model's graph that runs on the host, before the compiled step.

Layers that read text cannot be compiled. What a graph computes from text, up to where it is numbers, is
computed for the data as they come; the compiled step begins there.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from cornu.core.symbolic import KerasTensor, Node, node_of
from cornu.data.arrays import StoredRows, in_memory, to_arrays
from cornu.data.dataset import Dataset
from cornu.data.py_dataset import PyDataset
from cornu.models.graph import Graph, key_of

# A data set may make another dict of its elements, so names say what they are.
_NAME = "host_part_"


class HostPart:
    """What of a graph runs on the host.

    `nodes` run there; `frontier` has the tensors from which the rest is computed.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        chosen = {id(node) for node in graph.steps if _is_for_host(node)}
        for node in reversed(graph.steps):
            if id(node) in chosen:
                chosen |= {
                    id(parent) for parent in node.parent_nodes if not graph._is_start(parent)
                }
        self.nodes = [node for node in graph.steps if id(node) in chosen]
        rest = [node for node in graph.steps if id(node) not in chosen]
        made = {key_of(t) for node in rest for t in node.output_tensors}
        wanted = [t for node in rest for t in node.input_tensors] + graph.flat_outputs
        by_key = {key_of(t): t for t in wanted if key_of(t) not in made}
        self.frontier = list(by_key.values())
        # Whether how long its rows are depends on those beside them, and results do not keep that length.
        self.is_by_batch = _varies(self.frontier) and not _varies(graph.flat_outputs)

    def check(self, model, trains: bool) -> None:
        """Raise ValueError if the compiled step could not begin at the frontier."""
        text = next((t for t in self.frontier if t.dtype == "string"), None)
        if text is not None:
            raise ValueError(
                f"Model '{model.name}': its output '{node_of(text).operation.name}' is text, which no "
                "compiled program returns. Call the model itself: model(x)."
            )
        if not trains:
            return
        for node in self.nodes:
            if getattr(node.operation, "trainable_variables", None):
                raise ValueError(
                    f"Model '{model.name}': '{node.operation.name}' has trainable weights and takes text, "
                    "so it cannot be compiled for training. Put the layer that reads the text before it: "
                    "apply it to the data (`dataset.map(layer)`), or call it on the model's own Input."
                )

    def run(self, flat_values: list) -> dict[str, np.ndarray]:
        """The values at the frontier for values of the graph's inputs."""
        known = self.graph.computed(flat_values, self.nodes)
        return {f"{_NAME}{i}": np.asarray(known[key_of(t)]) for i, t in enumerate(self.frontier)}

    def rows(self, flat_values: list) -> dict[str, StoredRows]:
        """The same, computed for the rows of a batch when these are asked for."""
        return {name: StoredRows(each) for name, each in _Rows.of(self, flat_values).items()}

    def known(self, values: dict) -> dict:
        """What `run` returned, by the keys of the tensors."""
        return {key_of(t): values[f"{_NAME}{i}"] for i, t in enumerate(self.frontier)}


class _Rows:
    """One value at the frontier for rows of the inputs; `run` computes all values for some rows."""

    def __init__(self, run: Callable, name: str, length: int, first: np.ndarray):
        self._run, self._name = run, name
        self.dtype, self.shape = first.dtype, (length, *first.shape[1:])

    @staticmethod
    def of(part: HostPart, flat_values: list) -> dict[str, "_Rows"]:
        """Those of all values, which are computed together."""
        length = len(flat_values[0])

        @functools.lru_cache(1)
        def run(rows: tuple) -> dict[str, np.ndarray]:
            return part.run([value[np.array(rows, int)] for value in flat_values])

        return {name: _Rows(run, name, length, value) for name, value in run((0,)).items()}

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        return self._run(tuple(np.arange(len(self))[rows].tolist()))[self._name]


def _varies(tensors) -> bool:
    return any(None in t.shape[1:] for t in tensors)


def is_prepared(x) -> bool:
    """Whether data are what `HostPart.run` returned."""
    return isinstance(x, dict) and bool(x) and all(str(key).startswith(_NAME) for key in x)


def _is_for_host(node: Node) -> bool:
    return any(t.dtype == "string" for t in node.input_tensors) or getattr(
        node.operation, "needs_host", False
    )


def host_part(graph: Graph) -> HostPart | None:
    """What of a graph runs on the host; None for most graphs."""
    if not any(_is_for_host(node) for node in graph.steps):
        return None
    return HostPart(graph)


def has_text(x) -> bool:
    """Whether data hold text."""
    while isinstance(x, list | tuple | dict) and x:
        parts = list(x.values()) if isinstance(x, dict) else x
        if isinstance(x, dict):
            return any(map(has_text, parts))
        x = parts[0]
    kind = getattr(getattr(x, "dtype", None), "kind", "")
    if kind == "O" and getattr(x, "size", 0):
        return isinstance(np.asarray(x).reshape(-1)[0], str | bytes)
    return isinstance(x, str | bytes) or (kind in "SUT" and kind != "")


def text_arrays(x, inputs):
    """Lists of text as arrays, where a graph's `inputs` has one."""
    if is_prepared(x):
        return x
    if isinstance(inputs, dict):
        if not isinstance(x, dict):
            return x
        return {k: text_arrays(v, inputs[k]) if k in inputs else v for k, v in x.items()}
    if isinstance(inputs, list | tuple):
        if not isinstance(x, list | tuple) or len(x) != len(inputs):
            return x
        return [text_arrays(v, t) for v, t in zip(x, inputs, strict=True)]
    is_list = isinstance(x, list | tuple) and not any(hasattr(part, "shape") for part in x)
    if is_list or hasattr(x, "iloc") or isinstance(x, str | bytes):
        return np.asarray(x)
    return x


def mapped(data, function: Callable):
    """Data that yield batches, with `function` of the inputs in their place."""

    def of_batch(batch: Any):
        return (function(batch[0]), *batch[1:]) if isinstance(batch, tuple) else function(batch)

    if isinstance(data, Dataset):
        return data.map(lambda *batch: of_batch(batch if len(batch) > 1 else batch[0]))
    if isinstance(data, PyDataset):
        return _MappedPyDataset(data, of_batch)
    if isinstance(data, Iterator):
        return map(of_batch, data)
    return _Mapped(data, of_batch) if hasattr(data, "__len__") else _Again(data, of_batch)


class _Again:
    """An iterable with a function of each of its batches."""

    def __init__(self, data, function: Callable):
        self._data, self._function = data, function

    def __iter__(self):
        return map(self._function, self._data)


class _Mapped(_Again):
    def __len__(self):
        return len(self._data)


class _MappedPyDataset(PyDataset):
    def __init__(self, data: PyDataset, function: Callable):
        super().__init__(data.workers, data.use_multiprocessing, data.max_queue_size)
        self._data, self._function = data, function

    @property
    def num_batches(self):
        return self._data.num_batches

    def __getitem__(self, index):
        return self._function(self._data[index])

    def on_epoch_begin(self):
        self._data.on_epoch_begin()

    def on_epoch_end(self):
        self._data.on_epoch_end()


def prepared(model, x, standardized: Callable, trains: bool):
    """The inputs of a model's compiled step for data as the user gave them."""
    part = model._host_part
    if is_prepared(x):
        return x
    if part is None:
        if has_text(x):
            raise ValueError(
                f"Model '{model.name}': the data hold text, and no layer of its graph reads it. "
                "Apply a StringLookup or TextVectorization to the data first, `layer(x)` or "
                "`dataset.map(…)`, or make the model from `Input(…, dtype='string')`."
            )
        return x
    part.check(model, trains)

    def flat(x):
        return standardized(model, _numbers_as_arrays(text_arrays(x, model._graph.inputs)))

    whole = text_arrays(x, model._graph.inputs)
    if in_memory(whole) or isinstance(whole, np.ndarray):
        return (part.rows if part.is_by_batch else part.run)(flat(x))
    return mapped(x, lambda batch: part.run(flat(batch)))


def _numbers_as_arrays(x):
    return jax.tree.map(
        lambda leaf: leaf if has_text(leaf) else to_arrays(leaf)[0],
        x,
        is_leaf=lambda leaf: hasattr(leaf, "dtype") or isinstance(leaf, KerasTensor),
    )
