"""Windows of series, and data sets in two parts."""

import random

import numpy as np
import pytest

import cornu
from cornu.data import Dataset, TensorSpec
from cornu.utils import split_dataset, timeseries_dataset_from_array

SERIES = np.arange(60.0).reshape(30, 2)
TARGETS = np.arange(30) * 10


@pytest.mark.parametrize("start", [None, 3])
@pytest.mark.parametrize("end", [None, 25])
@pytest.mark.parametrize(("length", "stride", "rate"), [(3, 1, 1), (4, 3, 2), (7, 1, 3)])
@pytest.mark.parametrize("shuffle", [False, True])
def test_windows(start, end, length, stride, rate, shuffle):
    arguments = {"start_index": start, "end_index": end, "sequence_stride": stride}
    arguments |= {"sampling_rate": rate, "shuffle": shuffle, "seed": 1}
    first, stop = start or 0, end or 30
    begins = [b for b in range(first, stop, stride) if b + (length - 1) * rate < stop]
    windows = [SERIES[b : b + (length - 1) * rate + 1 : rate] for b in begins]
    data = timeseries_dataset_from_array(SERIES, TARGETS, length, batch_size=4, **arguments)
    assert len(data) == -(-len(begins) // 4)
    assert data.element_spec[0] == TensorSpec((None, length, 2), "float64")
    for _ in range(2):
        x, y = (np.concatenate(part) for part in zip(*data, strict=True))
        order = np.argsort(y) if shuffle else slice(None)
        np.testing.assert_array_equal(x[order], windows)
        np.testing.assert_array_equal(y[order], TARGETS[begins])
    single = timeseries_dataset_from_array(SERIES, None, length, batch_size=None, **arguments)
    assert sorted(x.tolist() for x in single) == [w.tolist() for w in windows]
    if shuffle and len(begins) > 6:
        assert [x.tolist() for x in single] != [x.tolist() for x in single]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start_index": -1}, "`start_index` must be"),
        ({"start_index": 30}, "`start_index` must be"),
        ({"start_index": 10, "end_index": 10}, "`end_index` must be higher"),
        ({"end_index": 30}, "`end_index` must be"),
        ({"sampling_rate": 0}, "`sampling_rate` must be"),
        ({"sequence_stride": 30}, "`sequence_stride` must be"),
        ({"format": "x"}, "`format` should be"),
        ({"sequence_length": 31}, "No window fits"),
        ({"sequence_length": 0}, "`sequence_length` must be"),
    ],
    ids=str,
)
def test_windows_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        timeseries_dataset_from_array(SERIES, TARGETS, **{"sequence_length": 3, **arguments})


def test_windows_that_targets_are_missing_for_are_left_out():
    data = timeseries_dataset_from_array(SERIES, TARGETS[:20], 3, start_index=15, batch_size=None)
    assert [int(y) for _, y in data] == TARGETS[15:20].tolist()


def test_a_model_of_a_series():
    data = timeseries_dataset_from_array(SERIES, SERIES[3:], 3, batch_size=8)
    layer = cornu.layers.Normalization()
    layer.adapt(data.map(lambda x, y: x))
    rows = np.concatenate([np.lib.stride_tricks.sliding_window_view(SERIES, 3, 0)[:27]])
    np.testing.assert_allclose(np.ravel(layer.mean), rows.mean((0, 2)), rtol=1e-6)
    model = cornu.Sequential([layer, cornu.layers.Flatten(), cornu.layers.Dense(2)])
    model.compile("adam", "mse")
    losses = model.fit(data, epochs=3, verbose=0).history["loss"]
    assert losses[2] < losses[0] and model.evaluate(data, verbose=0) < losses[0]
    assert model.predict(data.map(lambda x, y: x), verbose=0).shape == (27, 2)


X, Y = np.arange(20.0).reshape(10, 2), np.arange(10)


class Rows:
    """As a data set of PyTorch's."""

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return X[i], Y[i]


@pytest.mark.parametrize(
    ("data", "size"),
    [
        ([X, Y], None),
        ((X, Y), None),
        (Dataset.from_tensor_slices((X, Y)), None),
        (Dataset.from_tensor_slices((X, Y)).batch(4).prefetch(2), 4),
        (Rows(), None),
        ((pair for pair in zip(X, Y, strict=True)), None),
    ],
    ids=["list", "tuple", "single", "batches", "rows", "generator"],
)
def test_parts(data, size):
    left, right = split_dataset(data, left_size=0.4, right_size=5)
    for part, rows in ((left, slice(0, 4)), (right, slice(5, 10))):
        if size:
            assert [len(y) for _, y in part] == [len(Y[rows][i : i + size]) for i in (0, 4)][
                : len(part)
            ]
            part = part.unbatch()
        for got, expected in zip(zip(*part, strict=True), (X[rows], Y[rows]), strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("seed", [3, None])
def test_the_order_of_parts_is_keras(seed):
    order = list(range(10))
    random.seed(7)
    expected = random.randint(0, 1_000_000) if seed is None else seed
    random.Random(expected).shuffle(order)
    random.seed(7)
    left, right = split_dataset(Y, right_size=0.3, shuffle=True, seed=seed)
    assert [int(y) for y in left] + [int(y) for y in right] == order


def test_dicts_keep_their_structure():
    rows = Dataset.from_tensor_slices({"a": X, "b": (Y, Y)})
    left, _ = split_dataset(rows, 3)
    assert left.element_spec == rows.element_spec and len(left) == 3


@pytest.mark.parametrize(
    ("data", "sizes", "error", "message"),
    [
        (X, (None, None), ValueError, "At least one"),
        (X, (1.5, None), ValueError, "`left_size` should be"),
        (X, (None, 10), ValueError, "`right_size` should be"),
        (X, ("1", None), TypeError, "Invalid `left_size` Type"),
        (X, (True, None), TypeError, "Invalid `left_size` Type"),
        (X, (0.6, 0.5), ValueError, "greater than 1"),
        (X, (6, 5), ValueError, "at most 10"),
        (X, (0.01, None), ValueError, "left side dataset split will be empty"),
        ([X, Y[:3]], (2, None), ValueError, "different lengths"),
        ([[1]], (2, None), ValueError, r"numpy.ndarray"),
        ([], (2, None), ValueError, "empty"),
        (X[:0], (2, None), ValueError, "empty"),
        ((np.ones(i) for i in (1, 2)), (1, None), ValueError, "same shape"),
        ("text", (1, None), TypeError, "must be a data set"),
    ],
)
def test_parts_that_do_not_fit(data, sizes, error, message):
    with pytest.raises(error, match=message):
        split_dataset(data, *sizes)
