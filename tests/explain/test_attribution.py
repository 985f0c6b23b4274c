"""Maps of what an answer depends on: they must depend on the weights, add up, and find what was planted."""

import functools

import numpy as np
import pytest

import cornu
from cornu import explain, visualize
from cornu import layers as L

random = np.random.default_rng(0)
MAPS = {
    "saliency": explain.saliency,
    "smooth_grad": explain.smooth_grad,
    "integrated_gradients": lambda *a: np.abs(explain.integrated_gradients(*a)).max(-1),
    "grad_cam": explain.grad_cam,
    "grad_cam_plus_plus": explain.grad_cam_plus_plus,
    "occlusion": explain.occlusion,
}


def planted(count, seed=0):
    """Noise with a bright cross (class 1) or none (class 0); also where it is."""
    random = np.random.default_rng(seed)
    x = random.uniform(0, 0.3, (count, 16, 16, 1)).astype("float32")
    y = np.arange(count) % 2
    corners = random.integers(1, 12, (count, 2))
    for image, label, (r, c) in zip(x, y, corners, strict=True):
        if label:
            image[r + 1, c : c + 3] = image[r : r + 3, c + 1] = 1.0
    return x, y, corners


@pytest.fixture(scope="module")
def model():
    cornu.utils.set_random_seed(0)
    model = cornu.Sequential(
        [
            cornu.Input((16, 16, 1)),
            L.Conv2D(8, 3, padding="same", activation="relu", name="first"),
            L.MaxPooling2D(),
            L.Conv2D(8, 3, padding="same", activation="relu", name="last"),
            L.GlobalMaxPooling2D(),
            L.Dense(2, activation="softmax", name="out"),
        ]
    )
    model.compile(
        cornu.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    x, y, _ = planted(512)
    model.fit(x, y, epochs=6, verbose=0)
    assert model.evaluate(*planted(100, 1)[:2], verbose=0)[1] > 0.95
    return model


@pytest.mark.parametrize("name", MAPS)
def test_a_planted_patch_is_found(model, name):
    """Of images with a cross, the map is on the cross, for most of them."""
    x, y, corners = planted(60, 2)
    x, corners = x[y == 1], corners[y == 1]
    maps = MAPS[name](model, x, 1)
    assert maps.shape == (30, 16, 16)
    found = 0
    for image, (r, c) in zip(maps, corners, strict=True):
        around = image[max(r - 1, 0) : r + 4, max(c - 1, 0) : c + 4]
        found += around.mean() > 3 * image.mean()
    assert found >= 25, found


@pytest.mark.parametrize("name", MAPS)
def test_other_weights_give_another_map(model, name):
    """The check of Adebayo et al. 2018: what a map shows must be learned."""
    x = planted(8, 3)[0]
    before = MAPS[name](model, x, 1)
    other = cornu.models.clone_model(model)
    weights = [random.permuted(w.ravel()).reshape(w.shape) for w in model.get_weights()]
    other.set_weights(weights)
    after = MAPS[name](other, x, 1)
    # Grad-CAM is empty where nothing speaks for the class, as in the half that are of another.
    assert np.mean([a.std() > 0 for a in before]) >= 0.5
    similar = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1] if b.std() > 0 else 0.0
        for a, b in zip(before, after, strict=True)
        if a.std() > 0
    ]
    assert np.mean(similar) < 0.8


def test_integrated_gradients_are_complete(model):
    """Their sum is the difference of the scores."""
    x = planted(6, 4)[0]
    dense = model.get_layer("out")
    features = cornu.Model(model.inputs, model.layers[-2].output)

    def scores(x):
        return features.predict(x, verbose=0) @ np.asarray(dense.kernel) + np.asarray(dense.bias)

    for target in (0, 1):
        for baseline in (0.0, 0.1):
            parts = explain.integrated_gradients(model, x, target, baseline, steps=256)
            expected = scores(x)[:, target] - scores(np.full_like(x, baseline))[:, target]
            np.testing.assert_allclose(parts.sum((1, 2, 3)), expected, rtol=2e-2, atol=2e-2)


def test_a_linear_model_is_its_weights(capsys):
    """Where everything is known: the gradient is the kernel, before the softmax."""
    model = cornu.Sequential(
        [cornu.Input((3, 3, 1)), L.Flatten(), L.Dense(2, activation="softmax")]
    )
    kernel = np.asarray(model.get_weights()[0])
    x = random.standard_normal((2, 3, 3, 1)).astype("float32")
    np.testing.assert_allclose(
        explain.saliency(model, x, [0, 1]),
        np.abs(kernel.T.reshape(2, 3, 3)),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        explain.integrated_gradients(model, x, 1, steps=3),
        x * kernel[:, 1].reshape(3, 3, 1),
        rtol=1e-4,
        atol=1e-6,
    )
    fall = explain.occlusion(model, x, 0, size=1, verbose=1)
    explain.smooth_grad(model, x, samples=3, verbose=1)
    # Of each of two images nine squares are covered.
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["18/18", "3/3"]
    np.testing.assert_allclose(fall, x[..., 0] * kernel[:, 0].reshape(3, 3), rtol=1e-4, atol=1e-5)


def test_grad_cam_is_its_formula(model):
    """The weights of a head that takes the mean of each map are the head's own."""
    body = cornu.Sequential([cornu.Input((8, 8, 1)), L.Conv2D(3, 3, padding="same", name="maps")])
    full = cornu.Sequential([*body.layers, L.GlobalAveragePooling2D(), L.Dense(2)])
    full.build((None, 8, 8, 1))
    x = random.standard_normal((2, 8, 8, 1)).astype("float32")
    head = full.layers[-1].get_weights()[0][:, 1]
    expected = np.maximum(np.asarray(full.layers[0](x)) @ head, 0)
    expected /= expected.max((1, 2), keepdims=True)
    np.testing.assert_allclose(explain.grad_cam(full, x, 1), expected, rtol=1e-4, atol=1e-5)
    assert np.array_equal(explain.grad_cam(full, x, 1), explain.grad_cam(full, x, 1, "maps"))
    figure = visualize.plot_attribution(x, np.stack([expected[0], np.zeros((8, 8))]))
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes[2:4]]
    assert said == [[], ["nothing\nspeaks for it"]]


def test_what_a_channel_answers_to(model):
    x = explain.activation_maximization(model, "last", 3, steps=40)
    assert x.shape == (16, 16, 1) and x.min() >= 0 and x.max() <= 1
    maps = cornu.Model(model.inputs, model.get_layer("last").output)

    def answer(image):
        return maps.predict(image[None], verbose=0)[..., 3].mean()

    noise = 0.5 + 0.1 * random.standard_normal((16, 16, 1)).astype("float32")
    assert answer(x) > 2 * max(answer(noise), 0.0)
    again = explain.activation_maximization(model, "last", 3, steps=40)
    np.testing.assert_array_equal(x, again)
    # Of a class, before the softmax.
    cross = explain.activation_maximization(model, "out", 1, steps=40)
    assert model.predict(cross[None], verbose=0)[0, 1] > 0.9


def test_nothing_is_changed(model):
    before = model.get_weights()
    x = planted(2)[0]
    for function in MAPS.values():
        function(model, x)
    assert model.get_layer("out").activation.__name__ == "softmax"
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Own(cornu.Model):
    def __init__(self):
        super().__init__()
        self.conv, self.out = L.Conv2D(4, 3), L.Dense(3, activation="softmax")

    def call(self, x):
        return self.out(self.conv(x).mean((1, 2)))


def test_subclassed_models_and_signals():
    model = Own()
    model(np.zeros((1, 6, 6, 2)))
    assert explain.grad_cam(model, np.ones((2, 6, 6, 2))).shape == (2, 6, 6)
    signal = cornu.Sequential([cornu.Input((20, 2)), L.Conv1D(3, 3), L.Flatten(), L.Dense(4)])
    x = random.standard_normal((2, 20, 2))
    for function in MAPS.values():
        assert function(signal, x).shape == (2, 20)


def test_wrong_arguments(model):
    x = planted(2)[0]
    with pytest.raises(ValueError, match=r"from 0 to 1, or one for each.*target=2"):
        explain.saliency(model, x, 2)
    with pytest.raises(ValueError, match=r"'out' gives \(2,\)"):
        explain.grad_cam(model, x, 0, "out")
    with pytest.raises(ValueError, match=r"size of the input, \(16, 16\).*size=17"):
        explain.occlusion(model, x, size=17)
    with pytest.raises(ValueError, match=r"has 8 channels\..*channel=8"):
        explain.activation_maximization(model, "last", 8)
    words = cornu.Sequential([cornu.Input((5,), dtype="int32"), L.Embedding(9, 4), L.Flatten()])
    with pytest.raises(ValueError, match="takes int32, and integers have no gradient"):
        explain.saliency(words, np.ones((1, 5), int))
    with pytest.raises(ValueError, match="no layer with feature maps"):
        explain.grad_cam(cornu.Sequential([cornu.Input((4,)), L.Dense(2)]), np.ones((1, 4)))
    with pytest.raises(ValueError, match=r"Scores of classes are needed.*\(1, 16, 16, 8\)"):
        explain.saliency(cornu.Model(model.inputs, model.layers[0].output), x[:1])


class Halved(L.Layer):
    """A layer that only gradients explain."""

    def call(self, x):
        return x[:, ::2, ::2] + 0.0


# Layers, sizes of the input, for each axis where the positions of the last map look, and how far they
# see to each side, by hand.
CENTRES = {
    "valid": ([L.Conv2D(1, 3)], (8, 7), [range(1, 7), range(1, 6)], 1),
    "same": ([L.Conv2D(1, 3, padding="same")], (5, 6), [range(5), range(6)], 1),
    "even": ([L.Conv2D(1, 2)], (5, 6), [np.arange(0.5, 4), np.arange(0.5, 5)], 0.5),
    "strides": (
        [L.Conv2D(1, 3, strides=2, padding="same")],
        (8, 9),
        [[1, 3, 5, 7], [0, 2, 4, 6, 8]],
        1,
    ),
    "dilation": ([L.Conv2D(1, 3, dilation_rate=2)], (9, 7), [range(2, 7), range(2, 5)], 2),
    "pooled": (
        [L.Conv2D(1, 3), L.MaxPooling2D(), L.Conv2D(1, 3)],
        (12, 14),
        [[3.5, 5.5, 7.5], [3.5, 5.5, 7.5, 9.5]],
        3.5,
    ),
    "transposed": (
        [L.Conv2D(1, 2, strides=2), L.Conv2DTranspose(1, 2, strides=2)],
        (8, 6),
        [[0.5, 0.5, 2.5, 2.5, 4.5, 4.5, 6.5, 6.5], [0.5, 0.5, 2.5, 2.5, 4.5, 4.5]],
        0.5,
    ),
    "padded and cropped": (
        [L.ZeroPadding2D(2), L.Conv2D(1, 3), L.Cropping2D(((1, 0), (0, 1)))],
        (5, 4),
        [range(6), range(-1, 4)],
        1,
    ),
    "augmented": (
        [L.RandomFlip(), L.RandomRotation(0.2), L.Rescaling(2.0), L.Dropout(0.5), L.Conv2D(1, 3)],
        (6, 5),
        [range(1, 5), range(1, 4)],
        1,
    ),
    "own": ([Halved(), L.Conv2D(1, 3)], (12, 11), [[2, 4, 6, 8], [2, 4, 6, 8]], 2),
    "causal": ([L.Conv1D(1, 3, padding="causal")], (6,), [range(-1, 5)], 1),
    "signal": ([L.Conv1D(1, 5, strides=2)], (11,), [[2, 4, 6, 8]], 2),
    "volume": ([L.Conv3D(1, 3)], (5, 4, 6), [range(1, 4), range(1, 3), range(1, 5)], 1),
}


@pytest.mark.parametrize("name", CENTRES)
def test_grad_cam_lies_where_its_maps_look(name):
    body, sizes, centres, reach = CENTRES[name]
    inputs = cornu.Input((*sizes, 1))
    maps = inputs
    for layer in body:
        maps = layer(maps)
        for weights in layer.weights if hasattr(layer, "kernel") else ():
            weights.assign(np.ones(weights.shape) * ("bias" not in weights.name))
    flat = L.Flatten()(maps)
    model = cornu.Model(inputs, L.Dense(1, use_bias=False)(flat))
    model.layers[-1].kernel.assign(np.ones((flat.shape[1], 1)))
    x = random.uniform(0.5, 1, (1, *sizes, 1)).astype("float32")
    expected = np.asarray(cornu.Model(inputs, maps).predict(x, verbose=0))[0, ..., 0]
    for axis, (looks, size) in enumerate(zip(centres, sizes, strict=True)):
        looks = np.array(looks, float)
        assert expected.shape[axis] == len(looks)
        once = np.unique(looks)
        rows = np.moveaxis(expected, axis, 0)
        rows = np.stack([rows[looks == centre].mean(0) for centre in once])
        rows = np.pad(rows, ((1, 1), *[(0, 0)] * (rows.ndim - 1)))
        once = [once[0] - reach - 1, *once, once[-1] + reach + 1]
        between = [np.interp(np.arange(size), once, row) for row in rows.reshape(len(once), -1).T]
        expected = np.moveaxis(np.reshape(np.transpose(between), (size, *rows.shape[1:])), 0, axis)
    for function in (explain.grad_cam, explain.grad_cam_plus_plus):
        found = function(model, x, 0, body[-1])[0]
        np.testing.assert_allclose(found, expected / expected.max(), rtol=1e-4, atol=1e-5)


def test_a_subclass_computes_between_its_layers():
    class Between(cornu.Model):
        def __init__(self):
            super().__init__()
            self.first, self.last, self.out = L.Conv2D(1, 3), L.Conv2D(1, 3), L.Dense(1)

        def call(self, x):
            return self.out(self.last(np.float32(2) * self.first(x / 255)).mean((1, 2)))

    model = Between()
    model(np.zeros((1, 9, 9, 1)))
    model.set_weights([np.ones(w.shape) * (w.ndim > 1) for w in model.get_weights()])
    x = np.zeros((1, 9, 9, 1), "float32")
    x[0, 4, 3] = 1
    peak = explain.grad_cam(model, x, 0, "conv2d_1")[0]
    assert np.unravel_index(peak.argmax(), peak.shape) == (4, 3)
    np.testing.assert_allclose(peak[4, 1:6], [4 / 9, 2 / 3, 1, 2 / 3, 1 / 3], rtol=1e-5)


def test_inputs_that_are_not_as_many():
    first, second = cornu.Input((6, 6, 1), name="first"), cornu.Input((6, 6, 1), name="second")
    conv = L.Conv2D(1, 3)
    pooled = L.GlobalMaxPooling2D()(L.Subtract()([conv(first), conv(second)]))
    model = cornu.Model([first, second], L.Dense(2)(pooled))
    x = random.uniform(size=(1, 6, 6, 1)).astype("float32")
    in_a_list = explain.grad_cam(model, [x, x], 0)
    for given in ((x, x), {"second": x, "first": x}, [x[0], x[0]]):
        found = explain.grad_cam(model, given, 0)
        found = list(found.values()) if isinstance(given, dict) else list(found)
        np.testing.assert_array_equal(found, in_a_list)
    for given in (x, [x, x, x]):
        with pytest.raises(ValueError, match="has 2 inputs, first, second: pass a list or dict"):
            explain.saliency(model, given)
    with pytest.raises(ValueError, match=r"for models with one input.*has 2 inputs"):
        explain.activation_maximization(model, conv)


def test_several_inputs():
    """A shared convolution, an input that it does not see, and numbers without positions."""
    first, second = cornu.Input((6, 6, 1), name="first"), cornu.Input((8, 8, 1), name="second")
    numbers = cornu.Input((3,), name="numbers")
    conv, pool = L.Conv2D(1, 3, use_bias=False, name="shared"), L.GlobalMaxPooling2D()
    other = L.Conv2D(1, 1, use_bias=False, name="other")(second)
    found = L.Concatenate()([pool(conv(first)), pool(conv(second)), pool(other), numbers])
    model = cornu.Model({"a": first, "b": second, "c": numbers}, L.Dense(2, use_bias=False)(found))
    model.set_weights([np.ones(w.shape) for w in model.get_weights()])
    x = {"a": np.zeros((6, 6, 1)), "b": np.zeros((2, 8, 8, 1)), "c": np.ones((2, 3))}
    x["a"] = np.stack([x["a"], x["a"]])
    x["a"][0, 2, 3], x["b"][1, 5, 6] = 1, 1
    maps = explain.grad_cam(model, x, 0, "shared")
    assert maps["c"] is None and maps["a"].shape == (2, 6, 6) and maps["b"].shape == (2, 8, 8)
    assert maps["a"][0, 2, 3] == 1 and maps["b"][1, 5, 6] == 1
    assert not maps["a"][1].any() and not maps["b"][0].any()
    alone = explain.grad_cam(model, x, 0, "other")
    assert not alone["a"].any() and alone["b"][1].argmax() == 5 * 8 + 6
    assert (explain.grad_cam(model, x, 0)["a"] == maps["a"]).all()
    slopes = explain.saliency(model, x, 0)
    np.testing.assert_array_equal(slopes["c"], [1, 1])
    assert slopes["a"].shape == (2, 6, 6) and slopes["b"][1, 5, 6] > 0
    parts = explain.integrated_gradients(model, x, 0, steps=2)
    assert {k: v.shape for k, v in parts.items()} == {k: v.shape for k, v in x.items()}
    falls = explain.occlusion(model, x, 0, size=1)
    assert falls["c"] is None and falls["a"][0].argmax() == 2 * 6 + 3 and not falls["a"][1].any()
    np.testing.assert_allclose(falls["b"][1, 5, 6], 2)
    noisy = explain.smooth_grad(model, x, 0, samples=1)
    assert {k: v.shape for k, v in noisy.items()} == {k: v.shape for k, v in slopes.items()}


METHODS = (
    explain.grad_cam,
    explain.grad_cam_plus_plus,
    explain.saliency,
    functools.partial(explain.smooth_grad, samples=2),
    functools.partial(explain.integrated_gradients, steps=2),
    functools.partial(explain.occlusion, size=2, stride=2),
)


def test_models_within_models_are_what_they_hold():
    """With two inputs: a model in a model in a model says what the same layers say in one."""
    parts = [L.Conv2D(3, 3, activation="relu"), L.MaxPooling2D(), L.Conv2D(2, 2), L.Dense(2)]
    first, second = cornu.Input((9, 9, 1)), cornu.Input((7, 8, 1))

    def answer(body):
        pooled = [L.GlobalMaxPooling2D()(body(x)) for x in (first, second)]
        return cornu.Model([first, second], parts[3](L.Concatenate()(pooled)))

    flat = answer(lambda x: parts[2](parts[1](parts[0](x))))
    any_size = cornu.Input((None, None, 1))
    inner = cornu.Sequential([cornu.Input((None, None, 1)), *parts[:2]])
    nested = answer(cornu.Model(any_size, parts[2](inner(any_size))))
    x = [random.uniform(size=(2, *shape)).astype("float32") for shape in ((9, 9, 1), (7, 8, 1))]
    for method in METHODS:
        for found, expected in zip(method(nested, x, 1), method(flat, x, 1), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
            assert found.any()
