"""Models in files: names, damage, own layers, and the form of the archive."""

import json
import zipfile

import keras
import numpy as np
import pytest

import cornu

random = np.random.RandomState(0)
IMAGES = random.rand(20, 8, 8, 1).astype("float32")
LABELS = random.randint(0, 3, 20).astype("int32")


def sequential(k):
    L = k.layers
    return k.Sequential(
        [
            k.Input((8, 8, 1)),
            L.Conv2D(4, 3, activation="relu", kernel_regularizer="l2"),
            L.BatchNormalization(),
            L.MaxPooling2D(),
            L.Flatten(),
            L.Dropout(0.2),
            L.Dense(3, activation="softmax"),
        ]
    )


def trained(k):
    k.utils.set_random_seed(1)
    model = sequential(k)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(IMAGES, LABELS, batch_size=5, verbose=0)
    return model


def test_an_existing_file_survives_a_failure(tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    sequential(cornu).save(path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(OSError, match="No space left"):
        sequential(cornu).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_overwrite(tmp_path):
    model = sequential(cornu)
    for name, save in (("m.keras", model.save), ("m.weights.h5", model.save_weights)):
        save(tmp_path / name)
        with pytest.raises(FileExistsError, match="exists already"):
            save(tmp_path / name, overwrite=False)


def test_wrong_names(tmp_path):
    model = sequential(cornu)
    with pytest.raises(ValueError, match=r"add a `\.keras` extension"):
        model.save(tmp_path / "m")
    with pytest.raises(ValueError, match=r"must end in `\.weights\.h5`"):
        model.save_weights(tmp_path / "m.hdf")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        model.save(tmp_path / "missing" / "m.keras")
    with pytest.raises(FileNotFoundError, match="File not found"):
        cornu.saving.load_model(tmp_path / "missing.keras")
    with pytest.raises(FileNotFoundError, match="File not found"):
        model.load_weights(tmp_path / "missing.weights.h5")
    with pytest.raises(ValueError, match=r"missing\.pkl\. File format not supported"):
        cornu.saving.load_model(tmp_path / "missing.pkl")


@pytest.mark.parametrize("damage", ["empty", "text", "half", "no config", "no json"])
def test_damaged_files(damage, tmp_path):
    path = tmp_path / "m.keras"
    sequential(cornu).save(path)
    data = path.read_bytes()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("a model")
    elif damage == "half":
        path.write_bytes(data[: len(data) // 2])
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json" if damage == "no json" else "other", "{")
    with pytest.raises(ValueError, match=r"m\.keras is .*damaged"):
        cornu.saving.load_model(path)


def test_weights_of_another_model(tmp_path):
    model = sequential(cornu)
    model.save_weights(tmp_path / "a.weights.h5")
    other = cornu.Sequential(
        [
            cornu.Input((8, 8, 1)),
            cornu.layers.Conv2D(4, 3),
            cornu.layers.BatchNormalization(),
            cornu.layers.Flatten(),
            cornu.layers.Dense(3, name="last"),
        ]
    )
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"In 'last'.* the model expects.*\(144, 3\).*\(36, 3\)"):
        other.load_weights(tmp_path / "a.weights.h5")
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    other.load_weights(tmp_path / "a.weights.h5", skip_mismatch=True)
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])
    np.testing.assert_array_equal(other.get_weights()[-2], before[-2])


class Doubling(cornu.layers.Layer):
    def call(self, x):
        return 2 * x


def test_own_layers(tmp_path):
    path = tmp_path / "m.keras"
    model = cornu.Sequential([cornu.Input((3,)), Doubling(), cornu.layers.Dense(2)])
    model.save(path)
    with pytest.raises(ValueError, match=r"Unknown layer: .Doubling.*custom_objects"):
        cornu.saving.load_model(path)
    for load in (
        lambda: cornu.saving.load_model(path, custom_objects={"Doubling": Doubling}),
        lambda: in_scope(path),
    ):
        np.testing.assert_array_equal(load()(np.ones((1, 3))), model(np.ones((1, 3))))


def in_scope(path):
    with cornu.saving.custom_object_scope({"Doubling": Doubling}):
        return cornu.saving.load_model(path)


def test_a_function_in_a_file_is_never_run(tmp_path):
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1)]).save(path)
    for safe_mode in (True, False):
        with pytest.raises(ValueError, match=r"(?s)Lambda.*registered function"):
            cornu.saving.load_model(path, safe_mode=safe_mode)


def test_the_archive_is_what_keras_writes(tmp_path):
    for k in (cornu, keras):
        trained(k).save(tmp_path / f"{k.__name__}.keras")
    mine, other = (zipfile.ZipFile(tmp_path / f"{name}.keras") for name in ("cornu", "keras"))
    with mine, other:
        assert sorted(mine.namelist()) == sorted(other.namelist())
        configs = [json.loads(archive.read("config.json")) for archive in (mine, other)]
    assert configs[0]["class_name"] == configs[1]["class_name"]
    kinds = [[layer["class_name"] for layer in c["config"]["layers"]] for c in configs]
    assert kinds[0] == kinds[1]


def test_names_of_keras_2(tmp_path):
    model, path = sequential(cornu), tmp_path / "m.hdf5"
    with pytest.warns(UserWarning, match=r"use a name that ends in `\.weights\.h5` instead"):
        model.save_weights(path)
    for library in (cornu, keras):
        other = sequential(library)
        other.set_weights([np.zeros_like(w) for w in other.get_weights()])
        other.load_weights(path)
        for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    keep = cornu.callbacks.ModelCheckpoint(tmp_path / "{epoch}.h5")
    keep.set_model(model)
    keep.on_epoch_end(0, {})
    assert cornu.saving.load_model(tmp_path / "1.h5").count_params() == model.count_params()
