"""A model's run: the inputs and outputs of each of its layers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import mask_passing
from cornu.core.call_arguments import accepts
from cornu.core.context import within
from cornu.core.layer import Layer
from cornu.core.symbolic import KerasTensor
from cornu.core.watching import watched
from cornu.layers.activation import Activation, ReLU
from cornu.layers.batch_normalization import BatchNormalization
from cornu.layers.regularization import Dropout
from cornu.layers.reshaping import Flatten

INPUT = -1


class Call(NamedTuple):
    """One call of a layer, or of a function in a graph.

    `sources` are the arrays that it was given and `arguments` the same by name, in the layer's dtype
    (those of a function by number, if they came so). `makers` gives for each source which call has made
    it: its number, INPUT for what the model was given, or None for what was computed without a layer.
    """

    operation: Any
    sources: list
    arguments: dict
    outputs: Any
    makers: list
    is_whole: bool  # it did all by itself: no other layer was called within
    masks: dict = {}  # those that its `call` took from the arrays, by the parameters' names

    @property
    def name(self) -> str:
        """The name of the layer."""
        return self.operation.name

    @property
    def inputs(self):
        """The first argument: an array, or a list of arrays."""
        return next(iter(self.arguments.values()))


def calls(model, inputs, replace=None, training=False) -> list[Call]:
    """Run a model on a batch, as in `predict`, and return the calls of all its layers in order.

    Args:
        model: a model, or a layer, of any kind.
        inputs: what the model takes: an array, or a list or dict of them.
        replace: `(call)` to the outputs that replace the call's own.
        training: whether layers do what they do in training.

    >>> import cornu, numpy as np
    >>> from cornu.explain.observe import calls
    >>> model = cornu.Sequential([cornu.Input((4,)), cornu.layers.Dense(2, name="out")])
    >>> [(call.name, call.outputs.shape) for call in calls(model, np.ones((1, 4))) if call.is_whole]
    [('out', (1, 2))]
    """
    found: list[Call] = []
    makers: dict[int, int] = {}

    def watch(operation, given, arguments, outputs):
        sources = [leaf for leaf in jax.tree.leaves(given) if isinstance(leaf, jax.Array)]
        inner = _inner(operation)
        call = Call(
            operation,
            sources,
            arguments or {**{str(n): a for n, a in enumerate(given[0])}, **given[1]},
            outputs,
            [makers.get(id(source)) for source in sources],
            not any(id(earlier.operation) in inner for earlier in found) if inner else True,
            _masks_of(operation, arguments),
        )
        if replace is not None:
            call = call._replace(outputs=replace(call))
        found.append(call)
        for leaf in jax.tree.leaves(call.outputs):
            # What a model returns, one of its layers has made.
            if call.is_whole or id(leaf) not in makers:
                makers[id(leaf)] = len(found) - 1
        return call.outputs

    inputs = jax.tree.map(jnp.asarray, inputs)
    makers.update({id(leaf): INPUT for leaf in jax.tree.leaves(inputs)})
    with watched(watch):
        model(inputs, training=training)
    # The model may compute in another dtype than that of its inputs.
    converted = {id(leaf) for leaf in jax.tree.leaves(found[-1].arguments)}
    for call in found:
        for n, source in enumerate(call.sources):
            if call.makers[n] is None and id(source) in converted:
                call.makers[n] = INPUT
    return found


def _masks_of(operation, arguments: dict) -> dict:
    masks: dict = {}
    if isinstance(operation, Layer):
        mask_passing.fill(operation, arguments, masks)
    return masks


def predicted(layer, *inputs, **masks):
    """A layer's outputs outside training, where augmentation and noise do nothing."""
    training = {"training": False} if accepts(layer, "training") else {}
    with within(training=False):
        return layer.call(*inputs, **masks, **training)


def input_of(found: list[Call]) -> tuple[Any, Any]:
    """The model's first input, and the first layer that takes it."""
    for call in found:
        if INPUT in call.makers:
            return call.sources[call.makers.index(INPUT)], call.operation
    return jax.tree.leaves(found[-1].arguments)[0], found[-1].operation


def inputs_of(found: list[Call]) -> list[tuple[Any, Any]]:
    """Each of the model's inputs, and the first layer that takes it."""
    inputs = [leaf for leaf in jax.tree.leaves(found[-1].arguments) if isinstance(leaf, jax.Array)]
    takers: dict[int, Any] = {}
    for call in found:
        for source, maker in zip(call.sources, call.makers, strict=True):
            if maker == INPUT:
                takers.setdefault(input_number(found, source), call.operation)
    return [(each, takers.get(n, found[-1].operation)) for n, each in enumerate(inputs)]


def input_number(found: list[Call], source) -> int:
    """The index of a source among the model's inputs."""
    whole = found[-1]
    # The model may compute in another dtype than that of its inputs.
    for arrays in (whole.sources, jax.tree.leaves(whole.arguments)):
        for number, array in enumerate(arrays):
            if array is source:
                return number
    return 0


def channel_axis(operation, ndim: int) -> int:
    """Which axis of a batch that an operation takes or makes holds the channels: 1 or -1."""
    first = getattr(operation, "data_format", "channels_last") == "channels_first"
    return 1 if first and ndim > 2 else -1


def native(operation, ndim: int, index: tuple) -> tuple:
    """An index in an example, the channel last, as an operation's batches of so many axes have it."""
    first = channel_axis(operation, ndim) == 1 and hasattr(operation, "rank")
    return (index[-1], *index[:-1]) if first else tuple(index)


def channel_last(operation, ndim: int, index: tuple) -> tuple:
    """The reverse of `native`, for an index or a shape."""
    first = channel_axis(operation, ndim) == 1 and hasattr(operation, "rank")
    return (*index[1:], index[0]) if first else tuple(index)


def spatial_axes(operation, ndim: int) -> list[int]:
    """Which axes of an example, of so many, are spatial."""
    first = channel_axis(operation, ndim + 1) == 1
    return list(range(1, ndim) if first else range(ndim - 1))


def without_channels(entries: tuple, operation) -> tuple:
    """Of one entry for each axis of an example, those of the spatial axes."""
    return entries[1:] if channel_axis(operation, len(entries) + 1) == 1 else entries[:-1]


def is_chain(found: list[Call]) -> bool:
    """Whether each layer takes the previous one's output, and nothing else."""
    whole = [n for n, call in enumerate(found) if call.is_whole]
    return all(
        found[here].makers == [before] for before, here in zip([INPUT, *whole], whole, strict=False)
    )


def _inner(operation) -> set[int]:
    if not isinstance(operation, Layer):
        return set()
    return {id(layer) for layer in operation._flatten_layers()} - {id(operation)}


def shapes_of_calls(model, inputs=None) -> list[Call]:
    """The same calls, with nothing computed: shapes in place of values.

    Args:
        model: a built model.
        inputs: an example batch; only its shapes matter. Default: one example of the model's input shape.

    Raises ValueError if the model's input shape is not known, or has sizes that are not.
    """
    if inputs is None:
        inputs = example_inputs(model)
    found: list[Call] = []

    def run(arrays):
        found.extend(calls(model, arrays))
        return 0

    jax.eval_shape(run, inputs)
    return found


def example_inputs(model, batch_size=1):
    """Arrays of zeros of the shape that a model takes."""
    try:
        tensors = model._graph.inputs if getattr(model, "_graph", None) else model.input
    except AttributeError:
        tensors = None
    if tensors is None:
        raise ValueError(
            f"Model {model.name} does not know the shape of its inputs. Pass an example of them."
        )

    def zeros(tensor: KerasTensor):
        if None in tensor.shape[1:]:
            raise ValueError(
                f"The input {tensor.name!r} of model {model.name} has the shape {tensor.shape}, with sizes "
                "that are not known. Pass an example."
            )
        return jnp.zeros((batch_size, *tensor.shape[1:]), tensor.dtype)

    return jax.tree.map(zeros, tensors)


def before_flattening(found: list[Call], number: int, channel: int) -> tuple[str, tuple] | None:
    """Where a number of a vector was in the maps that were flattened to it.

    Args:
        found: calls of the model.
        number: the call that gave the vector, or the maker of what a layer was given.
        channel: which number of the vector.

    Returns:
        the name of what gave the maps, and the place in them, the channel last; None if it is no vector of
        flattened maps.
    """
    while number is not None and number != INPUT:
        call = found[number]
        if isinstance(call.operation, Flatten):
            shape = flattened_shape(call)
            maker = call.makers[0]
            name = found[maker].name if maker is not None and maker != INPUT else "the input"
            index = np.unravel_index(channel, shape)
            return (name, tuple(map(int, index))) if len(shape) > 1 else None
        # What drops numbers, or changes each by itself, leaves them in their places.
        if not isinstance(call.operation, Dropout | Activation | ReLU | BatchNormalization):
            return None
        number = call.makers[0]
    return None


def flattened_shape(call: Call) -> tuple[int, ...]:
    """The shape of an example before a `Flatten`, channels last: the order in which numbers are counted."""
    shape = call.inputs.shape[1:]
    return (*shape[1:], shape[0]) if channel_axis(call.operation, len(shape) + 1) == 1 else shape


def call_of(found: list[Call], model, layer, number: int = 0) -> Call:
    """The call of one layer.

    Args:
        found: calls of the model.
        model: the model.
        layer: the layer, its name, or its index in `model.layers`.
        number: which of its calls, if it was called several times.

    Raises ValueError if there is none.
    """
    if isinstance(layer, int) and not isinstance(layer, bool):
        if not -len(model.layers) <= layer < len(model.layers):
            raise ValueError(
                f"Model {model.name} has {len(model.layers)} layers, and so no layer {layer}."
            )
        layer = model.layers[layer]
    same = [call for call in found if call.operation is layer or call.name == layer]
    if not same:
        raise ValueError(
            f"Model {model.name} has not called a layer {getattr(layer, 'name', layer)!r}, but "
            f"{_names([call for call in found if call.operation is not model])}."
        )
    if not -len(same) <= number < len(same):
        raise ValueError(
            f"The layer {same[0].name!r} was called {len(same)} times; there is no call {number}."
        )
    return same[number]


def _names(found: list[Call]) -> str:
    names = list(dict.fromkeys(call.name for call in found))
    return ", ".join(map(repr, names[:30])) + (" …" if len(names) > 30 else "")


def as_batch(model, x, example: int | None = None):
    """Inputs as a batch: an example alone gets a batch axis, where the model's input shape is known.

    Args:
        model: the model.
        x: an array, or a list or dict of arrays.
        example: keep only this one.

    Raises ValueError if there is no such example, or there are not as many arrays as inputs.
    """
    tensors = model._graph.inputs if getattr(model, "_graph", None) else None

    def batch(array, tensor=None):
        array = np.asarray(array)
        if tensor is not None and array.ndim == len(tensor.shape) - 1:
            array = array[None]
        if example is None:
            return array
        if not array.ndim or not -len(array) <= example < len(array):
            raise ValueError(f"There is no example {example} in inputs of the shape {array.shape}.")
        return array[example][None]

    flat = jax.tree.leaves(tensors)
    if len(flat) == 1:
        # A list of one array is the same as the array.
        leaves = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else []
        alone = len(leaves) == 1 and hasattr(next(iter(leaves)), "shape")
        return batch(next(iter(leaves)) if alone else x, flat[0])
    arrays, structure = jax.tree.flatten(x)
    if tensors is None:
        return jax.tree.unflatten(structure, map(batch, arrays))
    if isinstance(x, dict) and not isinstance(tensors, dict):
        named = {t.name: t for t in flat}
        flat = [named.get(name) for name in sorted(x)]
    if len(arrays) != len(flat):
        raise ValueError(
            f"Model {model.name} has {len(flat)} inputs, {', '.join(t.name for t in flat)}: pass a list or "
            f"dict of as many arrays. Received: {type(x).__name__} of {len(arrays)}."
        )
    return jax.tree.unflatten(structure, map(batch, arrays, flat))
