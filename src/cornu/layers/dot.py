"""`Dot`: dot products of two inputs, example by example."""

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.layers.merging import Merge, shapes_of
from cornu.ops import lengths


@registry.register("layer", module="keras.layers")
class Dot(Merge):
    """For each example, the dot product of two inputs along one axis of each.

    Args:
        axes: the axis, or a pair of axes, to sum over; not the batch.
        normalize: whether to scale both to length one first, which gives the cosine.

    Shapes: (batch, *a, n, *b), (batch, *c, n, *d) -> (batch, *a, *b, *c, *d), at least two axes.

    Source: Keras: Dot layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Dot(axes=1)([jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[11.0]]
    """

    def __init__(self, axes, normalize=False, **kwargs):
        super().__init__(**kwargs)
        pair = isinstance(axes, list | tuple)
        if not isinstance(axes, int) and not pair:
            raise TypeError(
                "Invalid type for argument `axes`: it should be a list or an int. "
                f"Received: axes={axes!r}"
            )
        if pair and (len(axes) != 2 or not all(isinstance(axis, int) for axis in axes)):
            raise ValueError(
                "Invalid format for argument `axes`: it should contain two integers. "
                f"Received: axes={axes}"
            )
        self.axes = axes
        self.normalize = normalize

    def _axes(self, shapes) -> list[int]:
        pair = [self.axes] * 2 if isinstance(self.axes, int) else self.axes
        found = []
        for axis, shape in zip(pair, shapes, strict=True):
            ndim = len(shape)
            if ndim < 2 or not -ndim <= axis < ndim or axis % ndim == 0:
                raise ValueError(
                    f"Layer '{self.name}': axes={self.axes} must name an axis behind the batch of "
                    f"each input. Received inputs with shapes {shapes[0]} and {shapes[1]}."
                )
            found.append(axis % ndim)
        sizes = [shape[axis] for shape, axis in zip(shapes, found, strict=True)]
        if None not in sizes and sizes[0] != sizes[1]:
            raise ValueError(
                f"Layer '{self.name}': incompatible input shapes: axis values {sizes[0]} (at axis "
                f"{found[0]}) != {sizes[1]} (at axis {found[1]}). Full input shapes: {shapes[0]}, "
                f"{shapes[1]}"
            )
        return found

    def compute_output_shape(self, input_shape):
        shapes = self._check_list(input_shape, exactly=2)
        rest = []
        for shape, axis in zip(shapes, self._axes(shapes), strict=True):
            rest += [n for i, n in enumerate(shape) if i not in (0, axis)]
        batch = shapes[0][0] if shapes[0][0] is not None else shapes[1][0]
        if None not in (shapes[0][0], shapes[1][0]) and shapes[0][0] != shapes[1][0]:
            raise ValueError(
                f"Layer '{self.name}': cannot merge tensors with different batch sizes. Received "
                f"tensors with shapes {shapes}"
            )
        return (batch, *(rest or [1]))

    def call(self, inputs):
        shape = self.compute_output_shape(shapes_of(inputs))
        axes = self._axes(shapes_of(inputs))
        inputs = self._as_numbers(inputs)
        if self.normalize:
            inputs = [self._to_float(x) for x in inputs]
            inputs = [
                lengths.to_unit_length(x, axis, 1e7) for x, axis in zip(inputs, axes, strict=True)
            ]
        dtype = jnp.result_type(*inputs)
        inputs = [x.astype(dtype) for x in inputs]
        contract = ((axes[0],), (axes[1],))
        return jax.lax.dot_general(inputs[0], inputs[1], (contract, ((0,), (0,)))).reshape(shape)

    def compute_mask(self, inputs, mask=None):
        return None


def dot(inputs, axes=-1, **kwargs):
    """Dot product of two inputs: `Dot(axes, **kwargs)(inputs)`.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.dot([jnp.array([[1.0, 5.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[23.0]]
    """
    return Dot(axes=axes, **kwargs)(inputs)
