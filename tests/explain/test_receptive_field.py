"""The receptive field is what can change a number, no less and no more."""

import jax
import numpy as np
import pytest

import cornu
from cornu import layers as L
from cornu.explain import receptive_field
from cornu.explain.observe import calls

random = np.random.default_rng(0)


def gradient_of(model, name):
    """That of a layer's outputs at a position, as one program for all positions."""

    def number(x, position):
        outputs = next(c for c in calls(model, x) if c.name == name).outputs[0]
        return outputs[tuple(position)].sum()

    return jax.jit(jax.grad(number))


def support(gradient, position, shape):
    """The box of inputs that have a gradient, in a network without anything that cuts."""
    seen = np.zeros(shape[:-1], bool)
    for sign in (1, -1) * 3:
        x = sign * np.abs(random.standard_normal((1, *shape))).astype("float32")
        seen |= (np.asarray(gradient(x, np.array(position))) != 0).any(axis=(0, -1))
    if not seen.any():
        return (slice(0, 0),) * seen.ndim
    return tuple(slice(int(n.min()), int(n.max()) + 1) for n in np.nonzero(seen))


def chain():
    return cornu.Sequential(
        [
            cornu.Input((31, 29, 2)),
            L.Conv2D(3, (3, 2), strides=2, padding="same", name="a"),
            L.AveragePooling2D(2, name="b"),
            L.BatchNormalization(name="bn"),
            L.Conv2D(3, 3, dilation_rate=2, name="c"),
            L.DepthwiseConv2D(3, padding="same", name="d"),
            L.UpSampling2D(3, name="up"),
            L.ZeroPadding2D(((1, 2), (3, 0)), name="pad"),
            L.Cropping2D(((2, 1), (0, 1)), name="crop"),
            L.Conv2DTranspose(2, 3, strides=2, padding="same", name="e"),
            L.Dense(3, name="dense"),
        ]
    )


def branches():
    x = cornu.Input((20, 20, 1))
    inner_input = cornu.Input((20, 20, 1))
    inner = cornu.Model(inner_input, L.Conv2D(2, 5, padding="same", name="five")(inner_input))
    y = L.Concatenate(name="join")([inner(x), L.Conv2D(2, 3, padding="same", name="three")(x)])
    z = L.Add(name="sum")([y, L.Conv2D(4, 1, name="one")(y)]) * 2.0 + 1.0
    return cornu.Model(x, L.AveragePooling2D(2, name="half")(z))


class Residual(L.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = L.Conv2D(3, 5, padding="same")

    def call(self, x):
        return x + jax.nn.relu(self.conv(x))


class Own(cornu.Model):
    def __init__(self):
        super().__init__()
        self.first = L.Conv2D(3, 3, strides=2, name="first")
        self.block = Residual(name="block")

    def call(self, x):
        return self.block(self.first(x))


def functions():
    """Functions of `ops` that are not element by element, and one that is."""
    o = cornu.ops
    x = cornu.Input((16, 16, 1))
    y = L.Conv2D(2, 3, padding="same", name="conv")(x)
    y = L.Conv2D(2, 1, name="rolled")(o.roll(y, 3, axis=1))
    y = L.Conv2D(2, 1, name="flipped")(o.flip(y, axis=2))
    y = L.UpSampling2D(2, interpolation="bilinear", name="smooth")(o.tanh(y))
    return cornu.Model(x, y)


MODELS = {
    "functions": (functions, (16, 16, 1), ["conv", "flipped", "smooth"]),
    "chain": (chain, (31, 29, 2), ["a", "b", "bn", "c", "d", "up", "pad", "crop", "e", "dense"]),
    "branches": (branches, (20, 20, 1), ["five", "three", "join", "sum", "half"]),
    "own": (Own, (24, 24, 1), ["first", "block"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_what_has_a_gradient(name):
    make, shape, names = MODELS[name]
    model = make()
    model(np.zeros((1, *shape)))
    model.set_weights([random.uniform(0.5, 1, w.shape) for w in model.weights])
    fields = receptive_field(model, np.zeros((1, *shape)))
    for layer in names:
        gradient = gradient_of(model, layer)
        sizes = next(c for c in fields.calls if c.name == layer).outputs.shape[1:-1]
        for position in [(0, 0), tuple(n // 2 for n in sizes), tuple(n - 1 for n in sizes)]:
            expected = support(gradient, position, shape)
            if layer == "pad" and not all(slice_.stop > slice_.start for slice_ in expected):
                continue
            assert fields.window(layer, position) == expected, (layer, position)


class Between(cornu.Model):
    def __init__(self):
        super().__init__()
        self.first = L.Conv2D(1, 3, padding="same", name="first")
        self.second = L.Conv2D(1, 3, padding="same", name="second")

    def call(self, x):
        return self.second(jax.numpy.tanh(self.first(x)))


def test_what_is_computed_between_layers_may_see_everything():
    fields = receptive_field(Between(), np.zeros((1, 9, 9, 1)))
    assert fields["first"].size == (3, 3) and fields["second"].whole
    assert fields.window("second", (4, 4)) == (slice(0, 9), slice(0, 9))


def test_half_precision_has_the_same_fields():
    layer = L.Conv2D(1, 3, dtype="mixed_bfloat16", name="a")
    model = cornu.Sequential([cornu.Input((9, 9, 1)), layer])
    assert receptive_field(model)["a"].size == (3, 3)


def test_a_table():
    """The formulas of Araujo et al.: r + (k - 1) * j, j * s."""
    model = cornu.Sequential(
        [
            cornu.Input((64, 64, 3)),
            L.Conv2D(4, 7, strides=2, padding="same", name="stem"),
            L.MaxPooling2D(3, 2, padding="same", name="pool"),
            L.Conv2D(4, 3, padding="same", name="conv"),
            L.GlobalAveragePooling2D(keepdims=True, name="mean"),
        ]
    )
    fields = receptive_field(model)
    assert [f.size for f in fields.fields[:3]] == [(7, 7), (11, 11), (19, 19)]
    assert [f.stride for f in fields.fields[:3]] == [(2, 2), (4, 4), (4, 4)]
    assert fields["stem"].offset == (-2, -2)
    assert fields["mean"].whole and "mean   everything" in str(fields)


def test_signals_volumes_and_channels_first():
    signal = cornu.Sequential([cornu.Input((20, 2)), L.Conv1D(2, 3, padding="causal", name="c")])
    assert receptive_field(signal)["c"] == ("c", "Conv1D", (3,), (1,), (-2,), False)
    assert receptive_field(signal).window("c", 5) == (slice(3, 6),)
    volume = cornu.Sequential([cornu.Input((6, 7, 8, 1)), L.Conv3D(1, (1, 2, 3), name="c")])
    assert receptive_field(volume)["c"].size == (1, 2, 3)
    first = cornu.Sequential(
        [cornu.Input((3, 9, 9)), L.Conv2D(2, (3, 5), data_format="channels_first", name="c")]
    )
    assert receptive_field(first).window("c", (1, 2)) == (slice(1, 4), slice(2, 7))


def test_figures(tmp_path):
    image = np.linspace(0, 1, 31 * 29 * 2).reshape(31, 29, 2)
    figure = receptive_field(chain()).plot(image, "c", (1, 1), tmp_path / "f.png")
    assert figure.axes[0].get_title() == "what c (1, 1) sees"
    assert (tmp_path / "f.png").stat().st_size > 3000
    signal = cornu.Sequential([cornu.Input((20, 2)), L.Conv1D(2, 3, name="c")])
    receptive_field(signal).plot(np.zeros((20, 2)), "c", 4)


def test_wrong_arguments():
    fields = receptive_field(branches())
    with pytest.raises(ValueError, match=r"'half' gives \(10, 10\) positions.*\(10, 0\)"):
        fields.window("half", (10, 0))
    with pytest.raises(KeyError, match="'nothing' is not among"):
        fields["nothing"]
    unknown = cornu.Sequential([cornu.Input((None, None, 1)), L.Conv2D(1, 3)])
    with pytest.raises(ValueError, match=r"sizes that are not known\. Pass an example"):
        receptive_field(unknown)
    assert receptive_field(unknown, np.zeros((1, 9, 9, 1))).fields[0].size == (3, 3)
