"""Linear algebra.  Source: Keras: Linear algebra ops."""

import jax
import jax.numpy as jnp

from cornu.core.operation import operation
from cornu.core.variable import Variable
from cornu.ops.public import from_table

_TABLE = [
    (lambda x: 0, "det inv eig slogdet"),
    (lambda x, ord=None, axis=None, keepdims=False: 0, "norm"),
    (lambda x, mode="reduced": 0, "qr"),
    (lambda x, full_matrices=True, compute_uv=True: 0, "svd"),
    (lambda x, tol=None: 0, "matrix_rank"),
    (lambda a, b: 0, "solve"),
]
globals().update(from_table(_TABLE, jnp.linalg))


@operation
def cholesky(x, upper=False):
    """The triangular matrix `L` for which `L @ L.T` is a positive matrix; its transpose if `upper`.

    Raises ValueError if `x` is not positive definite. In a compiled program the result is NaN.
    """
    factor = jnp.linalg.cholesky(jnp.asarray(x), upper=upper)
    if not isinstance(factor, jax.core.Tracer) and jnp.isnan(factor).any():
        raise ValueError(
            "Cholesky decomposition failed. The input might not be a valid positive definite matrix."
        )
    return factor


@operation
def eigh(x):
    """Eigenvalues and eigenvectors of a symmetric matrix."""
    return tuple(jnp.linalg.eigh(jnp.asarray(x)))


@operation
def logdet(x):
    """The logarithm of the determinant of a positive matrix."""
    return jnp.linalg.slogdet(jnp.asarray(x))[1]


@operation
def pinv(x, rcond=None):
    """The pseudo-inverse."""
    return jnp.linalg.pinv(jnp.asarray(x), rtol=rcond)


@operation
def lstsq(a, b, rcond=None):
    """The `x` for which `a @ x` is closest to `b`."""
    return jnp.linalg.lstsq(jnp.asarray(a), jnp.asarray(b), rcond=rcond)[0]


@operation
def solve_triangular(a, b, lower=False):
    """The `x` for which `a @ x` is `b`, for a triangular matrix."""
    return jax.scipy.linalg.solve_triangular(jnp.asarray(a), jnp.asarray(b), lower=lower)


@operation
def cholesky_inverse(x, upper=False):
    """The inverse of a positive matrix, from its Cholesky factor."""
    x = jnp.asarray(x)
    identity = jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype), x.shape)
    return jax.scipy.linalg.cho_solve((x, not upper), identity)


@operation
def lu_factor(x):
    """Lower and upper triangular factors in one matrix, and the rows that were exchanged."""
    return tuple(jax.scipy.linalg.lu_factor(jnp.asarray(x)))


def jvp(fun, primals, tangents, has_aux=False):
    """What a function gives, and how it changes along `tangents`; with `has_aux`, what it returns besides.

    >>> import cornu
    >>> value, tangent = cornu.ops.jvp(cornu.ops.square, (3.0,), (1.0,))
    >>> float(value), float(tangent)
    (9.0, 6.0)
    """
    at, along = (
        [jnp.asarray(x.value if isinstance(x, Variable) else x) for x in each]
        for each in (primals, tangents)
    )
    return jax.jvp(fun, at, along, has_aux=has_aux)
