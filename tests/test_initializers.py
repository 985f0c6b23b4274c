"""Every initializer beside Keras': the same bits from the same seed, statistics, configurations."""

import inspect
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu
from cornu import initializers
from cornu.core import threefry

NAMES = [
    name
    for name in dir(keras.initializers)
    if inspect.isclass(getattr(keras.initializers, name)) and name != "Initializer"
]
SCALINGS = ["GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform"]
DISTRIBUTIONS = ["truncated_normal", "untruncated_normal", "uniform"]
RANDOM = [
    ("RandomNormal", {}),
    ("RandomNormal", {"mean": 1.0, "stddev": 2.0}),
    ("TruncatedNormal", {}),
    ("TruncatedNormal", {"mean": -1.0, "stddev": 2.0}),
    ("RandomUniform", {}),
    ("RandomUniform", {"minval": 0.25, "maxval": 3.0}),
    ("RandomUniform", {"minval": 1.0, "maxval": 1.0}),
    *(("VarianceScaling", {"distribution": d, "scale": 2.0}) for d in DISTRIBUTIONS),
    ("VarianceScaling", {"mode": "fan_out", "distribution": "normal"}),
    ("VarianceScaling", {"mode": "fan_avg", "distribution": "UNIFORM"}),
    *((name, {}) for name in SCALINGS),
]
SHAPES = [(1,), (0, 3), [5, 6], (3, 2, 4), (3, 3, 2, 5), (2, 2, 2, 3, 4)]
ORTHOGONAL = [("Orthogonal", {}), ("Orthogonal", {"gain": 2.0})]
FIXED = [
    ("Zeros", {}, (2, 3)),
    ("Ones", {}, (2, 3)),
    ("Constant", {}, (2, 3)),
    ("Constant", {"value": 2.5}, (2, 0)),
    ("Constant", {"value": [1.0, 2.0, 3.0]}, (2, 3)),
    ("Identity", {}, (3, 3)),
    ("Identity", {"gain": 2.0}, (2, 4)),
]


def both(name, kwargs):
    return (getattr(k.initializers, name)(**kwargs) for k in (cornu, keras))


def assert_same(mine, other):
    mine, other = np.asarray(mine), np.asarray(other)
    assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
    np.testing.assert_array_equal(mine, other)


# ---- names


def test_every_name_is_there():
    assert {n for n in dir(keras.initializers) if n[0] != "_"} <= set(dir(initializers))
    for name in NAMES:
        ours, theirs = (getattr(k.initializers, name) for k in (cornu, keras))
        assert ours.__name__ == theirs.__name__
        assert issubclass(ours, initializers.Initializer)
    tested = {name for name, *_ in RANDOM + ORTHOGONAL + FIXED} | {"STFT"}
    assert {getattr(initializers, name).__name__ for name in NAMES} == tested


@pytest.mark.parametrize("name", [*NAMES, "normal", "uniform", "zero", "one"])
def test_strings(name):
    cls = type(initializers.get(name))
    # Keras cannot make a constant from its name alone.
    expected = "Constant" if name.lower() == "constant" else type(keras.initializers.get(name))
    assert cls.__name__ == getattr(expected, "__name__", expected)
    assert type(initializers.deserialize(name)) is cls


# ---- numbers


@pytest.mark.parametrize("name, kwargs", RANDOM, ids=str)
def test_same_bits_as_keras(name, kwargs):
    ours, theirs = both(name, {**kwargs, "seed": 7})
    for shape in SHAPES:
        assert_same(ours(shape), theirs(shape))
    for dtype in ("bfloat16", "float16"):
        assert_same(ours((5, 6), dtype=dtype), theirs((5, 6), dtype=dtype))


@pytest.mark.parametrize("name, kwargs", ORTHOGONAL, ids=str)
def test_orthogonal_is_keras(name, kwargs):
    ours, theirs = both(name, {**kwargs, "seed": 7})
    for shape in [(5, 6), (3, 3, 2, 5)]:
        assert_same(ours(shape), theirs(shape))
    # Keras has no QR decomposition of halves; ours are rounded.
    for dtype in ("bfloat16", "float16"):
        assert_same(ours((5, 6), dtype), jnp.asarray(ours((5, 6)), dtype))


@pytest.mark.parametrize("name, kwargs, shape", FIXED, ids=str)
def test_fixed_values(name, kwargs, shape):
    ours, theirs = both(name, kwargs)
    for dtype in (None, "bfloat16", "int32"):
        assert_same(ours(shape, dtype=dtype), theirs(shape, dtype=dtype))
    # Keras forgets an identity's gain.
    lost = {"gain": ours.gain} if name == "Identity" else {}
    assert ours.get_config() == {**theirs.get_config(), **lost}
    assert_same(type(ours).from_config(ours.get_config())(shape), ours(shape))
    assert_same(initializers.get(initializers.serialize(ours))(shape), ours(shape))


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize(
    "axes",
    [
        {"input_axes": [0], "output_axes": [2]},
        {"input_axes": [0, 1], "output_axes": [-1]},
        {"input_axes": [-1], "output_axes": [0, 1]},
        {"input_axes": [1]},
        {"output_axes": [0]},
    ],
    ids=str,
)
def test_axes_of_inputs_and_outputs(axes, mode):
    ours, theirs = both("VarianceScaling", {"mode": mode, "seed": 1, **axes})
    assert_same(ours((3, 2, 4)), theirs((3, 2, 4)))
    ours, theirs = both("HeUniform", {"seed": 1, **axes})
    assert_same(ours((3, 2, 4)), theirs((3, 2, 4)))
    assert ours.get_config() == theirs.get_config()


STFTS = [
    {},
    {"side": "imag"},
    {"scaling": "spectrum", "window": "hamming", "periodic": True},
    {"scaling": None},
    {"window": None, "side": "imag"},
    {"window": np.arange(16.0)},
]


@pytest.mark.parametrize("kwargs", STFTS, ids=str)
def test_short_time_fourier_transform(kwargs):
    """Angles in double precision are nearer to the truth than Keras', so not all bits are equal."""
    ours, theirs = both("STFT", kwargs)
    np.testing.assert_allclose(ours((16, 1, 9)), theirs((16, 1, 9)), atol=4e-6)
    assert ours((16, 1, 9), dtype="bfloat16").dtype == "bfloat16"
    twin = initializers.deserialize(initializers.serialize(ours))
    assert_same(twin((16, 1, 9)), ours((16, 1, 9)))


def test_fourier_transform_of_a_frame():
    real, imaginary = (
        initializers.STFT(side, window=None)((16, 1, 9)) for side in ("real", "imag")
    )
    frame = np.random.RandomState(0).randn(16)
    kernel = np.asarray(real)[:, 0] + 1j * np.asarray(imaginary)[:, 0]
    np.testing.assert_allclose(frame @ kernel, np.fft.rfft(frame), atol=1e-5)


# ---- statistics

BIG = (150, 4, 300)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_variance_is_scaled(mode, distribution):
    kwargs = {"scale": 3.0, "mode": mode, "distribution": distribution, "seed": 2}
    fan = {"fan_in": 150 * 4, "fan_out": 150 * 300, "fan_avg": 150 * 304 / 2}[mode]
    x = np.asarray(initializers.VarianceScaling(**kwargs)(BIG)).ravel()
    std = math.sqrt(3.0 / fan)
    assert abs(x.mean()) < 5 * std / math.sqrt(x.size)
    assert x.std() == pytest.approx(std, rel=0.01)
    bound = {"uniform": math.sqrt(3) * std, "truncated_normal": 2 * std / 0.8796}
    if distribution in bound:
        assert 0.99 * bound[distribution] < np.abs(x).max() <= bound[distribution] * (1 + 1e-6)
    else:
        assert np.abs(x).max() > 3.5 * std


def test_ranges():
    x = np.asarray(initializers.RandomUniform(-1.0, 2.0, seed=3)(BIG))
    assert -1 <= x.min() < -0.999 and 1.999 < x.max() < 2
    assert x.mean() == pytest.approx(0.5, abs=0.01) and x.std() == pytest.approx(
        0.75**0.5, rel=0.01
    )
    x = np.asarray(initializers.TruncatedNormal(1.0, 0.5, seed=3)(BIG))
    assert 0 <= x.min() < 0.01 and 1.99 < x.max() <= 2
    x = np.asarray(initializers.RandomNormal(1.0, 0.5, seed=3)(BIG))
    assert x.mean() == pytest.approx(1, abs=0.01) and x.std() == pytest.approx(0.5, rel=0.01)
    assert x.min() < 1 - 4 * 0.5


@pytest.mark.parametrize("shape", [(6, 5), (5, 6), (3, 3, 2, 5)])
def test_orthogonality(shape):
    matrix = np.asarray(initializers.Orthogonal(gain=3.0, seed=4)(shape)).reshape(-1, shape[-1])
    short = matrix if matrix.shape[0] < matrix.shape[1] else matrix.T
    np.testing.assert_allclose(short @ short.T, 9 * np.eye(len(short)), atol=1e-5)


# ---- seeds


@pytest.mark.parametrize("name, kwargs", RANDOM + ORTHOGONAL, ids=str)
def test_configurations(name, kwargs):
    for seed in (7, None):
        ours, theirs = both(name, {**kwargs, "seed": seed})
        assert ours.get_config() == theirs.get_config()
    ours, _ = both(name, {**kwargs, "seed": 7})
    described = initializers.serialize(ours)
    assert described == keras.initializers.serialize(keras.initializers.get(described))
    for twin in (
        type(ours).from_config(ours.get_config()),
        initializers.deserialize(described),
        ours.clone(),
    ):
        assert_same(twin((5, 6)), ours((5, 6)))


def test_one_seed_gives_the_same_values_each_time():
    initializer = initializers.HeNormal(seed=5)
    assert_same(initializer((5, 6)), initializer((5, 6)))
    unseeded = initializers.HeNormal()
    assert_same(unseeded((5, 6)), unseeded((5, 6)))
    assert (np.asarray(initializers.HeNormal()((5, 6))) != unseeded((5, 6))).any()
    assert (np.asarray(unseeded.clone()((5, 6))) != unseeded((5, 6))).any()


def test_without_a_seed_the_global_one_counts():
    results = []
    for k in (cornu, keras):
        k.utils.set_random_seed(11)
        made = [k.initializers.HeUniform(), k.initializers.RandomNormal()]
        made.append(made[0].clone())
        results.append([initializer((5, 6)) for initializer in made for _ in range(2)])
    for mine, other in zip(*results, strict=True):
        assert_same(mine, other)


def test_seed_generators_give_new_values_each_time():
    results = []
    for k in (cornu, keras):
        generator = k.random.SeedGenerator(13)
        made = k.initializers.HeUniform(seed=generator), k.initializers.RandomNormal(seed=generator)
        numbers = [initializer((5, 6)) for _ in range(2) for initializer in made]
        described = made[0].get_config()["seed"]
        # A twin starts again from the beginning; Keras also takes the description itself.
        for twin in (made[0].clone(), k.initializers.HeUniform(seed=described)):
            numbers += [twin((5, 6)), twin((5, 6))]
        results.append(numbers)
    for mine, other in zip(*results, strict=True):
        assert_same(mine, other)
    assert (np.asarray(results[0][0]) != results[0][2]).any()
    assert_same(results[0][0], results[0][4])


@pytest.mark.parametrize("name", ["HeUniform", "HeNormal", "Zeros"])
def test_in_a_compiled_function(name):
    initializer = getattr(initializers, name)(**({} if name == "Zeros" else {"seed": 3}))
    compiled = jax.jit(lambda: initializer((5, 6)))()
    np.testing.assert_allclose(compiled, initializer((5, 6)), rtol=1e-5, atol=1e-6)


# ---- arrays, functions and mistakes


def test_arrays_and_functions():
    array = np.arange(6.0).reshape(2, 3)
    for given in (array, jnp.asarray(array), np.float32(3)):
        ours, theirs = initializers.get(given), keras.initializers.get(given)
        for dtype in (None, "bfloat16", "int32"):
            assert_same(ours(np.shape(given), dtype=dtype), theirs(np.shape(given), dtype=dtype))
        with pytest.raises(ValueError, match="Expected `shape` to be"):
            ours((3, 2))
    assert initializers.get(None) is None
    # Wherever one is given, and in files.
    layer = cornu.layers.Dense(3, kernel_initializer=array)
    layer.build((None, 2))
    layer = cornu.layers.Dense.from_config(layer.get_config())
    layer.build((None, 2))
    np.testing.assert_array_equal(layer.kernel, array)
    for add in (cornu.layers.Layer().add_weight, cornu.metrics.Mean().add_variable):
        np.testing.assert_array_equal(add(shape=(2, 3), initializer=jnp.asarray(array)), array)

    def twos(shape, dtype=None):
        return 2 * jnp.ones(shape, dtype)

    assert initializers.get(twos) is twos
    assert isinstance(initializers.get(initializers.HeNormal), initializers.HeNormal)
    layer = cornu.layers.Dense(3, bias_initializer=twos)
    layer.build((None, 2))
    assert layer.bias.numpy().tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda k: k.VarianceScaling(scale=0.0), "`scale` must be positive float.*scale=0.0"),
        (lambda k: k.VarianceScaling(mode="fan"), "Invalid `mode` argument: fan. Please use one"),
        (lambda k: k.VarianceScaling(distribution="cauchy"), "Invalid `distribution` argument: ca"),
        (lambda k: k.HeNormal(seed="x"), "`seed` argument should be an instance.*seed=x"),
        (lambda k: k.RandomNormal(seed=1.5), "`seed` argument should be an instance.*seed=1.5"),
        (lambda k: k.Identity()((2, 3, 4)), "only be used for 2D matrices.*of rank 3"),
        (lambda k: k.Orthogonal()((4,)), r"at least two-dimensional.*\(4,\) of rank 1"),
        (lambda k: k.STFT(side="left"), "side.*'real' or 'imag'.*left"),
        (lambda k: k.STFT(scaling="unit"), "None.*'density' or 'spectrum'.*unit"),
        (lambda k: k.STFT(window="hannn")((8, 1, 5)), "hannn"),
        (lambda k: k.STFT(window=np.ones(4))((8, 1, 5)), r"window.*\(4,\)"),
        (lambda k: k.Constant("a")((2,)), "could not convert string to float"),
        (lambda k: k.Constant([1.0, 2.0])((2, 3)), "Incompatible"),
        (lambda k: k.Zeros()((2,), dtype="floot"), "Invalid dtype: '?floot"),
        (lambda k: k.RandomUniform()((2,), dtype="int32"), "must be a float dtype, got int32"),
        (lambda k: k.get("glorot_unifrm"), "Unknown initializer: 'glorot_unifrm'. Did you mean '"),
        (lambda k: k.get([1, 2]), "Could not interpret initializer identifier"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make(initializers)
    with pytest.raises(ValueError):
        make(keras.initializers)


def test_base_class():
    with pytest.raises(NotImplementedError, match="Initializer does not define `__call__`"):
        initializers.Initializer()((2,))


# ---- the bits

WORDS = st.integers(0, 2**32 - 1)
SIZES = [(), (0,), (65,), (2, 3, 4)]
FLOATS = st.floats(-1e6, 1e6, width=32)
TINY = st.floats(-(2.0**-120), 2.0**-120, width=32)


@hypothesis.given(WORDS, WORDS, st.sampled_from(SIZES), FLOATS | TINY, FLOATS | TINY)
@hypothesis.example(0, 0, (65,), 0.0, 1.0)
@hypothesis.example(2**32 - 1, 2**32 - 1, (65,), -1.0, 1.0)
@hypothesis.example(1, 0, (65,), 1.0, -1.0)
@hypothesis.example(0, 0, (65,), 0.0, 6.874195733607179e-40)  # XLA flushes subnormal numbers
@hypothesis.example(
    0, 0, (), 1.9196436988491613e-37, 3.0
)  # halfway between two floats, but for so little
def test_uniform_values_are_those_of_jax(first, second, shape, low, high):
    key = np.array([first, second], np.uint32)
    expected = jax.random.uniform(key, shape, minval=low, maxval=high)
    assert_same(threefry.uniform(key, shape, low, high), expected)


@hypothesis.given(WORDS, WORDS, st.integers(0, 300), st.integers(0, 300))
def test_a_shorter_stream_is_the_beginning_of_a_longer_one(first, second, m, n):
    key = np.array([first, second], np.uint32)
    short, long = (threefry.uniform(key, (count,), 0.0, 1.0) for count in sorted((m, n)))
    np.testing.assert_array_equal(long[: len(short)], short)


def test_many_numbers_are_drawn_by_a_compiled_program(monkeypatch):
    key, shape = np.array([7, 8], np.uint32), (threefry._CHUNK + 5, 2)
    limits = [(-0.1, 0.3), (0.0, 6.874195733607179e-40), (-1.0, 1e5)]
    plain = [threefry.uniform(key, shape, *low_and_high) for low_and_high in limits]
    monkeypatch.setattr(threefry, "_num_drawn", threefry._WORTH_COMPILING)
    for numbers, (low, high) in zip(plain, limits, strict=True):
        assert_same(numbers, jax.random.uniform(key, shape, minval=low, maxval=high))
        assert_same(threefry.uniform(key, shape, low, high), numbers)


@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (threefry._SMALL_CHUNK + 1,), (300, 301)])
@pytest.mark.parametrize("mean, stddev", [(0.0, 0.05), (0.3, 2.0), (0.0, 1e-38), (-1.0, 0.0)])
def test_normal_values_are_those_of_jax_without_a_program_for_each_shape(shape, mean, stddev):
    key = np.array([7, 2**31 + 5], np.uint32)
    expected = jax.random.normal(key, shape) * stddev + mean
    assert_same(threefry.normal(key, shape, mean, stddev), expected)
    expected = jax.random.truncated_normal(key, -2.0, 2.0, shape) * stddev + mean
    assert_same(threefry.truncated_normal(key, shape, mean, stddev), expected)
    assert threefry._normal_quantiles._cache_size() <= 2
