"""What a layer accepts: rank, dtype and sizes of its inputs, checked before any computing."""

import jax

from cornu.core.dtype import is_sparse_of_jax, standardize_dtype


class InputSpec:
    """Rank, dtype and sizes that every input of a layer must have.

    Args:
        dtype: expected dtype, or None for any.
        shape: expected sizes, None in it for any.
        ndim, min_ndim, max_ndim: expected number of axes, or its bounds.
        axes: dict from an axis' number to its expected size.
        allow_last_axis_squeeze: whether a last axis of size one may be missing or extra.
        name: what the input is called if inputs are given as a dict.
        optional: whether None is accepted.

    Source: Keras: InputSpec.

    >>> import cornu
    >>> cornu.InputSpec(ndim=4, axes={-1: 3})
    InputSpec(ndim=4, axes={-1: 3})
    """

    def __init__(
        self,
        dtype=None,
        shape=None,
        ndim=None,
        max_ndim=None,
        min_ndim=None,
        axes=None,
        allow_last_axis_squeeze=False,
        name=None,
        optional=False,
    ):
        self.dtype = standardize_dtype(dtype) if dtype is not None else None
        self.shape = tuple(shape) if shape is not None else None
        self.ndim = len(self.shape) if self.shape is not None else ndim
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        self.axes = {int(axis): size for axis, size in (axes or {}).items()}
        self.allow_last_axis_squeeze = allow_last_axis_squeeze
        self.name = name
        self.optional = optional

    def __repr__(self):
        fields = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes")
        shown = [f"{f}={getattr(self, f)}" for f in fields if getattr(self, f)]
        return f"InputSpec({', '.join(shown)})"

    def get_config(self) -> dict:
        """The arguments as a dict."""
        names = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes", "optional")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config):
        """An equal InputSpec."""
        return cls(**config)


def check_inputs(spec, inputs, layer_name: str) -> None:
    """Raise ValueError if `inputs` do not fit the layer's `input_spec`."""
    if spec is None:
        return
    specs = jax.tree.leaves(spec, is_leaf=lambda s: isinstance(s, InputSpec))
    if isinstance(inputs, dict) and isinstance(spec, dict):
        missing = [name for name in spec if name not in inputs and not spec[name].optional]
        if missing:
            raise ValueError(
                f"Missing data for input '{missing[0]}' of layer '{layer_name}'. You passed a data "
                f"dictionary with keys {list(inputs)}. Expected the following keys: {list(spec)}"
            )
    values = jax.tree.leaves(inputs, is_leaf=lambda v: v is None or is_sparse_of_jax(v))
    if len(values) != len(specs):
        raise ValueError(
            f"Layer '{layer_name}' expects {len(specs)} input(s). "
            f"Received {len(values)} instead: {_shapes(values)}"
        )
    for index, (value, expected) in enumerate(zip(values, specs, strict=True)):
        if value is None and expected.optional:
            continue
        if not hasattr(value, "shape"):
            raise ValueError(
                f"Inputs to layer '{layer_name}' must be arrays. Got: {value!r} "
                f"(of type {type(value).__name__})"
            )
        _check(expected, tuple(value.shape), value.dtype, f"Input {index} of layer '{layer_name}'")


def _check(spec, shape, dtype, what):
    ndim = len(shape)
    if spec.shape is not None and spec.allow_last_axis_squeeze:
        if spec.shape and spec.shape[-1] == 1 and ndim == len(spec.shape) - 1:
            shape, ndim = (*shape, 1), ndim + 1
        elif shape and shape[-1] == 1 and ndim == len(spec.shape) + 1:
            shape, ndim = shape[:-1], ndim - 1
    if spec.ndim is not None and ndim != spec.ndim:
        hint = " Grayscale images need an axis for their one channel: x[..., None]." * (
            spec.ndim == 4 and ndim == 3
        )
        raise ValueError(
            f"{what} is incompatible with the layer: expected ndim={spec.ndim}, found ndim={ndim}. "
            f"Full shape received: {shape}.{hint}"
        )
    if spec.max_ndim is not None and ndim > spec.max_ndim:
        raise ValueError(
            f"{what} is incompatible with the layer: expected max_ndim={spec.max_ndim}, "
            f"found ndim={ndim}"
        )
    if spec.min_ndim is not None and ndim < spec.min_ndim:
        raise ValueError(
            f"{what} is incompatible with the layer: expected min_ndim={spec.min_ndim}, "
            f"found ndim={ndim}. Full shape received: {shape}"
        )
    if spec.dtype is not None and standardize_dtype(dtype) != spec.dtype:
        raise ValueError(
            f"{what} is incompatible with the layer: expected dtype={spec.dtype}, "
            f"found dtype={standardize_dtype(dtype)}"
        )
    for axis, size in spec.axes.items():
        if size is not None and shape[axis] not in (size, None):
            raise ValueError(
                f"{what} is incompatible with the layer: expected axis {axis} of input shape to "
                f"have value {size}, but received input with shape {shape}"
            )
    if spec.shape is not None:
        for expected, size in zip(spec.shape, shape, strict=True):
            if expected is not None and size is not None and expected != size:
                raise ValueError(
                    f"{what} is incompatible with the layer: expected shape={spec.shape}, "
                    f"found shape={shape}"
                )


def _shapes(values):
    return [getattr(v, "shape", v) for v in values]
