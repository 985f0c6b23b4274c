"""`cornu train`."""

import contextlib
import datetime
import difflib
import time
from pathlib import Path

import numpy as np

from cornu import callbacks, layers, models, optimizers
from cornu.cli import backbones, run_folder
from cornu.cli.command import CommandError, Interrupted, say
from cornu.cli.data import DEFAULT_IMAGE_SIZE, Data, Part, has_image_files, load_data
from cornu.cli.judge import judge
from cornu.cli.networks import check_size, find_network, make_model
from cornu.core import processes
from cornu.core.random import set_random_seed
from cornu.saving import load_model
from cornu.training import interrupts
from cornu.visualize import plot_confusion_matrix, plot_history, plot_predictions


def train(
    data: str,
    output: Path | None,
    shows_bars: bool,
    explore_port: int | None = None,
    overwrite: bool = False,
    **settings,
) -> None:
    """Train a network on DATA and leave everything in a folder.

    With a port, the training is shown on a page, which stays until Ctrl-C.
    """
    seed = settings["seed"]
    if seed is None:
        seed = settings["seed"] = _of_first(int(np.random.default_rng().integers(2**31)))
    set_random_seed(seed)
    # Arguments are checked before the data are loaded, or even downloaded.
    size = settings["image_size"] or DEFAULT_IMAGE_SIZE if has_image_files(data) else None
    backbone, weights = settings["backbone"], settings["backbone_weights"]
    network = None
    if backbone is None:
        network = find_network(settings["model"])
        if size is not None:
            check_size(settings["model"], network, size)
    else:
        backbones.check(backbone, weights)
    optimizer = _optimizer(settings)
    if output is not None and processes.is_first():
        run_folder.check_new(output, overwrite)
    if explore_port:
        _check_port(explore_port)
    loaded = load_data(
        data,
        settings["validation_split"],
        seed,
        settings["image_size"],
        settings["batch_size"],
        settings.pop("skip_unreadable"),
        settings["fit"],
        settings["keep_duplicates"],
    )
    if loaded.is_multi_label:
        raise CommandError("Training takes images of one class each.")
    print(loaded.describe())
    changes = _changes(loaded) if settings["augment"] else []
    if network is None:
        model = backbones.make_model(backbone, weights, loaded, changes)
    else:
        model = make_model(
            settings["model"],
            loaded.shape,
            len(loaded.class_names),
            [*_from_0_to_1(loaded), *changes],
            network,
        )
        settings["learning_rate"] = _rounded(optimizer.learning_rate)
        if settings["schedule"] == "cosine":
            optimizer.learning_rate = _cosine(settings, len(loaded.train))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    if network is not None and network.is_own:
        _check_probabilities(model, settings["model"], loaded)
    model.summary()

    folder = output or run_folder.free_name(
        Path("runs", f"{loaded.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
    )
    folder = Path(_of_first(str(folder)))
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "data": data,
        **settings,
        "classes": loaded.class_names,
        "image": loaded.image_settings,
        "versions": run_folder.versions(),
    }
    recorder = Recorder(folder, settings, shows_bars)
    best = callbacks.ModelCheckpoint(
        folder / run_folder.MODEL, monitor="val_accuracy", mode="max", save_best_only=True
    )
    with _page(model, loaded, explore_port) as watching:
        try:
            found = [_OldPictures(folder), best, recorder, *watching]
            if patience := settings["early_stopping"]:
                found.append(callbacks.EarlyStopping("val_accuracy", mode="max", patience=patience))
            if backbone is None:
                _fit(model, loaded, settings, found, shows_bars)
            else:
                _fine_tune(model, loaded, settings, found, shows_bars)
            _finish(model, loaded, folder, recorder)
        except KeyboardInterrupt as error:
            stopped = f"Stopped by {interrupts.name_of(error)}"
            if best.best is None:
                raise Interrupted(f"{stopped} before the end of the first epoch.") from error
            raise Interrupted(
                f"{stopped} after {len(recorder.rows)} epochs. The best model so far, of epoch "
                f"{recorder.best_epoch} with validation accuracy {best.best:.4f}, is kept: "
                f"{folder / run_folder.MODEL}"
            ) from error


def _of_first(value):
    """Process 0's value, if there are several."""
    others = processes.group()
    return value if others is None else others.first("cornu train", value)


def _optimizer(settings: dict):
    name = settings["optimizer"]
    try:
        optimizer = optimizers.get(name)
    except (TypeError, ValueError) as error:
        # Those that can be made from their names alone.
        names = [n.lower() for n in optimizers.__all__ if n not in _NOT_BY_NAME]
        near = difflib.get_close_matches(name.lower(), names, 1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise CommandError(
            f"There is no optimizer {name!r}.{guess} Optimizers: {', '.join(sorted(names))}."
        ) from error
    if settings["learning_rate"] is not None:
        optimizer.learning_rate = settings["learning_rate"]
    return optimizer


_NOT_BY_NAME = (
    "LossScaleOptimizer",
    "MultiOptimizer",
    "OptaxOptimizer",
    "Optimizer",
    "OptimizerMap",
)


def _check_port(port: int) -> None:
    from cornu.cli.explore import check_address

    check_address("127.0.0.1", port)


class _OldPictures(callbacks.Callback):
    """Takes away what an older run drew, before the first model of this one is saved."""

    in_first_process_only = True

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            for name in run_folder.PICTURES:
                (self.folder / name).unlink(missing_ok=True)


def _page(model, data: Data, port: int | None):
    """The callbacks that show a training on a page while it lasts; none without a port."""
    if port is None:
        return contextlib.nullcontext([])
    # Only here, as a server takes a while to load.
    from cornu.cli.explore import training_page

    return training_page(model, data, port)


class Recorder(callbacks.Callback):
    """Keeps `history.csv` and `settings.json` up to date, and prints a line an epoch.

    It comes after the callback that saves the model, so that settings never belong to another one.
    """

    def __init__(self, folder: Path, settings: dict, shows_bars: bool):
        super().__init__()
        self.folder, self.settings, self.shows_bars = folder, settings, shows_bars
        self.rows: list[dict] = []
        # Epochs of a head, before those of the whole model, and whether it is being trained.
        self.num_before, self.in_head = 0, False
        self._start = 0.0

    @property
    def history(self) -> dict[str, list]:
        return {
            name: [row[name] for row in self.rows]
            for name in self.rows[0]
            if name not in ("epoch", "seconds")
        }

    @property
    def best_epoch(self) -> int:
        first = max(self.num_before - 1, 0)
        accuracies = self.history["val_accuracy"][first:]
        return first + accuracies.index(max(accuracies)) + 1

    def write(self) -> None:
        """Write `history.csv` and `settings.json`."""
        run_folder.write_history(self.folder, self.rows)
        run_folder.write_settings(self.folder, {**self.settings, "best_epoch": self.best_epoch})

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self._start
        values = {name: _rounded(value) for name, value in logs.items()}
        number = len(self.rows) + 1
        self.rows.append({"epoch": number, **values, "seconds": round(seconds, 3)})
        if not processes.is_first():
            return
        if not self.in_head:
            self.write()
        if not self.shows_bars:
            total = self.num_before + (self.params or {})["epochs"]
            print(
                f"epoch {number:{len(str(total))}}/{total}  loss {logs['loss']:.4f}  "
                f"accuracy {logs['accuracy']:.4f}  val_loss {logs['val_loss']:.4f}  "
                f"val_accuracy {logs['val_accuracy']:.4f}  {seconds:.1f} s",
                flush=True,
            )


def _rounded(value) -> float:
    """A number without the digits that single precision does not have."""
    return float(f"{float(value):.6g}")


def _check_probabilities(model, name: str, data: Data) -> None:
    """A network of the user's may lack its softmax, and would then learn badly without a word."""
    answer = model.predict_on_batch(np.zeros((1, *data.shape), "float32"))[0]
    if answer.min() < 0 or abs(answer.sum() - 1) > 1e-3:
        raise CommandError(
            f"The output of {name} is not a probability for each class: for a black image it is "
            f"{np.round(answer[:5], 3).tolist()}… with sum {answer.sum():.3f}. Expected the sum 1, as "
            f"from a last layer Dense({len(data.class_names)}, activation='softmax')."
        )


def _from_0_to_1(data: Data) -> list:
    """Layers that bring pixels to 0 to 1."""
    return [] if data.white in (None, 1) else [layers.Rescaling(1 / data.white)]


def _changes(data: Data) -> list:
    """Layers that change images at random in training."""
    # An edge of a photograph goes on as it is; what is beside a digit is empty.
    filling = {"fill_mode": "nearest" if data.shape[2] == 3 else "constant"}
    return [
        *([layers.RandomFlip("horizontal")] if data.can_be_mirrored else []),
        layers.RandomTranslation(0.1, 0.1, **filling),
        layers.RandomRotation(0.03, **filling),
        layers.RandomZoom(0.1, **filling),
    ]


def _cosine(settings: dict, count: int) -> optimizers.schedules.LearningRateSchedule:
    """Up to the learning rate in a twentieth of the steps, then down to nothing."""
    steps = settings["epochs"] * -(-count // settings["batch_size"])
    warm, rate = max(steps // 20, 1), settings["learning_rate"]
    return optimizers.schedules.CosineDecay(
        rate / 25, max(steps - warm, 1), warmup_target=rate, warmup_steps=warm
    )


def _class_weight(data: Data, settings: dict) -> dict | None:
    """Weights by which each class counts the same, or a warning if few images are of some class."""
    counts = np.bincount(data.train.labels, minlength=len(data.class_names))
    if settings["class_weights"]:
        weights = counts.sum() / (len(counts) * np.maximum(counts, 1))
        return {label: float(weight) for label, weight in enumerate(weights)}
    if counts.max() > 5 * max(counts.min(), 1):
        most, least = (data.class_names[i] for i in (counts.argmax(), counts.argmin()))
        say(
            f"there are {counts.max():,} training images of {most}, and {counts.min():,} of {least}. "
            "--class-weights lets them weigh the same."
        )
    return None


def _fit(model, data: Data, settings: dict, found: list, shows_bars: bool) -> None:
    options = {
        "epochs": settings["epochs"],
        "class_weight": _class_weight(data, settings),
        "callbacks": found,
        "validation_data": data.validation.source,
        "verbose": 1 if shows_bars else 0,
    }
    if data.train.is_in_memory:
        options["batch_size"] = settings["batch_size"]
        model.fit(*data.train.source, **options)
        return
    try:
        model.fit(data.train.source, **options)
    except OSError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise CommandError(
            f"{error.__cause__} Delete it, or leave out unreadable images with --skip-unreadable."
        ) from error


def _fine_tune(model, data: Data, settings: dict, found: list, shows_bars: bool) -> None:
    """The head on frozen features, whose model is the first to be kept, then the whole."""
    options = {
        "batch_size": settings["batch_size"],
        "class_weight": _class_weight(data, settings),
        "learning_rate": settings["learning_rate"],
        "validation_data": data.validation.source,
        "seed": settings["seed"],
        "verbose": 1 if shows_bars else 0,
    }
    source = data.train.source if data.train.is_in_memory else (data.train.source,)
    old, best, recorder, *_ = found
    if settings["head_epochs"]:
        recorder.in_head = True
        done = models.fine_tune(
            model,
            *source,
            head_epochs=settings["head_epochs"],
            epochs=0,
            head_callbacks=[recorder],
            **options,
        )
        recorder.in_head, recorder.num_before = False, len(recorder.rows)
        recorder.settings["head_rate"] = _rounded(done.head_rate)
        old.on_epoch_end(0)
        best.best = recorder.rows[-1]["val_accuracy"]
        if processes.is_first():
            model.save(best.filepath)
            recorder.write()
    done = models.fine_tune(
        model, *source, head_epochs=0, epochs=settings["epochs"], callbacks=found, **options
    )
    recorder.settings["whole_rate"] = _rounded(done.whole_rate)
    # The file holds the optimizers of this stage, which are of no use to anyone.
    model.set_weights(load_model(best.filepath, compile=False).get_weights())
    model.save(best.filepath)


def _finish(model, data: Data, folder: Path, recorder: Recorder) -> None:
    """Evaluate the best model, draw the figures, and print where everything is."""
    model.load_weights(folder / run_folder.MODEL)
    epoch = recorder.best_epoch
    accuracy = recorder.history["val_accuracy"][epoch - 1]
    print(f"\nBest epoch: {epoch} of {len(recorder.rows)} (validation accuracy {accuracy:.4f})")
    part: Part = data.validation if data.test is None else data.test
    judged = judge(model, part, recorder.settings["batch_size"])
    if data.test is None:
        print(f"Validation accuracy: {judged.describe()}")
        print("The data have no test part. These images also chose the best epoch, which flatters.")
    else:
        print(f"Test accuracy: {judged.describe()}")
    if not processes.is_first():
        return
    results = {
        "best_epoch": epoch,
        "judged_on": "validation" if data.test is None else "test",
        "images": len(judged.y_true),
        "wrong": judged.num_wrong,
        "accuracy": judged.accuracy,
        "loss": judged.loss,
    }
    run_folder.write_settings(folder, {**recorder.settings, **results})
    names = data.class_names
    plot_history(recorder.history, folder / run_folder.CURVES)
    plot_confusion_matrix(judged.y_true, judged.y_pred, names, folder / run_folder.CONFUSION)
    files = {
        run_folder.MODEL: f"the best model, of epoch {epoch}",
        run_folder.HISTORY: "loss and accuracy of each epoch",
        run_folder.CURVES: "the same as curves",
        run_folder.CONFUSION: "which class is taken for which",
    }
    if judged.images.shape[3] in (1, 3):
        shown = judged.shown
        plot_predictions(
            judged.images,
            judged.y_true[shown],
            judged.probabilities[shown],
            names,
            folder / run_folder.PREDICTIONS,
        )
        files[run_folder.PREDICTIONS] = "some images, wrong ones among them"
    files[run_folder.SETTINGS] = "settings, classes, versions and results"
    print(f"\nSaved in {folder}:")
    for name, what in files.items():
        print(f"  {name:<22}{what}")
