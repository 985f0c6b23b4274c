"""Nothing that a file names is imported, called, evaluated or unpickled."""

import base64
import json
import marshal
import pickle

import h5py
import numpy as np
import pytest

import cornu


def layer(class_name, **config):
    return {"module": "keras.layers", "class_name": class_name, "config": config}


def function(module, name):
    """A function, as Keras describes those that are registered or its own."""
    names = {"config": name, "registered_name": name}
    return {"module": module, "class_name": "function", **names}


def an_object(module, class_name, config):
    return {"module": module, "class_name": class_name, "config": config}


def bytecode(tmp_path):
    code = compile(f"open({str(tmp_path / 'canary')!r}, 'w')", "<attack>", "eval")
    return base64.b64encode(marshal.dumps(code)).decode()


@pytest.mark.parametrize("safe_mode", [True, False])
@pytest.mark.parametrize("form", ["keras 3", "keras 2", "string"])
def test_bytecode_of_a_lambda_layer(with_layer, refused, tmp_path, form, safe_mode):
    """CVE-2024-3660."""
    code = bytecode(tmp_path)
    forms = {
        "keras 3": {
            "class_name": "__lambda__",
            "config": {"code": code, "defaults": None, "closure": None},
        },
        "keras 2": [code, None, None],
        "string": code,
    }
    config = {"name": "x", "function": forms[form], "function_type": "lambda", "arguments": {}}
    path = with_layer(layer("Lambda", **config))
    refused(path, safe_mode=safe_mode)


def test_bytecode_of_a_lambda_layer_in_an_old_file(refused, tmp_path):
    """CVE-2025-9905: by the format that Keras read without its safe mode."""
    function = {"function": [bytecode(tmp_path), None, None], "function_type": "lambda"}
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4]}},
        {"class_name": "Lambda", "config": {"name": "x", **function}},
    ]
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        file.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")
    refused(path)


SYSTEM = an_object("os", "system", "touch canary")
GADGETS = {
    "any module": SYSTEM,
    "any function": function("builtins", "os.system"),
    "evaluation": an_object("builtins", "eval", "1"),
    "a partial": an_object("functools", "partial", {"func": "print"}),
    "an object of Python": an_object("subprocess", "Popen", {"args": "ls"}),
    "a download": function("keras.utils", "get_file"),
    "the switch of Keras": function("keras.config", "enable_unsafe_deserialization"),
    "a loader": an_object("keras.saving", "function", "load_model"),
    "our own loader": an_object("cornu.saving", "load_model", {}),
    "a spoofed name": {**layer("Conv2D", filters=SYSTEM), "registered_name": "os>system"},
    "a callback": an_object("keras.callbacks", "CSVLogger", {"filename": "canary"}),
    "a saved model": layer("TFSMLayer", filepath="/"),
    "a torch module": layer(
        "TorchModuleWrapper", module=base64.b64encode(pickle.dumps(print)).decode()
    ),
    "a class of Python": an_object("builtins", "type", "object"),
    "a vocabulary from a file": layer("StringLookup", vocabulary="/etc/passwd"),
    "a vocabulary from the network": layer(
        "TextVectorization", vocabulary="http://127.0.0.1:9/words"
    ),
}


@pytest.mark.parametrize("name", GADGETS)
@pytest.mark.parametrize("where", ["layer", "activation", "initializer", "compile", "model"])
@pytest.mark.parametrize("safe_mode", [True, False])
def test_gadgets(parts, refused, tmp_path, monkeypatch, name, where, safe_mode):
    """CVE-2025-1550, CVE-2025-8747, CVE-2025-9906, CVE-2025-12058 and their relatives."""
    monkeypatch.chdir(tmp_path)
    config, gadget = parts.config, GADGETS[name]
    if where == "layer":
        config["config"]["layers"][1] = gadget
    elif where == "compile":
        config["compile_config"] = {"optimizer": gadget, "loss": "mse"}
    elif where == "model":
        config = gadget
    else:
        key = "activation" if where == "activation" else "kernel_initializer"
        config["config"]["layers"][1]["config"][key] = gadget
    parts.config = config
    refused(parts.write(tmp_path / "m.keras"), safe_mode=safe_mode)


def test_a_file_cannot_switch_its_checks_off(parts, refused, tmp_path):
    """CVE-2025-1550's sequel: `safe_mode` among the values of a configuration."""
    config = parts.config
    code = {"class_name": "__lambda__", "config": {"code": bytecode(tmp_path)}}
    config["safe_mode"] = config["config"]["safe_mode"] = False
    config["config"]["layers"][1]["config"].update(activation=code, safe_mode=False)
    parts.config = config
    refused(parts.write(tmp_path / "m.keras"))


def test_own_objects_only_by_the_program(with_activation, refused, tmp_path):
    """A function of the user's is used if the program passes it, and not because the file names it."""
    path = with_activation(function("builtins", "mine"))
    refused(path, match="mine")
    model = cornu.saving.load_model(path, custom_objects={"mine": lambda x: x + 1})
    assert model.layers[0].activation(1) == 2


def test_pickles_in_arrays(tmp_path, guard):
    """`.npz` files with Python objects are not unpickled."""

    class Attack:
        def __reduce__(self):
            return open, (str(tmp_path / "canary"), "w")

    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=np.array([Attack()], object))
    with pytest.raises(ValueError, match="mnist"):
        cornu.datasets.mnist.load_data(str(path))
    assert not (tmp_path / "canary").exists()
