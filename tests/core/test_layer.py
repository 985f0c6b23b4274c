"""`Layer` as users' own classes meet it; where both can do it, the same class on Keras."""

import pickle

import jax
import keras
import numpy as np
import pytest

import cornu
from cornu import layers

X = np.random.RandomState(0).rand(4, 3).astype("float32")


def scale_layer(k):
    class Scale(k.layers.Layer):
        def __init__(self, factor=2.0, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def build(self, input_shape):
            self.scale = self.add_weight(
                shape=(input_shape[-1],), initializer="ones", regularizer="l2", name="scale"
            )
            self.count = self.add_weight(
                shape=(), initializer="zeros", trainable=False, dtype="int32", name="count"
            )

        def call(self, x, training=False):
            if training:
                self.count.assign(self.count + 1)
            self.add_loss(0.5 * k.ops.sum(self.scale))
            return self.factor * x * self.scale

    return Scale


def test_losses_of_symbolic_tensors_are_refused():
    """As no call adds them, they would count nowhere."""
    dense = cornu.layers.Dense(2)
    inputs = cornu.Input((4,))
    outputs = dense(inputs)
    for each in (dense, cornu.Model(inputs, outputs)):
        with pytest.raises(ValueError, match=r"(?s)symbolic tensor .*self.add_loss.*return x"):
            each.add_loss(cornu.ops.mean(outputs))


@pytest.mark.parametrize("k", [cornu, keras], ids=["cornu", "keras"])
def test_an_own_layer(k):
    Scale = scale_layer(k)
    layer = Scale(name="mine")
    assert not layer.built and layer.weights == []
    np.testing.assert_array_equal(layer(X), 2 * X)
    assert layer.built and layer.count_params() == 4
    assert [w.path for w in layer.weights] == ["mine/scale", "mine/count"]
    assert len(layer.trainable_weights) == len(layer.non_trainable_weights) == 1
    assert [float(v) for v in layer.losses] == pytest.approx([1.5, 0.03])
    layer(X, training=True)
    assert int(layer.count.value) == 1
    assert [float(v) for v in layer.losses] == pytest.approx([1.5, 0.03])
    layer.set_weights([np.array([1, 2, 3.0]), np.array(5)])
    np.testing.assert_allclose(layer(X), 2 * X * [1, 2, 3], rtol=1e-6)


def test_configuration_of_an_own_layer():
    Scale = scale_layer(cornu)
    layer = Scale(3.0, name="mine", dtype="mixed_bfloat16")
    copy = Scale.from_config(layer.get_config())
    assert copy.factor == 3.0 and copy.name == "mine" and copy.compute_dtype == "bfloat16"
    with pytest.raises(ValueError, match=r"(?s)Unrecognized keyword.*Scale.*faktor.*factor"):
        Scale(faktor=3)


def test_training_reaches_layers_within():
    seen = []

    class Inner(layers.Layer):
        def call(self, x, training=None):
            seen.append(training)
            return x

    class Outer(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def call(self, x):
            return self.inner(x)

    model = cornu.Sequential([cornu.Input((3,)), Outer(), layers.Dense(1)])
    seen.clear()
    for training in (True, False):
        model(X, training=training)
    model(X)
    assert seen[:2] == [True, False] and not seen[2]
    model.compile("sgd", "mse", run_eagerly=True)
    seen.clear()
    model.fit(X, X[:, :1], verbose=0)
    assert True in seen
    seen.clear()
    model.predict(X, verbose=0)
    assert True not in seen


def test_layers_in_lists_and_dicts_belong_to_the_layer():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.stack = [layers.Dense(3), (layers.Dense(4), {"deep": layers.Dense(5)})]
            self.noise = {"seed": cornu.random.SeedGenerator(3)}

        def call(self, x):
            return self.stack[1][1]["deep"](self.stack[1][0](self.stack[0](x)))

    block = Block()
    assert block(X).shape == (4, 5)
    assert len(block.weights) == 6
    assert any(v.dtype == "uint32" for v in block.variables)
    assert len(block.variables) == 7


def test_trainable_after_compile():
    """Switching it takes effect once the model is compiled again, as Keras documents."""
    model = cornu.Sequential([cornu.Input((3,)), layers.Dense(3), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, X[:, :1], verbose=0)
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(X, X[:, :1], verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert (before[2] != after[2]).any()


@pytest.mark.parametrize("k", [cornu, keras], ids=["cornu", "keras"])
def test_a_frozen_batch_normalization_infers(k):
    layer = k.layers.BatchNormalization()
    layer.build((None, 3))
    layer.trainable = False
    np.testing.assert_allclose(layer(X, training=True), layer(X, training=False))


@pytest.mark.parametrize("k", [cornu, keras], ids=["cornu", "keras"])
def test_masks_reach_loss_and_metrics(k):
    L = k.layers
    x = np.array([[1, 2, 0, 0], [3, 0, 0, 0]], "int32")
    model = k.Sequential(
        [
            k.Input((4,), dtype="int32"),
            L.Embedding(5, 3, mask_zero=True, embeddings_initializer="ones"),
            L.Dense(1, kernel_initializer="ones"),
        ]
    )
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mae"])
    result = model.evaluate(x, np.zeros((2, 4, 1)), verbose=0)
    assert result[0] == pytest.approx(9.0)  # each unmasked position has an error of 3
    y = np.zeros((2, 4, 1))
    y[0, 3] = 1e6
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(result[0])


def test_masks_of_own_layers():
    class Count(layers.Layer):
        def __init__(self):
            super().__init__()
            self.supports_masking = True

        def call(self, x, mask=None):
            return mask.sum(1, keepdims=True).astype("float32") if mask is not None else x

    class Halve(layers.Layer):
        def __init__(self):
            super().__init__()
            self.supports_masking = True

        def call(self, x):
            return x[:, ::2]

        def compute_mask(self, inputs, previous_mask):
            return previous_mask[:, ::2]

    inputs = cornu.Input((4,), dtype="int32")
    x = layers.Embedding(5, 3, mask_zero=True)(inputs)
    model = cornu.Model(inputs, [Count()(x), Count()(Halve()(x))])
    counts = model(np.array([[1, 2, 0, 0], [3, 0, 1, 1]]))
    assert counts[0].tolist() == [[2], [3]] and counts[1].tolist() == [[1], [2]]


def test_stateless_call():
    layer = scale_layer(cornu)()
    layer.build((None, 3))
    trainable = [v.value for v in layer.trainable_variables]
    others = [v.value for v in layer.non_trainable_variables]
    outputs, new, losses = jax.jit(
        lambda t, o, x: layer.stateless_call(t, o, x, training=True, return_losses=True)
    )(trainable, others, X)
    np.testing.assert_array_equal(outputs, 2 * X)
    assert int(new[0]) == 1 and int(layer.count.value) == 0
    assert sorted(float(v) for v in losses) == pytest.approx([0.03, 1.5])


def test_gradients_through_a_layer():
    layer = layers.Conv1D(2, 2)
    layer.build((None, 3, 1))
    values = [v.value for v in layer.trainable_variables]

    def loss(values):
        return layer.stateless_call(values, [], X[..., None])[0].sum()

    kernel, bias = jax.grad(loss)(values)
    np.testing.assert_allclose(bias, [8, 8])
    np.testing.assert_allclose(kernel[:, 0, 0], [X[:, :2].sum(), X[:, 1:].sum()], rtol=1e-6)


def test_names():
    def names(k):
        made = [
            k.layers.Conv2D(1, 1),
            k.layers.Conv2D(1, 1),
            k.layers.MaxPooling2D(),
            k.layers.PReLU(),
            k.layers.LayerNormalization(),
            k.layers.Conv2D(1, 1, name="own"),
            k.layers.Conv2D(1, 1),
            type("MyABCLayer", (k.layers.Layer,), {})(),
        ]
        return [layer.name for layer in made]

    keras.utils.clear_session()
    cornu.utils.clear_session()
    assert names(cornu) == names(keras)
    assert names(cornu) == names(keras)
    with pytest.raises(ValueError, match="cannot contain character `/`"):
        layers.Dense(1, name="a/b")


def test_a_trained_model_pickles():
    model = cornu.Sequential([cornu.Input((3,)), layers.Dense(2), layers.Dropout(0.1)])
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(X, X[:, :2], verbose=0)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy(X), model(X))
    assert int(copy.optimizer.iterations) == 1
    assert copy.evaluate(X, X[:, :2], verbose=0) == model.evaluate(X, X[:, :2], verbose=0)


def test_mistakes():
    class Forgetful(layers.Layer):
        def __init__(self):
            self.inner = layers.Dense(1)

        def call(self, x):
            return self.inner(x)

    with pytest.raises(RuntimeError, match=r"super\(\).__init__\(\)"):
        Forgetful()(X)
    with pytest.raises(NotImplementedError, match=r"does not have a `call`"):
        layers.Layer()(X)
    with pytest.raises(ValueError, match="isn't built"):
        layers.Dense(3).count_params()
    with pytest.raises(ValueError, match=r"activation: 'rellu'\. Did you mean 'relu'"):
        layers.Dense(3, activation="rellu")
    with pytest.raises(ValueError, match=r"initializer: 'zeross'\. Did you mean 'Zeros'"):
        layers.Dense(3, kernel_initializer="zeross")


def test_the_layer_is_named_when_its_call_fails():
    class Broken(layers.Layer):
        def call(self, x):
            return x @ x

    for x, shape in ((X, "(4, 3)"), (cornu.Input((3,)), "(None, 3)")):
        with pytest.raises(TypeError, match="contracting dimensions") as caught:
            Broken(name="the_broken_one")(x)
        (note,) = [n for n in caught.value.__notes__ if "layer" in n]
        assert f"in the layer 'the_broken_one' (Broken), called on x: {shape}" in note


def test_paths_are_keras():
    import keras

    def paths(k):
        inner = k.Sequential([k.layers.Dense(2, name="a")], name="inner")
        outer = k.Sequential([k.Input((3,)), inner, k.layers.Flatten(name="f")], name="outer")
        outer.add(k.layers.Dense(1, name="b"))
        inputs = k.Input((3,))
        graph = k.Model(inputs, k.layers.Dense(1, name="c")(outer(inputs)), name="graph")

        class Own(k.Model):
            def __init__(self):
                super().__init__(name="own")
                self.dense = k.layers.Dense(2, name="d")

            def call(self, x):
                return self.dense(x)

        own = Own()
        unbuilt = own.path, k.layers.Dense(2).path
        own(np.ones((2, 3)))
        layers = [
            inner,
            outer,
            graph,
            own,
            *inner.layers,
            *outer.layers,
            *graph.layers[1:],
            own.dense,
        ]
        weights = [weight.path for model in (graph, own) for weight in model.weights]
        return *unbuilt, *(layer.path for layer in layers), *weights

    assert paths(cornu) == paths(keras)


def test_what_is_not_there_is_an_error():
    layer = cornu.layers.Conv2D(2, 3)
    with pytest.raises(NotImplementedError, match=r"cannot be quantized.*ONNX"):
        layer.quantize("int8")


def test_complex_inputs_are_refused_not_halved():
    x = np.ones((4, 3), "complex64")
    with pytest.raises(TypeError, match=r"Real numbers are expected here.*complex64"):
        cornu.layers.Dense(2)(x)
    model = cornu.Sequential([cornu.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match=r"real and imaginary parts as channels"):
        model.fit(x, np.ones((4, 2)), verbose=0)
    # Layers that only move or choose values take them.
    assert cornu.layers.Flatten()(x[None]).dtype == "complex64"


def test_a_call_without_an_argument_names_it():
    with pytest.raises(
        TypeError, match=r"MultiHeadAttention\) was called without its argument 'value'"
    ):
        cornu.layers.MultiHeadAttention(2, 3)(np.ones((2, 3, 4), "float32"))


class Own(layers.Layer):
    def call(self, x):
        return 2 * x


class OwnCell(layers.SimpleRNNCell):
    pass


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.TimeDistributed(Own()),
        lambda: layers.Bidirectional(layers.RNN(OwnCell(2))),
        lambda: layers.RNN(OwnCell(2)),
        lambda: layers.StackedRNNCells([OwnCell(2)]),
        lambda: layers.Pipeline([Own()]),
        lambda: cornu.Sequential([cornu.Input((2,)), Own()]),
    ],
)
def test_own_classes_by_the_names_in_a_configuration(make):
    layer = make()
    config = layer.get_config()
    with pytest.raises(ValueError, match="Own"):
        type(layer).from_config(config)
    again = type(layer).from_config(config, custom_objects={"Own": Own, "OwnCell": OwnCell})
    assert again.get_config() == config


def test_build_of_several_arguments():
    class Pair(layers.Layer):
        def call(self, left, right=None):
            return left if right is None else left + right

    def make(build):
        return type("Pair", (Pair,), {"build": build})()

    given = []
    layer = make(lambda self, right_shape, left_shape: given.append((left_shape, right_shape)))
    layer(X)
    assert given == [(X.shape, None)]
    with pytest.raises(ValueError, match=r"`other_shape`, but `call\(\)` does not have .* `other`"):
        make(lambda self, left_shape, other_shape: None)(X, X)
    with pytest.raises(ValueError, match="`right`, which does not end in `_shape`"):
        make(lambda self, left_shape, right: None)(X, X)


def test_old_methods():
    layer = layers.Layer()
    assert layer.add_variable((2,), "ones", name="w").path == "layer/w"
    with pytest.raises(NotImplementedError, match="compile"):
        layer.add_metric(1.0, name="mean")
    with pytest.raises(ValueError, match=r"keyword argument.*name='kernel'"):
        layer.add_weight("kernel", shape=(2, 3))
    with pytest.raises(ValueError, match="`shape` was passed both"):
        layer.add_weight((2, 3), shape=(2, 3))
    with pytest.raises(TypeError, match="at most 3 positional arguments"):
        layer.add_weight((2, 3), "ones", "int32", "w")
    assert layer.add_weight((2, 3), "ones", "int32", name="w").dtype == "int32"
    with pytest.raises(TypeError, match=r"layout is a `distribution\.TensorLayout`"):
        cornu.Variable([1.0], layout="data")


@pytest.mark.parametrize("k", [cornu, keras], ids=["cornu", "keras"])
def test_state_as_a_tree(k):
    k.utils.clear_session()
    model = k.Sequential([k.Input((3,)), k.layers.Dense(2), k.layers.BatchNormalization()])
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(X, X[:, :2], verbose=0)
    tree = model.get_state_tree("numpy_array")
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    assert len(paths) == 20 and "['trainable_variables']['sequential']['dense']['bias']" in paths
    assert sorted(tree["metrics_variables"]) == ["loss", "mean_absolute_error"]
    model.fit(X, X[:, :2], verbose=0)
    model.set_state_tree(tree)
    jax.tree.map(np.testing.assert_array_equal, model.get_state_tree(), tree)


def test_a_tree_that_does_not_fit():
    model = cornu.Sequential([cornu.Input((3,)), layers.Dense(2, name="d")], name="m")
    before = model.get_weights()
    for tree, message in (
        ({"weights": {}}, "Unknown variable name: weights"),
        ({"trainable_variables": {"m": {"e": {"bias": [1, 2]}}}}, "path 'm/e/bias'. It has: m/d/k"),
        ({"trainable_variables": {"m": {"d": {"bias": [1], "kernel": 0}}}}, r"shape \(2,\) has"),
    ):
        with pytest.raises(ValueError, match=message):
            model.set_state_tree(tree)
    with pytest.raises(ValueError, match="value_format='list'"):
        model.get_state_tree("list")
    for own, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, other)


def test_weights_are_not_made_in_call():
    class Careless(layers.Layer):
        def call(self, x):
            return x * self.add_weight(shape=(), initializer="ones")

    for x in (X, cornu.Input((3,))):
        with pytest.raises(ValueError, match=r"cannot add new elements of state in `call`"):
            Careless()(x)


@pytest.mark.parametrize("k", [cornu, keras], ids=["cornu", "keras"])
def test_shapes_of_masks_for_build(k):
    class Own(k.layers.Layer):
        def build(self, inputs_shape, attention_mask_shape=None):
            self.shapes = inputs_shape, attention_mask_shape

        def call(self, inputs, attention_mask=None):
            return inputs

    layer = Own()
    layer(X, attention_mask=np.ones((4, 1)))
    assert layer.shapes == ((4, 3), (4, 1))


def test_a_policy_that_is_a_name_is_passed_on_as_one():
    class Own(layers.Layer):
        def __init__(self, dtype="float32", **kwargs):
            super().__init__(dtype=dtype, **kwargs)
            self.given = dtype

    assert Own.from_config(Own(dtype="mixed_bfloat16").get_config()).given == "mixed_bfloat16"
    config = layers.Dense(2, dtype="int8_from_float32").get_config()
    assert layers.Dense.from_config(config).quantization_mode == "int8"


def test_masks_of_merging_layers_are_lists():
    layer = layers.Add()
    for inputs, mask, message in (
        ([X, X], X[:, 0] > 0, "`mask` should be a list"),
        (X, [None, None], "`inputs` should be a list"),
        ([X, X], [None], "same length"),
    ):
        with pytest.raises(ValueError, match=message):
            layer.compute_mask(inputs, mask)


class TwoWeights(layers.Layer):
    """Its bias has a sensible shape for some inputs alone."""

    def __init__(self):
        super().__init__()
        self.inner = layers.Rescaling(2.0)

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], 2))
        self.bias = self.add_weight((2,) if input_shape[-1] > 1 else (None,))

    def call(self, inputs):
        return self.inner(inputs @ self.kernel) + self.bias


@pytest.mark.parametrize(
    "make, shapes",
    [
        (TwoWeights, [(None, 5)]),
        (lambda: layers.Dense(3), [(None, 5)]),
        (lambda: layers.GRUCell(3), [(None, 5)]),
        (layers.BatchNormalization, [(None, 5)]),
        (lambda: layers.MultiHeadAttention(2, 3), [(None, 4, 5), (None, 4, 5)]),
    ],
)
def test_weights_are_made_once(make, shapes):
    layer = make()
    layer.build(*shapes)
    weights = layer.weights
    with pytest.raises(ValueError, match="is built already: a second `build` would make"):
        layer.build(*shapes)
    assert list(map(id, layer.weights)) == list(map(id, weights))


def test_a_build_that_failed_leaves_no_weights():
    layer = TwoWeights()
    with pytest.raises((ValueError, TypeError)):
        layer.build((None, 1))
    assert not layer.built and not layer.weights
    layer(np.ones((3, 5)))
    assert len(layer.weights) == 2


def freeze(model, *steps):
    for names, value in steps:
        found = model
        for name in names.split():
            found = found.get_layer(name) if name[0] != "." else getattr(found, name[1:])
        found.trainable = value


@pytest.mark.parametrize(
    "steps",
    [
        [("base", False)],
        [("base", False), ("base last", True)],
        [("base last", True), ("base", False)],
        [("base", False), ("base last .bias", True)],
        [("base", False), ("base last", True), ("base", True), ("base first", False)],
        [("", False), ("base last", True)],
        [("base last", False), ("", True), ("base inner", False), ("base inner dense", True)],
    ],
)
def test_what_was_frozen_last_counts(steps):
    trained = []
    for k in (cornu, keras):
        inner = k.Sequential([k.Input((4,)), k.layers.Dense(4, name="dense")], name="inner")
        parts = [k.layers.Dense(4, name="first"), inner, k.layers.Dense(4, name="last")]
        base = k.Sequential([k.Input((4,)), *parts], name="base")
        model = k.Sequential([k.Input((4,)), base, k.layers.Dense(1, name="head")])
        freeze(model, *steps)
        ids = set(map(id, model.trainable_weights))
        trained.append([id(weight) in ids for weight in model.weights])
    assert trained[0] == trained[1]


def test_what_is_made_in_a_frozen_layer_is_frozen():
    class Block(layers.Layer):
        def build(self, input_shape):
            self.inner = layers.Dense(3)
            self.inner.build(input_shape)

        def call(self, inputs):
            return self.inner(inputs)

    frozen, later = Block(trainable=False), Block()
    later.trainable = False
    model = cornu.Sequential([cornu.Input((3,)), frozen, later, layers.Dense(1)])
    assert len(model.weights) == 6 and len(model.trainable_weights) == 2
    frozen.inner.trainable = True
    assert len(model.trainable_weights) == 4
