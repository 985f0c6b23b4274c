from collections.abc import Mapping

import jax.numpy as jnp
import keras
import numpy as np
import pytest

from cornu import callbacks
from cornu.training.callback import HOOKS


def _record(hook):
    def method(self, *args, **kwargs):
        self.calls.append((hook, args, kwargs))

    return method


def recorder(*hooks):
    cls = type("Recorder", (callbacks.Callback,), {hook: _record(hook) for hook in hooks})
    made = cls()
    made.calls = []
    return made


def test_has_the_methods_of_keras():
    theirs = {name for name in dir(keras.callbacks.Callback) if name.startswith("on_")}
    assert set(HOOKS) == theirs


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_reaches_those_who_override_it(hook):
    listener, deaf = recorder(hook), recorder()
    both = callbacks.CallbackList([deaf, listener])
    number = [] if hook.count("_") == 2 and "epoch" not in hook and "batch" not in hook else [3]
    getattr(both, hook)(*number)
    assert [call[0] for call in listener.calls] == [hook]
    assert list(listener.calls[0][1][: len(number)]) == number
    logs = listener.calls[0][2].get("logs", listener.calls[0][1][-1])
    assert logs == {}
    assert deaf.calls == []


@pytest.mark.parametrize("moment", ["begin", "end"])
def test_older_names_hear_of_training_batches(moment):
    listener = recorder(f"on_batch_{moment}")
    both = callbacks.CallbackList([listener])
    assert both.has_train_batch_hooks and not both.has_test_batch_hooks
    getattr(both, f"on_train_batch_{moment}")(4, {"loss": 1.0})
    assert listener.calls == [(f"on_batch_{moment}", (4,), {"logs": {"loss": 1.0}})]


@pytest.mark.parametrize("kind", ["train", "test", "predict"])
@pytest.mark.parametrize("moment", ["begin", "end"])
def test_finds_callbacks_with_batch_hooks(kind, moment):
    quiet = callbacks.CallbackList([recorder("on_epoch_end")], add_history=True)
    heard = callbacks.CallbackList([recorder(f"on_{kind}_batch_{moment}")], add_history=True)
    for other in ("train", "test", "predict"):
        name = f"has_{other}_batch_hooks"
        assert getattr(quiet, name) is False
        assert getattr(heard, name) is (other == kind)


def test_functions_set_on_an_instance_count():
    seen = []
    callback = callbacks.LambdaCallback(on_batch_end=lambda batch, logs: seen.append(batch))
    both = callbacks.CallbackList([callback])
    assert both.has_train_batch_hooks
    both.on_train_batch_end(5, {})
    assert seen == [5]


def test_appended_callbacks_are_heard():
    both = callbacks.CallbackList()
    assert not both.has_test_batch_hooks
    listener = recorder("on_test_batch_end")
    both.append(listener)
    assert both.has_test_batch_hooks
    both.on_test_batch_end(0, {})
    assert len(listener.calls) == 1


class Unread(Mapping):
    def __getitem__(self, name):
        raise AssertionError("a value was read")

    def __iter__(self):
        return iter(["loss"])

    def __len__(self):
        return 1


def test_batch_logs_are_not_read_for_those_who_do_not_look(capsys):
    listener = recorder("on_train_batch_end")
    both = callbacks.CallbackList(
        [listener, callbacks.EarlyStopping(), callbacks.TensorBoard()],
        add_history=True,
        add_progbar=True,
        verbose=1,
        epochs=1,
        steps=2,
    )
    logs = Unread()
    both.on_train_batch_begin(0)
    both.on_train_batch_end(0, logs)
    assert listener.calls[0][2]["logs"] is logs


def test_epoch_logs_are_plain_floats_that_callbacks_share():
    class Adds(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["extra"] = 1.0

    given = {
        "loss": jnp.asarray(0.5),
        "accuracy": np.float32(0.25),
        "count": np.array([3]),
        "nested": {"inner": jnp.asarray([0.125])},
        "vector": np.array([1.0, 2.0]),
    }
    both = callbacks.CallbackList([Adds()], add_history=True, model=None)
    both.on_train_begin()
    both.on_epoch_end(2, given)
    history = both.callbacks[-1]
    assert history.epoch == [2]
    vector = history.history.pop("vector")
    np.testing.assert_array_equal(vector, [[1.0, 2.0]])
    expected = {"accuracy": 0.25, "count": 3.0, "loss": 0.5, "inner": 0.125, "extra": 1.0}
    assert history.history == {name: [value] for name, value in expected.items()}
    assert all(type(values[0]) is float for values in history.history.values())
    assert "extra" not in given


def test_default_callbacks(fake_model):
    def kinds(both):
        return [type(c).__name__ for c in both.callbacks]

    both = callbacks.CallbackList(add_history=True, add_progbar=True, model=fake_model)
    assert kinds(both) == ["History", "ProgbarLogger"]
    assert fake_model.history is both.callbacks[0]
    own = [callbacks.ProgbarLogger(), callbacks.History()]
    both = callbacks.CallbackList(own, add_history=True, add_progbar=True, model=fake_model)
    assert both.callbacks == own
    assert fake_model.history is own[1]
    single = callbacks.CallbackList(own[0], model=fake_model, epochs=3, verbose=2, steps=7)
    assert single.callbacks == [own[0]] and own[0].model is fake_model
    assert own[0].params == {"epochs": 3, "verbose": 2, "steps": 7}


@pytest.mark.parametrize("wrong", [callbacks.EarlyStopping, "early_stopping", print])
def test_things_that_are_no_callbacks(wrong):
    with pytest.raises(TypeError, match="must hold Callback objects"):
        callbacks.CallbackList([wrong])


def test_callbacks_of_keras_are_called():
    class Theirs(keras.callbacks.Callback):
        epochs = ()

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += (epoch,)

    theirs = Theirs()
    both = callbacks.CallbackList([theirs])
    both.on_epoch_end(1, {})
    assert theirs.epochs == (1,)
