"""`ImageDataGenerator`: Keras 2's random changes of images."""

import math
import warnings
from typing import Any

import numpy as np

from cornu.core.dtype import floatx, image_data_format
from cornu.preprocessing.image_changes import (
    apply_affine_transform,
    apply_brightness_shift,
    apply_channel_shift,
)
from cornu.preprocessing.image_iterators import (
    DataFrameIterator,
    DirectoryIterator,
    NumpyArrayIterator,
    check_images,
)


class ImageDataGenerator:
    """Batches of images that are turned, moved, flipped and so on at random, as in Keras 2.

    New programs augment with layers (`layers.RandomFlip` and so on), in a model or in a `data.Dataset`.

    Args:
        featurewise_center, featurewise_std_normalization: whether to subtract the mean of the data from
            each image, and to divide by their standard deviation, for each channel, as `fit` found them.
        samplewise_center, samplewise_std_normalization: the same with each image's own.
        zca_whitening: whether to take away the correlation of pixels that `fit` found.
        zca_epsilon: added to the singular values.
        rotation_range: up to how many degrees to turn.
        width_shift_range, height_shift_range: how far to move along a row or a column. Less than 1: up to
            this part of the image; a float: up to so many pixels; an integer: fewer pixels than that; a
            list: one of these numbers, in either direction.
        brightness_range: two factors, between which that of `apply_brightness_shift` lies.
        shear_range: up to how many degrees to shear.
        zoom_range: two factors, or `z` for `1 - z` and `1 + z`; drawn for each axis.
        channel_shift_range: up to how much to add to all values.
        fill_mode, cval: what comes from outside the image; see `apply_affine_transform`.
        horizontal_flip, vertical_flip: whether to flip every other image.
        rescale: factor for all values, after the random changes.
        preprocessing_function: of each image, after the random changes and before anything else.
        data_format: `"channels_last"` or `"channels_first"`.
        validation_split: the part of the images that is for validation: `subset="validation"`.
        interpolation_order: of the spline that interpolates.
        dtype: of the batches.

    Random numbers come from NumPy's global generator, in the order of Keras. Unlike there,
    `height_shift_range` moves up and down and `width_shift_range` sideways; Keras takes one for the
    other.

    Source: keras-preprocessing: ImageDataGenerator.

    >>> import numpy as np
    >>> from cornu.preprocessing.image import ImageDataGenerator
    >>> batches = ImageDataGenerator(horizontal_flip=True, rescale=1 / 255).flow(
    ...     np.full((6, 8, 8, 3), 255), np.arange(6), batch_size=4, seed=0
    ... )
    >>> x, y = next(batches)
    >>> x.shape, float(x.max()), len(batches)
    ((4, 8, 8, 3), 1.0, 2)
    """

    def __init__(
        self,
        featurewise_center=False,
        samplewise_center=False,
        featurewise_std_normalization=False,
        samplewise_std_normalization=False,
        zca_whitening=False,
        zca_epsilon=1e-6,
        rotation_range=0,
        width_shift_range=0.0,
        height_shift_range=0.0,
        brightness_range=None,
        shear_range=0.0,
        zoom_range=0.0,
        channel_shift_range=0.0,
        fill_mode="nearest",
        cval=0.0,
        horizontal_flip=False,
        vertical_flip=False,
        rescale=None,
        preprocessing_function=None,
        data_format=None,
        validation_split=0.0,
        interpolation_order=1,
        dtype=None,
    ):
        self.featurewise_center = featurewise_center
        self.samplewise_center = samplewise_center
        self.featurewise_std_normalization = featurewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        self.zca_whitening, self.zca_epsilon = zca_whitening, zca_epsilon
        self.rotation_range, self.shear_range = rotation_range, shear_range
        self.width_shift_range, self.height_shift_range = width_shift_range, height_shift_range
        self.brightness_range, self.channel_shift_range = brightness_range, channel_shift_range
        self.fill_mode, self.cval = fill_mode, cval
        self.horizontal_flip, self.vertical_flip = horizontal_flip, vertical_flip
        self.rescale, self.preprocessing_function = rescale, preprocessing_function
        self.interpolation_order, self.dtype = interpolation_order, dtype or floatx()
        self.data_format = data_format or image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                '`data_format` should be `"channels_last"` or `"channels_first"`. Received: '
                f"{data_format}"
            )
        first = self.data_format == "channels_first"
        self.channel_axis, self.row_axis, self.col_axis = (1, 2, 3) if first else (3, 1, 2)
        if validation_split and not 0 < validation_split < 1:
            raise ValueError(
                f"`validation_split` must be strictly between 0 and 1. Received: {validation_split}"
            )
        self._validation_split = validation_split
        self.zoom_range = _pair("zoom_range", zoom_range, lambda z: [1 - z, 1 + z])
        if brightness_range is not None:
            self.brightness_range = _pair("brightness_range", brightness_range)
        self.mean: Any = None
        self.std: Any = None
        self.zca_whitening_matrix: Any = None
        for name, implied, value in (
            ("zca_whitening", "featurewise_center", True),
            ("zca_whitening", "featurewise_std_normalization", False),
            ("featurewise_std_normalization", "featurewise_center", True),
            ("samplewise_std_normalization", "samplewise_center", True),
        ):
            if getattr(self, name) and bool(getattr(self, implied)) != value:
                setattr(self, implied, value)
                warnings.warn(f"`{name}=True` implies `{implied}={value}`.", stacklevel=2)

    def flow(
        self,
        x,
        y=None,
        batch_size=32,
        shuffle=True,
        sample_weight=None,
        seed=None,
        save_to_dir=None,
        save_prefix="",
        save_format="png",
        ignore_class_split=False,
        subset=None,
    ) -> NumpyArrayIterator:
        """Batches of arrays.

        Args:
            x: images in an array of 4 axes; or a pair of it and other inputs, which stay as they are.
            y: their targets, or None.
            batch_size: images in a batch.
            shuffle: whether to mix them for each pass.
            sample_weight: weights of the images, or None.
            seed: see `Iterator`.
            save_to_dir, save_prefix, save_format: a folder that the changed images are written to.
            ignore_class_split: whether the parts may have different classes.
            subset: `"training"`, `"validation"` or None for all.
        """
        return NumpyArrayIterator(
            x,
            y,
            self,
            batch_size=batch_size,
            shuffle=shuffle,
            sample_weight=sample_weight,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            ignore_class_split=ignore_class_split,
            subset=subset,
            dtype=self.dtype,
        )

    def flow_from_directory(
        self,
        directory,
        target_size=(256, 256),
        color_mode="rgb",
        classes=None,
        class_mode="categorical",
        batch_size=32,
        shuffle=True,
        seed=None,
        save_to_dir=None,
        save_prefix="",
        save_format="png",
        follow_links=False,
        subset=None,
        interpolation="nearest",
        keep_aspect_ratio=False,
    ) -> DirectoryIterator:
        """Batches of the images in a folder, a subfolder for each class.

        Args:
            directory: the folder.
            target_size: `(height, width)` of the images.
            color_mode: `"rgb"`, `"rgba"` or `"grayscale"`.
            classes: the subfolders, in the order of their numbers; None takes all, sorted.
            class_mode: `"categorical"` (one-hot), `"binary"` or `"sparse"` (numbers), `"input"` (the
                images), or None.
            follow_links: whether to enter folders that are symbolic links.
            interpolation: of `load_img`.
            keep_aspect_ratio: whether to crop images instead of distorting them.

        Other arguments are those of `flow`.
        """
        return DirectoryIterator(
            directory,
            self,
            target_size,
            color_mode,
            classes,
            class_mode,
            batch_size,
            shuffle,
            seed,
            self.data_format,
            save_to_dir,
            save_prefix,
            save_format,
            follow_links,
            subset,
            interpolation,
            keep_aspect_ratio,
            self.dtype,
        )

    def flow_from_dataframe(
        self,
        dataframe,
        directory=None,
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
        save_to_dir=None,
        save_prefix="",
        save_format="png",
        subset=None,
        interpolation="nearest",
        validate_filenames=True,
        **kwargs,
    ) -> DataFrameIterator:
        """Batches of the images that a frame of pandas names.

        Args:
            dataframe: the frame.
            directory: the folder that the names begin in.
            x_col: the column of file names.
            y_col: the column of classes or targets, or a list of columns.
            weight_col: the column of weights, or None.
            class_mode: also `"raw"` (the values of `y_col`) and `"multi_output"` (a list of them).
            validate_filenames: whether to leave out, with a warning, files that are not there.

        Other arguments are those of `flow_from_directory`.
        """
        if class_mode == "other":
            class_mode, kwargs["class_mode='other'"] = "raw", "use class_mode='raw'"
        for name in kwargs:
            if name not in ("has_ext", "sort", "drop_duplicates", "class_mode='other'"):
                raise TypeError(f"flow_from_dataframe() has no argument {name!r}.")
            warnings.warn(f"`{name}` is a spelling of old; it has no effect.", stacklevel=2)
        return DataFrameIterator(
            dataframe,
            directory,
            self,
            x_col=x_col,
            y_col=y_col,
            weight_col=weight_col,
            target_size=target_size,
            color_mode=color_mode,
            classes=classes,
            class_mode=class_mode,
            data_format=self.data_format,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            subset=subset,
            interpolation=interpolation,
            validate_filenames=validate_filenames,
            dtype=self.dtype,
        )

    def standardize(self, x):
        """An image, or a batch, with all changes that are not random; the array itself may change, too."""
        if self.preprocessing_function:
            x = self.preprocessing_function(x)
        if self.rescale:
            x *= self.rescale
        if self.samplewise_center:
            x -= np.mean(x, keepdims=True)
        if self.samplewise_std_normalization:
            x /= np.std(x, keepdims=True) + 1e-6
        if self.featurewise_center and self._is_fit("featurewise_center", self.mean):
            x -= self.mean
        if self.featurewise_std_normalization and self._is_fit(
            "featurewise_std_normalization", self.std
        ):
            x /= self.std + 1e-6
        if self.zca_whitening and self._is_fit("zca_whitening", self.zca_whitening_matrix):
            flat = x.reshape(-1, math.prod(x.shape[-3:]))
            x = (flat @ self.zca_whitening_matrix).reshape(x.shape)
        return x

    def _is_fit(self, name: str, value) -> bool:
        if value is None:
            warnings.warn(
                f"`{name}=True` has no effect yet: call `fit` with images first.", stacklevel=3
            )
        return value is not None

    def get_random_transform(self, img_shape, seed=None) -> dict:
        """The numbers of one random change, as `apply_transform` takes them."""
        if seed is not None:
            np.random.seed(seed)
        uniform = np.random.uniform
        theta = uniform(-self.rotation_range, self.rotation_range) if self.rotation_range else 0
        ty = _drawn_shift(self.height_shift_range, img_shape[self.row_axis - 1])
        tx = _drawn_shift(self.width_shift_range, img_shape[self.col_axis - 1])
        shear = uniform(-self.shear_range, self.shear_range) if self.shear_range else 0
        low, high = self.zoom_range
        zx, zy = (1, 1) if low == high == 1 else uniform(low, high, 2)
        horizontal = (np.random.random() < 0.5) * self.horizontal_flip
        vertical = (np.random.random() < 0.5) * self.vertical_flip
        most, factors = self.channel_shift_range, self.brightness_range
        return {
            "theta": theta,
            "tx": tx,
            "ty": ty,
            "shear": shear,
            "zx": zx,
            "zy": zy,
            "flip_horizontal": horizontal,
            "flip_vertical": vertical,
            "channel_shift_intensity": uniform(-most, most) if most else None,
            "brightness": None if factors is None else uniform(*factors),
        }

    def apply_transform(self, x, transform_parameters: dict):
        """An image changed as a dict says.

        Args:
            x: image of 3 axes.
            transform_parameters: any of `"theta"`, `"tx"`, `"ty"`, `"shear"`, `"zx"`, `"zy"` (see
                `apply_affine_transform`), `"flip_horizontal"`, `"flip_vertical"`,
                `"channel_shift_intensity"` and `"brightness"`.
        """
        get = transform_parameters.get
        rows, columns, channels = self.row_axis - 1, self.col_axis - 1, self.channel_axis - 1
        x = apply_affine_transform(
            x,
            get("theta", 0),
            get("tx", 0),
            get("ty", 0),
            get("shear", 0),
            get("zx", 1),
            get("zy", 1),
            row_axis=rows,
            col_axis=columns,
            channel_axis=channels,
            fill_mode=self.fill_mode,
            cval=self.cval,
            order=self.interpolation_order,
        )
        if get("channel_shift_intensity") is not None:
            x = apply_channel_shift(x, get("channel_shift_intensity"), channels)
        if get("flip_horizontal"):
            x = np.flip(x, columns)
        if get("flip_vertical"):
            x = np.flip(x, rows)
        if get("brightness") is not None:
            x = apply_brightness_shift(x, get("brightness"), False, self.data_format)
        return x

    def random_transform(self, x, seed=None):
        """An image changed at random."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    def fit(self, x, augment=False, rounds=1, seed=None) -> None:
        """Find what `featurewise_center` and its kin, and `zca_whitening`, need.

        Args:
            x: images in an array of 4 axes.
            augment: whether to use images that are changed at random.
            rounds: how many times each is changed.
            seed: for NumPy's global generator.
        """
        x = np.array(x, self.dtype)
        check_images(x, self.data_format, "fit")
        if seed is not None:
            np.random.seed(seed)
        if self.rescale:
            x *= self.rescale
        if augment:
            x = np.stack([self.random_transform(image) for _ in range(rounds) for image in x])
        axes = (0, self.row_axis, self.col_axis)
        if self.featurewise_center:
            self.mean = np.mean(x, axis=axes, keepdims=True)[0]
            x = x - self.mean
        if self.featurewise_std_normalization:
            self.std = np.std(x, axis=axes, keepdims=True)[0]
            x = x / (self.std + 1e-6)
        if self.zca_whitening:
            flat = x.reshape(len(x), -1)
            u, s, _ = np.linalg.svd(flat.T, full_matrices=False)
            self.zca_whitening_matrix = (u * (np.sqrt(len(x)) / (s + self.zca_epsilon))) @ u.T


def _pair(name: str, value, of_one=None) -> list:
    if of_one is not None and isinstance(value, int | float):
        return of_one(value)
    if (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(isinstance(v, int | float) for v in value)
    ):
        return list(value)
    one = "a float or " if of_one else ""
    raise ValueError(f"`{name}` should be {one}a tuple or list of two floats. Received: {value}")


def _drawn_shift(most, size: int):
    """Pixels: up to a number of them, or a part of the size, or one of several numbers."""
    if not np.any(most):
        return 0
    if isinstance(most, float | np.floating):
        shift = np.random.uniform(-most, most)
    else:
        # A list, or an integer: one of those below it.
        shift = np.random.choice(most) * np.random.choice([-1, 1])
    return shift * size if np.max(most) < 1 else shift
