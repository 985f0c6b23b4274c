"""What depends on weights alone, computed when a program is made."""

import jax
import numpy as np

BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}


def computed(equation, operands: list[np.ndarray]) -> list[np.ndarray]:
    """The results of an operation on arrays.

    NumPy does what normalization needs; to compile it would take longer than all else. Arrays that are
    spread over more axes stay as small as they were.
    """
    name, parameters = equation.primitive.name, equation.params
    aval = equation.outvars[0].aval
    if len(equation.outvars) == 1 and all(o.dtype == np.float32 for o in operands):
        if name in BINARY:
            return [np.asarray(BINARY[name](*operands), np.float32)]
        if name == "rsqrt":
            return [np.asarray(1 / np.sqrt(operands[0]), np.float32)]
        if name in ("reshape", "squeeze", "expand_dims"):
            return [operands[0].reshape(aval.shape)]
        if name == "broadcast_in_dim" and len(operands) == 1:
            shape = [1] * len(aval.shape)
            for axis, n in zip(parameters["broadcast_dimensions"], operands[0].shape, strict=True):
                shape[axis] = n
            return [np.broadcast_to(operands[0].reshape(shape), aval.shape)]
        if name == "convert_element_type" and parameters["new_dtype"] == np.float32:
            return operands
    results = equation.primitive.bind(*operands, **parameters)
    results = results if equation.primitive.multiple_results else [results]
    return [np.asarray(r) for r in jax.block_until_ready(results)]
