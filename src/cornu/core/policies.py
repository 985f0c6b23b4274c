"""Dtype policies: which dtype a layer computes in, which it keeps, and how its weights are quantized."""

import re
from collections.abc import MutableMapping
from typing import Any

import jax

from cornu.core import registry
from cornu.core.call_arguments import cast_tensor
from cornu.core.configurable import Configurable
from cornu.core.dtype import as_array, floatx, is_float, standardize_dtype
from cornu.core.symbolic import KerasTensor

QUANTIZATION_MODES = ("int8", "float8", "int4", "gptq", "awq")


class DTypePolicy(Configurable):
    """Which dtype a layer computes in and which it keeps its weights in.

    `"float32"` computes and keeps float32. `"mixed_bfloat16"` computes in bfloat16 and keeps float32
    weights, which is fast where the processor has bfloat16 and safe without loss scaling.
    `"mixed_float16"` is the same with float16 and needs a `LossScaleOptimizer`.

    Source: Keras: DTypePolicy; Micikevicius et al. 2018, "Mixed precision training".

    >>> import cornu
    >>> policy = cornu.DTypePolicy("mixed_bfloat16")
    >>> policy.compute_dtype, policy.variable_dtype
    ('bfloat16', 'float32')
    """

    # How weights are quantized: one of `QUANTIZATION_MODES`, or None.
    quantization_mode: str | None = None
    name: str
    compute_dtype: str
    variable_dtype: str

    def __init__(self, name: str | None = None):
        self.name = dtype_policy().name if name is None else name
        self._set_dtypes(self.name)

    def _set_dtypes(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(
                "'name' must be a string, such as 'mixed_bfloat16'. "
                f"Received: name={name} (of type {type(name)})"
            )
        if name.startswith("mixed_"):
            self.compute_dtype, self.variable_dtype = standardize_dtype(name[6:]), "float32"
            if self.compute_dtype not in ("bfloat16", "float16"):
                raise ValueError(
                    f"Cannot convert {name!r} to a mixed precision policy. Valid: "
                    "'mixed_bfloat16', 'mixed_float16'."
                )
        else:
            self.compute_dtype = self.variable_dtype = standardize_dtype(name)

    def at(self, path: str | None) -> "DTypePolicy":
        """The policy of the layer with this path: only a `DTypePolicyMap` tells layers apart."""
        return self

    def convert_input(self, x, autocast, dtype):
        """`x` as a tensor; floats as `dtype` if `autocast` is true. Integers stay what they are.

        >>> import cornu, numpy as np
        >>> cornu.DTypePolicy("bfloat16").convert_input(np.ones(2), True, "bfloat16").dtype.name
        'bfloat16'
        """
        if not isinstance(x, jax.Array | KerasTensor):
            if not hasattr(x, "__array__"):
                return x
            x = as_array(x)
        if autocast and is_float(x.dtype) and x.dtype != dtype:
            return cast_tensor(x, dtype)
        return x

    def __repr__(self):
        return f'<{type(self).__name__} "{self.name}">'

    def __eq__(self, other):
        return type(other) is type(self) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self), self.name))


# Files written by Keras name it by both modules, and older ones by the other name.
for _module in ("keras", "keras.dtype_policies"):
    registry.register("dtype_policy", "DTypePolicy", "FloatDTypePolicy", module=_module)(
        DTypePolicy
    )


@registry.register("dtype_policy", module="keras.dtype_policies")
class QuantizedDTypePolicy(DTypePolicy):
    """The policy of a layer with quantized weights: how, and the policy that it had before.

    Args:
        mode: `"int8"`, `"int4"` or `"float8"`.
        source_name: the policy for what is not quantized; default: the global one.

    Source: Keras: QuantizedDTypePolicy.

    >>> import cornu
    >>> policy = cornu.dtype_policies.QuantizedDTypePolicy("int8", "mixed_bfloat16")
    >>> policy.name, policy.quantization_mode, policy.compute_dtype
    ('int8_from_mixed_bfloat16', 'int8', 'bfloat16')
    """

    def __init__(self, mode, source_name=None):
        self._set_mode(mode, mode, source_name)

    def _set_mode(self, mode: str, stated: str, source_name: str | None) -> None:
        """Keep the mode and how it was stated, which may include more, such as `"int4/128"`."""
        self.source_name = dtype_policy().name if source_name is None else source_name
        self._set_dtypes(self.source_name)
        if mode not in QUANTIZATION_MODES:
            raise ValueError(
                f"Invalid quantization mode. Expected one of {QUANTIZATION_MODES}. Received: mode={mode}"
            )
        if mode == "int8" and self.compute_dtype == "float16":
            raise ValueError(
                "Quantization mode='int8' doesn't work well with compute_dtype='float16': its largest "
                "number is smaller than a sum of products of 8 bits. Use 'mixed_bfloat16' or 'float32'."
            )
        self.quantization_mode = self.mode = mode
        self._stated = stated
        self.name = f"{stated}_from_{self.source_name}"

    def get_config(self) -> dict:
        return {**super().get_config(), "mode": self._stated}


@registry.register("dtype_policy", module="keras.dtype_policies")
class QuantizedFloat8DTypePolicy(QuantizedDTypePolicy):
    """The policy of a layer that computes in floats of 8 bits.

    Args:
        mode: `"float8"`.
        source_name: the policy for what is not quantized; default: the global one.
        amax_history_length: how many steps back the largest absolute value is looked for, which the
            scale comes from.

    Source: Keras: QuantizedFloat8DTypePolicy.

    >>> import cornu
    >>> cornu.dtype_policies.get("float8_from_float32").amax_history_length
    1024
    """

    default_amax_history_length = 1024

    def __init__(self, mode, source_name=None, amax_history_length=1024):
        super().__init__(mode, source_name)
        if not isinstance(amax_history_length, int):
            raise TypeError(
                "`amax_history_length` must be an integer. "
                f"Received: amax_history_length={amax_history_length}"
            )
        self.amax_history_length = amax_history_length


def _numbers(mode: str, algorithm: str, *names: str) -> list[int]:
    """The numbers in a mode such as `"gptq/4/128"`; the last one is the size of a group."""
    expected = "/".join([algorithm, *(f"<{name}>" for name in names)])
    parts = str(mode).split("/")
    try:
        numbers = [int(part) for part in parts[1:]]
    except ValueError:
        numbers = []
    if parts[0] != algorithm or len(parts) != len(names) + 1 or len(numbers) != len(names):
        raise ValueError(
            f"Invalid mode. Expected format '{expected}' with integers, but got '{mode}'."
        )
    if numbers[-1] < -1 or numbers[-1] == 0:
        raise ValueError(
            f"Invalid {names[-1]} in mode. Supported values are -1 (one group) or a positive integer, "
            f"but got {numbers[-1]} from '{mode}'."
        )
    return numbers


@registry.register("dtype_policy", module="keras.dtype_policies")
class Int4DTypePolicy(QuantizedDTypePolicy):
    """The policy of a layer with weights of 4 bits, and how many of them share a scale.

    Args:
        mode: `"int4/<block_size>"`, such as `"int4/128"`; -1 for one scale for each output.
        source_name: the policy for what is not quantized; default: the global one.

    Source: Keras: Int4DTypePolicy.

    >>> import cornu
    >>> policy = cornu.dtype_policies.Int4DTypePolicy("int4/64", "float32")
    >>> policy.quantization_mode, policy.block_size
    ('int4', 64)
    """

    def __init__(self, mode, source_name=None):
        (self.block_size,) = _numbers(mode, "int4", "block_size")
        self._set_mode("int4", mode, source_name)


@registry.register("dtype_policy", module="keras.dtype_policies")
class GPTQDTypePolicy(QuantizedDTypePolicy):
    """What Keras writes of a layer that GPTQ has quantized. Cornu reads it, but cannot run such a layer.

    Args:
        mode: `"gptq/<weight_bits>/<group_size>"`, such as `"gptq/4/128"`.
        source_name: the policy for what is not quantized; default: the global one.

    Source: Keras: GPTQDTypePolicy; Frantar et al. 2022, "GPTQ".

    >>> import cornu
    >>> cornu.dtype_policies.GPTQDTypePolicy("gptq/4/128", "float32").group_size
    128
    """

    def __init__(self, mode, source_name=None):
        self.weight_bits, self.group_size = _numbers(mode, "gptq", "weight_bits", "group_size")
        if self.weight_bits not in (2, 3, 4, 8):
            raise ValueError(
                "Invalid weight_bits in mode. Supported values are 2, 3, 4, and 8, but got "
                f"{self.weight_bits} from '{mode}'."
            )
        self._set_mode("gptq", mode, source_name)


@registry.register("dtype_policy", module="keras.dtype_policies")
class AWQDTypePolicy(QuantizedDTypePolicy):
    """What Keras writes of a layer that AWQ has quantized. Cornu reads it, but cannot run such a layer.

    Args:
        mode: `"awq/4/<group_size>"`, such as `"awq/4/128"`.
        source_name: the policy for what is not quantized; default: the global one.

    Source: Keras: AWQDTypePolicy; Lin et al. 2023, "AWQ".

    >>> import cornu
    >>> cornu.dtype_policies.AWQDTypePolicy("awq/4/-1", "float32").group_size
    -1
    """

    def __init__(self, mode, source_name=None):
        self.weight_bits, self.group_size = _numbers(mode, "awq", "weight_bits", "group_size")
        if self.weight_bits != 4:
            raise ValueError(
                "Invalid weight_bits in mode. AWQ only supports 4-bit quantization, but got "
                f"{self.weight_bits} from '{mode}'."
            )
        self._set_mode("awq", mode, source_name)


@registry.register("dtype_policy", module="keras.dtype_policies")
class DTypePolicyMap(DTypePolicy, MutableMapping):  # type: ignore[type-arg]
    """Policies by the paths of layers, as in a model of which only some layers are quantized.

    Args:
        default_policy: for layers that the map does not name; default: the global policy.
        policy_map: a dict of paths, or regular expressions that match whole paths, to policies.

    `map[path]` raises ValueError if several expressions match. Source: Keras: DTypePolicyMap.

    >>> import cornu
    >>> policies = cornu.dtype_policies.DTypePolicyMap()
    >>> policies["encoder/.*"] = "mixed_bfloat16"
    >>> policies["encoder/dense"].compute_dtype, policies["decoder"].compute_dtype
    ('bfloat16', 'float32')
    """

    def __init__(self, default_policy=None, policy_map=None):
        if isinstance(default_policy, DTypePolicyMap):
            raise ValueError("`default_policy` cannot be a `DTypePolicyMap`.")
        if policy_map is not None and not isinstance(policy_map, dict):
            raise TypeError(
                "If specified, `policy_map` must be a dict. Received: "
                f"policy_map={policy_map} of type {type(policy_map)}"
            )
        self._given = default_policy
        self._default = default_policy if default_policy is None else get_policy(default_policy)
        self.policy_map = policy_map or {}

    @property
    def default_policy(self) -> DTypePolicy:
        """The policy of layers that the map does not name."""
        return dtype_policy() if self._default is None else self._default

    @property
    def name(self) -> str:  # type: ignore[override]
        """`"map_"` and the name of the default policy."""
        return f"map_{self.default_policy.name}"

    @property
    def compute_dtype(self) -> str:  # type: ignore[override]
        """The dtype that the default policy computes in."""
        return self.default_policy.compute_dtype

    @property
    def variable_dtype(self) -> str:  # type: ignore[override]
        """The dtype that the default policy keeps weights in."""
        return self.default_policy.variable_dtype

    @property
    def quantization_mode(self) -> str | None:  # type: ignore[override]
        """How the default policy quantizes."""
        return self.default_policy.quantization_mode

    def at(self, path: str | None) -> DTypePolicy:
        return self if path is None else self[path]

    def __getitem__(self, key: str) -> DTypePolicy:
        if key in self.policy_map:
            return self.policy_map[key]
        matching = [pattern for pattern in self.policy_map if re.fullmatch(pattern, key)]
        if len(matching) > 1:
            raise ValueError(
                f"Path '{key}' matches multiple dtype policy specification keys: {matching}. Make sure "
                "that each path matches only one key of the DTypePolicyMap."
            )
        return self.policy_map[matching[0]] if matching else self.default_policy

    def __setitem__(self, key: str, policy) -> None:
        if key in self.policy_map:
            raise ValueError(
                f"{key} already exist in the DTypePolicyMap with value {self.policy_map[key]}. Delete it "
                "before you set another policy."
            )
        try:
            self.policy_map[key] = get_policy(policy)
        except Exception:
            raise ValueError(
                "Cannot interpret the assigned value as a dtype policy. "
                f"Received: {policy} of type {type(policy)}"
            ) from None

    def __delitem__(self, key: str) -> None:
        self.policy_map.pop(key)

    def __contains__(self, key) -> bool:
        return key in self.policy_map

    def __len__(self):
        return len(self.policy_map)

    def __iter__(self):
        return iter(self.policy_map)

    def get_config(self) -> dict:
        parts = {"default_policy": self._given, "policy_map": self.policy_map}
        return {name: registry.serialize(part) for name, part in parts.items()}

    def __repr__(self):
        mapping = [(key, policy.name) for key, policy in self.policy_map.items()]
        return f"<DTypePolicyMap default_policy={self.default_policy.name}, mapping={mapping}>"

    def __hash__(self):
        return id(self)


_BY_MODE: dict[str, Any] = {
    "int8": QuantizedDTypePolicy,
    "int4": QuantizedDTypePolicy,
    "int4/": Int4DTypePolicy,
    "gptq/": GPTQDTypePolicy,
    "awq/": AWQDTypePolicy,
    "float8": QuantizedFloat8DTypePolicy,
}

_settings: dict[str, DTypePolicy | None] = {"dtype_policy": None}


def dtype_policy() -> DTypePolicy:
    """The policy of layers that are given none; `floatx()` unless changed."""
    return _settings["dtype_policy"] or DTypePolicy(floatx())


def set_dtype_policy(policy) -> None:
    """Set the policy of every layer made from now on: a name, a `DTypePolicy` or its configuration.

    Raises ValueError for anything else.

    >>> import cornu
    >>> cornu.config.set_dtype_policy("float32")
    """
    if not isinstance(policy, str | dict | DTypePolicy):
        raise ValueError(
            "Invalid `policy` argument. Expected the name of a policy, such as 'mixed_bfloat16', or a "
            f"`DTypePolicy`. Received: policy={policy!r} (of type {type(policy).__name__})"
        )
    _settings["dtype_policy"] = get_policy(policy)


def get_policy(identifier) -> DTypePolicy:
    """Resolve a layer's `dtype` argument: None, a dtype, a policy's name, a policy or its config."""
    if identifier is None:
        return dtype_policy()
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, dict):
        return registry.deserialize(identifier, kind="dtype_policy")
    if isinstance(identifier, str):
        mode, separator, source = identifier.partition("_from_")
        if not separator:
            return DTypePolicy(identifier)
        algorithm = mode.partition("/")[0] + ("/" if "/" in mode else "")
        if algorithm not in _BY_MODE:
            raise ValueError(
                f"Cannot convert {identifier!r} to a policy with quantized weights. Expected "
                "'<mode>_from_<policy>', such as 'int8_from_float32', with one of the modes "
                f"{QUANTIZATION_MODES}."
            )
        return _BY_MODE[algorithm](mode, source)
    return DTypePolicy(standardize_dtype(identifier))
