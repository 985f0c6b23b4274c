"""Training that is watched: what is seen, the commands it takes, and that it changes nothing."""

import threading
import time

import numpy as np
import pytest
from asking import Visitor

import cornu
from cornu import explain
from cornu.callbacks import Callback
from cornu.explorer import Examples, Network, Runs, Server, Watch


def model_like(digits):
    cornu.utils.set_random_seed(1)
    model = cornu.models.clone_model(digits[0])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_what_is_seen(digits):
    model, (_, x, y) = model_like(digits), digits
    watch = Watch(Network(model), x[:10], y[:10])
    assert watch.state()["status"] == "waiting"
    kept = model.fit(x, y, epochs=6, validation_split=0.2, callbacks=[watch], verbose=0)
    state = watch.state()
    assert state["status"] == "finished" and state["epochs"] == 6
    for name, values in kept.history.items():
        assert [row[name] for row in state["rows"]] == pytest.approx(values)
    assert state["labels"] == y[:10].tolist() and len(state["predicted"]) == 4
    answers = model.predict(x[:10], verbose=0)
    assert state["predicted"][-1] == answers.argmax(-1).tolist()
    np.testing.assert_allclose(state["probability"], answers.max(-1), atol=1e-6)
    better = state["more_is_better"]
    assert (better["val_loss"], better["accuracy"], better["epoch"]) == (False, True, None)
    told, (kernels,) = watch.filters()
    assert told["layer"] == "first"
    np.testing.assert_array_equal(
        kernels, explain.filters(model, "first")[:, :, 0].transpose(2, 0, 1)
    )


def test_what_weights_look_like(digits):
    model, (_, x, y) = model_like(digits), digits
    watch = Watch(Network(model), x[:90], y[:90])
    assert watch.network.count_outputs() >= 12 * 12 * 4 + 6 * 6 * 4 + 4 * 4 * 6 * 2 + 3
    model.fit(x, y, epochs=2, callbacks=[watch], verbose=0)
    told = watch.histograms()
    assert told["judged"] == 90 and [row["epoch"] for row in told["rows"]] == [1, 2]
    row = told["rows"][-1]
    kernels = [v for v in model.trainable_variables if len(v.shape) > 1]
    slopes = explain.gradients(model, x[:64], y[:64])
    for entry, kernel in zip(row["weights"], kernels, strict=True):
        values, gradients = kernel.numpy().ravel(), slopes[kernel.path].ravel()
        assert entry["name"] == kernel.path and entry["values"]["low"] == values.min()
        assert entry["values"]["counts"] == np.histogram(values, 48)[0].tolist()
        assert entry["gradients"]["high"] == pytest.approx(gradients.max(), rel=1e-4)
        assert sum(entry["gradients"]["counts"]) == gradients.size
        assert 0 < entry["change"] < 1
    assert row["dead"] == pytest.approx(explain.dead_relus(model, x[:64])) and row["since"] == 1
    chosen = model.predict(x[:90], verbose=0).argmax(1)
    counts = np.array(told["matrices"][-1]["counts"])
    assert counts.sum() == 90 and counts.trace() == (chosen == y[:90]).sum()
    assert counts[1, 2] == ((y[:90] == 1) & (chosen == 2)).sum()
    for flip, label in zip(told["flips"], told["labels"], strict=True):
        assert flip["now"] == chosen[flip["number"]] != flip["before"]
        assert label == y[flip["number"]]
    assert not watch.histograms(2)["rows"] and len(watch.histograms(1)["matrices"]) == 1
    assert len(watch.state(1)["rows"]) == 1
    _, (images,) = watch.followed((80, 3))
    np.testing.assert_array_equal(images, x[[80, 3]])
    with pytest.raises(ValueError, match="90 examples"):
        watch.followed((90,))


def test_the_same_bits_with_and_without(digits):
    weights = []
    for watched in (False, True):
        model = model_like(digits)
        found = [Watch(Network(model), digits[1][:5], digits[2][:5])] if watched else []
        if found:
            found[0].state()
            found[0].histograms()
        model.fit(*digits[1:], epochs=2, batch_size=16, callbacks=found, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


class InThread(threading.Thread):
    """A training in a thread of its own, as the browser is another program."""

    def __init__(self, model, data, callbacks, **options):
        super().__init__(daemon=True)
        self.work = lambda: model.fit(*data, callbacks=callbacks, verbose=0, **options)

    def run(self):
        self.work()


def test_pause_and_stop(digits):
    model, (_, x, y) = model_like(digits), digits
    network = Network(model)
    watch = Watch(network, x[:4], y[:4])
    with Server(network, Examples(x, y), watch) as server:
        owner, viewer = Visitor(server.link), Visitor(server.viewer_link)
        assert owner.json("GET", "/api/model")["is_training"]
        training = InThread(model, (x, y), [watch], epochs=100_000)
        training.start()
        wait_for(lambda: len(viewer.json("GET", "/api/training")["rows"]) > 2)
        assert viewer.refusal("POST", "/api/training?action=pause")[0] == 403
        assert owner.json("POST", "/api/training?action=pause")["wants_pause"]
        wait_for(lambda: viewer.json("GET", "/api/training")["status"] == "paused")
        rows = len(viewer.json("GET", "/api/training")["rows"])
        weights = [w.copy() for w in model.get_weights()]
        time.sleep(0.3)
        assert len(viewer.json("GET", "/api/training")["rows"]) == rows
        for a, b in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        # While it stands still, the page shows the weights as they are.
        told, _ = viewer.arrays("POST", "/api/run", x[0].astype("<f4").tobytes())
        np.testing.assert_allclose(told["outputs"], model.predict(x[:1], verbose=0)[0], atol=1e-6)
        assert viewer.arrays("GET", "/api/filters")[0]["shape"] == [4, 3, 3]
        assert viewer.arrays("GET", "/api/followed")[0]["shape"] == [4, 12, 12, 1]
        # The next batches, and it stands still again.
        assert "trained here" in viewer.json("GET", "/api/model")["no_batches"]
        seen = viewer.json("GET", "/api/training")["now"]
        owner.json("POST", "/api/training?action=step")
        wait_for(lambda: viewer.json("GET", "/api/training")["now"] != seen)
        wait_for(lambda: viewer.json("GET", "/api/training")["status"] == "paused")
        assert not np.array_equal(weights[0], model.get_weights()[0])
        owner.json("POST", "/api/training?action=resume")
        wait_for(lambda: len(viewer.json("GET", "/api/training")["rows"]) > rows)
        assert owner.refusal("POST", "/api/training?action=explode")[0] == 400
        owner.json("POST", "/api/training?action=stop")
        training.join(60)
        assert not training.is_alive()
        assert viewer.json("GET", "/api/training")["status"] == "stopped"


def test_within_an_epoch(digits):
    """An observer sees how far a long epoch has come; a page draws it, too."""
    model, (_, x, y) = model_like(digits), digits
    watch = Watch(Network(model))
    times = 20_000
    long = np.tile(x[:8], (times, 1, 1, 1)), np.tile(y[:8], times)
    training = InThread(model, long, [watch], epochs=2, batch_size=8)
    training.start()
    wait_for(lambda: watch.state()["now"].get("logs"))
    state = watch.state()
    assert 0 < state["now"]["step"] <= state["steps"] == times and not state["rows"]
    assert set(state["now"]["logs"]) == {"loss", "accuracy"}
    watch.control("stop")
    training.join(60)
    assert not training.is_alive()


def test_stop_ends_a_pause(digits):
    model, (_, x, y) = model_like(digits), digits
    watch = Watch(Network(model))
    watch.control("pause")
    training = InThread(model, (x, y), [watch], epochs=100_000)
    training.start()
    wait_for(lambda: watch.state()["status"] == "paused")
    watch.control("stop")
    training.join(60)
    assert not training.is_alive() and watch.state()["wants_end"]
    # The next training is not stopped by that, and its epochs follow.
    done = len(watch.state()["rows"])
    model.fit(x, y, epochs=2, callbacks=[watch], verbose=0)
    state = watch.state(done)
    assert state["status"] == "finished" and state["epochs"] == done + 2
    assert [row["epoch"] for row in state["rows"]] == [done + 1, done + 2]
    # Going on as Keras does it counts no epoch twice.
    model.fit(x, y, initial_epoch=done + 2, epochs=done + 3, callbacks=[watch], verbose=0)
    assert [row["epoch"] for row in watch.state(done + 2)["rows"]] == [done + 3]
    assert watch.state()["epochs"] == done + 3
    # Where each `fit` began, to lay their curves over each other.
    assert watch.state()["fits"] == [0, done, done + 2]


def test_asking_while_it_trains(digits):
    """The arrays that a step gives away are never read."""
    model, (_, x, y) = model_like(digits), digits
    network = Network(model)
    watch = Watch(network, x[:4], y[:4])
    problems = []

    class Asker(Callback):
        def on_train_begin(self, logs=None):
            self.thread = threading.Thread(target=self.ask)
            self.goes_on = True
            self.thread.start()

        def on_train_end(self, logs=None):
            self.goes_on = False
            self.thread.join()

        def ask(self):
            n = 0
            while self.goes_on:
                n += 1
                try:
                    watch.state()
                    network.run(x[n % 50])
                    network.window(x[n % 50], 2, (1, 1), 0)
                    network.class_map(x[n % 50], "saliency", None)
                except Exception as error:
                    problems.append(error)
                    return

    model.fit(x, y, epochs=150, batch_size=4, callbacks=[watch, Asker()], verbose=0)
    assert not problems


def test_a_loss_that_is_no_number(digits):
    model, (_, x, y) = model_like(digits), digits
    model.compile(cornu.optimizers.SGD(1e30), "sparse_categorical_crossentropy")
    watch = Watch(Network(model), x[:4], y[:4])
    with Server(watch.network, watch=watch) as server:
        model.fit(x, y, epochs=3, callbacks=[watch], verbose=0)
        state = Visitor(server.link).json("GET", "/api/training")
    assert state["rows"][-1]["loss"] == "nan"


def test_runs_to_compare(tmp_path):
    """From histories and files, with epochs from 1 on; a file that grows is read again."""
    x, y = np.arange(8.0).reshape(8, 1), np.arange(8.0)
    model = cornu.Sequential([cornu.Input((1,)), cornu.layers.Dense(1)])
    model.compile("sgd", "mse")
    log = cornu.callbacks.CSVLogger(tmp_path / "log.csv")
    kept = model.fit(
        x, y, epochs=4, validation_data=(x, y), validation_freq=2, callbacks=[log], verbose=0
    )
    (tmp_path / "run").mkdir()
    written = tmp_path / "run" / "history.csv"
    written.write_text("epoch,loss,val_loss,seconds\n1,2.5,3.5,0.1\n")
    runs = Runs([kept, {"loss": [2, 1]}, tmp_path / "log.csv", written.parent])
    first, second, logged, folder = runs.told()
    assert [run["name"] for run in runs.told()[:2]] == ["run 1", "run 2"]
    assert first["epochs"] == logged["epochs"] == [1, 2, 3, 4] and second["epochs"] == [1, 2]
    assert first["values"]["loss"] == pytest.approx(kept.history["loss"])
    assert logged["values"]["loss"] == pytest.approx(kept.history["loss"])
    # Each value at its own epoch.
    assert first["values"]["val_loss"][1::2] == pytest.approx(kept.history["val_loss"])
    assert np.isnan(first["values"]["val_loss"][::2]).all()
    assert folder["name"] == str(tmp_path / "run")
    assert folder["values"] == {"loss": [2.5], "val_loss": [3.5]}
    written.write_text("epoch,loss,val_loss,seconds\n1,2.5,3.5,0.1\n2,1.5,,0.1\n")
    grown = runs.told()[3]
    assert grown["epochs"] == [1, 2] and grown["values"]["loss"] == [2.5, 1.5]
    # What is being written does not take away what was there.
    written.write_text("epoch,loss\n1,0.5\n2,0.")
    assert runs.told()[3]["values"]["loss"] == [0.5, 0.0]
    written.write_text("epo")
    assert runs.told()[3]["epochs"] == grown["epochs"]
    named = Runs({"slow": kept, "quick": kept.history})
    assert [run["name"] for run in named.told()] == ["slow", "quick"] and len(Runs()) == 0
    for wrong, says in (
        (tmp_path / "none", "There is no"),
        ([written], "damaged"),
        ({"a": 3}, "a=3"),
        ([{"loss": 3}], "run 1"),
        ([kept] * 25, "At most 24"),
    ):
        with pytest.raises(ValueError, match=says):
            Runs(wrong)
