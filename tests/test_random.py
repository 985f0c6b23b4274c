"""Random numbers beside Keras': the same from the same seed, by generators, and when compiled."""

import inspect

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu
from cornu import random

X = np.random.RandomState(0).randn(6, 4).astype("float32")
SHAPED = [
    ("normal", {}),
    ("normal", {"mean": 1.0, "stddev": 2.0}),
    ("truncated_normal", {"mean": 1.0, "stddev": 0.5}),
    ("uniform", {}),
    ("uniform", {"minval": -1.0, "maxval": 3.0}),
    ("gamma", {"alpha": np.array([0.1, 1.0, 2.0, 30.0])}),
    ("beta", {"alpha": 2.0, "beta": [0.5, 1.0, 2.0, 8.0]}),
    ("binomial", {"counts": [1, 2, 50, 4], "probabilities": 0.3}),
    ("randint", {"minval": -3, "maxval": 1000}),
]
OTHERS = [
    ("categorical", {"logits": jnp.asarray(X), "num_samples": 5}),
    ("dropout", {"inputs": jnp.asarray(X), "rate": 0.3}),
    ("dropout", {"inputs": jnp.asarray(X), "rate": 0.5, "noise_shape": (None, 1)}),
    ("dropout", {"inputs": jnp.asarray(X), "rate": 0.5, "noise_shape": [1, 4]}),
    ("dropout", {"inputs": jnp.asarray(X), "rate": 0.5, "noise_shape": (4,)}),
    ("shuffle", {"x": jnp.arange(9)}),
]
CASES = [(name, {"shape": (6, 4), **kwargs}) for name, kwargs in SHAPED] + OTHERS
IDS = [f"{name}{i}" for i, (name, _) in enumerate(CASES)]


def both(name):
    return getattr(random, name), getattr(keras.random, name)


def assert_same(mine, other):
    mine, other = np.asarray(mine), np.asarray(other)
    assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
    np.testing.assert_array_equal(mine, other)


def test_every_name_and_argument_is_there():
    names = {n for n in dir(keras.random) if n[0] != "_"}
    assert names <= set(dir(random))
    functions = [n for n in names if inspect.isfunction(getattr(keras.random, n))]
    assert {name for name, _ in CASES} == set(functions)
    for name in functions:
        ours, theirs = map(inspect.signature, both(name))
        assert str(ours) == str(theirs), name


# ---- the same numbers


@pytest.mark.parametrize("name, kwargs", CASES, ids=IDS)
def test_same_bits_as_keras(name, kwargs):
    ours, theirs = both(name)
    results = []
    for k, function in ((cornu, ours), (keras, theirs)):
        generator = k.random.SeedGenerator(9)
        seeds = (5, 5, 2**32 - 1, generator, generator)
        results.append([np.asarray(function(**kwargs, seed=seed)) for seed in seeds])
        assert_same(generator.state.value, np.array([9, 2], "uint32"))
    for mine, other in zip(*results, strict=True):
        assert_same(mine, other)
    again, first, other, *drawn = results[0]
    assert_same(again, first)
    assert (first != other).any() and (drawn[0] != drawn[1]).any()


@pytest.mark.parametrize(
    "name, kwargs, dtype",
    [
        ("normal", {"mean": 1.0, "stddev": 2.0}, "bfloat16"),
        ("normal", {}, "float16"),
        ("truncated_normal", {"stddev": 2.0}, "bfloat16"),
        ("uniform", {"minval": -1.0, "maxval": 3.0}, "bfloat16"),
        ("uniform", {}, "float16"),
        ("randint", {"minval": 0, "maxval": 100}, "uint8"),
        ("randint", {"minval": 0, "maxval": 100}, None),
    ],
    ids=str,
)
def test_dtypes(name, kwargs, dtype):
    ours, theirs = both(name)
    assert_same(
        ours((6, 4), dtype=dtype, seed=3, **kwargs), theirs((6, 4), dtype=dtype, seed=3, **kwargs)
    )


def test_dtype_of_classes():
    for r in (random, keras.random):
        assert r.categorical(X, 5, dtype="uint8", seed=1).dtype == "uint8"


@pytest.mark.parametrize("shape", [(), 3, [2, 3], (0, 2), (2, 1, 2, 3)], ids=str)
def test_shapes(shape):
    assert_same(random.uniform(shape, seed=3), keras.random.uniform(shape, seed=3))


def test_seeds_beyond_32_bits_and_numpy_integers():
    """Keras refuses these."""
    expected = random.normal((3,), seed=7)
    for seed in (7 + 2**32, np.int64(7), np.uint32(7), 7 - 2**32):
        assert_same(random.normal((3,), seed=seed), expected)
    assert_same(random.normal((3,), seed=jnp.array([7, 0], "uint32")), expected)


# ---- what the numbers are


def test_statistics():
    shape = (200, 300)
    x = np.asarray(random.normal(shape, 2.0, 3.0, seed=1))
    assert x.mean() == pytest.approx(2, abs=0.06) and x.std() == pytest.approx(3, rel=0.02)
    x = np.asarray(random.truncated_normal(shape, 2.0, 3.0, seed=1))
    assert x.min() >= -4 and 7.9 < x.max() <= 8
    x = np.asarray(random.uniform(shape, -1.0, 3.0, seed=1))
    assert -1 <= x.min() < -0.999 and 2.999 < x.max() < 3
    x = np.asarray(random.randint(shape, 2, 6, seed=1))
    np.testing.assert_allclose(np.bincount(x.ravel()) / x.size, [0, 0] + [0.25] * 4, atol=0.01)
    logits = np.log([[0.1, 0.2, 0.7], [0.5, 0.5, 1e-30]])
    for row, chances in zip(
        random.categorical(logits, 20_000, seed=1), np.exp(logits), strict=True
    ):
        np.testing.assert_allclose(np.bincount(row, minlength=3) / 20_000, chances, atol=0.02)


def test_dropout_keeps_the_mean():
    x = np.full((200, 300), 2.0, "float32")
    result = np.asarray(random.dropout(x, 0.75, seed=1))
    assert set(np.unique(result)) == {0.0, 8.0}
    assert result.mean() == pytest.approx(2, rel=0.03)
    together = np.asarray(random.dropout(x, 0.5, noise_shape=(None, 1), seed=1))
    assert (together == together[:, :1]).all() and set(np.unique(together)) == {0.0, 4.0}


@pytest.mark.parametrize("rate", [0, 0.0, 1, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dropout_of_nothing_and_of_everything(rate, dtype):
    x = jnp.asarray(X, dtype)
    assert_same(random.dropout(x, rate, seed=1), keras.random.dropout(x, rate, seed=1))
    gradient = jax.grad(lambda x: jnp.sum(random.dropout(x, rate, seed=1)))(x)
    assert_same(gradient, jnp.full_like(x, 1 - rate))


def test_dropout_of_infinite_values():
    x = jnp.full((200,), jnp.inf)
    assert set(np.unique(random.dropout(x, 0.5, seed=1))) == {0.0, np.inf}


def test_shuffled_rows_stay_whole():
    """Keras on JAX shuffles each column by itself."""
    rows = np.asarray(random.shuffle(X, seed=3))
    assert sorted(map(tuple, rows)) == sorted(map(tuple, X)) and (rows != X).any()
    columns = np.asarray(random.shuffle(X, axis=1, seed=3))
    assert sorted(map(tuple, columns.T)) == sorted(map(tuple, X.T)) and (columns != X).any()
    assert sorted(random.shuffle([3, 1, 2], seed=3).tolist()) == [1, 2, 3]


# ---- generators


def test_generator_counts():
    ours, theirs = random.SeedGenerator(7), keras.random.SeedGenerator(7)
    for count in range(3):
        assert_same(ours.next(), theirs.next())
        assert ours.state.numpy().tolist() == [7, count + 1]
        assert_same(ours.state.numpy(), np.asarray(theirs.state))
    twin = random.SeedGenerator.from_config(ours.get_config())
    assert twin.seed == 7 and twin.state.numpy().tolist() == [7, 0]
    assert not ours.state.trainable


def test_generator_goes_on_where_it_was():
    generator = random.SeedGenerator(7)
    random.normal((2,), seed=generator)
    kept = {}
    generator.save_own_variables(kept)
    expected = random.normal((2,), seed=generator)
    other = random.SeedGenerator(1)
    other.load_own_variables(kept)
    assert_same(random.normal((2,), seed=other), expected)


def test_global_seed():
    results = []
    for k in (cornu, keras):
        k.utils.set_random_seed(3)
        numbers = [k.random.normal((2,)), k.random.SeedGenerator().state.value]
        numbers.append(k.random.SeedGenerator().state.value)
        results.append([np.asarray(n) for n in numbers])
    for mine, other in zip(*results, strict=True):
        assert_same(mine, other)
    first = [np.asarray(random.uniform((3,))) for _ in range(2)]
    assert (first[0] != first[1]).all()


class Noise(cornu.Layer):
    def __init__(self):
        super().__init__()
        self.seeds = cornu.random.SeedGenerator(5)

    def call(self, x):
        noise = cornu.random.uniform((4,), seed=self.seeds)
        return cornu.random.dropout(x, 0.5, seed=self.seeds) + noise


class KerasNoise(keras.Layer):
    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(5)
        self.built = True

    def call(self, x):
        noise = keras.random.uniform((4,), seed=self.seeds)
        return keras.random.dropout(x, 0.5, seed=self.seeds) + noise


def test_compiled_stateless_calls():
    results, plain = [], []
    for layer in (Noise(), KerasNoise()):
        call = jax.jit(layer.stateless_call)
        (state,) = (v.value for v in layer.non_trainable_variables)
        results.append([])
        for step in range(1, 3):
            output, (state,) = call([], [state], jnp.asarray(X))
            assert np.asarray(state).tolist() == [5, 2 * step]
            results[-1].append(np.asarray(output))
        assert np.asarray(layer.seeds.state.value).tolist() == [5, 0]
        plain.append([np.asarray(layer(jnp.asarray(X))) for _ in range(2)])
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    for mine, other in zip(results[0], plain[0], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    assert (results[0][0] != results[0][1]).any()


def test_integer_seeds_in_compiled_functions():
    compiled = jax.jit(lambda: random.uniform((4,), seed=3))()
    np.testing.assert_allclose(compiled, random.uniform((4,), seed=3), rtol=1e-6)
    with pytest.raises((RuntimeError, ValueError), match="seed"):
        jax.jit(lambda: random.uniform((4,)))()
    # The failed attempt has done no harm.
    assert np.isfinite(random.uniform((4,))).all()


# ---- mistakes


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda r: r.normal((2,), seed="x"), "`seed` must be either an integer or.*seed=x"),
        (lambda r: r.normal((2,), seed=1.5), "`seed` must be either an integer or.*seed=1.5"),
        (lambda r: r.SeedGenerator("x"), "`seed` must be an integer. Received: seed=x"),
        (lambda r: r.SeedGenerator(1.5), "`seed` must be an integer. Received: seed=1.5"),
        (lambda r: r.uniform((2,), dtype="int32", seed=1), "int32"),
        (lambda r: r.randint((2,), 0, 3, dtype="float32", seed=1), "integer.*float32"),
        (lambda r: r.categorical(X[0], 2, seed=1), "`logits` should be a 2-D tensor"),
        (lambda r: r.categorical(X[None], 2, seed=1), "`logits` should be a 2-D tensor"),
        (lambda r: r.dropout(X, 0.5, noise_shape=(3, 4), seed=1), "ncompatible.*broadcasting"),
        (lambda r: r.dropout(X, 0.5, noise_shape=(2, 6, 4), seed=1), "fewer dim|more axes"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make(random)
    with pytest.raises((ValueError, TypeError)):
        make(keras.random)


def test_negative_seeds_of_generators():
    with pytest.raises(ValueError, match="must not be negative"):
        random.SeedGenerator(-1)


@pytest.mark.parametrize("seed", [0, 11, 2**31 + 5])
def test_draws_without_a_seed_follow_the_global_one(seed):
    results = []
    for k in (cornu, keras):
        k.utils.set_random_seed(seed)
        results.append([np.asarray(k.random.uniform((3,))) for _ in range(5)])
    np.testing.assert_array_equal(*results)
    assert len({tuple(draw) for draw in results[0]}) == 5
