"""Weights and activations in few bits. Source: Keras: Quantizers.

>>> import cornu
>>> model = cornu.Sequential([cornu.Input((8,)), cornu.layers.Dense(4)])
>>> model.quantize("int8")
>>> model.layers[0].kernel.dtype
'int8'
"""

import inspect

from cornu.core import registry
from cornu.quantizers.configs import (
    AbsMaxQuantizer,
    AWQConfig,
    Float8QuantizationConfig,
    GPTQConfig,
    Int4QuantizationConfig,
    Int8QuantizationConfig,
    QuantizationConfig,
    Quantizer,
)
from cornu.quantizers.functions import (
    abs_max_quantize,
    abs_max_quantize_grouped_with_zero_point,
    compute_float8_amax_history,
    compute_float8_scale,
    fake_quant_with_min_max_vars,
    pack_int4,
    quantize_and_dequantize,
    unpack_int4,
)


def get(identifier, **kwargs):
    """The quantizer that a name, a configuration, a class or a quantizer means; None stays None.

    Args:
        identifier: what means it.
        **kwargs: arguments for its constructor, if it is a name or a class.

    >>> from cornu import quantizers
    >>> quantizers.get("abs_max_quantizer", axis=0).axis
    (0,)
    """
    if isinstance(identifier, str):
        try:
            identifier = registry.find("quantizer", identifier)
        except ValueError as error:
            raise ValueError(
                f"Could not interpret quantizer identifier: {identifier}. {error}"
            ) from None
    if inspect.isclass(identifier):
        return identifier(**kwargs)
    return registry.get("quantizer", identifier)


def serialize(initializer) -> dict:
    """The configuration of a quantizer; the argument has the name that it has in Keras."""
    return registry.serialize(initializer)


def deserialize(config, custom_objects=None):
    """The quantizer that `serialize` described."""
    return registry.deserialize(config, custom_objects, kind="quantizer")


__all__ = [
    "AWQConfig",
    "AbsMaxQuantizer",
    "Float8QuantizationConfig",
    "GPTQConfig",
    "Int4QuantizationConfig",
    "Int8QuantizationConfig",
    "QuantizationConfig",
    "Quantizer",
    "abs_max_quantize",
    "abs_max_quantize_grouped_with_zero_point",
    "compute_float8_amax_history",
    "compute_float8_scale",
    "deserialize",
    "fake_quant_with_min_max_vars",
    "get",
    "pack_int4",
    "quantize_and_dequantize",
    "serialize",
    "unpack_int4",
]
