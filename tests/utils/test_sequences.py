import keras
import numpy as np
import pytest

from cornu.utils import pad_sequences

IDS = [[1, 2, 3], [4], [], [5, 6]]
ARRAYS = [np.arange(6.0).reshape(3, 2), np.ones((1, 2))]


@pytest.mark.parametrize("sequences", [IDS, ARRAYS, [["a", "bc"], ["d"]], []], ids=str)
@pytest.mark.parametrize("maxlen", [None, 2, 4])
@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
def test_like_keras(sequences, maxlen, padding, truncating):
    text = bool(sequences) and isinstance(sequences[0][0], str)
    more = {"dtype": object, "value": "?"} if text else {"dtype": "float32", "value": 9.0}
    arguments = {"maxlen": maxlen, "padding": padding, "truncating": truncating, **more}
    if not sequences and maxlen is None:
        assert pad_sequences(sequences, **arguments).shape == (0, 0)
        return
    mine, theirs = (f(sequences, **arguments) for f in (pad_sequences, keras.utils.pad_sequences))
    assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
    np.testing.assert_array_equal(mine, theirs)


def test_defaults():
    mine, theirs = pad_sequences(IDS), keras.utils.pad_sequences(IDS)
    assert mine.dtype == theirs.dtype == np.int32
    np.testing.assert_array_equal(mine, theirs)
    assert pad_sequences(IDS, maxlen=0).shape == (4, 0)


@pytest.mark.parametrize(
    "sequences, arguments, message",
    [
        (IDS, {"padding": "middle"}, "`padding`"),
        (IDS, {"truncating": "both"}, "`truncating`"),
        (3, {}, "must be iterable"),
        ([1, 2], {}, "list of iterables"),
        (IDS, {"value": "?"}, "not compatible"),
        ([np.ones((2, 3)), np.ones((2, 4))], {}, "have shape"),
    ],
)
def test_errors(sequences, arguments, message):
    with pytest.raises(ValueError, match=message):
        pad_sequences(sequences, **arguments)
