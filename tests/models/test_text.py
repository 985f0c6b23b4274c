"""Models that take text: what reads it runs on the host, the rest is compiled."""

import numpy as np
import pytest

import cornu
from cornu import Input, Model, Sequential, layers
from cornu.data import Dataset

TEXTS = np.array([["the cat"], ["a dog sat"], ["the the"], ["x"]] * 3)
LABELS = np.arange(12) % 2


def vectorization():
    layer = layers.TextVectorization(output_sequence_length=4)
    layer.adapt(TEXTS)
    return layer


def network(first, *more):
    rest = [layers.Embedding(9, 3), layers.GlobalAveragePooling1D(), layers.Dense(1)]
    model = Sequential([*more, first, *rest])
    model.compile("sgd", "mse")
    return model


@pytest.fixture(scope="module")
def model():
    return network(vectorization(), Input((1,), dtype="string"))


class Batches(cornu.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        return TEXTS[rows], LABELS[rows]


def test_predictions_are_those_of_calls(model):
    expected = np.asarray(model(TEXTS))
    data = Dataset.from_tensor_slices((TEXTS, LABELS)).batch(4)
    kinds = (TEXTS, TEXTS.tolist(), TEXTS[:, 0], TEXTS.astype(object), data, Batches())
    for x in kinds:
        np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    np.testing.assert_array_equal(model.predict_on_batch(TEXTS), expected)
    np.testing.assert_array_equal(model(["the cat"]), expected[:1])


def test_training_is_that_on_numbers(model):
    layer = model.layers[0]
    bare = network(layers.Identity(), Input((4,), dtype="int32"))
    bare.set_weights(model.get_weights())
    numbers = np.asarray(layer(TEXTS))
    steps = {"epochs": 2, "verbose": 0, "shuffle": False, "batch_size": 4}
    expected = bare.fit(numbers, LABELS, validation_data=(numbers, LABELS), **steps).history
    found = model.fit(TEXTS, LABELS, validation_data=(TEXTS, LABELS), **steps).history
    assert found == expected
    assert model.evaluate(TEXTS, LABELS, verbose=0) == bare.evaluate(numbers, LABELS, verbose=0)
    assert model.train_on_batch(TEXTS, LABELS) == bare.train_on_batch(numbers, LABELS)
    more = bare.fit(numbers, LABELS, validation_split=0.5, **steps).history
    assert model.fit(TEXTS, LABELS, validation_split=0.5, **steps).history == more
    more = bare.fit(numbers, LABELS, **steps).history
    batches = ((TEXTS[i : i + 4], LABELS[i : i + 4]) for _ in range(2) for i in (0, 4, 8))
    steps = {"epochs": 2, "verbose": 0, "steps_per_epoch": 3}
    assert model.fit(batches, **steps).history == more


def test_rows_are_as_long_as_the_longest_of_their_batch():
    layer = layers.TextVectorization()
    layer.adapt(TEXTS)
    # An average over all words depends on how many are filled up.
    made = network(layer, Input((1,), dtype="string"))
    np.testing.assert_array_equal(
        made.predict(TEXTS, batch_size=1, verbose=0), [made(x[None])[0] for x in TEXTS]
    )
    batches = Dataset.from_tensor_slices((TEXTS, LABELS)).batch(3)
    assert made.evaluate(TEXTS, LABELS, 3, verbose=0) == made.evaluate(batches, verbose=0)
    weights, found = made.get_weights(), []
    for data in ((TEXTS, LABELS, 3), (batches,)):
        made.set_weights(weights)
        history = made.fit(*data, shuffle=False, epochs=2, verbose=0)
        found.append((history.history, made.get_weights()[1].tolist()))
    assert found[0] == found[1]
    # Where outputs are as long as the rows, those of all have one length.
    words = Model(made.inputs, made.layers[1].output)
    assert words.predict(TEXTS, batch_size=3, verbose=0).shape == (12, 3, 3)


def test_files(model, tmp_path):
    model.save(tmp_path / "text.keras")
    again = cornu.models.load_model(tmp_path / "text.keras")
    assert again.layers[0].get_vocabulary() == model.layers[0].get_vocabulary()
    np.testing.assert_array_equal(again.predict(TEXTS, verbose=0), model.predict(TEXTS, verbose=0))


def test_sequential_without_input():
    model = network(vectorization())
    assert model(TEXTS[:2]).shape == (2, 1) and model.input.dtype == "string"
    model = network(vectorization())
    assert set(model.fit(TEXTS, LABELS, verbose=0).history) == {"loss"}


def test_text_beside_numbers(tmp_path):
    text, number = (
        Input((1,), dtype="string", name="text"),
        Input((1,), dtype="int32", name="number"),
    )
    float_ = Input((2,), name="float")
    lookup = layers.IntegerLookup(vocabulary=[3, 4])(number)
    bins = layers.Hashing(5)(number)
    parts = [
        layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(text),
        layers.CategoryEncoding(3)(lookup),
        layers.HashedCrossing(4, output_mode="one_hot")((text, number)),
        layers.HashedCrossing(4, output_mode="one_hot")((lookup, bins)),
        float_,
    ]
    model = Model([text, number, float_], layers.Dense(1)(layers.Concatenate()(parts)))
    model.compile("sgd", "mse")
    data = {
        "text": np.array([["a"], ["z"], ["b"]]),
        "number": np.array([[3], [9], [4]]),
        "float": np.ones((3, 2)),
    }
    expected = np.asarray(model(data))
    np.testing.assert_allclose(model.predict(data, verbose=0), expected, rtol=1e-6)
    model.fit(data, np.ones(3), verbose=0)
    model.save(tmp_path / "mixed.keras")
    again = cornu.models.load_model(tmp_path / "mixed.keras")
    np.testing.assert_array_equal(again.predict(data, verbose=0), model.predict(data, verbose=0))


def test_what_cannot_be_compiled_is_said(model):
    with pytest.raises(ValueError, match=r"'text_vectorization.*' runs on the host"):
        model.export("model.onnx")
    text = Input((1,), dtype="string")
    outer = Model(text, layers.Dense(1)(model(text)))
    outer.compile("sgd", "mse")
    assert outer.predict(TEXTS, verbose=0).shape == (12, 1)
    with pytest.raises(ValueError, match=r"'sequential.*' has trainable weights and takes text"):
        outer.fit(TEXTS, LABELS, verbose=0)
    number = Input((2,), dtype="int32")
    words = Model(number, layers.StringLookup(vocabulary=["a"], invert=True)(number))
    assert words(np.array([[1, 0]])).tolist() == [["a", "[UNK]"]]
    with pytest.raises(ValueError, match=r"output 'string_lookup.*' is text"):
        words.predict(np.array([[1, 0]]), verbose=0)
    with pytest.raises(TypeError, match="dtype='string', and an array of float32"):
        model(np.ones((2, 1)))
    plain = Sequential([Input((1,)), layers.Dense(1)])
    with pytest.raises(TypeError, match="dtype='float32', and text"):
        plain(TEXTS)
    with pytest.raises(ValueError, match="the data hold text"):
        plain.predict(TEXTS, verbose=0)
    with pytest.raises(TypeError, match="takes numbers, and got text"):
        layers.Dense(2)(text)
