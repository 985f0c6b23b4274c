"""Dot-product attention, and which kernel may compute it: ours on a CPU, cuDNN's on a GPU."""

import contextlib
import contextvars
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad

from cornu.core.kernels import HALF_PRECISION, Split, primitive

# None: where it can be used; False: nowhere.
_flash: dict[str, bool | None] = {"enabled": None}
_portable = contextvars.ContextVar("_portable", default=False)


@contextlib.contextmanager
def portable():
    """What is traced within can be lowered for several platforms at once, as cuDNN's kernel cannot."""
    before = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(before)


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
    mask = None if mask is None else jnp.asarray(mask, bool)
    attend = functools.partial(
        _attend,
        bias=None if bias is None else jnp.asarray(bias, dtype),
        mask=mask,
        scale=scale,
        is_causal=bool(is_causal),
    )
    by_cudnn = functools.partial(attend, implementation="cudnn")
    elsewhere = functools.partial(attend, implementation="xla")
    if _fits_kernel(query, key, mask, bias):
        elsewhere = functools.partial(_by_kernel, mask=mask, scale=scale, is_causal=bool(is_causal))
    if _portable.get():
        flash_attention = False
    elif flash_attention and jax.default_backend() != "gpu":
        raise RuntimeError(
            "Flash attention needs a GPU with cuDNN, and this process computes on "
            f"'{jax.default_backend()}'. Leave `flash_attention=None`: it is then used where it can be."
        )
    if flash_attention:
        output = by_cudnn(query, key, value)
    elif flash_attention is None and _fits_flash(by_cudnn, query, key, value):
        # This process has cuDNN, but a program of its may be for the CPU.
        output = jax.lax.platform_dependent(query, key, value, cuda=by_cudnn, default=elsewhere)
    else:
        output = elsewhere(query, key, value)
    return output[..., : features[1]]


def _attend(query, key, value, **how):
    dtype = query.dtype
    if dtype == jnp.float16 and jax.default_backend() == "cpu":
        # JAX asks XLA for products of float16, which it does not have there.
        query, key, value = (array.astype(jnp.float32) for array in (query, key, value))
        if how.get("bias") is not None:
            how["bias"] = how["bias"].astype(jnp.float32)
    return jax.nn.dot_product_attention(query, key, value, **how).astype(dtype)


def _lengthened(x, size: int):
    return jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((0, size - x.shape[-1]),))


def _fits_flash(by_cudnn, *arrays) -> bool:
    """Whether cuDNN takes these arrays; JAX says so when it is traced, and only where there is a GPU."""
    if jax.default_backend() != "gpu" or arrays[0].dtype not in (jnp.float16, jnp.bfloat16):
        return False
    try:
        jax.eval_shape(by_cudnn, *arrays)
    except Exception:
        return False
    return True


# ---- the operation of the CPU kernels


def _fits_kernel(query, key, mask, bias) -> bool:
    return (
        bias is None
        and query.dtype in (jnp.float32, *HALF_PRECISION)
        and query.shape[0] == key.shape[0]
        and query.shape[2] % key.shape[2] == 0
        and (mask is None or jnp.ndim(mask) == 4)
    )


def _by_kernel(query, key, value, mask, scale, is_causal: bool):
    (batch, queries, heads, features), keys = query.shape, key.shape[1]
    mask = jnp.ones((1, 1, 1, keys), bool) if mask is None else jnp.asarray(mask, bool)
    if is_causal:
        mask = mask & jnp.tri(queries, keys, dtype=bool)
    for size, whole in zip(mask.shape, (batch, heads, queries, keys), strict=True):
        if size not in (1, whole):
            raise ValueError(
                "The mask must have the shape (batch, heads, queries, keys), "
                f"{(batch, heads, queries, keys)} here, or 1 in place of some. Received: {mask.shape}"
            )
    mask = jnp.broadcast_to(mask, (*mask.shape[:3], keys)).astype(jnp.uint8)
    scale = features**-0.5 if scale is None else float(scale)
    return _attention.bind(query, key, value, mask, scale=scale)[0]


def output_of(query, key, value, mask, scale):
    """The output in terms of `lax`."""
    mask = mask.astype(bool)
    return _attend(query, key, value, mask=mask, scale=scale, implementation="xla")


def _output_and_statistics(query, key, value, mask, *, scale):
    """The output; and for each query, the largest product and the sum of exponentials."""
    group = query.shape[2] // key.shape[2]
    products = scale * jnp.einsum(
        "btnf,bsnf->bnts", query, jnp.repeat(key, group, axis=2), preferred_element_type=jnp.float32
    )
    products = jnp.where(mask != 0, products, -0.7 * jnp.finfo(jnp.float32).max)
    largest = products.max(-1, keepdims=True)
    statistics = jnp.concatenate([largest, jnp.exp(products - largest).sum(-1, keepdims=True)], -1)
    return [output_of(query, key, value, mask, scale), statistics]


def _push(query, key, value, mask, of_query, of_key, of_value, statistics, *, scale):
    """The tangent of the output."""
    del statistics
    return jax.jvp(
        lambda q, k, v: output_of(q, k, v, mask, scale),
        (query, key, value),
        (of_query, of_key, of_value),
    )[1]


def _pull(query, key, value, mask, statistics, of_output, *, scale):
    """The gradients of query, key and value."""
    del statistics
    return list(
        jax.vjp(lambda q, k, v: output_of(q, k, v, mask, scale), query, key, value)[1](of_output)
    )


def _attributes(query, key, value, mask, *others, scale) -> dict:
    sizes = query.shape[:2] + (key.shape[1], query.shape[2], key.shape[2], query.shape[3])
    return {"sizes": np.array([*sizes, *mask.shape[:3]], np.int64), "scale": np.float32(scale)}


_attention = primitive(
    "attention",
    lambda query, *others, scale: [
        (query.shape, query.dtype),
        ((query.shape[0], query.shape[2], query.shape[1], 2), np.dtype("float32")),
    ],
    _output_and_statistics,
    _attributes,
    batched=(),
    split=Split((0,) * 4, (0, 0)),
    several=True,
)
_tangent = primitive(
    "attention_tangent",
    lambda query, *others, scale: (query.shape, query.dtype),
    _push,
    batched=(),
)
_gradient = primitive(
    "attention_gradient",
    lambda query, key, value, *others, scale: [(a.shape, a.dtype) for a in (query, key, value)],
    _pull,
    _attributes,
    batched=(),
    split=Split((0,) * 6, (0,) * 3),
    several=True,
)


def _jvp(primals, tangents, *, scale):
    results = _attention.bind(*primals, scale=scale)
    tangents = [ad.instantiate_zeros(t) for t in tangents[:3]]
    tangent = _tangent.bind(*primals, *tangents, results[1], scale=scale)
    return results, [tangent, jnp.zeros_like(results[1])]


def _jvp_of(form):
    def jvp(primals, tangents, *, scale):
        # Not through the mask, an integer, nor through what is kept of the first pass.
        smooth = [n for n, p in enumerate(primals) if p.dtype != jnp.uint8]

        def of(*operands):
            given = list(primals)
            for n, operand in zip(smooth, operands, strict=True):
                given[n] = operand
            return form(*given, scale=scale)

        return jax.jvp(
            of,
            tuple(primals[n] for n in smooth),
            tuple(ad.instantiate_zeros(tangents[n]) for n in smooth),
        )

    return jvp


def _transpose(
    cotangent, query, key, value, mask, of_query, of_key, of_value, statistics, *, scale
):
    if isinstance(cotangent, ad.Zero):
        found = [ad.Zero(operand.aval) for operand in (of_query, of_key, of_value)]
    else:
        found = _gradient.bind(query, key, value, mask, statistics, cotangent, scale=scale)
    return [None, None, None, None, *found, None]


ad.primitive_jvps[_attention] = _jvp
ad.primitive_jvps[_tangent] = _jvp_of(_push)
ad.primitive_jvps[_gradient] = _jvp_of(_pull)
ad.primitive_transposes[_tangent] = _transpose
