"""The same seed gives the same bits with one thread, two, and more than there are cores."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cornu.core.kernels import native
from cornu.ops import fixed_order
from rounding import assert_sums_agree

needs_kernels = pytest.mark.skipif(
    not native().in_use, reason="XLA alone splits sums and products among threads"
)


@needs_kernels
@pytest.mark.parametrize("threads", ["4", pytest.param("2", marks=pytest.mark.slow)])
def test_training_with_any_number_of_threads(threads):
    program = [sys.executable, Path(__file__).with_name("train_branches.py")]
    # XLA has as many threads as this says.
    running = [
        subprocess.Popen(
            program, stdout=subprocess.PIPE, text=True, env={**os.environ, "NPROC": count}
        )
        for count in ("1", threads)
    ]
    alone, together = (process.communicate(timeout=600)[0].splitlines() for process in running)
    assert all(process.returncode == 0 for process in running) and len(alone) == 6
    assert together == alone


def noise(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


@needs_kernels
@pytest.mark.parametrize(
    "shape, axes",
    [
        ((4, 31, 33, 5), (0, 1, 2)),
        ((4, 31, 33, 5), (1, 2)),
        ((16, 1000), (1,)),
        ((9001,), (0,)),
        ((40, 17, 600), (0, 2)),
        ((8, 30, 40, 2, 3), (1, 2, 4)),
    ],
    ids=str,
)
def test_sums_and_the_largest(shape, axes):
    x = noise(*shape)

    @jax.jit
    @fixed_order.in_fixed_order
    def run(x):
        # Within a function of its own, as in `jnp.var`, and in a loop.
        total = jax.jit(lambda x: jnp.sum(x, axes))(x)
        return jax.lax.fori_loop(0, 1, lambda i, _: total, total), jnp.max(x, axes)

    text = run.lower(x).as_text()
    assert "@cornu_sum(" in text and "@cornu_largest(" in text
    total, largest = run(x)
    assert_sums_agree(total, x.sum(axes, np.float64).astype("float32"), 1, abs(x).sum(axes))
    np.testing.assert_array_equal(largest, x.max(axes))
    x.flat[7] = np.nan
    assert all(np.isnan(part).sum() == 1 for part in run(x))


@needs_kernels
@pytest.mark.parametrize(
    "equation, shapes",
    [
        ("ab,bc->ac", [(20, 30), (30, 25)]),
        ("abc,dc->abd", [(4, 9, 30), (25, 30)]),
        ("abc,abd->cd", [(4, 9, 30), (4, 9, 25)]),
        ("abc,dab->cd", [(4, 9, 30), (25, 4, 9)]),
        ("abc,bd->acd", [(4, 30, 9), (30, 25)]),
        ("abc,cbd->ad", [(20, 5, 7), (7, 5, 25)]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_products_of_matrices(equation, shapes, dtype):
    a, b = (noise(*shape) for shape in shapes)
    a, b = a.astype(dtype), b.astype(dtype)
    run = jax.jit(fixed_order.in_fixed_order(lambda a, b: jnp.einsum(equation, a, b)))
    assert "dot_general" not in run.lower(a, b).as_text()
    expected, size = (
        np.einsum(equation, *(f(x.astype("float64")) for x in (a, b))) for f in (np.array, abs)
    )
    assert_sums_agree(run(a, b), expected.astype(dtype), 36, size, dtype)
