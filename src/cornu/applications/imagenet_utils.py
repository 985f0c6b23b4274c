"""What goes into networks for ImageNet, and what comes out: pixels and the names of classes."""

import functools
import json
from collections.abc import Callable

import numpy as np

from cornu.applications.published import Published, find_weights
from cornu.core.dtype import as_array, floatx, is_discrete, standardize_data_format
from cornu.core.symbolic import KerasTensor
from cornu.ops import cast

_CLASSES = Published(
    "imagenet_class_index.json",
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",
    "c2c37ea517e94d9795004a39431a14cb",
)
# Of the training images of ImageNet, channel by channel.
_BGR_MEANS = (103.939, 116.779, 123.68)
_RGB_MEANS, _RGB_DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def preprocess_input(x, data_format=None, mode="caffe"):
    """Pixels as the networks of one origin were trained on them.

    - `"tf"`: `x / 127.5 - 1`, from -1 to 1.
    - `"torch"`: `(x / 255 - mean) / deviation`, with those of ImageNet's channels.
    - `"caffe"`: channels in the order BGR, less the means of ImageNet's.

    Args:
        x: images with pixels from 0 to 255, one or a batch: an array of any kind, or a symbolic tensor.
            Whole numbers become `floatx()`. Unlike in Keras, the array itself is left as it is.
        data_format: where the channels are; default: `config.image_data_format()`.
        mode: one of the three.

    Raises:
        ValueError: for another mode or data format, or images that have not three channels where the
            mode treats each differently.

    Source: Keras: preprocess_input.

    >>> import cornu, numpy as np
    >>> image = np.full((1, 2, 2, 3), 255, "uint8")
    >>> cornu.applications.imagenet_utils.preprocess_input(image, mode="tf").max().item()
    1.0
    """
    if mode not in ("caffe", "tf", "torch"):
        raise ValueError(
            f"Expected mode to be one of `caffe`, `tf` or `torch`. Received: mode={mode}"
        )
    data_format = standardize_data_format(data_format)
    x = _as_floats(x)
    if mode == "tf":
        return x / 127.5 - 1.0
    channels_first = data_format == "channels_first"
    axis = 0 if len(x.shape) == 3 else 1
    axis = axis if channels_first else len(x.shape) - 1
    if len(x.shape) < 3 or x.shape[axis] not in (3, None):
        raise ValueError(
            f"`preprocess_input` with mode={mode!r} takes images of three channels, with shape (rows, "
            "columns, 3) or (batch, rows, columns, 3), or channels first if `data_format` says so. "
            f"Received: x.shape={tuple(x.shape)}, data_format={data_format!r}"
        )
    shape = [3 if i == axis else 1 for i in range(len(x.shape))]

    def constant(values):
        return (
            as_array(np.array(values).reshape(shape), x.dtype)
            if _is_jax(x)
            else np.array(values, x.dtype).reshape(shape)
        )

    if mode == "torch":
        return (x / 255.0 - constant(_RGB_MEANS)) / constant(_RGB_DEVIATIONS)
    reverse = tuple(slice(None, None, -1) if i == axis else slice(None) for i in range(len(shape)))
    return x[reverse] - constant(_BGR_MEANS)


def _is_jax(x) -> bool:
    return not isinstance(x, np.ndarray)


def _as_floats(x):
    if isinstance(x, KerasTensor):
        return cast(x, floatx()) if is_discrete(x.dtype) else x
    if not hasattr(x, "dtype"):
        x = np.asarray(x)
    if is_discrete(x.dtype):
        return x.astype(floatx())
    return x


@functools.cache
def _class_index() -> dict[str, list[str]]:
    with open(find_weights(_CLASSES), encoding="utf-8") as file:
        return json.load(file)


def decode_predictions(preds, top=5) -> list[list[tuple[str, str, float]]]:
    """The most probable classes of ImageNet, with their names.

    The names are in a file that is downloaded once, as the weights are.

    Args:
        preds: what a network for the 1,000 classes predicts, with shape (images, 1000).
        top: how many classes are wanted.

    Returns:
        For each image a list of `(WordNet's id, name, number predicted)`, the largest number first.

    Raises:
        ValueError: for predictions of another shape, or a `top` below 1.
        ConnectionError: if the file cannot be downloaded.

    Source: Keras: decode_predictions.
    """
    shape = tuple(np.shape(preds))
    if len(shape) != 2 or shape[1] != 1000:
        raise ValueError(
            "`decode_predictions` expects a batch of predictions (i.e. a 2D array of shape (samples, "
            f"1000)). Received array with shape: {shape}"
        )
    if top < 1:
        raise ValueError(f"`top` must be at least 1. Received: top={top}")
    names = _class_index()
    found = []
    for row in np.asarray(preds):
        largest = row.argsort()[-top:][::-1]
        found.append([(*names[str(number)], row[number]) for number in largest])
    return found


def preprocessing(mode: str | None, module: str) -> Callable:
    """The `preprocess_input` of the networks in a module; they need `mode`, or nothing at all if None."""

    def preprocess_input(x, data_format=None):
        return x if mode is None else _with_mode(x, data_format=data_format, mode=mode)

    preprocess_input.__module__ = module
    preprocess_input.__doc__ = (
        _UNCHANGED
        if mode is None
        else f"""Pixels as these networks take them: `imagenet_utils.preprocess_input` with `mode="{mode}"`.

    Args:
        x: images with pixels from 0 to 255, one or a batch: an array or a symbolic tensor.
        data_format: where the channels are; default: `config.image_data_format()`.

    Source: Keras: preprocess_input.
    """
    )
    return preprocess_input


_with_mode = preprocess_input
__all__ = ["decode_predictions", "preprocess_input"]
_UNCHANGED = """The images as they are: these networks take pixels from 0 to 255 and scale them within.

    Args:
        x: images with pixels from 0 to 255.
        data_format: of no effect.

    Source: Keras: preprocess_input.
    """
