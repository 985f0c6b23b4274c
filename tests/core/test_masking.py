"""Masks on their way through layers and models; the numbers are NumPy's."""

import jax.numpy as jnp
import numpy as np
import pytest

import cornu
from cornu import layers

IDS = np.array([[1, 2, 0, 0], [3, 0, 4, 0]])
MASK = IDS != 0
X = np.arange(24, dtype="float32").reshape(2, 4, 3)


def embedding():
    values = cornu.initializers.Constant(np.arange(15.0).reshape(5, 3))
    return layers.Embedding(5, 3, mask_zero=True, embeddings_initializer=values)


class Counted(layers.Layer):
    """The inputs where the mask holds; it needs a mask, also while a graph is made."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        assert mask is not None
        return inputs * mask[..., None].astype(inputs.dtype)


class EverySecond(layers.Layer):
    def call(self, inputs):
        return inputs[:, ::2]

    def compute_mask(self, inputs, previous_mask):
        return None if previous_mask is None else previous_mask[:, ::2]


class Pair(layers.Layer):
    def call(self, query, value, query_mask=None, value_mask=None):
        counts = [0 if m is None else m.sum() for m in (query_mask, value_mask)]
        return query[:, 0, :1] * 0 + counts[0] + 100 * counts[1]


def test_outputs_carry_their_mask():
    embedded = embedding()(IDS)
    assert embedded._keras_mask.tolist() == MASK.tolist()
    assert EverySecond()(embedded)._keras_mask.tolist() == MASK[:, ::2].tolist()
    assert layers.Dense(2)(embedded)._keras_mask.tolist() == MASK.tolist()
    # A mask that a layer is given goes on, as one that its input carries does.
    assert Counted()(X, mask=MASK)._keras_mask.tolist() == MASK.tolist()
    with pytest.warns(UserWarning, match="does not support masking"):
        assert not hasattr(layers.Flatten()(embedded), "_keras_mask")
    assert embedding()(cornu.Input((4,), dtype="int32"))._keras_mask.shape == (None, 4)


def test_each_of_several_inputs_has_its_mask():
    embedded = embedding()(IDS)
    pair = Pair()
    with pytest.warns(UserWarning, match="does not support masking"):
        assert pair(embedded, X)[0, 0] == 4
        assert pair(embedded, embedding()(IDS[:1]))[0, 0] == 204
    inputs = [cornu.Input((4, 3)), cornu.Input((4, 3))]
    model = cornu.Model(inputs, Pair()(*inputs))
    with pytest.warns(UserWarning, match="does not support masking"):
        assert float(model([X, X], mask=[MASK, MASK[:1]])[0, 0]) == 204
    assert float(model([X, X], mask=[None, MASK])[0, 0]) == 400
    with pytest.raises(ValueError, match="`mask` has 1 entries"):
        model([X, X], mask=MASK)


@pytest.mark.parametrize("wrap", ["plain", "nested", "sequential", "composite"])
def test_layers_get_masks_while_a_graph_is_made_and_when_it_runs(wrap):
    class Composite(layers.Layer):
        def __init__(self):
            super().__init__()
            self.embedding, self.counted = embedding(), Counted()

        def call(self, inputs):
            return self.counted(self.embedding(inputs))

    inputs = cornu.Input((4,), dtype="int32")
    if wrap == "composite":
        x = Composite()(inputs)
    else:
        inner = cornu.Input((4, 3))
        x = {
            "plain": Counted(),
            "nested": cornu.Model(inner, layers.Dropout(0.5)(inner)),
            "sequential": cornu.Sequential([layers.Dropout(0.5), layers.ReLU()]),
        }[wrap](embedding()(inputs))
    model = cornu.Model(inputs, layers.GlobalAveragePooling1D()(Counted()(x)))
    table = np.arange(15.0).reshape(5, 3)
    right = np.stack([table[row[row != 0]].mean(0) for row in IDS])
    np.testing.assert_allclose(model(IDS), right, rtol=1e-6)
    np.testing.assert_allclose(model.predict(IDS, verbose=0), right, rtol=1e-6)


def test_a_models_mask_argument():
    inputs = cornu.Input((4, 3))
    pooled = X[0, :2].mean(0)
    for model in (
        cornu.Model(inputs, layers.GlobalAveragePooling1D()(layers.Dropout(0.5)(inputs))),
        cornu.Sequential([layers.Dropout(0.5), layers.GlobalAveragePooling1D()]),
    ):
        x = jnp.asarray(X)
        np.testing.assert_allclose(model(x, mask=MASK)[0], pooled, rtol=1e-6)
        # The caller's array is left as it was.
        np.testing.assert_allclose(model(x)[0], X[0].mean(0), rtol=1e-6)
