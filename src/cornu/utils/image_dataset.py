"""Finding the images in a folder, a subfolder for each class, and making a data set of them."""

import os

import numpy as np

from cornu.core.dtype import standardize_data_format
from cornu.utils.image_folder import ImageFolderDataset, ImageReader, are_readable

_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def image_dataset_from_directory(
    directory,
    labels="inferred",
    label_mode="int",
    class_names=None,
    color_mode="rgb",
    batch_size=32,
    image_size=(256, 256),
    shuffle=True,
    seed=None,
    validation_split=None,
    subset=None,
    interpolation="bilinear",
    follow_links=False,
    crop_to_aspect_ratio=False,
    pad_to_aspect_ratio=False,
    data_format=None,
    format="tf",
    verbose=True,
    on_error="raise",
    exif_orientation=False,
):
    """A data set of the images in a folder: `folder/class_a/1.jpg`, `folder/class_b/1.jpg`, …

    Pictures are JPEG, PNG, BMP, GIF (the first frame) or WebP; files whose names begin with a dot are
    left out. They are read when a batch is made, by a few threads a few batches ahead, so the folder
    may be larger than memory. Of 16 bits, 65535 is white and becomes 255.

    Args:
        directory: the folder.
        labels: `"inferred"` from the subfolders, None for no labels, or a list of integers, one for
            each image in the order of the sorted paths.
        label_mode: `"int"`: int32 of shape `(batch,)`; `"binary"`: float32 0 or 1 of shape
            `(batch, 1)`; `"categorical"`: one-hot float32 of shape `(batch, classes)`; None: only
            images, no labels.
        class_names: the subfolders to take, in the order of their labels; None takes all, sorted.
        color_mode: `"rgb"`, `"rgba"` or `"grayscale"`.
        batch_size: images in a batch; None gives single images without a batch axis.
        image_size: `(height, width)` to which all images are resized.
        shuffle: whether to mix the images, anew in each epoch; False keeps the paths sorted.
        seed: makes the mixing the same in each run.
        validation_split: the part, between 0 and 1, to keep for validation.
        subset: `"training"` or `"validation"` for one part, `"both"` for a list of the two. The
            validation part of `"both"` is not mixed anew.
        interpolation: `"bilinear"`, `"nearest"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        follow_links: whether to enter folders that are symbolic links.
        crop_to_aspect_ratio: whether to crop images to the proportions of `image_size` instead of
            distorting them.
        pad_to_aspect_ratio: whether to pad images with zeros to these proportions.
        data_format: `"channels_last"` or `"channels_first"`.
        format: accepted for Keras' sake; the result is always an `ImageFolderDataset`.
        verbose: whether to print how many images and classes were found.
        on_error: what unreadable images do: `"raise"` stops with their names before the first
            batch of a pass (the first and last bytes of each file are looked at), or, if the damage
            is within, when its batch is made; `"skip"` reads every image once beforehand, warns of
            the unreadable ones, and leaves them out.
        exif_orientation: whether to turn images upright, as the camera noted; Keras does not.

    Returns:
        An `ImageFolderDataset`, or a list of two for `subset="both"`. Pixels are float32, 0 to 255.

    Raises:
        ValueError: if an argument is wrong, or there are no images.
        OSError: if the folder cannot be read, and, while iterating, for unreadable images.

    Source: Keras: Image data loading.

    >>> import cornu, numpy as np, os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("cat", "dog"):
    ...     os.mkdir(f"{folder}/{name}")
    ...     cornu.utils.save_img(f"{folder}/{name}/1.png", np.ones((5, 5, 3)))
    >>> data = cornu.utils.image_dataset_from_directory(folder, image_size=(8, 8), seed=0)
    Found 2 files belonging to 2 classes.
    >>> [(x.shape, y.shape) for x, y in data]
    [((2, 8, 8, 3), (2,))]
    """
    if labels is None or label_mode is None:
        labels = label_mode = None
    _check_labels(labels, label_mode, class_names)
    _check_split(validation_split, subset, shuffle, seed)
    if format not in ("tf", "grain"):
        raise ValueError(f'`format` should be either "tf" or "grain". Received: format={format}')
    if on_error not in ("raise", "skip"):
        raise ValueError(
            f'`on_error` should be either "raise" or "skip". Received: on_error={on_error!r}'
        )
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError(
            "Only one of `pad_to_aspect_ratio`, `crop_to_aspect_ratio` can be set to `True`."
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
    reader = ImageReader(
        color_mode=color_mode,
        image_size=(image_size, image_size) if isinstance(image_size, int) else image_size,
        interpolation=interpolation.lower(),
        aspect="crop" if crop_to_aspect_ratio else "pad" if pad_to_aspect_ratio else None,
        data_format=standardize_data_format(data_format),
        exif_orientation=exif_orientation,
    )
    paths, indices, class_names = _find_images(directory, labels, class_names, follow_links)
    if label_mode == "binary" and len(class_names) != 2:
        raise ValueError(
            'When passing `label_mode="binary"`, there must be exactly 2 class_names. '
            f"Received: class_names={class_names}"
        )
    if label_mode == "categorical" and (indices.min() < 0 or indices.max() >= len(class_names)):
        raise ValueError(
            f'When passing `label_mode="categorical"`, `labels` must be from 0 to '
            f"{len(class_names) - 1}, as they have {len(class_names)} different values. "
            f"Received labels from {indices.min()} to {indices.max()}."
        )
    if verbose:
        classes = "" if class_names is None else f" belonging to {len(class_names)} classes"
        print(f"Found {len(paths)} files{classes}.")

    # NumPy's old generator with Keras' seeding, so that both libraries split a folder alike.
    if seed is None:
        seed = np.random.randint(1_000_000)
    order = np.arange(len(paths))
    if shuffle:
        np.random.RandomState(seed).shuffle(order)
    if on_error == "skip":
        order = order[are_readable(reader, [paths[i] for i in order])]

    unchecked = [] if on_error == "skip" else [paths[i] for i in order]

    def dataset(part, reshuffle):
        return ImageFolderDataset(
            [paths[i] for i in part],
            None if indices is None else indices[part],
            class_names=class_names,
            label_mode=label_mode,
            reader=reader,
            batch_size=batch_size,
            seed=seed if reshuffle else None,
            unchecked=unchecked,
        )

    if not validation_split:
        return dataset(order, shuffle)
    num_validation = int(validation_split * len(order))
    num_training = len(order) - num_validation
    if not num_validation or not num_training:
        raise ValueError(
            f"`validation_split={validation_split}` of {len(order)} images leaves {num_training} for "
            f"training and {num_validation} for validation. Expected some for each."
        )
    if verbose and subset in ("training", "both"):
        print(f"Using {num_training} files for training.")
    if verbose and subset in ("validation", "both"):
        print(f"Using {num_validation} files for validation.")
    if subset == "training":
        return dataset(order[:num_training], shuffle)
    if subset == "validation":
        return dataset(order[num_training:], shuffle)
    return [dataset(order[:num_training], shuffle), dataset(order[num_training:], False)]


def _check_labels(labels, label_mode, class_names) -> None:
    if labels is not None and labels != "inferred" and not isinstance(labels, (list, tuple)):
        raise ValueError(
            "`labels` argument should be a list/tuple of integer labels, of the same size as the "
            "number of image files in the target directory. If you wish to infer the labels from "
            'the subdirectory names in the target directory, pass `labels="inferred"`. If you wish '
            "to get a dataset that only contains images (no labels), pass `labels=None`. "
            f"Received: labels={labels}"
        )
    if label_mode not in ("int", "categorical", "binary", None):
        raise ValueError(
            '`label_mode` argument must be one of "int", "categorical", "binary", or None. '
            f"Received: label_mode={label_mode}"
        )
    if class_names is not None and labels != "inferred":
        raise ValueError(
            'You can only pass `class_names` if `labels="inferred"`. '
            f"Received: labels={labels}, and class_names={class_names}"
        )


def _check_split(validation_split, subset, shuffle, seed) -> None:
    if validation_split and not 0 < validation_split < 1:
        raise ValueError(
            f"`validation_split` must be between 0 and 1, received: {validation_split}"
        )
    if bool(validation_split) != bool(subset):
        raise ValueError(
            "If `subset` is set, `validation_split` must be set, and inversely. "
            f"Received: validation_split={validation_split}, subset={subset}"
        )
    if subset not in ("training", "validation", "both", None):
        raise ValueError(
            f'`subset` must be either "training", "validation" or "both", received: {subset}'
        )
    if validation_split and shuffle and seed is None:
        raise ValueError(
            "If using `validation_split` and shuffling the data, you must provide a `seed` "
            "argument, to make sure that there is no overlap between the training and validation "
            "subset."
        )


def _find_images(directory, labels, class_names, follow_links):
    """The images' paths, their labels (int32, or None), and the classes' names (or None)."""
    directory = os.fspath(directory)
    if not os.path.isdir(directory):
        kind = NotADirectoryError if os.path.exists(directory) else FileNotFoundError
        raise kind(f"There is no folder {directory!r}. Expected a folder of images.")
    if labels != "inferred":
        paths = _walk(directory, follow_links)
        if not paths:
            raise ValueError(_no_images(directory))
        if labels is None:
            return paths, None, None
        if len(labels) != len(paths):
            raise ValueError(
                "Expected the lengths of `labels` to match the number of files in the target "
                f"directory. len(labels) is {len(labels)} while we found {len(paths)} files in "
                f"directory {directory}."
            )
        if not all(isinstance(label, (int, np.integer)) for label in labels):
            raise ValueError(f"`labels` must be integers. Received: {list(labels)[:5]}, …")
        return paths, np.array(labels, "int32"), [str(label) for label in sorted(set(labels))]

    subfolders = _subfolders(directory)
    if not subfolders:
        raise ValueError(
            f"{_no_images(directory)} Expected a subfolder for each class, such as "
            f"{os.path.join(directory, 'cat', '1.jpg')!r}; there are no subfolders. For images "
            "without classes pass `labels=None`."
        )
    if class_names is None:
        class_names = subfolders
    elif not set(class_names) <= set(subfolders):
        raise ValueError(
            "The `class_names` passed did not match the names of the subdirectories of the target "
            f"directory. Expected: {subfolders} (or a subset of it), but received: "
            f"class_names={class_names}"
        )
    found = [_walk(os.path.join(directory, name), follow_links) for name in class_names]
    paths = [path for of_class in found for path in of_class]
    if not paths:
        raise ValueError(_no_images(directory))
    return paths, np.repeat(np.arange(len(found), dtype="int32"), [*map(len, found)]), class_names


def _subfolders(directory: str) -> list[str]:
    return sorted(
        entry.name
        for entry in os.scandir(directory)
        if entry.is_dir() and not entry.name.startswith(".")
    )


def empty_classes(directory) -> list[str]:
    """The subfolders that hold no image."""
    names = _subfolders(os.fspath(directory))
    return [name for name in names if not _walk(os.path.join(directory, name), False)]


def _walk(folder: str, follow_links: bool) -> list[str]:
    def refuse(error):
        raise error

    return [
        os.path.join(root, name)
        for root, _, names in sorted(os.walk(folder, onerror=refuse, followlinks=follow_links))
        for name in sorted(names)
        # A name that begins with a dot is not one of the user's images, such as macOS' "._cat.jpg".
        if name.lower().endswith(_ENDINGS) and not name.startswith(".")
    ]


def _no_images(directory: str) -> str:
    return f"No images found in directory {directory}. Allowed formats: {_ENDINGS}."
