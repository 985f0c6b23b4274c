"""`StatelessScope`, `remat` and settings as Keras' guides for JAX use them."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu


def test_a_scope_has_values_and_takes_what_is_assigned():
    def values(k):
        k.utils.set_random_seed(0)
        model = k.Sequential(
            [k.Input((3,)), k.layers.Dense(2), k.layers.BatchNormalization(), k.layers.Dropout(0.5)]
        )
        before = model.get_weights()
        mapping = [(v, jnp.full(v.shape, 2, v.dtype)) for v in model.trainable_variables]
        x = np.arange(12, dtype="float32").reshape(4, 3)
        with k.StatelessScope(mapping, collect_losses=True) as scope:
            model.layers[0].add_loss(jnp.asarray(3.0))
            output = model(x, training=True)
        for a, b in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(a, b)
        kept = [scope.get_current_value(v) for v in model.variables]
        return [np.asarray(a) for a in (output, *(v for v in kept if v is not None), *scope.losses)]

    for ours, theirs in zip(values(cornu), values(keras), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_scope_in_a_compiled_function():
    layer = cornu.layers.Dense(2)
    layer.build((None, 3))

    @jax.jit
    def loss(values, x):
        with cornu.StatelessScope(zip(layer.trainable_variables, values, strict=True)):
            return jnp.sum(layer(x))

    gradients = jax.grad(loss)([v.value for v in layer.trainable_variables], jnp.ones((4, 3)))
    assert [g.shape for g in gradients] == [(3, 2), (2,)] and float(gradients[1][0]) == 4
    variable = layer.trainable_variables[1]
    for mapping, message in [([(3, 3)], "must be Variable"), ([(variable, 3)], "shape")]:
        with pytest.raises(ValueError, match=message):
            cornu.StatelessScope(mapping)
    with pytest.raises(ValueError, match="from the start"):
        cornu.StatelessScope(initialize_variables=False)
    scope = cornu.StatelessScope()
    scope.add_update((variable, jnp.ones(2)))
    scope.add_loss(1.0)
    assert scope.get_current_value(variable).tolist() == [1, 1] and scope.losses == []


def test_remat_computes_again():
    layer = cornu.layers.Dense(2, activation="tanh")
    layer.build((None, 3))
    x = jnp.arange(12.0).reshape(4, 3)

    def total(function):
        return lambda x: jnp.sum(function(x))

    plain, again = total(layer), total(cornu.remat(layer))
    np.testing.assert_array_equal(jax.grad(again)(x), jax.grad(plain)(x))
    tanhs = [str(jax.make_jaxpr(jax.grad(f))(x)).count(" tanh ") for f in (plain, again)]
    assert tanhs == [1, 2]


def test_remat_of_layers_that_change_their_variables():
    x = jnp.asarray(np.random.default_rng(0).random((8, 3)), "float32")

    def run(wrapped):
        cornu.utils.set_random_seed(0)
        layer = cornu.Sequential(
            [cornu.Input((3,)), cornu.layers.BatchNormalization(), cornu.layers.Dropout(0.5)]
        )
        cheap = wrapped(layer)
        state = [v.value for v in layer.variables]

        def loss(x):
            with cornu.StatelessScope(zip(layer.variables, state, strict=True)) as scope:
                total = jnp.sum(jnp.sin(cheap(x, training=True)))
            return total, [scope.get_current_value(v) for v in layer.variables]

        compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))(x)
        return jax.tree.leaves(compiled), cheap(x, training=True), layer.get_weights()

    for ours, plain in zip(
        jax.tree.leaves(run(cornu.remat)), jax.tree.leaves(run(lambda f: f)), strict=True
    ):
        np.testing.assert_allclose(ours, plain, rtol=1e-6)
    layer = cornu.Sequential([cornu.layers.BatchNormalization(), cornu.layers.Dense(2)])
    first = cornu.remat(layer)(x)
    np.testing.assert_array_equal(first, layer(x))
    assert len(layer.get_weights()) == 6
    with pytest.raises(ValueError, match="takes arrays"):
        cornu.remat(layer)(cornu.Input((3,)))


SCOPES = [
    ({}, 2),
    ({"mode": "list_of_layers", "layer_names": ["wide"]}, 1),
    ({"mode": "larger_than", "output_size_threshold": 8 * 3}, 1),
    ({"mode": "activations"}, 1),
    ({"mode": None}, 0),
]


@pytest.mark.parametrize("scope, count", SCOPES, ids=lambda value: str(value))
def test_layers_made_in_a_scope_compute_again(scope, count):
    """They train as the others do: with their losses, their random numbers and what they change."""
    x = np.random.default_rng(0).random((8, 3)).astype("float32")

    def trained(make):
        cornu.utils.set_random_seed(0)
        layers = make()
        model = cornu.Sequential([cornu.Input((3,)), *layers, cornu.layers.Dense(1)])
        model.compile("sgd", "mse")
        history = model.fit(x, x[:, :1], epochs=2, batch_size=8, verbose=0).history

        def total(x):
            for layer in layers:
                x = layer(x)
            return jnp.sum(x * x)

        text = str(jax.make_jaxpr(jax.grad(total))(jnp.asarray(x)))
        return (
            history["loss"],
            [*model.get_weights()],
            text.count("remat2[") + text.count("checkpoint["),
        )

    def wide():
        return cornu.layers.Dense(4, "tanh", activity_regularizer="l2", name="wide")

    def inner():
        layers = [cornu.layers.Dropout(0.5), cornu.layers.Dense(3)]
        return cornu.Sequential(layers, name="inner")

    def made_within():
        with cornu.RematScope(mode=None), cornu.RematScope(**scope):
            first = wide()
        with cornu.RematScope(**scope):
            return [first, inner()]

    plain, again = trained(lambda: [wide(), inner()]), trained(made_within)
    np.testing.assert_allclose(again[0], plain[0], rtol=1e-6)
    for ours, theirs in zip(again[1], plain[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert (plain[2] == 0) and (again[2] > 0) == (count > 0)
    with pytest.raises(ValueError, match="Invalid mode"):
        cornu.RematScope("some")


def test_settings_of_tracebacks_and_unsafe_files():
    config = cornu.config
    before = jax.config.jax_traceback_filtering
    try:
        config.disable_traceback_filtering()
        assert not config.is_traceback_filtering_enabled()
        config.enable_traceback_filtering()
        assert config.is_traceback_filtering_enabled()
    finally:
        jax.config.update("jax_traceback_filtering", before)
    with pytest.raises(ValueError, match="custom_objects"):
        config.enable_unsafe_deserialization()


def test_name_scope():
    with cornu.name_scope("outer"), cornu.name_scope("inner"):
        assert cornu.Variable(1.0, name="v").path == "outer/inner/v"


def test_remat_of_a_function_that_changes_what_layers_own():
    """A function has no variables of its own: those of the layers that it calls change once."""
    x = jnp.asarray(np.random.default_rng(0).random((8, 3)), "float32")

    class Part(cornu.layers.Layer):
        def __init__(self, wrap):
            super().__init__()
            self.wrap = wrap
            self.norm = cornu.layers.BatchNormalization()
            self.dense = cornu.layers.Dense(3, activity_regularizer="l2")
            self.dropout = cornu.layers.Dropout(0.5)

        def build(self, shape):
            self.norm.build(shape)
            self.dense.build(shape)

        def call(self, inputs, training=None):
            function = self.wrap(
                lambda x: self.dropout(
                    self.dense(self.norm(x, training=training)), training=training
                )
            )
            return function(inputs)

    def run(wrap):
        cornu.utils.set_random_seed(0)
        part = Part(wrap)
        outputs = [part(x, training=True), part(x, training=True), *part.losses]
        model = cornu.Sequential([cornu.Input((3,)), part, cornu.layers.Dense(1)])
        model.compile("sgd", "mse")
        history = model.fit(x, x[:, :1], epochs=2, verbose=0).history["loss"]
        return [*outputs, np.array(history), *[v.numpy() for v in model.variables]]

    ours, plain = run(cornu.remat), run(lambda f: f)
    assert not np.array_equal(ours[0], ours[1])
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
