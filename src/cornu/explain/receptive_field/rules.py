"""What a box of a layer's output depends on in its inputs, for each kind of layer."""

import functools

from cornu.core.symbolic import FunctionOperation
from cornu.explain.observe import spatial_axes
from cornu.layers import activation as activation_layers
from cornu.layers import normalization as normalizations
from cornu.layers import regularization
from cornu.layers.adaptive_pooling import BaseAdaptivePooling
from cornu.layers.augmentation import RandomCrop
from cornu.layers.augmentation.base import RandomImageLayer
from cornu.layers.batch_normalization import BatchNormalization
from cornu.layers.dense import Dense
from cornu.layers.merging import Concatenate, Merge
from cornu.layers.pooling import BaseGlobalPooling
from cornu.layers.preprocessing import Normalization, Rescaling
from cornu.layers.resampling import BaseUpSampling
from cornu.layers.reshaping import Flatten, Reshape
from cornu.layers.spatial import Spatial
from cornu.ops.adaptive_pooling import pixels_read

# First and last index along each axis but the batch's; both belong to it.
Box = tuple[tuple[int, int], ...]


def everything(shape) -> Box:
    """The box of a whole array of a shape."""
    return tuple((0, n - 1) for n in shape)


def boxes_by_rule(operation, box: Box, shapes: list) -> list[Box] | None:
    """For each input of a layer or function, the box that a box of its output reads; None if not known."""
    if isinstance(operation, FunctionOperation) and operation.function_name in _ELEMENTWISE:
        return [_elementwise(box, shape) for shape in shapes]
    found = [box_read(operation, box, shape) for shape in shapes]
    known = [read for read in found if read is not None]
    return known if len(known) == len(found) else None


# Functions of `cornu.ops` and operators that do the same to every element.
_ELEMENTWISE = frozenset(
    "add subtract multiply divide true_divide negative abs absolute square sqrt exp log log1p "
    "maximum minimum power clip relu relu6 sigmoid tanh silu swish gelu elu selu leaky_relu "
    "softplus softsign hard_sigmoid hard_silu cast where".split()
)


def _elementwise(box: Box, shape) -> Box:
    """Of a function of elements: the same box; of anything else, everything."""
    if len(shape) == len(box):
        return tuple((0, 0) if n == 1 else b for b, n in zip(box, shape, strict=True))
    return everything(shape)


@functools.singledispatch
def box_read(layer, box: Box, shape) -> Box | None:
    """The box that a box of a layer's output reads in an input of a shape (both without the batch).

    None if it is not known, and gradients must say.
    """
    return None


@box_read.register
def _(layer: RandomCrop, box, shape):
    return None


@box_read.register(Flatten)
@box_read.register(Reshape)
@box_read.register(BaseGlobalPooling)
def _(layer, box, shape):
    return everything(shape)


@box_read.register
def _windows(layer: Spatial, box, shape):
    geometry, axes = layer.window((None, *shape)), spatial_axes(layer, len(shape))
    ranges = geometry.ranges_of_readers if layer._is_transposed else geometry.ranges_read
    found = list(everything(shape))
    for axis, read in zip(axes, ranges([box[axis] for axis in axes]), strict=True):
        found[axis] = read
    return tuple(found)


@box_read.register
def _(layer: BaseAdaptivePooling, box, shape):
    found = list(everything(shape))
    for axis, size in zip(spatial_axes(layer, len(shape)), layer.output_size, strict=True):
        first, last = box[axis]
        found[axis] = pixels_read(first, last, shape[axis], size)
    return tuple(found)


@box_read.register
def _(layer: BaseUpSampling, box, shape):
    if getattr(layer, "interpolation", "nearest") != "nearest":
        return None
    return _windows(layer, box, shape)


@box_read.register
def _(layer: Dense, box, shape):
    return (*box[:-1], (0, shape[-1] - 1))


@box_read.register
def _(layer: Merge, box, shape):
    return _elementwise(box, shape)


@box_read.register
def _(layer: Concatenate, box, shape):
    axis = layer.axis % (len(shape) + 1) - 1
    found = list(box)
    # Which part each input is, is not worth knowing for channels.
    found[axis] = (0, shape[axis] - 1)
    return tuple(found)


@box_read.register(activation_layers.Activation)
@box_read.register(activation_layers.Identity)
@box_read.register(activation_layers.ReLU)
@box_read.register(activation_layers.LeakyReLU)
@box_read.register(activation_layers.PReLU)
@box_read.register(activation_layers.ELU)
@box_read.register(regularization.Dropout)
@box_read.register(regularization.GaussianNoise)
@box_read.register(regularization.GaussianDropout)
@box_read.register(regularization.AlphaDropout)
@box_read.register(regularization.ActivityRegularization)
@box_read.register(RandomImageLayer)
@box_read.register(BatchNormalization)
@box_read.register(Normalization)
@box_read.register(Rescaling)
def _(layer, box, shape):
    return box


@box_read.register(normalizations.LayerNormalization)
@box_read.register(normalizations.RMSNormalization)
@box_read.register(normalizations.UnitNormalization)
@box_read.register(activation_layers.Softmax)
def _(layer, box, shape):
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    whole = {a % (len(shape) + 1) - 1 for a in axes}
    return tuple(
        (0, n - 1) if a in whole else b for a, (b, n) in enumerate(zip(box, shape, strict=True))
    )
