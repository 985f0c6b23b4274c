"""The lessons' numbers: what their documents print is what the files in examples/ give."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import cornu

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))

import convolution_by_hand  # noqa: E402
import from_dense_to_convolutional as improvements  # noqa: E402
import mnist_lecture  # noqa: E402
import mnist_with_sgd  # noqa: E402
import thousand_units  # noqa: E402

# Model, then each layer's output shape and parameters as the documents print them, then the total.
TABLES = [
    (convolution_by_hand.single_convolution, [(8, 8, 1), (6, 6, 1)], [0, 10], 10),
    (
        convolution_by_hand.two_convolutions,
        [(8, 8, 1), (8, 8, 3), (8, 8, 3), (192,), (4,), (3,)],
        [0, 30, 84, 0, 772, 15],
        901,
    ),
    (
        convolution_by_hand.colour_model,
        [
            *((32, 32, 3), (32, 32, 32), (16, 16, 32), (16, 16, 64), (8, 8, 64)),
            *((8, 8, 64), (4, 4, 64), (1024,), (512,), (10,)),
        ],
        [0, 896, 0, 18496, 0, 36928, 0, 0, 524800, 5130],
        586250,
    ),
    (improvements.dense, [(784,), (32,), (32,), (10,)], [0, 25120, 1056, 330], 26506),
    (
        improvements.pooling,
        [
            *((28, 28, 64), (14, 14, 64), (14, 14, 32), (7, 7, 32)),
            *((1568,), (32,), (32,), (10,)),
        ],
        [640, 0, 18464, 0, 0, 50208, 1056, 330],
        70698,
    ),
    (mnist_with_sgd.first_layers, [(24, 24, 32), (12, 12, 32)], [832, 0], 832),
    (
        mnist_with_sgd.two_groups,
        [(24, 24, 32), (12, 12, 32), (8, 8, 64), (4, 4, 64)],
        [832, 0, 51264, 0],
        52096,
    ),
    (
        mnist_with_sgd.full_model,
        [(24, 24, 32), (12, 12, 32), (8, 8, 64), (4, 4, 64), (1024,), (10,)],
        [832, 0, 51264, 0, 0, 10250],
        62346,
    ),
    (
        mnist_lecture.make_model,
        [(26, 26, 32), (13, 13, 32), (11, 11, 64), (5, 5, 64), (1600,), (1600,), (10,)],
        [320, 0, 18496, 0, 0, 0, 16010],
        34826,
    ),
]


@pytest.mark.parametrize("make, shapes, counts, total", TABLES, ids=range(len(TABLES)))
def test_summaries(make, shapes, counts, total):
    model = make()
    assert [layer.output.shape[1:] for layer in model.layers] == shapes
    assert [layer.count_params() for layer in model.layers] == counts
    assert model.count_params() == total
    lines = []
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert f"Total params: {total:,}" in text
    for shape in shapes:
        assert f"(None, {', '.join(map(str, shape))}" in text


def test_models_whose_totals_no_document_prints():
    # Without pooling, the first hidden layer sees all 28 * 28 * 32 features.
    expected = 640 + 18464 + (28 * 28 * 32 + 1) * 32 + 1056 + 330
    assert improvements.convolutions().count_params() == expected
    assert expected > 10 * 70698  # "more than a factor of 10"
    expected = 832 + 51264 + (4 * 4 * 64 + 1) * 1000 + 1001 * 10
    assert thousand_units.make_model().count_params() == expected == 1087106
    for name, make in improvements.MODELS.items():
        assert make().output_shape == (None, 10), name


def test_figure_17():
    """The two feature maps, to the document's digits."""
    model = convolution_by_hand.two_kernels_1d()
    assert model.output_shape == (None, 8, 2)
    result = model.predict(convolution_by_hand.SIGNAL[None, :, None], verbose=0)[0]
    document = [
        [7.6050167, 11.332018, 10.329546, 12.47241, 11.412619, 8.740852, 4.9119625, 7.577181],
        [9.760651, 8.397022, 10.521383, 12.255568, 11.70435, 9.022421, 5.1026945, 4.532124],
    ]
    np.testing.assert_allclose(result.T, document, rtol=1e-6)
    assert convolution_by_hand.two_kernels_1d("same").output_shape == (None, 10, 2)


@pytest.mark.parametrize("padding, size", [("valid", 6), ("same", 8)])
def test_a_single_convolution_by_hand(padding, size):
    """Figures 4 to 6: `set_weights`, `predict`, and each window times the kernel."""
    model = convolution_by_hand.single_convolution(padding)
    kernel, bias = model.get_weights()
    assert kernel.shape == (3, 3, 1, 1) and bias.tolist() == [0]
    model.set_weights([convolution_by_hand.KERNEL[:, :, None, None], np.array([2.0])])
    image = np.random.RandomState(0).randint(0, 10, (8, 8)).astype("float32")
    result = model.predict(image[None, ..., None], verbose=0)[0, ..., 0]
    padded = image if padding == "valid" else np.pad(image, 1)
    by_hand = convolution_by_hand.convolve_by_hand(padded, convolution_by_hand.KERNEL)
    assert result.shape == (size, size)
    np.testing.assert_array_equal(result, by_hand + 2)


def test_the_whole_file_prints_what_it_says(capsys):
    convolution_by_hand.main()
    printed = capsys.readouterr().out
    assert printed.count("the same by hand: True") == 2
    assert "Convolution result for output 2" in printed and "586,250" in printed


@pytest.mark.parametrize(
    "losses",
    [
        ("softmax", cornu.losses.CategoricalCrossentropy(from_logits=True)),
        ("sigmoid cross-entropy", cornu.losses.BinaryCrossentropy(from_logits=True)),
        ("Euclidean", cornu.losses.MeanSquaredError()),
    ],
    ids=lambda pair: pair[0],
)
def test_the_losses_that_the_tutorial_names(losses):
    """Each trains a network to its own kind of target."""
    random = np.random.RandomState(0)
    x = random.rand(64, 6, 6, 1).astype("float32")
    scores = x.reshape(64, 36)[:, :3]
    name, loss = losses
    y = {
        "softmax": np.eye(3)[scores.argmax(-1)],
        "sigmoid cross-entropy": (scores > 0.5).astype("float32"),
        "Euclidean": scores,
    }[name]
    layers = cornu.layers
    model = cornu.Sequential([cornu.Input((6, 6, 1)), layers.Flatten(), layers.Dense(3)])
    model.compile(cornu.optimizers.Adam(0.05), loss)
    history = model.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]


@pytest.mark.parametrize("window", [cornu.layers.MaxPooling2D, cornu.layers.L2Pooling2D])
def test_pooling_keeps_the_depth_and_a_quarter_of_the_values(window):
    x = cornu.Input((24, 24, 7))
    assert window()(x).shape == (None, 12, 12, 7)


@pytest.mark.slow
@pytest.mark.skipif(
    "CORNU_DATA_DIR" not in os.environ, reason="CORNU_DATA_DIR names no folder with mnist.npz"
)
@pytest.mark.parametrize(
    "run, least",
    [
        (mnist_with_sgd.run, 0.92),
        (mnist_lecture.run, 0.97),
        (thousand_units.run, 0.90),
        (lambda **kwargs: improvements.run("pooling", **kwargs), 0.93),
        (lambda **kwargs: improvements.run("residual", **kwargs), 0.93),
        (lambda **kwargs: improvements.run("inception", **kwargs), 0.90),
    ],
    ids=["sgd", "lecture", "thousand units", "pooling", "residual", "inception"],
)
def test_two_epochs_on_mnist(run, least):
    assert run(epochs=2, verbose=0) > least
