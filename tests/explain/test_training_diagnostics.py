"""Feature maps and filters, dead units, gradients, mistakes, learning rates: the numbers are right."""

import numpy as np
import pytest

import cornu
from cornu import explain, visualize
from cornu import layers as L
from cornu.training.learning_rate import _suggestion

random = np.random.default_rng(0)
X = random.standard_normal((64, 8, 8, 2)).astype("float32")
Y = random.integers(0, 3, 64)


def make():
    cornu.utils.set_random_seed(0)
    model = cornu.Sequential(
        [
            cornu.Input((8, 8, 2)),
            L.Conv2D(6, 3, activation="relu", name="conv"),
            L.BatchNormalization(name="norm"),
            L.ReLU(name="relu"),
            L.Flatten(name="flat"),
            L.Dense(3, activation="softmax", name="out"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_feature_maps():
    model = make()
    maps = explain.feature_maps(model, X)
    assert list(maps) == ["conv", "norm", "relu", "flat", "out"]
    np.testing.assert_allclose(maps["out"], model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    part = cornu.Model(model.inputs, model.get_layer("relu").output)
    np.testing.assert_allclose(maps["relu"], part.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    shared = L.Dense(4, name="shared")
    x = cornu.Input((4,))
    twice = explain.feature_maps(cornu.Model(x, shared(shared(x))), np.ones((1, 4)))
    assert list(twice) == ["shared", "shared:1"]


def test_filters():
    model = cornu.Sequential(
        [
            cornu.Input((8, 8, 2)),
            L.Conv2D(6, (3, 2), name="conv"),
            L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
            L.Conv2DTranspose(5, 2, name="transposed"),
        ]
    )
    assert explain.filters(model, "conv").shape == (3, 2, 2, 6)
    assert explain.filters(model, 1).shape == (3, 3, 1, 12)
    assert explain.filters(model, model.layers[2]).shape == (2, 2, 12, 5)
    with pytest.raises(ValueError, match=r"'out' \(Dense\) has no filters"):
        explain.filters(make(), "out")


def test_dead_relus():
    model = make()
    kernel, bias = model.get_layer("conv").get_weights()
    bias[:2] = -100.0
    model.get_layer("conv").set_weights([kernel, bias])
    shares = explain.dead_relus(model, X)
    assert shares["conv"] == pytest.approx(2 / 6) and set(shares) == {"conv", "relu"}


def test_gradients_are_those_of_the_loss():
    model = make()
    before = model.get_weights()
    found = explain.gradients(model, X, Y)
    assert [v.path for v in model.trainable_variables] == list(found)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # By differences, for one weight of the last layer, which statistics do not reach.
    path, layer = next(p for p in found if p.endswith("out/kernel")), model.get_layer("out")
    kernel, bias = layer.get_weights()

    def loss(change):
        moved = kernel.copy()
        moved[5, 1] += change
        layer.set_weights([moved, bias])
        return model.evaluate(X, Y, batch_size=64, verbose=0)[0]

    slope = (loss(0.05) - loss(-0.05)) / 0.1
    layer.set_weights([kernel, bias])
    assert found[path][5, 1] == pytest.approx(slope, rel=2e-2, abs=1e-4)


def test_gradients_of_several_outputs():
    x = cornu.Input((3,))
    model = cornu.Model(x, {"a": L.Dense(1, name="a")(x), "b": L.Dense(2, name="b")(x)})
    model.compile("sgd", "mse")
    found = explain.gradients(
        model, np.ones((4, 3)), {"a": np.zeros((4, 1)), "b": np.zeros((4, 2))}
    )
    assert all(np.any(gradient) for gradient in found.values()) and len(found) == 4


def test_mistakes():
    model = make()
    found = explain.mistakes(model, X, Y)
    probabilities = model.predict(X, verbose=0)
    wrong = {i for i in range(64) if probabilities[i].argmax() != Y[i]}
    assert {m.index for m in found} == wrong
    sure = [m.probability for m in found]
    assert sure == sorted(sure, reverse=True)
    assert found[0].predicted == probabilities[found[0].index].argmax()
    assert explain.mistakes(model, X, np.eye(3)[Y]) == found


def test_a_learning_rate_is_found_and_nothing_changed():
    cornu.utils.set_random_seed(0)
    x = random.standard_normal((512, 10)).astype("float32")
    y = x @ random.standard_normal((10, 1)).astype("float32")
    model = cornu.Sequential([cornu.Input((10,)), L.Dense(1)])
    model.compile(cornu.optimizers.SGD(0.123, momentum=0.9), "mse")
    model.fit(x, y, epochs=1, verbose=0)
    before = [np.asarray(v) for v in [*model.variables, *model.optimizer.variables]]
    found = explain.learning_rate_range(model, x, y, 1e-5, 100.0, steps=80)
    after = [np.asarray(v) for v in [*model.variables, *model.optimizer.variables]]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.123)
    # It stopped when the loss exploded, and suggests something at which it falls.
    assert len(found.losses) < 80 and 1e-4 < found.suggestion < 0.5
    model.optimizer.learning_rate = found.suggestion
    assert model.fit(x, y, epochs=3, verbose=0).history["loss"][-1] < 0.2 * found.losses[0]
    model.compile(
        cornu.optimizers.SGD(cornu.optimizers.schedules.ExponentialDecay(0.1, 9, 0.5)), "mse"
    )
    assert len(explain.learning_rate_range(model, x, y, 1e-5, 1.0, steps=20).rates) == 20
    with pytest.raises(ValueError, match="0 < lowest < highest"):
        explain.learning_rate_range(model, x, y, 1.0, 0.1)
    visualize.plot_learning_rates(found)


def test_figures(tmp_path):
    model = make()
    maps = explain.feature_maps(model, X, "conv")
    visualize.plot_feature_maps(maps[0], "conv", path=tmp_path / "a.png")
    visualize.plot_feature_maps(np.zeros((20, 70)), "signal", path=tmp_path / "b.png")
    visualize.plot_filters(explain.filters(model, "conv"), "conv", path=tmp_path / "c.png")
    visualize.plot_attribution(
        X[:3, ..., :1], explain.grad_cam(model, X[:3]), list("abc"), tmp_path / "d.png"
    )
    visualize.plot_histograms(explain.gradients(model, X, Y), tmp_path / "e.png")
    figure = visualize.plot_histograms({"bad": np.array([1.0, np.nan, np.inf])})
    assert figure.axes[0].get_title() == "bad\n2 not finite"
    visualize.plot_histograms(model, tmp_path / "f.svg")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{n}.png" for n in "abcde"] + ["f.svg"]
    for function, argument, message in [
        (visualize.plot_feature_maps, np.zeros(3), "One example's maps"),
        (visualize.plot_filters, np.zeros(3), "Filters of images or signals"),
        (visualize.plot_histograms, {}, "nothing to draw"),
    ]:
        with pytest.raises(ValueError, match=message):
            function(argument)
    with pytest.raises(ValueError, match=r"shapes \(2, 4, 4, 1\) and \(2, 5, 5\)"):
        visualize.plot_attribution(np.zeros((2, 4, 4, 1)), np.zeros((2, 5, 5)))


def test_chance_at_the_smallest_rates_suggests_nothing():
    rates = np.geomspace(1e-6, 10, 60)
    # Learned already: it differs from batch to batch, and explodes from a rate of about 0.01 on.
    losses = 1 + np.where(rates > 0.01, 100 * rates, 0)
    losses[5:15] = 0.6
    assert 0.001 < _suggestion(rates, losses) < 0.01
    # Where it falls at rates that count, that is what is found.
    losses[25:34] = 0.3
    assert _suggestion(rates, losses) == rates[25]
