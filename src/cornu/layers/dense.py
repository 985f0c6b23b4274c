"""Densely connected layers: every output is a weighted sum of inputs."""

import copy
from typing import Any

import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.arguments import described
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.layers import weight_arguments
from cornu.ops.convolution import dense


def refuse_adapters(layer, lora_rank, lora_alpha, quantization_config) -> None:
    """Say that these are not supported, if one is given."""
    if any(given is not None for given in (lora_rank, lora_alpha, quantization_config)):
        raise ValueError(
            f"Layer '{layer.name}': low-rank adapters (`lora_rank`, `lora_alpha`) and quantization "
            "(`quantization_config`) are not supported. Leave them None. Received: "
            f"lora_rank={lora_rank}, lora_alpha={lora_alpha}, "
            f"quantization_config={quantization_config}"
        )


class _Weighted(Layer):
    """What `Dense` and `EinsumDense` share: a kernel, a bias and an activation.

    Args:
        activation: function applied to the sum; name or callable, None for none.
        kernel_initializer, bias_initializer: how the weights start.
        kernel_regularizer, bias_regularizer: penalties on weights, added to the loss.
        activity_regularizer: penalty on the output.
        kernel_constraint, bias_constraint: applied to weights after each step of an optimizer.
        lora_rank, lora_alpha, quantization_config: accepted as None, for files that Keras wrote.
    """

    _calculates = True
    kernel_initializer: Any

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
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        refuse_adapters(self, lora_rank, lora_alpha, quantization_config)
        self.activation = registry.get("activation", "linear" if activation is None else activation)
        weight_arguments.keep(self, locals(), "kernel", "bias")
        self.quantization_config = None

    def _config_names(self) -> list[str]:
        return [n for n in super()._config_names() if n not in ("lora_rank", "lora_alpha")]

    def _add_weights(self, kernel_shape, bias_shape, kernel_initializer=None):
        initializer = kernel_initializer or self.kernel_initializer
        self.kernel = weight_arguments.add(self, "kernel", kernel_shape, initializer=initializer)
        self.bias = None
        if bias_shape is not None:
            self.bias = weight_arguments.add(self, "bias", bias_shape)

    def _finish(self, weighted_sum):
        if self.bias is not None:
            weighted_sum = weighted_sum + self.bias.value
        return self.activation(weighted_sum)


@registry.register("layer", module="keras.layers")
class Dense(_Weighted):
    """`activation(inputs @ kernel + bias)`: every output sees every input.

    Args:
        units: number of outputs.
        activation: function applied to the sum; name or callable, None for none.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: names or callables.
        lora_rank, lora_alpha, quantization_config: accepted as None, for files that Keras wrote.

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

    def call(self, inputs):
        return self._finish(dense(inputs, self.kernel.value))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


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
        lora_rank, lora_alpha, gptq_unpacked_column_size, quantization_config: accepted as None, for
            files that Keras wrote.

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
                f"Layer '{self.name}': quantization is not supported. Leave "
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

    def call(self, inputs):
        return self._finish(jnp.einsum(self.equation, inputs, self.kernel.value))

    def compute_output_shape(self, input_shape):
        _, _, outputs = self._letters(len(input_shape))
        input_sizes, output_sizes = self._sizes(input_shape)
        return tuple(output_sizes[c] or input_sizes.get(c) for c in outputs)
