"""`fine_tune` and `find_learning_rate`."""

import errno

import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.models import fine_tune
from cornu.models.frozen_features import cut

NUM = 3


def pictures(count=48, seed=0):
    """Pictures whose class is where they are bright."""
    random = np.random.default_rng(seed)
    y = np.arange(count) % NUM
    x = random.normal(size=(count, 9, 9, 1)).astype("float32")
    for i, label in enumerate(y):
        x[i, :, 3 * label : 3 * label + 3] += 4
    return x, y


def backbone(name="backbone"):
    return cornu.Sequential(
        [
            cornu.Input((9, 9, 1)),
            layers.Conv2D(6, 3, strides=3, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(8, 1, activation="relu"),
        ],
        name=name,
    )


def classifier(kind="functional", **compiled):
    cornu.utils.set_random_seed(0)
    network = backbone()
    if kind == "sequential":
        model = cornu.Sequential(
            [network, layers.Flatten(), layers.Dropout(0.1), layers.Dense(NUM, "softmax")]
        )
    elif kind == "flat":
        model = cornu.Sequential(
            [
                cornu.Input((9, 9, 1)),
                *backbone().layers,
                layers.Flatten(),
                layers.Dense(NUM, "softmax"),
            ]
        )
    else:
        inputs = cornu.Input((9, 9, 1))
        x = layers.RandomFlip("vertical", seed=1)(inputs) if kind == "random" else inputs
        x = layers.Flatten()(network(x, training=False))
        x = layers.Dense(8, "relu")(x)
        model = cornu.Model(inputs, layers.Dense(NUM, "softmax")(x))
    network.trainable = False
    model.compile(
        **{
            "optimizer": "adam",
            "loss": "sparse_categorical_crossentropy",
            "metrics": ["accuracy"],
            **compiled,
        }
    )
    return model


@pytest.mark.parametrize("kind", ["sequential", "flat", "random"])
def test_both_stages(kind, tmp_path):
    x, y = pictures()
    model = classifier(kind)
    flags = [layer.trainable for layer in model._flatten_layers()]
    compiled = model._compile_arguments
    frozen = [w.numpy() for w in cut(model).features.weights]
    done = fine_tune(
        model,
        x,
        y,
        head_epochs=12,
        epochs=0,
        validation_data=pictures(seed=1),
        features=tmp_path,
        verbose=0,
    )
    assert done.whole is None and done.head.history["accuracy"][-1] > 0.8
    # The head's numbers are the whole model's.
    judged = model.evaluate(*pictures(seed=1), verbose=0)
    np.testing.assert_allclose(judged[0], done.head.history["val_loss"][-1], rtol=1e-5)
    for before, weight in zip(frozen, cut(model).features.weights, strict=True):
        np.testing.assert_array_equal(before, weight.numpy())

    files = sorted(tmp_path.iterdir())
    assert len(files) == (5 if kind == "random" else 2)
    done = fine_tune(
        model,
        x,
        y,
        head_epochs=1,
        epochs=2,
        validation_data=pictures(seed=1),
        features=tmp_path,
        verbose=0,
    )
    assert sorted(tmp_path.iterdir()) == files
    assert set(done.whole.history) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert [layer.trainable for layer in model._flatten_layers()] == flags
    assert model._compile_arguments == compiled
    changed = [
        not np.array_equal(before, weight.numpy())
        for before, weight in zip(frozen, cut(model).features.weights, strict=True)
    ]
    # The statistics of normalization stay; where it runs as in inference, its scale is trained.
    scale = kind == "random"
    assert changed == [True, True, scale, scale, False, False, True, True]


def test_features_are_those_of_the_data_the_network_and_the_draw(tmp_path):
    x, y = pictures()
    model = classifier("random")

    def run(**given):
        before = set(tmp_path.iterdir())
        arguments = {
            "x": x,
            "y": y,
            "epochs": 0,
            "head_epochs": 1,
            "learning_rate": 0.01,
            "draws": 1,
        }
        fine_tune(model, **{**arguments, **given}, features=tmp_path, verbose=0)
        return len(set(tmp_path.iterdir()) - before)

    assert run() == 1
    assert run() == 0
    assert run(x=x + 1) == 1
    assert run(seed=2**32 - 1) == 1
    assert run(draws=3) == 2
    assert run(x=x.astype("float64")) == 1
    model.get_layer("backbone").layers[0].bias.assign_add(np.ones(6, "float32"))
    assert run() == 1
    # The same network, made anew: names and what was built first do not count.
    weights = model.get_weights()
    model = classifier("random")
    model.set_weights(weights)
    assert run() == 0
    # Each draw holds what the layer makes of the images.
    drawn = [np.load(path) for path in tmp_path.iterdir()]
    assert all(len(each) == len(x) for each in drawn)


@pytest.mark.parametrize("kind", ["dataset", "weights", "float16", "classes"])
def test_data_of_other_kinds(kind, tmp_path):
    x, y = pictures()
    given: dict = {"x": x, "y": y, "validation_split": 0.25}
    compiled: dict = {}
    if kind == "dataset":
        data = cornu.data.Dataset.from_tensor_slices((x, y))
        # Each pass has another order.
        given = {"x": data.shuffle(48).batch(16), "validation_data": data.batch(16)}
    elif kind == "weights":
        given["sample_weight"] = np.linspace(0.5, 1.5, len(x)).astype("float32")
    elif kind == "classes":
        given["class_weight"] = {0: 1.0, 1: 2.0, 2: 0.5}
        compiled["optimizer"] = cornu.optimizers.SGD(momentum=0.9)
    else:
        cornu.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = classifier(**compiled)
        done = fine_tune(model, **given, head_epochs=10, epochs=1, features=tmp_path, verbose=0)
    finally:
        cornu.mixed_precision.set_global_policy("float32")
    assert done.head.history["val_accuracy"][-1] > 0.6
    assert np.isfinite(done.whole.history["val_loss"][-1])


def test_rates_by_layer(tmp_path):
    model = classifier("sequential", optimizer=cornu.optimizers.SGD(0.5, momentum=0.5))
    seen = []

    class Look(cornu.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.extend(model.optimizer.optimizers)

        def on_epoch_end(self, epoch, logs=None):
            seen.append([float(each.learning_rate) for each in model.optimizer.optimizers])
            if epoch == 13:
                model.save(tmp_path / "m.keras")

    fine_tune(
        model,
        *pictures(),
        head_epochs=0,
        batch_size=8,
        learning_rate=0.1,
        callbacks=[Look()],
        verbose=0,
    )
    # By default as many epochs of 6 steps as take 80 of them.
    assert len(seen) == 3 + 14
    assert all(each.momentum == 0.5 for each in seen[:3])
    # At the peak, a quarter of 84 steps, and at the end.
    peaks = [float(each._learning_rate(21)) for each in seen[:3]]
    assert peaks == pytest.approx([0.03, 0.3**0.5 / 10, 0.1])
    assert seen[-1] == pytest.approx([1e-5 * each for each in peaks], rel=0.01)
    assert float(model.optimizer.learning_rate) == 0.5
    # A model that was saved meanwhile can be loaded.
    loaded = cornu.models.load_model(tmp_path / "m.keras", compile=False)
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def drawn_anew():
    random, (x, y) = np.random.default_rng(0), pictures(12)
    data = cornu.data.Dataset.from_tensor_slices((x, y))
    return data.map(lambda x, y: (x + np.float32(random.normal()), y)).batch(4)


def own_step():
    class Own(cornu.Model):
        def train_step(self, state, data):
            return super().train_step(state, data)

    made = classifier()
    own = Own(made.inputs, made.outputs)
    own.compile("adam", "sparse_categorical_crossentropy")
    return own


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"model": lambda: cornu.Sequential([cornu.Input((9, 9, 1)), layers.Flatten()])},
            "compile",
        ),
        ({"backbone": "missing"}, "calls no layer 'missing'. It calls"),
        ({"backbone": "head"}, "has weights that can be trained"),
        ({"y": np.zeros(5)}, "same number of samples"),
        ({"model": own_step}, "has a `train_step` of its own"),
        ({"epochs": -1}, "`epochs` must be an integer of at least 0"),
        ({"draws": 0}, "`draws` must be an integer of at least 1"),
        ({"earlier": 2.0}, "`earlier`"),
        ({"x": iter([pictures()]), "y": None}, "can be read several times"),
        ({"x": drawn_anew(), "y": None}, "`x` has other samples in each pass"),
        ({"optimizer": cornu.optimizers.MultiOptimizer(lambda v: None)}, "MultiOptimizer"),
    ],
)
def test_mistakes(change, message, tmp_path):
    x, y = pictures(12)
    made = change.pop("model", classifier)()
    if "optimizer" in change:
        made = classifier(optimizer=change.pop("optimizer"))
    made.layers[-1].name = "head"
    with pytest.raises(ValueError, match=message):
        fine_tune(made, **{"x": x, "y": y, "features": tmp_path, "verbose": 0, **change})
    assert not list(tmp_path.iterdir())


def test_no_room_for_features(tmp_path, monkeypatch):
    model, (x, y) = classifier(), pictures()
    options = {"learning_rate": 0.01, "features": tmp_path, "verbose": 0}
    options["validation_data"] = (x[:8], y[:8])
    row = 4 * np.prod(cut(model).features.output_shape[1:])
    # Room for those of the validation images alone: nothing is computed.
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 9 * row}))
    with pytest.raises(OSError, match="CORNU_HOME") as raised:
        fine_tune(model, x, y, **options)
    assert f"{(len(x) + 8) * row / 2**20:,.1f} MiB" in str(raised.value)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()

    def full(*arguments):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=rf"Cannot write {tmp_path}.*quota"):
        fine_tune(model, x, y, **options)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be made"):
        fine_tune(model, x, y, **{**options, "features": tmp_path / "file" / "inner"})
