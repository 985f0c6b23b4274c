"""Layers that add, take away or repeat rows and columns."""

from typing import Any

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.arguments import described
from cornu.core.dtype import standardize_data_format
from cornu.core.input_spec import InputSpec
from cornu.layers.spatial import Spatial, split_shape
from cornu.ops.windows import Geometry, as_tuple, transposed


def _amounts(value, rank: int, name: str) -> tuple:
    """A pair (before, after) for each axis, from an integer, a tuple of them, or of pairs."""
    if isinstance(value, int):
        value = ((value, value),) * rank
    elif rank == 1:
        value = (value,)
    elif isinstance(value, list | tuple):
        value = tuple((v, v) if isinstance(v, int) else v for v in value)
    else:
        raise ValueError(
            f"`{name}` must be an integer, or a tuple of {rank} integers or pairs of them. Received: "
            f"{described(name, value)}"
        )
    if len(value) != rank:
        raise ValueError(f"`{name}` should have {rank} elements. Received: {name}={value}.")
    return tuple(as_tuple(pair, 2, name, allow_zero=True) for pair in value)


class _Resampling(Spatial):
    """What the layers of this file share."""

    def _set_format(self, data_format):
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def _everywhere(self, values, other):
        """One value for every axis: `values` for the spatial ones, `other` for the rest."""
        if self.data_format == "channels_last":
            return (other, *values, other)
        return (other, other, *values)

    def _shifted(self, input_shape, amounts) -> Geometry:
        """Each output position reads one input position: windows of one, with padding."""
        ones = (1,) * self.rank
        spatial, _ = split_shape(input_shape, self.data_format)
        return Geometry(spatial, ones, ones, tuple(amounts), ones)


class BaseZeroPadding(_Resampling):
    """Zeros around the input."""

    def __init__(self, padding=1, data_format=None, **kwargs):
        super().__init__(**kwargs)
        amounts = _amounts(padding, self.rank, "padding")
        self._set_format(data_format)
        self.padding = amounts[0] if self.rank == 1 else amounts
        self._pairs = amounts

    def call(self, inputs):
        return jnp.pad(inputs, self._everywhere(self._pairs, (0, 0)))

    def _window(self, input_shape) -> Geometry:
        return self._shifted(input_shape, self._pairs)


@registry.register("layer", "ZeroPadding1D", module="keras.layers")
class ZeroPadding1D(BaseZeroPadding):
    """Zeros before and behind a signal: an integer, or `(before, behind)`.

    >>> import cornu, numpy as np
    >>> cornu.layers.ZeroPadding1D((1, 2))(np.ones((1, 4, 1))).shape
    (1, 7, 1)
    """

    rank = 1


@registry.register("layer", "ZeroPadding2D", module="keras.layers")
class ZeroPadding2D(BaseZeroPadding):
    """Zeros around an image: an integer, `(rows, columns)`, or a pair for each.

    >>> import cornu, numpy as np
    >>> cornu.layers.ZeroPadding2D(((1, 0), (2, 2)))(np.ones((1, 4, 4, 1))).shape
    (1, 5, 8, 1)
    """

    rank = 2

    def __init__(self, padding=(1, 1), data_format=None, **kwargs):
        super().__init__(padding, data_format, **kwargs)


@registry.register("layer", "ZeroPadding3D", module="keras.layers")
class ZeroPadding3D(BaseZeroPadding):
    """Zeros around a volume: an integer, three, or a pair for each axis."""

    rank = 3

    def __init__(self, padding=((1, 1), (1, 1), (1, 1)), data_format=None, **kwargs):
        super().__init__(padding, data_format, **kwargs)


class BaseCropping(_Resampling):
    """The input without its border.

    Raises ValueError if nothing would be left.
    """

    def __init__(self, cropping=1, data_format=None, **kwargs):
        super().__init__(**kwargs)
        amounts = _amounts(cropping, self.rank, "cropping")
        self._set_format(data_format)
        self.cropping = amounts[0] if self.rank == 1 else amounts
        self._pairs = amounts

    def call(self, inputs):
        self._window(inputs.shape)
        starts = self._everywhere([before for before, _ in self._pairs], 0)
        ends = self._everywhere([after for _, after in self._pairs], 0)
        slices = (slice(a, n - b) for n, a, b in zip(inputs.shape, starts, ends, strict=True))
        return inputs[tuple(slices)]

    def _window(self, input_shape) -> Geometry:
        geometry = self._shifted(input_shape, ((-before, -after) for before, after in self._pairs))
        if any(n is not None and n < 1 for n in geometry.output):
            what = (
                "`cropping` parameter of `Cropping1D` layer must be smaller than the number of steps"
                if self.rank == 1
                else "Values in `cropping` argument should be smaller than the corresponding spatial "
                "dimension of the input"
            )
            raise ValueError(
                f"Layer '{self.name}': {what}. Received: input shape {tuple(input_shape)}, "
                f"cropping={self.cropping}"
            )
        return geometry


@registry.register("layer", "Cropping1D", module="keras.layers")
class Cropping1D(BaseCropping):
    """A signal without its first and last steps: an integer, or `(first, last)`.

    >>> import cornu, numpy as np
    >>> cornu.layers.Cropping1D((1, 2))(np.ones((1, 6, 1))).shape
    (1, 3, 1)
    """

    rank = 1

    def __init__(self, cropping=(1, 1), **kwargs):
        super().__init__(cropping, "channels_last", **kwargs)

    def _config_names(self):
        return [name for name in super()._config_names() if name != "data_format"]


@registry.register("layer", "Cropping2D", module="keras.layers")
class Cropping2D(BaseCropping):
    """An image without its border: an integer, `(rows, columns)`, or a pair for each.

    >>> import cornu, numpy as np
    >>> cornu.layers.Cropping2D(1)(np.ones((1, 6, 6, 1))).shape
    (1, 4, 4, 1)
    """

    rank = 2

    def __init__(self, cropping=((0, 0), (0, 0)), data_format=None, **kwargs):
        super().__init__(cropping, data_format, **kwargs)


@registry.register("layer", "Cropping3D", module="keras.layers")
class Cropping3D(BaseCropping):
    """A volume without its border: an integer, three, or a pair for each axis."""

    rank = 3

    def __init__(self, cropping=((1, 1), (1, 1), (1, 1)), data_format=None, **kwargs):
        super().__init__(cropping, data_format, **kwargs)


class BaseUpSampling(_Resampling):
    """Every row and column repeated."""

    _is_transposed = True

    def __init__(self, size=2, data_format=None, **kwargs):
        super().__init__(**kwargs)
        # Of one axis, a number.
        self.size: Any = as_tuple(size, self.rank, "size")
        self._factors = self.size
        self._set_format(data_format)

    def call(self, inputs):
        for axis, times in enumerate(self._everywhere(self._factors, 1)):
            if times > 1:
                inputs = jnp.repeat(inputs, times, axis=axis)
        return inputs

    def _window(self, input_shape) -> Geometry:
        """Each input position writes to a window of the output (without interpolation)."""
        spatial, _ = split_shape(input_shape, self.data_format)
        return transposed(spatial, self._factors, self._factors, "valid")


@registry.register("layer", "UpSampling1D", module="keras.layers")
class UpSampling1D(BaseUpSampling):
    """Every step of a signal repeated `size` times.

    >>> import cornu, numpy as np
    >>> cornu.layers.UpSampling1D(3)(np.ones((1, 2, 1))).shape
    (1, 6, 1)
    """

    rank = 1

    def __init__(self, size=2, **kwargs):
        super().__init__(size, "channels_last", **kwargs)
        self.size = self.size[0]

    def _config_names(self):
        return [name for name in super()._config_names() if name != "data_format"]


@registry.register("layer", "UpSampling2D", module="keras.layers")
class UpSampling2D(BaseUpSampling):
    """A larger image: rows and columns repeated, or interpolated.

    Args:
        size: factor, an integer or `(rows, columns)`.
        data_format: `"channels_last"` or `"channels_first"`.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.

    >>> import cornu, numpy as np
    >>> cornu.layers.UpSampling2D(2)(np.ones((1, 3, 3, 1))).shape
    (1, 6, 6, 1)
    """

    rank = 2

    def __init__(self, size=(2, 2), data_format=None, interpolation="nearest", **kwargs):
        super().__init__(size, data_format, **kwargs)
        self.interpolation = str(interpolation).lower()
        methods = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
        if self.interpolation not in methods:
            raise ValueError(
                f"`interpolation` of layer '{self.name}' must be one of {methods}. Received: "
                f"interpolation={interpolation}"
            )
        self._calculates = self.interpolation != "nearest"

    def call(self, inputs):
        if self.interpolation == "nearest":
            return super().call(inputs)
        method = {"bilinear": "linear", "bicubic": "cubic"}.get(
            self.interpolation, self.interpolation
        )
        factors = self._everywhere(self.size, 1)
        shape = [n * f for n, f in zip(inputs.shape, factors, strict=True)]
        return jax.image.resize(inputs, shape, method, antialias=False)


@registry.register("layer", "UpSampling3D", module="keras.layers")
class UpSampling3D(BaseUpSampling):
    """A larger volume: every plane, row and column repeated."""

    rank = 3

    def __init__(self, size=(2, 2, 2), data_format=None, **kwargs):
        super().__init__(size, data_format, **kwargs)
