"""Windows that slide over a series, with targets, as a data set."""

import numpy as np

from cornu.data.dataset import Dataset


def timeseries_dataset_from_array(
    data,
    targets,
    sequence_length,
    sequence_stride=1,
    sampling_rate=1,
    batch_size=128,
    shuffle=False,
    seed=None,
    start_index=None,
    end_index=None,
    format="tf",
):
    """A data set of the windows of a series: window `i` is `data[s], data[s + rate], …`, `s = i * stride`.

    Args:
        data: array; the first axis is time.
        targets: array whose row `s` belongs to the window that begins at `s`, or None.
        sequence_length: steps in a window.
        sequence_stride: from one window's beginning to the next one's.
        sampling_rate: from one step of a window to the next.
        batch_size: windows in a batch; None gives single windows.
        shuffle: whether to mix the windows, anew in each pass.
        seed: makes the mixing the same in each run.
        start_index, end_index: use only `data[start_index:end_index]`, and the targets from
            `start_index` on.
        format: accepted for Keras' sake; the result is always a `cornu.data.Dataset`.

    Returns:
        A `Dataset` of `(windows, targets)`, or of windows alone. Windows are cut when they are read, so
        that the data are in memory once.

    Raises ValueError if an argument does not fit the data.

    Source: Keras: Timeseries data loading.

    >>> import cornu, numpy as np
    >>> series = np.arange(10)
    >>> data = cornu.utils.timeseries_dataset_from_array(series[:-3], series[3:], 3, batch_size=2)
    >>> x, y = next(iter(data))
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [1, 2, 3]], [3, 4])
    """
    size = len(data)
    for name, index in (("start_index", start_index), ("end_index", end_index)):
        if index and not 0 <= index < size:
            raise ValueError(
                f"`{name}` must be at least 0 and less than the length of the data. Received: "
                f"{name}={index}, for data of length {size}"
            )
    if start_index and end_index and end_index <= start_index:
        raise ValueError(
            "`end_index` must be higher than `start_index`. Received: "
            f"start_index={start_index}, and end_index={end_index}"
        )
    for name, step in (("sampling_rate", sampling_rate), ("sequence_stride", sequence_stride)):
        if not 0 < step < size:
            raise ValueError(
                f"`{name}` must be higher than 0 and less than the length of the data. Received: "
                f"{name}={step}, for data of length {size}"
            )
    if format not in ("tf", "grain"):
        raise ValueError(f'`format` should be either "tf" or "grain". Received: format={format}')
    if sequence_length < 1:
        raise ValueError(
            f"`sequence_length` must be at least 1. Received: sequence_length={sequence_length}"
        )
    start = 0 if start_index is None else start_index
    end = size if end_index is None else end_index
    count = end - start - (sequence_length - 1) * sampling_rate
    if targets is not None:
        count = min(count, len(targets) - start)
    begins = np.arange(0, count, sequence_stride)
    if not len(begins):
        raise ValueError(
            f"No window fits: {sequence_length} steps at a rate of {sampling_rate} reach over "
            f"{(sequence_length - 1) * sampling_rate + 1} of the {end - start} rows from {start} to {end}."
        )
    series = np.asarray(data[start:end])
    windows = _Windows(series, begins, sampling_rate * np.arange(sequence_length))
    if targets is None:
        dataset = Dataset.from_tensor_slices(windows)
    else:
        rows = np.asarray(targets[start:])[begins]
        dataset = Dataset.from_tensor_slices((windows, rows))
    if shuffle:
        dataset = dataset.shuffle(len(begins), seed)
    return dataset if batch_size is None else dataset.batch(batch_size)


class _Windows:
    """The windows of a series, which look like an array of them and are made when asked for."""

    def __init__(self, series: np.ndarray, begins: np.ndarray, steps: np.ndarray):
        self._series, self._begins, self._steps = series, begins, steps
        self.shape = (len(begins), len(steps), *series.shape[1:])
        self.dtype = series.dtype

    def __len__(self):
        return len(self._begins)

    def __getitem__(self, index):
        return self._series[self._begins[index][..., None] + self._steps]
