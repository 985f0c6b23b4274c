"""Graphs of layers: the same models made with Keras and with Cornu."""

import json

import jax
import keras
import numpy as np
import pytest

import cornu
from cornu import layers

random = np.random.RandomState(0)
IMAGES = random.rand(4, 8, 8, 3).astype("float32")
ROWS = random.rand(4, 5).astype("float32")


def residual(k):
    L = k.layers
    inputs = k.Input((8, 8, 3), name="image")
    x = L.Conv2D(4, 3, padding="same")(inputs)
    y = L.BatchNormalization()(x)
    y = L.ReLU()(y)
    y = L.Conv2D(4, 3, padding="same")(y)
    x = L.Add()([x, y])
    x = L.GlobalAveragePooling2D()(x)
    return k.Model(inputs, L.Dense(3)(x), name="residual"), IMAGES


def inception(k):
    L = k.layers
    inputs = k.Input((8, 8, 3))
    branches = [L.Conv2D(2, size, padding="same")(inputs) for size in (1, 3, 5)]
    branches.append(L.Conv2D(2, 1)(L.MaxPooling2D(3, strides=1, padding="same")(inputs)))
    return k.Model(inputs, L.Flatten()(L.Concatenate()(branches))), IMAGES


def shared(k):
    L = k.layers
    a, b = k.Input((5,)), k.Input((5,))
    dense = L.Dense(4, activation="relu")
    first = dense(a)
    second = dense(b)
    third = dense(L.Subtract()([a, b]))
    return k.Model([a, b], [L.Dot(1)([first, second]), third]), [ROWS, ROWS[::-1]]


def nested(k):
    L = k.layers
    inner = k.Sequential([k.Input((8, 8, 3)), L.Conv2D(2, 3), L.MaxPooling2D()], name="inner")
    side = k.Input((3, 3, 2))
    middle = k.Model(side, [L.Flatten()(side), L.GlobalMaxPooling2D()(side)], name="middle")
    inputs = k.Input((8, 8, 3))
    flat, top = middle(inner(inputs))
    again, _ = middle(inner(inputs * 2))
    return k.Model(inputs, L.Concatenate()([flat, top, again])), IMAGES


def dictionaries(k):
    L = k.layers
    inputs = {"rows": k.Input((5,), name="rows"), "image": k.Input((8, 8, 3), name="image")}
    x = L.Flatten()(inputs["image"])
    outputs = {"wide": L.Dense(4)(x), "sum": L.Dense(2)(inputs["rows"]) + L.Dense(2)(x)}
    return k.Model(inputs, outputs), {"rows": ROWS, "image": IMAGES}


def part_of_another(k):
    model, x = residual(k)
    return k.Model(model.input, [model.layers[2].output, model.output]), x


def arguments(k):
    L = k.layers
    inputs = k.Input((6,), dtype="int32")
    x = L.Embedding(9, 4, mask_zero=True)(inputs)
    x = L.TimeDistributed(L.Dense(3))(x)
    x = L.Dropout(0.5)(x, training=False)
    return k.Model(inputs, L.GlobalAveragePooling1D()(x)), random.randint(0, 9, (4, 6))


MODELS = [residual, inception, shared, nested, dictionaries, part_of_another, arguments]


def leaves(result):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result)]


def pair(make):
    cornu.utils.clear_session()
    keras.utils.clear_session()
    (ours, x), (theirs, _) = make(cornu), make(keras)
    ours.set_weights(theirs.get_weights())
    return ours, theirs, x


@pytest.mark.parametrize("make", MODELS)
def test_same_model(make):
    ours, theirs, x = pair(make)
    names = [type(layer).__name__ for layer in theirs.layers]
    mine = [type(layer).__name__ for layer in ours.layers]
    for a, b in zip(mine, names, strict=True):
        assert a == {"Functional": "Model"}.get(b, b) or a == "FunctionOperation"
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    assert ours.count_params() == theirs.count_params()
    assert ours.output_names == theirs.output_names
    for a, b in zip(leaves(ours(x)), leaves(theirs(x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    mine, other = ours.predict(x, verbose=0), theirs.predict(x, verbose=0)
    assert type(mine) is type(other)
    for a, b in zip(leaves(mine), leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for mine, other in ((ours.inputs, theirs.inputs), (ours.outputs, theirs.outputs)):
        assert [t.shape for t in mine] == [t.shape for t in other]
        assert [t.dtype for t in mine] == [t.dtype for t in other]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("how", ["config", "json", "clone"])
def test_copies(make, how):
    model, x = make(cornu)
    if how == "config":
        copy = cornu.Model.from_config(json.loads(json.dumps(model.get_config())))
    elif how == "json":
        copy = cornu.models.model_from_json(model.to_json())
    else:
        copy = cornu.models.clone_model(model)
    assert copy.name == model.name
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    copy.set_weights(model.get_weights())
    for a, b in zip(leaves(copy(x)), leaves(model(x)), strict=True):
        np.testing.assert_array_equal(a, b)
    for mine, other in zip(copy.weights, model.weights, strict=True):
        assert mine is not other and mine.name == other.name


def test_a_tuple_stays_one():
    for k in (cornu, keras):
        inputs = k.Input((3,))
        model = k.Model(inputs, (k.layers.Dense(1)(inputs), k.layers.Dense(2)(inputs)))
        for copy in (k.Model.from_config(model.get_config()), k.models.clone_model(model)):
            assert type(copy(np.ones((2, 3), "float32"))) is type(
                copy.predict(np.ones((2, 3)), verbose=0)
            )
            assert type(copy(np.ones((2, 3), "float32"))) is tuple


@pytest.mark.parametrize("make", MODELS)
def test_configuration_is_read_from_keras(make):
    """What Keras writes about a graph, Cornu understands."""
    _, theirs, x = pair(make)
    if any(
        "keras.src.ops" in str(config.get("module")) for config in theirs.get_config()["layers"]
    ):
        pytest.skip("Keras writes operators as classes of its own")
    copy = cornu.models.model_from_json(theirs.to_json())
    copy.set_weights(theirs.get_weights())
    for a, b in zip(leaves(copy(x)), leaves(theirs(x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_clone_function():
    model, _ = residual(cornu)

    def widen(layer):
        config = layer.get_config()
        if isinstance(layer, layers.Conv2D):
            config["filters"] = 6
        return type(layer).from_config(config)

    wide = cornu.models.clone_model(model, clone_function=widen)
    assert wide.layers[1].filters == 6 and model.layers[1].filters == 4
    assert wide.output_shape == model.output_shape


def nested(k, optimizer="adam"):
    """A Sequential model, called twice, in a graph."""
    L = k.layers
    inner = k.Sequential([k.Input((4,)), L.Dense(4, activation="relu", name="d")], name="inner")
    x = k.Input((4,), name="x")
    model = k.Model(x, L.Dense(2, name="out")(inner(inner(x))), name="outer")
    model.compile(optimizer, "mse", metrics=["mae", k.metrics.MeanSquaredError(name="m")])
    return model


def to_tanh(k):
    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, k.layers.Dense):
            config["activation"] = "tanh"
        return type(layer).from_config(config)

    return clone


def test_clones_of_models_in_models_are_those_of_keras():
    def seen(k):
        model = nested(k)
        calls = []

        def call(layer, *args, **kwargs):
            calls.append(layer.name)
            out = layer(*args, **kwargs)
            return k.layers.ReLU(name="behind")(out) if layer.name == "out" else out

        found = []
        for given in ({}, {"recursive": True}, {"recursive": True, "call_function": call}):
            clone = k.models.clone_model(model, clone_function=to_tanh(k), **given)
            found.append([layer.name for layer in clone.layers])
            inner = clone.get_layer("inner").layers[-1]
            found.append([layer.activation.__name__ for layer in (inner, clone.get_layer("out"))])
            assert inner is not model.get_layer("inner").layers[-1]
            found.append((clone.compiled, clone.name, clone.count_params()))
        x = k.Input((4,), name="mine")
        clone = k.models.clone_model(model, input_tensors=x)
        assert clone.input is x or clone.inputs[0] is x
        other = k.models.clone_model(model.get_layer("inner"), input_tensors=[x])
        return found, calls, other.output_shape, type(clone.optimizer).__name__

    assert seen(cornu) == seen(keras)


def test_clones_share_nothing():
    import optax

    for optimizer in ("adam", optax.sgd(0.1)):
        model = nested(cornu, optimizer)
        clone = cornu.models.clone_model(model)
        x, y = np.ones((2, 4)), np.ones((2, 2))
        clone.fit(x, y, verbose=0)
        assert not model.optimizer.built and int(clone.optimizer.iterations) == 1
        names = list(clone.history.history)
        assert names == list(model.fit(x, y, verbose=0).history) and len(names) == 3


class OwnDense(layers.Dense):
    """Not registered."""


def test_what_cannot_be_cloned_is_an_error():
    class Own(cornu.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = OwnDense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(np.ones((1, 3)))
    clone = cornu.models.clone_model(model)
    assert type(clone) is Own and clone.count_params() == 8
    with pytest.raises(ValueError, match="clone_function: only for Sequential"):
        cornu.models.clone_model(model, clone_function=lambda layer: layer)
    sequential = cornu.Sequential([cornu.Input((3,)), OwnDense(2)])
    assert type(cornu.models.clone_model(sequential).layers[0]) is OwnDense
    with pytest.raises(ValueError, match="call_function"):
        cornu.models.clone_model(sequential, call_function=lambda layer, x: x)
    for wrong in (np.ones((1, 3)), [cornu.Input((3,)), cornu.Input((3,))]):
        with pytest.raises(ValueError, match="`input_tensors` must"):
            cornu.models.clone_model(sequential, input_tensors=wrong)


def test_many_layers_do_not_exhaust_the_stack():
    x = inputs = cornu.Input((2,))
    for i in range(1500):
        x = layers.Activation("linear", name=f"a{i}")(x)
    model = cornu.Model(inputs, x)
    assert len(model.layers) == 1501


def test_get_layer():
    model, _ = residual(cornu)
    assert model.get_layer("image") is model.layers[0]
    assert model.get_layer(index=-1) is model.layers[-1]
    with pytest.raises(ValueError, match=r"No such layer: conv.* Existing layers are: \['image'"):
        model.get_layer("conv")
    with pytest.raises(ValueError, match="index 99 but model only has 8 layers"):
        model.get_layer(index=99)


def test_mistakes():
    a, b = cornu.Input((3,), name="a"), cornu.Input((3,), name="b")
    with pytest.raises(ValueError, match="depends on the input 'b', which is not among"):
        cornu.Model(a, layers.Add()([a, b]))
    with pytest.raises(ValueError, match="same input multiple times"):
        cornu.Model([a, a], layers.Dense(2)(a))
    with pytest.raises(ValueError, match="needs both `inputs` and `outputs`"):
        cornu.Model(a)
    with pytest.raises(ValueError, match="must be KerasTensors"):
        cornu.Model(a, ROWS)
    with pytest.raises(ValueError, match="'twice' is used 2 times"):
        cornu.Model(a, layers.Dense(2, name="twice")(layers.Dense(2, name="twice")(a)))
    with pytest.raises(ValueError, match="cannot become a NumPy array"):
        np.sin(a)
    with pytest.raises(TypeError, match="no truth value"):
        bool(a > 0)
    model = cornu.Model([a, b], layers.Add()([a, b]))
    with pytest.raises(ValueError, match=r"expects 2 input\(s\) \(a, b\), but it received 1"):
        model(ROWS[:, :3])
    with pytest.raises(ValueError, match="Missing data for input 'b'"):
        model({"a": ROWS[:, :3]})
    with pytest.raises(ValueError, match=r"expected shape=\(None, 3\), found shape=\(4, 5\)"):
        model([ROWS, ROWS])
    config = model.get_config()
    config["layers"][2]["inbound_nodes"][0]["args"][0][0]["config"]["keras_history"][0] = "c"
    with pytest.raises(ValueError, match="refers to a layer 'c' that is not in it"):
        cornu.Model.from_config(config)


def test_no_values_are_computed_before_they_are_needed():
    """A network far larger than memory can be described."""
    inputs = cornu.Input((1000, 1000, 1000, 8))
    outputs = layers.MaxPooling3D(10)(layers.ReLU()(inputs))
    assert cornu.Model(inputs, outputs).output_shape == (None, 100, 100, 100, 8)


def test_a_symbolic_tensor_made_by_hand_shows_shapes():
    made = cornu.KerasTensor((None, 8, 8, 1), ragged=False, record_history=True)
    output = layers.Conv2D(2, 3)(made) + 1
    assert output.shape == (None, 6, 6, 2) and not made.ragged
    for inputs in (made, cornu.Input((8, 8, 1))):
        with pytest.raises(ValueError, match="made by hand and comes from no layer"):
            cornu.Model(inputs, output)
    for refused in ({"ragged": True}, {"ragged_rank": 1}, {"record_history": False}):
        with pytest.raises(ValueError, match=r"cannot be ragged|record_history=True"):
            cornu.KerasTensor((2, 3), **refused)
    with pytest.raises(TypeError, match="ragged_size"):
        cornu.KerasTensor((2, 3), ragged_size=3)


@pytest.mark.parametrize("wrap", [lambda output: [output], lambda output: (output,)])
def test_one_output_in_a_list_comes_alone(wrap):
    shapes = []
    for k in (cornu, keras):
        x = k.Input((3,))
        model = k.Model(x, wrap(k.layers.Dense(2)(x)))
        zeros = np.zeros((4, 3), "float32")
        shapes.append(
            [model(zeros).shape, model.predict(zeros, verbose=0).shape, model.output_shape]
        )
    assert shapes[0] == shapes[1] == [(4, 2), (4, 2), (None, 2)]


def test_a_list_for_inputs_with_names():
    a, b = cornu.Input((2,), name="a"), cornu.Input((2,), name="b")
    one, two = np.ones((1, 2), "float32"), 2 * np.ones((1, 2), "float32")
    model = cornu.Model({"b": b, "a": a}, layers.Subtract()([a, b]))
    assert model({"b": two, "a": one})[0, 0] == -1
    with pytest.raises(ValueError, match="structure of `inputs` doesn't match"):
        model([two, one])
    model = cornu.Model({"a": a, "b": b}, layers.Subtract()([a, b]))
    with pytest.warns(UserWarning, match="in this order"):
        assert model([one, two])[0, 0] == -1


def test_clones_are_made_from_the_same_structure_and_all_the_way_down():
    a, b = cornu.Input((2,), name="a"), cornu.Input((2,), name="b")
    model = cornu.Model({"a": a, "b": b}, a - b)
    with pytest.raises(ValueError, match=r"same structure as model\.input"):
        cornu.models.clone_model(model, input_tensors=(b, a))
    seen = []

    def copied(layer):
        seen.append(layer.name)
        return type(layer).from_config(layer.get_config())

    inner = cornu.Sequential([layers.Dense(2, name="deep")])
    outer = cornu.Sequential([inner, layers.Dense(2, name="last")])
    cornu.models.clone_model(outer, clone_function=copied, recursive=True)
    assert seen == ["deep", "last"]


def test_a_model_from_the_middle_of_another():
    found = []
    for k in (cornu, keras):
        inputs = k.Input((None, 2))
        first = k.layers.Dense(3, name="first")(inputs)
        outputs = k.layers.Dense(5, name="last")(k.layers.Dense(4, name="second")(first) + 1)
        model = k.Model(first, outputs)
        again = k.Model.from_config(model.get_config())
        found.append([type(model.layers[0]).__name__])
        found[-1] += [[w.path for w in model.weights], model.output_shape, again.count_params()]
        x = np.ones((2, 3, 3), "float32")
        whole = k.Model(inputs, outputs)
        middle = whole.get_layer("second")(x) + 1
        np.testing.assert_array_equal(model(x), whole.get_layer("last")(middle))
    assert found[0] == found[1]


def test_what_a_subclass_adds_to_a_graphs_configuration():
    class Own(cornu.Model):
        def __init__(self, *args, parameter=1, **kwargs):
            super().__init__(*args, **kwargs)
            self.parameter = parameter

        def get_config(self):
            return {**super().get_config(), "parameter": self.parameter}

    x = cornu.Input((2,))
    model = Own(inputs=x, outputs=layers.Dense(2)(x), parameter=3)
    assert Own.from_config(model.get_config()).parameter == 3


def test_a_number_of_a_dtype_for_an_input_of_another():
    x = cornu.Input((2,), dtype="float16")
    model = cornu.Model({"x": x}, x + 1)
    assert model.output.dtype == model({"x": np.ones((1, 2), "float32")}).dtype == "float16"
    with pytest.warns(UserWarning, match=r"of the data \['y'\] are left out"):
        model({"x": np.ones((1, 2)), "y": np.ones(3)})


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_a_call_in_the_graph_says_of_training_holds(wrapped):
    """As in Keras 2, and as its guides on transfer learning and on Monte Carlo dropout say."""
    inputs = cornu.Input((4,))
    inner = cornu.Sequential([cornu.Input((4,)), layers.BatchNormalization()])
    x = inner(inputs, training=False)
    x = layers.Dropout(0.5, seed=0)(x, training=True)
    model = cornu.Model(inputs, layers.Dense(1)(x))
    if wrapped:
        model = cornu.models.clone_model(model)
        inner = model.layers[1]
    model.compile("sgd", "mse")
    x = random.rand(32, 4).astype("float32")
    before = inner.get_weights()
    model.fit(x, x[:, :1], verbose=0)
    changed = [not np.array_equal(a, b) for a, b in zip(before, inner.get_weights(), strict=True)]
    # The scale and the shift are trained; the statistics are those of inference.
    assert changed == [True, True, False, False]
    for drawn in (
        lambda: model.predict(x, verbose=0),
        lambda: model(x),
        lambda: model(x, training=False),
    ):
        first, second = np.asarray(drawn()), np.asarray(drawn())
        assert not np.array_equal(first, second)


def test_a_default_that_keras_writes_as_given_is_left_to_the_model(tmp_path):
    """Keras writes `training: false` for each Dropout, and true for each layer that changes images."""
    inputs = keras.Input((8,))
    inner = keras.Sequential([keras.Input((8,)), keras.layers.BatchNormalization()])
    x = keras.layers.Dropout(0.5)(inner(inputs, training=False))
    keras.Model(inputs, keras.layers.Dropout(0.5)(x, training=True)).save(tmp_path / "m.keras")
    model = cornu.models.load_model(tmp_path / "m.keras")
    said = [layer._inbound_nodes[-1].kwargs.get("training") for layer in model.layers[1:]]
    assert said == [False, None, True]
    # Cornu's own files keep what was given, and Keras reads them.
    x = layers.Dropout(0.5)(inputs := cornu.Input((8,)), training=False)
    cornu.Model(inputs, layers.Dropout(0.5)(x)).save(tmp_path / "m.keras")
    model = cornu.models.load_model(tmp_path / "m.keras")
    said = [layer._inbound_nodes[-1].kwargs.get("training") for layer in model.layers[1:]]
    assert said == [False, None]
    assert len(keras.saving.load_model(tmp_path / "m.keras").layers) == 3
