"""How far apart two results may lie that add the same terms in another order, or by other instructions.

Whether bits are equal depends on the processor: only what one program computes twice is compared so.
"""

import math

import jax.numpy as jnp
import numpy as np


def assert_sums_agree(mine, other, terms, size, dtype="float32"):
    """Compare sums of so many terms.

    Each addition rounds by half an epsilon of the sum so far at most, now up and now down: after `terms` of
    them, one expects a distance that grows with the root of their number.

    Args:
        size: the sum of the terms' absolute values, or more; a number, or one for each result.
        dtype: of the results.
    """
    mine, other = np.asarray(mine), np.asarray(other)
    assert mine.shape == other.shape and mine.dtype == other.dtype
    epsilon = float(jnp.finfo(dtype).eps)
    allowed = np.broadcast_to(epsilon * (2 + math.sqrt(terms)) * np.asarray(size), mine.shape)
    off = np.abs(mine.astype("float64") - other.astype("float64")) - allowed
    # What is not a number must be so in both.
    wrong = ~(off <= 0) & ~(np.isnan(mine) & np.isnan(other))
    assert not wrong.any(), (
        f"{wrong.sum()} of {wrong.size} differ, by up to {off[wrong].max()} too much"
    )
