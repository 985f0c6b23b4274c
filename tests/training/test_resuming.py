"""A run goes on with its own state, and with what the program says now."""

import json
import random

import h5py
import numpy as np
import pytest

import cornu
from cornu import callbacks as cb
from cornu import layers

X = np.random.RandomState(0).rand(12, 3).astype("float32")
Y = X.sum(1)


class Stop(Exception):
    pass


class StopAt(cb.Callback):
    """Ends the process, so to speak, after an epoch, or in the next one after a batch."""

    comes_last = True

    def __init__(self, epoch, batch=None):
        self.at, self.now = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == self.at:
            raise Stop

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, None) == self.at:
            raise Stop


class Own(cb.Callback):
    """A user's, with arguments that are state, too, and one that is kept under another name."""

    def __init__(self, count=0, limit=5, folder="a", label="x"):
        self.count, self.limit, self.folder, self.text = count, 2 * limit, folder, label
        self.phase, self.seen, self.big = "warm", [], np.zeros(3)

    def on_epoch_end(self, epoch, logs=None):
        self.count += 1
        self.seen.append(epoch)
        self.phase, self.big = "hot", self.big + 1
        self.made_late = epoch


def model(rate=0.05):
    cornu.utils.set_random_seed(0)
    made = cornu.Sequential(
        [cornu.Input((3,)), layers.Dense(2, activation="relu"), layers.Dense(1)]
    )
    made.compile(cornu.optimizers.Adam(rate), "mse")
    return made


def fit(made, folder, *others, epochs=4, batch_size=4, save_freq="epoch"):
    backup = cb.BackupAndRestore(folder / "backup", save_freq=save_freq)
    # Those that come last, in this order.
    found = sorted([backup, *others], key=lambda callback: isinstance(callback, StopAt))
    return made.fit(X, Y, batch_size, epochs, verbose=0, callbacks=found)


def test_arguments_are_those_of_now(tmp_path):
    def all_of(kind):
        first = kind == "first"
        return {
            "stop": cb.EarlyStopping("loss", min_delta=9, patience=5 if first else 3),
            "plateau": cb.ReduceLROnPlateau(
                "loss", patience=1, min_delta=9, factor=0.5 if first else 0.1, min_lr=0.001
            ),
            "own": Own(limit=5 if first else 7, folder=kind, label=kind),
            "log": cb.CSVLogger(tmp_path / f"{kind}.csv", separator="," if first else ";"),
            "best": cb.ModelCheckpoint(tmp_path / f"{kind}.keras", "loss", save_best_only=True),
        }

    with pytest.raises(Stop):
        fit(model(), tmp_path, *all_of("first").values(), StopAt(1))
    now, made = all_of("second"), model()
    history = fit(made, tmp_path, *now.values(), epochs=9)
    # Of the epochs 0 to 3, the first was the best: patience ends after three more.
    assert history.epoch == [0, 1, 2, 3] and now["stop"].patience == 3
    # 0.5 in epoch 1 of the first run, 0.1 in epochs 2 and 3 of the second.
    rates = history.history["learning_rate"]
    np.testing.assert_allclose(rates, [0.05, 0.05, 0.025, 0.0025], rtol=1e-5)
    own = now["own"]
    assert (own.limit, own.folder, own.text) == (14, "second", "second")
    assert (own.count, own.seen, own.phase, own.made_late) == (4, [0, 1, 2, 3], "hot", 3)
    assert own.big.tolist() == [4] * 3
    lines = (tmp_path / "second.csv").read_text().splitlines()
    assert [line.split(";")[0] for line in lines] == ["epoch", "2", "3"]


def test_a_users_argument_that_counts(tmp_path):
    with pytest.raises(Stop):
        fit(model(), tmp_path, Own(count=10), StopAt(1))
    changed = Own(count=100)
    with pytest.raises(Stop):
        fit(model(), tmp_path, changed, StopAt(2))
    assert changed.count == 101 and changed.seen == [0, 1, 2]


@pytest.mark.parametrize("rate, expected", [(0.05, 0.01), (0.2, 0.2)])
def test_the_learning_rate(tmp_path, rate, expected):
    """One that a callback has set goes on, unless the program sets another than before."""
    lower = cb.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(made.optimizer, "learning_rate", 0.01)
    )
    made = model()
    with pytest.raises(Stop):
        fit(made, tmp_path, lower, StopAt(0))
    made = model(rate)
    rates = []
    look = cb.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: rates.append(float(made.optimizer.learning_rate.numpy()))
    )
    fit(made, tmp_path, look, epochs=2)
    assert rates == pytest.approx([expected])
    assert int(made.optimizer.iterations) == 6


def test_an_edited_backup_does_not_say_where_to_write(tmp_path):
    first = [cb.CSVLogger(tmp_path / "log.csv"), Own()]
    with pytest.raises(Stop):
        fit(model(), tmp_path, *first, StopAt(1))
    (path,) = (tmp_path / "backup").glob("*.h5")
    with h5py.File(path, "r+") as file:
        state = json.loads(file["state/0"][:].tobytes())
        for name, attributes, _ in state["callbacks"]:
            if name == "CSVLogger":
                attributes.update(filename=str(tmp_path / "elsewhere.csv"), sep="#", append=True)
            if name == "Own":
                attributes.update(folder="elsewhere", limit=99)
            if name == "BackupAndRestore":
                attributes.update(backup_dir=str(tmp_path / "else"), delete_checkpoint=False)
            attributes["_model"] = attributes["params"] = attributes["unknown"] = 1
        del file["state/0"]
        file["state/0"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    now = [cb.CSVLogger(tmp_path / "log.csv"), Own()]
    fit(model(), tmp_path, *now)
    assert not (tmp_path / "elsewhere.csv").exists() and not (tmp_path / "backup").exists()
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2", "3"]
    assert now[1].folder == "a" and not hasattr(now[1], "unknown")


def test_batches_of_another_size(tmp_path):
    with pytest.raises(Stop):
        fit(model(), tmp_path, StopAt(1, 1), save_freq=1)
    made = model()
    with pytest.warns(
        UserWarning, match="had 3 batches .* has 6 now, so epoch 2 begins at its first"
    ):
        fit(made, tmp_path, epochs=2, batch_size=2, save_freq=1)
    # Three of the first epoch and two of the second, and the whole second epoch again.
    assert int(made.optimizer.iterations) == 5 + 6


class Drawing(cornu.utils.PyDataset):
    """Draws random numbers in its batches and in its hooks, as many a `Sequence` does."""

    def __init__(self, in_batches, in_hooks):
        super().__init__()
        self.draw, self.mix, self.order = in_batches, in_hooks, list(range(12))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        rows = self.order[3 * index : 3 * index + 3]
        return X[rows] * np.float32(self.draw()), Y[rows]

    def on_epoch_end(self):
        self.mix(self.order)


def endless():
    while True:
        for rows in np.random.permutation(12).reshape(4, 3):
            yield X[rows], Y[rows]


SOURCES = {
    "arrays": (lambda: X, {"y": Y, "batch_size": 3}),
    "arrays by steps": (lambda: X, {"y": Y, "batch_size": 3, "steps_per_epoch": 3}),
    "generator": (endless, {"steps_per_epoch": 3}),
    "NumPy's numbers": (lambda: Drawing(np.random.random, np.random.shuffle), {}),
    "Python's numbers": (lambda: Drawing(random.random, random.shuffle), {}),
    "both": (lambda: Drawing(random.random, np.random.shuffle), {"shuffle": False}),
}


VALIDATIONS = {
    "generator": lambda: ((X[:3], Y[:3] + i) for i in range(9)),
    "NumPy's numbers": lambda: Drawing(lambda: 1.0, np.random.shuffle),
    "both": lambda: cornu.data.Dataset.from_tensor_slices((X, Y)).shuffle(12).batch(3),
}


@pytest.mark.parametrize("source", SOURCES)
def test_random_numbers_are_those_of_a_run_without_backups(source, tmp_path):
    data, arguments = SOURCES[source]
    validation = VALIDATIONS.get(source)

    def run(*callbacks):
        made = model()
        how = {"epochs": 3, "verbose": 0, "callbacks": list(callbacks), **arguments}
        if validation is not None:
            how |= {"validation_data": validation(), "validation_steps": 2}
        history = made.fit(data(), **how)
        drawn = [np.random.random(), random.random(), cornu.random.uniform((1,)).tolist()]
        return [history.history, drawn, *map(np.ndarray.tolist, made.get_weights())]

    expected = run()
    # After the first backup, and within a later epoch.
    for at in ((0, 0), (2, 1)):
        backup = cb.BackupAndRestore(tmp_path / str(at), save_freq=1)
        with pytest.raises(Stop):
            run(backup, StopAt(*at))
        assert run(backup) == expected
