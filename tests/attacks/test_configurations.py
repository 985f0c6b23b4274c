"""Configurations: too large, too deep, with cycles, or of the wrong types."""

import functools
import json
import random

import pytest
from forged import mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cornu


def nested(depth):
    text = '{"class_name": "Sequential", "config": {"layers": ['
    return text * depth + "]}}" * depth


def dense(units, **more):
    return {"module": "keras.layers", "class_name": "Dense", "config": {"units": units, **more}}


SIZES = {
    "terabytes": dense(10**12),
    "more than 64 bits": dense(10**30),
    "negative": dense(-1),
    "a fraction": dense(2.5),
    "not a number": dense(float("nan")),
    "a truth value": dense([True]),
    "an embedding": {
        "module": "keras.layers",
        "class_name": "Embedding",
        "config": {"input_dim": 2**40, "output_dim": 2**20},
    },
    "a kernel": {
        "module": "keras.layers",
        "class_name": "Conv2D",
        "config": {"filters": 2**20, "kernel_size": [2**20, 2**20], "padding": "same"},
    },
    "a kernel for each position": {
        "module": "keras.layers",
        "class_name": "DepthwiseConv2D",
        "config": {"kernel_size": 1, "depth_multiplier": 2**45},
    },
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes(with_layer, refused, name):
    """CVE-2026-0897: what a configuration claims is not allocated."""
    refused(with_layer(SIZES[name]))


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", '{"class_name": "Dense"}', "[" * 10**5, nested(40)]
)
def test_text(text):
    with pytest.raises(cornu.saving.FileFormatError, match="the JSON text"):
        cornu.models.model_from_json(text)


def test_sizes_in_a_text():
    config = json.loads(json.dumps(graph()))
    config["config"]["layers"][1]["config"]["units"] = 10**12
    with pytest.raises(cornu.saving.FileFormatError, match="larger than allowed"):
        cornu.models.model_from_json(json.dumps(config))


def test_large_images_take_no_memory(parts, tmp_path, refused):
    """Shapes are worked out without the arrays; the weights that would fit are not in the file."""
    config = parts.config
    config["config"]["layers"][0]["config"]["batch_shape"] = [None, 2**20, 2**20, 1]
    config["config"].pop("build_input_shape", None)
    parts.config = config
    refused(parts.write(tmp_path / "m.keras"))


@pytest.mark.parametrize("text", ["[" * 10**6, '{"a":' * 10**5, nested(40), nested(5000)])
def test_depth(parts, refused, tmp_path, text):
    parts["config.json"] = text.encode()
    refused(parts.write(tmp_path / "m.keras"))


def test_number_of_objects(parts, refused, tmp_path):
    config = parts.config
    config["config"]["layers"] = [config["config"]["layers"][2]] * 200_000
    parts.config = config
    refused(parts.write(tmp_path / "m.keras"), match="limits.objects")


def graph():
    x = cornu.Input((4,), name="in")
    y = cornu.layers.Dense(4, name="a")(x)
    y = cornu.layers.Dense(4, name="b")(y)
    return json.loads(cornu.Model(x, y).to_json())


def history(config, layer, tensor):
    node = config["config"]["layers"][layer]["inbound_nodes"][0]
    node["args"][0]["config"]["keras_history"] = tensor


def rename(config):
    config["config"]["layers"][2]["name"] = "a"


GRAPHS = {
    "a cycle": lambda c: history(c, 1, ["b", 0, 0]),
    "itself": lambda c: history(c, 1, ["a", 0, 0]),
    "nothing": lambda c: history(c, 1, ["c", 0, 0]),
    "another output": lambda c: history(c, 2, ["a", 0, 7]),
    "a negative node": lambda c: history(c, 2, ["a", -1, 0]),
    "a node of text": lambda c: history(c, 2, ["a", "0", 0]),
    "too short": lambda c: history(c, 2, ["a"]),
    "two of one name": rename,
    "no inputs": lambda c: c["config"].update(input_layers=[]),
    "outputs from nowhere": lambda c: c["config"].update(output_layers=[["z", 0, 0]]),
    "many calls": lambda c: c["config"]["layers"][1].update(inbound_nodes=[{}] * 1000),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(parts, refused, tmp_path, name):
    config = graph()
    GRAPHS[name](config)
    parts.config = config
    refused(parts.write(tmp_path / "m.keras"))


def test_graph_backwards_takes_no_longer(tmp_path, parts, refused):
    """A chain that is described from its end is put together in the order of its calls."""
    x = y = cornu.Input((2,), name="in")
    for i in range(300):
        y = cornu.layers.Activation("relu", name=f"l{i}")(y)
    config = json.loads(cornu.Model(x, y).to_json())
    config["config"]["layers"].reverse()
    again = cornu.models.model_from_json(json.dumps(config))
    assert len(again.layers) == 301


CONFIGS = {
    "sequential": lambda: json.loads(
        cornu.Sequential(
            [
                cornu.Input((8, 8, 2)),
                cornu.layers.SeparableConv2D(3, 3),
                cornu.layers.BatchNormalization(),
                cornu.layers.MaxPooling2D(),
                cornu.layers.Dropout(0.5),
                cornu.layers.Flatten(),
                cornu.layers.Dense(3, kernel_regularizer="l2", kernel_constraint="max_norm"),
            ]
        ).to_json()
    ),
    "graph": graph,
}


@functools.cache
def made(name):
    return CONFIGS[name]()


# A misplaced value may be one that layers warn of, such as an `input_shape`; that is no failure.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_wrong_types_anywhere(name, seed, parts, tmp_path_factory, guard):
    """Whatever a configuration contains, loading gives a model or the documented error."""
    parts.config = mutated(made(name), random.Random(seed))
    path = parts.write(tmp_path_factory.mktemp("wrong") / "m.keras")
    with guard.watching(path):
        try:
            cornu.saving.load_model(path)
        except cornu.saving.FileFormatError as error:
            assert str(path) in str(error)
    assert not guard.seen, guard.seen
