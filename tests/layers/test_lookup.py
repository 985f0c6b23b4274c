"""Layers that look up, hash and split: Keras computes them with TensorFlow, whose numbers are written down.

They were computed with Keras 3.15.1 on JAX and TensorFlow 2.21: `print(layer(inputs))`.
"""

import json

import jax
import numpy as np
import pytest

from cornu import layers

WORDS = np.array([["a", "", "q"], ["w", "e", "b"]])
VOCABULARY = ["a", "b", "c d"]


OF_FIVE = [[5, 3, 3], [4, 1, 6]]
OF_FIVE_SALTED = [[6, 0, 2], [4, 5, 7]]
OF_INTEGERS = {
    ("floormod", None): [[6, 7, 3], [3, 0, 4]],
    ("farmhash", None): [[6, 7, 4], [1, 0, 4]],
    ("farmhash", 7): [[6, 7, 3], [1, 0, 5]],
}
OF_TEXTS = {
    "['ngrams', 'output_sequence_length']": (
        "|[UNK]|été À|été|À la|À|world foobar|world|mode|la mode|la|hello world|hello|foobar|e|d e|d|c d|c|b c|b|a b|a",  # noqa: E501
        [[12, 7, 13], [0, 0, 0], [3, 5, 10], [22, 20, 18]],
    ),
    "['output_sequence_length', 'split', 'standardize']": (
        "|[UNK]| |o|l|e|d|a|é|r|b|À|t|f|c|W|M|H|\t",
        [
            [17, 5, 4, 4, 3, 2, 15, 3, 9, 4, 6, 2],
            [2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            [8, 12, 8, 2, 11, 2, 4, 7, 18, 16, 3, 6],
            [7, 2, 10, 2, 14, 2, 6, 2, 5, 0, 0, 0],
        ],
    ),
    "['split', 'standardize']": (
        "|[UNK]|ÉTÉ À LA\tMODE|HELLO, WORLD! FOO|BAR|A B C D E|  ",
        [[3, 4], [6, 0], [2, 0], [5, 0]],
    ),
    "['ngrams', 'output_mode', 'standardize']": (
        "[UNK]|été À la|été|À la Mode|À|la|foo-bar|e|d|c d e|c|b c d|b|a b c|a|World!|Mode|Hello, World! foo-bar|Hello,",  # noqa: E501
        [
            [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1],
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        ],
    ),
    "['max_tokens', 'output_mode', 'pad_to_max_tokens']": (
        "[UNK]|été|À|world|mode",
        [[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 1], [1, 0, 0, 0, 0]],
    ),
}
OF_HASHING = [0, 2, 50]
OF_CROSSING = [4, 0]


def test_strings():
    def found(**arguments):
        return np.asarray(layers.StringLookup(vocabulary=VOCABULARY, **arguments)(WORDS)).tolist()

    assert found() == [[1, 0, 0], [0, 0, 2]]
    assert found(mask_token="") == [[2, 0, 1], [1, 1, 3]]
    assert found(num_oov_indices=5) == OF_FIVE
    assert found(num_oov_indices=5, salt=7, mask_token="") == OF_FIVE_SALTED
    assert found(output_mode="multi_hot") == [[1, 1, 0, 0], [1, 0, 1, 0]]
    assert found(output_mode="count", mask_token="") == [[1, 1, 0, 0], [2, 0, 1, 0]]
    assert np.shape(found(output_mode="one_hot")) == (2, 3, 4)
    weights = {"output_mode": "tf_idf", "idf_weights": [0.5, 0.25, 0.75]}
    assert found(**weights) == [[1, 0.5, 0, 0], [1, 0, 0.25, 0]]
    with pytest.raises(ValueError, match=r"in vocabulary. Found: \['', 'q', 'w', 'e'\]"):
        found(num_oov_indices=0)


def test_kinds_of_text():
    layer = layers.StringLookup(vocabulary=VOCABULARY)
    for text in (
        ["a", "é"],
        np.array(["a", "é"], object),
        np.array([b"a", b"\xc3\xa9"]),
        [b"a", "é"],
    ):
        assert layer(text).tolist() == [1, 0]
    assert int(layer("b")) == 2 and layer(np.empty((0, 2), "U1")).shape == (0, 2)
    with pytest.raises(TypeError, match="takes text"):
        layer(np.array([1, 2]))
    with pytest.raises(TypeError, match="None"):
        layer(np.array(["a", None], object))
    with pytest.raises(ValueError, match="one length"):
        layer([["a"], ["a", "b"]])
    with pytest.raises(TypeError, match="takes numbers, and got text"):
        layers.Dense(2)(WORDS)
    back = layers.StringLookup(vocabulary=VOCABULARY, invert=True, mask_token="")
    assert back(np.array([0, 1, 2, 9])).tolist() == ["", "[UNK]", "a", "[UNK]"]


def test_learned_vocabulary():
    documents = np.array([["a", "b", "a"], ["b", "c", "d"], ["[UNK]", "b", "e"]])
    layer = layers.StringLookup(output_mode="tf_idf")
    layer.adapt(documents)
    assert layer.get_vocabulary() == ["[UNK]", "b", "a", "e", "d", "c"]
    expected = [0.8449558, 0.5596158, 0.9162908, 0, 0, 0]
    np.testing.assert_allclose(layer(np.array([["a", "z", "b"]]))[0], expected, rtol=1e-6)
    batches = layers.StringLookup(max_tokens=3)
    batches.adapt((row for row in documents), steps=2)
    assert batches.get_vocabulary() == ["[UNK]", "b", "a"] and batches.vocabulary_size() == 3
    padded = layers.StringLookup(max_tokens=9, output_mode="count", pad_to_max_tokens=True)
    padded.adapt(documents)
    assert padded(documents).shape == padded.compute_output_shape((3, 3)) == (3, 9)
    with pytest.raises(ValueError, match="was given a `vocabulary`"):
        layers.StringLookup(vocabulary=["a"]).adapt(documents)
    with pytest.raises(RuntimeError, match="no vocabulary yet"):
        layers.StringLookup()(documents)
    fixed = layers.StringLookup(output_mode="count", vocabulary=["a"])
    with pytest.raises(RuntimeError, match="size cannot be changed"):
        fixed.set_vocabulary(["a", "b"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"vocabulary": ["a", "a"]}, "repeated term"),
        ({"vocabulary": ["a", ""], "mask_token": ""}, "reserved mask token"),
        ({"vocabulary": ["a", "[UNK]"], "invert": True}, "reserved OOV token"),
        ({"vocabulary": []}, "empty vocabulary"),
        ({"vocabulary": ["a", "b"], "max_tokens": 2}, "larger than the maximum"),
        ({"max_tokens": 1}, "greater than 1"),
        ({"num_oov_indices": -1}, "0 or greater"),
        ({"pad_to_max_tokens": True}, "needs `max_tokens`"),
        ({"invert": True, "output_mode": "count"}, "must be 'int'"),
        ({"idf_weights": [1.0]}, "only be set"),
        ({"output_mode": "tf_idf", "vocabulary": ["a"]}, "needs its `idf_weights`"),
        ({"sparse": True, "output_mode": "count"}, "not supported"),
        ({"salt": "x"}, "salt"),
        ({"output_mode": "text"}, "output_mode"),
        ({"oov_method": "x"}, "oov_method"),
        ({"vocabulary": "no-such-file.txt"}, "does not exist"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.StringLookup(**arguments)


def test_a_file_names_no_vocabulary_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a\nb\n", "utf-8")
    for kind in (layers.StringLookup, layers.TextVectorization):
        layer = kind(vocabulary=str(path))
        assert layer.get_vocabulary(include_special_tokens=False) == ["a", "b"]
        config = {**layer.get_config(), "vocabulary": str(path)}
        with pytest.raises(ValueError, match="names a vocabulary file"):
            kind.from_config(config)


@pytest.mark.parametrize("method, salt", [("floormod", None), ("farmhash", None), ("farmhash", 7)])
def test_integers(method, salt):
    arguments = {"vocabulary": [12, 36, 2**40], "num_oov_indices": 5, "oov_method": method}
    layer = layers.IntegerLookup(**arguments, salt=salt, mask_token=0)
    numbers = np.array([[12, 36, 7], [-1138, 0, 38]])
    assert layer(numbers).tolist() == OF_INTEGERS[method, salt]
    compiled = jax.jit(lambda x: layer(x))(numbers.astype("int32"))
    assert compiled.tolist() == layer(numbers).tolist()
    assert layer(np.array([2**40])).tolist() == [8]


def test_integers_and_back():
    layer = layers.IntegerLookup(vocabulary=[12, 36], invert=True, mask_token=0)
    numbers = np.array([[0, 1, 2, 3, 9, -1]])
    expected = [[0, -1, 12, 36, -1, -1]]
    assert layer(numbers).tolist() == jax.jit(lambda x: layer(x))(numbers).tolist() == expected
    large = layers.IntegerLookup(vocabulary=[2**40], invert=True)
    assert large(np.array([1])).tolist() == [2**40]
    with pytest.raises(TypeError, match="more than 32 bits"):
        jax.jit(lambda x: large(x))(np.array([1]))
    wide = layers.IntegerLookup(vocabulary=[3])
    assert wide(np.array([3, 2**32 - 1], "uint32")).tolist() == [1, 0]
    assert wide(np.array([3], "uint64")).tolist() == [1]
    with pytest.raises(TypeError, match="do not fit"):
        wide(np.array([2**64 - 1], "uint64"))
    with pytest.raises(TypeError, match="do not fit"):
        jax.jit(lambda x: wide(x))(np.array([3], "uint32"))
    strict = layers.IntegerLookup(vocabulary=[12], num_oov_indices=0)
    assert strict([12]).tolist() == [0]
    with pytest.raises(ValueError, match="Found: "):
        strict([13])
    with pytest.raises(TypeError, match="compiled program"):
        jax.jit(lambda x: strict(x))(np.array([12]))
    with pytest.raises(TypeError, match="takes integers"):
        layer(["a"])
    counted = layers.IntegerLookup()
    counted.adapt(np.array([[12, 1138, 42], [42, 1000, 36]]))
    assert counted.get_vocabulary() == [-1, 42, 1138, 1000, 36, 12]


TEXTS = ["Hello, World! foo-bar", "  ", "été À la\tMode", "a b c d e"]


def test_texts():
    layer = layers.TextVectorization()
    layer.adapt(["The cat, sat!", "a cat  on\tThe mat É", "dog"])
    words = ["", "[UNK]", "the", "cat", "É", "sat", "on", "mat", "dog", "a"]
    assert layer.get_vocabulary() == words
    expected = [[9, 2, 8, 6], [1, 0, 0, 0], [2, 2, 3, 0]]
    assert layer(["a the dog on", "x", "the the CAT"]).tolist() == expected
    assert layer(np.array([["x"], ["mat"]])).tolist() == [[1], [7]]
    assert layer("a dog").tolist() == [9, 8]
    with pytest.raises(ValueError, match="size 1"):
        layer(np.array([["a", "b"]]))


@pytest.mark.parametrize("arguments", [
    {"output_sequence_length": 3, "ngrams": 2},
    {"split": "character", "standardize": "strip_punctuation", "output_sequence_length": 12},
    {"split": lambda texts: [t.split("-") for t in texts], "standardize": np.char.upper},
    {"output_mode": "count", "ngrams": (1, 3), "standardize": None},
    {"output_mode": "multi_hot", "max_tokens": 5, "pad_to_max_tokens": True},
])  # fmt: skip
def test_splitting(arguments):
    layer = layers.TextVectorization(**arguments)
    layer.adapt(TEXTS)
    found = np.asarray(layer(np.array(TEXTS)))
    vocabulary, expected = OF_TEXTS[str(sorted(arguments))]
    assert "|".join(layer.get_vocabulary()) == vocabulary
    assert found.tolist() == expected
    shape = layer.compute_output_shape((4,))
    assert all(n in (None, m) for n, m in zip(shape, found.shape, strict=True))


def test_words_that_are_split_already():
    layer = layers.TextVectorization(split=None, vocabulary=["a", "b c"], standardize="lower")
    assert layer(np.array([["A", "B C"], ["x", ""]])).tolist() == [[2, 3], [1, 0]]
    assert layer(["a", "x"]).tolist() == [2, 1]
    for arguments, message in (
        ({"ragged": True}, "ragged"),
        ({"split": "word"}, "split"),
        ({"standardize": "upper"}, "standardize"),
        ({"ngrams": 0}, "ngrams"),
        ({"output_mode": "count", "output_sequence_length": 3}, "output_sequence_length"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.TextVectorization(**arguments)


def test_hashing():
    letters = [["A"], ["B"], ["C"], ["D"], ["E"]]
    bins = {None: [1, 0, 1, 1, 2], 133: [0, 0, 2, 1, 0], (133, 137): [1, 2, 1, 0, 2]}
    for salt, expected in bins.items():
        layer = layers.Hashing(3, salt=salt)
        assert np.ravel(layer(letters)).tolist() == expected
    masked = layers.Hashing(3, mask_value="")
    assert masked([["A"], [""]]).tolist() == [[1], [0]]
    numbers = np.array([1, -2, 30000])
    layer = layers.Hashing(100, mask_value=1, output_mode="one_hot")
    for x in (numbers, numbers.astype("float32"), numbers.astype("int32")):
        assert np.argmax(layer(x), -1).tolist() == OF_HASHING
    with pytest.raises(ValueError, match="num_bins"):
        layers.Hashing(0)
    with pytest.raises(ValueError, match="dtype"):
        layers.Hashing(3, dtype="float32")


def test_combinations():
    layer = layers.HashedCrossing(7, output_mode="one_hot")
    pair = (["A", "B"], [101, 101])
    assert np.argmax(layer(pair), -1).tolist() == OF_CROSSING
    assert layer(pair).shape == layer.compute_output_shape([(2,), (2,)])
    for wrong, message in (
        ([["A"]], "at least two"),
        ((["A"], ["B", "C"]), "equal shape"),
        (([1.5], ["a"]), "integers or text"),
        ((np.ones((2, 2), int), np.ones((2, 2), int)), "should have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            layer(wrong)


@pytest.mark.parametrize("kind", ["StringLookup", "TextVectorization", "IntegerLookup", "Hashing"])
def test_configuration(kind):
    arguments = {"num_bins": 3, "salt": 4} if kind == "Hashing" else {"output_mode": "count"}
    layer = getattr(layers, kind)(**arguments)
    if hasattr(layer, "adapt"):
        layer.adapt(np.array([[3], [4]]) if kind == "IntegerLookup" else ["a b", "b"])
    config = json.loads(json.dumps(layers.serialize(layer)))
    assert layers.deserialize(config).get_config() == layer.get_config()
