"""Settings of the whole process: number formats, and where channels stand in an image."""

from cornu.core.dtype import (
    DTypePolicy,
    dtype_policy,
    epsilon,
    floatx,
    image_data_format,
    set_dtype_policy,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)


def backend() -> str:
    """The engine, always `"jax"`; for scripts that ask.

    >>> import cornu
    >>> cornu.config.backend()
    'jax'
    """
    return "jax"


__all__ = [
    "DTypePolicy",
    "backend",
    "dtype_policy",
    "epsilon",
    "floatx",
    "image_data_format",
    "set_dtype_policy",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
]
