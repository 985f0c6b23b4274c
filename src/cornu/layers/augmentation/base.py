"""What layers for images share: one image or a batch, and what belongs to them."""

import numbers

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.call_arguments import is_leaf, is_shape
from cornu.core.dtype import as_array, floatx, is_discrete, standardize_data_format
from cornu.core.random import SeedGenerator, draw_seed
from cornu.core.symbolic import KerasTensor, infer_outputs
from cornu.core.variable import Variable
from cornu.layers.preprocessing.data_layer import DataLayer
from cornu.ops.core import saturate_cast
from cornu.utils.bounding_boxes.formats import check_format, clip_to_image_size, convert_format


class ImageLayer(DataLayer):
    """Base class: a change of images, and the same of labels, boxes and masks that belong to them.

    Args:
        bounding_box_format: format of bounding boxes, such as `"xyxy"`: see
            `cornu.utils.bounding_boxes.convert_format`. Needed for inputs with boxes.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    The input is one image or a batch, or a dict of

    - `"images"`: `(rows, columns, channels)` or `(batch, rows, columns, channels)`;
    - `"labels"`: anything, one for each image;
    - `"bounding_boxes"`: a dict of `"boxes"`, `(batch, boxes, 4)`, and `"labels"`, `(batch, boxes)`; the
      label of a box of which nothing is left becomes -1, and lists of different length are filled up;
    - `"segmentation_masks"`: `(batch, rows, columns, channels)` or `(batch, rows, columns)`. Where images
      move, masks move with them, each pixel from the nearest one, and keep their dtype;

    and whatever else, which stays as it is. The result is a new dict with the same entries.

    A subclass may override `get_random_transformation`, whose result the other methods get, and
    `transform_images`, `transform_labels`, `transform_bounding_boxes` and
    `transform_segmentation_masks`, which see batches.
    """

    # Whether images come out in the shape in which they came.
    _keeps_shape = True
    # Where the compute dtype is one of integers: whether they are rounded; else fractions are cut off.
    _rounds = False
    # Whether each image of a batch changes by itself, so that each needs its own bounding boxes.
    _each_its_own = False

    def __init__(self, bounding_box_format=None, data_format=None, **kwargs):
        super().__init__(**kwargs)
        if bounding_box_format is not None:
            check_format(bounding_box_format)
        self.bounding_box_format = bounding_box_format
        self.data_format = standardize_data_format(data_format)

    def call(self, data, training=True):
        parts = dict(data) if isinstance(data, dict) else {"images": data}
        if "images" not in parts:
            raise ValueError(
                f"Layer '{self.name}' takes images, or a dict with 'images' and perhaps 'labels', "
                f"'bounding_boxes' and 'segmentation_masks'. Received a dict of {list(parts)}."
            )
        images = parts["images"]
        self._sizes(images)
        if "bounding_boxes" in parts:
            self._box_format()
            ndims = {images.ndim - 2} if self._each_its_own else {1, 2}
            parts["bounding_boxes"] = dense_boxes(parts["bounding_boxes"], ndims)
        transformation = self.get_random_transformation(data, training=training)
        single = images.ndim == 3
        for name, many, one in (
            ("images", self.transform_images, self.transform_single_image),
            ("labels", self.transform_labels, self.transform_single_label),
            ("bounding_boxes", self.transform_bounding_boxes, self.transform_single_bounding_box),
            (
                "segmentation_masks",
                self._transform_masks(many=True, flat=images.ndim - 1),
                self._transform_masks(many=False, flat=images.ndim - 1),
            ),
        ):
            if name in parts:
                change = one if single else many
                parts[name] = change(parts[name], transformation, training=training)
        return parts if isinstance(data, dict) else parts["images"]

    def _transform_masks(self, many: bool, flat: int):
        change = (
            self.transform_segmentation_masks if many else self.transform_single_segmentation_mask
        )

        def changed(masks, transformation, training):
            if masks.ndim != flat:
                return change(masks, transformation, training=training)
            # Without an axis of channels.
            axis = -1 if self.data_format == "channels_last" else -3
            masks = jnp.expand_dims(masks, axis)
            return jnp.squeeze(change(masks, transformation, training=training), axis)

        return changed

    def get_random_transformation(self, data, training=True, seed=None):
        """What is to be done to these images (or the dict of them); None for nothing."""
        return None

    def transform_images(self, images, transformation=None, training=True):
        """A batch of images, changed."""
        raise NotImplementedError

    def transform_labels(self, labels, transformation=None, training=True):
        """The labels of the changed images."""
        return labels

    def transform_bounding_boxes(self, bounding_boxes, transformation=None, training=True):
        """The bounding boxes in the changed images."""
        return bounding_boxes

    def transform_segmentation_masks(self, segmentation_masks, transformation=None, training=True):
        """The masks of the changed images."""
        return segmentation_masks

    def transform_single_image(self, image, transformation, training=True):
        """One image, changed as a batch of it would be."""
        return self.transform_images(jnp.asarray(image)[None], transformation, training=training)[0]

    def transform_single_label(self, label, transformation, training=True):
        """The label of one image."""
        return self.transform_labels(jnp.asarray(label)[None], transformation, training=training)[0]

    def transform_single_bounding_box(self, bounding_box, transformation, training=True):
        """The bounding boxes of one image, a dict of `"boxes"`, `(boxes, 4)`, and `"labels"`."""
        batch = {name: jnp.asarray(value)[None] for name, value in bounding_box.items()}
        batch = self.transform_bounding_boxes(batch, transformation, training=training)
        return {name: value[0] for name, value in batch.items()}

    def transform_single_segmentation_mask(self, segmentation_mask, transformation, training=True):
        """The mask of one image."""
        masks = jnp.asarray(segmentation_mask)[None]
        return self.transform_segmentation_masks(masks, transformation, training=training)[0]

    def _to_tensors(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Arguments as arrays; of a dict only the images are converted to the compute dtype.

        Positions of boxes would not fit 16 bits.
        """
        data = args[0] if args else kwargs.get("data")
        if not isinstance(data, dict) or "images" not in data:
            return super()._to_tensors(args, kwargs)
        parts = jax.tree.map(_as_tensor, data, is_leaf=is_leaf)
        (parts["images"],), _ = super()._to_tensors((data["images"],), {})
        return ((parts, *args[1:]), kwargs) if args else (args, {**kwargs, "data": parts})

    def compute_output_spec(self, *args, **kwargs):
        kwargs.pop("training", None)
        args, kwargs = self._to_tensors(args, kwargs)
        data = args[0] if args else kwargs["data"]
        if self._keeps_shape and isinstance(data, KerasTensor) and self._is_cornus():
            self._sizes(data)
            return KerasTensor(data.shape, dtype=self._output_dtype(data.dtype))
        return infer_outputs(self._call_for_inference, args, kwargs)

    def compute_output_shape(self, input_shape):
        if self._keeps_shape and is_shape(input_shape) and self._is_cornus():
            return tuple(input_shape)
        return super().compute_output_shape(input_shape)

    def _is_cornus(self) -> bool:
        return type(self).__module__.startswith("cornu.")

    @property
    def _working_dtype(self) -> str:
        """The dtype to calculate in: fractions count also where integers are to come out."""
        return floatx() if is_discrete(self.compute_dtype) else self.compute_dtype

    def _finished(self, images):
        """Changed images in the compute dtype."""
        dtype = self.compute_dtype
        if not is_discrete(dtype):
            return images
        return saturate_cast(jnp.round(images) if self._rounds else images, dtype)

    def _output_dtype(self, dtype) -> str:
        """The dtype of the images that come out."""
        return self.compute_dtype

    def get_config(self) -> dict:
        config = super().get_config()
        if config.get("bounding_box_format", 0) is None:
            # As in Keras, whose files of layers that are given none do not have it.
            del config["bounding_box_format"]
        return config

    def _sizes(self, images) -> tuple:
        """The number of images, and their rows, columns and channels."""
        shape = images.shape
        if len(shape) not in (3, 4):
            raise ValueError(
                f"Layer '{self.name}': Expected the input image to be rank 3 or 4. One image has rank "
                f"3, and a batch rank 4. Received: shape={shape}"
            )
        batch, *rest = shape if len(shape) == 4 else (1, *shape)
        if self.data_format == "channels_first":
            rest = [*rest[1:], rest[0]]
        return (batch, *rest)

    def _apply(self, function, images):
        """Call `function` on a batch with channels last."""
        self._sizes(images)
        channels_first = self.data_format == "channels_first"
        batch = images[None] if images.ndim == 3 else images
        batch = function(jnp.moveaxis(batch, 1, -1) if channels_first else batch)
        batch = jnp.moveaxis(batch, -1, 1) if channels_first else batch
        return batch[0] if images.ndim == 3 else batch

    def _box_format(self) -> str:
        if self.bounding_box_format is None:
            raise ValueError(
                f"Layer '{self.name}' was given bounding boxes, but no bounding box format. Pass a "
                f"`bounding_box_format` argument to your {type(self).__name__} layer, e.g. "
                "`bounding_box_format='xyxy'`."
            )
        return self.bounding_box_format

    def _move_boxes(self, bounding_boxes: dict, size, move, new_size=None) -> dict:
        """Bounding boxes, moved by a function of `(…, 4)` edges in pixels: left, top, right, bottom.

        Args:
            bounding_boxes: in the layer's format.
            size: rows and columns of the images.
            move: the function.
            new_size: rows and columns of the changed images, if they are others.
        """
        name = self._box_format()
        boxes = convert_format(bounding_boxes, name, "xyxy", *size)
        boxes["boxes"] = move(boxes["boxes"])
        size = new_size or size
        return convert_format(clip_to_image_size(boxes, *size), "xyxy", name, *size)


class RandomImageLayer(ImageLayer):
    """Base class: in training `_change(batch, transformation)` is called on batches with channels last.

    The transformation is what `_draw(seed, shape)` returned, a dict of random numbers; the shape is
    `(batch, rows, columns, channels)`.

    Args:
        seed: an integer for changes that can be repeated.

    Call arguments:
        training: whether to change anything; True unless the model passes another value.

    Images come out in the compute dtype. Where that is one of integers, they are changed as floats. (In
    Keras 3.15 sums of integers wrap around, and several layers refuse them.)
    """

    # How many keys Keras draws outside of training, too, where they change nothing: the numbers of the
    # next step depend on it.
    _idle_draws = 0

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.generator = SeedGenerator(seed)

    def get_random_transformation(self, data, training=True, seed=None):
        """The random numbers for a batch of images; None if nothing is to be done.

        Args:
            data: the images, or a dict of them and more.
            training: whether anything is to be done.
            seed: an integer, a key or a `SeedGenerator`; the layer's own if None.
        """
        images = data["images"] if isinstance(data, dict) else data
        shape = self._sizes(images)
        seed = self.generator if seed is None else seed
        if training:
            return self._draw(seed, shape)
        for _ in range(self._idle_draws):
            draw_seed(seed)
        return None

    def transform_images(self, images, transformation=None, training=True):
        images = jnp.asarray(images)
        if not training or transformation is None:
            return images.astype(self.compute_dtype)
        images = images.astype(self._working_dtype)
        return self._finished(
            self._apply(lambda batch: self._change(batch, transformation), images)
        )

    def _draw(self, seed, shape: tuple):
        raise NotImplementedError

    def _change(self, images, transformation):
        raise NotImplementedError


def uniform(seed, shape, low=0.0, high=1.0, dtype=None):
    """Random numbers from `low` to `high`, the next ones of a generator."""
    return jax.random.uniform(draw_seed(seed), shape, dtype or floatx(), low, high)


def chosen(seed, batch: int, factor: tuple):
    """For each image whether it is changed, with a probability drawn from the range `factor`."""
    probability = uniform(seed, (batch,), *factor)
    return uniform(seed, (batch,)) < probability


def for_each(values, ndim: int = 4):
    """One number for each image, in a shape that broadcasts to the batch."""
    values = jnp.asarray(values)
    return values.reshape(values.shape[:1] + (1,) * (ndim - 1))


def factor_range(name: str, factor, low=-1.0, high=1.0, open_low=False) -> tuple:
    """A factor as a pair: one number `f` means `(-f, f)`."""
    pair = factor
    if _is_number(factor):
        pair = (max(-abs(factor), low), abs(factor)) if low <= factor <= high else None
    fits = (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(_is_number(f) and low <= f <= high for f in pair)
        and not (open_low and low in (factor, *pair))
    )
    if not fits:
        raise ValueError(
            f"The `{name}` argument should be a number (or a list of two numbers) in the range "
            f"{'(' if open_low else '['}{low}, {high}]. Received: {name}={factor!r}"
        )
    return tuple(sorted(pair))


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def pair_of_values(value_range):
    """The lowest and the highest value of a pixel, as they were given."""
    if not isinstance(value_range, list | tuple) or len(value_range) != 2:
        raise ValueError(
            "The `value_range` argument should be a list of two numbers. "
            f"Received: value_range={value_range!r}"
        )
    return value_range


def rescaled(images, source, target):
    """Images with pixels from one range of values in another."""
    if tuple(source) == tuple(target):
        return images
    source, target = (jnp.asarray(r, images.dtype) for r in (source, target))
    return (images - source[0]) / (source[1] - source[0]) * (target[1] - target[0]) + target[0]


def dense_boxes(bounding_boxes, ndims: set) -> dict:
    """A dict of bounding boxes as arrays; lists of different length are filled up with label -1.

    `ndims` may hold 1, for the boxes of one image, and 2, for those of a batch.
    """
    if not isinstance(bounding_boxes, dict) or not {"boxes", "labels"} <= set(bounding_boxes):
        raise ValueError(
            "Expected `bounding_boxes` argument to be a dict with keys 'boxes' and 'labels'. "
            f"Received: bounding_boxes={bounding_boxes}"
        )
    boxes, labels = bounding_boxes["boxes"], bounding_boxes["labels"]
    if isinstance(boxes, list | tuple):
        if not isinstance(labels, list | tuple) or len(labels) != len(boxes):
            raise ValueError(
                "If `bounding_boxes['boxes']` is a list, then `bounding_boxes['labels']` must also be "
                f"a list, of the same length. Received: bounding_boxes['labels']={labels}"
            )
        if ndims != {1} and _is_ragged(boxes):
            most = max(map(len, boxes), default=0)
            filled = np.zeros((len(boxes), most, 4), "float32")
            numbers = np.full((len(boxes), most), -1, "int32")
            for i, (some, their) in enumerate(zip(boxes, labels, strict=True)):
                if len(some):
                    filled[i, : len(some)], numbers[i, : len(some)] = some, their
            boxes, labels = filled, numbers
    boxes, labels = _as_tensor(boxes), _as_tensor(labels)
    if isinstance(boxes, list | tuple):
        boxes, labels = as_array(np.asarray(boxes, "float32")), as_array(np.asarray(labels))
    if boxes.ndim - 1 not in ndims or labels.ndim < boxes.ndim - 1:
        raise ValueError(
            "Expected `bounding_boxes['boxes']` to have the shape (num_boxes, 4), for one image, or "
            "(batch_size, num_boxes, 4), and `bounding_boxes['labels']` one label for each. Received: "
            f"boxes of shape {boxes.shape} and labels of shape {labels.shape}"
        )
    return {**bounding_boxes, "boxes": boxes.astype("float32"), "labels": labels}


def _is_ragged(boxes) -> bool:
    """Whether a list holds boxes for several images."""
    return all(np.ndim(some) == 2 or len(some) == 0 for some in boxes)


def _as_tensor(value):
    if isinstance(value, Variable):
        return value.value
    if isinstance(value, jax.Array | KerasTensor | str) or not hasattr(value, "__array__"):
        return value
    return as_array(value if isinstance(value, np.ndarray) else np.asarray(value))
