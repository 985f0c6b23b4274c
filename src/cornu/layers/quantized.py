"""Layers whose main weight can be kept, and computed with, in few bits."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu import quantizers
from cornu.core.policies import Int4DTypePolicy, get_policy
from cornu.core.variable import Variable
from cornu.layers.low_rank import LowRank
from cornu.quantizers.configs import resolve
from cornu.quantizers.functions import dequantize


class Quantizable(LowRank):
    """A layer that can quantize its main weight to integers of 8 or 4 bits.

    Each number of 8 bits is multiplied by the scale of its output, of 4 bits by that of its group, from
    which a zero point is subtracted first. What has been learned with low-rank matrices is added.
    """

    _modes: tuple[str, ...] = ("int8", "int4")
    inputs_quantizer: Any = None
    quantization_config: Any = None

    # ---- what a subclass says of its weight

    def _contracted_axes(self) -> tuple[int, ...]:
        """The axes of the weight that are summed over, which share a scale."""
        raise NotImplementedError

    def _scale_as_kept(self, scale):
        """The scale of 8 bits, from the shape in which it divides the weight to the one that is kept."""
        raise NotImplementedError

    def _scale_of_weight(self, scale):
        """The reverse of `_scale_as_kept`."""
        raise NotImplementedError

    def _as_matrix(self, weight):
        """The weight as a matrix whose rows are summed over."""
        raise NotImplementedError

    def _from_matrix(self, matrix):
        """The reverse of `_as_matrix`."""
        raise NotImplementedError

    # Whether what is kept of 4 bits is the transposed matrix.
    _transposed = False

    # ---- building

    def quantized_build(self, input_shape, mode, config=None):
        """Make the weights of a quantized layer: integers and their scales.

        Args:
            input_shape: of the main weight.
            mode: `"int8"`, `"int4"` or `"float8"`.
            config: a `QuantizationConfig`, None for the mode's.
        """
        if mode not in self._modes:
            raise NotImplementedError(
                f"Layer '{self.name}': Invalid quantization mode. Expected one of {self._modes}. "
                f"Received: quantization_mode={mode}"
            )
        getattr(self, f"_{mode}_build")(tuple(input_shape), config)
        self._is_quantized = True

    def _add_main(self, shape, **arguments) -> None:
        # What the subclass needs to know of a weight that is not there in this shape.
        self._shape_of_main = tuple(shape)
        mode = self.quantization_mode
        if mode is not None:
            self.quantized_build(shape, mode, self.quantization_config)
        if mode not in ("int8", "int4"):
            super()._add_main(shape, **arguments)

    def _main_shape(self) -> tuple:
        return self._shape_of_main

    def _add_frozen(self, name: str, shape, initializer="zeros", dtype=None) -> Variable:
        weight = self.add_weight(shape, initializer, dtype, trainable=False, name=name)
        if name != self._main:
            setattr(self, name, weight)
        return weight

    def _int8_build(self, shape: tuple, config) -> None:
        self.inputs_quantizer = (
            quantizers.AbsMaxQuantizer() if config is None else config.activation_quantizer
        )
        self._main_variable = self._add_frozen(self._main, shape, dtype="int8")
        reduced = [1 if i in self._contracted_axes() else n for i, n in enumerate(shape)]
        scale = jax.eval_shape(self._scale_as_kept, jax.ShapeDtypeStruct(tuple(reduced), "float32"))
        self._add_frozen(f"{self._main}_scale", scale.shape, "ones")

    def _block_size_of(self, config) -> int | None:
        """How many inputs share a scale of 4 bits; None for all."""
        size = getattr(config, "block_size", None)
        if config is None and isinstance(self._policy, Int4DTypePolicy):
            size = self._policy.block_size
        return None if size == -1 else size

    def _int4_build(self, shape: tuple, config) -> None:
        self.inputs_quantizer = None if config is None else config.activation_quantizer
        rows, columns = jax.eval_shape(
            self._as_matrix, jax.ShapeDtypeStruct(shape, "float32")
        ).shape
        self._block_size = size = self._block_size_of(config)
        kept = (columns, rows) if self._transposed else (rows, columns)
        packed = (kept[0], (kept[1] + 1) // 2)
        self._main_variable = self._add_frozen(self._main, packed, dtype="int8")
        self._columns_of_packed = kept[1]
        groups: tuple = () if size is None else (-(-rows // size),)
        scales = (columns, *groups) if self._transposed else (*groups, columns)
        self._add_frozen(f"{self._main}_scale", scales, "ones")
        if size is not None:
            self._add_frozen(f"{self._main}_zero", scales, dtype="int8")
            # The number of each row's group; a float in files, which a dtype of 16 bits would round.
            self.g_idx = self.add_weight(
                (rows,), "zeros", "float32", trainable=False, autocast=False, name="g_idx"
            )
            self.g_idx.assign(np.arange(rows, dtype="float32") // size)

    # ---- quantizing

    def quantize(self, mode=None, type_check=True, config=None):
        """Quantize the weights of a layer that is built.

        Args:
            mode: `"int8"`, `"int4"` or, for Dense and EinsumDense, `"float8"`, which stays trainable.
            type_check: whether to refuse a subclass, whose own `call` would not be used any more.
            config: a `quantizers.QuantizationConfig` with more to say than a mode; default: the
                constructor's `quantization_config` if it is for this mode, else the mode's.

        Raises ValueError if the layer is not built or quantized already, NotImplementedError for a
        subclass or for a mode that it does not know.
        """
        own = self.quantization_config
        if config is None and own is not None and mode in (None, own.mode):
            config = own
        if config is None and mode == "int4" and isinstance(self._policy, Int4DTypePolicy):
            # The policy has been set before.
            config = quantizers.Int4QuantizationConfig(block_size=self._block_size_of(None))
        config = resolve(mode, config)
        self._check_can_quantize(config.mode, type_check)
        policy = self.dtype_policy
        values: dict[str, Any] = {}
        if config.mode in ("int8", "int4"):
            # Low-rank matrices stay beside what is quantized.
            weight = self._main_variable.value
            values = self._quantized(weight, config.mode, config, self._block_size_of(config))
            self._remove(self._main_variable)
        self.quantization_config = config
        self.quantized_build(self._shape_of_main, config.mode, config)
        self._assign(values)
        if self.quantization_mode is None:
            self.dtype_policy = get_policy(
                f"{config.policy_name()}_from_{policy.at(self.path).name}"
            )

    def _check_can_quantize(self, mode: str, type_check: bool) -> None:
        if type_check and "_can_be_quantized" not in type(self).__dict__:
            raise self._cannot_quantize()
        if not self.built:
            raise ValueError(
                f"Cannot quantize a layer that isn't yet built. Layer '{self.name}' (of type "
                f"'{type(self).__name__}') is not built yet."
            )
        if self._is_quantized:
            raise ValueError(
                f"Layer '{self.name}' is already quantized with dtype_policy="
                f"'{self.dtype_policy.name}'. Received: mode={mode}"
            )
        if mode == "int8" and self.compute_dtype == "float16":
            raise ValueError(
                f"Layer '{self.name}': Quantization mode='int8' doesn't work well with "
                "compute_dtype='float16'. Use 'mixed_bfloat16' or 'float32' before `quantize()`."
            )
        if mode not in self._modes:
            raise NotImplementedError(
                f"Layer '{self.name}': Invalid quantization mode. Expected one of {self._modes}. "
                f"Received: quantization_mode={mode}"
            )
        if mode == "float8" and self.lora_enabled:
            raise NotImplementedError(
                f"Layer '{self.name}': 'float8' does not go with low-rank adaptation (lora)."
            )

    def _remove(self, variable: Variable) -> None:
        self._variables[:] = [v for v in self._variables if v is not variable]

    def _assign(self, values: dict) -> None:
        for name, value in values.items():
            (self._main_variable if name == self._main else getattr(self, name)).assign(value)

    def _quantized(self, weight, mode: str, config, block_size) -> dict:
        """The values of the variables of a layer with this weight."""
        main, quantizer = self._main, getattr(config, "weight_quantizer", None)
        if mode == "int8":
            quantizer = quantizer or quantizers.AbsMaxQuantizer(self._contracted_axes())
            values, scale = quantizer(weight, to_numpy=True)
            return {main: values, f"{main}_scale": self._scale_as_kept(scale)}
        matrix = self._as_matrix(weight)
        if block_size is None:
            quantizer = quantizer or quantizers.AbsMaxQuantizer(value_range=(-8, 7))
            values, scale = quantizer(matrix, axis=0, to_numpy=True)
            made = {f"{main}_scale": scale[0]}
        else:
            values, scale, zero = quantizers.abs_max_quantize_grouped_with_zero_point(
                matrix, block_size, to_numpy=True
            )
            made = {f"{main}_scale": self._kept(scale), f"{main}_zero": self._kept(zero)}
        return {main: quantizers.pack_int4(self._kept(values), axis=-1)[0], **made}

    def _kept(self, matrix):
        return matrix.T if self._transposed else matrix

    # ---- computing

    def quantized_call(self, *args, **kwargs):
        """What `call` computes, with quantized weights."""
        return getattr(self, f"_{self.quantization_mode}_call")(*args, **kwargs)

    def _integers(self):
        """The integers that are kept, each in a byte."""
        values = self._main_variable.value
        if self.quantization_mode == "int4":
            return quantizers.unpack_int4(values, self._columns_of_packed, axis=-1)
        return values

    def _dequantized(self, dtype):
        """The weight as floats, in its own shape."""
        main, values = self._main, self._integers()
        scale = getattr(self, f"{main}_scale").value
        if self.quantization_mode == "int8":
            return values.astype(dtype) / self._scale_of_weight(scale)
        if self._block_size is None:
            floats = self._kept(values).astype(dtype) / scale
        else:
            zero = getattr(self, f"{main}_zero").value
            floats = dequantize(
                self._kept(values), self._kept(scale), self._kept(zero), self.g_idx.value
            )
        return self._from_matrix(floats.astype(dtype))

    def _sum(self):
        if self.quantization_mode not in ("int8", "int4"):
            return super()._sum()
        return self._dequantized(self.compute_dtype) + self._adaptation()

    def _effective(self):
        if self.quantization_mode not in ("int8", "int4"):
            return super()._effective()
        if self.lora_enabled:
            return self._sum().astype(self.compute_dtype)
        if self.quantization_mode == "int8":
            return self._main_variable
        values = self._integers()
        return values if self._transposed else self._from_matrix(values)

    # ---- files

    @property
    def variable_serialization_spec(self) -> dict:
        """The names of the variables in files, in order, for each quantization mode."""
        main = self._main
        return {
            None: [main],
            "int8": [main, f"{main}_scale"],
            "int4": [main, f"{main}_scale", f"{main}_zero", "g_idx"],
        }

    def _saved_weights(self) -> list[Variable]:
        if self.quantization_mode is None:
            return super()._saved_weights()
        names = self.variable_serialization_spec[self.quantization_mode]
        named = [f"_{n}" if n == self._main else n for n in names]
        first = [getattr(self, name, None) for name in named]
        kept = [weight for weight in first if weight is not None]
        known = [*kept, *((self._lora_a, self._lora_b) if self.lora_enabled else ())]
        # A subclass may have more.
        return [*kept, *(w for w in self._own_weights() if not any(w is k for k in known))]

    def _saved_values(self) -> list[np.ndarray]:
        mode = self.quantization_mode
        if mode is None or not self.lora_enabled:
            return super()._saved_values() if mode is None else self._values_with({})
        # The sum is quantized anew.
        size = getattr(self, "_block_size", None)
        return self._values_with(self._quantized(self._sum(), mode, None, size))

    def _values_with(self, others: dict) -> list[np.ndarray]:
        instead = {
            id(self._main_variable if name == self._main else getattr(self, name)): value
            for name, value in others.items()
        }
        return [np.asarray(instead.get(id(w), w.value)) for w in self._saved_weights()]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def straight_through(exact, smooth, inputs, arrays):
    """`exact(inputs, arrays)`, whose gradient is that of `smooth`: roundings have none."""
    return exact(inputs, arrays)


def _forward(exact, smooth, inputs, arrays):
    return exact(inputs, arrays), (inputs, arrays)


def _backward(exact, smooth, kept, upstream):
    inputs, arrays = kept
    (gradient,) = jax.vjp(lambda x: smooth(x, arrays), inputs)[1](upstream)
    return gradient, None


straight_through.defvjp(_forward, _backward)


def product_of(function, left, right):
    """A product of matrices; of two of 8 bits, in 32 bits."""
    both = left.dtype == right.dtype == jnp.int8
    return function(left, right, preferred_element_type=jnp.int32 if both else None)
