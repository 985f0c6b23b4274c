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
