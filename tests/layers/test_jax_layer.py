"""Functions of JAX, pipelines and embeddings that go back, compared with Keras'."""

import sys
import types

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.core import registry

X = np.random.RandomState(0).randn(6, 3).astype("float32")
Y = X.sum(1, keepdims=True)


@registry.register_keras_serializable("jax_layer")
@keras.saving.register_keras_serializable("jax_layer")
def start(rng, inputs):
    weights = {"w": jax.random.normal(rng, (inputs.shape[-1], 2)), "b": jnp.zeros(2)}
    return weights, {"calls": jnp.zeros((), "int32")}


@registry.register_keras_serializable("jax_layer")
@keras.saving.register_keras_serializable("jax_layer")
def compute(params, state, rng, inputs, training):
    outputs = inputs @ params["w"] + params["b"]
    if training:
        outputs = outputs + 0.01 * jax.random.normal(rng, outputs.shape)
    return outputs, {"calls": state["calls"] + 1}


def network(k):
    k.utils.set_random_seed(3)
    inputs = k.Input((3,))
    # To make them, Keras needs TensorFlow.
    params, state = {"w": np.ones((3, 2)), "b": np.zeros(2)}, {"calls": np.zeros((), "int32")}
    layer = k.layers.JaxLayer(compute, start, params=params, state=state, seed=1)
    model = k.Model(inputs, k.layers.Dense(1)(layer(inputs)))
    model.compile("sgd", "mse")
    return model, model.fit(X, Y, epochs=3, batch_size=2, verbose=0).history["loss"]


def test_training_and_files(tmp_path):
    model, losses = network(cornu)
    theirs, expected = network(keras)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(model.predict(X, verbose=0), theirs.predict(X, verbose=0), rtol=1e-5)
    assert [w.shape for w in model.layers[1].weights] == [(2,), (3, 2), ()]
    config, other = model.layers[1].get_config(), theirs.layers[1].get_config()
    assert set(config) == set(other)
    for each in (model, theirs):
        each.save(tmp_path / "model.keras")
        again = cornu.models.load_model(tmp_path / "model.keras")
        found, expected = again.predict(X, verbose=0), each.predict(X, verbose=0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_parameters_are_made_for_the_inputs():
    layer = layers.JaxLayer(compute, start)
    assert not layer.built and layer.compute_dtype == "float32"

    class Own(cornu.Model):
        def __init__(self):
            super().__init__()
            self.inner = layer

        def call(self, x):
            return self.inner(x)

    model = Own()
    assert model.predict(X, verbose=0).shape == (6, 2)
    assert [w.shape for w in model.trainable_weights] == [(2,), (3, 2)]


def test_given_parameters():
    layer = layers.JaxLayer(
        lambda params, inputs: inputs * params["a"], params={"a": 2.0, "n": "x"}
    )
    assert layer.built and layer(X).shape == X.shape and layer.count_params() == 1
    np.testing.assert_allclose(layer(X), 2 * X, rtol=1e-6)
    assert layers.JaxLayer(lambda inputs: inputs + 1)(X)[0, 0] == X[0, 0] + 1
    for arguments, message in (
        ({"call_fn": lambda params, inputs: inputs}, "cannot all be `None`"),
        ({"call_fn": lambda x: x}, "an argument `inputs`"),
        ({"call_fn": lambda inputs, key: inputs}, "unsupported argument `key`"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.JaxLayer(**arguments)
    wrong = layers.JaxLayer(lambda state, inputs: (inputs, [state]), state=jnp.zeros(2))
    with pytest.raises(ValueError, match="another structure"):
        wrong(X)


def test_other_engines(monkeypatch):
    with pytest.raises(NotImplementedError, match="SavedModel"):
        layers.TFSMLayer("folder")
    with pytest.raises(NotImplementedError, match="module of PyTorch"):
        layers.TorchModuleWrapper(object())
    monkeypatch.setitem(sys.modules, "flax", None)
    monkeypatch.setitem(sys.modules, "flax.linen", None)
    with pytest.raises(ImportError, match="pip install flax"):
        layers.FlaxLayer(object())


def test_flax_modules(monkeypatch):
    """With a stand-in that has what the layer asks of a module."""
    linen = types.ModuleType("flax.linen")
    linen.DenyList = tuple
    monkeypatch.setitem(sys.modules, "flax", types.ModuleType("flax"))
    monkeypatch.setitem(sys.modules, "flax.linen", linen)

    class Module:
        def __call__(self, inputs, training=False):
            raise NotImplementedError

        def init(self, rngs, inputs, method=None, training=False):
            assert set(rngs) == {"params", "dropout"} and training
            return {"params": {"w": jnp.ones((3, 2))}, "stats": {"sum": jnp.zeros(2)}}

        def apply(self, variables, inputs, rngs, method, mutable, training=False):
            assert ("dropout" in rngs) == training and mutable == ("params",)
            outputs = inputs @ variables["params"]["w"]
            return outputs, {"stats": {"sum": outputs.sum(0)}}

    layer = layers.FlaxLayer(Module())
    outputs = layer(X, training=True)
    np.testing.assert_allclose(layer.state["stats"]["sum"].value, outputs.sum(0), rtol=1e-6)
    assert [w.shape for w in layer.trainable_weights] == [(3, 2)]
    np.testing.assert_allclose(layer(X), outputs, rtol=1e-6)


def test_pipeline():
    x = np.random.RandomState(0).randint(0, 255, (2, 8, 8, 3)).astype("uint8")
    made = []
    for k in (cornu, keras):
        inner = [
            k.layers.Rescaling(1 / 255),
            k.layers.RandomFlip(seed=1),
            k.layers.CenterCrop(4, 4),
        ]
        made.append(k.layers.Pipeline(inner, name="same"))
    ours, theirs = made
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-6)
    np.testing.assert_allclose(ours(x, training=False), theirs(x, training=False), rtol=1e-6)
    config = ours.get_config()
    assert set(config) == set(theirs.get_config())
    again = layers.Pipeline.from_config(theirs.get_config())
    np.testing.assert_allclose(again(x, training=False), ours(x, training=False), rtol=1e-6)
    inputs = cornu.Input((8, 8, 3), dtype="uint8")
    model = cornu.Model(inputs, ours(inputs))
    assert model.output_shape == (None, 4, 4, 3)
    words = layers.Pipeline([layers.StringLookup(vocabulary=["a"]), layers.Embedding(2, 3)])
    text = cornu.Input((2,), dtype="string")
    model = cornu.Model(text, words(text))
    inputs = np.array([["a", "b"]])
    np.testing.assert_array_equal(model.predict(inputs, verbose=0), words(inputs))
    with pytest.raises(ValueError, match="takes layers"):
        layers.Pipeline([1])


@pytest.mark.parametrize("arguments", [{}, {"tie_weights": False, "logit_soft_cap": 2.0}])
def test_embedding_and_back(arguments):
    made = []
    for k in (cornu, keras):
        k.utils.set_random_seed(1)
        layer = k.layers.ReversibleEmbedding(5, 3, mask_zero=True, name="same", **arguments)
        vectors = layer(np.array([[1, 2, 0]]))
        made.append((layer.get_config(), vectors, layer(vectors, reverse=True)))
    (ours, *arrays), (theirs, *others) = made
    assert ours == theirs
    for mine, other in zip(arrays, others, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    layer = layers.ReversibleEmbedding(5, 3, mask_zero=True, dtype="mixed_bfloat16", **arguments)
    symbol = layer(cornu.Input((4,), dtype="int32"))
    assert symbol._keras_mask.shape == (None, 4) and symbol.dtype == "bfloat16"
    back = layer(symbol, reverse=True)
    assert back.shape == (None, 4, 5) and back.dtype == "bfloat16"
    layer.reverse_dtype = "float32"
    assert layer(layer(np.array([[1]])), reverse=True).dtype == "float32"
    with pytest.raises(NotImplementedError, match=r"\(ReversibleEmbedding\).* cannot be quantized"):
        layers.ReversibleEmbedding(5, 3, dtype="int4_from_float32")(np.array([[1]]))
