"""The lessons' figures, of the reader's own model: volumes, connections, a sliding window."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import cornu
from cornu import layers as L
from cornu.visualize import plot_connections, plot_sliding, plot_volumes

IMAGE = np.arange(36.0).reshape(6, 6, 1) / 36


def network():
    return cornu.Sequential(
        [
            cornu.Input((6, 6, 1)),
            L.Conv2D(3, 3, padding="same", name="conv"),
            L.ReLU(name="relu"),
            L.MaxPooling2D(name="pool"),
            L.Conv2D(6, 2, groups=3, name="grouped"),
            L.DepthwiseConv2D(2, name="depthwise"),
            L.Flatten(name="flat"),
            L.Dense(4, name="out"),
        ]
    )


def extents(figure, artists):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return [artist.get_window_extent(canvas.get_renderer()) for artist in artists]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def test_volumes():
    figure = plot_volumes(network())
    assert texts(figure)[:8] == [
        "input",
        "6x6x1",
        "conv",
        "6x6x3",
        "pool",
        "3x3x3",
        "grouped",
        "2x2x6",
    ]
    # A layer that leaves the size as it is has no box; a vector has one of another colour.
    assert "relu" not in texts(figure) and texts(figure)[-2:] == ["out", "4"]
    boxes = extents(figure, [t for t in figure.axes[0].texts if t.get_text()])
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)


def test_volumes_of_signals_and_long_names(tmp_path):
    name = "a_rather_long_name_for_a_layer"
    model = cornu.Sequential(
        [cornu.Input((100, 2)), L.Conv1D(8, 5, name=name), L.GlobalMaxPooling1D(name="g")]
    )
    figure = plot_volumes(model, tmp_path / "v.svg")
    assert "96x8" in texts(figure) and (tmp_path / "v.svg").exists()
    boxes = extents(figure, [t for t in figure.axes[0].texts if t.get_text()])
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)


def test_connections_are_those_of_the_layers():
    """One line for each pair that is connected: counted for convolutions of all kinds."""
    figure = plot_connections(network(), IMAGE, layers=5)
    expected = 1 * 3 + 3 + 3 + 6 + 6
    assert len(figure.axes[0].lines) == expected
    # By perturbation: a line where a channel of the input changes one of the output, and nowhere else.
    from cornu.visualize.connections import _sees

    for layer, shape in (
        (L.Conv2D(6, 3, groups=2), (5, 5, 4)),
        (L.DepthwiseConv2D(3, depth_multiplier=2), (5, 5, 3)),
        (L.SeparableConv2D(4, 3), (5, 5, 3)),
        (L.AveragePooling2D(2), (4, 4, 3)),
        (L.Flatten(), (2, 2, 3)),
        (L.Dense(4), (3,)),
    ):
        model = cornu.Sequential([cornu.Input(shape), layer])
        model.set_weights(
            [np.random.default_rng(0).uniform(0.5, 1, w.shape) for w in model.weights]
        )
        x = np.ones((1, *shape))
        before = np.asarray(model(x))
        for channel in range(shape[-1]):
            moved = x.copy()
            moved[..., channel] += 1
            change = np.asarray(model(moved)) != before
            changed = change.reshape(-1, change.shape[-1]).any(0)
            for out in range(change.shape[-1]):
                seen = _sees(layer, channel, out, shape[-1], change.shape[-1])
                assert seen == changed[out], (layer, channel, out)


def test_what_branches_is_not_drawn_as_a_chain():
    x = cornu.Input((6, 6, 1))
    model = cornu.Model(x, L.Add()([x, L.Conv2D(1, 3, padding="same")(x)]))
    for draw in (plot_volumes, lambda m: plot_connections(m, IMAGE)):
        with pytest.raises(ValueError, match=r"no chain of layers.*plot_model"):
            draw(model)


def test_more_channels_than_are_drawn():
    figure = plot_connections(network(), IMAGE, most=2)
    assert "1 more channels" in texts(figure) and "4 more channels" in texts(figure)


def test_the_kernels_on_the_lines_are_those_of_the_layers():
    """Each line's kernel, by the convolution of one channel alone."""
    for layer, channels in (
        (L.Conv2D(4, 3, groups=2), 4),
        (L.DepthwiseConv2D(3, depth_multiplier=2), 2),
        (L.Conv1D(2, 3), 2),
        (L.Conv2DTranspose(2, 3), 3),
    ):
        shape = (5, 5, channels) if "2D" in type(layer).__name__ else (5, channels)
        model = cornu.Sequential([cornu.Input(shape), layer])
        images = plot_connections(model, np.ones(shape)).axes[0].images
        drawn = [np.asarray(image.get_array()) for image in images]
        impulse = np.zeros((1, *shape), "float32")
        middle = (0, *(2,) * (len(shape) - 1))
        for channel in range(channels):
            impulse[...] = 0
            impulse[(*middle, channel)] = 1
            # All windows on one pixel: the kernel, turned round if the layer is no transposed one.
            same = type(layer).from_config({**layer.get_config(), "padding": "same"})
            one = cornu.Sequential([cornu.Input(shape), same])
            one.set_weights(model.get_weights())
            maps = np.asarray(one(impulse))[0]
            for out in range(maps.shape[-1]):
                kernel = maps[(*(slice(1, 4),) * (maps.ndim - 1), out)]
                if not kernel.any():
                    continue
                if not isinstance(layer, L.Conv2DTranspose):
                    kernel = np.flip(kernel)
                kernel = np.atleast_2d(kernel)
                same_size = [other for other in drawn if other.shape == kernel.shape]
                assert any(np.allclose(kernel, other, atol=1e-6) for other in same_size)


def test_units_have_numbers_and_names():
    model = network()
    figure = plot_connections(model, IMAGE, class_names=["a", "b", "猫", "d"])
    values = np.asarray(model(IMAGE[None]))[0]
    assert {"a", "猫", *(f"{v + 0.0:.2g}" for v in values)} <= set(texts(figure))
    with pytest.raises(ValueError, match=r"'out', has 4 units.*3 class names"):
        plot_connections(model, IMAGE, class_names=["a", "b", "c"])


def numbers(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize(
    "layer, position", [("conv", (0, 0)), ("pool", (2, 1)), ("depthwise", (0, 0))]
)
def test_one_position(layer, position):
    model = network()
    figure = plot_sliding(model, IMAGE, layer, position, 1)
    panels = figure.subfigs[0].axes
    value = cornu.explain.feature_maps(model, IMAGE, layer)[(0, *position, 1)]
    assert f"{value + 0.0:.2g}" in numbers(panels[-1])
    words = [text.get_text() for text in figure.subfigs[1].texts]
    assert words[-1].endswith(f"= {value + 0.0:.4g}")
    assert panels[0].get_title() == "input" and panels[-1].get_title() == "output"
    # The ring of padding is a part of the input.
    size = 8 if layer == "conv" else {"pool": 6, "depthwise": 2}[layer]
    assert len(numbers(panels[0])) == size**2


def test_signals_and_dilation():
    model = cornu.Sequential([cornu.Input((12, 2)), L.Conv1D(2, 3, dilation_rate=2, name="c")])
    figure = plot_sliding(model, np.ones((12, 2)), "c", 4, 1, 1)
    assert len(numbers(figure.subfigs[0].axes[0])) == 12
    causal = cornu.Sequential([cornu.Input((5, 1)), L.Conv1D(1, 3, padding="causal", name="c")])
    assert len(numbers(plot_sliding(causal, np.ones((5, 1)), "c", 0).subfigs[0].axes[0])) == 7


def test_animations(tmp_path):
    model = network()
    plot_sliding(model, IMAGE, "pool", path=tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 9
    plot_sliding(model, IMAGE, "pool", path=tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert page.count('"iVBOR') == 9 and not re.search(r"https?://", page)
    plot_sliding(model, IMAGE, "conv", path=tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_wrong_arguments():
    model = network()
    with pytest.raises(ValueError, match=r"'out' \(Dense\) has no window"):
        plot_sliding(model, IMAGE, "out")
    pooled = cornu.Sequential([cornu.Input((6, 6, 1)), L.GlobalMaxPooling2D(name="all")])
    with pytest.raises(ValueError, match=r"'all' \(GlobalMaxPooling2D\) has no window"):
        plot_sliding(pooled, IMAGE, "all")
    with pytest.raises(ValueError, match=r"'conv' sees 1 channels.*seen_channel=1"):
        plot_sliding(model, IMAGE, "conv", (0, 0), seen_channel=1)
    with pytest.raises(ValueError, match=r"position=\(9, 9\)"):
        plot_sliding(model, IMAGE, "conv", (9, 9))
