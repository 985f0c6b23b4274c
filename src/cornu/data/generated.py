"""What is said of a generator's elements, and the check that it holds."""

import numpy as np

from cornu.data.elements import TensorSpec, as_element, copied, dtype_name, map_structure


def converter(types, shapes, signature) -> tuple:
    """The structure of `TensorSpec`s, or None, and the function that gives an element these dtypes."""
    if signature is not None:
        spec = map_structure(_spec, signature)
    elif types is not None:
        spec = _with_shapes(types, shapes)
    else:
        # A generator may fill one array again and again.
        return None, lambda element: map_structure(copied, as_element(element))
    return spec, lambda element: _fitting(spec, element)


def _spec(given) -> TensorSpec:
    return TensorSpec(_sizes(given.shape), _dtype(given.dtype), getattr(given, "name", None))


def _dtype(dtype) -> str:
    """The name of a dtype, NumPy's, TensorFlow's, or a string."""
    if dtype in (str, bytes, object) or "str" in str(getattr(dtype, "name", dtype)):
        return "string"
    return np.dtype(getattr(dtype, "as_numpy_dtype", dtype)).name


def _sizes(shape) -> tuple | None:
    """A shape as a tuple; None if not even the number of axes is known."""
    if shape is None or (hasattr(shape, "rank") and shape.rank is None):
        return None
    return tuple(None if n is None or n == -1 else int(n) for n in shape)


def _with_shapes(types, shapes):
    """The specs of a structure of dtypes and one, of the same structure, of shapes or None."""
    if isinstance(types, dict):
        return {k: _with_shapes(t, None if shapes is None else shapes[k]) for k, t in types.items()}
    if isinstance(types, tuple | list):
        shapes = [None] * len(types) if shapes is None else shapes
        return tuple(_with_shapes(t, s) for t, s in zip(types, shapes, strict=True))
    return TensorSpec(_sizes(shapes), _dtype(types))


def _fitting(spec, element):
    """The element in the dtypes of its spec; raises ValueError where it does not fit."""
    try:
        return map_structure(_fitting_leaf, spec, _like(spec, element))
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            "The generator gave an element that is not as `output_signature` or `output_types` say: "
            f"{error}. Expected: {spec}"
        ) from error


def _like(spec, element):
    # A list stands for a tuple where one is expected, as in TensorFlow.
    if isinstance(spec, tuple) and not isinstance(spec, TensorSpec) and isinstance(element, list):
        return tuple(element)
    return element


def _fitting_leaf(spec: TensorSpec, value):
    if spec.dtype == "string":
        leaf = copied(as_element(value))
        if dtype_name(leaf) != "string":
            raise ValueError(f"{value!r} is not text")
    else:
        array = np.asarray(value)
        if array.dtype.kind in "OSU":
            raise ValueError(f"{value!r} is no array of {spec.dtype}")
        leaf = array.astype(spec.dtype)[()]
        whole = np.dtype(spec.dtype).kind in "iu"
        if whole and array.dtype.kind in "iuf" and not (leaf == array).all():
            raise ValueError(f"{value!r} does not fit {spec.dtype}")
    shape = np.shape(leaf)
    if spec.shape is not None and (
        len(shape) != len(spec.shape)
        or any(size not in (None, has) for size, has in zip(spec.shape, shape, strict=True))
    ):
        raise ValueError(f"an array of shape {shape} came for shape {spec.shape}")
    return leaf
