"""`Sequential` and subclasses of `Model`."""

import copy

import keras
import numpy as np
import pytest

import cornu
from cornu import layers

random = np.random.RandomState(0)
IMAGES = random.rand(4, 8, 8, 3).astype("float32")
ROWS = IMAGES[:, 0, 0]


def test_deferred_build():
    model = cornu.Sequential([layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)])
    assert not model.built and model.weights == []
    with pytest.raises(AttributeError, match=r"no `output` .*build it with an `Input`"):
        _ = model.output_shape
    assert model(IMAGES).shape == (4, 3)
    assert model.count_params() == 56 + 219
    assert model.output_shape == (None, 3)


@pytest.mark.parametrize("how", ["build", "fit", "predict", "evaluate"])
def test_what_builds(how):
    model = cornu.Sequential([layers.Flatten(), layers.Dense(3)])
    model.compile("sgd", "mse")
    target = np.zeros((4, 3), "float32")
    if how == "build":
        model.build((None, 8, 8, 3))
    elif how == "predict":
        model.predict(IMAGES, verbose=0)
    else:
        getattr(model, how)(IMAGES, target, verbose=0)
    assert model.count_params() == 579


def test_add_and_pop():
    model, other = (k.Sequential([k.Input((8, 8, 3))]) for k in (cornu, keras))
    for k, m in ((cornu, model), (keras, other)):
        m.add(k.layers.Conv2D(2, 3))
        m.add(k.layers.Flatten())
        m.add(k.layers.Dense(3))
        m.pop()
        m.add(k.layers.Dense(5))
    assert model.output_shape == other.output_shape == (None, 5)
    assert [w.shape for w in model.get_weights()] == [w.shape for w in other.get_weights()]
    before = model.get_weights()
    model.add(layers.Activation("softmax"))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(model.layers[0]._inbound_nodes) == 1


def test_a_model_within():
    base = cornu.Sequential([cornu.Input((8, 8, 3)), layers.Conv2D(2, 3)], name="base")
    base.trainable = False
    model = cornu.Sequential([base, layers.Flatten(), layers.Dense(1)])
    assert model.built and model.output_shape == (None, 1)
    assert len(model.trainable_weights) == 2 and len(model.weights) == 4
    model.compile("sgd", "mse")
    before = base.get_weights()
    model.fit(IMAGES, np.zeros((4, 1)), verbose=0)
    np.testing.assert_array_equal(before[0], base.get_weights()[0])
    copy = cornu.Sequential.from_config(model.get_config())
    assert copy.output_shape == model.output_shape and not copy.layers[0].trainable


@pytest.mark.parametrize("built", [True, False])
def test_configuration(built):
    stack = [layers.Conv2D(2, 3, activation="relu"), layers.Flatten(), layers.Dense(3)]
    model = cornu.Sequential(([cornu.Input((8, 8, 3))] if built else []) + stack)
    copy = cornu.models.model_from_json(model.to_json())
    assert copy.built is built and copy.name == model.name
    theirs = keras.models.model_from_json(model.to_json())
    assert theirs.built is built
    assert [layer.name for layer in theirs.layers] == [layer.name for layer in model.layers]
    back = cornu.models.model_from_json(theirs.to_json())
    assert back(IMAGES).shape == (4, 3)


def test_input_can_be_given_in_many_ways():
    for first in (
        [cornu.Input((8, 8, 3)), layers.Flatten()],
        [layers.InputLayer((8, 8, 3)), layers.Flatten()],
        [cornu.Input(batch_shape=(None, 8, 8, 3)), layers.Flatten()],
    ):
        assert cornu.Sequential(first).output_shape == (None, 192)
    with pytest.warns(UserWarning, match="input_shape"):
        assert cornu.Sequential([layers.Flatten(input_shape=(8, 8, 3))]).built


def test_mistakes():
    model = cornu.Sequential([cornu.Input((8, 8, 3)), layers.Flatten(name="flat")])
    with pytest.raises(ValueError, match="'flat' is already the name of a layer"):
        model.add(layers.Flatten(name="flat"))
    with pytest.raises(ValueError, match=r"Only instances of `keras.Layer` .* Received: relu"):
        model.add("relu")
    with pytest.raises(ValueError, match="already been configured to use input shape"):
        model.add(layers.InputLayer((3,)))
    with pytest.raises(ValueError, match=r"(?s)dense.*expected axis -1 of input shape"):
        wide = cornu.Sequential([cornu.Input((4,)), layers.Dense(2, name="dense")])
        wide.layers[0](IMAGES)
    with pytest.raises(ValueError, match="cannot be built because it has no layers"):
        cornu.Sequential().build((None, 3))
    with pytest.raises(ValueError, match=r"provide an `input_shape`"):
        cornu.Sequential([layers.Dense(2)]).build()
    with pytest.raises(ValueError, match=r"(?s)conv.*window"):
        cornu.Sequential([cornu.Input((4, 4, 1)), layers.Conv2D(2, 5, name="conv")])
    with pytest.raises(ValueError, match=r"Layer 'dense.*should be defined.*Found None"):
        cornu.Sequential([cornu.Input((None, None, 3)), layers.Flatten(), layers.Dense(3)])


class Net(cornu.Model):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.convolution = layers.Conv2D(2, 3)
        self.blocks = [layers.BatchNormalization(), layers.Dropout(0.5)]
        self.heads = {"a": layers.Dense(units), "b": layers.Dense(1)}
        self.flatten = layers.Flatten()

    def call(self, x, training=False):
        x = self.convolution(x)
        for block in self.blocks:
            x = block(x, training=training)
        x = self.flatten(x)
        return {name: head(x) for name, head in self.heads.items()}


def test_subclass():
    cornu.utils.set_random_seed(1)
    net = Net()
    assert [type(layer).__name__ for layer in net.layers] == [
        *("Conv2D", "BatchNormalization", "Dropout", "Dense", "Dense", "Flatten")
    ]
    with pytest.raises(AttributeError, match="no `output`"):
        _ = net.output
    outputs = net(IMAGES)
    assert outputs["a"].shape == (4, 3) and outputs["b"].shape == (4, 1)
    assert len(net.weights) == 2 + 4 + 4 and len(net.trainable_weights) == 8
    assert net.get_config()["units"] == 3
    copy = Net.from_config(net.get_config())
    copy.build((None, 8, 8, 3))
    copy.set_weights(net.get_weights())
    np.testing.assert_array_equal(copy(IMAGES)["a"], outputs["a"])
    net.compile("adam", {"a": "mse", "b": "mse"})
    target = {"a": np.zeros((4, 3)), "b": np.zeros((4, 1))}
    history = net.fit(IMAGES, target, epochs=40, verbose=0).history
    assert set(history) == {"loss", "a_loss", "b_loss"} and history["loss"][-1] < history["loss"][0]


def test_subclass_in_a_graph():
    inputs = cornu.Input((8, 8, 3))
    model = cornu.Model(inputs, Net(name="net")(inputs)["a"])
    assert model.output_shape == (None, 3)
    model.compile("sgd", "mse")
    model.fit(IMAGES, np.zeros((4, 3)), verbose=0)
    with pytest.raises(ValueError, match=r"Unknown layer: 'Net'.*`custom_objects`"):
        cornu.models.model_from_json(model.to_json())
    copy = cornu.models.model_from_json(model.to_json(), custom_objects={"Net": Net})
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy(IMAGES), model(IMAGES))


def test_stateless_call():
    import jax

    net = Net()
    net(IMAGES)
    trainable = [v.value for v in net.trainable_variables]
    others = [v.value for v in net.non_trainable_variables]

    @jax.jit
    def run(trainable, others, x):
        return net.stateless_call(trainable, others, x, training=True)

    outputs, new = run(trainable, others, IMAGES)
    assert not isinstance(outputs["a"], jax.core.Tracer)
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(new, others, strict=True))
    for variable, value in zip(net.trainable_variables, trainable, strict=True):
        assert variable.value is value


def test_a_model_that_forgets_its_call():
    class Empty(cornu.Model):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty does not have a `call\(\)`"):
        Empty()(IMAGES)


def test_the_batch_of_an_input_is_no_limit():
    """As in Keras: a Sequential model remembers the batch that it was built with."""
    model = cornu.Sequential([cornu.Input(batch_shape=(4, 3)), layers.Dense(2)])
    assert model(np.ones((5, 3))).shape == (5, 2)
    assert model.predict(np.ones((7, 3)), verbose=0).shape == (7, 2)
    with pytest.raises(ValueError, match=r"expected shape=.*3\), found shape=\(4, 2\)"):
        model(np.ones((4, 2)))


class Halves(layers.Layer):
    def call(self, x):
        return {name: value / 2 for name, value in x.items()}


class Joined(layers.Layer):
    def call(self, x):
        return x["a"] + x["b"]


def test_a_dict_goes_through_the_layers():
    model = cornu.Sequential([Halves(), Joined(), layers.Dense(2, name="d")])
    x = {"a": ROWS, "b": 3 * ROWS}
    assert model(x).shape == (len(ROWS), 2) and model.count_params() == 2 * (ROWS.shape[1] + 1)
    alone = layers.Dense(2)
    alone(ROWS)
    alone.set_weights(model.get_weights())
    np.testing.assert_allclose(model.predict(x, verbose=0), alone(2 * ROWS), rtol=1e-5)
    model.compile("sgd", "mse")
    model.fit(x, ROWS[:, :2], verbose=0)
    fresh = cornu.Sequential([Halves(), Joined(), layers.Dense(2)])
    fresh.compile("sgd", "mse")
    fresh.fit(x, ROWS[:, :2], verbose=0)
    assert len(fresh.weights) == len(fresh.optimizer.variables) == 2


def test_a_layer_that_does_not_know_its_outputs_shape(capsys):
    class Doubled(layers.Layer):
        def call(self, inputs):
            return 2 * inputs

        def compute_output_spec(self, *args, **kwargs):
            raise NotImplementedError

    model = cornu.Sequential([Doubled(), layers.Dense(1, kernel_initializer="ones")])
    np.testing.assert_allclose(model(ROWS)[:, 0], 2 * ROWS.sum(-1), rtol=1e-6)
    model.summary()
    assert "Doubled" in capsys.readouterr().out and len(model.weights) == 2


def test_shapes_of_a_model_that_is_not_built():
    for k in (cornu, keras):
        model = k.Sequential([k.layers.Conv2D(4, 3), k.layers.Flatten(), k.layers.Dense(8)])
        assert model.compute_output_shape((1, 5, 5, 1)) == (1, 8)
        assert model.compute_output_shape(input_shape=(None, 5, 5, 1)) == (None, 8)
        assert not model.built


def test_what_is_reserved_or_declared():
    model = cornu.Sequential([cornu.Input((3,)), layers.Dense(2)])
    model.build((7, 3))
    with pytest.raises(ValueError, match=r"use input shape \(None, 3\)"):
        model.build((None, 4))
    with pytest.raises(AttributeError, match=r"Use `add\(\)` and `pop\(\)`"):
        model.layers = []
    with pytest.raises(AttributeError, match=r"`Model.layers` attribute is reserved"):
        Net().layers = []
    assert [each.name for each in model.operations] == [each.name for each in model._layers]


def test_data_of_other_sizes_where_none_was_declared():
    for k in (cornu, keras):
        model = k.Sequential([k.layers.Conv2D(2, 3), k.layers.GlobalMaxPooling2D()])
        assert model.predict(IMAGES, verbose=0).shape == (4, 2)
        assert model.predict(IMAGES[:2, :5], verbose=0).shape == (2, 2)
        with pytest.raises(ValueError, match="axis -1"):
            model(IMAGES[..., :2])
    declared = cornu.Sequential([cornu.Input((8, 8, 3)), layers.GlobalMaxPooling2D()])
    with pytest.raises(ValueError, match=r"expected shape=\(None, 8, 8, 3\)"):
        declared(IMAGES[:, :5])


def test_sizes_that_nobody_declared_stay_free_in_copies(tmp_path):
    def wide(size):
        return np.ones((2, size, size, 1), "float32")

    inner = cornu.Sequential(
        [layers.Conv2D(2, 3), layers.BatchNormalization(), layers.GlobalAveragePooling2D()]
    )
    model = cornu.Sequential([inner, layers.Dense(1)])
    inner(wide(6))
    expected = model(wide(9))
    for name in ("m.keras", "m.h5"):
        model.save(tmp_path / name)
    clone = cornu.models.clone_model(model)
    again = cornu.Sequential.from_config(model.get_config())
    for other in (clone, again):
        other(wide(6))
        other.set_weights(model.get_weights())
    copies = [clone, again, copy.deepcopy(model)]
    copies += [cornu.saving.load_model(tmp_path / name) for name in ("m.keras", "m.h5")]
    copies.append(keras.saving.load_model(tmp_path / "m.keras"))
    for other in copies:
        np.testing.assert_allclose(other(wide(9)), expected, rtol=1e-5)
    declared = cornu.Sequential([cornu.Input((6, 6, 1)), layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match="expected shape"):
        declared(wide(9))
