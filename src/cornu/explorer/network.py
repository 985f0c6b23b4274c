"""A model as the page sees it: what can be asked about it, as plain data."""

import copy
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.dtype import is_float
from cornu.core.layer import Layer
from cornu.core.variable import functional
from cornu.explain.arithmetic import arithmetic
from cornu.explain.attribution import (
    Scores,
    grad_cam_of,
    grad_cam_plus_plus_of,
    maps_on_inputs,
    saliency_of,
)
from cornu.explain.observe import INPUT, Call, calls, input_of
from cornu.explain.receptive_field import receptive_field
from cornu.explain.terms import channels_last
from cornu.explain.training import dead_in
from cornu.explain.window import explained
from cornu.explorer.columns import columns_of
from cornu.explorer.edits import Batch, Steps, Value
from cornu.explorer.images import MOST_CHANNELS, as_maps, image_of, sheet_of
from cornu.explorer.links import links_in
from cornu.explorer.numbers import MOST_NUMBERS, numbers_of
from cornu.explorer.way_back import WayBack, edited

METHODS: dict[str, Any] = {
    "saliency": saliency_of,
    "grad_cam": grad_cam_of,
    "grad_cam_plus_plus": grad_cam_plus_plus_of,
}
# Of a layer whose arithmetic is not known, or is another than that of its kind, as of some subclasses.
REFUSALS = NotImplementedError, ArithmeticError


class Network:
    """Answers questions about a model, from any number of threads.

    Args:
        model: a built model with one numeric input.
        shape: shape of one example; needed where the model takes any size.
        class_names: names of the classes, if its output is one number for each.
        white: the value of white, if the input is an image; None if it is not.

    Raises ValueError for a model with several inputs, or of a size that is not known.

    >>> import cornu, numpy as np
    >>> from cornu.explorer.network import Network
    >>> model = cornu.Sequential([cornu.Input((4, 4, 1)), cornu.layers.Conv2D(2, 3, name="conv")])
    >>> network = Network(model)
    >>> [(layer["name"], layer["shape"]) for layer in network.describe()["layers"]]
    [('conv', [2, 2, 2])]
    >>> network.window(np.ones((4, 4, 1)), 0, (1, 1), 0)["field"]
    [[1, 4], [1, 4]]
    """

    def __init__(self, model, shape=None, class_names=None, white=1.0):
        shape = _shape_of(model) if shape is None else tuple(shape)
        if None in shape:
            raise ValueError(
                f"Model {model.name} takes inputs of any size, {shape}. Give the shape of one example."
            )
        example = jnp.zeros((1, *shape), _dtype_of(model))
        self.model, self.white = model, white
        # What becomes of images of other proportions: "crop", "pad", or None: they are stretched.
        self.aspect: str | None = None
        self._variables = list(model.variables)
        self._lock = threading.Lock()
        self.refresh()
        self._fields = receptive_field(model, example)
        found = self._fields.calls
        self._first = getattr(input_of(found)[1], "data_format", "") == "channels_first"
        self._first = self._first and len(shape) > 1
        self._model_shape, self._dtype = shape, example.dtype
        self.shape = (*shape[1:], shape[0]) if self._first else shape
        # Of the calls, those of single layers that give one array.
        self._shown = [
            n for n, call in enumerate(found) if call.is_whole and hasattr(call.outputs, "shape")
        ]
        self._places = {n: place for place, n in enumerate(self._shown)}
        self._rows = _rows_by_call(model, example, found)
        output: tuple = getattr(found[-1].outputs, "shape", ())
        # A single number is no choice between classes.
        self.num_classes = output[1] if len(output) == 2 and output[1] > 1 else None
        self.name_classes(class_names)
        self._observe = _Observer(model, self._variables)
        self._maps: dict[str, Any] = {}
        self._back = WayBack(model, self._variables, found, self.num_classes, self._dtype)
        # What it learns from, step by step; None for nothing.
        self.batches: Any = None

    def name_classes(self, names: list[str] | None) -> None:
        """Give the classes names; None: their indices. Raises ValueError if there are more or fewer."""
        count = self.num_classes or 0
        if names is not None and len(names) != count:
            raise ValueError(
                f"Model {self.model.name} gives {count or 'no'} classes, and {len(names)} names were given."
            )
        self.class_names = [str(n) for n in range(count)] if names is None else list(names)

    def refresh(self) -> None:
        """Copy the weights as they are now; answers use these until the next call.

        To be called in the thread that trains, between two steps.
        """
        # Copies, as training gives the arrays themselves away.
        values = [jnp.array(v._stored(), copy=True) for v in self._variables]
        with self._lock:
            self._values = values

    @property
    def values(self) -> list[jax.Array]:
        """The weights that answers use."""
        with self._lock:
            return self._values

    def edited(self, x, edits: list[Value] | Steps | Batch | None) -> "Network":
        """The same network with other weights, as `explorer.edits` has them; this one stays as it is.

        Raises ValueError if there is no such weight, or no way back from such a target.
        """
        if not edits:
            return self
        if isinstance(edits, Batch):
            if self.batches is None:
                raise ValueError("There is nothing to learn from here.")
            values = self.batches.values(edits.done, edits.size)
        elif isinstance(edits, Steps):
            values = self._back.stepped(self.values, self._batch(x), edits)
        else:
            values = edited(self.values, self._variables, self._layer, edits)
        view = copy.copy(self)
        view._values = values
        return view

    @property
    def methods(self) -> list[str]:
        """The maps of a class that can be made."""
        can = self.num_classes is not None and is_float(self._dtype) and not self._first
        maps = any(len(self._output_shape(n)) > 1 for n in self._shown)
        return [m for m in METHODS if can and (maps or m == "saliency") and len(self.shape) > 1]

    def describe(self) -> dict[str, Any]:
        """What there is to see."""
        found = self._fields.calls
        described: dict[str, Any] = {
            "name": self.model.name,
            "parameters": sum(row.num_parameters for row in self._rows.values()),
            "shape": list(self.shape),
            "white": self.white,
            "is_float": is_float(self._dtype),
            "classes": self.class_names,
            "methods": self.methods,
            # Why there is no way back; empty if there is one.
            "no_way_back": self._back.refusal,
            "loss": "" if self._back.refusal else self._back.loss_name,
            "layers": [
                {
                    "name": found[n].name,
                    "kind": type(found[n].operation).__name__,
                    "shape": list(self._output_shape(n)),
                    "sources": [
                        "input" if maker == INPUT else self._places.get(maker)
                        for maker in found[n].makers
                    ],
                    "sizes": self._rows[n].sizes if n in self._rows else [],
                    "parameters": self._rows[n].parameters if n in self._rows else "",
                }
                for n in self._shown
            ],
        }
        return {**described, **columns_of(described["layers"], found, self._shown)}

    def _output_shape(self, number: int) -> tuple[int, ...]:
        call = self._fields.calls[number]
        shape = tuple(call.outputs.shape[1:])
        return (*shape[1:], shape[0]) if _is_first(call) else shape

    def observe(self, x) -> list[Call]:
        """The calls of all layers for one example, with channels last."""
        return self._observe(self.values, self._batch(x))

    def _batch(self, x) -> jax.Array:
        return self.batch(np.asarray(x)[None])

    def batch(self, x) -> jax.Array:
        """Examples with channels last as the model takes them."""
        x = np.asarray(x).reshape(-1, *self.shape)
        return jnp.asarray(np.moveaxis(x, -1, 1) if self._first else x, self._dtype)

    @property
    def no_way_back(self) -> str:
        """Why there is no way back; empty if there is one."""
        return self._back.refusal

    @property
    def has_own_loss(self) -> bool:
        """Whether the model was compiled with a loss of classes or numbers."""
        return self._back.has_own_loss

    @property
    def shown_calls(self) -> list[int]:
        """Of the model's calls, the numbers of those that a page shows, in its order."""
        return self._shown

    def targets(self, y):
        """Classes, or numbers, as the model's loss takes them."""
        return self._back.targets(y)

    def trained_on(self, values, x, y):
        """See `WayBack.trained_on`."""
        return self._back.trained_on(values, x, y)

    def loss_on(self, values, x, y) -> float:
        """See `WayBack.loss_on`."""
        return self._back.loss_on(values, x, y)

    def moves(self, slopes: dict, before: list, after: list) -> list[dict[str, Any]]:
        """How a step moved each trained weight: lengths of it, of its gradient, and of the move."""
        home = {
            id(v): n
            for n in range(len(self._shown))
            for v in getattr(self._layer(n), "variables", [])
        }
        found = []
        for variable, old, new in zip(self._variables, before, after, strict=True):
            if id(variable) in slopes and id(variable) in home:
                slope, old, new = (
                    np.asarray(a, np.float32) for a in (slopes[id(variable)], old, new)
                )
                most = np.unravel_index(np.abs(slope).argmax(), slope.shape)
                told = {"layer": home[id(variable)], "weight": variable.name}
                told |= {"shape": list(old.shape), "most": [int(i) for i in most]}
                told |= {
                    "length": length(old),
                    "gradient": length(slope),
                    "move": length(new - old),
                }
                found.append(told)
        return found

    def run(
        self, x, layers: tuple[int, ...] | None = None, channels: int = MOST_CHANNELS
    ) -> tuple[dict[str, Any], list[np.ndarray]]:
        """The layers' outputs for an example: a description, and an image of each output.

        Args:
            x: the example.
            layers: numbers of the layers to give; the description of the others is None. Default: all.
            channels: how many maps of a layer at most.

        Images are int8 of shape `(channels, rows, columns)`: 127 is the layer's largest absolute value,
        -128 what is not a finite number. Large maps are thinned out, and of many channels the first given.
        """
        found = self.observe(x)
        described: list[dict | None] = []
        images = []
        for position, n in enumerate(self._shown):
            if layers is not None and position not in layers:
                described.append(None)
                continue
            output = channels_last(found[n].operation, found[n].outputs)[0]
            told, coded = image_of(output, channels)
            images.append(coded)
            described.append(told)
        outputs = None
        if getattr(found[-1].outputs, "ndim", 0) == 2:
            outputs = np.asarray(found[-1].outputs, np.float32)[0].tolist()
        return {"layers": described, "outputs": outputs}, images

    def backward(
        self, x, target: list[float], channels: int = MOST_CHANNELS
    ) -> tuple[dict[str, Any], list[np.ndarray]]:
        """How the loss of an example changes with each number: a description, and images as of `run`.

        They are of the derivatives by the input, where this is of floats, and by each layer's output; a
        layer without one has no channels.

        Raises ValueError for a target that does not fit the output, or a model without a way back.
        """
        done = self._back.run(self.values, self._batch(x), target)
        described, images = [], []
        for n in self._shown:
            call, found = done.found[n], done.gradients.get(n)
            slopes = np.zeros((1, 0)) if found is None else channels_last(call.operation, found)[0]
            told, coded = image_of(slopes, channels)
            images.append(coded)
            described.append(told)
        slopes = np.zeros((1, 0))
        if done.by_inputs[0] is not None:
            slopes = np.asarray(done.by_inputs[0][0], np.float32)
            slopes = np.moveaxis(slopes, 0, -1) if self._first else slopes
        told, coded = image_of(slopes)
        outputs = np.asarray(done.found[-1].outputs, np.float32)[0].ravel().tolist()
        description = {
            "loss": done.loss,
            "loss_name": self._back.loss_name,
            "outputs": outputs,
            "input": told,
            "layers": described,
        }
        return description, [coded, *images]

    def back_window(self, x, target, layer: int, weight: str, index, rate: float) -> dict[str, Any]:
        """One weight: its gradient as a sum over places, and what a step makes of it.

        Raises ValueError for a target that does not fit, or if there is no such weight.
        """
        own = self._layer(layer)
        try:
            return self._back.weight(self.values, self._batch(x), target, own, weight, index, rate)
        except REFUSALS as error:
            return {"refused": str(error)}

    def weights(
        self, x, layer: int, channel: int | None = None, target: list[float] | None = None
    ) -> list[dict[str, Any]]:
        """A layer's own weights: names, shapes, and values, if they are few.

        Args:
            x: the example that `gradients` are about.
            layer: which.
            channel: of weights with several axes, only those along the last axis; default: all.
            target: with it comes the derivative of the loss by each weight that is trained.
        """
        own, place = self._layer(layer), {id(v): n for n, v in enumerate(self._variables)}
        slopes: dict[int, Any] = {}
        if target is not None:
            slopes = self._back.run(self.values, self._batch(x), target).by_weights
        found = []
        for variable in getattr(own, "variables", []):
            if id(variable) not in place or not is_float(variable.dtype):
                continue
            values = np.asarray(self.values[place[id(variable)]], np.float32)
            told = {
                "name": variable.name,
                "shape": list(values.shape),
                "is_trained": variable.trainable and own.trainable,
            }
            parts = {"values": values}
            if id(variable) in slopes:
                parts["gradients"] = np.asarray(slopes[id(variable)], np.float32)
            for name, part in parts.items():
                if channel is not None and part.ndim > 1:
                    if not 0 <= channel < part.shape[-1]:
                        raise ValueError(f"The layer '{own.name}' has {part.shape[-1]} channels.")
                    part = part[..., channel]
                told[name] = part.ravel().tolist() if part.size <= MOST_NUMBERS else None
            found.append(told)
        return found

    def sheet(
        self, x, layer: int, start: int = 0, by_strength: bool = False, channels=None
    ) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Some maps of a layer of many: a description with the `maps`' numbers, and images as of `run`.

        Args:
            x: the example.
            layer: which layer.
            start: the first of them.
            by_strength: in the order of their largest absolute value, and not of their numbers.
            channels: the numbers of the maps, in place of the two before.
        """
        call = self.observe(x)[self._number(layer)]
        maps = as_maps(channels_last(call.operation, call.outputs)[0])
        if channels is not None and not all(0 <= channel < maps.shape[-1] for channel in channels):
            raise ValueError(f"The layer '{call.name}' has {maps.shape[-1]} channels.")
        return sheet_of(maps, start, by_strength, channels)

    def links(self, x, layer: int, channel: int, position=None) -> dict[str, Any]:
        """What the sum behind one number is made of, map by map; see `links_in`.

        Without a position it is the map's strongest. The `sources` name layers as `describe` does.
        """
        number = self._number(layer)
        found = self.observe(x)
        call = found[number]
        if position is None:
            values = channels_last(call.operation, call.outputs)[0]
            if not 0 <= channel < (values.shape[-1] if values.ndim else 1):
                raise ValueError(f"The layer '{call.name}' has {values.shape[-1]} channels.")
            values = np.abs(np.nan_to_num(values[..., channel]))
            position = tuple(int(i) for i in np.unravel_index(values.argmax(), values.shape))
        told = {"layer": layer, "map": channel, "position": list(position)}
        try:
            links = self._with_values(
                lambda: links_in(found, number, position, channel, self._places)
            )
            return {**told, **links}
        except REFUSALS as error:
            return {**told, "sources": [], "refused": str(error)}

    def field(self, layer: int, position) -> list[list[int]] | None:
        """The part of the input that a layer's position depends on; None if it is not known."""
        return self._field(self._number(layer), position)

    def count_outputs(self) -> int:
        """How many numbers all layers make of one example."""
        leaves = jax.tree.leaves([call.outputs for call in self._fields.calls])
        return sum(int(np.prod(leaf.shape[1:])) for leaf in leaves if hasattr(leaf, "shape"))

    def learning(
        self, x, y
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, float]]:
        """What training is at: each trained weight, its mean gradient over a batch, shares of dead units.

        Args:
            x: a batch, with channels last.
            y: its classes, or None: then there are no gradients.
        """
        x = self.batch(x)
        values, slopes = self.values, {}
        if y is not None and self.num_classes is not None and not self._back.refusal:
            slopes = self._back.slopes(values, x, y)
        weights = {
            v.path: np.asarray(value, np.float32)
            for v, value in zip(self._variables, values, strict=True)
            if v.trainable and is_float(v.dtype)
        }
        return weights, slopes, dead_in(self._observe(values, x))

    def layer_map(self, x, layer: int, channel: int) -> np.ndarray:
        """One channel of a layer's output in full: float32 `(rows, columns)`, or more axes."""
        call = self.observe(x)[self._number(layer)]
        maps = channels_last(call.operation, call.outputs)[0]
        if not 0 <= channel < maps.shape[-1]:
            raise ValueError(f"The layer '{call.name}' has {maps.shape[-1]} channels.")
        return maps[..., channel].astype(np.float32)

    def window(self, x, layer: int, position, channel: int) -> dict[str, Any]:
        """How one number was made, its `links`, and the part of the input that it depends on."""
        number = self._number(layer)
        found = self.observe(x)
        field = self._field(number, position)

        def answer():
            window = explained(found[number], position, channel)
            links = links_in(found, number, position, channel, self._places, window.terms)
            told = {"layer": layer, "map": channel, "position": list(position), **links}
            return {**numbers_of(window), "links": told}

        try:
            return {**self._with_values(answer), "field": field}
        except REFUSALS as error:
            return {"refused": str(error), "field": field}

    def _field(self, number: int, position) -> list[list[int]] | None:
        found = self._fields.calls
        call = found[number]
        again = sum(1 for earlier in found[:number] if earlier.operation is call.operation)
        try:
            seen = self._fields.window(call.operation, position, again)
        except ValueError:
            return None
        return [[part.start, part.stop] for part in seen] or None

    def class_map(self, x, method: str, target: int | None) -> tuple[int, np.ndarray]:
        """Where in the input is what speaks for a class: the class, and a map of the input's positions."""
        if method not in self.methods:
            raise ValueError(
                f"There is no map {method!r} of this model. There are: {', '.join(self.methods) or 'none'}."
            )
        if target is not None and not 0 <= target < (self.num_classes or 0):
            raise ValueError(f"There is no class {target}; there are {self.num_classes}.")
        x = jnp.asarray(np.asarray(x).reshape(1, *self.shape), self._dtype)
        made, chosen = self._compiled_map(method)(self.values, x, -1 if target is None else target)
        return int(chosen), np.asarray(made)

    def _compiled_map(self, method: str):
        if method not in self._maps:
            maps = () if method == "saliency" else (maps_on_inputs(self._fields.calls, self.model),)

            def run(x, target):
                scores = Scores(self.model, x)
                chosen = jnp.where(target < 0, jnp.argmax(scores(x)[0]), target)
                return METHODS[method](scores, x, chosen[None], *maps)[0], chosen

            pure = functional(run, self._variables)
            self._maps[method] = jax.jit(lambda values, *rest: pure(values, *rest)[0])
        return self._maps[method]

    def _with_values(self, function):
        return functional(function, self._variables)(self.values)[0]

    def _layer(self, layer: int):
        return self._fields.calls[self._number(layer)].operation

    def _number(self, layer: int) -> int:
        if not 0 <= layer < len(self._shown):
            raise ValueError(f"There is no layer {layer}; there are {len(self._shown)}.")
        return self._shown[layer]


def length(value: np.ndarray) -> float:
    """Of a vector; in float64, as training may go astray."""
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.square(value.astype(np.float64)).sum()))


class _Observer:
    """`calls` of one model, compiled, as a function of its variables' values."""

    def __init__(self, model, variables):
        self._rest: Any = None

        def run(values, x):
            found, _ = functional(lambda: calls(model, x), variables)(values)
            leaves, structure = jax.tree.flatten(found)
            arrays = [isinstance(leaf, jax.Array) for leaf in leaves]
            others = [None if a else leaf for a, leaf in zip(arrays, leaves, strict=True)]
            self._rest = structure, arrays, others
            return [leaf for a, leaf in zip(arrays, leaves, strict=True) if a]

        self._run = jax.jit(run)

    def __call__(self, values, x) -> list[Call]:
        computed = iter(self._run(values, x))
        structure, arrays, others = self._rest
        leaves = [next(computed) if a else leaf for a, leaf in zip(arrays, others, strict=True)]
        return jax.tree.unflatten(structure, leaves)


def _shape_of(model) -> tuple:
    inputs = jax.tree.leaves(getattr(model, "inputs", None) or [])
    if len(inputs) > 1:
        raise ValueError(
            f"Model {model.name} has {len(inputs)} inputs; a model with one input can be explored."
        )
    if not inputs:
        raise ValueError(
            f"Model {model.name} does not know the shape of its input. Give the shape of one example."
        )
    return tuple(inputs[0].shape[1:])


def _dtype_of(model) -> str:
    inputs = jax.tree.leaves(getattr(model, "inputs", None) or [])
    return inputs[0].dtype if inputs else "float32"


def _is_first(call) -> bool:
    layer = call.operation
    return (
        getattr(layer, "data_format", "") == "channels_first"
        and hasattr(layer, "rank")
        and len(call.outputs.shape) > 2
    )


def _rows_by_call(model, example, found) -> dict[int, Any]:
    rows = iter(arithmetic(model, example).rows)
    return {
        n: next(rows)
        for n, call in enumerate(found)
        if call.is_whole and isinstance(call.operation, Layer)
    }
