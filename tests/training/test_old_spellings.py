"""What Keras 1 and 2 called the arguments, methods and results of training."""

import numpy as np
import pytest

import cornu
from cornu import callbacks, layers

X = np.random.default_rng(0).random((20, 3)).astype("float32")
Y = (X.sum(-1) > 1.5).astype("int32")


def model(units=2, loss="sparse_categorical_crossentropy", activation="softmax"):
    cornu.utils.set_random_seed(0)
    made = cornu.Sequential([cornu.Input((3,)), layers.Dense(units, activation=activation)])
    made.compile("sgd", loss, metrics=["accuracy"])
    return made


def batches():
    while True:
        yield X, Y


def test_arguments():
    today = model().fit(X, Y, epochs=3, verbose=0).history
    with pytest.warns(UserWarning, match="is an old spelling") as warned:
        old = model().fit(X, Y, nb_epoch=3, verbose=0, workers=4, show_accuracy=True)
    assert old.history == today
    said = ["`nb_epoch` is an old spelling; use `epochs`", "metrics=['accuracy']", "by themselves"]
    assert all(words in str(w.message) for w, words in zip(warned, said, strict=True))
    assert all(w.filename == __file__ for w in warned)
    with pytest.raises(
        TypeError, match=r"Give `steps_per_epoch`.* steps_per_epoch=20 // batch_size"
    ):
        model().fit(X, Y, samples_per_epoch=20)
    with pytest.raises(TypeError, match="nb_epochs"):
        model().fit(X, Y, nb_epochs=3)


def test_methods():
    made = model()
    with pytest.warns(UserWarning, match="use `model.fit` instead"):
        history = made.fit_generator(batches(), 2, 3, verbose=0)
    assert len(history.epoch) == 3
    with pytest.warns(UserWarning, match="use `model.evaluate` instead"):
        assert made.evaluate_generator(batches(), steps=1, verbose=0) == made.evaluate(
            X, Y, verbose=0
        )
    with pytest.warns(UserWarning, match="use `model.predict` instead"):
        outputs = made.predict_generator((x for x, _ in [next(batches())]), verbose=0)
    with pytest.warns(UserWarning, match="use `model.predict` instead"):
        np.testing.assert_array_equal(made.predict_proba(X, verbose=0), outputs)
    with pytest.warns(UserWarning, match="argmax"):
        np.testing.assert_array_equal(made.predict_classes(X, verbose=0), outputs.argmax(-1))
    single = model(1, "binary_crossentropy", "sigmoid")
    with pytest.warns(UserWarning, match="argmax"):
        classes = single.predict_classes(X, verbose=0)
    np.testing.assert_array_equal(classes, single.predict(X, verbose=0) > 0.5)


def test_numbers_of_samples():
    class Batches(cornu.utils.PyDataset):
        batch_size = 8

        def __len__(self):
            return 3

        def __getitem__(self, index):
            return X[8 * index :][:8], Y[8 * index :][:8]

    today = model().fit(Batches(), steps_per_epoch=2, epochs=2, verbose=0).history
    with pytest.warns(UserWarning, match="old spelling"):
        old = model().fit_generator(Batches(), samples_per_epoch=16, nb_epoch=2, verbose=0)
    assert old.history == today
    with (
        pytest.warns(UserWarning, match="old spelling"),
        pytest.raises(TypeError, match="counted samples"),
    ):
        model().fit_generator(batches(), samples_per_epoch=16, nb_epoch=2)


def test_states_of_recurrent_layers():
    made = cornu.Sequential([cornu.Input(batch_shape=(2, 3, 1)), layers.LSTM(2, stateful=True)])
    first = made.predict(np.ones((2, 3, 1)), verbose=0)
    assert (made.predict(np.ones((2, 3, 1)), verbose=0) != first).all()
    with pytest.warns(UserWarning, match="reset_state"):
        made.reset_states()
    np.testing.assert_array_equal(made.predict(np.ones((2, 3, 1)), verbose=0), first)


def test_accuracy_by_its_old_name(tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_acc", save_best_only=True)
    stop = callbacks.EarlyStopping("acc", patience=50)
    with pytest.warns(UserWarning, match=r"use `(val_)?accuracy` instead"):
        history = (
            model()
            .fit(X, Y, validation_split=0.5, epochs=2, verbose=0, callbacks=[keep, stop])
            .history
        )
    assert (tmp_path / "best.keras").exists() and keep.monitor == "val_accuracy"
    with pytest.warns(UserWarning, match="`val_acc` is an old spelling"):
        assert history["val_acc"] is history["val_accuracy"]
    assert "acc" not in history and list(history) == [
        "accuracy",
        "loss",
        "val_accuracy",
        "val_loss",
    ]
    made = model()
    made.compile("sgd", "mse", metrics=["mae", cornu.metrics.binary_accuracy])
    logs = made.fit(X, cornu.utils.to_categorical(Y), validation_split=0.5, verbose=0).history
    with pytest.warns(UserWarning, match="`val_mean_absolute_error` .* use `val_mae` instead"):
        assert logs["val_mean_absolute_error"] is logs["val_mae"]
    with pytest.warns(UserWarning, match="`acc` .* use `binary_accuracy` instead"):
        assert logs["acc"] is logs["binary_accuracy"]
    with pytest.raises(KeyError, match="auc"):
        history["auc"]


def test_compiled_steps_can_be_made_beforehand():
    trained = model()
    steps = [getattr(trained, f"make_{kind}_function") for kind in ("train", "test", "predict")]
    for make in steps:
        assert make() is make() is not make(force=True)
    trained.jax_state_sync()
    trained.fit(X, Y, verbose=0)
