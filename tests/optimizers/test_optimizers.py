"""Fifty steps of every optimizer, in many settings, against real Keras."""

import inspect

import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu
import cornu.constraints
import cornu.initializers
import cornu.optimizers
from cornu.core.variable import Variable

SETTINGS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"clipnorm": 0.5}),
    ("SGD", {"clipvalue": 0.3}),
    ("SGD", {"global_clipnorm": 0.7}),
    ("SGD", {"use_ema": True, "ema_momentum": 0.8}),
    ("SGD", {"use_ema": True, "ema_overwrite_frequency": 7}),
    ("SGD", {"gradient_accumulation_steps": 4}),
    ("SGD", {"loss_scale_factor": 8.0}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.01}),
    ("Adam", {"gradient_accumulation_steps": 3, "clipnorm": 1.0}),
    ("AdamW", {}),
    ("Adamax", {}),
    ("Nadam", {}),
    ("Adagrad", {}),
    ("Adadelta", {"learning_rate": 0.5}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.5, "centered": True}),
    ("Ftrl", {}),
    ("Ftrl", {"l1_regularization_strength": 0.01, "l2_regularization_strength": 0.02, "beta": 0.1}),
    ("Ftrl", {"l2_shrinkage_regularization_strength": 0.05}),
    ("Lion", {}),
    ("Lamb", {}),
    ("ScheduleFreeAdamW", {}),
    ("ScheduleFreeAdamW", {"warmup_steps": 20, "weight_decay": 0.01, "clipnorm": 1.0}),
    ("Adafactor", {}),
    ("Adafactor", {"relative_step": False, "weight_decay": 0.01}),
    ("Muon", {}),
    ("Muon", {"nesterov": False, "rms_rate": None, "exclude_layers": ["a"]}),
]
IDS = [f"{name}-{kwargs}" for name, kwargs in SETTINGS]
SHAPES = {"a": (3, 4), "b": (4,), "c": (2, 2, 3)}


def fifty_steps(module, variable_class, name, kwargs, steps=50):
    rng = np.random.default_rng(1)
    variables = [
        variable_class(rng.normal(size=s).astype("float32"), name=n) for n, s in SHAPES.items()
    ]
    optimizer = getattr(module, name)(**kwargs)
    optimizer.build(variables)
    for _ in range(steps):
        grads = [jnp.asarray(rng.normal(size=s).astype("float32")) for s in SHAPES.values()]
        optimizer.apply(grads, variables)
    return optimizer, variables


@pytest.mark.parametrize("name, kwargs", SETTINGS, ids=IDS)
def test_fifty_steps_are_keras(name, kwargs):
    ours, weights = fifty_steps(cornu.optimizers, Variable, name, kwargs)
    theirs, expected = fifty_steps(keras.optimizers, keras.Variable, name, kwargs)
    for mine, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), np.asarray(other.value), rtol=1e-5, atol=1e-6)
    shapes = [tuple(v.shape) for v in ours.variables]
    assert shapes == [tuple(v.shape) for v in theirs.variables]
    for mine, other in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), np.asarray(other.value), rtol=1e-4, atol=1e-6)
    ours.finalize_variable_values(weights)
    theirs.finalize_variable_values(expected)
    for mine, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), np.asarray(other.value), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name, kwargs", SETTINGS, ids=IDS)
def test_config_round_trip_and_pure_form(name, kwargs):
    ours, weights = fifty_steps(cornu.optimizers, Variable, name, kwargs, steps=2)
    theirs = getattr(keras.optimizers, name)(**kwargs).get_config()
    config = ours.get_config()
    assert {k: v for k, v in config.items() if k != "name"} == {
        k: v for k, v in theirs.items() if k != "name"
    }
    twin = type(ours).from_config(config)
    assert twin.get_config() == config
    described = cornu.optimizers.serialize(ours)
    assert cornu.optimizers.deserialize(described).get_config() == config
    grads = [jnp.ones(s) for s in SHAPES.values()]
    values = [jnp.array(w.value) for w in weights]
    state = [jnp.array(v.value) for v in ours.variables]
    new_values, new_state = ours.stateless_apply(state, grads, values)
    ours.apply(grads)
    for pure, live in zip([*new_values, *new_state], [*weights, *ours.variables], strict=True):
        np.testing.assert_array_equal(pure, live.numpy())


def test_every_optimizer_is_tested():
    left_out = {
        "LossScaleOptimizer",
        "MultiOptimizer",
        "OptimizerMap",
        "Optimizer",
    }
    public = {n for n in dir(keras.optimizers) if n[0].isupper()} - left_out
    assert public == {name for name, _ in SETTINGS}


def test_loss_scaling_skips_what_is_not_finite():
    v = Variable(np.ones(2, "float32"), name="v")
    optimizer = cornu.optimizers.LossScaleOptimizer(
        cornu.optimizers.SGD(0.5), initial_scale=4.0, dynamic_growth_steps=2
    )
    optimizer.apply([jnp.array([4.0, 8.0])], [v])
    assert v.numpy().tolist() == [0.5, 0.0]
    optimizer.apply([jnp.array([np.inf, 8.0])], [v])
    assert v.numpy().tolist() == [0.5, 0.0]
    assert float(optimizer.dynamic_scale) == 2.0
    for _ in range(2):
        optimizer.apply([jnp.zeros(2)], [v])
    assert float(optimizer.dynamic_scale) == 4.0
    assert float(optimizer.scale_loss(1.0)) == 4.0
    assert float(optimizer.scale_loss(jnp.float16(60000))) == 240000.0
    twin = cornu.optimizers.deserialize(cornu.optimizers.serialize(optimizer))
    assert isinstance(twin.inner_optimizer, cornu.optimizers.SGD)


def test_old_spellings_work_with_a_warning():
    with pytest.warns(UserWarning, match="use `learning_rate`"):
        optimizer = cornu.optimizers.SGD(lr=0.25)
    assert float(optimizer.learning_rate) == 0.25
    optimizer.learning_rate = 0.125
    assert float(optimizer.lr) == 0.125


def test_schedules_cannot_be_set_and_follow_the_steps():
    schedule = cornu.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 0.25])
    optimizer = cornu.optimizers.SGD(schedule)
    v = Variable(0.0)
    for _ in range(3):
        optimizer.apply([jnp.asarray(1.0)], [v])
    assert float(v) == -2.25
    with pytest.raises(TypeError, match="not settable"):
        optimizer.learning_rate = 0.1
    assert cornu.optimizers.deserialize(cornu.optimizers.serialize(optimizer)).learning_rate == 1.0


def test_constraints_and_weight_decay_exclusions():
    v, w = Variable([-1.0, 1.0], name="kernel"), Variable([1.0], name="bias")
    v.constraint = cornu.constraints.NonNeg()
    optimizer = cornu.optimizers.SGD(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([jnp.zeros(2), jnp.zeros(1)], [v, w])
    assert (v.numpy().tolist(), w.numpy().tolist()) == ([0.0, 0.75], [1.0])


def test_errors():
    with pytest.raises(ValueError, match="Only one of `clipnorm`, `clipvalue`"):
        cornu.optimizers.Adam(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ValueError, match="should be float"):
        cornu.optimizers.Adam("fast")
    with pytest.raises(ValueError, match=r"Unknown optimizer: 'adm'. Did you mean 'Adam'"):
        cornu.optimizers.get("adm")
    v, w = Variable(0.0, name="v"), Variable(0.0, name="w")
    optimizer = cornu.optimizers.SGD()
    with pytest.raises(ValueError, match="No gradients provided"):
        optimizer.apply([None], [v])
    with pytest.raises(ValueError, match="Unknown variable: w"):
        optimizer.apply([jnp.asarray(1.0)], [w])


def test_optax_transformations():
    optax = pytest.importorskip("optax")
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 4)).astype("float32")
    v = Variable(start, name="v")
    optimizer = cornu.optimizers.get(optax.chain(optax.clip(0.5), optax.adam(0.1)))
    transformation = optax.chain(optax.clip(0.5), optax.adam(0.1))
    expected, state = jnp.asarray(start), transformation.init(jnp.asarray(start))
    for _ in range(5):
        grad = jnp.asarray(rng.normal(size=(3, 4)).astype("float32"))
        optimizer.apply([grad], [v])
        update, state = transformation.update(grad, state, expected)
        expected = optax.apply_updates(expected, update)
    np.testing.assert_allclose(v.numpy(), expected, rtol=1e-6)


SCHEDULES = [
    ("ExponentialDecay", (0.1, 7, 0.9), {}),
    ("ExponentialDecay", (0.1, 7, 0.9), {"staircase": True}),
    ("InverseTimeDecay", (0.1, 7, 0.9), {}),
    ("InverseTimeDecay", (0.1, 7, 0.9), {"staircase": True}),
    ("PiecewiseConstantDecay", ([3, 9, 20], [0.1, 0.05, 0.02, 0.01]), {}),
    ("PolynomialDecay", (0.1, 11), {"power": 2.0}),
    ("PolynomialDecay", (0.1, 11), {"cycle": True}),
    ("CosineDecay", (0.1, 20), {"alpha": 0.1}),
    ("CosineDecay", (0.0, 20), {"warmup_target": 0.1, "warmup_steps": 6}),
    ("CosineDecayRestarts", (0.1, 6), {}),
    ("CosineDecayRestarts", (0.1, 6), {"t_mul": 1.0, "m_mul": 0.7, "alpha": 0.1}),
]


@pytest.mark.parametrize("name, args, kwargs", SCHEDULES, ids=lambda v: str(v))
def test_schedules_are_keras(name, args, kwargs):
    ours = getattr(cornu.optimizers.schedules, name)(*args, **kwargs)
    theirs = getattr(keras.optimizers.schedules, name)(*args, **kwargs)
    steps = range(45)
    np.testing.assert_allclose(
        [float(ours(s)) for s in steps], [float(theirs(s)) for s in steps], rtol=1e-5, atol=1e-8
    )
    config = ours.get_config()
    assert config == theirs.get_config()
    assert (
        cornu.optimizers.schedules.deserialize(
            cornu.optimizers.schedules.serialize(ours)
        ).get_config()
        == config
    )


def test_every_schedule_is_tested():
    public = {n for n in dir(keras.optimizers.schedules) if n[0].isupper()}
    assert public == {name for name, _, _ in SCHEDULES} | {"LearningRateSchedule"}


@pytest.mark.parametrize("module", [cornu, keras])
def test_hooks_of_optimizers_may_be_overridden(module):
    class Own(module.optimizers.Optimizer):
        def build(self, variables):
            super().build(variables)
            self.sums = [self.add_variable_from_reference(v, "sum") for v in variables]
            own = self.add_variable((2,), "ones", "int32", "none", None, "own")
            assert own.name == "own" and own.dtype == "int32"

        def update_step(self, gradient, variable, learning_rate):
            total = self.sums[self._get_variable_index(variable)]
            self.assign_add(total, gradient)
            self.assign_sub(variable, learning_rate * total)

        def _apply_weight_decay(self, variables):
            for variable in variables:
                variable.assign(variable / 2)

    variable = module.Variable(np.array([4.0, 8.0], "float32"))
    optimizer = Own(learning_rate=0.5, weight_decay=0.1)
    for _ in range(2):
        optimizer.apply_gradients([(jnp.ones(2), variable)])
    # 4 / 2 - 0.5 = 1.5; 1.5 / 2 - 0.5 * 2 = -0.25
    np.testing.assert_allclose(variable.numpy(), [-0.25, 0.75])


@pytest.mark.parametrize("rate", [-0.1, float("nan"), np.float32(-1)])
def test_a_learning_rate_is_not_negative(rate):
    with pytest.raises(ValueError, match="`learning_rate` must be a number of at least 0"):
        cornu.optimizers.SGD(rate)
    optimizer = cornu.optimizers.SGD(0.5)
    with pytest.raises(ValueError, match="`learning_rate` must be a number of at least 0"):
        optimizer.learning_rate = rate
    assert float(optimizer.learning_rate) == 0.5
    optimizer.learning_rate = 0


@pytest.mark.parametrize("name", sorted({name for name, _ in SETTINGS}))
def test_arguments_by_position_are_those_of_keras(name):
    ours, theirs = getattr(cornu.optimizers, name), getattr(keras.optimizers, name)
    signatures = [inspect.signature(cls.__init__) for cls in (ours, theirs)]
    assert str(signatures[0]) == str(signatures[1])
    defaults = [p.default for p in list(signatures[0].parameters.values())[1:-1]]
    defaults[list(signatures[0].parameters).index("clipnorm") - 1] = 2.5
    config = ours(*defaults).get_config()
    assert config["clipnorm"] == 2.5
    assert ours.from_config(config).get_config() == config
    with pytest.raises(TypeError, match="takes at most"):
        ours(*defaults, 1)
    with pytest.raises(TypeError, match="several values for argument 'learning_rate'"):
        ours(0.1, learning_rate=0.1)


def test_legacy_optimizers_are_those_of_today_with_decay():
    with pytest.warns(UserWarning, match="use `optimizers.SGD` instead"):
        old = cornu.optimizers.legacy.SGD(0.5, momentum=0.9, decay=0.1)
    assert type(old) is cornu.optimizers.SGD and old.momentum == 0.9
    variable = Variable([1.0])
    for step in range(3):
        assert float(old.learning_rate) == pytest.approx(0.5 / (1 + 0.1 * step))
        old.apply([jnp.ones(1)], [variable])
    with pytest.warns(UserWarning, match="old spelling"):
        assert float(cornu.optimizers.legacy.Adam(lr=0.25).learning_rate) == 0.25
