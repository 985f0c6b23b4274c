"""The way back: each gradient that is explained is the model's own, and each step of an optimizer."""

import json

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kinds import CASES, IDS

import cornu
from cornu import layers as L
from cornu import optimizers as O
from cornu.explain import backpropagation, gradient, gradients, update, weight_gradient, window


def index_in(random, shape):
    return tuple(int(random.integers(n)) for n in shape)


def check_kind(shape, make, seed):
    random = np.random.default_rng(seed)
    layer = make()
    model = cornu.Sequential([cornu.Input(shape), layer])
    model.set_weights([random.uniform(-1, 1, w.shape) ** 2 for w in model.weights])
    model.compile("sgd", "mse", run_eagerly=True)
    x = random.standard_normal((2, *shape)).astype("float32")
    y = random.standard_normal((2, *model.output_shape[1:])).astype("float32")
    own = jax.grad(lambda x: jnp.mean((model(x) - y) ** 2))(jnp.asarray(x))
    index = index_in(random, shape)
    made = gradient(model, x, y, None, index[:-1], index[-1], example=1)
    np.testing.assert_allclose(made.result, own[1][index], rtol=1e-3, atol=1e-6)
    json.dumps(made.to_dict())
    assert str(made).endswith(f"the model says {made.expected + 0.0:.4g}")
    found = gradients(model, x, y) if model.trainable_variables else {}
    for variable in model.trainable_variables:
        index = index_in(random, variable.shape)
        by_weight = weight_gradient(model, x, y, 0, index, weight=variable.name)
        expected = found[variable.path][index]
        np.testing.assert_allclose(by_weight.result, expected, rtol=1e-3, atol=1e-6)
        json.dumps(by_weight.to_dict())
        assert by_weight.name in str(by_weight)


@pytest.mark.parametrize("shape, make", CASES, ids=IDS)
def test_every_kind_of_layer(shape, make):
    check_kind(shape, make, 0)


@pytest.mark.slow
@pytest.mark.parametrize("shape, make", CASES, ids=IDS)
@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32 - 1))
def test_every_kind_of_layer_at_many_places(shape, make, seed):
    check_kind(shape, make, seed)


X = np.random.RandomState(0).randn(6, 8, 8, 2).astype("float32")
Y = np.array([1, 2, 3, 0, 1, 2])


def classifier(**arguments):
    """A residual network with all that happens in training."""
    cornu.utils.set_random_seed(1)
    inputs = cornu.Input((8, 8, 2))
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="first", **arguments)(inputs)
    x = L.BatchNormalization(name="normalized")(x)
    shortcut = x
    x = L.Conv2D(4, 3, padding="same", activation="tanh", name="second")(x)
    x = L.Add(name="added")([x, shortcut])
    x = L.MaxPooling2D(name="pooled")(x)
    x = L.Dropout(0.4)(L.Flatten()(x))
    return cornu.Model(inputs, L.Dense(5, activation="softmax", name="answer")(x))


@pytest.fixture(scope="module")
def trained():
    model = classifier(kernel_regularizer="l2", activity_regularizer=cornu.regularizers.L1(0.01))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, Y, epochs=3, verbose=0)
    return model


def test_the_chain_goes_from_the_number_to_the_loss(trained):
    before = [v.numpy() for v in [*trained.variables, *trained.metrics_variables]]
    made = gradient(trained, X, Y, "first", (3, 4), 1, example=2)
    after = [*trained.variables, *trained.metrics_variables]
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, after, strict=True))
    assert [link.layer for link in made.links[:2]] == ["first", "normalized"]
    assert {part.layer for part in made.links[1].parts} == {"second", "added"}
    assert [part.kind for part in made.links[-1].parts] == ["loss"]
    # A penalty of the layer's own output.
    assert [part.kind for part in made.links[0].parts] == ["BatchNormalization", "penalty"]
    assert "(1 - 1 / " in made.links[-1].parts[0].says
    for link, following in zip(made.links, made.links[1:], strict=False):
        products = np.concatenate([part.products for part in link.parts])
        assert link.result == pytest.approx(link.expected, rel=1e-4)
        assert following.expected != 0 and np.abs(products).max() > 0
    own = jax.grad(lambda x: trained.compute_loss(x, Y, trained(x, training=False)))(X)
    found = gradient(trained, X, Y, None, (3, 4), 1, example=2).result
    assert found == pytest.approx(float(own[2, 3, 4, 1]), rel=1e-4)


def test_lists_and_examples_alone(trained):
    expected = gradient(trained, X, Y, "second", (1, 2), 3).result
    assert gradient(trained, X.tolist(), Y.tolist(), "second", (1, 2), 3).result == expected
    alone = gradient(trained, X[1], Y[1], "second", (1, 2), 3).result
    assert alone == gradient(trained, X[1:2].tolist(), [Y[1]], "second", (1, 2), 3).result
    assert update(trained, X[1].tolist(), int(Y[1]), "answer", (0, 1)).result == pytest.approx(
        update(trained, X[1:2], Y[1:2], "answer", (0, 1)).result
    )


def test_of_a_weight(trained):
    found = gradients(trained, X, Y)
    for name, weight, index in (
        ("first", "kernel", (1, 2, 1, 3)),
        ("normalized", "gamma", 2),
        ("second", "bias", 1),
        ("answer", "kernel", (7, 4)),
    ):
        made = weight_gradient(trained, X, Y, name, index, weight=weight)
        own = found[trained.get_layer(name).path + "/" + weight][made.index]
        assert made.result == pytest.approx(own, rel=1e-4, abs=1e-7)
        assert ("penalty" in [part.kind for part in made.parts]) == (name == "first")


@pytest.mark.parametrize("form", ["channels_first", "channels_last"])
def test_a_flattened_number_is_back_in_its_map(form):
    """The place that is named for each number holds its value."""
    maps = L.MaxPooling2D(data_format=form, name="pool")
    layers = [
        maps,
        L.Flatten(data_format=form, name="flat"),
        L.Dropout(0.5),
        L.Dense(2, name="out"),
    ]
    model = cornu.Sequential([cornu.Input((4, 6, 4)), *layers])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 4)).astype("float32")
    pooled = np.asarray(maps(x))[0]
    pooled = np.moveaxis(pooled, 0, -1) if form == "channels_first" else pooled
    for n, value in enumerate(np.asarray(layers[1](maps(x)))[0]):
        *position, channel = map(int, np.argwhere(pooled == value)[0])
        place = f"({', '.join(map(str, position))}), channel {channel}"
        if n % 5 == 0:
            assert f"its input at {place} =" in str(window(model, x, "flat", (), n))
            assert (
                gradient(model, x, np.ones((1, 2)), "flat", (), n).links[0].was
                == f"{place} of pool"
            )
            made = weight_gradient(model, x, np.ones((1, 2)), "out", (n, 1))
            assert made.parts[0].says == f"the number {n} of each input (once {place} of pool)"


def test_a_layer_that_is_called_twice():
    shared = L.Dense(3, activation="sigmoid", name="shared")
    inputs = cornu.Input((3,))
    model = cornu.Model(inputs, shared(shared(inputs)))
    model.compile("sgd", "mae")
    x, y = np.eye(3, dtype="float32"), np.ones((3, 3), "float32")
    made = weight_gradient(model, x, y, "shared", (0, 1))
    assert len(made.parts) == 2
    assert made.result == pytest.approx(gradients(model, x, y)["shared/kernel"][0, 1], rel=1e-5)
    first, second = (gradient(model, x, y, "shared", (), 1, call=n) for n in (0, 1))
    assert len(first.links) == 2 and len(second.links) == 1


@pytest.mark.parametrize("loss", ["from_logits", "smoothed", "weighted", "custom"])
def test_losses(loss):
    cornu.utils.set_random_seed(0)
    model = cornu.Sequential([cornu.Input((4,)), L.Dense(3, name="out")])
    y, weight, known = np.eye(3)[[0, 2]], None, True
    chosen = cornu.losses.CategoricalCrossentropy(from_logits=True)
    if loss == "smoothed":
        model.add(L.Softmax())
        chosen = cornu.losses.CategoricalCrossentropy(label_smoothing=0.2, reduction="sum")
    elif loss == "weighted":
        weight, known = np.array([1.0, 3.0]), False
    elif loss == "custom":
        chosen, known = lambda y, p: jnp.mean((y - p) ** 4, axis=-1), False
    model.compile("sgd", chosen, loss_weights=None if loss == "custom" else [0.5])
    x = np.random.default_rng(0).standard_normal((2, 4)).astype("float32")
    made = gradient(model, x, y, "out", (), 1, sample_weight=weight, example=1)
    assert (made.links[-1].parts[0].says != "its derivative") == known
    expected = gradients(model, x, y, weight)[model.layers[0].bias.path][1]
    both = sum(
        gradient(model, x, y, "out", (), 1, sample_weight=weight, example=n).result for n in (0, 1)
    )
    assert both == pytest.approx(expected, rel=1e-4)


OPTIMIZERS = {
    "sgd": lambda: O.SGD(0.1),
    "nesterov": lambda: O.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda: O.Adam(),
    "amsgrad": lambda: O.Adam(amsgrad=True, clipnorm=0.1),
    "adamw": lambda: O.AdamW(global_clipnorm=0.3),
    "adamax": lambda: O.Adamax(),
    "nadam": lambda: O.Nadam(),
    "adagrad": lambda: O.Adagrad(),
    "adadelta": lambda: O.Adadelta(0.5),
    "rmsprop": lambda: O.RMSprop(momentum=0.5, centered=True, clipvalue=0.01),
    "lamb": lambda: O.Lamb(),
    "ftrl": lambda: O.Ftrl(
        0.1,
        l1_regularization_strength=0.01,
        l2_shrinkage_regularization_strength=0.1,
        beta=0.1,
    ),
    "lion": lambda: O.Lion(),
    "adafactor": lambda: O.Adafactor(),
    "muon": lambda: O.Muon(),
    "schedule free": lambda: O.ScheduleFreeAdamW(warmup_steps=4),
    "average": lambda: O.SGD(0.1, use_ema=True, ema_overwrite_frequency=2),
    "accumulation": lambda: O.Adam(gradient_accumulation_steps=2),
    "dynamic scale": lambda: O.LossScaleOptimizer(O.Adam()),
    "scale": lambda: O.SGD(loss_scale_factor=8.0),
    "schedule": lambda: O.SGD(O.schedules.ExponentialDecay(0.1, 2, 0.5)),
    "several": lambda: O.MultiOptimizer(
        O.OptimizerMap(O.SGD(), {"answer/.*": O.Adam(clipnorm=0.1)})
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name):
    cornu.utils.set_random_seed(1)
    model = cornu.Sequential(
        [
            cornu.Input((5,)),
            L.Dense(4, activation="relu", kernel_constraint="max_norm", kernel_regularizer="l2"),
            L.Dense(3, name="answer"),
        ]
    )
    model.compile(OPTIMIZERS[name](), "mse", run_eagerly=True)
    random = np.random.default_rng(0)
    x, y = random.standard_normal((6, 5)), random.standard_normal((6, 3))
    for _ in range(3):
        expected = []
        for layer, index, weight in ((0, (2, 1), "kernel"), ("answer", 2, "bias")):
            made = update(model, x, y, layer, index, weight=weight)
            expected.append(made.expected)
            assert made.gradient != 0 and made.steps[0].value == made.gradient
        json.dumps(made.to_dict())
        state = [v.numpy() for v in [*model.variables, *model.optimizer.variables]]
        update(model, x, y, "answer", (1, 1))
        now = [v.numpy() for v in [*model.variables, *model.optimizer.variables]]
        assert all(map(np.array_equal, state, now))
        model.train_on_batch(x, y)
        kernel, bias = model.layers[0].kernel.numpy(), model.layers[-1].bias.numpy()
        np.testing.assert_array_equal(expected, [kernel[2, 1], bias[2]])


def test_a_step_as_it_is_in_training():
    """With dropout, the statistics of the batch, and a compiled step."""
    model = classifier()
    model.compile("adam", "sparse_categorical_crossentropy")
    for _ in range(2):
        made = update(model, X, Y, "first", (1, 2, 1, 3))
        model.train_on_batch(X, Y)
        after = float(model.get_layer("first").kernel.numpy()[1, 2, 1, 3])
        assert made.expected == pytest.approx(after, abs=1e-8)
    text = str(made)
    assert "rate, corrected = 0.001 × sqrt(1 - 0.999^2) / (1 - 0.9^2)" in text
    assert "→" in text.splitlines()[0] and text.endswith(f"{made.expected:.7g}")


def test_both_directions(trained, tmp_path):
    done = backpropagation(trained, X, Y, example=1)
    assert list(done.maps) == list(done.gradients)
    assert done.maps["pooled"].shape == done.gradients["pooled"].shape == (4, 4, 4)
    made = gradient(trained, X, Y, "pooled", (1, 2), 3, example=1)
    assert done.gradients["pooled"][1, 2, 3] == pytest.approx(made.expected)
    assert done.loss == made.loss
    for number, drawn in enumerate(
        (done, made, weight_gradient(trained, X, Y, "second", (0, 1, 2, 3)))
    ):
        drawn.plot(tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5000


class Squared(cornu.Model):
    """Uses a layer's output outside of layers, too."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2, name="dense")
        self.last = L.Dense(1, name="last")

    def call(self, x):
        x = self.dense(x)
        return self.last(x) + jnp.sum(x * x, axis=-1, keepdims=True)


class OwnStep(cornu.Model):
    """Trains otherwise than its optimizer says."""

    def train_step(self, state, data):
        logs, (trainable, *rest) = super().train_step(state, data)
        return logs, ([2 * value for value in trainable], *rest)


class OwnRule(O.SGD):
    def update(self, value, gradient, slots, learning_rate, step):
        return value + gradient, slots


def test_what_cannot_be_explained_is_said():
    x, y = np.ones((2, 3), "float32"), np.ones((2, 1), "float32")
    model = Squared()
    model.compile("sgd", "mse")
    model(x)
    with pytest.raises(ArithmeticError, match="outside of layers"):
        gradient(model, x, y, "dense", (), 1)
    inputs = cornu.Input((3,))
    own = OwnStep(inputs, L.Dense(1, name="out")(inputs))
    own.compile("sgd", "mse")
    with pytest.raises(ArithmeticError, match="train_step"):
        update(own, x, y, "out", (0, 0))
    plain = cornu.Sequential([inputs, L.Dense(1, name="out")])
    plain.compile(OwnRule(0.1), "mse")
    with pytest.raises(ArithmeticError, match="another rule"):
        update(plain, x, y, "out", (0, 0))
    for arguments, message in (
        (("out", (0, 7)), "has the shape"),
        (("out", (0, 0), "gamma"), "no weight 'gamma', but 'kernel', 'bias'"),
        (("other", (0, 0)), "has not called a layer 'other'"),
    ):
        name, index, *weight = arguments
        for function in (weight_gradient, update):
            with pytest.raises(ValueError, match=message):
                function(plain, x, y, name, index, **({"weight": weight[0]} if weight else {}))
    both = cornu.Sequential([cornu.Input((4, 3)), L.Bidirectional(L.SimpleRNN(2), name="both")])
    both.compile("sgd", "mse")
    x3, y4 = np.ones((1, 4, 3), "float32"), np.ones((1, 4), "float32")
    with pytest.raises(
        ValueError, match=r"has 2 weights 'kernel'. Give one of '.*forward_"
    ) as said:
        weight_gradient(both, x3, y4, "both", (0, 0))
    path = str(said.value).split("'")[-2]
    assert weight_gradient(both, x3, y4, "both", (0, 0), weight=path).weight == path
    with pytest.raises(ValueError, match="gives no positions with 1 channels"):
        gradient(plain, x, y, "out", (), 5)
    with pytest.raises(ValueError, match="no example 9"):
        gradient(plain, x, y, "out", example=9)
    with pytest.raises(ValueError, match="2 examples, and `y`"):
        gradient(plain, x, np.ones((3, 1)), "out")
    plain.layers[0].trainable = False
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match="is not trained"):
        weight_gradient(plain, x, y, "out", (0, 0))
    with pytest.raises(ValueError, match="compile"):
        gradient(cornu.Sequential([inputs, L.Dense(1)]), x, y, 0)
