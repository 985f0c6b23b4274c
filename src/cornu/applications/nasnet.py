"""NASNet: two kinds of cells that a search has found, repeated."""

from cornu import layers
from cornu.applications import network
from cornu.applications.describing import described
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.network import Design, Request, build, same_padding
from cornu.applications.published import ADDRESS, Published


def _normalized(x, name: str):
    return layers.BatchNormalization(axis=-1, momentum=0.9997, epsilon=1e-3, name=name)(x)


def _pointwise(x, filters: int, name: str):
    return layers.Conv2D(
        filters, 1, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)


def _separable(x, filters: int, size: int, name: str, stride: int = 1):
    """Two separable convolutions, each after relu and before normalization."""
    for i in (1, 2):
        x = layers.Activation("relu")(x)
        halves = stride == 2 and i == 1
        if halves:
            x = layers.ZeroPadding2D(same_padding(x, size), name=f"separable_conv_1_pad_{name}")(x)
        x = layers.SeparableConv2D(
            filters,
            size,
            strides=stride if i == 1 else 1,
            padding="valid" if halves else "same",
            use_bias=False,
            name=f"separable_conv_{i}_{name}",
        )(x)
        x = _normalized(x, f"separable_conv_{i}_bn_{name}")
    return x


def _average(x, name: str):
    return layers.AveragePooling2D(3, strides=1, padding="same", name=name)(x)


def _adjusted(previous, x, filters: int, name: str):
    """The input of the cell before, with the size and the number of feature maps that this one needs."""
    if previous is None:
        return x
    if previous.shape[-2] != x.shape[-2]:
        previous = layers.Activation("relu", name=f"adjust_relu_1_{name}")(previous)
        shifted = previous
        halves = []
        for i in (1, 2):
            if i == 2:
                # The pixels that the first half leaves out.
                shifted = layers.ZeroPadding2D(((0, 1), (0, 1)))(previous)
                shifted = layers.Cropping2D(((1, 0), (1, 0)))(shifted)
            half = layers.AveragePooling2D(1, strides=2, name=f"adjust_avg_pool_{i}_{name}")(
                shifted
            )
            halves.append(_pointwise(half, filters // 2, f"adjust_conv_{i}_{name}"))
        return _normalized(layers.concatenate(halves, axis=-1), f"adjust_bn_{name}")
    if previous.shape[-1] != filters:
        previous = layers.Activation("relu")(previous)
        previous = _pointwise(previous, filters, f"adjust_conv_projection_{name}")
        return _normalized(previous, f"adjust_bn_{name}")
    return previous


def _normal_cell(x, previous, filters: int, name: str):
    """The next feature maps, of the same size, and those that they were made of."""
    p = _adjusted(previous, x, filters, name)
    h = _pointwise(layers.Activation("relu")(x), filters, f"normal_conv_1_{name}")
    h = _normalized(h, f"normal_bn_1_{name}")
    left = _separable(h, filters, 5, f"normal_left1_{name}")
    right = _separable(p, filters, 3, f"normal_right1_{name}")
    first = layers.add([left, right], name=f"normal_add_1_{name}")
    left = _separable(p, filters, 5, f"normal_left2_{name}")
    right = _separable(p, filters, 3, f"normal_right2_{name}")
    second = layers.add([left, right], name=f"normal_add_2_{name}")
    third = layers.add([_average(h, f"normal_left3_{name}"), p], name=f"normal_add_3_{name}")
    averages = [_average(p, f"normal_{side}4_{name}") for side in ("left", "right")]
    fourth = layers.add(averages, name=f"normal_add_4_{name}")
    fifth = _separable(h, filters, 3, f"normal_left5_{name}")
    fifth = layers.add([fifth, h], name=f"normal_add_5_{name}")
    together = [p, first, second, third, fourth, fifth]
    return layers.concatenate(together, axis=-1, name=f"normal_concat_{name}"), x


def _reduction_cell(x, previous, filters: int, name: str):
    """The next feature maps, half as wide, and those that they were made of."""
    p = _adjusted(previous, x, filters, name)
    h = _pointwise(layers.Activation("relu")(x), filters, f"reduction_conv_1_{name}")
    h = _normalized(h, f"reduction_bn_1_{name}")
    padded = layers.ZeroPadding2D(same_padding(h, 3), name=f"reduction_pad_1_{name}")(h)
    left = _separable(h, filters, 5, f"reduction_left1_{name}", stride=2)
    right = _separable(p, filters, 7, f"reduction_right1_{name}", stride=2)
    first = layers.add([left, right], name=f"reduction_add_1_{name}")
    left = layers.MaxPooling2D(3, strides=2, name=f"reduction_left2_{name}")(padded)
    right = _separable(p, filters, 7, f"reduction_right2_{name}", stride=2)
    second = layers.add([left, right], name=f"reduction_add_2_{name}")
    left = layers.AveragePooling2D(3, strides=2, name=f"reduction_left3_{name}")(padded)
    right = _separable(p, filters, 5, f"reduction_right3_{name}", stride=2)
    third = layers.add([left, right], name=f"reduction_add3_{name}")
    fourth = layers.add([second, _average(first, f"reduction_left4_{name}")])
    left = _separable(first, filters, 3, f"reduction_left4_{name}")
    right = layers.MaxPooling2D(3, strides=2, name=f"reduction_right5_{name}")(padded)
    fifth = layers.add([left, right], name=f"reduction_add4_{name}")
    together = [second, third, fourth, fifth]
    return layers.concatenate(together, axis=-1, name=f"reduction_concat_{name}"), x


def _body(filters: int, repeats: int, stem_filters: int, skips_reduction: bool):
    """Three rows of normal cells, each with twice the filters of the one before."""

    def body(x, request: Request):
        if None in x.shape[1:]:
            raise ValueError(
                "NASNet needs images of a known size, because how it halves feature maps depends on "
                f"whether their size is even. Received: input shape {x.shape[1:]}. Give `input_shape`."
            )
        x = layers.Conv2D(
            stem_filters,
            3,
            strides=2,
            use_bias=False,
            name="stem_conv1",
            kernel_initializer="he_normal",
        )(x)
        x = _normalized(x, "stem_bn1")
        x, previous = _reduction_cell(x, None, filters // 4, "stem_1")
        x, previous = _reduction_cell(x, previous, filters // 2, "stem_2")
        for row in range(3):
            first, width = row * repeats, filters * 2**row
            if row:
                x, reduced = _reduction_cell(x, previous, width, f"reduce_{first}")
                previous = previous if skips_reduction else reduced
                first += 1
            for number in range(first, first + repeats):
                x, previous = _normal_cell(x, previous, width, f"{number}")
        return layers.Activation("relu")(x)

    return body


def _top(x, request: Request):
    return network.predictions(layers.GlobalAveragePooling2D()(x), request)


def _constructor(title, default_size, filters, repeats, stem_filters, skips_reduction, hashes):
    size = title.removeprefix("NASNet").lower()

    def published(request: Request) -> Published:
        ending = "" if request.include_top else "-no-top"
        file = f"nasnet_{size}{ending.replace('-', '_')}.h5"
        address = f"{ADDRESS}nasnet/NASNet-{size}{ending}.h5"
        return Published(file, address, hashes[0 if request.include_top else 1])

    design = Design(
        _body(filters, repeats, stem_filters, skips_reduction),
        published,
        _top,
        default_size=default_size,
        pool_names=(None, None),
        is_channels_last_only=True,
        preprocessing="tf",
    )

    @described(
        title,
        f"{3 * repeats} normal cells and four that halve feature maps, found by a search.\n"
        'Zoph et al. 2018, "Learning transferable architectures for scalable image recognition"',
        design.preprocessing,
        default_size,
    )
    def construct(
        input_shape=None,
        include_top=True,
        weights="imagenet",
        input_tensor=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        name=f"nasnet_{size}",
    ):
        if input_shape is None and input_tensor is None:
            input_shape = (default_size, default_size, 3)
        request = Request.of(locals())
        return build(design, request)

    return construct


NASNetMobile = _constructor(
    "NASNetMobile",
    224,
    44,
    4,
    32,
    False,
    ("020fb642bf7360b370c678b08e0adf61", "1ed92395b5b598bdda52abe5c0dbfd63"),
)
NASNetLarge = _constructor(
    "NASNetLarge",
    331,
    168,
    6,
    96,
    True,
    ("11577c9a518f0070763c2b964a382f17", "d81d89dc07e6e56530c4e77faddd61b5"),
)
preprocess_input = preprocessing("tf", __name__)

__all__ = ["NASNetLarge", "NASNetMobile", "decode_predictions", "preprocess_input"]
