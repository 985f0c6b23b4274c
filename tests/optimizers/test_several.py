"""Several optimizers for one model, against real Keras."""

import jax.experimental.sparse
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu
from cornu import optimizers

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def by_path(k, **kwargs):
    """An optimizer of three, one of which has nothing to do."""
    first = k.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.5, name="first")
    unused = k.optimizers.RMSprop(0.01, name="unused")
    chosen = k.optimizers.OptimizerMap(
        k.optimizers.Adam(0.05, clipnorm=1.0, name="others"), {".*first/.*": first, "no/.*": unused}
    )
    return k.optimizers.MultiOptimizer(chosen, **kwargs)


def trained(k, optimizer, *callbacks):
    k.utils.set_random_seed(1)
    model = k.Sequential(
        [k.Input((3,)), k.layers.Dense(4, name="first"), k.layers.Dense(1, name="last")]
    )
    model.compile(optimizer, "mse")
    history = model.fit(X, Y, 8, epochs=3, verbose=0, shuffle=False, callbacks=list(callbacks))
    return model, history.history


@pytest.mark.parametrize("scaled", [False, True])
def test_three_optimizers_train_as_in_keras(scaled, tmp_path):
    runs = {}
    for k in (keras, cornu):
        optimizer = by_path(k, loss_scale_factor=2.0)
        if scaled:
            optimizer = k.optimizers.LossScaleOptimizer(optimizer)
        # Keras' own callbacks that know several optimizers do not look into a `LossScaleOptimizer`.
        changes = [] if scaled else [
            k.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
            k.callbacks.ReduceLROnPlateau(monitor="loss", min_delta=9.0, patience=1, cooldown=1),
            k.callbacks.SwapEMAWeights(),
        ]  # fmt: skip
        runs[k] = trained(k, optimizer, *changes)
    (theirs, expected), (ours, found) = runs[keras], runs[cornu]
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, err_msg=name)
    for mine, other in zip(
        [*ours.weights, *ours.optimizer.variables],
        [*theirs.weights, *theirs.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_allclose(mine.numpy(), np.asarray(other.value), rtol=1e-4, atol=1e-6)
    # Each takes the other's file, and goes on from the same state.
    theirs.save(tmp_path / "theirs.keras")
    ours.save(tmp_path / "ours.keras")
    again = cornu.saving.load_model(tmp_path / "theirs.keras")
    back = keras.saving.load_model(tmp_path / "ours.keras")
    losses = [model.train_on_batch(X, Y) for model in (ours, again, back, back, again)]
    np.testing.assert_allclose(losses[:3], losses[0], rtol=1e-4)
    np.testing.assert_allclose(losses[3], losses[4], rtol=1e-4)


def test_a_function_may_choose():
    chosen = {"kernel": optimizers.SGD(0.02), "bias": optimizers.SGD(0.0)}
    optimizer = optimizers.MultiOptimizer(lambda variable: chosen[variable.name])
    model, history = trained(cornu, optimizer)
    assert optimizer.optimizers == [chosen["kernel"], chosen["bias"]]
    assert "learning_rate" not in history and history["loss"][-1] < history["loss"][0]
    assert int(optimizer.iterations) == int(chosen["bias"].iterations) == 6
    # A learning rate that changes is no constant of the compiled step.
    chosen["kernel"].learning_rate = 0.0
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    weights = optimizer.get_weights()
    optimizer.set_weights([w + 1 for w in weights])
    assert int(chosen["kernel"].iterations) == weights[2] + 1


def test_mistakes_with_several_optimizers_are_named():
    sgd = optimizers.SGD()
    found = optimizers.OptimizerMap(sgd, {".*kernel": sgd})
    found[".*dense.*"] = optimizers.Adam()
    for problem, call in (
        ("Multiple optimizers.*'.\\*kernel', '.\\*dense", lambda: found["dense/kernel"]),
        ("in the OptimizerMap already", lambda: found.update({".*kernel": sgd})),
        ("must be a string", lambda: found.update({3: sgd})),
        ("must be an optimizer", lambda: found.update({"a": "adam"})),
        (
            "cannot be a LossScale",
            lambda: found.update({"a": optimizers.LossScaleOptimizer(optimizers.SGD())}),
        ),
        (
            "optimizer of v cannot be a Multi",
            lambda: optimizers.MultiOptimizer(lambda v: optimizers.MultiOptimizer(found)).build(
                [cornu.Variable([1.0], name="v")]
            ),
        ),
        ("OptimizerMap", lambda: optimizers.MultiOptimizer({"a": sgd})),
        ("must be an optimizer", lambda: optimizers.OptimizerMap("sgd")),
        ("must be a dictionary", lambda: optimizers.OptimizerMap(sgd, [sgd])),
    ):
        with pytest.raises((ValueError, TypeError), match=problem):
            call()
    for call in (
        lambda: optimizers.MultiOptimizer(found).learning_rate,
        lambda: setattr(optimizers.MultiOptimizer(found), "learning_rate", 1.0),
    ):
        with pytest.raises(AttributeError, match="no learning rate of its own"):
            call()
    assert len(found) == 2 and list(found) == [".*kernel", ".*dense.*"]
    del found[".*kernel"]
    assert found["dense/kernel"].name == "adam"


def test_what_belongs_to_the_inner_optimizer_is_refused():
    older = {"use_ema": False, "clipnorm": None, "ema_momentum": 0.99}
    config = {**optimizers.LossScaleOptimizer(optimizers.SGD()).get_config(), **older}
    assert optimizers.LossScaleOptimizer.from_config(config).get_config() == {
        name: value for name, value in config.items() if name not in older
    }
    for arguments, problem in (
        ({"clipnorm": 1.0}, "set `clipnorm` on the `inner_optimizer`"),
        ({"dynamic": False}, "set `loss_scale_factor`"),
        ({"foo": 1, "bar": 2}, "arguments: `foo`, `bar`"),
    ):
        with pytest.raises(ValueError, match=problem):
            optimizers.LossScaleOptimizer(optimizers.SGD(), **arguments)
    with pytest.raises(ValueError, match="scaled twice"):
        optimizers.LossScaleOptimizer(optimizers.LossScaleOptimizer(optimizers.SGD()))


def test_gradients_that_replace_their_variable_accumulate_their_largest_numbers():
    steps = {}
    for k in (keras, cornu):
        scale, weight = (k.Variable([1.0, 2.0]) for _ in range(2))
        scale.overwrite_with_gradient = True
        optimizer = k.optimizers.SGD(1.0, gradient_accumulation_steps=2)
        optimizer.build([scale, weight])
        steps[k] = []
        for numbers in ([3.0, 1.0], [2.0, 5.0], [1.0, 1.0]):
            optimizer.apply([jnp.asarray(numbers)] * 2)
            steps[k].append([scale.numpy(), weight.numpy()])
    np.testing.assert_allclose(steps[cornu], [[np.asarray(v) for v in s] for s in steps[keras]])


def test_names_and_kinds_of_arguments():
    class Mine(optimizers.SGD):
        changed = 0

        def assign(self, variable, value):
            Mine.changed += 1
            super().assign(variable, value)

    weight = cornu.Variable([[1.0, 2.0], [3.0, 4.0]])
    optimizer = optimizers.deserialize(
        {"class_name": "Mine", "config": Mine(0.5, momentum=0.9).get_config()}, {"Mine": Mine}
    )
    optimizer.build(var_list=[weight])
    with pytest.raises(TypeError, match="needs the weights"):
        optimizer.build()
    gradient = jax.experimental.sparse.BCOO.fromdense(jnp.array([[0.0, 1.0], [0.0, 0.0]]))
    optimizer.apply([gradient])
    np.testing.assert_allclose(weight, [[1.0, 1.5], [3.0, 4.0]])
    assert Mine.changed == 2
    scaled = optimizers.LossScaleOptimizer(optimizers.SGD(0.5), initial_scale=1.0)
    scaled.apply([gradient], [weight])
    np.testing.assert_allclose(weight, [[1.0, 1.0], [3.0, 4.0]])
    assert not scaled.check_finite([None, jnp.array([jnp.inf])])
    dense = cornu.ops.convert_to_tensor(gradient, sparse=False)
    np.testing.assert_array_equal(dense, gradient.todense())
    config = Mine(learning_rate=Twice(0.25)).get_config()
    twin = Mine.from_config(config, custom_objects={"Twice": Twice})
    assert float(twin.learning_rate) == 0.5
    # A model of which nothing is trained.
    empty = optimizers.Nadam()
    empty.build([])
    assert len(empty.variables) == 3


def test_a_step_of_muon_in_parts():
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(2, 4, 3)).astype("float32")
    ours, theirs = (k.optimizers.Muon(rms_rate=0.3) for k in (cornu, keras))
    for x in (matrices, matrices[0], matrices[0].T):
        for part, more in (
            ("zeropower_via_newtonschulz5", (3,)),
            ("transpose_last_axis", ()),
            ("lr_adjust", ()),
        ):
            found, expected = (getattr(o, part)(jnp.asarray(x), *more) for o in (ours, theirs))
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="takes matrices"):
        ours.zeropower_via_newtonschulz5(matrices[0, 0], 3)


class Twice(optimizers.schedules.LearningRateSchedule):
    """Twice a number."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return 2 * self.rate

    def get_config(self):
        return {"rate": self.rate}


def test_what_did_no_step_is_loaded_without_a_warning(tmp_path):
    model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(1)])
    model.compile(optimizers.LossScaleOptimizer(optimizers.Adam()), "mse")
    model.save(tmp_path / "m.keras")
    loaded = cornu.saving.load_model(tmp_path / "m.keras")
    loaded.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    assert int(loaded.optimizer.iterations) == 1
    loaded.save(tmp_path / "m.keras")
    assert int(cornu.saving.load_model(tmp_path / "m.keras").optimizer.iterations) == 1
