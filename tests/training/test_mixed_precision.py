"""Training in 16 bits beside Keras' and beside float32, and what a resumed run has of the loss scale."""

import keras
import numpy as np
import pytest

import cornu
from cornu.core import kernels
from cornu.ops import fixed_order, fusion

RNG = np.random.default_rng(0)
X = RNG.random((128, 8, 8, 2), "float32")
Y = RNG.integers(0, 10, len(X))


def network(k, policy, optimizer, last="float32"):
    """Compiled, with the same first weights in either library."""
    k.utils.set_random_seed(0)
    layers = k.layers
    make = [
        layers.Conv2D(8, 3, activation="relu", dtype=policy),
        layers.MaxPooling2D(2, dtype=policy),
        layers.Flatten(dtype=policy),
        layers.Dense(16, activation="relu", dtype=policy),
        layers.Dense(10, activation="softmax", dtype=last),
    ]
    model = k.Sequential([k.Input(X.shape[1:]), *make])
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def gradients(k, policy, last):
    """What one step of SGD takes off the weights."""
    model = network(k, policy, k.optimizers.SGD(1.0), last)
    before = model.get_weights()
    model.train_on_batch(X[:32], Y[:32])
    return [old - new for old, new in zip(before, model.get_weights(), strict=True)]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_gradients_are_as_near_to_those_of_float32_as_in_keras(policy):
    true = gradients(keras, "float32", "float32")

    def errors(k, last):
        found = gradients(k, policy, last)
        return [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, true, strict=True)]

    for last in ("float32", policy):
        ours, theirs = errors(cornu, last), errors(keras, last)
        # Which of a few numbers are rounded luckily differs: sums and softmax are not rounded here.
        assert all(a <= 2 * b for a, b in zip(ours, theirs, strict=True)), (ours, theirs)


def steps(k, initial, growth, count=40):
    """Scale, good steps since it changed, and updates, after each step."""
    optimizer = k.optimizers.LossScaleOptimizer(k.optimizers.Adam(), initial, growth)
    model = network(k, "mixed_float16", optimizer)
    found = []
    for step in range(count):
        rows = np.arange(16 * step, 16 * step + 16) % len(X)
        model.train_on_batch(X[rows], Y[rows])
        state = optimizer.dynamic_scale, optimizer.step_counter, optimizer.iterations
        found.append(tuple(float(np.asarray(value)) for value in state))
    return found


def test_the_loss_scale_is_that_of_keras_step_by_step(monkeypatch):
    """With XLA's own operations, as in Keras; the kernels sum in float32, which overflows later."""
    for module in (kernels, fixed_order, fusion):
        monkeypatch.setattr(module, "native", lambda: kernels.Native(False, None, "a test"))
    ours = steps(cornu, 2.0**22, 3)
    assert ours == steps(keras, 2.0**22, 3)
    # It fell and rose, and steps were left out.
    scales = [scale for scale, *_ in ours]
    assert min(scales) < 2.0**18 and any(np.diff(scales) > 0) and ours[-1][2] < len(ours)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("how", ["backup", "file", "weights"])
def test_a_resumed_run_equals_one_without_interruption_to_the_bit(how, tmp_path):
    """Stopped in the second epoch, or between epochs, while gradients overflow now and then."""

    def make():
        optimizer = cornu.optimizers.LossScaleOptimizer(cornu.optimizers.Adam(), 2.0**22, 3)
        return network(cornu, "mixed_float16", optimizer)

    def fit(model, first, last, *callbacks):
        model.fit(X, Y, 16, last, 0, list(callbacks), initial_epoch=first, shuffle=False)

    def state(model):
        return [*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)]

    def stop(batch, logs):
        stopped.append(batch)
        if len(stopped) == 13:
            raise Stopped

    whole, model, stopped = make(), make(), []
    fit(whole, 0, 4)
    path = tmp_path / ("model.weights.h5" if how == "weights" else "model.keras")
    if how == "backup":
        backup = {"backup_dir": tmp_path / "backup", "save_freq": 2}
        with pytest.raises(Stopped):
            halt = cornu.callbacks.LambdaCallback(on_train_batch_end=stop)
            fit(model, 0, 4, cornu.callbacks.BackupAndRestore(**backup), halt)
        model = make()
        fit(model, 0, 4, cornu.callbacks.BackupAndRestore(**backup))
    else:
        save_weights = how == "weights"
        keep = cornu.callbacks.ModelCheckpoint(path, save_weights_only=save_weights)
        fit(model, 0, 2, keep)
        model = make() if save_weights else cornu.saving.load_model(path)
        if save_weights:
            model.load_weights(path)
        fit(model, 2, 4)
    assert int(whole.optimizer.iterations) < 4 * 8
    for one, other in zip(state(whole), state(model), strict=True):
        np.testing.assert_array_equal(one, other)
