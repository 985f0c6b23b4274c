"""Settings of the whole process: dtypes, the order of an image's axes, memory."""

import jax

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
from cornu.core.run_limits import (
    max_epochs,
    max_steps_per_epoch,
    set_max_epochs,
    set_max_steps_per_epoch,
)
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


def enable_traceback_filtering() -> None:
    """Leave JAX's own frames out of the tracebacks of errors, which is so from the start."""
    jax.config.update("jax_traceback_filtering", "auto")


def disable_traceback_filtering() -> None:
    """Show JAX's own frames in the tracebacks of errors. Cornu's are never left out."""
    jax.config.update("jax_traceback_filtering", "off")


def is_traceback_filtering_enabled() -> bool:
    """Whether JAX's own frames are left out of tracebacks."""
    return getattr(jax.config, "jax_traceback_filtering") != "off"  # noqa: B009 (it has no type)


def enable_unsafe_deserialization() -> None:
    """Refused: nothing that a file says is run as code.

    Raises ValueError.
    """
    raise ValueError(
        "Cornu runs no code that a file holds, such as a Python lambda. Give functions and classes names "
        "with `saving.register_keras_serializable`, or pass `custom_objects` to `load_model`."
    )


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
    "disable_traceback_filtering",
    "dtype_policy",
    "enable_flash_attention",
    "enable_interactive_logging",
    "enable_traceback_filtering",
    "enable_unsafe_deserialization",
    "epsilon",
    "floatx",
    "image_data_format",
    "is_flash_attention_enabled",
    "is_interactive_logging_enabled",
    "is_nnx_enabled",
    "is_traceback_filtering_enabled",
    "keep_freed_memory",
    "max_epochs",
    "max_steps_per_epoch",
    "native",
    "set_backend",
    "set_dtype_policy",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "set_max_epochs",
    "set_max_steps_per_epoch",
]
