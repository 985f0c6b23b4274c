"""Activations, initializers, regularizers, constraints and random numbers, beside Keras'."""

import inspect

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu

random = np.random.RandomState(0)
X = np.concatenate([random.randn(5, 8), 5 * random.randn(2, 8)]).astype("float32")
KINDS = ("activations", "initializers", "regularizers", "constraints", "random")


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_of_keras_is_there(kind):
    theirs = {n for n in dir(getattr(keras, kind)) if not n.startswith("_")}
    assert not {n for n in theirs if not hasattr(getattr(cornu, kind), n)}


def classes(kind):
    module = getattr(keras, kind)
    return sorted(
        n for n in dir(module) if inspect.isclass(getattr(module, n)) and not n.startswith("_")
    )


# ---- activations

ARGUMENTS = {
    "relu": [
        {},
        {"max_value": 1.0},
        {"negative_slope": 0.1},
        {"threshold": 0.5},
        {"negative_slope": 0.1, "max_value": 2.0, "threshold": 0.3},
    ],
    "softmax": [{}, {"axis": 0}],
    "log_softmax": [{}, {"axis": 0}],
    "elu": [{}, {"alpha": 0.5}],
    "celu": [{}, {"alpha": 0.5}],
    "leaky_relu": [{}, {"negative_slope": 0.1}],
    "gelu": [{}, {"approximate": True}],
    "soft_shrink": [{}, {"threshold": 1.0}],
    "hard_shrink": [{}, {"threshold": 1.0}],
    "threshold": [{"threshold": 0.2, "default_value": 3.0}],
    "squareplus": [{}, {"b": 1}],
    "glu": [{}, {"axis": 1}],
}
FUNCTIONS = [
    (name, arguments)
    for name in sorted(set(dir(keras.activations)) - {"get", "serialize", "deserialize"})
    if not name.startswith("_") and callable(getattr(keras.activations, name))
    # Keras' sparsemax does not sum to one; ours has a test of its own.
    for arguments in ([] if name == "sparsemax" else ARGUMENTS.get(name, [{}]))
]


@pytest.mark.parametrize("name, arguments", FUNCTIONS, ids=str)
def test_activations(name, arguments):
    ours, theirs = (getattr(k.activations, name) for k in (cornu, keras))
    for x in (X, X[0] * 1e4, np.zeros((2, 2), "float32")):
        if arguments.get("axis") == 1 and x.ndim < 2:
            continue
        np.testing.assert_allclose(
            ours(x, **arguments), theirs(x, **arguments), rtol=1e-6, atol=1e-6
        )
    slopes = [
        jax.jit(jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x, **arguments)))))(X)
        for f in (ours, theirs)
    ]
    np.testing.assert_allclose(*slopes, rtol=1e-5, atol=1e-6)
    half = jnp.asarray(X, "bfloat16")
    assert ours(half, **arguments).dtype == theirs(half, **arguments).dtype == "bfloat16"
    symbolic = ours(cornu.Input((4,)), **arguments)
    assert symbolic.shape == (None, 2 if name == "glu" else 4)
    if not arguments:
        assert cornu.activations.get(name) is ours
        assert cornu.activations.deserialize(cornu.activations.serialize(ours)) is ours


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    result = np.asarray(cornu.activations.sparsemax(X))
    np.testing.assert_allclose(result.sum(-1), 1, rtol=1e-5)
    assert (result >= 0).all()
    candidates = random.dirichlet(np.full(8, 0.3), 20_000)
    for x, nearest in zip(X, result, strict=True):
        best = np.square(candidates - x).sum(-1).min()
        assert np.square(nearest - x).sum() <= best + 1e-5


# ---- initializers

SEEDED = {
    "RandomNormal": [{}, {"mean": 1.0, "stddev": 2.0}],
    "TruncatedNormal": [{}, {"mean": 1.0, "stddev": 2.0}],
    "RandomUniform": [{}, {"minval": 0.0, "maxval": 3.0}],
    "VarianceScaling": [
        {"scale": scale, "mode": mode, "distribution": distribution}
        for scale, mode in ((1.0, "fan_in"), (2.0, "fan_out"), (0.5, "fan_avg"))
        for distribution in ("truncated_normal", "untruncated_normal", "uniform")
    ],
    "Orthogonal": [{}, {"gain": 2.0}],
    **{
        name: [{}]
        for name in "GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform".split()
    },
}
SHAPES = [(7,), (6, 4), (3, 3, 2, 5), (2, 2, 2, 3, 4), (1, 1)]


@pytest.mark.parametrize(
    "name, arguments", [(n, a) for n, found in SEEDED.items() for a in found], ids=str
)
def test_seeded_initializers(name, arguments):
    ours, theirs = (getattr(k.initializers, name)(seed=7, **arguments) for k in (cornu, keras))
    for shape in SHAPES:
        if name == "Orthogonal" and len(shape) < 2:
            continue
        mine, other = np.asarray(ours(shape)), np.asarray(theirs(shape))
        if name == "Orthogonal":
            np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(mine, other)
        assert mine.dtype == other.dtype == "float32"
        np.testing.assert_array_equal(mine, ours(shape))
    if name != "Orthogonal":
        halves = [np.asarray(i((6, 4), dtype="bfloat16"), "float32") for i in (ours, theirs)]
        np.testing.assert_array_equal(*halves)
    assert ours.get_config() == theirs.get_config()
    copy = type(ours).from_config(ours.get_config())
    np.testing.assert_array_equal(copy((6, 4)), ours((6, 4)))


@pytest.mark.parametrize("name", list(SEEDED))
def test_initializers_without_a_seed_follow_the_global_one(name):
    results = []
    for k in (cornu, keras):
        k.utils.set_random_seed(11)
        first, second = getattr(k.initializers, name)(), getattr(k.initializers, name)()
        results.append([np.asarray(i((6, 4))) for i in (first, second)])
        assert (results[-1][0] != results[-1][1]).any()
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


def test_statistics():
    shape = (200, 300)
    normal = np.asarray(cornu.initializers.HeNormal(seed=1)(shape))
    assert abs(normal.mean()) < 1e-3 and normal.std() == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    uniform = np.asarray(cornu.initializers.GlorotUniform(seed=1)(shape))
    limit = (6 / 500) ** 0.5
    assert uniform.min() >= -limit and 0.99 * limit < uniform.max() <= limit
    truncated = np.asarray(cornu.initializers.TruncatedNormal(stddev=1.0, seed=1)(shape))
    assert np.abs(truncated).max() <= 2 and 0.8 < truncated.std() < 0.95
    matrix = np.asarray(cornu.initializers.Orthogonal(gain=3.0, seed=1)(shape))
    np.testing.assert_allclose(matrix @ matrix.T, 9 * np.eye(200), atol=1e-4)


@pytest.mark.parametrize(
    "name, arguments, shape",
    [
        ("Zeros", {}, (2, 3)),
        ("Ones", {}, (2, 3)),
        ("Constant", {"value": 2.5}, (2, 3)),
        ("Identity", {"gain": 2.0}, (3, 3)),
    ],
)
def test_fixed_initializers(name, arguments, shape):
    ours, theirs = (getattr(k.initializers, name)(**arguments) for k in (cornu, keras))
    for dtype in ("float32", "bfloat16", "int32"):
        mine, other = ours(shape, dtype=dtype), theirs(shape, dtype=dtype)
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)
    copy = type(ours).from_config(ours.get_config())
    np.testing.assert_array_equal(copy(shape), ours(shape))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"side": "imag", "scaling": "spectrum"},
        {"window": "hamming", "periodic": True, "scaling": None},
        {"window": None},
    ],
    ids=str,
)
def test_short_time_fourier_transform(arguments):
    ours, theirs = (k.initializers.STFT(**arguments) for k in (cornu, keras))
    np.testing.assert_allclose(ours((16, 1, 9)), theirs((16, 1, 9)), atol=2e-6)
    assert ours.get_config() == theirs.get_config()


def test_initializers_by_name():
    for name in ("zeros", "glorot_uniform", "GlorotUniform", "he_normal", "orthogonal", "normal"):
        mine, other = cornu.initializers.get(name), keras.initializers.get(name)
        assert type(mine).__name__ == type(other).__name__


# ---- regularizers and constraints


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("L1", {"l1": 0.3}),
        ("L2", {"l2": 0.3}),
        ("L1L2", {"l1": 0.1, "l2": 0.2}),
        ("L1L2", {}),
        ("OrthogonalRegularizer", {"factor": 0.3, "mode": "rows"}),
        ("OrthogonalRegularizer", {"factor": 0.3}),
        ("MaxNorm", {"max_value": 1.0, "axis": 0}),
        ("MaxNorm", {"max_value": 1.0, "axis": [0, 1]}),
        ("NonNeg", {}),
        ("UnitNorm", {"axis": 0}),
        ("UnitNorm", {"axis": 1}),
        ("MinMaxNorm", {"min_value": 0.5, "max_value": 1.0, "rate": 0.7, "axis": 0}),
    ],
    ids=str,
)
def test_regularizers_and_constraints(name, arguments):
    kind = "regularizers" if hasattr(keras.regularizers, name) else "constraints"
    ours, theirs = (getattr(getattr(k, kind), name)(**arguments) for k in (cornu, keras))
    np.testing.assert_allclose(ours(X), theirs(X), rtol=1e-6, atol=1e-6)
    mine, other = ours.get_config(), theirs.get_config()
    assert list(mine) == list(other)
    assert all(mine[key] == pytest.approx(other[key]) for key in mine if key != "mode")
    copy = getattr(cornu, kind).get(getattr(cornu, kind).serialize(ours))
    np.testing.assert_array_equal(copy(X), ours(X))


@pytest.mark.parametrize("name", ["l1", "l2", "l1l2", "L1L2"])
def test_regularizers_by_name(name):
    mine, other = (k.regularizers.get(name) for k in (cornu, keras))
    np.testing.assert_allclose(mine(X), other(X), rtol=1e-6)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: cornu.regularizers.L2(-1.0), "non-negative|must be"),
        (lambda: cornu.regularizers.L1("a"), "number|Invalid value"),
        (lambda: cornu.regularizers.OrthogonalRegularizer(mode="row"), "mode"),
        (lambda: cornu.regularizers.get("l3"), "Unknown regularizer: 'l3'. Did you mean"),
        (lambda: cornu.constraints.get("max_nrm"), "Unknown constraint: 'max_nrm'. Did you mean"),
        (lambda: cornu.activations.get("relu_6"), None),
        (lambda: cornu.activations.get("sofmax"), "Unknown activation: 'sofmax'. Did you mean"),
        (lambda: cornu.initializers.VarianceScaling(mode="fan"), "mode"),
        (lambda: cornu.initializers.VarianceScaling(scale=-1.0), "scale"),
        (lambda: cornu.initializers.Identity()((2, 3, 4)), "2D"),
        (lambda: cornu.initializers.Orthogonal()((4,)), "two-dimensional"),
    ],
)
def test_mistakes(make, message):
    if message is None:
        assert make() is cornu.activations.relu6
        return
    with pytest.raises(ValueError, match=message):
        make()


def test_a_constraint_holds_after_each_step():
    layer = cornu.layers.Dense(3, kernel_constraint="unit_norm", bias_constraint="non_neg")
    model = cornu.Sequential([cornu.Input((8,)), layer])
    model.compile(cornu.optimizers.SGD(0.5), "mse")
    for _ in range(3):
        model.train_on_batch(X, -np.ones((7, 3), "float32"))
        norms = np.linalg.norm(layer.kernel.numpy(), axis=0)
        np.testing.assert_allclose(norms, 1, rtol=1e-4)
        assert (layer.bias.numpy() >= 0).all()


# ---- random numbers


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("normal", {"shape": (3, 4), "mean": 1.0, "stddev": 2.0}),
        ("truncated_normal", {"shape": (3, 4)}),
        ("uniform", {"shape": (3, 4), "minval": -1.0, "maxval": 2.0}),
        ("randint", {"shape": (3, 4), "minval": 2, "maxval": 9}),
        ("categorical", {"logits": X, "num_samples": 5}),
        ("gamma", {"shape": (3, 4), "alpha": 2.0}),
        ("beta", {"shape": (3, 4), "alpha": 2.0, "beta": 1.5}),
        ("binomial", {"shape": (3, 4), "counts": 9.0, "probabilities": 0.3}),
        ("shuffle", {"x": X[0]}),
        ("dropout", {"inputs": X, "rate": 0.4}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_random_numbers(name, arguments):
    ours, theirs = (getattr(k.random, name) for k in (cornu, keras))

    def same(mine, other):
        np.testing.assert_allclose(mine, other, rtol=1e-6 if name == "dropout" else 0)

    same(ours(seed=5, **arguments), theirs(seed=5, **arguments))
    results = []
    for k, function in ((cornu, ours), (keras, theirs)):
        generator = k.random.SeedGenerator(9)
        results.append([np.asarray(function(seed=generator, **arguments)) for _ in range(3)])
        assert (results[-1][0] != results[-1][1]).any()
    same(*results)


def test_shuffled_rows_stay_whole():
    """Keras on JAX shuffles each column by itself."""
    rows = np.asarray(cornu.random.shuffle(X, seed=3))
    assert sorted(map(tuple, rows)) == sorted(map(tuple, X)) and (rows != X).any()
    columns = np.asarray(cornu.random.shuffle(X, axis=1, seed=3))
    assert sorted(map(tuple, columns.T)) == sorted(map(tuple, X.T))
