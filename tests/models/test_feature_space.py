"""`FeatureSpace`: Keras computes it with TensorFlow 2.21, whose numbers are written down here."""

import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.data import Dataset
from cornu.utils import FeatureSpace

DATA = {
    "d": [1.0, 2.0, 3.0, 9.0],
    "f": [0.0, 0.1, 0.2, 0.3],
    "f2": [1, 2, 3, 4],
    "f3": [5.0, 6.0, 7.0, 8.0],
    "h": ["a", "b", "c", "d"],
    "i": [0, 1, 2, 3],
    "ih": [4, 5, 6, 7],
    "s": ["zero", "one", "two", "zero"],
}
# `np.asarray(space(DATA))`, of which those that are not floats: the places of the ones.
ONES = [
    [0, 9, 16, 20, 22, 29, 35],
    [1, 10, 15, 20, 24, 25, 31],
    [2, 10, 14, 20, 23, 29, 33],
    [2, 11, 13, 17, 22, 28, 31],
]
NORMALIZED = [-1.3416407, -0.4472136, 0.4472136, 1.3416407]


def space(output_mode="concat"):
    cornu.utils.clear_session()
    features = {
        "f": "float_normalized",
        "s": "string_categorical",
        "i": "integer_categorical",
        "d": FeatureSpace.float_discretized(num_bins=3),
        "f2": FeatureSpace.float_rescaled(2.0, 1.0),
        "f3": "float",
        "h": "string_hashed",
        "ih": FeatureSpace.integer_hashed(4),
    }
    crosses = [("s", "i"), FeatureSpace.cross(("i", "ih"), crossing_dim=5)]
    return FeatureSpace(features, output_mode, crosses, crossing_dim=8, hashing_dim=6)


@pytest.fixture(scope="module")
def adapted():
    made = space()
    made.adapt(DATA)
    return made


def test_numbers_are_those_of_keras(adapted):
    found = np.array(adapted(DATA))
    assert found.shape == (4, 38) and found.dtype == "float32"
    np.testing.assert_allclose(found[:, 3], NORMALIZED, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 4:6].T, [[3, 5, 7, 9], DATA["f3"]])
    found[:, 3:6] = 0
    assert [np.flatnonzero(row).tolist() for row in found] == ONES
    one = adapted({name: values[1] for name, values in DATA.items()})
    np.testing.assert_array_equal(one, adapted(DATA)[1])


def test_data_sets(adapted):
    data = Dataset.from_tensor_slices(DATA)
    expected = np.asarray(adapted(DATA))
    for kind in (data, data.batch(2)):
        other = space()
        other.adapt(kind)
        np.testing.assert_allclose(other(DATA), expected, rtol=1e-6)
        found = np.concatenate([np.atleast_2d(x) for x in kind.map(other)])
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_models_and_files(adapted, tmp_path):
    arrays = {name: np.array(values) for name, values in DATA.items()}
    outputs = layers.Dense(1)(adapted.get_encoded_features())
    model = cornu.Model(adapted.get_inputs(), outputs)
    model.compile("sgd", "mse")
    model.fit(arrays, np.ones(4), verbose=0)
    expected = model.layers[-1](adapted(DATA))
    np.testing.assert_allclose(model.predict(arrays, verbose=0), expected, rtol=1e-5, atol=1e-6)
    adapted.save(tmp_path / "space.keras")
    again = cornu.models.load_model(tmp_path / "space.keras")
    np.testing.assert_array_equal(again(DATA), adapted(DATA))
    assert again.get_config() == adapted.get_config()


def test_dicts_of_features():
    names = {"s": DATA["s"], "i": DATA["i"]}
    made = FeatureSpace(
        {
            "s": FeatureSpace.string_categorical(output_mode="int"),
            "i": FeatureSpace.integer_categorical(output_mode="int"),
        },
        output_mode="dict",
        crosses=[FeatureSpace.cross(("s", "i"), 8, output_mode="int")],
    )
    made.adapt(names)
    found = {name: np.ravel(values).tolist() for name, values in made(names).items()}
    assert found == {"i": [4, 3, 2, 1], "s": [1, 3, 2, 1], "s_X_i": [5, 1, 3, 1]}
    text = layers.TextVectorization(output_mode="count")
    own = FeatureSpace({"t": FeatureSpace.feature("string", text, "float")})
    own.adapt({"t": ["a b", "b c"]})
    assert own({"t": ["b b"]}).tolist() == [[0, 2, 0, 0]]


def test_what_is_wrong_is_said(adapted):
    with pytest.raises(ValueError, match="None or empty"):
        FeatureSpace({})
    with pytest.raises(ValueError, match="Invalid feature type for 'a': 'text'"):
        FeatureSpace({"a": "text"})
    with pytest.raises(ValueError, match="unknown features"):
        FeatureSpace({"a": "float"}, crosses=[("a", "b")])
    with pytest.raises(ValueError, match="output_mode"):
        FeatureSpace({"a": "float"}, output_mode="list")
    with pytest.raises(ValueError, match="adapt"):
        space()(DATA)
    with pytest.raises(ValueError, match="read several times"):
        space().adapt(iter([DATA]))
    with pytest.raises(ValueError, match="called with a dict"):
        adapted([1.0])
    with pytest.raises(ValueError, match="lack the features"):
        adapted({"f": [1.0]})
    integers = FeatureSpace({"i": FeatureSpace.integer_hashed(3, output_mode="int")})
    with pytest.raises(ValueError, match="has not been encoded"):
        integers({"i": [1]})
