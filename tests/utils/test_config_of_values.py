"""`utils.Config`, compared with Keras'."""

import copy
import pickle

import keras
import pytest

import cornu


def test_values():
    for module in (cornu, keras):
        config = module.utils.Config(rate=0.1)
        config.epochs = 3
        config["seed"] = 1
        config.update(rate=0.2)
        assert config.rate == config["rate"] == 0.2 and config.pop("seed") == 1
        assert config.get("x", 5) == 5 and "rate" in config and len(config) == 2
        assert list(config) == ["epochs", "rate"] and dict(config.items()) == config.as_dict()
        assert list(config.keys()) == ["rate", "epochs"] and list(config.values()) == [0.2, 3]
        assert config.to_json() == '{"rate": 0.2, "epochs": 3}'
        assert repr(config) == "<Config {'rate': 0.2, 'epochs': 3}>"
        with pytest.raises(AttributeError, match="Did you mean 'epochs'"):
            config.epoch  # noqa: B018
        config.freeze()
        for change in (
            lambda c: c.pop("rate"),
            lambda c: c.update(a=1),
            lambda c: c.__setitem__("a", 1),
            lambda c: setattr(c, "a", 1),
        ):
            with pytest.raises(ValueError, match="frozen"):
                change(config)
        assert config.frozen
        config.unfreeze()
        del config["rate"]
        assert config.as_dict() == {"epochs": 3}


def test_copies_and_names():
    config = cornu.utils.Config(rate=0.1)
    for again in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert again.as_dict() == config.as_dict()
    with pytest.raises(AttributeError, match="is a method"):
        config.keys = 3
    config["keys"] = 3
    assert config["keys"] == 3
