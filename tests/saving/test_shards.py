"""Weights in several files, here and in Keras."""

import json
import re

import keras
import numpy as np
import pytest

import cornu


def model_of(module):
    layers = module.layers
    model = module.Sequential(
        [module.Input((30,)), layers.Dense(20, "relu"), layers.Dense(20), layers.Dense(3)]
    )
    model.compile(module.optimizers.Adam(), "mse")
    x = np.cos(np.arange(240.0)).reshape(8, 30).astype("float32")
    model.fit(x, x[:, :3], verbose=0)
    return model, x


@pytest.fixture(scope="module")
def models():
    return {module: model_of(module) for module in (cornu, keras)}


def test_exchange(models, tmp_path):
    """Parts of one layer in different files, and the optimizer's state with them."""
    size = 2500 / 1024**3
    for module in models:
        path = tmp_path / f"{module.__name__}.weights.json"
        models[module][0].save_weights(path, max_shard_size=size)
    ours, theirs = (
        json.loads((tmp_path / f"{n}.weights.json").read_text()) for n in ("cornu", "keras")
    )
    assert len(list(tmp_path.glob("cornu_*.weights.h5"))) > 3
    as_ours = json.loads(json.dumps(theirs).replace("keras_", "cornu_"))
    assert ours["metadata"]["total_size"] == theirs["metadata"]["total_size"]
    # What a group without arrays is in does not matter.
    assert set(ours["weight_map"]) == set(as_ours["weight_map"])
    for source, target in ((keras, cornu), (cornu, keras), (cornu, cornu)):
        (wanted, x), (model, _) = models[source], model_of(target)
        model.load_weights(tmp_path / f"{source.__name__}.weights.json")
        np.testing.assert_allclose(
            model.predict(x, verbose=0), wanted.predict(x, verbose=0), 1e-5, 1e-6
        )
        for mine, other in zip(model.optimizer.variables, wanted.optimizer.variables, strict=True):
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))


def test_objects_to_skip(models, tmp_path):
    model, _ = model_of(cornu)
    other, _ = models[cornu]
    other.save_weights(tmp_path / "all.weights.h5")
    first, *rest = model.layers
    before = first.get_weights()
    model.load_weights(tmp_path / "all.weights.h5", objects_to_skip=[first, model.optimizer])
    for mine, kept in zip(first.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, kept)
    for mine, theirs in zip(rest, other.layers[1:], strict=True):
        np.testing.assert_array_equal(mine.kernel.numpy(), theirs.kernel.numpy())
    with pytest.raises(ValueError, match="Invalid keyword arguments"):
        model.load_weights(tmp_path / "all.weights.h5", skip_these=[first])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("m_00000", "../m_00000"), "not the name of a"),
        (lambda text: text.replace('"m_00000.weights.h5"', "3"), "not the name of a"),
        (lambda text: text.replace("m_00000.weights.h5", "link.h5"), "not the name of a"),
        (lambda text: text.replace("m_00000", "m_09999"), "not found"),
        (lambda text: text.replace("/layers/dense/vars", "/layers/else/vars"), "weights"),
        (lambda text: text[:-5], "not an index"),
        (lambda text: "[" * 100_000, "not an index"),
        (lambda text: "{}", "weight_map"),
    ],
)
def test_wrong_indices(change, message, models, tmp_path):
    model, _ = models[cornu]
    path = tmp_path / "m.weights.json"
    model.save_weights(path, max_shard_size=1)
    (tmp_path / "link.h5").symlink_to(tmp_path / "m_00000.weights.h5")
    path.write_text(change(path.read_text()))
    before = model.get_weights()
    with pytest.raises((ValueError, OSError), match=message):
        model.load_weights(path)
    for mine, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, kept)


def test_an_array_that_is_too_large_is_said(models, tmp_path):
    with pytest.raises(ValueError, match=re.escape("exceeds the maximum shard size")):
        models[cornu][0].save_weights(tmp_path / "m.weights.json", max_shard_size=1e-9)
    assert not list(tmp_path.iterdir())
