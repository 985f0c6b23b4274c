"""Densely connected layers: every output is a weighted sum of inputs."""

import copy
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from cornu.core import registry
from cornu.core.arguments import described
from cornu.core.input_spec import InputSpec
from cornu.layers import float8, weight_arguments
from cornu.layers.quantized import Quantizable, product_of, straight_through
from cornu.ops.convolution import dense


class _Weighted(Quantizable):
    """What `Dense` and `EinsumDense` share: a kernel, a bias and an activation.

    Args:
        activation: function applied to the sum; name or callable, None for none.
        kernel_initializer, bias_initializer: how the weights start.
        kernel_regularizer, bias_regularizer: penalties on weights, added to the loss.
        activity_regularizer: penalty on the output.
        kernel_constraint, bias_constraint: applied to weights after each step of an optimizer.
        lora_rank, lora_alpha: low-rank adaptation from the start: see `enable_lora`.
        quantization_config: how `quantize` quantizes: see `quantizers`.
    """

    _calculates = True
    _modes = ("int8", "int4", "float8")
    kernel_initializer: Any
    kernel_scale: Any

    def __init__(
        self,
        activation=None,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        lora_rank=None,
        lora_alpha=None,
        quantization_config=None,
        **kwargs,
    ):
        super().__init__(
            activity_regularizer=activity_regularizer,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            **kwargs,
        )
        self.activation = registry.get("activation", "linear" if activation is None else activation)
        weight_arguments.keep(self, locals(), "kernel", "bias")
        self.quantization_config = registry.get("quantizer", quantization_config)

    def _add_weights(self, kernel_shape, bias_shape, kernel_initializer=None):
        self._add_main(kernel_shape, initializer=kernel_initializer or self.kernel_initializer)
        self.bias = None
        if bias_shape is not None:
            self.bias = weight_arguments.add(self, "bias", bias_shape)
        if self.lora_rank:
            self._add_adaptation()

    @property
    def kernel(self):
        """The weights: a variable or, with low-rank adaptation, the sum that the layer computes with."""
        return self._effective()

    @kernel.setter
    def kernel(self, variable):
        self._main_variable = variable

    def _finish(self, weighted_sum):
        if self.bias is not None:
            weighted_sum = weighted_sum + lax.broadcast_to_rank(self.bias.value, weighted_sum.ndim)
        return self._activated(weighted_sum)

    def _activated(self, summed):
        return summed if self.activation is None else self.activation(summed)

    # ---- quantized

    def _product(self, inputs, kernel, **options):
        """The sums without a bias."""
        raise NotImplementedError

    def _scale_of_inputs(self, scale):
        """The scale of quantized inputs in the shape of the output."""
        return scale

    def _quantized_axes(self) -> tuple[int, ...]:
        """The axes of the inputs that share a scale."""
        return (-1,)

    def _int8_call(self, inputs, training=None):
        summed = self._product_of_integers(inputs, self._integers(), self.kernel_scale.value)
        return self._finish(self._adapted(summed, inputs))

    def _product_of_integers(self, inputs, kernel, scale):
        """The sums with a kernel of integers, each divided by the scale of its output."""

        def exact(inputs, arrays):
            kernel, scale = arrays
            if self.inputs_quantizer is not None:
                inputs, inputs_scale = self.inputs_quantizer(inputs, axis=self._quantized_axes())
                scale = scale * self._scale_of_inputs(inputs_scale)
            return product_of(self._product, inputs, kernel).astype(self.compute_dtype) / scale

        def smooth(inputs, arrays):
            kernel, scale = arrays
            floats = kernel.astype(self.compute_dtype) / self._scale_of_weight(scale)
            return self._product(inputs, floats)

        return straight_through(exact, smooth, inputs, (kernel, scale))

    def _int4_call(self, inputs, training=None):
        summed = self._product_of_few_bits(inputs)
        return self._finish(self._adapted(summed, inputs))

    def _product_of_few_bits(self, inputs):
        """The sums with a kernel of 4 bits, which is made floats before."""
        kernel = self._dequantized(self.compute_dtype)

        def exact(inputs, kernel):
            values, scale = self.inputs_quantizer(inputs, axis=self._quantized_axes())
            summed = self._product(values, kernel).astype(self.compute_dtype)
            return summed / self._scale_of_inputs(scale)

        if self.inputs_quantizer is None:
            return self._product(inputs, kernel)
        return straight_through(exact, self._product, inputs, kernel)

    def _adapted(self, summed, inputs):
        """The sums, and those with the low-rank matrices."""
        if not self.lora_enabled:
            return summed
        a, b = self._lora_a.value, self._lora_b.value
        if self._ends_alike():
            more = self._product(inputs, a) @ b
        else:
            more = self._product(inputs, a @ b)
        return (summed + self._lora_scale * more).astype(self.compute_dtype)

    def _ends_alike(self) -> bool:
        """Whether the last axis of the kernel is that of the output, so that it can be summed last."""
        return True

    def _float8_build(self, shape: tuple, config) -> None:
        length = getattr(self._policy, "amax_history_length", 1024)
        for name in float8.ROUNDED:
            for part, size, initializer in (
                ("scale", (), "ones"),
                ("amax_history", (length,), "zeros"),
            ):
                weight = self.add_weight(
                    size,
                    initializer,
                    "float32",
                    autocast=False,
                    overwrite_with_gradient=True,
                    name=f"{name}_{part}",
                )
                setattr(self, f"{name}_{part}", weight)

    def _float8_call(self, inputs, training=None):
        def values(name):
            return getattr(self, f"{name}_scale").value, getattr(self, f"{name}_amax_history").value

        dtype = self.compute_dtype
        summed = self._product(
            float8.rounded(inputs, *values("inputs"), dtype),
            float8.rounded(self._main_variable.value, *values("kernel"), dtype),
        )
        summed = float8.with_rounded_gradient(summed, *values("outputs_grad"), dtype)
        if self.bias is not None:
            bias = self.bias.value
            if dtype == "float32":
                # As in Keras, where the bias is to be added in the same format as the product.
                bias = bias.astype("bfloat16").astype(dtype)
            summed = summed + lax.broadcast_to_rank(bias, summed.ndim)
        return self._activated(summed)

    @property
    def variable_serialization_spec(self) -> dict:
        """The names of the variables in files, in order, for each quantization mode."""
        spec = {
            mode: [names[0], "bias", *names[1:]]
            for mode, names in super().variable_serialization_spec.items()
        }
        eight = [f"{n}_{part}" for n in float8.ROUNDED for part in ("scale", "amax_history")]
        calibrated = ["bias", "quantized_kernel", "kernel_scale", "kernel_zero"]
        return {
            **spec,
            "float8": ["kernel", "bias", *eight],
            "gptq": [*calibrated, "g_idx"],
            "awq": [*calibrated, "awq_scales", "g_idx"],
        }


@registry.register("layer", module="keras.layers")
class Dense(_Weighted):
    """`activation(inputs @ kernel + bias)`: every output sees every input.

    Args:
        units: number of outputs.
        activation: function applied to the sum; name or callable, None for none.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: names or callables.
        lora_rank, lora_alpha: low-rank adaptation from the start, in which only two matrices of this
            rank are trained beside the kernel: see `enable_lora`. (Keras leaves the alpha out here.)
        quantization_config: how `quantize` quantizes: see `quantizers`.

    Shapes: (batch, …, n) -> (batch, …, units). The kernel is (n, units), the bias (units,).

    Source: Keras: Dense layer.

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.Dense(2, kernel_initializer="ones")
    >>> layer(jnp.ones((1, 3))).tolist()
    [[3.0, 3.0]]
    """

    def __init__(
        self,
        units,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        lora_rank=None,
        lora_alpha=None,
        quantization_config=None,
        **kwargs,
    ):
        super().__init__(
            activation=activation,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            quantization_config=quantization_config,
            **kwargs,
        )
        if not isinstance(units, int | np.integer) or isinstance(units, bool) or units <= 0:
            raise ValueError(
                f"Layer '{self.name}': received an invalid value for `units`, expected a positive "
                f"integer. Received: {described('units', units)}"
            )
        self.units = int(units)
        self.use_bias = use_bias
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True

    def _config_names(self) -> list[str]:
        # Keras leaves it out where there is none.
        hidden = "activity_regularizer" if self.activity_regularizer is None else ""
        return [n for n in super()._config_names() if n != hidden]

    def build(self, input_shape):
        size = input_shape[-1]
        if size is None:
            raise ValueError(
                f"Layer '{self.name}': the last dimension of the inputs to a Dense layer should be "
                f"defined, for the kernel's shape depends on it. Found None in {input_shape}. Give "
                "`Input` that size, or put a Flatten or pooling layer with a fixed output before."
            )
        self._add_weights((size, self.units), (self.units,) if self.use_bias else None)
        self.input_spec = InputSpec(min_ndim=2, axes={-1: size})

    def call(self, inputs, training=None):
        return self._finish(dense(inputs, self._effective_value()))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    _can_be_quantized = True

    def _product_of_few_bits(self, inputs):
        if self._block_size is None:
            return self._product_of_integers(inputs, self._integers(), self.kernel_scale.value)
        return super()._product_of_few_bits(inputs)

    def _product(self, inputs, kernel, **options):
        return jnp.matmul(inputs, kernel, **options) if options else dense(inputs, kernel)

    def _contracted_axes(self) -> tuple[int, ...]:
        return (0,)

    def _scale_as_kept(self, scale):
        return jnp.squeeze(scale, 0)

    def _scale_of_weight(self, scale):
        return scale

    def _as_matrix(self, weight):
        return weight

    def _from_matrix(self, matrix):
        return matrix


@registry.register("layer", module="keras.layers")
class EinsumDense(_Weighted):
    """`activation(einsum(equation, inputs, kernel) + bias)`: a dense layer over any axes.

    Args:
        equation: such as `"abc,cd->abd"`, one of the forms `X,Y->Z`, `...X,Y->...Z` and
            `X...,Y->Z...`; without dots the first letter is the batch.
        output_shape: sizes of the output's named axes without the batch; None in it for a size that
            the input has. An integer means one axis.
        activation: function applied to the sum; name or callable, None for none.
        bias_axes: letters of the output's axes that the bias varies along; None for no bias.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: names or callables.
        lora_rank, lora_alpha: low-rank adaptation from the start: see `enable_lora`.
        gptq_unpacked_column_size: accepted as None, for files that Keras wrote.
        quantization_config: how `quantize` quantizes: see `quantizers`.

    Source: Keras: EinsumDense layer.

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.EinsumDense("abc,cd->abd", output_shape=(None, 64), bias_axes="d")
    >>> layer(jnp.ones((2, 32, 16))).shape, layer.kernel.shape, layer.bias.shape
    ((2, 32, 64), (16, 64), (64,))
    """

    def __init__(
        self,
        equation,
        output_shape,
        activation=None,
        bias_axes=None,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        lora_rank=None,
        lora_alpha=None,
        gptq_unpacked_column_size=None,
        quantization_config=None,
        activity_regularizer=None,
        **kwargs,
    ):
        super().__init__(
            activation=activation,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            quantization_config=quantization_config,
            **kwargs,
        )
        if gptq_unpacked_column_size is not None:
            raise ValueError(
                f"Layer '{self.name}': quantization with GPTQ is not supported. Leave "
                "`gptq_unpacked_column_size` None."
            )
        self.equation = equation
        single = isinstance(output_shape, int)
        self.partial_output_shape = (output_shape,) if single else tuple(output_shape)
        self.bias_axes = bias_axes

    def _config_names(self) -> list[str]:
        return [n for n in super()._config_names() if n != "gptq_unpacked_column_size"]

    def get_config(self) -> dict:
        return {**super().get_config(), "output_shape": self.partial_output_shape}

    def _error(self, message: str) -> ValueError:
        return ValueError(f"Layer '{self.name}': equation {self.equation!r}: {message}")

    def _letters(self, rank: int) -> tuple[str, str, str]:
        """The letters of input, kernel and output, with letters in place of the dots."""
        sides = self.equation.replace(" ", "").split("->")
        left = sides[0].split(",")
        if len(sides) != 2 or len(left) != 2 or not left[1].isalpha():
            raise self._error(
                "Invalid einsum equation. Equations must be in the form [X],[Y]->[Z], "
                "...[X],[Y]->...[Z], or [X]...,[Y]->[Z]...."
            )
        named = self.equation.replace("...", "")
        spare = "".join(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in named)
        elided = spare[: max(rank - len(left[0].replace("...", "")), 0)]
        inputs, outputs = (side.replace("...", elided) for side in (left[0], sides[1]))
        if len(inputs) != rank:
            raise self._error(f"the input has {rank} axes, but {left[0]!r} names {len(inputs)}.")
        return inputs, left[1], outputs

    def _sizes(self, input_shape) -> tuple[dict, dict]:
        inputs, _, outputs = self._letters(len(input_shape))
        input_sizes = dict(zip(inputs, input_shape, strict=True))
        output_sizes = {c: input_sizes[c] for c in outputs if c.isupper() and c in input_sizes}
        named = [c for c in outputs if c not in self._elided(inputs)]
        sizes = list(self.partial_output_shape)
        if not self.equation.startswith("..."):
            sizes.insert(0, input_shape[0])
        if len(named) != len(sizes):
            raise self._error(
                f"`output_shape` must have one size for each named axis of the output except the "
                f"batch. Received: output_shape={self.partial_output_shape}"
            )
        output_sizes.update(zip(named, sizes, strict=True))
        for letter, size in output_sizes.items():
            if letter in input_sizes and size not in (None, input_sizes[letter]):
                raise self._error(
                    f"Input shape and output shape do not match at shared dimension '{letter}'. "
                    f"Input shape is {input_sizes[letter]}, and output shape is {size}."
                )
        return input_sizes, output_sizes

    def _elided(self, inputs: str) -> str:
        return "".join(c for c in inputs if c not in self.equation)

    def build(self, input_shape):
        inputs, kernel, outputs = self._letters(len(input_shape))
        input_sizes, output_sizes = self._sizes(input_shape)
        self._sides = (inputs, kernel, outputs)
        for letter in outputs:
            if letter not in inputs + kernel:
                raise self._error(
                    f"Dimension '{letter}' was specified in the output but has no corresponding "
                    "dimension in the input or the kernel."
                )
        for letter in kernel:
            if letter not in inputs + outputs:
                raise self._error(
                    f"Weight dimension '{letter}' did not have a match in either the input or the "
                    "output. For this layer, the weight must be fully specified."
                )
        kernel_shape = tuple(output_sizes.get(c) or input_sizes.get(c) for c in kernel)
        bias_shape = None
        if self.bias_axes:
            for letter in self.bias_axes:
                if letter not in outputs:
                    raise self._error(
                        f"Bias dimension '{letter}' was requested, but is not part of the output."
                    )
            first = min(outputs.index(c) for c in self.bias_axes)
            bias_shape = tuple(
                (output_sizes[c] or input_sizes.get(c)) if c in self.bias_axes else 1
                for c in outputs[first:]
            )
        self._add_weights(kernel_shape, bias_shape, self._initializer_for(inputs, kernel, outputs))

    def _initializer_for(self, inputs: str, kernel: str, outputs: str):
        """The kernel's initializer, which is told along which axes inputs and outputs are counted."""
        initializer = self.kernel_initializer
        axes = [getattr(initializer, f"{side}_axes", 0) for side in ("input", "output")]
        if None not in axes:
            return initializer
        told = copy.copy(initializer)
        told.input_axes = [i for i, letter in enumerate(kernel) if letter in inputs]
        told.output_axes = [i for i, letter in enumerate(kernel) if letter in outputs]
        return told

    def call(self, inputs, training=None):
        return self._finish(jnp.einsum(self.equation, inputs, self._effective_value()))

    _can_be_quantized = True

    def _product(self, inputs, kernel, **options):
        return jnp.einsum(self.equation, inputs, kernel, **options)

    def _ends_alike(self) -> bool:
        _, kernel, outputs = self._sides
        return kernel[-1] == outputs[-1]

    def _contracted_axes(self) -> tuple[int, ...]:
        _, kernel, outputs = self._sides
        return tuple(i for i, letter in enumerate(kernel) if letter not in outputs)

    def _quantized_axes(self) -> tuple[int, ...]:
        inputs, _, outputs = self._sides
        return tuple(i for i, letter in enumerate(inputs) if letter not in outputs)

    def _in_output(self, letters: str, scale):
        """A scale of size one along summed axes, in an order of axes in which it divides the output."""
        _, _, outputs = self._sides
        summed = tuple(i for i, letter in enumerate(letters) if letter not in outputs)
        kept = [letter for letter in letters if letter in outputs]
        scale = jnp.squeeze(scale, summed)
        scale = scale.transpose([kept.index(letter) for letter in outputs if letter in kept])
        return jnp.expand_dims(scale, [i for i, letter in enumerate(outputs) if letter not in kept])

    def _scale_of_inputs(self, scale):
        return self._in_output(self._sides[0], scale)

    def _scale_as_kept(self, scale):
        return self._in_output(self._sides[1], scale)

    def _scale_of_weight(self, scale):
        _, kernel, outputs = self._sides
        kept = [letter for letter in outputs if letter in kernel]
        scale = jnp.squeeze(scale, [i for i, letter in enumerate(outputs) if letter not in kept])
        scale = scale.transpose([kept.index(letter) for letter in kernel if letter in kept])
        return jnp.expand_dims(scale, self._contracted_axes())

    def _as_matrix(self, weight):
        # As in Keras: not transposed, wherever the summed axes are.
        rows = math.prod(weight.shape[i] for i in self._contracted_axes())
        return weight.reshape(rows, -1)

    def _from_matrix(self, matrix):
        return matrix.reshape(self._shape_of_main)

    def compute_output_shape(self, input_shape):
        _, _, outputs = self._letters(len(input_shape))
        input_sizes, output_sizes = self._sizes(input_shape)
        return tuple(output_sizes[c] or input_sizes.get(c) for c in outputs)
