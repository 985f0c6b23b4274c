"""`Tokenizer`, skip-grams and windows beside Keras' legacy code."""

import json
import random

import numpy as np
import pytest
from keras.src.legacy.preprocessing import sequence as legacy_sequence
from keras.src.legacy.preprocessing import text as legacy_text

from cornu.preprocessing import sequence, text

TEXTS = ["The cat sat, on the mat!", "A dog & the cat.\tSo", "nothing", "", ["The", "cat", "ran"]]
NEW = ["the mouse sat", ["a", "DOG"], "cat cat cat"]


def state(tokenizer):
    names = ("word_index", "index_word", "word_counts", "word_docs", "index_docs", "document_count")
    return {name: getattr(tokenizer, name) for name in names}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_words": 4},
        {"num_words": 5, "oov_token": "<?>"},
        {"oov_token": "<?>", "lower": False},
        {"char_level": True},
        {"filters": "t", "split": "a"},
        {"analyzer": lambda t: t.split("a")},
    ],
    ids=lambda arguments: " ".join(arguments) or "defaults",
)
def test_tokenizer(arguments):
    mine, other = (k.Tokenizer(**arguments) for k in (text, legacy_text))
    for tokenizer in (mine, other):
        tokenizer.fit_on_texts(TEXTS)
        tokenizer.fit_on_texts(TEXTS[:1])
        tokenizer.fit_on_sequences([[1, 2, 2], [1]])
    assert state(mine) == state(other)
    ids = mine.texts_to_sequences(NEW)
    assert ids == other.texts_to_sequences(NEW)
    more = [*ids, [1, 99]]
    assert mine.sequences_to_texts(more) == other.sequences_to_texts(more)
    for mode in ("binary", "count", "freq", "tfidf"):
        np.testing.assert_array_equal(
            mine.texts_to_matrix(NEW, mode), other.texts_to_matrix(NEW, mode)
        )
    if "analyzer" not in arguments:
        assert json.loads(mine.to_json()) == json.loads(other.to_json())
        read = text.tokenizer_from_json(other.to_json())
        assert state(read) == state(mine) and read.texts_to_sequences(NEW) == ids
        read.fit_on_texts(["new words"])
        read.fit_on_sequences([[7]])


def test_words_as_numbers():
    for arguments in ({}, {"lower": False}, {"split": "-", "filters": "!"}):
        line = "To be, or not-to be!"
        both = [k.text_to_word_sequence(line, **arguments) for k in (text, legacy_text)]
        assert both[0] == both[1]
        for how in ("md5", None, len):
            mine, other = (k.hashing_trick(line, 20, how, **arguments) for k in (text, legacy_text))
            assert mine == other
    assert text.one_hot("a b", 9) == legacy_text.one_hot("a b", 9)


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": 9},
        {"window_size": 1, "negative_samples": 0, "shuffle": False},
        {"negative_samples": 0.5, "categorical": True, "seed": 3},
        {
            "sampling_table": sequence.make_sampling_table(30, 0.01),
            "negative_samples": 2.0,
            "seed": 1,
        },
    ],
    ids=lambda arguments: str(sorted(arguments)),
)
def test_skipgrams(arguments):
    both = []
    for k in (sequence, legacy_sequence):
        random.seed(5)
        both.append((k.skipgrams([1, 5, 0, 7, 20, 3, 5], 30, **arguments), random.random()))
    assert both[0] == both[1]


def test_sampling_table():
    mine, other = (k.make_sampling_table(50, 1e-3) for k in (sequence, legacy_sequence))
    np.testing.assert_allclose(mine, other, rtol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"sampling_rate": 2, "stride": 3},
        {"start_index": 4, "end_index": 20, "reverse": True},
        {"shuffle": True, "batch_size": 3},
    ],
    ids=str,
)
def test_windows(arguments):
    data = np.random.RandomState(0).rand(30, 2)
    both = []
    for k in (sequence, legacy_sequence):
        np.random.seed(1)
        windows = k.TimeseriesGenerator(data, np.arange(30), 4, **{"batch_size": 5, **arguments})
        both.append([windows[i] for i in range(len(windows))])
    assert len(both[0]) == len(both[1])
    for mine, other in zip(*both, strict=True):
        for one, expected in zip(mine, other, strict=True):
            np.testing.assert_array_equal(one, expected)
    # Keras' own cannot be written.
    mine = sequence.TimeseriesGenerator(data, np.arange(30), 4, **arguments)
    config = json.loads(mine.to_json())["config"]
    assert json.loads(config["data"]) == data.tolist() and config["length"] == 4


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: text.Tokenizer(words=3), TypeError, "Unrecognized keyword"),
        (lambda: text.Tokenizer().sequences_to_matrix([[1]]), ValueError, "Give `num_words`"),
        (lambda: text.Tokenizer(3).sequences_to_matrix([], "x"), ValueError, "`mode` must be"),
        (lambda: text.Tokenizer(3).sequences_to_matrix([], "tfidf"), ValueError, "before mode"),
        (lambda: sequence.TimeseriesGenerator([1], [1, 2], 1), ValueError, "same length"),
        (lambda: sequence.TimeseriesGenerator([1], [1], 1), ValueError, "no step is left"),
    ],
)
def test_mistakes(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()
