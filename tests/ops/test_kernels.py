"""The native kernels beside their `lax` forms: results and derivatives of drawn windows."""

import concurrent.futures
import functools
import math
import os
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import cornu
from cornu import layers
from cornu.core import kernels
from cornu.core.kernels import native
from cornu.ops import adam, convolution, fusion, pooling, random_bits, rows
from cornu.ops.windows import Geometry

needs_kernels = pytest.mark.skipif(
    not native().in_use, reason=f"the native kernels are not in use: {native().reason}"
)


@st.composite
def geometries(draw, pools=False):
    rank = draw(st.integers(1 if pools else 0, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    window, strides = each(1, 3 if rank == 3 or pools else 5), each(1, 3)
    dilation = (1,) * rank if pools else each(1, 2)
    reach = [(w - 1) * d for w, d in zip(window, dilation, strict=True)]
    padding = tuple(
        (draw(st.integers(0, most)), draw(st.integers(0, most)))
        for most in (r // 2 if pools else r for r in reach)
    )
    size = tuple(
        draw(st.integers(max(1, r + 1 - a - b), r + 7))
        for r, (a, b) in zip(reach, padding, strict=True)
    )
    # Without spatial axes, it is a dense layer.
    groups = 1 if pools or not rank else draw(st.sampled_from([1, 1, 2, 3]))
    return Geometry(size, window, strides, padding, dilation, groups)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def close(mine, other, terms=1):
    assert mine.shape == other.shape and mine.dtype == other.dtype
    np.testing.assert_allclose(mine, other, rtol=1e-5, atol=2e-6 * (5 + math.sqrt(terms)))


CONVOLUTIONS = {
    "convolution": (convolution.convolution, convolution._convolution),
    "input_gradient": (convolution.input_gradient, convolution._input_gradient),
    "weight_gradient": (convolution.weight_gradient, convolution._weight_gradient),
}


@needs_kernels
@hypothesis.settings(max_examples=60)
@hypothesis.given(geometries(), st.integers(1, 4), st.integers(1, 6), st.integers(1, 40))
def test_convolutions_are_those_of_lax(geometry, batch, channels_in, channels_out):
    shapes = {
        "image": (batch, *geometry.size, channels_in * geometry.groups),
        "kernel": (*geometry.window, channels_in, channels_out * geometry.groups),
        "gradient": (batch, *geometry.output, channels_out * geometry.groups),
    }
    image, kernel, gradient = (noise(*s, seed=n) for n, s in enumerate(shapes.values()))
    operands = {
        "convolution": (image, kernel),
        "input_gradient": (gradient, kernel),
        "weight_gradient": (image, gradient),
    }
    terms = math.prod(geometry.window) * channels_in + batch * math.prod(geometry.output)
    for name, (primitive, lax_form) in CONVOLUTIONS.items():
        mine = primitive.bind(*operands[name], geometry=geometry)
        close(mine, lax_form(*operands[name], geometry=geometry), terms)


@needs_kernels
@hypothesis.settings(max_examples=12)
@hypothesis.given(geometries(pools=True), st.integers(1, 3), st.integers(1, 35), st.booleans())
def test_pools_are_those_of_lax(geometry, batch, channels, has_ties):
    x = noise(batch, *geometry.size, channels)
    if has_ties:
        x = np.round(x)
    # No layer's window lies in the padding alone.
    hypothesis.assume(np.all(pooling._sum(np.ones_like(x), geometry=geometry) >= 1))
    largest, argmax = pooling.largest.bind(x, geometry=geometry)
    expected, expected_argmax = pooling._largest(x, geometry=geometry)
    np.testing.assert_array_equal(largest, expected)
    np.testing.assert_array_equal(argmax, expected_argmax)
    gradient = noise(*largest.shape, seed=1)
    close(
        pooling.unpool.bind(gradient, argmax, geometry=geometry),
        pooling._unpool(gradient, argmax, geometry=geometry),
    )
    close(pooling.window_sum.bind(x, geometry=geometry), pooling._sum(x, geometry=geometry))
    close(
        pooling.spread.bind(gradient, geometry=geometry),
        pooling._spread(gradient, geometry=geometry),
    )


def test_a_dense_layer_of_few_units_without_kernels():
    """What XLA computes then turns the small matrix round, and not the inputs."""
    image, gradient = noise(6, 70), noise(6, 10, seed=1)
    run = jax.jit(functools.partial(convolution._weight_gradient, geometry=convolution.NOWHERE))
    close(run(image, gradient), jnp.asarray(image.T @ gradient), 6)
    assert "optimization_barrier" in run.lower(image, gradient).as_text()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
def test_rows_of_an_array(dtype):
    source, wanted = noise(9, 2, 5).astype(dtype), np.array([8, 0, 3, 3], "int32")
    found = jax.jit(rows.take_rows)(source, wanted)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, source[wanted])


@needs_kernels
@pytest.mark.parametrize("length", [5, 50_000])
def test_an_exception_in_a_kernel_is_an_error_of_the_call(length):
    """In the calling thread, and in whichever of several threads finds it."""
    wanted = np.array([*range(9)] * 7 + [9], "int32")
    with pytest.raises(Exception, match="cornu: there is no row 9"):
        np.asarray(jax.jit(rows.take_rows)(noise(9, length), wanted))


@needs_kernels
def test_arrays_that_do_not_fit_their_geometry():
    result = jax.ShapeDtypeStruct((2, *GEOMETRY.output, 6), "float32")
    call = jax.ffi.ffi_call("cornu_convolution", result)
    image, kernel = OPERANDS["convolution"]
    with pytest.raises(Exception, match=r"cornu: operand 0 has \d+ elements, expected \d+"):
        np.asarray(
            jax.jit(functools.partial(call, **GEOMETRY.attributes(2, 4, 6)))(image[:1], kernel)
        )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_of_adam(dtype):
    how = {"first": 0.1, "second": 0.001, "epsilon": 1e-7}
    value, momentum, gradient = (jnp.asarray(noise(5, 7, seed=n), dtype) for n in range(3))
    velocity, rate = jnp.square(momentum) + 1, jnp.asarray(0.01, dtype)

    def score(step, *operands):
        return sum(jnp.sum(jnp.sin(part)) for part in step(*operands, **how))

    operands = value, momentum, velocity, gradient, rate
    for derive in (
        lambda f: f,
        lambda f: jax.grad(f, (0, 1, 2, 3, 4)),
        lambda f: jax.vmap(jax.grad(f, 3), (0, None, 0, 0, None)),
    ):
        ours, theirs = (
            jax.jit(derive(functools.partial(score, f)))(*operands) for f in (adam.adam, adam._adam)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, theirs)
    for mine, other in zip(
        jax.jit(functools.partial(adam.adam, **how))(*operands),
        adam._adam(*operands, **how),
        strict=True,
    ):
        close(mine, other)


GEOMETRY = Geometry((6, 5), (3, 2), (2, 1), ((1, 0), (0, 1)), (1, 2), 2)


def score(bind, *operands):
    return jnp.sum(jnp.sin(bind(*operands, geometry=GEOMETRY)))


OPERANDS = {
    "convolution": (noise(2, 6, 5, 4), noise(3, 2, 2, 6)),
    "input_gradient": (noise(2, *GEOMETRY.output, 6), noise(3, 2, 2, 6)),
    "weight_gradient": (noise(2, 6, 5, 4), noise(2, *GEOMETRY.output, 6)),
}


@needs_kernels
@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_summed_in_single(name, dtype):
    primitive, lax_form = CONVOLUTIONS[name]
    operands = [jnp.asarray(o).astype(dtype) for o in OPERANDS[name]]
    mine = primitive.bind(*operands, geometry=GEOMETRY)
    assert mine.dtype == dtype
    single = lax_form(*(o.astype("float32") for o in operands), geometry=GEOMETRY)
    # Rounded once; where the sums' order decides between two neighbours, to the other one.
    ulp = jnp.finfo(dtype).eps
    np.testing.assert_allclose(mine.astype("float32"), single, rtol=0.51 * float(ulp), atol=1e-6)


@pytest.mark.skipif(
    not native().multiplies_bfloat16, reason="the processor does not multiply bfloat16"
)
@pytest.mark.parametrize("channels", [4, 5])
def test_bfloat16_is_multiplied_in_pairs(channels):
    """Where the channels that a sum goes over are an even number."""
    geometry = Geometry((6, 5), (3, 2), (1, 1), ((1, 0), (0, 1)), (1, 1))
    shapes = {
        "convolution": ((2, 6, 5, channels), (3, 2, channels, 3)),
        "input_gradient": ((2, *geometry.output, channels), (3, 2, 3, channels)),
    }
    for name, given in shapes.items():
        primitive, lax_form = CONVOLUTIONS[name]
        operands = [noise(*shape).astype("bfloat16") for shape in given]
        run = jax.jit(functools.partial(primitive.bind, geometry=geometry))
        assert ("of_pairs" in run.lower(*operands).as_text()) == (channels % 2 == 0)
        single = lax_form(*(o.astype("float32") for o in operands), geometry=geometry)
        np.testing.assert_allclose(
            run(*operands).astype("float32"), single, rtol=0.51 * 2**-7, atol=1e-6
        )


def test_two_models_in_two_threads():
    """Each gets the weights that it gets alone."""

    def make(seed):
        cornu.utils.set_random_seed(seed)
        network = cornu.Sequential(
            [
                cornu.Input((16, 16, 2)),
                layers.Conv2D(16 + seed, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(16, 3, padding="same", use_bias=False),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.Flatten(),
                layers.Dense(3),
            ]
        )
        network.compile("sgd", "mse")
        return network

    def fit(network):
        x = noise(64, 16, 16, 2)
        network.fit(x, x[:, 0, :3, 0], epochs=3, batch_size=16, shuffle=False, verbose=0)
        return network.get_weights()

    alone = [fit(make(seed)) for seed in (0, 1)]
    networks = [make(seed) for seed in (0, 1)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        together = list(pool.map(fit, networks))
    for one, other in zip(alone, together, strict=True):
        for mine, expected in zip(other, one, strict=True):
            np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_derivatives_of_any_order(name):
    operands = OPERANDS[name]
    primitive, lax_form = CONVOLUTIONS[name]
    mine, other = (functools.partial(score, bind) for bind in (primitive.bind, lax_form))
    for derive in (
        lambda f: jax.grad(f, (0, 1)),
        lambda f: jax.jacfwd(f, (0, 1)),
        lambda f: jax.jacfwd(jax.grad(f), 1),
        lambda f: jax.grad(lambda *o: jnp.sum(jnp.cos(jax.grad(f, 1)(*o))), (0, 1)),
    ):
        ours, theirs = (jax.jit(derive(f))(*operands) for f in (mine, other))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), ours, theirs
        )


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (2, 1)])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_vmap(name, axes):
    shapes = {
        "convolution": ((2, 6, 5, 4), (3, 2, 2, 6)),
        "input_gradient": ((2, *GEOMETRY.output, 6), (3, 2, 2, 6)),
        "weight_gradient": ((2, 6, 5, 4), (2, *GEOMETRY.output, 6)),
    }[name]
    operands = [
        noise(*(s if axis is None else (*s[:axis], 3, *s[axis:])))
        for s, axis in zip(shapes, axes, strict=True)
    ]
    forms = CONVOLUTIONS[name]
    mine, other = (
        jax.vmap(functools.partial(f, geometry=GEOMETRY), axes)(*operands)
        for f in (forms[0].bind, forms[1])
    )
    close(mine, other, 60)


def test_not_a_number_and_infinity_pass_as_in_lax():
    geometry = Geometry((5,), (2,), (1,), ((0, 0),), (1,))
    image = np.array([1, np.nan, 2, np.inf, 3], "float32").reshape(1, 5, 1)
    kernel = np.array([1, 0], "float32").reshape(2, 1, 1)
    mine = convolution.convolution.bind(image, kernel, geometry=geometry)
    np.testing.assert_array_equal(mine, convolution._convolution(image, kernel, geometry=geometry))
    assert np.isnan(mine).sum() == 3  # also infinity times zero
    largest, argmax = pooling.largest.bind(image, geometry=geometry)
    expected = pooling._largest(image, geometry=geometry)
    np.testing.assert_array_equal(largest, expected[0])
    np.testing.assert_array_equal(argmax, expected[1])


def model():
    layers = cornu.layers
    return cornu.Sequential(
        [
            cornu.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def test_what_is_exported_holds_no_kernel():
    network, x = model(), noise(2, 8, 8, 1)
    exported = jax.export.export(jax.jit(lambda x: network(x)), platforms=["cpu"])(x)
    assert "custom_call" not in str(exported.mlir_module())
    close(exported.call(x), network(x))


@needs_kernels
def test_the_kernels_are_used():
    network, x = model(), noise(2, 8, 8, 1)
    text = jax.jit(lambda x: network(x)).lower(x).as_text()
    assert "cornu_" in text and "stablehlo.convolution" not in text


NETWORKS = {
    "fused": [layers.Conv2D(3, 3, activation="relu"), layers.MaxPooling2D()],
    "plain": [layers.Conv2D(3, 3, strides=2, padding="same"), layers.AveragePooling2D()],
    "overlapping": [layers.Conv2D(4, 3, groups=2, use_bias=False), layers.MaxPooling2D(3, 1)],
    "transposed": [layers.Conv2DTranspose(3, 2, strides=2), layers.ReLU()],
    "depthwise": [layers.DepthwiseConv2D(3, activation="relu")],
    "dropout": [layers.Conv2D(3, 1), layers.Dropout(0.5)],
    "dense": [layers.Flatten(), layers.Dense(3, activation="relu")],
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("natively", [pytest.param(True, marks=needs_kernels), False])
def test_data_parallel(kind, checked, natively, monkeypatch):
    """Inside shard_map, gradients of what all devices have are summed over them, as those of lax are."""
    if not natively:
        for module in (kernels, fusion):
            monkeypatch.setattr(module, "native", lambda: kernels.Native(False, None, "a test"))
    network = cornu.Sequential([cornu.Input((8, 8, 2)), *NETWORKS[kind]])
    weights = [w.value for w in network.trainable_variables]
    # Dropout draws the same decisions on each device, so let each have the same images.
    image = jnp.concatenate([noise(2, 8, 8, 2)] * 2)

    @jax.grad
    def gradient(weights, image):
        others = [v.value for v in network.non_trainable_variables]
        result, _ = network.stateless_call(weights, others, image, training=True)
        return jnp.sum(result**2)

    def in_parts(weights, image):
        found = gradient(weights, image)
        return found if checked else jax.lax.psum(found, "batch")

    batched, whole = PartitionSpec("batch"), PartitionSpec()
    mesh = Mesh(np.array(jax.devices("cpu")[:2]), ("batch",))
    shared = jax.shard_map(
        in_parts, mesh=mesh, in_specs=(whole, batched), out_specs=whole, check_vma=checked
    )
    alone = jax.jit(gradient)(weights, image[:2])
    for found, expected in zip(jax.jit(shared)(weights, image), alone, strict=True):
        close(found, 2 * expected, 10_000)


@pytest.mark.parametrize("kind", ["fused", "dense"])
def test_arrays_that_are_spread_over_devices_are_not_gathered(kind):
    network = cornu.Sequential([cornu.Input((8, 8, 2)), *NETWORKS[kind]])
    mesh = Mesh(np.array(jax.devices("cpu")[:2]), ("batch",))
    batched, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["batch"], []))
    weights = [jax.device_put(w.value, whole) for w in network.trainable_variables]
    image = jax.device_put(noise(4, 8, 8, 2), batched)

    @jax.jit
    def call(weights, image):
        return network.stateless_call(weights, [], image)[0]

    gradient = jax.jit(jax.grad(lambda *operands: jnp.sum(call(*operands) ** 2)))
    for run in (call, gradient):
        assert "all-gather" not in run.lower(weights, image).compile().as_text()
    result = call(weights, image)
    assert result.sharding.is_equivalent_to(batched, result.ndim)
    close(result, network(noise(4, 8, 8, 2)))
    alone = gradient([w.value for w in network.trainable_variables], noise(4, 8, 8, 2))
    for found, expected in zip(gradient(weights, image), alone, strict=True):
        close(found, expected, 10_000)


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


STEP = """
import numpy as np, cornu
from cornu import layers
cornu.utils.set_random_seed(0)
model = cornu.Sequential([cornu.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"),
    layers.MaxPooling2D(), layers.Flatten(), layers.Dense(3)])
model.compile("sgd", "mse")
x = np.random.default_rng(0).standard_normal((64, 8, 8, 1))
history = model.fit(x, x[:, 0, :3, 0], epochs=2, verbose=0)
print(cornu.config.native().in_use, cornu.config.native().instruction_set)
print(*history.history["loss"], np.abs(model.get_weights()[0]).sum())
"""


def test_the_same_training_with_and_without_kernels():
    outputs = [run(STEP, CORNU_NATIVE="0").splitlines()]
    assert outputs[0][0] == "False None"
    if native().in_use:
        here = os.environ.get("CORNU_ISA", "")
        outputs.extend(run(STEP, CORNU_ISA=isa).splitlines() for isa in (here, "baseline"))
        assert outputs[1][0] == f"True {native().instruction_set}"
        assert outputs[2][0] == "True baseline"
    for _, numbers in outputs:
        np.testing.assert_allclose(
            np.array(numbers.split(), float), np.array(outputs[0][1].split(), float), rtol=1e-5
        )


def test_a_library_that_cannot_be_loaded(tmp_path):
    (tmp_path / "libcornu_kernels.so").write_bytes(b"no library")
    code = f"""
import cornu, cornu.kernels, numpy as np
cornu.kernels.__path__[:] = [{str(tmp_path)!r}]
print(cornu.config.native())
print(cornu.ops.conv(np.ones((1, 3, 3, 1), "float32"), np.ones((2, 2, 1, 5), "float32")).shape)
"""
    printed = run(code, CORNU_NATIVE="")
    assert "in_use=False" in printed and "could not be used" in printed
    assert "(1, 2, 2, 5)" in printed


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(), (1,), (3, 17), (2, 8192), (100_001,)])
def test_random_decisions_are_those_of_jax(shape, probability):
    key = np.array([math.prod(shape), 2**32 - 7], np.uint32)
    mine = random_bits.bernoulli(key, probability, shape)
    other = jax.random.bernoulli(jax.random.wrap_key_data(key), probability, shape)
    assert mine.dtype == other.dtype and mine.shape == other.shape
    np.testing.assert_array_equal(mine, other)
    keys = np.stack([key, key + 1])
    both = jax.vmap(lambda k: random_bits.bernoulli(k, probability, shape))(keys)
    np.testing.assert_array_equal(both[0], other)


def test_random_decisions_follow_the_configuration_of_jax():
    with jax.default_prng_impl("rbg"):
        key = jax.random.key(0)
        mine, other = (f(key, 0.5, (9,)) for f in (random_bits.bernoulli, jax.random.bernoulli))
        np.testing.assert_array_equal(mine, other)


FAULTS = """
import resource, numpy as np, cornu
from cornu import layers
model = cornu.Sequential([cornu.Input((64, 64, 1)), layers.Conv2D(32, 3, activation="elu"),
    layers.GlobalAveragePooling2D(), layers.Dense(1)])
model.compile("sgd", "mse")
x = np.zeros((64, 64, 64, 1), "float32")
for step in range(24):
    if step == 8:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model.train_on_batch(x, x[:, 0, 0])
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_a_step_uses_the_memory_of_the_last():
    kept, given_back = (int(run(FAULTS, CORNU_KEEP_MEMORY=value)) for value in ("1", ""))
    if given_back < 1000:
        pytest.skip("this system's C library keeps the memory by itself")
    assert kept < given_back / 4
