"""`cornu train`."""

import contextlib
import datetime
import difflib
from pathlib import Path

import numpy as np

from cornu import callbacks, layers, metrics, models, optimizers
from cornu.cli import (
    augmentation,
    backbones,
    config,
    mixing,
    progress,
    run_folder,
    split,
)
from cornu.cli.command import CommandError, Interrupted, say
from cornu.cli.data import DEFAULT_IMAGE_SIZE, Data, has_image_files, load_data
from cornu.cli.finish import WORDS, finish
from cornu.cli.networks import check_size, find_network, make_model
from cornu.cli.progress import Heartbeat, Log, Recorder, rounded
from cornu.cli.resume import Backup, HeadKept, kept_head
from cornu.config import dtype_policy, set_dtype_policy
from cornu.core import processes
from cornu.core.random import set_random_seed
from cornu.saving import load_model
from cornu.training import interrupts

# How many times as many images of one class as of another are worth a word.
_UNBALANCED = 5


def train(*arguments, **options) -> None:
    """Train a network on DATA and leave everything in a folder, in which no other process trains meanwhile.

    The arguments are those of `_train`.
    """
    with contextlib.ExitStack() as holding:
        _train(holding, *arguments, **options)


def _train(
    holding: contextlib.ExitStack,
    data: str,
    output: Path | None,
    shows_bars: bool,
    explore_port: int | None = None,
    overwrite: bool = False,
    resumes: bool = False,
    log_file: Path | None = None,
    tensorboard: Path | None = None,
    watchers=(),
    **settings,
) -> None:
    """As `train` says; `holding` holds the folder.

    With a port, the training is shown on a page, which stays until Ctrl-C. `watchers` are more callbacks.
    """
    seed = settings["seed"]
    if seed is None:
        seed = settings["seed"] = _of_first(int(np.random.default_rng().integers(2**31)))
    options = {"data": data, **settings}
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
    if output is not None and not resumes and processes.is_first():
        run_folder.check_new(output, overwrite)
    is_held = False
    if output is not None and output.is_dir() and processes.is_first():
        holding.enter_context(run_folder.held(output))
        is_held = True
    if tensorboard is not None and processes.is_first():
        progress.check_tensorboard(tensorboard, resumes, overwrite)
    if explore_port:
        _check_port(explore_port)
    log = None
    if log_file is not None and processes.is_first():
        log = Log(log_file, resumes, overwrite)
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
        _check_several(settings, explore_port)
    print(loaded.describe())
    _say_of_balance(loaded, settings)
    pictures = split.text_of(loaded) if processes.is_first() else ""
    if resumes and output is not None and processes.is_first():
        split.check_same(output, pictures)
    # A backbone takes pixels as they are, other networks from 0 to 1.
    white = loaded.white if network is None or loaded.white is None else 1.0
    changes = augmentation.changes(loaded, settings["augment"], white)
    is_mixing = augmentation.is_mixing(settings["augment"])
    with _precision(settings["mixed_precision"]):
        if network is None:
            model = backbones.make_model(backbone, weights, loaded, changes)
        else:
            model = make_model(
                settings["model"],
                loaded.shape,
                len(loaded.class_names),
                [*_from_0_to_1(loaded), *changes],
                network,
                loaded.activation,
            )
            settings["learning_rate"] = rounded(optimizer.learning_rate)
            if settings["schedule"] == "cosine":
                optimizer.learning_rate = _cosine(settings, len(loaded.train))
        is_one_hot = is_mixing and not loaded.is_multi_label
        loss = "categorical_crossentropy" if is_one_hot else loaded.loss
        model.compile(optimizer, loss, metrics=[_metric(loaded)])
    if network is not None and network.is_own:
        _check_probabilities(model, settings["model"], loaded)
    model.summary()

    name = Path("runs", f"{loaded.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
    if output is None and processes.is_first():
        name = run_folder.make_free(name)
    folder = Path(_of_first(str(output or name)))
    config_text = config.text_of(options)
    settings = {
        "data": data,
        **settings,
        "classes": loaded.class_names,
        "image": loaded.image_settings,
        "versions": run_folder.versions(),
        "config_sha256": run_folder.sha256(config_text),
        "split_sha256": run_folder.sha256(pictures),
    }
    if not resumes and processes.is_first():
        folder.mkdir(parents=True, exist_ok=True)
        if not is_held:
            holding.enter_context(run_folder.held(folder))
            # Another process may have begun, and ended, while the data were read.
            run_folder.check_new(folder, overwrite)
        run_folder.clear(folder)
        run_folder.write_text(folder / run_folder.CONFIG, config_text)
        run_folder.write_text(folder / run_folder.SPLIT, pictures)
        run_folder.write_settings(folder, settings)
    recorder = Recorder(folder, settings, loaded.measure)
    monitored = f"val_{loaded.measure}"
    best = callbacks.ModelCheckpoint(
        folder / run_folder.MODEL, monitor=monitored, mode="max", save_best_only=True
    )
    with (
        Heartbeat(recorder, not shows_bars, log) as heartbeat,
        _page(model, loaded, explore_port) as watching,
    ):
        if log is not None:
            log.write("resumed" if resumes else "begun", folder=str(folder), options=options)
        try:
            found = [best, recorder, heartbeat, *watching]
            if patience := settings["early_stopping"]:
                found.append(callbacks.EarlyStopping(monitored, mode="max", patience=patience))
            if tensorboard is not None:
                found.append(callbacks.TensorBoard(tensorboard))
            found += [Backup(folder), *watchers]
            if backbone is None:
                _fit(model, loaded, settings, found, shows_bars)
                model.load_weights(best.filepath)
            else:
                of_head = [recorder, heartbeat]
                if tensorboard is not None:
                    of_head.append(callbacks.TensorBoard(tensorboard / "head"))
                _fine_tune(model, loaded, settings, found, of_head, shows_bars)
            heartbeat.goes_on_with("judging the best model")
            finish(model, loaded, folder, recorder)
        except KeyboardInterrupt as error:
            raise Interrupted(_stopped(error, folder, recorder, best)) from error
        except OSError as error:
            raise CommandError(_failed(error, folder)) from error
    if processes.is_first():
        run_folder.forget_state(folder)
    if log is not None:
        kept = ("accuracy", "loss", "images", "wrong", "best_epoch", "judged_on")
        log.write("finished", **{name: recorder.settings.get(name) for name in kept})
        log.close()


def _stopped(error: KeyboardInterrupt, folder: Path, recorder: Recorder, best) -> str:
    """What is said of a run that was stopped."""
    how = f"Stopped by {interrupts.name_of(error)}"
    again = f"Go on: cornu train --resume --output {folder}"
    if best.best is None:
        return f"{how} before the end of the first epoch. {again}"
    return (
        f"{how} after {len(recorder.rows)} epochs. The best model so far, of epoch "
        f"{recorder.best_epoch} with validation {WORDS[recorder.measure]} {best.best:.4f}, is kept: "
        f"{folder / run_folder.MODEL}. {again}"
    )


def _failed(error: OSError, folder: Path) -> str:
    """What is said where a file cannot be read or written."""
    if error.errno is None and isinstance(error.__cause__, OSError):
        # One of the images.
        return (
            f"{error.__cause__} Delete it, or leave out unreadable images with --skip-unreadable."
        )
    what = (error.strerror or str(error)).rstrip(". ")
    return f"{what}. When that is mended, go on: cornu train --resume --output {folder}"


@contextlib.contextmanager
def _precision(kind: str | None):
    """Within, layers compute in this format and keep their weights in float32."""
    if kind is None:
        yield
        return
    policy, before = f"mixed_{kind}", dtype_policy()
    print(f"Mixed precision: policy {policy} (computing in {kind}, weights in float32)")
    set_dtype_policy(policy)
    try:
        yield
    finally:
        set_dtype_policy(before)


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


def _page(model, data: Data, port: int | None):
    """The callbacks that show a training on a page while it lasts; none without a port."""
    if port is None:
        return contextlib.nullcontext([])
    # Only here, as a server takes a while to load.
    from cornu.cli.explore import training_page

    return training_page(model, data, port)


def _check_probabilities(model, name: str, data: Data) -> None:
    """A network of the user's may lack its softmax, and would then learn badly without a word."""
    answer = np.asarray(model.predict_on_batch(np.zeros((1, *data.shape), "float32"))[0])
    if data.is_multi_label:
        if answer.min() < 0 or answer.max() > 1 or _ends_in_softmax(model, data.white):
            raise CommandError(
                f"The output of {name} is not a probability for each class by itself, which images of "
                "several classes need. Expected values from 0 to 1, as from a last layer "
                f"Dense({len(data.class_names)}, activation='sigmoid')."
            )
        return
    allowed = 1e-3 if answer.dtype.itemsize >= 4 else 0.02
    answer = answer.astype("float32")
    if answer.min() < 0 or abs(answer.sum() - 1) > allowed:
        raise CommandError(
            f"The output of {name} is not a probability for each class: for a black image it is "
            f"{np.round(answer[:5], 3).tolist()}… with sum {answer.sum():.3f}. Expected the sum 1, as "
            f"from a last layer Dense({len(data.class_names)}, activation='softmax')."
        )


def _ends_in_softmax(model, white: float | None) -> bool:
    """Whether the probabilities of pictures have the sum 1, as sigmoids hardly have it for all of them."""
    shape = (16, *model.inputs[0].shape[1:])
    x = np.random.default_rng(0).random(shape) * (white or 1.0)
    sums = np.asarray(model.predict_on_batch(x.astype("float32")), "float32").sum(-1)
    return model.outputs[0].shape[-1] > 1 and bool((abs(sums - 1) < 1e-3).all())


def _from_0_to_1(data: Data) -> list:
    """Layers that bring pixels to 0 to 1."""
    return [] if data.white in (None, 1) else [layers.Rescaling(1 / data.white)]


def _cosine(settings: dict, count: int) -> optimizers.schedules.LearningRateSchedule:
    """Up to the learning rate in a twentieth of the steps, then down to nothing."""
    steps = settings["epochs"] * -(-count // settings["batch_size"])
    warm, rate = max(steps // 20, 1), settings["learning_rate"]
    return optimizers.schedules.CosineDecay(
        rate / 25, max(steps - warm, 1), warmup_target=rate, warmup_steps=warm
    )


def _metric(data: Data):
    if not data.is_multi_label:
        return "accuracy"
    count = len(data.class_names)
    return metrics.AUC(curve="PR", multi_label=True, num_labels=count, name=data.measure)


def _check_several(settings: dict, explore_port: int | None) -> None:
    """Raise CommandError for options that images of several classes do not go with."""
    if settings["class_weights"]:
        raise CommandError(
            "--class-weights is for images of one class each. Of these, a class may be rare in images of a "
            "frequent one; each class has a threshold of its own instead, found on the validation images."
        )
    if explore_port is not None:
        raise CommandError("--explore shows networks for images of one class each.")


def _say_of_balance(data: Data, settings: dict) -> None:
    """A finding if few images are of some class."""
    if settings["class_weights"]:
        return
    labels, count = data.train.labels, len(data.class_names)
    counts = labels.sum(0) if data.is_multi_label else np.bincount(labels, minlength=count)
    if counts.max() <= _UNBALANCED * max(counts.min(), 1):
        return
    most, least = (data.class_names[i] for i in (counts.argmax(), counts.argmin()))
    numbers = [f"{int(each):,}" for each in (counts.max(), counts.min())]
    text = f"there are {numbers[0]} training images of {most}, and {numbers[1]} of {least}."
    if not data.is_multi_label:
        text += " --class-weights lets them weigh the same."
    data.findings.append(text)
    say(text)


def _class_weight(data: Data, settings: dict) -> dict | None:
    """Weights by which each class counts the same, if they are wanted."""
    if not settings["class_weights"]:
        return None
    counts = np.bincount(data.train.labels, minlength=len(data.class_names))
    weights = counts.sum() / (len(counts) * np.maximum(counts, 1))
    return {label: float(weight) for label, weight in enumerate(weights)}


def _fit(model, data: Data, settings: dict, found: list, shows_bars: bool) -> None:
    options = {
        "epochs": settings["epochs"],
        "callbacks": found,
        "validation_data": _validation(data, settings),
        "verbose": 1 if shows_bars else 0,
    }
    weights = _class_weight(data, settings)
    source = data.train.source
    if augmentation.is_mixing(settings["augment"]):
        source = mixing.mixed(data, settings["batch_size"], settings["seed"], weights)
    else:
        options["class_weight"] = weights
    if isinstance(source, tuple):
        options["batch_size"] = settings["batch_size"]
        model.fit(*source, **options)
    else:
        model.fit(source, **options)


def _validation(data: Data, settings: dict):
    """Validation images as `fit` takes them, with labels as those of the training."""
    if augmentation.is_mixing(settings["augment"]):
        return mixing.one_hot(data.validation, len(data.class_names))
    return data.validation.source


def _fine_tune(
    model, data: Data, settings: dict, found: list, of_head: list, shows_bars: bool
) -> None:
    """The head on frozen features, whose model is the first to be kept, then the whole.

    A run that was stopped while the whole was trained goes on there. Before that, all is done again, to the
    same end.
    """
    weights = _class_weight(data, settings)
    options = {
        "batch_size": settings["batch_size"],
        "validation_data": _validation(data, settings),
        "seed": settings["seed"],
        "verbose": 1 if shows_bars else 0,
    }
    source, mixes = data.train.source, augmentation.is_mixing(settings["augment"])
    if mixes:
        # Features are kept, so those of each mixture are not computed: the head learns from whole images.
        source = mixing.one_hot(data.train, len(data.class_names))
    best, recorder, heartbeat, *_ = found
    rate = settings["learning_rate"]
    if kept := kept_head(recorder.folder):
        recorder.rows, recorder.num_before = kept["rows"], len(kept["rows"])
        best.best, rate = kept["best"], (None, kept["whole_rate"])
        recorder.settings |= kept["found"]
    elif settings["head_epochs"]:
        recorder.in_head = True
        heartbeat.goes_on_with("computing frozen features")
        done = models.fine_tune(
            model,
            *(source if isinstance(source, tuple) else (source,)),
            head_epochs=settings["head_epochs"],
            epochs=0,
            learning_rate=rate,
            class_weight=weights,
            head_callbacks=of_head,
            **options,
        )
        recorder.in_head, recorder.num_before = False, len(recorder.rows)
        recorder.settings["head_rate"] = rounded(done.head_rate)
        best.best = recorder.rows[-1][f"val_{recorder.measure}"]
        if processes.is_first():
            model.save(best.filepath)
            recorder.write()
    if not kept:
        own = {name: recorder.settings[name] for name in ("head_rate",) if settings["head_epochs"]}
        kept = {"rows": list(recorder.rows), "best": best.best, "found": own}
    heartbeat.goes_on_with("looking for a learning rate")
    if mixes:
        source = mixing.mixed(data, settings["batch_size"], settings["seed"], weights)
    done = models.fine_tune(
        model,
        *(source if isinstance(source, tuple) else (source,)),
        head_epochs=0,
        epochs=settings["epochs"],
        learning_rate=rate,
        class_weight=None if mixes else weights,
        callbacks=[*found, HeadKept(recorder.folder, kept)],
        **options,
    )
    recorder.settings["whole_rate"] = rounded(done.whole_rate)
    # The file holds the optimizers of this stage, which are of no use to anyone.
    model.set_weights(load_model(best.filepath, compile=False).get_weights())
    model.save(best.filepath)
