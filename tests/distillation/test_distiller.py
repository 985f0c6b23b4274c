"""Students learn what they do in Keras."""

import keras
import numpy as np
import pytest

import cornu

X = np.cos(np.arange(16 * 6.0)).reshape(16, 6).astype("float32")
Y = np.arange(16) % 3


def model_of(module, units, seed):
    model = module.Sequential(
        [
            module.Input((6,)),
            module.layers.Dense(units, "relu", name="hidden"),
            module.layers.Dense(3, name="logits"),
        ]
    )
    random = np.random.RandomState(seed)
    model.set_weights([random.normal(size=w.shape) for w in model.weights])
    return model


def distiller_of(module, which):
    losses = module.distillation
    found = {
        "logits": lambda: losses.LogitsDistillation(temperature=2.0),
        "features": lambda: [
            losses.FeatureDistillation("mse", "hidden", "hidden"),
            losses.LogitsDistillation(loss="mse"),
        ],
    }[which]()
    weights = [0.5, 2.0] if which == "features" else None
    models = model_of(module, 4, 0), model_of(module, 4, 1)
    distiller = losses.Distiller(*models, found, weights, student_loss_weight=0.3)
    distiller.compile(
        module.optimizers.SGD(0.05),
        module.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return distiller


@pytest.mark.parametrize("which", ["logits", "features"])
def test_training(which):
    ours, theirs = (distiller_of(module, which) for module in (cornu, keras))
    before = ours.teacher.get_weights()
    histories = [
        model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
        for model in (ours, theirs)
    ]
    assert set(histories[0]) == set(histories[1])
    for name, values in histories[1].items():
        np.testing.assert_allclose(histories[0][name], values, 1e-4, err_msg=name)
    for mine, kept in zip(ours.teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, kept)
    scores = [model.evaluate(X, Y, verbose=0, return_dict=True) for model in (ours, theirs)]
    for name, value in scores[1].items():
        np.testing.assert_allclose(scores[0][name], value, 1e-4, err_msg=name)
    np.testing.assert_allclose(ours.predict(X, verbose=0), ours.student(X), 1e-5, 1e-6)


def test_files(tmp_path):
    ours = distiller_of(cornu, "features")
    ours.fit(X, Y, verbose=0)
    ours.save(tmp_path / "m.keras")
    loaded = cornu.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.predict(X, verbose=0), ours.predict(X, verbose=0), 1e-6)
    assert loaded.distillation_loss_weights == [0.5, 2.0]


def test_wrong_arguments():
    teacher, student = model_of(cornu, 4, 0), model_of(cornu, 4, 1)
    loss = cornu.distillation.LogitsDistillation()
    make = cornu.distillation.Distiller
    wide = cornu.Sequential([cornu.Input((7,)), cornu.layers.Dense(3)])
    for arguments, message in (
        (("teacher", student, loss), "must be a Model"),
        ((teacher, wide, loss), "shapes are incompatible"),
        ((teacher, student, None), "cannot be `None`"),
        ((teacher, student, [loss], [1.0, 2.0]), "must match"),
        ((teacher, student, loss, None, 2.0), "between 0.0 and 1.0"),
        (
            (teacher, student, cornu.distillation.FeatureDistillation("mse", "no", "hidden")),
            "In teacher model",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make(*arguments)
    with pytest.raises(ValueError, match="temperature must be positive"):
        cornu.distillation.LogitsDistillation(0)
    with pytest.raises(ValueError, match="at least one non-`None`"):
        cornu.distillation.FeatureDistillation(None)
    with pytest.raises(ValueError, match="does not weight samples"):
        distiller_of(cornu, "logits").fit(X, Y, sample_weight=np.ones(16), verbose=0)
