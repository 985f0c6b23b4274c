"""The dtypes that a layer computes in and keeps, and how its weights are quantized."""

from cornu.core.policies import DTypePolicy, DTypePolicyMap, get_policy
from cornu.core.weighted import Weighted


class WithPolicy(Weighted):
    """What of a layer follows from its `dtype_policy`."""

    path: str | None

    @property
    def dtype_policy(self) -> DTypePolicy:
        """Which dtype the layer computes in, which it keeps, and how its weights are quantized.

        A policy with a quantization that is set on a layer with weights quantizes them.
        """
        return self.__dict__["dtype_policy"]

    @dtype_policy.setter
    def dtype_policy(self, value):
        policy, before = get_policy(value), self.__dict__.get("dtype_policy")
        if isinstance(before, DTypePolicyMap) and self.path:
            if self.path in before:
                del before[self.path]
            before[self.path] = policy
        else:
            # Under its own name, so that compiled steps see that it is another.
            self.__dict__["dtype_policy"] = policy
        mode = policy.at(self.path).quantization_mode
        if mode is not None and self.__dict__.get("_built") and not self._is_quantized:
            self.quantize(mode)

    @property
    def _policy(self) -> DTypePolicy:
        """The policy of this very layer, where `dtype_policy` is for many."""
        return self.__dict__["dtype_policy"].at(self.__dict__.get("_path"))

    @property
    def quantization_mode(self) -> str | None:
        """How the weights are quantized: `"int8"`, `"int4"`, `"float8"`, or None."""
        return self._policy.quantization_mode

    # Whether the weights are quantized already.
    _is_quantized = False

    def quantize(self, mode=None, type_check=True, config=None):
        """Quantize the weights of a layer that is built. Dense, EinsumDense and Embedding can be.

        Args:
            mode: `"int8"`, `"int4"` or `"float8"`.
            type_check: whether to refuse a subclass, whose own `call` would not be used any more.
            config: a `quantizers.QuantizationConfig` with more to say than a mode.
        """
        raise self._cannot_quantize("quantize")

    def quantized_build(self, input_shape, mode):
        """Make the weights of a quantized layer. Only layers that can be quantized have it."""
        raise self._cannot_quantize("quantized_build")

    def quantized_call(self, *args, **kwargs):
        """The computation with quantized weights. Only layers that can be quantized have it."""
        raise self._cannot_quantize("quantized_call")

    def _cannot_quantize(self, method: str = "quantize") -> NotImplementedError:
        return NotImplementedError(
            f"Layer '{self.name}' ({type(self).__name__}) does not have a `{method}` method implemented: "
            'it cannot be quantized. Dense, EinsumDense and Embedding can. Use dtype="mixed_bfloat16" for '
            "smaller and faster layers of other kinds, or export the model with "
            'model.export("model.onnx", format="onnx") and quantize it in ONNX Runtime.'
        )

    @property
    def compute_dtype(self) -> str:
        """The dtype that the layer computes in."""
        return self._policy.compute_dtype

    @property
    def input_dtype(self) -> str:
        """The dtype that floating-point inputs are converted to."""
        return self._policy.compute_dtype
