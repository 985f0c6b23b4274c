"""Programs that JAX spreads over devices by their batch: the same numbers, by the same kernels."""

import math
import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import cornu
from cornu import layers
from cornu.core.kernels import native
from cornu.core.variable import functional

DEVICES = np.array(jax.devices("cpu")[:2])
pytestmark = pytest.mark.skipif(len(DEVICES) < 2, reason="there is one device")
MESH = Mesh(DEVICES, ("batch",))
WHOLE, BATCHED = NamedSharding(MESH, PartitionSpec()), NamedSharding(MESH, PartitionSpec("batch"))


def of_images():
    inputs = cornu.Input((10, 10, 2))
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(8, 2)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(2, activation="tanh")(x)
    x = layers.Flatten()(layers.Dropout(0.3)(x))
    return cornu.Model(inputs, layers.Dense(4, activation="softmax")(x)), (10, 10, 2)


def of_sequences():
    inputs = cornu.Input((6, 8))
    x = layers.MultiHeadAttention(2, 4)(inputs, inputs, use_causal_mask=True)
    x = layers.LSTM(5)(x)
    return cornu.Model(inputs, layers.Dense(4, activation="softmax")(x)), (6, 8)


@pytest.mark.parametrize("make", [of_images, of_sequences])
def test_a_gradient(make):
    model, shape = make()
    values = [v.value for v in model.trainable_variables]
    state = [v.value for v in model.non_trainable_variables]
    x = np.random.default_rng(0).standard_normal((6, *shape), np.float32)
    run = functional(
        lambda x: model(x, training=True),
        [*model.trainable_variables, *model.non_trainable_variables],
    )

    def loss(values, state, x):
        outputs, after = run([*values, *state], x)
        return jnp.mean(outputs[:, 0] * outputs[:, 1]), after

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def kernels(*operands):
        return Counter(re.findall(r"@(cornu_\w+)", step.lower(*operands).as_text()))

    alone = step(values, state, x)
    operands = (*jax.device_put((values, state), WHOLE), jax.device_put(x, BATCHED))
    together = step(*operands)
    for found, expected in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    if native().in_use:
        # Of batch normalization's moments alone.
        gathered = re.findall(
            r"f32\[([\d,]+)\]\S* all-gather\(", step.lower(*operands).compile().as_text()
        )
        assert all(math.prod(map(int, each.split(","))) <= 64 for each in gathered), gathered
        # All but the random numbers of dropout.
        left = kernels(values, state, x) - kernels(*operands)
        assert set(left) <= {"cornu_bernoulli"} and kernels(*operands)
    # A batch that cannot be shared out, on all of them; and a mesh with an axis that shares something else.
    odd = step(*operands[:2], jax.device_put(x[:5], WHOLE))
    np.testing.assert_allclose(odd[0][0], step(values, state, x[:5])[0][0], rtol=1e-5)
    square = Mesh(DEVICES[:, None], ("model", "batch"))
    spread = jax.device_put((values, state, x), NamedSharding(square, PartitionSpec()))
    np.testing.assert_allclose(step(*spread)[0][0], alone[0][0], rtol=1e-5)


def test_variables_stay_where_they_are(tmp_path):
    model, shape = of_images()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((22, *shape), np.float32), rng.integers(0, 4, 22)
    twin = cornu.models.clone_model(model)
    for variable, other in zip(model.variables, twin.variables, strict=True):
        # The states of random numbers, too.
        other.assign(variable)
        variable.assign(jax.device_put(variable.value, WHOLE))
    losses = []
    for each in (model, twin):
        each.compile("adam", "sparse_categorical_crossentropy")
        history = each.fit(x, y, epochs=2, batch_size=8, verbose=0, shuffle=False)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)

    def places():
        found = {v.value.sharding for v in [*model.variables, *model.optimizer.variables]}
        return {sharding.device_set == set(DEVICES) for sharding in found}

    assert places() == {True}
    model.save(tmp_path / "m.keras")
    loaded = cornu.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6
    )
    model.load_weights(tmp_path / "m.keras")
    model.set_weights(twin.get_weights())
    model.weights[0].assign_add(np.ones(model.weights[0].shape))
    assert places() == {True}
    # What says where it lies is put there.
    model.weights[0].assign(jax.device_put(model.weights[0].value, BATCHED.mesh.devices.flat[1]))
    assert places() == {True}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("synchronized", [False, True])
def test_statistics_within_shard_map(synchronized, masked):
    """Of each device's part, or of all parts."""
    x = np.random.default_rng(0).standard_normal((4, 3, 2), np.float32)
    mask = np.random.default_rng(1).integers(0, 2, (4, 3)) > 0 if masked else None
    layer = layers.BatchNormalization(synchronized=synchronized)
    layer.build(x.shape)
    values = [v.value for v in layer.variables]
    run = functional(lambda x, mask: layer(x, training=True, mask=mask), layer.variables)
    spread = jax.jit(
        jax.shard_map(
            lambda values, x, mask: run(values, x, mask)[0],
            mesh=MESH,
            in_specs=(PartitionSpec(), PartitionSpec("batch"), PartitionSpec("batch")),
            out_specs=PartitionSpec("batch"),
        )
    )
    parts = [slice(0, 4)] if synchronized else [slice(0, 2), slice(2, 4)]
    expected = [run(values, x[p], None if mask is None else mask[p])[0] for p in parts]
    np.testing.assert_allclose(spread(values, x, mask), np.concatenate(expected), 1e-4, 1e-5)
    moments = jax.shard_map(
        lambda x: cornu.ops.moments(x, [0], synchronized=True),
        mesh=MESH,
        in_specs=PartitionSpec("batch"),
        out_specs=PartitionSpec(),
    )
    for found, expected in zip(moments(x), cornu.ops.moments(x, [0]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_explicit_axes_are_refused():
    mesh = Mesh(DEVICES, ("batch",), axis_types=(jax.sharding.AxisType.Explicit,))
    x = jax.device_put(
        np.ones((4, 5, 5, 1), "float32"), NamedSharding(mesh, PartitionSpec("batch"))
    )
    with pytest.raises(ValueError, match="axis 'batch' of a mesh with explicit axes"):
        layers.Conv2D(2, 3)(x)
