import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from oracle import compare_with_keras

import cornu
from cornu import layers
from cornu.core.kernels import native
from cornu.ops import fusion

RANDOM = np.random.RandomState(0)
ROWS = RANDOM.randn(5, 6).astype("float32")
STEPS = RANDOM.randn(5, 4, 6).astype("float32")
IMAGES = RANDOM.randn(2, 3, 4, 6).astype("float32")


@pytest.mark.parametrize(
    "arguments, inputs",
    [
        ({"units": 3}, ROWS),
        ({"units": 3}, STEPS),
        ({"units": 3, "use_bias": False}, IMAGES),
        ({"units": 1, "activation": "tanh"}, ROWS),
        ({"units": 4, "kernel_regularizer": "l2", "activity_regularizer": "l2"}, ROWS),
    ],
    ids=["rows", "steps", "images", "activation", "regularized"],
)
def test_dense(arguments, inputs):
    compare_with_keras("Dense", arguments, inputs)


@pytest.mark.parametrize(
    "rows, inputs, units",
    [(5, 40, 3), (1, 40, 150), (7, 100, 200), (128, 784, 32)],
    ids=["few units", "one row", "large kernel", "dense lesson"],
)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_dense_is_exact(rows, inputs, units, activation):
    """All sums are exact in float32, whatever their order: so output and gradients have Keras' bits."""
    random = np.random.RandomState(0)
    x, kernel, bias, gradient = (
        (random.randint(-8, 9, shape) / 8).astype("float32")
        for shape in ((rows, inputs), (inputs, units), (units,), (rows, units))
    )

    def results(layer):
        layer.build(x.shape)

        @jax.jit
        @fusion.fuse
        def run(kernel, bias, x):
            return layer.stateless_call([kernel, bias], [], x)[0]

        output, pull = jax.vjp(run, kernel, bias, x)
        return str(jax.make_jaxpr(run)(kernel, bias, x)), (output, *pull(jnp.asarray(gradient)))

    program, mine = results(layers.Dense(units, activation=activation))
    _, other = results(keras.layers.Dense(units, activation=activation))
    fuses = activation == "relu" and native().in_use
    assert ("cornu_convolution_relu_pool" in program) == fuses
    for came, expected in zip(mine, other, strict=True):
        np.testing.assert_array_equal(came, expected)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16"])
def test_dense_in_half_precision(dtype):
    # A sum of six products in a format of 8 (or 11) bits.
    compare_with_keras("Dense", {"units": 3, "dtype": dtype}, ROWS, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "equation, output_shape, bias_axes",
    [
        ("abc,cd->abd", (4, 3), "d"),
        ("abc,cde->abde", (4, 3, 2), "de"),
        ("abc,cd->abd", (4, 3), None),
        ("abc,bd->adc", (3, 6), "d"),
        ("...x,xy->...y", 3, "y"),
        ("ab...,bc->ac...", 3, "c"),
        ("abc,cd->abd", (4, 3), "bd"),
    ],
)
def test_einsum_dense(equation, output_shape, bias_axes):
    arguments = {"equation": equation, "output_shape": output_shape, "bias_axes": bias_axes}
    compare_with_keras("EinsumDense", {**arguments, "activation": "relu"}, STEPS)


def test_einsum_dense_takes_sizes_from_the_input():
    given = layers.EinsumDense("abc,cd->abd", (4, 3), bias_axes="bd")
    left_open = layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="bd")
    given(STEPS)
    left_open.build(STEPS.shape)
    left_open.set_weights(given.get_weights())
    np.testing.assert_array_equal(left_open(STEPS), given(STEPS))
    assert left_open.compute_output_shape((None, 4, 6)) == (None, 4, 3)


@pytest.mark.parametrize(
    "equation, output_shape, bias_axes, message",
    [
        ("abc->abd", 3, None, "Invalid einsum equation"),
        ("abc,cd->abx", (4, 3), None, "'x' was specified in the output"),
        ("abc,ce->abd", (4, 3), None, "'d' was specified|'e' did not have a match"),
        ("abc,cd->abd", (7, 3), None, "do not match at shared dimension 'b'"),
        ("abc,cd->abd", (4, 3), "z", "Bias dimension 'z'"),
        ("abcd,de->abce", (4, 3), None, "the input has 3 axes"),
        ("abc,cd->abd", 3, None, "one size for each named axis"),
    ],
)
def test_einsum_dense_bad_input(equation, output_shape, bias_axes, message):
    layer = layers.EinsumDense(equation, output_shape, bias_axes=bias_axes)
    with pytest.raises(ValueError, match=message):
        layer(STEPS)


@pytest.mark.parametrize("units", [0, -3, 2.0, "3", None, True])
def test_units_must_be_a_positive_integer(units):
    with pytest.raises(ValueError, match="invalid value for `units`, expected a positive integer"):
        layers.Dense(units)


def test_numpy_integer_units():
    assert type(layers.Dense(np.int64(3)).get_config()["units"]) is int


def test_wrong_rank():
    with pytest.raises(ValueError, match="expected min_ndim=2, found ndim=1"):
        layers.Dense(3)(np.ones(4))


def test_wrong_last_axis():
    layer = layers.Dense(3, name="head")
    layer(ROWS)
    with pytest.raises(ValueError, match=r"'head' .*expected axis -1 .*value 6.*shape \(2, 7\)"):
        layer(np.ones((2, 7)))


def test_unknown_last_axis():
    with pytest.raises(ValueError, match="last dimension of the inputs to a Dense layer should be"):
        layers.Dense(3)(layers.Input((4, None)))


def test_unknown_activation_names_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown activation: 'rellu'.*'relu'"):
        layers.Dense(3, activation="rellu")


@pytest.mark.parametrize("argument", [{"lora_rank": 0}, {"quantization_config": {"mode": "int8"}}])
def test_wrong_adapters_and_quantization_are_refused(argument):
    for make in (lambda **k: layers.Dense(3, **k), lambda **k: layers.Embedding(3, 2, **k)):
        with pytest.raises(ValueError, match=r"lora_rank|configuration"):
            make(**argument)


def test_integers():
    layer = layers.Dense(2, kernel_initializer="ones")
    assert layer(np.array([[1, 2]])).tolist() == [[3.0, 3.0]]
    assert layers.Dense(2)(layers.Input((3,), dtype="int32")).dtype == "float32"


def test_derivatives():
    """In both modes, twice, and mapped."""
    layer = layers.Dense(10, use_bias=False)
    inputs, change, gradient = (
        jax.random.normal(jax.random.key(n), shape)
        for n, shape in enumerate(((6, 70), (70, 10), (6, 10)))
    )
    layer.build(inputs.shape)
    kernel = layer.kernel.value

    def ours(x, k):
        return layer.stateless_call([k], [], x)[0]

    def plain(x, k):
        return x @ k

    def derivatives(product):
        _, forward = jax.jvp(product, (inputs, kernel), (2 * inputs, change))
        _, of_kernel = jax.jvp(lambda k: product(inputs, k), (kernel,), (change,))

        def loss(x, k):
            return jnp.sum(jnp.sin(product(x, k)) * gradient)

        first = jax.grad(loss, (0, 1))(inputs, kernel)
        alone = jax.grad(loss, 1)(inputs, kernel)

        def slope(x, k):
            return jnp.vdot(jax.grad(loss, 1)(x, k), change)

        mapped = jax.vmap(jax.grad(loss, 1), (None, 0))(inputs, jnp.stack([kernel, change]))
        return forward, of_kernel, first, alone, jax.grad(slope, (0, 1))(inputs, kernel), mapped

    assert "cornu_weight_gradient" in str(jax.make_jaxpr(lambda: derivatives(ours))())
    for came, expected in zip(
        jax.tree.leaves(derivatives(ours)), jax.tree.leaves(derivatives(plain)), strict=True
    ):
        np.testing.assert_allclose(came, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("initializer", ["glorot_uniform", "he_normal", "ones"])
def test_einsum_starts_with_the_weights_of_keras(initializer):
    """Its equation says which axes of the kernel are inputs, and so how large weights are."""
    kernels = []
    for k in (cornu, keras):
        k.utils.set_random_seed(3)
        layer = k.layers.EinsumDense("abcd,cde->abe", (None, 7), kernel_initializer=initializer)
        layer.build((None, 4, 2, 5))
        kernels.append(np.asarray(layer.kernel))
        assert layer.get_config()["kernel_initializer"]["config"].get("input_axes") is None
    np.testing.assert_allclose(*kernels, rtol=1e-6)


@pytest.mark.parametrize("name, kernel", [("Dense", (3, 2)), ("Conv1D", (1, 3, 2))])
def test_an_array_is_an_initial_value(name, kernel):
    arguments = {} if name == "Dense" else {"kernel_size": 1}
    value = np.arange(6, dtype="float32").reshape(kernel)
    layer = getattr(cornu.layers, name)(2, kernel_initializer=value, **arguments)
    layer.build((None, 4, 3))
    np.testing.assert_array_equal(layer.kernel, value)


def test_an_array_may_be_filled_again_after_a_call():
    wide = layers.Dense(2048)
    narrow = layers.Dense(1)
    rows = np.random.RandomState(0).rand(8, 256, 256).astype("float32")
    expected = [np.asarray(narrow(wide(x))) for x in rows]
    buffer, found = np.empty_like(rows[0]), []
    for x in rows:
        buffer[:] = x
        # Computed while the next one is filled in.
        found.append(narrow(wide(buffer)))
    np.testing.assert_array_equal(found, expected)
