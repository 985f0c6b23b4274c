"""Checkpoints with Orbax, which Keras reads and writes as well."""

import os
import shutil
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import cornu
from cornu.saving import FileFormatError

pytest.importorskip("orbax.checkpoint")
# What Orbax and Keras warn of.
pytestmark = pytest.mark.filterwarnings("ignore")
X = np.cos(np.arange(64.0)).reshape(16, 4).astype("float32")
Y = X[:, :3]


def model_of(library=cornu, units=3):
    model = library.Sequential(
        [
            library.Input((4,)),
            library.layers.Dense(units, "relu"),
            library.layers.BatchNormalization(),
            library.layers.Dropout(0.5),
            library.layers.Dense(3),
        ]
    )
    model.compile("adam", "mse")
    return model


def values(model, state=True):
    return [np.asarray(v) for v in model.variables + (model.optimizer.variables if state else [])]


def train(model, folder, library=cornu, epochs=3, **arguments):
    checkpoint = library.callbacks.OrbaxCheckpoint(folder, **arguments)
    model.fit(X, Y, epochs=epochs, batch_size=8, verbose=0, callbacks=[checkpoint])


def steps(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with steps 1 and 2 of a training, and its model."""
    cornu.utils.set_random_seed(0)
    folder, model = tmp_path_factory.mktemp("written") / "c", model_of()
    train(model, folder, max_to_keep=2)
    return folder, model


def test_models_come_back_whole(written):
    folder, model = written
    assert steps(folder) == ["1", "2"]
    loaded = cornu.saving.load_model(folder)
    read = model_of()
    read.load_weights(folder / "2")
    # The same state goes on to the same numbers, dropout too.
    for each in (model, loaded, read):
        np.testing.assert_equal(values(each), values(model))
    for each in (loaded, read):
        each.fit(X, Y, shuffle=False, verbose=0)
    np.testing.assert_equal(values(loaded), values(read))
    earlier = cornu.saving.load_model(folder / "1", compile=False)
    assert earlier.optimizer is None
    assert not np.array_equal(values(earlier, False)[0], values(model)[0])
    earlier.load_weights(folder)
    np.testing.assert_equal(values(earlier, False), values(model, False))


def test_exchange_with_keras(tmp_path):
    # Keras finds arrays by their exact paths alone, and is silent about others.
    inputs = keras.Input((4,), name="x")
    functional = keras.Model(inputs, keras.layers.Dense(3, name="d")(inputs))
    functional.compile("adam", "mse")
    train(functional, tmp_path / "k", keras, epochs=1)
    ours = cornu.saving.load_model(tmp_path / "k")
    np.testing.assert_equal(values(ours), values(functional))
    train(ours, tmp_path / "o", epochs=1)
    back = keras.saving.load_model(tmp_path / "o")
    np.testing.assert_equal(values(back), values(ours))
    # Keras' own sequential models come back here, though not in Keras.
    theirs = model_of(keras)
    train(theirs, tmp_path / "s", keras, epochs=1)
    np.testing.assert_equal(values(cornu.saving.load_model(tmp_path / "s")), values(theirs))


def test_nested_models_with_files_and_frozen_layers(tmp_path):
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("cat\ndog")
    text = cornu.Input((1,), dtype="string")
    lookup = cornu.layers.StringLookup(vocabulary=str(vocabulary))
    inner = cornu.Sequential([cornu.layers.Embedding(3, 2), cornu.layers.LSTM(2)])
    inner.layers[0].trainable = False
    model = cornu.Model(text, cornu.layers.Dense(1)(inner(lookup(text))))
    model.compile(cornu.optimizers.SGD(momentum=0.9), "mse")
    words = np.array([["cat"], ["bird"]])
    checkpoint = cornu.callbacks.OrbaxCheckpoint(tmp_path / "c", save_on_background=False)
    model.fit(words, np.ones((2, 1)), verbose=0, callbacks=[checkpoint])
    vocabulary.unlink()
    loaded = cornu.saving.load_model(tmp_path / "c")
    assert loaded.layers[1].get_vocabulary() == ["[UNK]", "cat", "dog"]
    np.testing.assert_array_equal(loaded.predict(words, verbose=0), model.predict(words, verbose=0))
    loaded.trainable = True
    loaded.load_weights(tmp_path / "c")
    np.testing.assert_equal(loaded.get_weights(), model.get_weights())


def test_what_is_written_in_the_background_is_of_its_step(tmp_path):
    model = model_of()
    checkpoints = [
        cornu.callbacks.OrbaxCheckpoint(
            tmp_path / name, save_freq=1, max_to_keep=None, save_on_background=name == "later"
        )
        for name in ("later", "at once")
    ]
    model.fit(X, Y, batch_size=4, epochs=1, verbose=0, callbacks=checkpoints)
    for step in range(1, 5):
        read = [model_of(), model_of()]
        for each, name in zip(read, ("later", "at once"), strict=True):
            each.load_weights(tmp_path / name / str(step))
        np.testing.assert_equal(values(read[0]), values(read[1]))


def test_numbers_of_steps(tmp_path, capsys):
    model = model_of()
    train(model, tmp_path / "b", save_freq=2, max_to_keep=None, save_weights_only=True, epochs=2)
    assert steps(tmp_path / "b") == ["2", "4"]
    with pytest.raises(FileFormatError, match=r"holds weights, but no model.*`load_weights`"):
        cornu.saving.load_model(tmp_path / "b")
    # A second run does not disappear behind the first.
    with pytest.warns(UserWarning, match=r"up to number 4.*go on from 5, where 2 was due"):
        train(model_of(), tmp_path / "b", save_freq=2, max_to_keep=None, epochs=1, verbose=1)
    assert steps(tmp_path / "b") == ["2", "4", "5"]
    assert "Saving checkpoint 5" in capsys.readouterr().out
    train(
        model, tmp_path / "best", monitor="loss", save_best_only=True, initial_value_threshold=0.0
    )
    assert steps(tmp_path / "best") == []
    with pytest.warns(UserWarning, match="Can save best model only with val_loss"):
        train(model, tmp_path / "best", save_best_only=True, epochs=1)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        train(model, tmp_path / "file" / "c", epochs=1)
    with pytest.raises(ValueError, match="max_to_keep"):
        cornu.callbacks.OrbaxCheckpoint(tmp_path, max_to_keep=0)


def test_what_does_not_fit(written, tmp_path):
    folder, model = written
    other = model_of(units=2)
    before = values(other, False)
    with pytest.raises(FileFormatError, match=r"does not fit.*kernel' has the shape \(4, 3\)"):
        other.load_weights(folder)
    np.testing.assert_equal(values(other, False), before)
    other.load_weights(folder, skip_mismatch=True)
    np.testing.assert_array_equal(other.layers[-1].bias.numpy(), model.layers[-1].bias.numpy())
    more = cornu.Sequential([cornu.Input((4,)), *model_of().layers, cornu.layers.Dense(2)])
    with pytest.raises(FileFormatError, match=r"it has no '.*dense.*kernel'"):
        more.load_weights(folder)
    changed = model_of()
    changed.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="state of the optimizer .* begins anew"):
        changed.load_weights(folder)
    np.testing.assert_equal(values(changed, False), values(model, False))
    slower = model_of()
    slower.compile(cornu.optimizers.Adam(0.5), "mse")
    with pytest.warns(UserWarning, match=r"learning rate is 0.001 now.*not 0.5"):
        slower.load_weights(folder)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 7 in .*It has: 1, 2\."):
        cornu.saving.load_model(folder / "7")
    with pytest.raises(ValueError, match="by_name"):
        changed.load_weights(folder, by_name=True)
    with pytest.raises(FileFormatError, match="nor a checkpoint of Orbax"):
        cornu.saving.load_model(tmp_path)


@pytest.mark.parametrize(
    "name", ["pytree/manifest.ocdbt", "pytree/_METADATA", "model_config/_strings.json"]
)
def test_damaged_folders(written, tmp_path, name):
    shutil.copytree(written[0], tmp_path / "c")
    file = tmp_path / "c" / "2" / name
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(FileFormatError, match=r"2 is damaged.*others beside it: 1"):
        cornu.saving.load_model(tmp_path / "c")
    cornu.saving.load_model(tmp_path / "c" / "1")


def test_files_stay_within_their_folder(written, tmp_path):
    orbax = pytest.importorskip("orbax.checkpoint").v1
    config = {"config": "{}"}
    forged = {"..": {"evil.txt": np.zeros(3, np.uint8)}}
    orbax.save_checkpointables(
        tmp_path / "0", {"pytree": {"a": np.zeros(2)}, "model_config": config, "assets": forged}
    )
    with (
        pytest.raises(FileFormatError, match="is no plain name of a file"),
        cornu.saving.checkpoint.Checkpoint(tmp_path / "0").files(),
    ):
        pass


SHARDED = """
    import sys
    import jax, numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
    import cornu
    what, folder = sys.argv[1:]
    model = cornu.Sequential([cornu.Input((4,)), cornu.layers.Dense(8, name="d")])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    mesh = Mesh(np.array(jax.devices()), ("devices",))
    for v in [*model.variables, *model.optimizer.variables]:
        spec = P(*[None] * (v.ndim - 1), "devices") if v.ndim else P()
        v.assign(jax.device_put(v.value, NamedSharding(mesh, spec)))
    if what == "save":
        model.layers[0].kernel.assign(np.arange(32.0).reshape(4, 8))
        x = np.ones((8, 4))
        checkpoint = cornu.callbacks.OrbaxCheckpoint(folder)
        model.fit(x, x[:, :1] * np.ones(8), verbose=0, callbacks=[checkpoint])
    else:
        model.load_weights(folder)
    kernel = model.layers[0].kernel.value
    assert kernel.sharding.spec == P(None, "devices"), kernel.sharding
    assert len(kernel.sharding.device_set) == len(jax.devices())
    print(np.asarray(kernel).tolist(), int(model.optimizer.iterations))
"""


@pytest.mark.slow
def test_arrays_that_are_spread_over_devices(tmp_path):
    def run(what: str, devices: int) -> str:
        flags = f"--xla_force_host_platform_device_count={devices}"
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SHARDED), what, str(tmp_path / "c")],
            env={**os.environ, "XLA_FLAGS": flags},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout

    saved = run("save", 4)
    for devices in (4, 2, 1):
        assert run("load", devices) == saved
