"""How weights and activations are quantized: quantizers, and configurations for `quantize`."""

from typing import Any

from cornu.core import registry
from cornu.core.configurable import Configurable
from cornu.core.policies import QUANTIZATION_MODES
from cornu.quantizers.functions import abs_max_quantize


@registry.register("quantizer", "Quantizer", module="keras.quantizers")
class Quantizer(Configurable):
    """A rule that turns floats into integers; this one leaves them as they are.

    Args:
        output_dtype: dtype of the result.

    A subclass overrides `__call__(x, axis=None, to_numpy=False)`, which returns integers and their scale.

    Source: Keras: Quantizer.
    """

    def __init__(self, output_dtype="int8"):
        self.output_dtype = output_dtype

    def __call__(self, x):
        """The quantized `x`."""
        return x


@registry.register("quantizer", "AbsMaxQuantizer", "abs_max_quantizer", module="keras.quantizers")
class AbsMaxQuantizer(Quantizer):
    """Scales so that the largest absolute value becomes the largest integer: see `abs_max_quantize`.

    Args:
        axis: the axis or axes that share a scale; a call may name others. Default: the last.
        value_range: the least and the largest integer.
        epsilon: keeps the division finite where all are zero.
        output_dtype: dtype of the integers.

    Source: Keras: AbsMaxQuantizer.

    >>> import numpy as np
    >>> from cornu import quantizers
    >>> values, scale = quantizers.AbsMaxQuantizer(axis=-1)(np.array([[1.0, -2.0]], "float32"))
    >>> values.tolist()
    [[64, -127]]
    """

    axis: tuple[int, ...] | None

    def __init__(self, axis=None, value_range=(-127, 127), epsilon=1e-7, output_dtype="int8"):
        super().__init__(output_dtype)
        self.axis = (axis,) if isinstance(axis, int) else None if axis is None else tuple(axis)
        self.value_range = tuple(value_range)
        self.epsilon = epsilon
        if output_dtype == "int8" and (value_range[0] < -128 or value_range[1] > 127):
            raise ValueError(
                "Quantizer with output_dtype='int8' requires value_range to be within the interval "
                f"[-128, 127]. Received: value_range={value_range}"
            )

    def __call__(self, x, axis=None, to_numpy=False):
        """The integers and their scale."""
        axis = self.axis if axis is None else axis
        axis = -1 if axis is None else axis
        return abs_max_quantize(
            x, axis, self.value_range, self.output_dtype, self.epsilon, to_numpy
        )

    def _config_names(self) -> list[str]:
        return [name for name in super()._config_names() if name != "axis" or self.axis is not None]


class QuantizationConfig(Configurable):
    """What `quantize` does to a layer or model.

    Args:
        weight_quantizer: for weights; default: the mode's.
        activation_quantizer: for inputs; None to leave them floats.

    Source: Keras: QuantizationConfig.
    """

    def __init__(self, weight_quantizer=None, activation_quantizer=None):
        self.weight_quantizer: Any = weight_quantizer
        self.activation_quantizer: Any = activation_quantizer

    @property
    def mode(self) -> str:
        """One of `"int8"`, `"int4"`, `"float8"`, `"gptq"`, `"awq"`."""
        raise NotImplementedError(
            "Use one of the configurations for a mode, such as Int8QuantizationConfig."
        )

    def policy_name(self) -> str:
        """How the name of the policy of a layer begins that is quantized so."""
        return self.mode

    @staticmethod
    def weight_quantizer_or_default(config, default):
        """The quantizer for weights that a configuration has, or else the default."""
        return default if config is None else config.weight_quantizer or default

    @staticmethod
    def activation_quantizer_or_default(config, default):
        """The quantizer for inputs that a configuration has, perhaps None; the default without one."""
        return default if config is None else config.activation_quantizer

    def _check_weights(self, **expected) -> None:
        for name, value in expected.items():
            received = getattr(self.weight_quantizer, name, value)
            if self.weight_quantizer is not None and received != value:
                raise ValueError(
                    f"{type(self).__name__} requires a weight_quantizer with {name}={value!r}. "
                    f"Received: {name}={received!r}"
                )


def _register(cls):
    return registry.register("quantizer", cls.__name__, module="keras.quantizers")(cls)


_register(QuantizationConfig)


@_register
class Int8QuantizationConfig(QuantizationConfig):
    """Integers of 8 bits for weights, and for inputs unless their quantizer is None.

    Args:
        weight_quantizer: default: `AbsMaxQuantizer` over the inputs of each output.
        activation_quantizer: `"default"` for `AbsMaxQuantizer()`; None to leave inputs floats.

    Source: Keras: Int8QuantizationConfig.

    >>> from cornu import quantizers
    >>> quantizers.Int8QuantizationConfig().mode
    'int8'
    """

    def __init__(self, weight_quantizer=None, activation_quantizer="default"):
        if isinstance(activation_quantizer, str):
            activation_quantizer = AbsMaxQuantizer()
        super().__init__(weight_quantizer, activation_quantizer)
        self._check_weights(output_dtype="int8")

    @property
    def mode(self) -> str:
        return "int8"


@_register
class Int4QuantizationConfig(QuantizationConfig):
    """Integers of 4 bits for weights, two in a byte.

    Args:
        weight_quantizer: default: `AbsMaxQuantizer(value_range=(-8, 7))`; only without blocks.
        activation_quantizer: `"default"` or None to leave inputs floats; another only without blocks.
        block_size: how many inputs share a scale and a zero point; None or -1 for one scale for each
            output.

    Source: Keras: Int4QuantizationConfig.

    >>> from cornu import quantizers
    >>> quantizers.Int4QuantizationConfig(block_size=64).policy_name()
    'int4/64'
    """

    def __init__(self, weight_quantizer=None, activation_quantizer="default", block_size=128):
        if isinstance(activation_quantizer, str):
            activation_quantizer = None
        super().__init__(weight_quantizer, activation_quantizer)
        if block_size is not None and block_size != -1 and block_size <= 0:
            raise ValueError(
                "block_size must be None, -1, or a positive integer. "
                f"Received: block_size={block_size}"
            )
        self.block_size = block_size
        own = weight_quantizer is not None or activation_quantizer is not None
        if own and block_size is not None and block_size > 0:
            raise ValueError(
                "Int4 sub-channel quantization (block_size > 0) does not support custom quantizers. Set "
                "block_size to None for one scale for each output, or leave the quantizers out. "
                f"Received: block_size={block_size}"
            )
        self._check_weights(value_range=(-8, 7), output_dtype="int8")

    @property
    def mode(self) -> str:
        return "int4"

    def policy_name(self) -> str:
        return f"int4/{-1 if self.block_size is None else self.block_size}"

    @classmethod
    def from_config(cls, config: dict):
        # Files of before there were blocks do not name a size.
        return super().from_config({"block_size": None, **config})


@_register
class Float8QuantizationConfig(QuantizationConfig):
    """Floats of 8 bits for inputs, weights and gradients of products, in training too.

    Source: Keras: Float8QuantizationConfig.

    >>> from cornu import quantizers
    >>> quantizers.Float8QuantizationConfig().mode
    'float8'
    """

    def __init__(self):
        super().__init__()

    @property
    def mode(self) -> str:
        return "float8"


class _Calibrated(QuantizationConfig):
    """What configurations of methods share that look at examples first. Cornu cannot run these methods.

    The dataset and the tokenizer are no part of what is saved.
    """

    weight_bits: int
    group_size: int

    def _keep(self, given: dict) -> None:
        QuantizationConfig.__init__(self)
        for name in self._config_names():
            setattr(self, name, given[name])
        for name in ("num_samples", "sequence_length", "num_grid_points"):
            if given.get(name, 1) <= 0:
                raise ValueError(
                    f"{name} must be a positive integer. Received: {name}={given[name]}"
                )
        if self.group_size < -1 or self.group_size == 0:
            raise ValueError(
                "Invalid group_size. Supported values are -1 (one group) or a positive integer, but got "
                f"{self.group_size}."
            )

    def get_config(self) -> dict:
        return {**super().get_config(), "dataset": None, "tokenizer": None}

    def policy_name(self) -> str:
        return self.dtype_policy_string()

    def dtype_policy_string(self) -> str:
        """How the name of the policy of a layer begins that is quantized so, as `"gptq/4/128"`."""
        return f"{self.mode}/{self.weight_bits}/{self.group_size}"


@_register
class GPTQConfig(_Calibrated):
    """How GPTQ would quantize. Cornu knows the configuration, for files; `quantize` refuses it.

    Args:
        dataset: texts or tokens to calibrate with.
        tokenizer: turns texts into tokens.
        weight_bits: 2, 3, 4 or 8.
        num_samples: how many samples of the dataset to use.
        per_channel: whether each output has a scale of its own.
        sequence_length: how long a sample is.
        hessian_damping: added to the diagonal of the Hessian, relative to its mean.
        group_size: how many inputs share a scale; -1 for all.
        symmetric: whether zero is the middle of the range.
        activation_order: whether the columns with the largest activations come first.
        quantization_layer_structure: the blocks of the model, in order.

    Source: Keras: GPTQConfig; Frantar et al. 2022, "GPTQ".

    >>> from cornu import quantizers
    >>> quantizers.GPTQConfig(dataset=None, tokenizer=None).dtype_policy_string()
    'gptq/4/128'
    """

    def __init__(
        self,
        dataset,
        tokenizer,
        *,
        weight_bits=4,
        num_samples=128,
        per_channel=True,
        sequence_length=512,
        hessian_damping=0.01,
        group_size=128,
        symmetric=False,
        activation_order=False,
        quantization_layer_structure=None,
    ):
        if weight_bits not in (2, 3, 4, 8):
            raise ValueError(
                f"Unsupported weight_bits {weight_bits}. Supported values are 2, 3, 4, and 8."
            )
        if not 0 <= hessian_damping <= 1:
            raise ValueError(
                f"hessian_damping must be between 0 and 1. Received: {hessian_damping}"
            )
        self._keep(locals())

    @property
    def mode(self) -> str:
        return "gptq"


@_register
class AWQConfig(_Calibrated):
    """How AWQ would quantize. Cornu knows the configuration, for files; `quantize` refuses it.

    Args:
        dataset: texts or tokens to calibrate with.
        tokenizer: turns texts into tokens.
        weight_bits: 4.
        num_samples: how many samples of the dataset to use.
        sequence_length: how long a sample is.
        group_size: how many inputs share a scale; -1 for all.
        num_grid_points: how many scales to try.
        quantization_layer_structure: the blocks of the model, in order.

    Source: Keras: AWQConfig; Lin et al. 2023, "AWQ".

    >>> from cornu import quantizers
    >>> quantizers.AWQConfig(dataset=None, tokenizer=None, group_size=-1).dtype_policy_string()
    'awq/4/-1'
    """

    def __init__(
        self,
        dataset,
        tokenizer,
        *,
        weight_bits=4,
        num_samples=128,
        sequence_length=512,
        group_size=128,
        num_grid_points=20,
        quantization_layer_structure=None,
    ):
        if weight_bits != 4:
            raise ValueError(
                f"AWQ only supports 4-bit quantization. Received weight_bits={weight_bits}."
            )
        self._keep(locals())

    @property
    def mode(self) -> str:
        return "awq"


_DEFAULTS = {
    "int8": Int8QuantizationConfig,
    "int4": Int4QuantizationConfig,
    "float8": Float8QuantizationConfig,
}


def resolve(mode: str | None, config) -> QuantizationConfig:
    """The configuration that the arguments `mode` and `config` of `quantize` mean.

    Raises ValueError if there is neither, if they contradict each other, or if a mode is unknown;
    NotImplementedError for those that need to be calibrated.
    """
    if isinstance(config, str):
        mode, config = config, None
    if mode is None and config is None:
        raise ValueError("You must provide either `mode` or `config` to `quantize`.")
    if mode is not None and mode not in QUANTIZATION_MODES:
        raise ValueError(
            f"Invalid quantization mode. Expected one of {QUANTIZATION_MODES}. Received: mode={mode}"
        )
    if config is not None and not isinstance(config, QuantizationConfig):
        raise ValueError(
            "Argument `config` must be an instance of `QuantizationConfig`. "
            f"Received: config={config} (of type {type(config)})"
        )
    if config is not None and mode not in (None, config.mode):
        raise ValueError(f"Contradictory arguments: mode='{mode}' but config.mode='{config.mode}'")
    mode = config.mode if config is not None else mode
    if mode in ("gptq", "awq"):
        raise NotImplementedError(
            f"Quantization with calibration (mode='{mode}') is not implemented. 'int4' has weights of the "
            "same size: model.quantize('int4')."
        )
    return config or _DEFAULTS[str(mode)]()
