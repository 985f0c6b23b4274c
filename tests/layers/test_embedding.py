import jax
import keras
import numpy as np
import pytest
from oracle import compare_with_keras

from cornu import layers
from cornu.core.masking import get_mask

IDS = np.array([[1, 4, 0], [2, 2, 0]], "int32")
STEPS = np.array([[[1.0, 2.0], [0.0, 0.0]], [[0.0, 3.0], [-1.0, -1.0]]], "float32")


@pytest.mark.parametrize("arguments", [{}, {"mask_zero": True, "embeddings_regularizer": "l2"}])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_embedding(arguments, dtype):
    compare_with_keras(
        "Embedding", {"input_dim": 5, "output_dim": 3, "dtype": dtype, **arguments}, IDS
    )


def test_ids_may_be_floats_in_mixed_precision():
    layer = layers.Embedding(500, 1, dtype="mixed_bfloat16")
    ids = np.array([[257, 499]])
    np.testing.assert_array_equal(layer(ids.astype("float32")), layer(ids))


def test_given_weights():
    table = np.arange(6.0, dtype="float32").reshape(3, 2)
    for weights in (table, [table]):
        layer = layers.Embedding(3, 2, weights=weights)
        assert layer(np.array([2])).tolist() == [[4.0, 5.0]]
        assert "weights" not in layer.get_config()


def test_mask_of_zeros():
    output = layers.Embedding(5, 3, mask_zero=True)(IDS)
    np.testing.assert_array_equal(get_mask(output), IDS != 0)
    assert get_mask(layers.Embedding(5, 3)(IDS)) is None


def test_outside_of_the_table():
    ours = layers.Embedding(5, 1)(np.array([[5]]))
    theirs = keras.layers.Embedding(5, 1)(np.array([[5]]))
    assert np.isnan(ours).all() and np.isnan(theirs).all()


@pytest.mark.parametrize("arguments", [{"input_dim": 0}, {"output_dim": -1}, {"input_dim": 2.5}])
def test_bad_sizes(arguments):
    with pytest.raises(ValueError, match="must be a positive integer"):
        layers.Embedding(**{"input_dim": 2, "output_dim": 2, **arguments})


def test_input_length_is_gone():
    with pytest.warns(UserWarning, match="`input_length` is deprecated"):
        layers.Embedding(5, 3, input_length=4)


@pytest.mark.parametrize("mask_value", [0.0, -1.0])
def test_masking(mask_value):
    compare_with_keras("Masking", {"mask_value": mask_value}, STEPS)
    output = layers.Masking(mask_value)(STEPS)
    np.testing.assert_array_equal(get_mask(output), np.any(mask_value != STEPS, -1))


def test_mask_goes_through_layers_that_support_it():
    masked = layers.Masking()(STEPS)
    through = layers.Activation("relu")(layers.Dense(3)(layers.Dropout(0.5)(masked)))
    np.testing.assert_array_equal(get_mask(through), get_mask(masked))
    with pytest.warns(UserWarning, match="does not support masking"):
        assert get_mask(layers.Flatten()(masked)) is None


def test_mask_is_found_in_compiled_code():
    masking, softmax = layers.Masking(), layers.Softmax(axis=1)

    def both(x):
        return get_mask(masking(x)), masking(x)

    mask, _ = jax.jit(both)(STEPS)
    np.testing.assert_array_equal(mask, [[True, False], [True, True]])
    assert softmax(STEPS).shape == STEPS.shape
