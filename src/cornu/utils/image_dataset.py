"""Finding the images in a folder, a subfolder for each class, and making a data set of them."""

import os

import numpy as np

from cornu.core.dtype import standardize_data_format
from cornu.utils.folders import (
    check_labels,
    check_split,
    files_below,
    find_files,
    first_order,
    split,
    subfolders,
)
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
    check_labels(labels, label_mode, class_names, "images")
    check_split(validation_split, subset, shuffle, seed)
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
    paths, indices, class_names = find_files(
        directory, labels, label_mode, class_names, follow_links, _ENDINGS, "images", verbose
    )
    if seed is None:
        seed = np.random.randint(1_000_000)
    order = first_order(len(paths), shuffle, seed)
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

    return split(order, shuffle, validation_split, subset, verbose, dataset)


def image_files(directory) -> list[str]:
    """The paths of the images in a folder and below, sorted."""
    return files_below(os.fspath(directory), False, _ENDINGS)


def empty_classes(directory) -> list[str]:
    """The subfolders that hold no image."""
    names = subfolders(os.fspath(directory))
    return [
        name for name in names if not files_below(os.path.join(directory, name), False, _ENDINGS)
    ]
