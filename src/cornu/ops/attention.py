"""Dot-product attention, and whether a fused kernel of the GPU's may compute it."""

import functools

import jax
import jax.numpy as jnp

# None: where it can be used; False: nowhere.
_flash: dict[str, bool | None] = {"enabled": None}


def enable_flash_attention() -> None:
    """Let attention use a fused kernel where there is one, which is so from the start."""
    _flash["enabled"] = None


def disable_flash_attention() -> None:
    """Let layers that are made from now on compute attention with XLA."""
    _flash["enabled"] = False


def is_flash_attention_enabled() -> bool | None:
    """False after `disable_flash_attention()`, else None: it is used where it can be.

    >>> import cornu
    >>> cornu.config.is_flash_attention_enabled() is None
    True
    """
    return _flash["enabled"]


def dot_product_attention(
    query,
    key,
    value,
    bias=None,
    mask=None,
    scale=None,
    is_causal=False,
    flash_attention=None,
):
    """`softmax(scale * query @ key + bias) @ value`, as `ops.dot_product_attention` describes it."""
    arrays = [jnp.asarray(array) for array in (query, key, value)]
    if any(array.ndim != 4 for array in arrays):
        raise ValueError(
            "`dot_product_attention` only supports 4D inputs, (batch, positions, heads, features). "
            "Received: " + ", ".join(f"shape {array.shape}" for array in arrays)
        )
    dtype = jnp.result_type(*arrays)
    query, key, value = (array.astype(dtype) for array in arrays)
    features = query.shape[-1], value.shape[-1]
    if features[0] != features[1]:
        # JAX wants one length; zeros change neither products nor means.
        scale = features[0] ** -0.5 if scale is None else scale
        query, key, value = (_lengthened(x, max(features)) for x in (query, key, value))
    attend = functools.partial(
        jax.nn.dot_product_attention,
        query,
        key,
        value,
        bias=None if bias is None else jnp.asarray(bias, dtype),
        mask=None if mask is None else jnp.asarray(mask, bool),
        scale=scale,
        is_causal=bool(is_causal),
    )
    if flash_attention is None:
        flash_attention = _fits_flash(attend, dtype)
    elif flash_attention and jax.default_backend() != "gpu":
        raise RuntimeError(
            "Flash attention needs a GPU with cuDNN, and this process computes on "
            f"'{jax.default_backend()}'. Leave `flash_attention=None`: it is then used where it can be."
        )
    output = attend(implementation="cudnn" if flash_attention else "xla")
    return output[..., : features[1]]


def _lengthened(x, size: int):
    return jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((0, size - x.shape[-1]),))


def _fits_flash(attend, dtype) -> bool:
    """Whether cuDNN takes these arrays; it says so when it is traced."""
    if jax.default_backend() != "gpu" or dtype not in (jnp.float16, jnp.bfloat16):
        return False
    try:
        jax.eval_shape(lambda: attend(implementation="cudnn"))
    except Exception:
        return False
    return True
