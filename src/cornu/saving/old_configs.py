"""Configurations as Keras 1 and 2 wrote them (in `.h5` files, by `to_json`), in today's form."""

from typing import Any

from cornu.core import registry
from cornu.core.configurable import constructor_parameters


def is_old(config: Any) -> bool:
    """Whether a configuration of a model, or a part of it, has the form of Keras 1 or 2."""
    if isinstance(config, list):
        return any(map(is_old, config))
    if not isinstance(config, dict):
        return False
    nodes = config.get("inbound_nodes")
    return (
        str(config.get("keras_version")).startswith(("1.", "2."))
        or "batch_input_shape" in config
        or (config.get("class_name") == "Sequential" and isinstance(config.get("config"), list))
        or (isinstance(nodes, list) and any(isinstance(node, list) for node in nodes))
        or any(map(is_old, config.values()))
    )


def modern(config: Any) -> Any:
    """A configuration as older versions wrote it, in today's form."""
    if isinstance(config, list):
        return [modern(entry) for entry in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") in ("Policy", "DTypePolicy") and isinstance(config["config"], dict):
        return config["config"].get("name", "float32")
    config = {key: modern(value) for key, value in config.items()}
    if config.get("class_name") == "Sequential" and isinstance(config.get("config"), list):
        # Before Keras 2.2.3 it had no name.
        config["config"] = {"layers": config["config"]}
    if "class_name" not in config or not isinstance(config.get("config"), dict):
        return config
    if config["class_name"] == "Model":
        config["class_name"] = "Functional"
    own = config["config"]
    if config["class_name"] == "Sequential" and isinstance(own.get("layers"), list):
        config["config"] = _modern_sequential(own)
        return config
    for ends in ("input_layers", "output_layers"):
        if isinstance(own.get(ends), list) and len(own[ends]) == 1:
            # One tensor alone is no list of tensors today.
            own[ends] = own[ends][0]
    if config["class_name"] == "InputLayer" and "batch_input_shape" in own:
        own["batch_shape"] = own.pop("batch_input_shape")
    if isinstance(own.get("axis"), list) and len(own["axis"]) == 1:
        own["axis"] = own["axis"][0]
    if isinstance(config.get("inbound_nodes"), list):
        config["inbound_nodes"] = [_modern_node(node) for node in config["inbound_nodes"]]
    _drop_unknown(config["class_name"], own)
    return config


def _modern_sequential(own: dict) -> dict:
    """An input shape given to the first layer becomes a layer of its own."""
    stack = own["layers"]
    first = stack[0].get("config", {}) if stack else {}
    shape = first.pop("batch_input_shape", None)
    if shape is not None and stack[0].get("class_name") != "InputLayer":
        start = {
            "batch_shape": shape,
            "dtype": first.get("dtype", "float32"),
            "name": "input_layer",
        }
        stack = [{"class_name": "InputLayer", "config": start}, *stack]
    return {"name": own.get("name"), "trainable": own.get("trainable", True), "layers": stack}


def _modern_node(node: Any) -> Any:
    """A call of a layer: before Keras 3, a list of `[layer, node, tensor, arguments]`."""
    if not isinstance(node, list):
        return node
    if len(node) == 4 and isinstance(node[0], str):
        node = [node]
    tensors = [_tensor(entry) for entry in node]
    kwargs = {key: _argument(value) for key, value in (node[0][3] if node else {}).items()}
    return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": kwargs}


def _tensor(reference) -> dict:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": list(reference[:3])}}


def _argument(value):
    is_tensor = (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(isinstance(n, int) for n in value[1:3])
    )
    return _tensor(value) if is_tensor else value


def _drop_unknown(class_name: str, own: dict) -> None:
    """Leave out arguments that a layer no longer has, if they have no effect."""
    cls = registry.registered("layer").get(class_name)
    if cls is None:
        return
    known = constructor_parameters(cls)
    for key in [k for k, value in own.items() if k not in known and not value]:
        del own[key]
