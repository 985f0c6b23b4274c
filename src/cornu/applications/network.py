"""What all networks share: the checks of their arguments, the input, the classifier, the weights."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from cornu import activations, layers
from cornu.applications.published import Published, find_weights
from cornu.core import registry
from cornu.core.dtype import image_data_format
from cornu.core.symbolic import KerasTensor, node_of
from cornu.models import Model


@dataclass
class Request:
    """What a caller asks of a network: the arguments that all of them take."""

    include_top: bool
    weights: Any
    input_tensor: Any
    input_shape: Any
    pooling: str | None
    classes: int
    classifier_activation: Any
    name: str

    @classmethod
    def of(cls, arguments: dict, **others) -> "Request":
        """Those among the arguments of a constructor, of which some may be replaced."""
        return cls(**{each.name: {**arguments, **others}[each.name] for each in fields(cls)})


def average_and_dense(x, request: Request):
    """The usual classifier: the mean of each feature map, and one dense layer."""
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return predictions(x, request)


def predictions(x, request: Request, **arguments):
    """The last dense layer, one unit for each class."""
    activation = request.classifier_activation
    return layers.Dense(request.classes, activation=activation, name="predictions", **arguments)(x)


@dataclass
class Design:
    """A network: its convolutional part, and what differs from others around it.

    `body` and `top` take a tensor and the `Request`, and return a tensor. `pool_names` are the names
    of the layers that `pooling="avg"` and `"max"` make, None for numbered ones. `preprocessing` is the
    mode of `imagenet_utils.preprocess_input` that its inputs need, None if it has that within.
    """

    body: Callable
    published: Callable[[Request], Published] | None
    top: Callable = average_and_dense
    default_size: int = 224
    min_size: int = 32
    pool_names: tuple[str | None, str | None] = ("avg_pool", "max_pool")
    after_pooling: Callable | None = None
    is_channels_last_only: bool = False
    preprocessing: str | None = None


def build(design: Design, request: Request, input_shape=None) -> Model:
    """The model that is asked for, with its weights.

    `input_shape` is used instead of what follows from the request and the design.
    """
    check(request)
    if design.is_channels_last_only and is_channels_first():
        raise ValueError(
            f"{request.name} does not support the `channels_first` image data format. Call "
            '`cornu.config.set_image_data_format("channels_last")` before you make it.'
        )
    if input_shape is None:
        input_shape = resolved_shape(request, design.default_size, design.min_size)
    x = _input(request, input_shape)
    inputs = x if request.input_tensor is None else sources(x)
    x = design.body(x, request)
    if request.include_top:
        x = design.top(x, request)
    else:
        if request.pooling is not None:
            kinds = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}
            names = dict(zip(kinds, design.pool_names, strict=True))
            x = kinds[request.pooling](name=names[request.pooling])(x)
        if design.after_pooling is not None:
            x = design.after_pooling(x)
    model = Model(inputs, x, name=request.name)
    if request.weights == "imagenet" and design.published is not None:
        model.load_weights(find_weights(design.published(request)))
    elif request.weights is not None:
        model.load_weights(request.weights)
    return model


def check(request: Request) -> None:
    """Raise ValueError for arguments that no network takes."""
    weights, activation = request.weights, request.classifier_activation
    is_path = isinstance(weights, str | os.PathLike) and weights != "imagenet"
    if not (weights in (None, "imagenet") or (is_path and os.path.exists(weights))):
        raise ValueError(
            "The `weights` argument should be either `None` (random initialization), `'imagenet'` "
            "(pre-training on ImageNet), or the path to the weights file to be loaded, and there is "
            f"no such file. Received: weights={weights}"
        )
    if weights == "imagenet" and request.include_top and request.classes != 1000:
        raise ValueError(
            "If using `weights='imagenet'` with `include_top=True`, `classes` should be 1000. For "
            "other classes take `include_top=False` and add a layer of your own. Received: "
            f"classes={request.classes}"
        )
    if weights is not None and request.include_top:
        allowed = (activations.softmax, activations.linear, None)
        if registry.get("activation", activation) not in allowed:
            raise ValueError(
                "Only `None` and `softmax` activations are allowed for the `classifier_activation` "
                "argument when using pretrained weights, with `include_top=True`. Received: "
                f"classifier_activation={activation}"
            )
    if request.pooling not in (None, "avg", "max"):
        raise ValueError(
            f"`pooling` must be None, 'avg' or 'max'. Received: pooling={request.pooling!r}"
        )


def is_channels_first() -> bool:
    """Whether images have their channels before rows and columns."""
    return image_data_format() == "channels_first"


def channel_axis(last: int = 3) -> int:
    """The axis of the channels; `last` says how to count it if it is the last one."""
    return 1 if is_channels_first() else last


def rows_and_columns(shape) -> tuple:
    """The two spatial sizes of an image's shape, without or with a batch."""
    image = shape[-3:]
    return tuple(image[1:] if is_channels_first() else image[:2])


def resolved_shape(request: Request, default_size: int, min_size: int) -> tuple:
    """The shape of one input image; what the caller gives is checked.

    Raises ValueError for a shape that the network, its classifier or the published weights do not take.
    """
    given, channels_first = request.input_shape, is_channels_first()
    published = request.weights == "imagenet"

    def shape(size, channels):
        return (channels, size, size) if channels_first else (size, size, channels)

    if not given:
        return shape(default_size if request.include_top else None, 3)
    given = tuple(given)
    if published and request.include_top:
        if given != shape(default_size, 3):
            raise ValueError(
                "When setting `include_top=True` and loading `imagenet` weights, `input_shape` should "
                f"be {shape(default_size, 3)}. Received: input_shape={given}"
            )
        return given
    if len(given) != 3:
        raise ValueError(
            f"`input_shape` must be a tuple of three integers. Received: input_shape={given}"
        )
    channels = given[0 if channels_first else 2]
    if published and channels != 3:
        raise ValueError(f"The input must have 3 channels; Received `input_shape={given}`")
    if channels not in (1, 3):
        warnings.warn(
            "This model usually expects 1 or 3 input channels. However, it was passed an "
            f"input_shape with {channels} input channels.",
            stacklevel=4,
        )
    sizes = rows_and_columns(given)
    if any(size is not None and size < min_size for size in sizes):
        raise ValueError(
            f"Input size must be at least {min_size}x{min_size}; Received: input_shape={given}"
        )
    if request.include_top and None in given:
        raise ValueError(
            "If `include_top` is True, you should specify a static `input_shape`. Received: "
            f"input_shape={given}"
        )
    return given


def _input(request: Request, input_shape: tuple) -> KerasTensor:
    tensor, given = request.input_tensor, request.input_shape
    if tensor is None:
        return layers.Input(shape=input_shape)
    if not isinstance(tensor, KerasTensor):
        raise ValueError(
            "`input_tensor` must be a symbolic tensor, the output of `layers.Input()` or of a layer "
            f"called on one. Received: input_tensor={tensor!r} (of type {type(tensor).__name__})"
        )
    pairs = zip(tensor.shape[1:], given or tensor.shape[1:], strict=False)
    if (given and len(given) != tensor.ndim - 1) or any(
        a is not None and b is not None and a != b for a, b in pairs
    ):
        raise ValueError(
            "`input_shape` must be the shape of `input_tensor` without the batch, or be left out. "
            f"Received: input_tensor.shape={tensor.shape}, input_shape={given}"
        )
    return tensor


def sources(tensor: KerasTensor) -> list[KerasTensor]:
    """The inputs of the graph that a tensor comes from, each once."""
    found: list[KerasTensor] = []
    seen: set[int] = set()
    waiting = [tensor]
    while waiting:
        node = node_of(waiting.pop(0))
        if id(node) in seen:
            continue
        seen.add(id(node))
        found += node.output_tensors if node.is_input else []
        waiting += node.input_tensors
    return found


def same_padding(x, kernel_size: int) -> tuple:
    """The zeros around an image before a convolution of stride 2 and no padding of its own.

    A row or column less goes before an even size, so that the last window ends at the border, as with
    padding `"same"`. Where a size is not known, both count as even.
    """
    half, sizes = kernel_size // 2, rows_and_columns(x.shape)
    before = [half if None not in sizes and size % 2 else half - 1 for size in sizes]
    return ((before[0], half), (before[1], half))
