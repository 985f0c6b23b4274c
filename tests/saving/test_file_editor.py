"""Files with weights that are looked into and changed."""

import h5py
import keras
import numpy as np
import pytest

import cornu
from cornu.saving import FileFormatError, KerasFileEditor


def stack(k, *names):
    layers = [k.layers.Dense(3, name=name) for name in names]
    return k.Sequential([k.Input((2,)), *layers])


@pytest.mark.parametrize("source, target", [(keras, cornu), (cornu, keras)])
def test_a_file_is_made_to_fit_another_model(source, target, tmp_path, capsys):
    old, new = stack(source, "mine", "last"), stack(target, "mine", "between", "last")
    old.save(tmp_path / "old.keras")
    editor = KerasFileEditor(tmp_path / "old.keras")
    assert editor.config["class_name"] == "Sequential" and "date_saved" in editor.metadata
    fits = {"status": "success", "error_count": 0, "match_count": 4}
    if source is cornu:
        assert editor.compare(old) == fits
    editor.rename_object("dense_1", "dense_2")
    kernel = np.eye(3, dtype="float32")
    editor.add_object("layers/dense_1", weights={"0": kernel})
    if target is cornu:
        assert editor.compare(new) == {"status": "error", "error_count": 1, "match_count": 5}
        assert "layers/dense_1/1 is in the model, but not in the file." in capsys.readouterr().out
    editor.add_weights("dense_1", {"1": np.zeros(4), "2": np.zeros(1)})
    editor.delete_weight("layers/dense_1", "2")
    if target is cornu:
        assert editor.compare(new)["error_count"] == 1
        assert "shape (3,) in the model, and of shape (4,)" in capsys.readouterr().out
    editor.add_weights("layers/dense_1", {"1": np.zeros(3, "float32")})
    editor.summary()
    assert "  dense_2 (last)\n    0: shape (3, 3), float32" in capsys.readouterr().out
    editor.save(tmp_path / "new.weights.h5")
    new.load_weights(tmp_path / "new.weights.h5")
    x = np.array([[1.0, -2.0]], "float32")
    np.testing.assert_allclose(new(x), old(x), rtol=1e-6)
    again = KerasFileEditor(tmp_path / "new.weights.h5")
    assert again.config is None and len(cornu.tree.flatten(again.weights_dict)) == 6
    again.summary()
    assert "  dense_2 (last)" in capsys.readouterr().out


def test_all_that_a_file_holds_is_kept(tmp_path):
    model = cornu.Sequential(
        [
            cornu.Input((4, 2)),
            cornu.layers.Bidirectional(cornu.layers.LSTM(2)),
            cornu.layers.BatchNormalization(dtype="bfloat16"),
            cornu.Sequential([cornu.layers.Dense(1)]),
        ]
    )
    model.compile(cornu.optimizers.LossScaleOptimizer(cornu.optimizers.Adam()), "mse")
    model.fit(np.ones((2, 4, 2)), np.ones((2, 1)), verbose=0)
    model.save_weights(tmp_path / "a.weights.h5")
    editor = KerasFileEditor(tmp_path / "a.weights.h5")
    assert editor.compare(model)["error_count"] == 0
    editor.delete_object("optimizer")
    assert editor.compare(model)["error_count"] == 1
    editor = KerasFileEditor(tmp_path / "a.weights.h5")
    editor.resave_weights(tmp_path / "b.weights.h5")
    expected = [*model.get_weights(), *model.optimizer.get_weights()]
    for v in [*model.weights, *model.optimizer.variables]:
        v.assign(v.value * 0)
    model.load_weights(tmp_path / "b.weights.h5")
    for mine, other in zip(
        [*model.get_weights(), *model.optimizer.get_weights()], expected, strict=True
    ):
        np.testing.assert_array_equal(mine, other)


def test_mistakes_in_editing_are_named(tmp_path):
    path = tmp_path / "a.weights.h5"
    stack(cornu, "a", "b").save_weights(path)
    editor = KerasFileEditor(path)
    for problem, call in (
        (r"'layers/conv' not found.*no 'conv'", lambda: editor.delete_object("layers/conv")),
        (r"no 'x' among layers", lambda: editor.add_object("x/y", {})),
        ("'conv' occurs 0 times.*`summary", lambda: editor.delete_object("conv")),
        ("'0' occurs 2 times.*whole path", lambda: editor.delete_object("0")),
        ("'dense_1' already", lambda: editor.rename_object("dense", "dense_1")),
        ("last part", lambda: editor.rename_object("dense", "layers/dense_3")),
        ("cannot be called 'vars'", lambda: editor.add_object("layers/vars", {})),
        ("should be a dict", lambda: editor.add_weights("dense", [1])),
        ("no '7' among 0, 1", lambda: editor.delete_weight("dense", "7")),
        (r"`\.weights\.h5` extension", lambda: editor.save(tmp_path / "b.h5")),
        (r"`\.keras` `\.weights|`\.keras` or", lambda: KerasFileEditor("b.h5")),
    ):
        with pytest.raises(ValueError, match=problem):
            call()
    with h5py.File(path, "w") as file:
        file["layers"] = h5py.ExternalLink("other.weights.h5", "/layers")
    with pytest.raises(FileFormatError, match="ExternalLink"):
        KerasFileEditor(path)
