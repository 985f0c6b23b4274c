"""Convolution, bias, relu and max-pooling in one operation: found wherever they are, never wrong."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.core.kernels import native
from cornu.ops import fusion, normalization, pooling
from cornu.ops.curves import biased_softmax, biased_tanh
from cornu.ops.windows import Geometry

needs_kernels = pytest.mark.skipif(
    not native().in_use, reason=f"the native kernels are not in use: {native().reason}"
)
FUSED = fusion.convolution_relu_pool.name


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


class Subclassed(cornu.Model):
    def __init__(self):
        super().__init__()
        self.convolution = layers.Conv2D(6, 3)
        self.top = layers.Dense(3)

    def call(self, x):
        x = cornu.ops.relu(self.convolution(x))
        return self.top(layers.Flatten()(cornu.ops.max_pool(x, 2)))


def functional(*pools, extra=False, **arguments):
    x = cornu.Input((9, 8, 2))
    between = y = layers.Conv2D(6, 3, activation="relu", **arguments)(x)
    for pool in pools:
        y = pool(y)
    y = layers.Dense(3)(layers.Flatten()(y))
    return cornu.Model(x, [y, between] if extra else y)


def sequential(*stack):
    return cornu.Sequential([cornu.Input((9, 8, 2)), *stack, layers.Flatten(), layers.Dense(3)])


def program_of(model, training=True):
    """The model's traced program, as a list of equations."""
    values = [[v.value for v in vs] for vs in model._state_variables()]

    def call(trainable, others, x):
        return model.stateless_call(trainable, others, x, training=training)[0]

    return jax.jit(call).trace(*values, noise(2, 9, 8, 2)).jaxpr.eqns


def pooled_by(model):
    """The pool of each fused operation in the model's traced program."""
    return [e.params["pool"] for e in program_of(model) if e.primitive.name == FUSED]


def conv(**arguments):
    return layers.Conv2D(6, 3, activation="relu", **arguments)


CASES = {
    "sequential": (lambda: sequential(conv(), layers.MaxPooling2D()), [(2, 2)]),
    "functional": (lambda: functional(layers.MaxPooling2D((3, 2))), [(3, 2)]),
    "subclassed": (Subclassed, [(2, 2)]),
    "activation as a layer": (
        lambda: sequential(layers.Conv2D(6, 3), layers.ReLU(), layers.MaxPooling2D()),
        [(2, 2)],
    ),
    "two": (
        lambda: sequential(conv(strides=2, padding="same"), conv(), layers.MaxPooling2D()),
        [(1, 1), (2, 2)],
    ),
    "without pool": (lambda: sequential(conv()), [(1, 1)]),
    "dense": (lambda: sequential(layers.Flatten(), layers.Dense(40, activation="relu")), [()]),
    "dense of images": (lambda: sequential(layers.Dense(40, activation="relu")), []),
    "pool that overlaps": (lambda: sequential(conv(), layers.MaxPooling2D(3, 2)), [(1, 1)]),
    "pool with padding": (
        lambda: sequential(conv(), layers.MaxPooling2D(2, padding="same")),
        [(1, 1)],
    ),
    "intermediate output": (lambda: functional(layers.MaxPooling2D(), extra=True), [(1, 1)]),
    "activity regularizer": (
        lambda: sequential(conv(activity_regularizer="l2"), layers.MaxPooling2D()),
        [(1, 1)],
    ),
    "no bias": (lambda: sequential(conv(use_bias=False), layers.MaxPooling2D()), []),
    "other activation": (lambda: sequential(layers.Conv2D(6, 3, activation="elu")), []),
    "relu of another slope": (
        lambda: sequential(layers.Conv2D(6, 3), layers.LeakyReLU(), layers.MaxPooling2D()),
        [],
    ),
    "one pixel": (lambda: sequential(conv(), layers.MaxPooling2D((7, 6))), [(7, 6)]),
    "channels first": (
        lambda: sequential(layers.Permute((3, 1, 2)), conv(data_format="channels_first")),
        [],
    ),
}


def step(model, x, y, training=True):
    values = [[v.value for v in vs] for vs in model._state_variables()]

    def loss(trainable, others, x):
        outputs, _, losses = model.stateless_call(
            trainable, others, x, training=training, return_losses=True
        )
        first = jax.tree.leaves(outputs)[0]
        return jnp.mean((first - y) ** 2) + sum(losses)

    return jax.jit(jax.value_and_grad(loss, (0, 2)))(*values, x)


@needs_kernels
@pytest.mark.parametrize("case", CASES)
def test_the_same_values(case):
    make, pools = CASES[case]
    model = make()
    x, y = noise(5, 9, 8, 2), noise(5, 3, seed=1)
    model(x)
    assert pooled_by(model) == pools
    fused = step(model, x, y)
    model.run_eagerly = True
    assert pooled_by(model) == []
    plain = step(model, x, y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), fused, plain)


CURVES = {"tanh": biased_tanh, "softmax": biased_softmax}
# Whether a bias and the activation after it become one.
BENT = {
    "activation": (lambda name: sequential(layers.Conv2D(6, 3, activation=name)), 1),
    "layer": (lambda name: sequential(layers.Conv2D(6, 3), layers.Activation(name)), 1),
    "dense": (lambda name: sequential(layers.Flatten(), layers.Dense(40, activation=name)), 1),
    "depthwise": (lambda name: sequential(layers.DepthwiseConv2D(3, activation=name)), 1),
    "without bias": (lambda name: sequential(conv_of(name, use_bias=False)), 0),
    "two inputs": (lambda name: sum_of_two(name), 0),
    "read twice": (lambda name: read_twice(name), 0),
}


def conv_of(activation, **arguments):
    return layers.Conv2D(6, 3, activation=activation, **arguments)


def sum_of_two(activation):
    x = cornu.Input((9, 8, 2))
    both = layers.Add()([layers.Conv2D(6, 3, use_bias=False)(x) for _ in range(2)])
    top = layers.Flatten()(layers.Activation(activation)(both))
    return cornu.Model(x, layers.Dense(3)(top))


def read_twice(activation):
    x = cornu.Input((9, 8, 2))
    linear = layers.Conv2D(6, 3)(x)
    both = layers.Add()([layers.Activation(activation)(linear), linear])
    return cornu.Model(x, layers.Dense(3)(layers.Flatten()(both)))


@needs_kernels
@pytest.mark.parametrize("activation", CURVES)
@pytest.mark.parametrize("kind", BENT)
def test_a_curve_after_a_bias(kind, activation):
    make, expected = BENT[kind]
    model, x, y = make(activation), noise(5, 9, 8, 2), noise(5, 3, seed=1)
    model(x)
    names = [e.primitive.name for e in program_of(model)]
    assert names.count(CURVES[activation].name) == expected
    fused = step(model, x, y)
    model.run_eagerly = True
    plain = step(model, x, y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), fused, plain)


def normalized(*after, **arguments):
    return lambda: sequential(layers.Conv2D(6, 3, **arguments), layers.BatchNormalization(), *after)


# What takes part of normalization: in training, and in inference.
NORMALIZED = {
    "relu and pool": (
        normalized(layers.ReLU(), layers.MaxPooling2D()),
        [("affine_relu_pool", (2, 2))],
        [("scaled_convolution", (2, 2))],
    ),
    "relu": (
        normalized(layers.ReLU(), use_bias=False),
        [("affine_relu_pool", (1, 1))],
        [("scaled_convolution", (1, 1))],
    ),
    "alone": (normalized(use_bias=False), [("affine", None)], [("scaled_convolution", None)]),
    "after relu": (
        lambda: sequential(conv(), layers.BatchNormalization(), layers.MaxPooling2D()),
        [("convolution_relu_pool", (1, 1)), ("affine", None)],
        [("convolution_relu_pool", (1, 1)), ("affine", None)],
    ),
    "relu and a pool that overlaps": (
        normalized(layers.ReLU(), layers.MaxPooling2D(3, 2)),
        [("affine_relu_pool", (1, 1))],
        [("scaled_convolution", (1, 1))],
    ),
    "another axis": (
        lambda: sequential(layers.BatchNormalization(axis=1), layers.ReLU()),
        [("affine", None)],
        [("affine", None)],
    ),
    "frozen": (
        lambda: sequential(conv(), layers.BatchNormalization(trainable=False), layers.ReLU()),
        [("convolution_relu_pool", (1, 1)), ("affine_relu_pool", (1, 1))],
        [("convolution_relu_pool", (1, 1)), ("affine_relu_pool", (1, 1))],
    ),
}


@needs_kernels
@pytest.mark.parametrize("case", NORMALIZED)
@pytest.mark.parametrize("training", [True, False])
def test_normalization(case, training):
    make, *expected = NORMALIZED[case]
    model, random = make(), np.random.default_rng(0)
    x, y = noise(5, 9, 8, 2), noise(5, 3, seed=1)
    for weight in model.weights:
        weight.assign(random.uniform(0.3, 1.5, weight.shape))
    found = []
    for equation in program_of(model, training):
        name, how = equation.primitive.name.removeprefix("cornu_"), equation.params
        if name in ("affine", "affine_relu_pool", "scaled_convolution", "convolution_relu_pool"):
            geometry = how.get("geometry")
            window = geometry.window if name == "affine_relu_pool" else how.get("pool")
            found.append((name, window))
    assert found == expected[0 if training else 1]
    fused = step(model, x, y, training)
    model.run_eagerly = True
    plain = step(model, x, y, training)
    kernel = 1.0
    for mine, other in zip(jax.tree.leaves(fused), jax.tree.leaves(plain), strict=True):
        scale = np.abs(other).max()
        if np.ndim(other) == 4:
            kernel = scale
        if scale < 1e-4:
            # A bias before normalization: its gradient is zero, and what is left is rounding.
            assert other.ndim == 1 and training
            scale = kernel
        np.testing.assert_allclose(mine / scale, other / scale, rtol=0, atol=1e-5)


@needs_kernels
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype):
    policy = {"dtype": f"mixed_{dtype}"}
    model = cornu.Sequential(
        [cornu.Input((9, 8, 2)), conv(**policy), layers.MaxPooling2D(**policy), layers.Flatten()]
    )
    assert pooled_by(model) == [(2, 2)]
    x = jnp.asarray(noise(5, 9, 8, 2)).astype(dtype).astype("float32")
    y = noise(5, 54, seed=1)
    fused = step(model, x, y)
    model.run_eagerly = True
    plain = step(model, x, y)
    for mine, other in zip(jax.tree.leaves(fused), jax.tree.leaves(plain), strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(
            mine / scale, other / scale, atol=8 * float(jnp.finfo(dtype).eps)
        )


@needs_kernels
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_number_of_axes(rank):
    stack = [getattr(layers, f"Conv{rank}D")(5, 3, padding="same", activation="relu")]
    stack += [getattr(layers, f"MaxPooling{rank}D")(2), layers.Flatten(), layers.Dense(3)]
    model = cornu.Sequential([cornu.Input((6,) * rank + (2,)), *stack])
    x, y = noise(3, *(6,) * rank, 2), noise(3, 3, seed=1)
    fused = step(model, x, y)
    model.run_eagerly = True
    plain = step(model, x, y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), fused, plain)


HOW = {
    "geometry": Geometry((6, 7), (3, 2), (1, 1), ((1, 0), (0, 0)), (1, 1)),
    "pool": (2, 3),
}


def whole(bind, image, kernel, bias):
    return jnp.sum(jnp.sin(bind(image, kernel, bias, **HOW)[0]))


def test_derivatives_of_any_order():
    operands = noise(2, 6, 7, 3), noise(3, 2, 3, 20), noise(20)
    mine, other = (
        functools.partial(whole, f) for f in (fusion.convolution_relu_pool.bind, fusion._whole)
    )
    for derive in (
        lambda f: jax.grad(f, (0, 1, 2)),
        lambda f: jax.jacfwd(f, (0, 2)),
        lambda f: jax.jacfwd(jax.grad(f, 1), 0),
        lambda f: jax.grad(lambda *o: jnp.sum(jnp.cos(jax.grad(f, 1)(*o))), (0, 1, 2)),
    ):
        ours, theirs = (jax.jit(derive(f))(*operands) for f in (mine, other))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), ours, theirs
        )


def _relu_pool(x, window):
    x = cornu.activations.relu(x)
    return pooling.largest.bind(x, geometry=window)[0]


WINDOW = Geometry((6, 4), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
ONE = WINDOW._replace(window=(1, 1), strides=(1, 1))
# The same twice: by primitives, and by operations of jax.numpy alone.
OPERATIONS = {
    "softmax": (
        lambda x, m, f, o: jnp.sum(jnp.sin(biased_softmax.bind(x, o))),
        lambda x, m, f, o: jnp.sum(jnp.sin(jax.nn.softmax(x + o))),
    ),
    "tanh": (
        lambda x, m, f, o: jnp.sum(jnp.sin(biased_tanh.bind(x, o))),
        lambda x, m, f, o: jnp.sum(jnp.sin(jnp.tanh(x + o))),
    ),
    "moments": (
        lambda x, m, f, o: sum(jnp.sum(jnp.sin(v)) for v in normalization.moments(x)),
        lambda x, m, f, o: (
            jnp.sum(jnp.sin(jnp.mean(x, (0, 1, 2)))) + jnp.sum(jnp.sin(jnp.var(x, (0, 1, 2))))
        ),
    ),
    "affine": (
        lambda *of: jnp.sum(jnp.sin(normalization.normalize(*of))),
        lambda x, m, f, o: jnp.sum(jnp.sin((x - m) * f + o)),
    ),
    "pooled": (
        lambda *of: jnp.sum(jnp.sin(fusion.affine_relu_pool.bind(*of, geometry=WINDOW)[0])),
        lambda x, m, f, o: jnp.sum(jnp.sin(_relu_pool((x - m) * f + o, WINDOW))),
    ),
    "only relu": (
        lambda *of: jnp.sum(jnp.sin(fusion.affine_relu_pool.bind(*of, geometry=ONE)[0])),
        lambda x, m, f, o: jnp.sum(jnp.sin(jax.nn.relu((x - m) * f + o))),
    ),
}


@pytest.mark.parametrize("kind", OPERATIONS)
def test_derivatives_of_what_goes_by_channels(kind):
    mine, other = OPERATIONS[kind]
    operands = noise(3, 6, 4, 20), *(noise(20, seed=k) for k in (1, 2, 3))
    for derive in (
        lambda f: f,
        lambda f: jax.grad(f, (0, 1, 2, 3)),
        lambda f: jax.jacfwd(f, (0, 1, 2, 3)),
        lambda f: jax.jacfwd(jax.grad(f, (0, 2)), (1, 3)),
        lambda f: jax.grad(lambda *o: jnp.sum(jnp.cos(jax.grad(f, 2)(*o))), (0, 1, 2, 3)),
        lambda f: jax.grad(lambda *o: jnp.sum(jnp.cos(jax.grad(f, 0)(*o))), (0, 1, 2, 3)),
    ):
        ours, theirs = (jax.jit(derive(f))(*operands) for f in (mine, other))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), ours, theirs
        )


def test_vmap_of_what_goes_by_channels():
    operands = noise(3, 5, 6, 4, 20), noise(20), noise(5, 20), noise(20, seed=1)
    for mine, other in OPERATIONS.values():
        ours, theirs = (
            jax.jit(jax.vmap(jax.grad(f, (0, 1, 2, 3)), (1, None, 0, None)))(*operands)
            for f in (mine, other)
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs
        )


@pytest.mark.parametrize("axes", [(0, None, None), (0, 0, 0), (None, 1, None)])
def test_vmap_of_gradients(axes):
    shapes = (2, 6, 7, 3), (3, 2, 3, 20), (20,)
    operands = [
        noise(*(s if a is None else (*s[:a], 4, *s[a:]))) for s, a in zip(shapes, axes, strict=True)
    ]
    ours, theirs = (
        jax.jit(jax.vmap(jax.grad(functools.partial(whole, f), (0, 1, 2)), axes))(*operands)
        for f in (fusion.convolution_relu_pool.bind, fusion._whole)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs)


def test_relu_is_that_of_jax():
    x = np.array([-1, -0.0, 0, 2, np.nan, np.inf, -np.inf], "float32")
    np.testing.assert_array_equal(cornu.activations.relu(x), jax.nn.relu(x))
    for slope in (jax.grad, lambda f: jax.jacfwd(f)):
        mine, other = (jax.vmap(slope(f))(x) for f in (cornu.activations.relu, jax.nn.relu))
        np.testing.assert_array_equal(mine, other)


def test_masks_stay():
    """What rides along with a tensor does so through a fused program, too."""
    x = cornu.Input((4,), dtype="int32")
    y = layers.Embedding(5, 3, mask_zero=True)(x)
    model = cornu.Model(x, y)
    values = [[v.value for v in vs] for vs in model._state_variables()]

    def masked(trainable, others, x):
        outputs, _ = model.stateless_call(trainable, others, x)
        return cornu.core.masking.get_mask(outputs)

    mask = jax.jit(masked)(*values, np.array([[1, 0, 2, 0]], "int32"))
    assert mask.tolist() == [[True, False, True, False]]
