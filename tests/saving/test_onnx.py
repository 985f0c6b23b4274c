"""ONNX files: ONNX Runtime computes what the model does, layer by layer, for any number of examples."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import cornu
from cornu import layers

sys.path.insert(0, str(Path(__file__).parent.parent / "layers"))
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "examples"))
from test_contract import CASES, example, own_layers
from test_exchange import made


def runtime(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def results(session, x):
    arrays = list(x.values()) if isinstance(x, dict) else x if isinstance(x, list) else [x]
    names = list(x) if isinstance(x, dict) else [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))


NAMES = sorted(set(CASES) & set(own_layers()))
# Their loop over the steps has no form in ONNX yet.
RECURRENT = [
    name
    for name in NAMES
    if name == "Bidirectional" or issubclass(getattr(layers, name), layers.RNN)
]

# Nor have hashes, histograms and Fourier transforms; lookups and ranges are for the data before a network.
OF_DATA = [
    "CategoryEncoding",
    "ContrastLimitedAdaptiveHistogramEqualization",
    "Discretization",
    "HashedCrossing",
    "Hashing",
    "IntegerLookup",
    "MelSpectrogram",
]


@pytest.mark.parametrize("name", RECURRENT + OF_DATA)
def test_layers_without_a_form_are_refused_by_name(name, tmp_path):
    with pytest.raises(ValueError, match=rf"The layer '\w+' \({name}\) cannot be written as ONNX"):
        made(cornu, name).export(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", sorted({*NAMES} - {*RECURRENT, *OF_DATA}))
def test_every_layer(name, tmp_path):
    model = made(cornu, name)
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.02, 0.3, w.shape).astype(w.dtype) for w in model.weights])
    model.export(tmp_path / "m.onnx")
    session = runtime(tmp_path / "m.onnx")
    assert [o.name for o in session.get_outputs()] == model.output_names
    for batch in (1, 5):
        x = example(name, batch)
        [found], expected = results(session, x), model.predict(x, verbose=0)
        assert found.shape == expected.shape and found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "kind, arguments, size",
    [
        ("Conv2D", {"strides": 2, "padding": "same"}, 9),
        ("Conv2D", {"dilation_rate": 2, "groups": 2}, 9),
        ("Conv2D", {"data_format": "channels_first"}, 6),
        ("Conv1D", {"padding": "causal", "dilation_rate": 2}, 9),
        ("Conv2DTranspose", {"strides": 2, "padding": "same"}, 5),
        ("Conv2DTranspose", {"strides": 3, "padding": "valid", "output_padding": 1}, 5),
        ("Conv2DTranspose", {"strides": 4, "padding": "valid", "kernel_size": 2}, 5),
        ("DepthwiseConv2D", {"strides": 2, "padding": "same", "depth_multiplier": 2}, 8),
        ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, 8),
        ("MaxPooling2D", {"pool_size": 1, "strides": 2}, 9),
        ("MaxPooling2D", {"pool_size": 17, "strides": 2}, 20),
        ("AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, 8),
    ],
)
def test_windows(kind, arguments, size, tmp_path):
    if "Pooling" not in kind:
        arguments = {"kernel_size": 3, **arguments}
        if not kind.startswith("Depthwise"):
            arguments["filters"] = 4
    rank = 1 if "1D" in kind else 2
    model = cornu.Sequential(
        [cornu.Input((size,) * rank + (6,)), getattr(layers, kind)(**arguments)]
    )
    model.export(tmp_path / "m.onnx")
    x = np.random.default_rng(0).standard_normal((3, *model.input_shape[1:])).astype("float32")
    [found] = results(runtime(tmp_path / "m.onnx"), x)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)


def normalized():
    """What a convolution's bias, normalization and activation are folded from."""
    cornu.utils.set_random_seed(0)
    model = cornu.Sequential(
        [
            cornu.Input((8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.layers[1].moving_mean.assign([0.5, -1, 2, 0.1])
    model.layers[1].moving_variance.assign([0.5, 1, 2, 3])
    return model


def test_normalization_is_folded_into_the_convolution(tmp_path):
    model, path = normalized(), tmp_path / "m.onnx"
    model.export(path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert not {"BatchNormalization", "Sub", "Add"} & set(kinds), kinds
    # A mean that is large beside the deviation is subtracted first: otherwise digits would be lost.
    model = cornu.Sequential([cornu.Input((2, 2, 1)), layers.BatchNormalization()])
    model.layers[0].moving_mean.assign([1e4])
    model.export(path)
    x = (1e4 + np.random.default_rng(0).random((3, 2, 2, 1))).astype("float32")
    np.testing.assert_array_equal(results(runtime(path), x)[0], np.asarray(model(x)))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_16_bits(policy, tmp_path):
    before = cornu.config.dtype_policy()
    try:
        cornu.config.set_dtype_policy(policy)
        model = normalized()
    finally:
        cornu.config.set_dtype_policy(before)
    path = tmp_path / "m.onnx"
    if policy == "bfloat16":
        with pytest.raises(ValueError, match=r"'conv2d\w*' \(Conv2D\).* in bfloat16"):
            model.export(path)
        return
    model.export(path)
    assert {layer.dtype_policy.name for layer in model.layers} == {policy}
    x = np.random.default_rng(0).random((3, 8, 8, 3), "float32")
    [found] = results(runtime(path), x)
    if policy == "mixed_bfloat16":
        whole = normalized()
        np.testing.assert_allclose(found, whole.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    else:
        assert found.dtype == "float16"
    np.testing.assert_allclose(found, np.asarray(model(x), "float32"), atol=1e-2)


FAMILIES = [
    ("VGG16", 32),
    ("ResNet50", 64),
    ("ResNet50V2", 64),
    ("InceptionV3", 75),
    ("InceptionResNetV2", 75),
    ("Xception", 71),
    ("MobileNet", 64),
    ("MobileNetV2", 64),
    ("MobileNetV3Small", 64),
    ("DenseNet121", 64),
    ("NASNetMobile", 64),
    ("EfficientNetB0", 64),
    ("EfficientNetV2B0", 64),
    ("ConvNeXtTiny", 64),
]


# Keras has no others of these.
CHANNELS_LAST = {"ConvNeXtTiny", "DenseNet121", "NASNetMobile"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, size, data_format",
    [
        (name, size, data_format)
        for name, size in FAMILIES
        for data_format in ("channels_last", "channels_first")
        if data_format == "channels_last" or name not in CHANNELS_LAST
    ],
)
def test_published_networks(name, size, data_format, tmp_path):
    cornu.utils.set_random_seed(0)
    shape = (size, size, 3) if data_format == "channels_last" else (3, size, size)
    cornu.config.set_image_data_format(data_format)
    try:
        make = getattr(cornu.applications, name)
        model = make(weights=None, input_shape=shape, classes=10, classifier_activation=None)
    finally:
        cornu.config.set_image_data_format("channels_last")
    random = np.random.default_rng(0)
    for weight in model.weights:
        if "moving_mean" in weight.path:
            weight.assign(random.normal(0, 0.1, weight.shape))
        elif "moving_variance" in weight.path:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    model.export(tmp_path / "m.onnx")
    session = runtime(tmp_path / "m.onnx")
    for count in (1, 5):
        x = random.uniform(0, 255, (count, *shape)).astype("float32")
        [found], expected = results(session, x), np.asarray(model(x))
        np.testing.assert_allclose(
            found / np.abs(expected).max(), expected / np.abs(expected).max(), atol=1e-4
        )


@pytest.mark.parametrize(
    "module, function",
    [
        ("from_dense_to_convolutional", "dense"),
        ("from_dense_to_convolutional", "batch_normalization"),
        ("from_dense_to_convolutional", "inception"),
        ("from_dense_to_convolutional", "residual"),
        ("mnist_with_sgd", "full_model"),
        ("mnist_lecture", "make_model"),
        ("thousand_units", "make_model"),
        ("convolution_by_hand", "colour_model"),
    ],
)
def test_the_lessons_models(module, function, tmp_path):
    model = getattr(__import__(module), function)()
    model.export(tmp_path / "m.onnx")
    x = np.random.default_rng(0).random((4, *model.input_shape[1:]), "float32")
    [found] = results(runtime(tmp_path / "m.onnx"), x)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_several_inputs_and_outputs_and_operations(tmp_path):
    o = cornu.ops
    a, b = cornu.Input((6, 2), name="a"), cornu.Input((4,), dtype="int32", name="b")
    x = layers.Conv1D(3, 3, padding="same", name="conv")(a)
    y = layers.Embedding(5, 3)(b)
    z = layers.Concatenate(axis=1)([x, y])
    w = o.where(z > 0, o.sqrt(o.abs(z)), o.log1p(o.square(z))) * 2.0 - 1.0
    model = cornu.Model(
        {"a": a, "b": b},
        {"mean": o.mean(w, axis=1), "best": o.argmax(x, axis=-1), "all": w[:, ::2]},
    )
    model.export(tmp_path / "m.onnx")
    random = np.random.default_rng(0)
    data = {
        "a": random.standard_normal((3, 6, 2)).astype("float32"),
        "b": random.integers(0, 5, (3, 4)).astype("int32"),
    }
    session = runtime(tmp_path / "m.onnx")
    found = results(session, data)
    expected = model.predict(data, verbose=0)
    for value, name in zip(found, sorted(expected), strict=True):
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)


def test_outputs_of_one_name(tmp_path):
    """An output that is the input, and those of a layer that is called twice."""
    a, dense = cornu.Input((3,), name="a"), layers.Dense(3, name="d")
    model = cornu.Model(a, [a, dense(a), dense(dense(a))])
    model.export(tmp_path / "m.onnx")
    x = np.random.default_rng(0).random((2, 3), "float32")
    session = runtime(tmp_path / "m.onnx")
    assert [o.name for o in session.get_outputs()] == ["a_1", "d", "d_1"]
    for found, expected in zip(results(session, x), model.predict(x, verbose=0), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_number_of_examples(tmp_path):
    model = cornu.Sequential([cornu.Input((3,)), layers.Dense(2)])
    for batch, shown in ((None, "batch"), (4, 4)):
        model.export(tmp_path / "m.onnx", batch_size=batch)
        graph = onnx.load(tmp_path / "m.onnx").graph
        for value in (*graph.input, *graph.output):
            first = value.type.tensor_type.shape.dim[0]
            assert (first.dim_param or first.dim_value) == shown
        # A dense layer is a product and a sum, whatever JAX makes of it.
        kinds = [n.op_type for n in graph.node]
        assert [k for k in kinds if k not in ("Shape", "Identity")] == ["MatMul", "Add"]


class Sorted(layers.Layer):
    def call(self, x):
        return cornu.ops.sort(x, axis=-1)


def test_what_onnx_cannot_say_names_the_layer(tmp_path):
    x = cornu.Input((5,))
    y = Sorted(name="in_order")(layers.Dense(4)(x))
    with pytest.raises(
        ValueError, match=r"layer 'in_order' \(Sorted\) cannot be written as ONNX: .*sort"
    ):
        cornu.Model(x, y).export(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
    # Training state and kernels are as they were.
    model = cornu.Sequential([cornu.Input((3,)), layers.Dense(2)])
    model.export(tmp_path / "m.onnx")
    assert not model.run_eagerly
