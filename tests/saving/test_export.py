"""Programs for serving: StableHLO that JAX alone loads and runs."""

import subprocess
import sys

import numpy as np
import pytest

import cornu
from cornu import layers

SERVE = """
import sys
import jax, jax.export, numpy as np
program = jax.export.deserialize(open(sys.argv[1], "rb").read())
with np.load(sys.argv[2]) as arrays:
    names = sorted(arrays.files)
    inputs = [arrays[name] for name in names]
results = program.call(inputs[0] if len(inputs) == 1 else dict(zip(names, inputs)))
np.savez(sys.argv[3], *jax.tree.leaves(results))
assert not any(name.split(".")[0] == "cornu" for name in sys.modules)
"""


def images():
    return cornu.Sequential(
        [
            cornu.Input((12, 12, 1)),
            layers.Rescaling(2.0),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def graph():
    a, b = cornu.Input((6, 2), name="a"), cornu.Input((4,), dtype="int32", name="b")
    x = layers.Conv1D(3, 3, padding="same")(a)
    y = layers.Embedding(5, 3)(b)
    z = layers.Concatenate(axis=1)([x, y])
    return cornu.Model({"a": a, "b": b}, [layers.GlobalAveragePooling1D()(z), cornu.ops.exp(x)])


def served(model, x, tmp_path, batch_size=None):
    path, data, results = (tmp_path / name for name in ("m.stablehlo", "x.npz", "y.npz"))
    model.export(path, batch_size=batch_size)
    np.savez(data, **(x if isinstance(x, dict) else {"x": x}))
    subprocess.run(
        [sys.executable, "-c", SERVE, path, data, results],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    with np.load(results) as arrays:
        return [arrays[name] for name in arrays.files]


@pytest.mark.parametrize("count", [1, 7])
def test_any_number_of_examples(tmp_path, count):
    x = np.random.default_rng(0).standard_normal((count, 12, 12, 1)).astype("float32")
    model = images()
    [found] = served(model, x, tmp_path)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_several_inputs_and_outputs(tmp_path):
    random = np.random.default_rng(0)
    x = {
        "a": random.standard_normal((5, 6, 2)).astype("float32"),
        "b": random.integers(0, 5, (5, 4)).astype("int32"),
    }
    model = graph()
    for mine, other in zip(served(model, x, tmp_path), model.predict(x, verbose=0), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


def test_one_number_of_examples(tmp_path):
    x = np.zeros((2, 12, 12, 1), "float32")
    assert served(images(), x, tmp_path, batch_size=2)[0].shape == (2, 3)
    with pytest.raises(subprocess.CalledProcessError) as raised:
        served(images(), x, tmp_path, batch_size=3)
    assert b"shape" in raised.value.stderr


class OwnSizes(layers.Layer):
    def call(self, x):
        return x * 2 if x.shape[0] > 3 else x


def test_what_cannot_be_exported(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"ends in \.stablehlo or \.onnx"):
        images().export(tmp_path / "m.pb")
    with pytest.raises(ValueError, match="not built"):
        cornu.Sequential([layers.Dense(3)]).export(tmp_path / "m.stablehlo")
    x = cornu.Input((None, 3))
    with pytest.raises(ValueError, match=r"shape \(None, None, 3\)"):
        cornu.Model(x, layers.Dense(2)(x)).export(tmp_path / "m.stablehlo")
    x = cornu.Input((3,))
    with pytest.raises(ValueError, match="any number of examples"):
        cornu.Model(x, OwnSizes()(x)).export(tmp_path / "m.stablehlo")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        images().export(tmp_path / "nowhere" / "m.stablehlo")
    with pytest.raises(ValueError, match="Use `batch_size`"):
        images().export(tmp_path / "m.stablehlo", input_signature=[cornu.InputSpec(shape=(1, 3))])
    assert not list(tmp_path.iterdir())
    images().export(tmp_path / "m.stablehlo", verbose=True, batch_size=2)
    assert f"Saved {tmp_path / 'm.stablehlo'}" in capsys.readouterr().out
