"""Settings of the whole process: dtypes, the order of an image's axes, memory."""

from cornu.core import kernels
from cornu.core.dtype import (
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from cornu.core.memory import keep_freed_memory
from cornu.core.policies import DTypePolicy, dtype_policy, set_dtype_policy
from cornu.ops.attention import (
    disable_flash_attention,
    enable_flash_attention,
    is_flash_attention_enabled,
)
from cornu.utils.messages import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
)


def backend() -> str:
    """The engine, always `"jax"`; for scripts that ask.

    >>> import cornu
    >>> cornu.config.backend()
    'jax'
    """
    return "jax"


def set_backend(backend: str) -> None:
    """Does nothing for `"jax"`, the only engine; raises ValueError for any other."""
    if backend != "jax":
        raise ValueError(
            f"Cornu computes with JAX alone. Received: backend={backend!r}. To use another engine, import "
            "Keras itself."
        )


def is_nnx_enabled() -> bool:
    """Always False: a `Variable` is no variable of Flax."""
    return False


def native():
    """Whether the C++ kernels for the CPU are in use, for which instructions, and why (not).

    Returns a named tuple `(in_use, instruction_set, reason)`. Without them everything works on XLA
    alone, more slowly. The environment variable `CORNU_NATIVE=0` switches them off, and
    `CORNU_ISA=avx2` (or `baseline`) takes those of an older processor.

    >>> import cornu
    >>> isinstance(cornu.config.native().in_use, bool)
    True
    """
    return kernels.native()


__all__ = [
    "DTypePolicy",
    "backend",
    "disable_flash_attention",
    "disable_interactive_logging",
    "dtype_policy",
    "enable_flash_attention",
    "enable_interactive_logging",
    "epsilon",
    "floatx",
    "image_data_format",
    "is_flash_attention_enabled",
    "is_interactive_logging_enabled",
    "is_nnx_enabled",
    "keep_freed_memory",
    "native",
    "set_backend",
    "set_dtype_policy",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
]
