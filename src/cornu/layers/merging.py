"""Layers that make one tensor out of several."""

import functools
import operator

import jax.numpy as jnp

from cornu.core import masking, registry
from cornu.core.call_arguments import cast_tensor
from cornu.core.dtype import is_discrete
from cornu.core.layer import Layer


class Merge(Layer):
    """Element by element, several tensors become one.

    The inputs are a list of tensors with equal shapes, or shapes that broadcast to each other. An
    input with fewer axes gets axes of size one behind the batch.
    """

    _keeps_zeros = True

    # Whether outputs are computed, and not merely selected from the inputs.
    _combines = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def _merge_function(self, inputs: list):
        raise NotImplementedError

    def _as_numbers(self, inputs: list) -> list:
        """The inputs in a dtype that can hold their sums, differences and products.

        Integers of at least 32 bits with a sign are calculated with as they are.
        """
        dtype = jnp.result_type(*inputs)
        if not is_discrete(dtype) or (dtype.kind == "i" and dtype.itemsize >= 4):
            return inputs
        return [cast_tensor(x, self.compute_dtype) for x in inputs]

    def _check_list(self, shapes, exactly: int | None = None) -> list[tuple]:
        kind = type(self).__name__
        if not isinstance(shapes, list | tuple) or any(
            not isinstance(shape, list | tuple) for shape in shapes
        ):
            raise ValueError(
                f"Layer '{self.name}': a `{kind}` layer should be called on a list of inputs, such "
                f"as {kind}()([a, b]). Received: input_shape={shapes} (not a list of shapes)"
            )
        if exactly is not None and len(shapes) != exactly:
            raise ValueError(
                f"Layer '{self.name}': a `{kind}` layer should be called on exactly {exactly} inputs."
                f" Received {len(shapes)} inputs: input_shape={shapes}"
            )
        if not shapes:
            raise ValueError(
                f"Layer '{self.name}': a `{kind}` layer should be called on a list of at least 1 "
                "input. Received 0 inputs."
            )
        return [tuple(shape) for shape in shapes]

    def compute_output_shape(self, input_shape):
        shapes = self._check_list(input_shape)
        # A batch of one, such as a table of positions, is the same for every example.
        batches = {shape[0] for shape in shapes if shape}
        known = batches - {None, 1}
        if len(known) > 1:
            raise ValueError(
                f"Layer '{self.name}': cannot merge tensors with different batch sizes. Received "
                f"tensors with shapes {shapes}"
            )
        ndim = max(len(shape) for shape in shapes)
        padded = [(1,) * (ndim - len(shape)) + shape[1:] for shape in shapes]
        sizes = [self._common_size(column, shapes) for column in zip(*padded, strict=True)]
        batch = known.pop() if known else (1 if batches == {1} else None)
        return (batch, *sizes)

    def _common_size(self, sizes, shapes):
        known = set(sizes) - {1, None}
        if len(known) > 1:
            raise ValueError(
                f"Layer '{self.name}': inputs have incompatible shapes. Received shapes {shapes}: "
                "except for the batch, sizes must be equal or 1."
            )
        if None in sizes:
            return None
        return known.pop() if known else 1

    def call(self, inputs):
        self.compute_output_shape(shapes_of(inputs))
        ndim = max(x.ndim for x in inputs)
        inputs = self._as_numbers(inputs) if self._combines else inputs
        return self._merge_function(
            [
                x
                if x.ndim == ndim
                else x.reshape(*x.shape[:1], *_ones(ndim - x.ndim), *x.shape[1:])
                for x in inputs
            ]
        )

    def compute_mask(self, inputs, mask=None):
        if mask is None:
            return None
        self._check_masks(inputs, mask)
        if any(m is None for m in mask):
            return None
        return functools.reduce(jnp.logical_or, mask)

    def _pass_mask_on(self, arguments, previous, outputs):
        # Without masks there is none to combine: `compute_mask` need not be traced, unless it is a user's.
        if previous is not None or type(self).compute_mask.__module__ != __name__:
            super()._pass_mask_on(arguments, previous, outputs)

    def _check_masks(self, inputs, mask) -> None:
        for name, value in (("mask", mask), ("inputs", inputs)):
            if not isinstance(value, list | tuple):
                raise ValueError(
                    f"Layer '{self.name}': `{name}` should be a list. Received: {name}={value}"
                )
        if len(mask) != len(inputs):
            raise ValueError(
                f"Layer '{self.name}': the lists `inputs` and `mask` should have the same length. "
                f"Received: {len(inputs)} inputs and {len(mask)} masks."
            )


def shapes_of(inputs):
    if isinstance(inputs, list | tuple):
        return [tuple(x.shape) for x in inputs]
    return tuple(inputs.shape)


def _ones(count: int) -> tuple:
    return (1,) * count


@registry.register("layer", module="keras.layers")
class Add(Merge):
    """The sum of the inputs.  Source: Keras: Add layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Add()([jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[4.0, 6.0]]
    """

    _combines = True

    def _merge_function(self, inputs):
        return functools.reduce(operator.add, inputs)


@registry.register("layer", module="keras.layers")
class Subtract(Merge):
    """The first of two inputs minus the second.  Source: Keras: Subtract layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Subtract()([jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 5.0]])]).tolist()
    [[-2.0, -3.0]]
    """

    _combines = True

    def compute_output_shape(self, input_shape):
        self._check_list(input_shape, exactly=2)
        return super().compute_output_shape(input_shape)

    def _merge_function(self, inputs):
        return inputs[0] - inputs[1]


@registry.register("layer", module="keras.layers")
class Multiply(Merge):
    """The product of the inputs, in which a masked element counts as one.

    Source: Keras: Multiply layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Multiply()([jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[3.0, 8.0]]
    """

    _combines = True

    def _merge_function(self, inputs):
        masks = [_element_mask(x) for x in inputs]
        factors = [
            x if mask is None else jnp.where(mask, x, jnp.ones((), x.dtype))
            for x, mask in zip(inputs, masks, strict=True)
        ]
        output = functools.reduce(operator.mul, factors)
        if any(mask is None for mask in masks):
            return output
        return jnp.where(functools.reduce(operator.or_, masks), output, jnp.zeros((), output.dtype))


@registry.register("layer", module="keras.layers")
class Average(Merge):
    """The mean of the inputs.  Source: Keras: Average layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Average()([jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[2.0, 3.0]]
    """

    _calculates = True

    def _merge_function(self, inputs):
        return functools.reduce(operator.add, inputs) / len(inputs)


@registry.register("layer", module="keras.layers")
class Maximum(Merge):
    """The largest of the inputs; a masked element loses against one that is not.

    Source: Keras: Maximum layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Maximum()([jnp.array([[1.0, 5.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[3.0, 5.0]]
    """

    def _merge_function(self, inputs):
        return _merge_unmasked(jnp.maximum, inputs)


@registry.register("layer", module="keras.layers")
class Minimum(Merge):
    """The smallest of the inputs; a masked element loses against one that is not.

    Source: Keras: Minimum layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Minimum()([jnp.array([[1.0, 5.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[1.0, 4.0]]
    """

    def _merge_function(self, inputs):
        return _merge_unmasked(jnp.minimum, inputs)


def _element_mask(x):
    mask = masking.get_mask(x)
    return None if mask is None else jnp.broadcast_to(mask[..., None], x.shape)


def _merge_unmasked(function, inputs):
    output, output_mask = inputs[0], _element_mask(inputs[0])
    for x in inputs[1:]:
        mask = _element_mask(x)
        if mask is not None:
            x = jnp.where(mask, x, output)
        if output_mask is not None:
            output = jnp.where(output_mask, output, x)
        known = mask is not None and output_mask is not None
        output_mask = output_mask | mask if known else None
        output = function(output, x)
    return output


@registry.register("layer", module="keras.layers")
class Concatenate(Merge):
    """The inputs one behind the other.

    Args:
        axis: along which one; all other sizes must be equal.

    Source: Keras: Concatenate layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Concatenate()([jnp.ones((1, 2)), jnp.zeros((1, 1))]).tolist()
    [[1.0, 1.0, 0.0]]
    """

    def __init__(self, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis

    def compute_output_shape(self, input_shape):
        shapes = self._check_list(input_shape)
        ndim = len(shapes[0])
        if not -ndim <= self.axis < ndim:
            raise ValueError(
                f"Layer '{self.name}': axis {self.axis} is out of bounds for inputs of shapes {shapes}"
            )
        axis = self.axis % ndim
        output = []
        for i, column in enumerate(zip(*shapes, strict=False)):
            known = set(column) - {None}
            if i == axis:
                output.append(None if None in column else sum(column))
            else:
                output.append(known.pop() if known else None)
            if (i != axis and known) or any(len(shape) != ndim for shape in shapes):
                raise ValueError(
                    f"Layer '{self.name}': a `Concatenate` layer requires inputs with matching "
                    "shapes except for the concatenation axis. Received: "
                    f"input_shape={shapes} (axis={self.axis})"
                )
        return tuple(output)

    def _merge_function(self, inputs):
        return jnp.concatenate(inputs, axis=self.axis)

    def compute_mask(self, inputs, mask=None):
        if mask is None:
            return None
        self._check_masks(inputs, mask)
        if all(m is None for m in mask):
            return None
        masks = []
        for x, m in zip(inputs, mask, strict=True):
            full = jnp.ones(x.shape, bool) if m is None else m
            if full.ndim < x.ndim:
                full = jnp.broadcast_to(full[..., None], x.shape)
            masks.append(full)
        return jnp.any(jnp.concatenate(masks, axis=self.axis), axis=-1)


def add(inputs, **kwargs):
    """The sum of the inputs: `Add(**kwargs)(inputs)`.

    >>> import cornu
    >>> cornu.layers.add([cornu.Input((4,)), cornu.Input((4,))]).shape
    (None, 4)
    """
    return Add(**kwargs)(inputs)


def subtract(inputs, **kwargs):
    """The first input minus the second: `Subtract(**kwargs)(inputs)`.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.subtract([jnp.array([[1.0, 5.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[-2.0, 1.0]]
    """
    return Subtract(**kwargs)(inputs)


def multiply(inputs, **kwargs):
    """The product of the inputs: `Multiply(**kwargs)(inputs)`.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.multiply([jnp.array([[1.0, 5.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[3.0, 20.0]]
    """
    return Multiply(**kwargs)(inputs)


def average(inputs, **kwargs):
    """The mean of the inputs: `Average(**kwargs)(inputs)`.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.average([jnp.array([[1.0, 5.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[2.0, 4.5]]
    """
    return Average(**kwargs)(inputs)


def maximum(inputs, **kwargs):
    """The largest of the inputs: `Maximum(**kwargs)(inputs)`.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.maximum([jnp.array([[1.0, 5.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[3.0, 5.0]]
    """
    return Maximum(**kwargs)(inputs)


def minimum(inputs, **kwargs):
    """The smallest of the inputs: `Minimum(**kwargs)(inputs)`.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.minimum([jnp.array([[1.0, 5.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[1.0, 4.0]]
    """
    return Minimum(**kwargs)(inputs)


def concatenate(inputs, axis=-1, **kwargs):
    """The inputs one behind the other: `Concatenate(axis, **kwargs)(inputs)`.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.concatenate([jnp.array([[1.0, 5.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[1.0, 5.0, 3.0, 4.0]]
    """
    return Concatenate(axis=axis, **kwargs)(inputs)
