import functools
import inspect
import json
import operator
import threading

import keras
import numpy as np
import pytest

import cornu
from cornu.core import registry
from cornu.core.configurable import Configurable
from cornu.core.naming import auto_name
from cornu.core.random import SeedGenerator


@registry.register("gadget", "BigGadget", "big", module="keras.gadgets")
class BigGadget(Configurable):
    def __init__(self, size=3, parts=(1, 2), inner=None):
        self.size, self.parts, self.inner = size, parts, inner


class SmallGadget(BigGadget):
    def __init__(self, colour, **kwargs):
        super().__init__(**kwargs)
        self.colour = colour


def test_names_and_nearest_names():
    assert isinstance(registry.get("gadget", "big_gadget"), BigGadget)
    assert isinstance(registry.get("gadget", "big"), BigGadget)
    assert registry.get("gadget", None) is None
    with pytest.raises(ValueError, match=r"Unknown gadget: 'bgi'. Did you mean 'big'"):
        registry.get("gadget", "bgi")
    with pytest.raises(ValueError, match="Could not interpret gadget identifier: 3"):
        registry.get("gadget", 3)


def test_config_round_trip_keeps_tuples_and_inner_objects():
    gadget = BigGadget(parts=(1, (2, 3)), inner=BigGadget(size=np.int64(4)))
    config = gadget.get_config()
    assert config["parts"] == (1, (2, 3))
    assert config["inner"]["class_name"] == "BigGadget"
    twin = BigGadget.from_config(config)
    assert twin.get_config() == config and twin.inner.size == 4


def test_arguments_passed_on_are_part_of_the_config():
    gadget = SmallGadget("red", size=5)
    assert gadget.get_config() == {"colour": "red", "size": 5, "parts": (1, 2), "inner": None}
    with pytest.raises(TypeError, match="no argument named 'weight'"):
        SmallGadget.from_config({"colour": "red", "weight": 3})


def test_only_registered_names_are_found():
    description = registry.serialize(SmallGadget("red"))
    with pytest.raises(ValueError, match="'SmallGadget'"):
        registry.deserialize(description)
    assert registry.deserialize(description, {"SmallGadget": SmallGadget}).colour == "red"
    with pytest.raises(ValueError, match="not registered"):
        registry.deserialize(
            {"module": "os", "class_name": "system", "config": {}, "registered_name": None}
        )
    with pytest.raises(ValueError, match="not registered"):
        registry.deserialize({"class_name": "function", "config": "eval", "module": "builtins"})


def test_custom_objects_are_known_only_in_their_scope():
    with registry.custom_object_scope({"small": SmallGadget}):
        assert registry.find("gadget", "small") is SmallGadget
    with pytest.raises(ValueError):
        registry.find("gadget", "small")


def test_scopes_belong_to_a_thread_and_registrations_to_all():
    @registry.register_keras_serializable(package="threads")
    def early():
        pass

    def in_another_thread():
        with registry.custom_object_scope({"theirs": early}):
            seen.append((registry.get_registered_object("mine"), outside.wait(10)))

    seen, outside = [], threading.Event()
    thread = threading.Thread(target=in_another_thread)
    with registry.custom_object_scope({"mine": SmallGadget}):
        thread.start()
        with registry.custom_object_scope(None), registry.custom_object_scope({"inner": BigGadget}):
            assert registry.get_registered_object("mine") is SmallGadget
            assert registry.get_registered_object("theirs") is None
            late = registry.register_keras_serializable(package="threads", name="late")(lambda: 0)
        assert "mine" not in registry.get_custom_objects()
        scope = registry.custom_object_scope({"again": BigGadget})
        for _ in range(2):
            with scope, scope:
                assert registry.get_registered_object("again") is BigGadget
            assert registry.get_registered_object("again") is None
        outside.set()
        thread.join()
    assert seen == [(None, True)]
    assert registry.get_registered_object("mine") is registry.get_registered_object("inner") is None
    assert registry.get_registered_object("threads>late") is late
    assert registry.get_registered_object("threads>early") is early


def test_own_things_with_names_of_keras():
    """What is called as one of Keras' is not taken for it, nor the other way round."""

    def relu(x):
        return -x

    class Dense(cornu.layers.Dense):
        pass

    mine, keras_own = registry.serialize(Dense(2)), registry.serialize(cornu.layers.Dense(2))
    scope = {"Dense": Dense, "relu": relu}
    for described in (mine, registry.serialize(relu)):
        with pytest.raises(ValueError, match="not registered"):
            registry.deserialize(described)
    assert type(registry.deserialize(mine, scope)) is Dense
    assert type(registry.deserialize(keras_own, scope)) is cornu.layers.Dense
    assert registry.deserialize(registry.serialize(relu), scope) is relu
    spoofed = {**keras_own, "registered_name": "mine>Dense"}
    with pytest.raises(ValueError, match=r"'Dense' of Keras.*as 'mine>Dense'"):
        registry.deserialize(spoofed)
    assert type(registry.deserialize(spoofed, {"mine>Dense": Dense})) is Dense
    with pytest.raises(TypeError, match=r"a dict: the arguments of 'Dense'.*\[1, 2\]"):
        registry.deserialize({**keras_own, "config": [1, 2]})
    assert registry.deserialize(registry.serialize(cornu.activations.relu)) == "relu"


def test_functions_as_versions_of_keras_write_them():
    @registry.register_keras_serializable(package="functions")
    def doubled(x):
        return 2 * x

    described = {"module": "builtins", "class_name": "function", "registered_name": "function"}
    relu = cornu.activations.relu
    for name, known, expected in (
        ("relu", "function", relu),
        ("relu", "relu", relu),
        # Without the package: as Keras up to 3.6.
        ("doubled", "function", doubled),
        ("functions>doubled", "function", doubled),
    ):
        config = {**described, "config": name, "registered_name": known}
        assert registry.deserialize(config) is expected
    for wrong in ({"registered_name": "other"}, {"module": "mine", "registered_name": "relu"}):
        with pytest.raises(ValueError, match="'relu', which is not registered"):
            registry.deserialize({**described, "config": "relu", **wrong})


def test_classes_and_numbers_in_configurations():
    parts = {
        "norm": cornu.layers.LayerNormalization,
        "own": SmallGadget,
        "dtype": np.float32,
        "bytes": b"cornu",
        "array": np.arange(2, dtype="uint8"),
    }
    described = json.loads(json.dumps(registry.serialize(parts)))
    made = registry.deserialize(described, {"SmallGadget": SmallGadget})
    assert made["norm"] is parts["norm"] and made["own"] is SmallGadget
    assert (made["dtype"], made["bytes"]) == ("float32", b"cornu")
    assert made["array"].dtype == "uint8" and made["array"].tolist() == [0, 1]
    with pytest.raises(ValueError, match="not registered"):
        registry.deserialize({"class_name": "type", "config": "system", "module": "os"})
    with pytest.raises(TypeError, match="Cannot describe"):
        registry.serialize(functools.partial(print))


def overriding(k, base, **kwargs):
    """`super().get_config()` of a class that overrides it and has an argument of its own."""

    def __init__(self, own=1, **kwargs):
        base.__init__(self, **kwargs)
        self.own = own

    def get_config(self):
        return dict(own=self.own, **base.get_config(self))

    cls = type("Own", (base,), {"__init__": __init__, "get_config": get_config})
    made = cls(own=2, **kwargs)
    assert cls.from_config(made.get_config()).own == 2
    return made.get_config()


OVERRIDDEN = {
    "layer": (lambda k: k.layers.Layer, {"trainable": False}),
    "activity": (lambda k: k.layers.Layer, {"activity_regularizer": "l2"}),
    "dense": (lambda k: k.layers.Dense, {"units": 3}),
    "dropout": (lambda k: k.layers.Dropout, {"rate": 0.5}),
    "model": (lambda k: k.Model, {"name": "m"}),
    "loss": (lambda k: k.losses.Loss, {"reduction": "sum"}),
    "mse": (lambda k: k.losses.MeanSquaredError, {}),
    "metric": (lambda k: k.metrics.Metric, {}),
    "mean": (lambda k: k.metrics.Mean, {"name": "m"}),
    "precision": (lambda k: k.metrics.Precision, {}),
    "optimizer": (lambda k: k.optimizers.Optimizer, {"learning_rate": 0.5}),
    "sgd": (lambda k: k.optimizers.SGD, {"momentum": 0.5}),
    "schedule": (
        lambda k: k.optimizers.schedules.CosineDecay,
        {"initial_learning_rate": 0.5, "decay_steps": 3},
    ),
    "initializer": (lambda k: k.initializers.Initializer, {}),
    "normal": (lambda k: k.initializers.RandomNormal, {"stddev": 0.5}),
    "regularizer": (lambda k: k.regularizers.L1L2, {"l1": 0.5}),
    "constraint": (lambda k: k.constraints.MaxNorm, {}),
}


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_a_class_that_overrides_get_config_inherits_what_keras_gives(name):
    base, kwargs = OVERRIDDEN[name]
    ours, theirs = (overriding(k, base(k), **kwargs) for k in (cornu, keras))
    assert set(ours) == set(theirs)
    for key in set(ours) - {"name", "dtype"}:
        assert isinstance(ours[key], dict) or ours[key] == pytest.approx(theirs[key])


def test_constructors_that_take_little():
    class Plain(cornu.layers.Layer):
        def __init__(self, units):
            super().__init__()
            self.units = units

    class Variadic(cornu.layers.Layer):
        def __init__(self, *sizes):
            super().__init__()

    layer = Plain(3)
    layer.trainable, layer.dtype_policy = False, cornu.DTypePolicy("mixed_bfloat16")
    config = layer.get_config()
    assert set(config) == {"units", "trainable", "dtype"}
    twin = Plain.from_config(config)
    assert (twin.units, twin.trainable, twin.compute_dtype) == (3, False, "bfloat16")
    with pytest.raises(NotImplementedError, match=r"\*args"):
        Variadic(1, 2).get_config()


def test_custom_objects_by_name():
    """A name alone is looked up among the custom objects as well, as in Keras."""

    def mine(y_true, y_pred):
        return y_true

    for module in (cornu.losses, cornu.activations, keras.losses, keras.activations):
        assert module.deserialize("mine", custom_objects={"mine": mine}) is mine
    with pytest.raises(ValueError, match="mine"):
        cornu.losses.deserialize("mine")


@pytest.mark.parametrize(
    "name, expected",
    [
        ("Conv2D", "conv2d"),
        ("MaxPooling2D", "max_pooling2d"),
        ("MyABCLayer", "my_abc_layer"),
        ("Dense", "dense"),
        ("Conv1DTranspose", "conv1d_transpose"),
        ("GlobalAveragePooling2D", "global_average_pooling2d"),
        ("PReLU", "p_re_lu"),
    ],
)
def test_snake_case_is_keras(name, expected):
    from keras.src.utils.naming import to_snake_case

    assert registry.to_snake_case(name) == to_snake_case(name) == expected


def test_automatic_names_count_up():
    assert [auto_name("Conv2D") for _ in range(3)] == ["conv2d", "conv2d_1", "conv2d_2"]


def test_seed_generator_counts_and_checks():
    seeds = SeedGenerator(5)
    assert [seeds.next().tolist() for _ in range(2)] == [[5, 0], [5, 1]]
    assert SeedGenerator.from_config(seeds.get_config()).seed == 5
    with pytest.raises(ValueError, match="must be an integer"):
        SeedGenerator("five")


def test_arguments_and_descriptions_of_keras():
    described = cornu.saving.serialize_keras_object(cornu.regularizers.L2(0.5))
    found = cornu.saving.deserialize_keras_object(described, None, False, module_objects={})
    assert found.l2 == 0.5
    with pytest.raises(ValueError, match="not supported"):
        cornu.utils.deserialize_keras_object(described, kind="loss")
    for module in (cornu.utils.legacy, cornu.legacy.saving):
        old = module.serialize_keras_object(
            cornu.layers.Dense(3, name="d", kernel_regularizer="l2")
        )
        assert old["class_name"] == "Dense"
        assert old["config"]["kernel_regularizer"]["class_name"] == "L2"
        assert module.deserialize_keras_object(old).kernel_regularizer.l2 == 0.01
        with pytest.raises(ValueError, match="Unknown thing: 'no'"):
            module.deserialize_keras_object("no", {}, printable_module_name="thing")


def test_a_layer_may_take_arguments_of_any_name_out_of_the_rest():
    class Open(cornu.layers.Layer):
        def __init__(self, **kwargs):
            self.extra = kwargs.pop("extra", 1)
            super().__init__(**kwargs)

        def get_config(self):
            return {**super().get_config(), "extra": self.extra}

    assert Open.from_config(Open(extra=3, name="a").get_config()).extra == 3


@pytest.mark.parametrize("place", ["layers", "losses", "metrics", "optimizers.schedules"])
def test_arguments_have_the_names_of_keras(place):
    for name in ("serialize", "deserialize"):
        ours, theirs = (
            list(inspect.signature(operator.attrgetter(f"{place}.{name}")(k)).parameters)
            for k in (cornu, keras)
        )
        assert ours == theirs
