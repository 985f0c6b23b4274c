"""Programs of native kernels compute what XLA computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cornu as keras
from cornu.core.kernels import native
from cornu.inference.program import Program
from cornu.inference.translation import Translation, Unsupported

pytestmark = pytest.mark.skipif(not native().in_use, reason="needs the native kernels")


def both(function, weights, *inputs):
    """What a program and XLA make of the same."""
    traced = jax.jit(lambda weights, inputs: function(weights, *inputs)).trace(weights, inputs)
    plan = Translation(traced.jaxpr, jax.tree.leaves(weights)).plan()
    with np.errstate(all="ignore"):
        expected = jax.tree.leaves(jax.jit(function)(weights, *inputs))
    return Program(plan)(jax.tree.leaves(inputs)), expected


CURVES = {
    "negative": jnp.negative,
    "absolute": jnp.abs,
    "square": jnp.square,
    "root": lambda x: jnp.sqrt(jnp.abs(x)),
    "inverse root": lambda x: jax.lax.rsqrt(jnp.abs(x) + 0.5),
    "exponential": jnp.exp,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "swish": jax.nn.silu,
    "relu": keras.activations.relu,
    "relu6": keras.activations.relu6,
    "hard swish": keras.activations.hard_silu,
    "softmax": keras.activations.softmax,
}
EXTREME = np.array(
    [
        0,
        -0.0,
        1,
        -1,
        88.5,
        -88.5,
        1e-30,
        -1e30,
        3e38,
        np.inf,
        -np.inf,
        np.nan,
        7,
        -7,
        0.5,
        20,
        1e-3,
    ],
    "float32",
)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("shape", [(1, 17), (3, 5, 7), (2, 4, 3, 40)])
def test_single_numbers(curve, shape):
    rng = np.random.default_rng(0)
    for x in (rng.normal(0, 3, shape).astype("float32"), np.resize(EXTREME, shape)):
        found, expected = both(lambda w, x: CURVES[curve](x), [], x)
        np.testing.assert_allclose(found[0], expected[0], rtol=2e-6, atol=2e-7)


BINARY = [jnp.add, jnp.subtract, jnp.multiply, jnp.divide, jnp.maximum, jnp.minimum]
ARRAY = (2, 3, 4, 6)


@st.composite
def programs(draw):
    """A list of operations on arrays of four axes, each a function of the arrays before it."""
    steps = []
    for _ in range(draw(st.integers(1, 9))):
        kind = draw(
            st.sampled_from(
                "curve binary weight scalar pad slice move join sum largest mean".split()
            )
        )
        steps.append((kind, *[draw(st.integers(0, 59)) for _ in range(4)]))
    return steps


def run(steps, weights, x):
    arrays = [x]
    for kind, a, b, c, d in steps:
        x = arrays[-1 - a % len(arrays)]
        if kind == "curve":
            names = ["negative", "absolute", "sigmoid", "tanh", "swish", "relu", "relu6", "softmax"]
            y = CURVES[names[b % len(names)]](x)
        elif kind == "binary":
            fitting = [
                z for z in arrays if all(n in (1, m) for n, m in zip(z.shape, x.shape, strict=True))
            ]
            operation, z = BINARY[b % len(BINARY)], fitting[c % len(fitting)]
            z = jnp.abs(z) + 0.5 if operation is jnp.divide else z
            y = operation(z, x) if d % 2 and operation is not jnp.divide else operation(x, z)
        elif kind == "weight":
            vector = weights[0][: x.shape[-1]] if c % 2 else weights[1][: x.shape[1], :1, :1]
            y = BINARY[b % 3](x, vector) if d % 2 else BINARY[b % 3](vector, x)
        elif kind == "scalar":
            operation = BINARY[b % len(BINARY)]
            y = operation(x, 1.25) if c % 2 or operation is jnp.divide else operation(0.75, x)
        elif kind == "pad":
            y = jnp.pad(
                x, [(0, 0), (b % 3, c % 2), (0, d % 3), (a % 2, 0)], constant_values=float(d % 2)
            )
        elif kind == "slice":
            y = x[:, b % x.shape[1] :, : 1 + c % x.shape[2], :: 1 + d % 2]
        elif kind == "move":
            y = jnp.transpose(x, np.random.default_rng(b).permutation(4))
            y = y.reshape(*y.shape[:2], -1, 1) if c % 4 == 0 else y
        elif kind == "join":
            fitting = [z for z in arrays if z.shape[:3] == x.shape[:3]]
            y = jnp.concatenate([x, fitting[b % len(fitting)], x][: 2 + c % 2], -1)
        elif kind == "sum":
            y = jnp.sum(x, [(1, 2), (3,), (1,), (2, 3)][b % 4], keepdims=True) / 8
        elif kind == "largest":
            y = jnp.max(x, [(1, 2), (3,), (1,), (2, 3)][b % 4], keepdims=True)
        else:
            y = keras.ops.mean(x, [(1, 2), (-1,)][b % 2], keepdims=True)
        if y.size <= 20_000:
            arrays.append(y)
    return arrays[-1], arrays[len(arrays) // 2]


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(0, 99))
def test_any_program(steps, seed):
    rng = np.random.default_rng(seed)
    weights = [
        rng.normal(size=200).astype("float32"),
        rng.normal(size=(200, 1, 1)).astype("float32"),
    ]
    x = rng.normal(size=ARRAY).astype("float32")
    try:
        found, expected = both(lambda w, x: run(steps, w, x), weights, x)
    except Unsupported:
        return
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)
