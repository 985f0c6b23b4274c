"""ConvNeXt: a residual network with large windows, layer normalization and gelu, as transformers have."""

from cornu import layers
from cornu.applications import published
from cornu.applications.describing import described
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.network import Design, Request, build
from cornu.layers.scaled_sum import LayerScale
from cornu.models import Sequential

_MEANS = [0.485 * 255, 0.456 * 255, 0.406 * 255]
_VARIANCES = [(0.229 * 255) ** 2, (0.224 * 255) ** 2, (0.225 * 255) ** 2]

# Of each network: blocks in the third stage (in the others three), filters of the first stage (each further
# one has twice as many), and SHA-256 of the published files, with and without the classifier.
_NETWORKS = {
    "tiny": (
        9,
        96,
        "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
    "small": (
        27,
        96,
        "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c",
        "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
    ),
    "base": (
        27,
        128,
        "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6",
        "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
    ),
    "large": (
        27,
        192,
        "070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6",
        "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
    ),
    "xlarge": (
        27,
        256,
        "c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee",
        "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
    ),
}


def _normalization(name: str | None = None):
    return layers.LayerNormalization(epsilon=1e-6, name=name)


def _block(x, filters: int, name: str):
    inputs = x
    x = layers.Conv2D(filters, 7, padding="same", groups=filters, name=f"{name}_depthwise_conv")(x)
    x = _normalization(f"{name}_layernorm")(x)
    x = layers.Dense(4 * filters, name=f"{name}_pointwise_conv_1")(x)
    x = layers.Activation("gelu", name=f"{name}_gelu")(x)
    x = layers.Dense(filters, name=f"{name}_pointwise_conv_2")(x)
    x = LayerScale(1e-6, filters, name=f"{name}_layer_scale")(x)
    return inputs + layers.Activation("linear", name=f"{name}_identity")(x)


def _stage_beginnings(filters: list[int], name: str) -> list[Sequential]:
    """What makes feature maps a fourth as wide in the first stage, and half as wide in each other."""
    found = [
        Sequential(
            [
                layers.Conv2D(filters[0], 4, strides=4, name=f"{name}_stem_conv"),
                _normalization(f"{name}_stem_layernorm"),
            ],
            name=f"{name}_stem",
        )
    ]
    for i, number in enumerate(filters[1:]):
        found.append(
            Sequential(
                [
                    _normalization(f"{name}_downsampling_layernorm_{i}"),
                    layers.Conv2D(number, 2, strides=2, name=f"{name}_downsampling_conv_{i}"),
                ],
                name=f"{name}_downsampling_block_{i}",
            )
        )
    return found


def _body(size: str, include_preprocessing: bool):
    middle, first_filters, *_ = _NETWORKS[size]

    def body(x, request: Request):
        name = request.name
        if include_preprocessing and x.shape[3] == 3:
            x = layers.Normalization(
                mean=_MEANS, variance=_VARIANCES, name=f"{name}_prestem_normalization"
            )(x)
        filters = [first_filters * 2**stage for stage in range(4)]
        beginnings = _stage_beginnings(filters, name)
        for stage, depth in enumerate((3, 3, middle, 3)):
            x = beginnings[stage](x)
            for block in range(depth):
                x = _block(x, filters[stage], f"{name}_stage_{stage}_block_{block}")
        return x

    return body


def _top(x, request: Request):
    name = f"{request.name}_head"
    x = layers.GlobalAveragePooling2D(name=f"{name}_gap")(x)
    x = _normalization(f"{name}_layernorm")(x)
    activation = request.classifier_activation
    return layers.Dense(request.classes, activation=activation, name=f"{name}_dense")(x)


def _constructor(size: str):
    title = f"ConvNeXt{'XLarge' if size == 'xlarge' else size.capitalize()}"
    middle, filters, *hashes = _NETWORKS[size]
    default_name = f"convnext_{size}"
    files = published.by_name(f"{published.ADDRESS}convnext/", default_name, *hashes)

    @described(
        title,
        f"{middle + 9} blocks, with {filters} to {8 * filters} feature maps.\n"
        'Liu et al. 2022, "A ConvNet for the 2020s"',
        None,
        more="""\
    include_preprocessing: whether pixels are normalized within the network, if they have three channels.
""",
    )
    def construct(
        include_top=True,
        include_preprocessing=True,
        weights="imagenet",
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        name=default_name,
    ):
        request = Request.of(locals())
        design = Design(
            _body(size, include_preprocessing),
            files,
            _top,
            pool_names=(None, None),
            after_pooling=lambda x: _normalization()(x),
            is_channels_last_only=True,
        )
        return build(design, request)

    return construct


ConvNeXtTiny = _constructor("tiny")
ConvNeXtSmall = _constructor("small")
ConvNeXtBase = _constructor("base")
ConvNeXtLarge = _constructor("large")
ConvNeXtXLarge = _constructor("xlarge")
preprocess_input = preprocessing(None, __name__)

__all__ = [
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtSmall",
    "ConvNeXtTiny",
    "ConvNeXtXLarge",
    "decode_predictions",
    "preprocess_input",
]
