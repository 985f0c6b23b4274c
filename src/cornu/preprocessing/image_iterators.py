"""Batches of images that an `ImageDataGenerator` changes: from arrays, folders and frames."""

import os
import threading
import warnings
from typing import Any

import numpy as np

from cornu.core.dtype import floatx, image_data_format
from cornu.data.py_dataset import PyDataset
from cornu.utils.folders import files_below, subfolders
from cornu.utils.images import array_to_img, img_to_array, load_img

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff")
_CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}


class Iterator(PyDataset):
    """Batches without end, by `next`, or of one pass by number; the base of those below.

    Args:
        n: number of images.
        batch_size: images in a batch.
        shuffle: whether to mix them for each pass, with NumPy's global generator.
        seed: NumPy's global generator is seeded with it, plus the number of batches so far, before each
            batch, as in Keras; None leaves the generator alone.

    A subclass defines `_get_batches_of_transformed_samples(index_array)`.
    """

    data_format: str
    save_to_dir: str | None
    save_prefix: str
    save_format: str

    def __init__(self, n, batch_size, shuffle, seed, **kwargs):
        super().__init__(**kwargs)
        self.n, self.batch_size, self.shuffle, self.seed = n, batch_size, shuffle, seed
        self.batch_index = self.total_batches_seen = 0
        self.lock = threading.Lock()
        self.index_array: Any = None

    def __len__(self):
        return -(-self.n // self.batch_size)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        self._seed_next()
        if self.index_array is None:
            self._mix()
        start = self.batch_size * index
        rows = self.index_array[start : start + self.batch_size]
        return self._get_batches_of_transformed_samples(rows)

    def __iter__(self):
        return self

    def next(self):
        """The next batch, as `next(iterator)` gives it."""
        return next(self)

    def __next__(self):
        if not self.n:
            raise StopIteration
        with self.lock:
            self._seed_next()
            if self.batch_index == 0:
                self._mix()
            start = self.batch_index * self.batch_size
            rows = self.index_array[start : start + self.batch_size]
            self.batch_index = (self.batch_index + 1) % len(self)
        return self._get_batches_of_transformed_samples(rows)

    def on_epoch_end(self):
        self._mix()

    def reset(self):
        """Let the next batch be the first of a pass."""
        self.batch_index = 0

    def _place_to_resume(self) -> list:
        """Where it stands, in plain values, for a run that is resumed."""
        order = None if self.index_array is None else self.index_array.tolist()
        return [order, self.total_batches_seen, self.batch_index]

    def _resume_at(self, state) -> None:
        order, self.total_batches_seen, self.batch_index = state
        self.index_array = None if order is None else np.array(order, int)

    def _seed_next(self):
        if self.seed is not None:
            np.random.seed(self.seed + self.total_batches_seen)
        self.total_batches_seen += 1

    def _mix(self):
        self.index_array = np.random.permutation(self.n) if self.shuffle else np.arange(self.n)

    def _get_batches_of_transformed_samples(self, index_array):
        raise NotImplementedError(
            f"{type(self).__name__} must define `_get_batches_of_transformed_samples(index_array)`."
        )

    def _save(self, batch, index_array):
        """Write images as files, if there is a folder for them."""
        for image, number in zip(batch, index_array, strict=True):
            if self.save_to_dir:
                name = f"{self.save_prefix}_{number}_{np.random.randint(10**7)}.{self.save_format}"
                shown = array_to_img(image, self.data_format, scale=True)
                shown.save(os.path.join(self.save_to_dir, name))


class NumpyArrayIterator(Iterator):
    """Batches of an array of images, changed by an `ImageDataGenerator`; made by its `flow`."""

    def __init__(
        self,
        x,
        y,
        image_data_generator,
        batch_size=32,
        shuffle=False,
        sample_weight=None,
        seed=None,
        data_format=None,
        save_to_dir=None,
        save_prefix="",
        save_format="png",
        subset=None,
        ignore_class_split=False,
        dtype=None,
    ):
        self.dtype = dtype or floatx()
        self.image_data_generator = image_data_generator
        self.data_format = data_format or image_data_format()
        self.save_to_dir, self.save_prefix, self.save_format = save_to_dir, save_prefix, save_format
        misc: list = []
        if isinstance(x, tuple | list):
            x, rest = x
            misc = [np.asarray(a) for a in (rest if isinstance(rest, list) else [rest])]
        parts = {"x[1]": misc, "y": [y], "sample_weight": [sample_weight]}
        for name, arrays in parts.items():
            for array in arrays:
                if array is not None and len(array) != len(x):
                    raise ValueError(
                        f"The images and `{name}` should have the same length. Received: {len(x)} images, "
                        f"len({name})={len(array)}"
                    )
        rows = _rows_of_subset(len(x), image_data_generator, subset)
        if subset is not None and y is not None and not ignore_class_split:
            cut = int(len(x) * image_data_generator._validation_split)
            if not np.array_equal(np.unique(y[:cut]), np.unique(y[cut:])):
                raise ValueError(
                    "Training and validation subsets have different classes after the split. If the arrays "
                    "are sorted by label, shuffle them."
                )
        self.x = np.asarray(x[rows], dtype=self.dtype)
        self.x_misc = [a[rows] for a in misc]
        self.y = None if y is None else np.asarray(y[rows])
        self.sample_weight = None if sample_weight is None else np.asarray(sample_weight[rows])
        check_images(self.x, self.data_format, "flow")
        super().__init__(len(self.x), batch_size, shuffle, seed)

    def _get_batches_of_transformed_samples(self, index_array):
        change = self.image_data_generator
        batch = np.zeros((len(index_array), *self.x.shape[1:]), self.dtype)
        for row, number in enumerate(index_array):
            batch[row] = change.standardize(change.random_transform(self.x[number].copy()))
        self._save(batch, index_array)
        misc = [a[index_array] for a in self.x_misc]
        x = [batch, *misc] if misc else batch
        if self.y is None:
            return x
        if self.sample_weight is None:
            return x, self.y[index_array]
        return x, self.y[index_array], self.sample_weight[index_array]


class _FileIterator(Iterator):
    """Batches of images in files."""

    classes: Any
    class_indices: dict[str, int]
    sample_weight: np.ndarray | None = None
    _filepaths: list[str]
    _targets: Any

    def _set_reading(
        self,
        image_data_generator,
        target_size,
        color_mode,
        class_mode,
        class_modes,
        data_format,
        save_to_dir,
        save_prefix,
        save_format,
        interpolation,
        keep_aspect_ratio,
        dtype,
    ):
        if color_mode not in _CHANNELS:
            raise ValueError(
                f'Invalid color mode: {color_mode}; expected "rgb", "rgba", or "grayscale".'
            )
        if class_mode not in class_modes:
            raise ValueError(f"Invalid class_mode: {class_mode}; expected one of: {class_modes}")
        self.image_data_generator = image_data_generator
        self.target_size, self.color_mode = tuple(target_size), color_mode
        self.class_mode, self.dtype = class_mode, dtype or floatx()
        self.data_format = data_format or image_data_format()
        self.save_to_dir, self.save_prefix, self.save_format = save_to_dir, save_prefix, save_format
        self.interpolation, self.keep_aspect_ratio = interpolation, keep_aspect_ratio
        channels = (_CHANNELS[color_mode],)
        last = self.data_format == "channels_last"
        self.image_shape = self.target_size + channels if last else channels + self.target_size

    @property
    def labels(self):
        """The label, or target, of each image."""
        return self._targets if self.class_mode in ("multi_output", "raw") else self.classes

    @property
    def filepaths(self):
        """The paths of the images."""
        return self._filepaths

    def _get_batches_of_transformed_samples(self, index_array):
        change = self.image_data_generator
        batch = np.zeros((len(index_array), *self.image_shape), self.dtype)
        for row, number in enumerate(index_array):
            image = load_img(
                self._filepaths[number],
                color_mode=self.color_mode,
                target_size=self.target_size,
                interpolation=self.interpolation,
                keep_aspect_ratio=self.keep_aspect_ratio,
            )
            x = img_to_array(image, self.data_format)
            batch[row] = x if change is None else change.standardize(change.random_transform(x))
        self._save(batch, index_array)
        y = self._targets_of(batch, index_array)
        if y is None:
            return batch
        if self.sample_weight is None:
            return batch, y
        return batch, y, self.sample_weight[index_array]

    def _targets_of(self, batch, index_array):
        mode = self.class_mode
        if mode == "input":
            return batch.copy()
        if mode in ("binary", "sparse"):
            return np.array([self.classes[i] for i in index_array], self.dtype)
        if mode == "categorical":
            y = np.zeros((len(batch), len(self.class_indices)), self.dtype)
            for row, i in enumerate(index_array):
                y[row, self.classes[i]] = 1
            return y
        if mode == "multi_output":
            return [output[index_array] for output in self._targets]
        return self._targets[index_array] if mode == "raw" else None


class DirectoryIterator(_FileIterator):
    """Batches of the images in a folder, a subfolder for each class; made by `flow_from_directory`."""

    def __init__(
        self,
        directory,
        image_data_generator,
        target_size=(256, 256),
        color_mode="rgb",
        classes=None,
        class_mode="categorical",
        batch_size=32,
        shuffle=True,
        seed=None,
        data_format=None,
        save_to_dir=None,
        save_prefix="",
        save_format="png",
        follow_links=False,
        subset=None,
        interpolation="nearest",
        keep_aspect_ratio=False,
        dtype=None,
    ):
        self._set_reading(
            image_data_generator,
            target_size,
            color_mode,
            class_mode,
            ("categorical", "binary", "sparse", "input", None),
            data_format,
            save_to_dir,
            save_prefix,
            save_format,
            interpolation,
            keep_aspect_ratio,
            dtype,
        )
        self.directory = os.fspath(directory)
        if not os.path.isdir(self.directory):
            raise FileNotFoundError(f"There is no folder {self.directory!r}.")
        names = list(classes) if classes else subfolders(self.directory)
        self.num_classes = len(names)
        self.class_indices = {name: number for number, name in enumerate(names)}
        self.filenames: list[str] = []
        numbers: list[int] = []
        for name, number in self.class_indices.items():
            found = files_below(os.path.join(self.directory, name), follow_links, _ENDINGS)
            found = found[_rows_of_subset(len(found), image_data_generator, subset)]
            self.filenames += [os.path.relpath(path, self.directory) for path in found]
            numbers += [number] * len(found)
        self.samples, self.classes = len(self.filenames), np.array(numbers, "int32")
        print(f"Found {self.samples} images belonging to {self.num_classes} classes.")
        self._filepaths = [os.path.join(self.directory, name) for name in self.filenames]
        super().__init__(self.samples, batch_size, shuffle, seed)


class DataFrameIterator(_FileIterator):
    """Batches of images that a frame of pandas names, with targets; made by `flow_from_dataframe`."""

    def __init__(
        self,
        dataframe,
        directory=None,
        image_data_generator=None,
        x_col="filename",
        y_col="class",
        weight_col=None,
        target_size=(256, 256),
        color_mode="rgb",
        classes=None,
        class_mode="categorical",
        batch_size=32,
        shuffle=True,
        seed=None,
        data_format="channels_last",
        save_to_dir=None,
        save_prefix="",
        save_format="png",
        subset=None,
        interpolation="nearest",
        keep_aspect_ratio=False,
        dtype="float32",
        validate_filenames=True,
    ):
        self._set_reading(
            image_data_generator,
            target_size,
            color_mode,
            class_mode,
            ("binary", "categorical", "input", "multi_output", "raw", "sparse", None),
            data_format,
            save_to_dir,
            save_prefix,
            save_format,
            interpolation,
            keep_aspect_ratio,
            dtype,
        )
        self.directory = os.fspath(directory or "")
        _check_columns(dataframe, x_col, y_col, weight_col, classes, class_mode)
        frame = dataframe
        if validate_filenames:
            frame = self._with_files(frame, x_col)
        has_classes = class_mode in ("binary", "sparse", "categorical")
        if has_classes:
            kept = [_as_list(value) for value in frame[y_col]]
            names = (
                list(dict.fromkeys(classes)) if classes else sorted({n for v in kept for n in v})
            )
            self.class_indices = {name: number for number, name in enumerate(names)}
            known = [[self.class_indices[n] for n in v if n in self.class_indices] for v in kept]
            frame = frame[[bool(v) for v in known]]
            known = [v for v in known if v]
        rows = _rows_of_subset(len(frame), image_data_generator, subset)
        frame = frame.iloc[rows]
        if has_classes:
            lists = [isinstance(value, list | tuple) for value in frame[y_col]]
            pairs = zip(known[rows], lists, strict=True)
            self.classes = [numbers if is_list else numbers[0] for numbers, is_list in pairs]
        self.filenames = frame[x_col].tolist()
        self.sample_weight = frame[weight_col].to_numpy() if weight_col else None
        if class_mode == "multi_output":
            self._targets = [np.array(frame[column].tolist()) for column in y_col]
        elif class_mode == "raw":
            self._targets = frame[y_col].to_numpy()
        self.samples = len(self.filenames)
        checked = "validated" if validate_filenames else "non-validated"
        of = f" belonging to {len(self.class_indices)} classes" if has_classes else ""
        print(f"Found {self.samples} {checked} image filenames{of}.")
        self._filepaths = [os.path.join(self.directory, name) for name in self.filenames]
        super().__init__(self.samples, batch_size, shuffle, seed)

    def _with_files(self, frame, x_col):
        paths = [os.path.join(self.directory, name) for name in frame[x_col]]
        found = [p.lower().endswith(_ENDINGS) and os.path.isfile(p) for p in paths]
        if missing := [p for p, is_there in zip(paths, found, strict=True) if not is_there]:
            shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            warnings.warn(
                f'Found {len(missing)} invalid image filename(s) in x_col="{x_col}", which are ignored: '
                f"{shown}",
                stacklevel=5,
            )
        return frame[found]


def _as_list(value) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _rows_of_subset(count: int, generator, subset) -> slice:
    """The first part is for validation, as in Keras."""
    if subset is None:
        return slice(None)
    if subset not in ("training", "validation"):
        raise ValueError(f'Invalid subset name: {subset}; expected "training" or "validation".')
    split = generator._validation_split
    if not split:
        raise ValueError(
            f"subset={subset!r} needs a generator with a split: ImageDataGenerator(validation_split=0.2)."
        )
    cut = int(split * count)
    return slice(cut) if subset == "validation" else slice(cut, None)


def check_images(x, data_format: str, method: str) -> None:
    """Raise ValueError for an array that is no batch of images, and warn of odd numbers of channels."""
    if x.ndim != 4:
        raise ValueError(
            f"`{method}` expects images in an array of 4 axes. Received an array of shape {x.shape}"
        )
    axis = 3 if data_format == "channels_last" else 1
    if x.shape[axis] not in (1, 3, 4):
        warnings.warn(
            f"The images are taken as {data_format}, so axis {axis} should have 1, 3 or 4 channels. "
            f"Received an array of shape {x.shape} ({x.shape[axis]} channels).",
            stacklevel=5,
        )


def _check_columns(frame, x_col, y_col, weight_col, classes, class_mode) -> None:
    wanted = (
        [x_col, weight_col]
        if class_mode in ("input", None)
        else [x_col, weight_col, *(_as_list(y_col))]
    )
    missing = [name for name in wanted if name is not None and name not in frame]
    if missing:
        raise ValueError(f"The frame has no column {missing[0]!r}, only {list(frame)}.")
    if class_mode == "multi_output" and not isinstance(y_col, list):
        raise TypeError(
            f'If class_mode="multi_output", y_col must be a list. Received {type(y_col).__name__}.'
        )
    if not all(isinstance(name, str) for name in frame[x_col]):
        raise TypeError(f"All values in column x_col={x_col} must be strings.")
    text = {"binary": (str,), "sparse": (str,), "categorical": (str, list, tuple)}.get(class_mode)
    if text and not all(isinstance(value, text) for value in frame[y_col]):
        kinds = "strings" if len(text) == 1 else "strings, lists or tuples"
        raise TypeError(
            f'If class_mode="{class_mode}", the values of column y_col="{y_col}" must be {kinds}. For '
            'numbers as they are, use class_mode="raw".'
        )
    if class_mode == "binary":
        count = len(set(classes)) if classes else frame[y_col].nunique()
        if count != 2:
            raise ValueError(f'If class_mode="binary" there must be 2 classes. Found {count}.')
    if classes and not text:
        warnings.warn(f'`classes` will be ignored given class_mode="{class_mode}"', stacklevel=5)
    if weight_col and frame[weight_col].dtype.kind not in "biuf":
        raise TypeError(f"Column weight_col={weight_col} must be numeric.")
