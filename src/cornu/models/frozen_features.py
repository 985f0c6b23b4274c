"""A model cut in two: layers that stay as they are, whose outputs are computed once, and a head."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cornu.core.symbolic import KerasTensor
from cornu.layers.augmentation.base import RandomImageLayer
from cornu.layers.pooling import BaseGlobalPooling
from cornu.layers.reshaping import Flatten
from cornu.models.cloning import Cloning, classes_of
from cornu.models.feature_files import digest, stored_rows
from cornu.models.graph import Graph, key_of
from cornu.models.model import Model
from cornu.utils.progress import Progbar


class Cut(NamedTuple):
    """A model's two parts.

    Attributes:
        features: from the inputs to where the model is cut; its layers are the model's own.
        head: from there to the outputs, with weights of its own, the copies of the model's.
        pairs: for each layer of the head with weights, the model's layer and its copy.
        layers: the layers of the first part with weights, in the order in which they run.
    """

    features: Model
    head: Model
    pairs: list
    layers: list


def cut(model: Model, backbone=None) -> Cut:
    """Cut a model behind its backbone.

    Args:
        model: Sequential, or made from a graph.
        backbone: a layer, perhaps a model, or its name; the cut is behind it. Default: the model within
            the model that has most weights; if there is none, the last global pooling or `Flatten`.

    What follows without weights and random numbers, such as a pooling layer, belongs to the first part.
    """
    graph = model._graph
    if graph is None:
        raise ValueError(
            f"The model '{model.name}' cannot be cut into backbone and head: which layers it calls is not "
            "known. Make it Sequential with an Input, or from a graph: Model(inputs, outputs)."
        )
    layer = _backbone(model, graph, backbone)
    nodes = [node for node in graph.steps if node.operation is layer]
    if len(nodes) != 1 or len(nodes[0].output_tensors) != 1:
        raise ValueError(
            f"The backbone '{layer.name}' of '{model.name}' must be called once and have one output. It is "
            f"called {len(nodes)} time(s)."
        )
    (boundary,) = nodes[0].output_tensors
    while (following := _follower(graph, boundary)) is not None:
        boundary = following
    try:
        behind = Graph(boundary, graph.outputs)
    except ValueError as error:
        raise ValueError(
            f"The model '{model.name}' cannot be cut behind '{layer.name}': {error} Name "
            "another `backbone`, a layer that everything goes through."
        ) from error
    cloning = Cloning(recursive=True)
    with classes_of(model):
        start = cloning.start(boundary)
        outputs = behind.run(
            [start], lambda operation, args, kwargs: cloning.layer(operation)(*args, **kwargs)
        )
    head = Model(start, outputs, name=f"{model.name}_head")
    pairs = [
        (own, cloning.layer(own)) for own in behind.operations if getattr(own, "weights", None)
    ]
    if not any(copy.trainable_weights for _, copy in pairs):
        raise ValueError(
            f"Behind '{layer.name}' no layer of '{model.name}' has weights that can be trained. Put a "
            "Dense layer behind the backbone, or name another `backbone`."
        )
    features = Model(graph.inputs, boundary, name=f"{model.name}_features")
    layers = [
        own
        for operation in dict.fromkeys(node.operation for node in features._graph.steps)
        for own in getattr(operation, "_flatten_layers", list)()
        if own._own_weights()
    ]
    return Cut(features, head, pairs, layers)


def _backbone(model: Model, graph: Graph, given):
    called = list(dict.fromkeys(node.operation for node in graph.steps))
    if given is not None:
        found = [layer for layer in called if given is layer or given == layer.name]
        if not found:
            names = ", ".join(layer.name for layer in called)
            raise ValueError(f"'{model.name}' calls no layer {given!r}. It calls {names}.")
        return found[0]
    models = [layer for layer in called if isinstance(layer, Model) and layer.weights]
    if models:
        return max(models, key=lambda layer: layer.count_params())
    flat = [layer for layer in called if isinstance(layer, BaseGlobalPooling | Flatten)]
    if not flat:
        raise ValueError(
            f"Which layers of '{model.name}' are its backbone? There is no model within it, and no global "
            "pooling or Flatten layer. Pass `backbone`, the last layer that is to be frozen."
        )
    return flat[-1]


def _follower(graph: Graph, tensor: KerasTensor) -> KerasTensor | None:
    """The output of what alone takes a tensor, and nothing else, if it has no weights or random numbers."""
    key = key_of(tensor)
    if key in {key_of(t) for t in graph.flat_outputs}:
        return None
    nodes = [node for node in graph.steps if key in {key_of(t) for t in node.input_tensors}]
    if len(nodes) != 1 or len(nodes[0].input_tensors) != 1 or len(nodes[0].output_tensors) != 1:
        return None
    if nodes[0].variables or getattr(nodes[0].operation, "variables", None):
        return None
    (output,) = nodes[0].output_tensors
    return None if key_of(output) in {key_of(t) for t in graph.flat_outputs} else output


class Drawing(Model):
    """Features of images that are changed at random, while all else does what it does in `predict`."""

    def __init__(self, features: Model):
        super().__init__(name=f"{features.name}_drawing")
        self.features = features
        self.random = [
            layer for layer in features._flatten_layers() if isinstance(layer, RandomImageLayer)
        ]
        self.changing = [
            operation
            for operation in features._graph.operations
            if any(layer in self.random for layer in _parts(operation))
        ]
        for operation in self.changing:
            if operation.weights:
                raise ValueError(
                    f"'{operation.name}' holds random image layers beside weights: what is frozen cannot "
                    "be told from what is random. Put the random layers before it."
                )

    def call(self, inputs):
        graph = self.features._graph

        def run(operation, args, kwargs):
            if operation in self.changing:
                kwargs = {**kwargs, "training": True}
            return operation(*args, **kwargs)

        return graph.run(jax.tree.leaves(inputs), run)

    def begin(self, seed: int, number: int) -> None:
        """Set the random numbers of one draw."""
        for index, layer in enumerate(self.random):
            layer.generator.state.assign(
                np.array([(seed + index) % 2**32, number << 20], np.uint32)
            )


def _parts(operation) -> list:
    return getattr(operation, "_flatten_layers", list)()


# What of a configuration changes no number of an inference.
_NO_MATTER = ("build_config", "build_input_shape", "trainable")


def name_of(features: Model, data: str, seed: int | None, number: int) -> str:
    """The name of a file of features: it follows from the network, its weights, the data and the draw."""
    layers = features._flatten_layers()
    names = {layer.name: f"layer {index}" for index, layer in enumerate(layers)}

    def without_names(value):
        if isinstance(value, dict):
            return {
                key: without_names(each) for key, each in value.items() if key not in _NO_MATTER
            }
        if isinstance(value, list):
            return [without_names(each) for each in value]
        return names.get(value, value) if isinstance(value, str) else value

    config = json.dumps(without_names(json.loads(features.to_json())), sort_keys=True)
    weights = [weight.numpy() for weight in features.weights]
    return digest("1", config, data, f"{seed} {number}", *weights)


def _row_of(features: Model) -> tuple:
    """Shape and dtype of the features of one sample."""
    shape, dtype = features.output_shape[1:], features.output.dtype
    if None in shape:
        raise ValueError(
            f"The backbone's output has the shape {features.output_shape}: its size must be known. Give "
            "the model's Input a whole shape, or put a global pooling layer behind the backbone."
        )
    # Files of NumPy do not know bfloat16.
    return shape, "float32" if dtype == "bfloat16" else dtype


def _paths(features: Model, samples, folder: Path, draws: int, seed: int) -> list[Path]:
    """The files of all draws."""
    is_drawn = bool(draws and Drawing(features).random)
    return [
        folder / f"{name_of(features, samples.digest, seed if is_drawn else None, number)}.npy"
        for number in range(draws if is_drawn else 1)
    ]


def needed_bytes(features: Model, samples, folder: Path, draws: int, seed: int) -> int:
    """How much `computed` will write."""
    shape, dtype = _row_of(features)
    missing = [p for p in _paths(features, samples, folder, draws, seed) if not p.is_file()]
    return len(missing) * samples.count * int(np.prod(shape)) * np.dtype(dtype).itemsize


def computed(
    features: Model, samples, folder: Path, draws: int, seed: int, verbose
) -> list[np.ndarray]:
    """The features of all samples, for each draw, in memory-mapped files.

    Args:
        features: the first part of a cut model.
        samples: has `inputs()`, which passes over batches with the numbers of their samples; `count`, how
            many samples there are; and `digest`, a name for all of them.
        folder: where the files are.
        draws: how many times random layers change each image; 0: they change nothing.
        seed: of what is drawn.
        verbose: whether to show a progress bar.
    """
    shape, dtype = _row_of(features)
    drawing = Drawing(features)
    model = drawing if draws and drawing.random else features
    states = [layer.generator.state for layer in drawing.random]
    before = [state.numpy() for state in states]

    def rows(number) -> Iterator[Any]:
        bar = Progbar(samples.count, verbose=1 if verbose else 0, unit_name="sample")
        if model is drawing:
            drawing.begin(seed, number)
        done = 0
        for numbers, x in samples.inputs():
            yield numbers, model.predict_on_batch(x)
            done += len(numbers)
            bar.update(done)

    try:
        return [
            stored_rows(path, samples.count, shape, dtype, rows(number))
            for number, path in enumerate(_paths(features, samples, folder, draws, seed))
        ]
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)
