"""Matrices of JAX that keep only what is not zero, where layers are called on them.

Layers compute with dense arrays. Those that make zeros of zeros give sparse outputs for sparse inputs, as
in Keras.
"""

from typing import Any

import jax

from cornu.core import masking
from cornu.core.dtype import is_sparse_of_jax
from cornu.core.symbolic import KerasTensor


def dense(matrix) -> jax.Array:
    """The array that a matrix stands for, with the mask that was attached to the matrix."""
    array = matrix.todense()
    masking.set_mask(array, masking.get_mask(matrix))
    return array


def as_sparse_as(inputs, outputs) -> Any:
    """Outputs of a layer: sparse if all inputs of its call were."""
    given = jax.tree.leaves(inputs, is_leaf=is_sparse_of_jax)
    are_sparse = [t.sparse if isinstance(t, KerasTensor) else is_sparse_of_jax(t) for t in given]
    return jax.tree.map(_sparse, outputs) if given and all(are_sparse) else outputs


def _sparse(output):
    if isinstance(output, KerasTensor):
        output.sparse = True
        return output
    from jax.experimental import sparse

    # While a program is traced, nobody knows how many numbers are not zero.
    places = output.size if isinstance(output, jax.core.Tracer) else None
    matrix = sparse.BCOO.fromdense(output, nse=places)
    masking.set_mask(matrix, masking.get_mask(output))
    return matrix
