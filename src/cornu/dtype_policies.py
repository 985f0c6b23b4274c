"""Which dtype layers compute in and which they keep.  Source: Keras: keras.dtype_policies.

>>> from cornu import dtype_policies
>>> dtype_policies.get("mixed_bfloat16").compute_dtype
'bfloat16'
"""

from cornu.core import registry
from cornu.core.policies import (
    AWQDTypePolicy,
    DTypePolicy,
    DTypePolicyMap,
    GPTQDTypePolicy,
    Int4DTypePolicy,
    QuantizedDTypePolicy,
    QuantizedFloat8DTypePolicy,
    get_policy,
)

FloatDTypePolicy = DTypePolicy


def get(identifier) -> DTypePolicy:
    """The policy that a name, a dtype, a configuration or None (the global one) means."""
    return get_policy(identifier)


def serialize(dtype_policy) -> dict:
    """A description of a policy, for `deserialize`."""
    return registry.serialize(dtype_policy)


def deserialize(config, custom_objects=None) -> DTypePolicy:
    """Make the policy that `serialize` described."""
    return registry.deserialize(config, custom_objects, kind="dtype_policy")


__all__ = [
    "AWQDTypePolicy",
    "DTypePolicy",
    "DTypePolicyMap",
    "FloatDTypePolicy",
    "GPTQDTypePolicy",
    "Int4DTypePolicy",
    "QuantizedDTypePolicy",
    "QuantizedFloat8DTypePolicy",
    "deserialize",
    "get",
    "serialize",
]
