"""The commands, their options and their help."""

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cornu.cli import strength
from cornu.cli.command import command

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DATA_HELP = (
    "digits, mnist, fashion_mnist, cifar10 or cifar100; an .npz file; a folder of images with a subfolder "
    "for each class; or a .csv file of their paths and labels."
)
_MODEL_HELP = (
    "The folder of a training run, a .keras file, or SmallResNet or LeNet5, which come with cornu."
)
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="For image files: leave out damaged ones.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if not found:
        raise typer.BadParameter(f"{text!r} is no size. Write 64, or 64x96 for rows x columns.")
    return int(found[1]), int(found[2] or found[1])


def _shape(text: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise typer.BadParameter(f"{text!r} is no shape. Write 28x28x1: rows, columns, channels.")
    return int(found[1]), int(found[2]), int(found[3])


def _fraction(value: float) -> float:
    if not 0 < value < 1:
        raise typer.BadParameter(f"{value} is not between 0 and 1.")
    return value


def _schedule(value: str) -> str:
    if value not in ("constant", "cosine"):
        raise typer.BadParameter(f"It is constant or cosine, not {value}.")
    return value


def _fit(value: str | None) -> str | None:
    if value not in (None, "stretch", "crop", "pad"):
        raise typer.BadParameter(f"It is stretch, crop or pad, not {value}.")
    return value


def _sixteen_bits(value: str | None) -> str | None:
    if value not in (None, "bfloat16", "float16"):
        raise typer.BadParameter(f"It is bfloat16 or float16, not {value}.")
    return value


def _positive(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value} is not a positive number.")
    return value


def _print_version(wanted: bool) -> None:
    if wanted:
        versions = {name: importlib.metadata.version(name) for name in ("cornu", "jax")}
        typer.echo(f"cornu {versions['cornu']} (jax {versions['jax']})")
        raise typer.Exit()


@app.callback()
def cornu(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the versions of cornu and JAX.",
        ),
    ] = False,
):
    """Train convolutional networks on images, judge them, and use them.

    Begin with:  cornu train digits
    """


@app.command(cls=strength.WithStrength)
@command
def train(
    context: typer.Context,
    data: Annotated[str | None, typer.Argument(help=_DATA_HELP, metavar="DATA")] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="simple, lecture, tutorial, lenet, resnet, or file.py:function, where "
            "function(input_shape, num_classes) returns a model.",
        ),
    ] = "simple",
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Begin with a trained network instead: SmallResNet, which comes with cornu, another one "
            "such as MobileNetV2, or a model's file or run. Its head is trained on frozen features, then "
            "all of it, by found learning rates.",
        ),
    ] = None,
    backbone_weights: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="Of a backbone by name: none for random ones, or a file. Default: its own.",
        ),
    ] = None,
    head_epochs: Annotated[
        int, typer.Option(min=0, metavar="N", help="With --backbone: epochs of the head.")
    ] = 20,
    epochs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Passes over the training images.")
    ] = 10,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Images a step.")] = 64,
    optimizer: Annotated[
        str, typer.Option(metavar="NAME", help="adam, sgd, rmsprop, adamw, …")
    ] = "adam",
    learning_rate: Annotated[
        float | None,
        typer.Option(callback=_positive, metavar="RATE", help="Default: the optimizer's own."),
    ] = None,
    schedule: Annotated[
        str,
        typer.Option(
            callback=_schedule,
            metavar="NAME",
            help="constant, or cosine: the learning rate rises for a twentieth of the steps and falls to "
            "nothing. With --backbone it is one cycle in any case.",
        ),
    ] = "constant",
    early_stopping: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Stop after N epochs without a better validation accuracy."
        ),
    ] = None,
    class_weights: Annotated[
        bool,
        typer.Option(
            "--class-weights", help="Let each class weigh the same, however many images it has."
        ),
    ] = False,
    validation_split: Annotated[
        float,
        typer.Option(
            callback=_fraction, metavar="SHARE", help="Share of the training images to validate on."
        ),
    ] = 0.1,
    augment: Annotated[
        str | None,
        typer.Option(
            callback=strength.check,
            metavar="[STRENGTH]",
            help="Change images at random in training. light, as --augment alone: move, turn, zoom, mirror "
            "photographs; medium: brightness, contrast and colours, too; strong: RandAugment, "
            "covered parts, MixUp and CutMix as well.",
        ),
    ] = None,
    image_size: Annotated[
        tuple | None,
        typer.Option(
            parser=_size,
            metavar="SIZE",
            help="For image files: rows x columns to bring them to. Default: 128x128.",
        ),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            callback=_fit,
            metavar="HOW",
            help="For images of other proportions: stretch (default), crop, or pad with black.",
        ),
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    keep_duplicates: Annotated[
        bool,
        typer.Option(
            "--keep-duplicates", help="Learn from copies of validation and test images, too."
        ),
    ] = False,
    mixed_precision: Annotated[
        str | None,
        typer.Option(
            callback=_sixteen_bits,
            metavar="FORMAT",
            help="bfloat16 or float16, to compute in; weights stay in float32. For GPUs.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, metavar="N", help="The same seed, the same result."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for the results. Default: runs/<data>-<time>."),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace an older training in the folder of the results."),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the training in the folder of the results, which was stopped; its options are "
            "known.",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take options from a TOML file, such as the config.toml of a run. Those given here count.",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a JSON object an epoch, and one every half minute, to FILE."
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write what TensorBoard shows.")
    ] = None,
    explore: Annotated[
        bool,
        typer.Option(
            "--explore", help="Show the training in the browser; stays until Ctrl-C afterwards."
        ),
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, metavar="N", help="For --explore. Default: a free one."),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Devices of this machine to share each batch out to. Without a GPU, the CPU passes for N.",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Processes; alone, they are started on this machine."
        ),
    ] = None,
    hosts: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="The hosts on each of which this command is started."),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where process 0 runs, instead of --hosts."),
    ] = None,
    process: Annotated[
        int | None,
        typer.Option(min=0, metavar="I", help="Which process this is, from 0, if it is not found."),
    ] = None,
    debug: Debug = False,
):
    """Train a network on DATA.

    The folder of the results holds the best model by validation accuracy (model.keras), history.csv,
    curves.png, confusion_matrix.png, predictions.png, settings.json, the options (config.toml), which
    images were in which part (split.csv) and a page with all of it (report.html). Ctrl-C stops, and keeps
    the best model so far; --resume then goes on, to the same end.

    A folder of images may have the parts train/, validation/ (or val/) and test/, each with a subfolder for
    each class. A .csv file has the columns path and label, and perhaps split: train, validation or test.
    Where an image may be of several classes, the column is called labels, with ; between them, and y holds
    0 and 1 for each class. Their network ends in sigmoid, and learns by binary cross-entropy.
    An .npz file holds x_train, y_train, x_test, y_test; or x, y. Without a test part the model is judged by
    the validation images.

    \b
    Examples:
      cornu train digits
      cornu train mnist --model lecture --epochs 15 --batch-size 128 --seed 0
      cornu train photos/ --image-size 96 --augment medium --output runs/photos
      cornu train photos/ --backbone MobileNetV2 --epochs 3
      cornu train new_photos/ --backbone runs/photos
      cornu train data.npz --model mine.py:make_model
      cornu train mnist --explore
      cornu train --resume --output runs/photos
      cornu train --config runs/photos/config.toml --epochs 30 --output runs/longer
      cornu train cifar10 --model resnet --processes 2
      srun cornu train photos/ --output runs/photos
    """
    if explore and (processes or hosts or coordinator):
        raise typer.BadParameter("It shows the training of one process.", param_hint="--explore")
    if port is not None and not explore:
        raise typer.BadParameter("It is for the page that --explore shows.", param_hint="--port")
    if resume and overwrite:
        raise typer.BadParameter("It is one or the other.", param_hint="--resume, --overwrite")
    from cornu.cli.config import options_of

    options, given = options_of(context, train, config)
    if resume:
        from cornu.cli import resume as resuming

        begun, settings = resuming.options_of_run(output, train)
        resuming.check_options(given, options, begun)
        if resuming.is_finished(output, settings):
            return
        options |= begun
    if options["data"] is None:
        raise typer.BadParameter("Which images to train on?", param_hint="DATA")
    for name, default in (("schedule", "constant"), ("model", "simple")):
        if options["backbone"] is not None and options[name] != default:
            raise typer.BadParameter(
                "It is for training without --backbone.", param_hint=f"--{name}"
            )
    from cornu.cli import together

    status = together.start_here(processes, hosts, coordinator, process)
    if status is not None:
        raise typer.Exit(status)
    together.use(devices, hosts, coordinator, processes, process, options["batch_size"])
    from cornu.cli.train import train as run

    run(
        options.pop("data"),
        output,
        shows_bars=sys.stdout.isatty(),
        explore_port=port or 0 if explore else None,
        overwrite=overwrite,
        watchers=context.obj or (),
        resumes=resume,
        log_file=log,
        tensorboard=tensorboard,
        **options,
    )


@app.command()
@command
def evaluate(
    model: Annotated[str, typer.Argument(help=_MODEL_HELP, metavar="MODEL")],
    data: Annotated[str, typer.Argument(help=_DATA_HELP, metavar="DATA")],
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Images a step.")] = 64,
    skip_unreadable: SkipUnreadable = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
    debug: Debug = False,
):
    """Print a model's accuracy on DATA, class by class, and its mistakes.

    The images are those of DATA's test part, or all if it has no parts. Accuracy comes with the interval
    in which it lies for more such images (Wilson, 95 %). Of a class, precision is the share of the images
    taken for it that are, recall the share of its images that are taken for it, F1 their harmonic mean;
    the areas are those under the ROC curve and under precision over recall. The calibration error says how
    far the probabilities are from how often the model is right. A run keeps a temperature, found on its
    validation images; logits divided by it give the probabilities. Of a run's model, it is also said how
    many of the images it was trained on.

    \b
    Examples:
      cornu evaluate runs/photos new_photos/
      cornu evaluate demo digits
    """
    from cornu.cli.predict import evaluate as run

    run(model, data, batch_size, skip_unreadable, json)


@app.command()
@command
def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="The folders of runs, such as runs/*.", metavar="RUN")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
    debug: Debug = False,
):
    """Print a table of runs, the best first, with the settings in which they differ.

    Accuracy comes with its interval (Wilson, 95 %), and is comparable only if all were judged by the same
    images; otherwise there is a warning. Where an image may be of several classes, the order is that of F1,
    the mean of the classes.

    \b
    Examples:
      cornu compare runs/*
      cornu compare runs/a runs/b --json
    """
    from cornu.cli.compare import compare as run

    run(runs, json)


@app.command()
@command
def export(
    model: Annotated[str, typer.Argument(help=_MODEL_HELP, metavar="MODEL")],
    output: Annotated[
        Path, typer.Argument(help="File to write, ending in .onnx or .stablehlo.", metavar="FILE")
    ],
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Examples at once; any number if not given."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Images to compare on, and to calibrate on. Default: those of the training.",
        ),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(min=0, max=1, metavar="P", help="Less probable classes are no answer."),
    ] = 0.0,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="ONNX with weights and activations of eight bits, and its accuracy, on images that it was "
            "not trained on where there are any.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace FILE if it exists.")
    ] = False,
    debug: Debug = False,
):
    """Write a model for serving: as ONNX, or as a program that JAX alone can run.

    Before anything is written, it is run, and compared with the model. The classes, how a picture becomes
    the input, --threshold and the temperature travel along: in the metadata of an ONNX file, and beside a
    .stablehlo file in one of the same name and .json.

    \b
    Examples:
      cornu export demo digits.onnx
      cornu export runs/photos photos.onnx --int8 --threshold 0.5
      cornu export model.keras model.stablehlo --batch-size 1
    """
    from cornu.cli.export import export as run

    run(model, output, batch_size, data, threshold, int8, overwrite)


@app.command()
@command
def deploy_check(
    file: Annotated[
        Path, typer.Argument(help="What `cornu export` wrote: .onnx or .stablehlo.", metavar="FILE")
    ],
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Image files, folders, patterns. Default: those of --model's training, or made-up ones.",
            metavar="IMAGE",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help=f"To compare with the original. {_MODEL_HELP}"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
    debug: Debug = False,
):
    """Run an exported file as its users will: in a process of its own that knows no Cornu.

    There it is read with ONNX Runtime, or JAX, NumPy and Pillow alone. Printed are what the file says of
    itself, its answers, the time per picture, operations that other runtimes may lack, and how well it
    agrees with the model.

    \b
    Examples:
      cornu deploy-check photos.onnx cat.jpg dog.jpg
      cornu deploy-check photos.onnx new_photos/ --model runs/photos
    """
    from cornu.cli.deploy_check import deploy_check as run

    run(file, images or [], model, json)


@app.command()
@command
def explore(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"{_MODEL_HELP} Default: the small network of the tour. Of several the first is shown, "
            "with the curves of all.",
            metavar="[MODEL]...",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help=f"Examples to choose from: {_DATA_HELP} Of signals: an .npz file."
        ),
    ] = None,
    input_shape: Annotated[
        tuple | None,
        typer.Option(
            parser=_shape,
            metavar="SHAPE",
            help="For a model of any size: rows x columns x channels.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Where to listen; 0.0.0.0 lets others in your network look, too.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="N", help="Default: a free one.")
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
    starts_tour: Annotated[
        bool, typer.Option("--tour", help="Begin with the guided tour, in ten steps.")
    ] = False,
    debug: Debug = False,
):
    """Show a model in the browser: draw an input, watch it go through, ask how a number was made.

    Without a MODEL it shows the small network of the guided tour, with drawings. The curves of several runs
    are laid over each other, while they train, too.

    The page is served to this machine only, unless --host names another address.
    It loads nothing from elsewhere. Ctrl-C closes it.

    \b
    Examples:
      cornu explore --tour
      cornu explore demo --data digits
      cornu explore runs/photos --data photos/ --open
      cornu explore runs/*
      cornu explore demo --host 0.0.0.0 --port 8000
    """
    from cornu.cli.explore import explore as run

    run(models or [], data, input_shape, host, port or 0, open_browser, starts_tour)


@app.command()
@command
def predict(
    model: Annotated[str, typer.Argument(help=_MODEL_HELP, metavar="MODEL")],
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders, patterns; - reads names from standard input.",
            metavar="IMAGE",
        ),
    ],
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Classes to show. Default: 3; of images of several classes, all that they are taken for.",
        ),
    ] = None,
    invert: Annotated[
        bool,
        typer.Option("--invert", help="Swap dark and light: for dark ink, where white is learned."),
    ] = False,
    threshold: Annotated[
        float,
        typer.Option(min=0, max=1, metavar="P", help="Leave out classes that are less probable."),
    ] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print a line a class, for tables.")] = False,
    debug: Debug = False,
):
    """Print the most probable classes of images.

    Images are brought to the size that the model was trained on. A run's probabilities are calibrated, by
    the temperature that it has found, and --threshold is about these. The digits of digits and mnist are
    white on black: use --invert for dark ink on paper.

    \b
    Examples:
      cornu predict runs/photos cat.jpg dog.png
      cornu predict demo scanned_digit.png --invert --top 1
      cornu predict runs/photos new_photos/ --top 1 --threshold 0.9 --csv > found.csv
    """
    if json and csv:
        raise typer.BadParameter("It is one or the other.", param_hint="--json, --csv")
    from cornu.cli.predict import predict as run

    run(model, images, top, invert, "json" if json else "csv" if csv else "text", threshold)


@app.command()
@command
def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            help="The folder of a run, a .keras or .onnx file, or a folder of numbered versions of these; "
            "NAME=… gives it another name than its own.",
            metavar="MODEL",
        ),
    ],
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 is heard in all networks."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")
    ] = 8501,
    max_batch: Annotated[
        int, typer.Option(min=1, metavar="N", help="Examples that go through a model at once.")
    ] = 32,
    max_wait_ms: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="MS",
            help="How long the first request of a batch waits for others. With 0, a batch is what came "
            "while the one before it was computed.",
        ),
    ] = 0.0,
    max_queue: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests that may wait; others get 429.")
    ] = 256,
    max_body_mb: Annotated[
        float, typer.Option(min=0.001, metavar="MB", help="Megabytes of a request.")
    ] = 32.0,
    max_pixels: Annotated[int, typer.Option(min=1, metavar="N", help="Of an image.")] = 25_000_000,
    timeout: Annotated[
        float,
        typer.Option(
            callback=_positive,
            metavar="SECONDS",
            help="In which a request must arrive, and then be answered.",
        ),
    ] = 30.0,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file with the token that clients must send. Default: CORNU_SERVE_TOKEN, or none.",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add a JSON object for each request and event to FILE."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For HTTPS: the certificate (PEM).")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For HTTPS: its key (PEM).")
    ] = None,
    debug: Debug = False,
):
    """Serve models over HTTP: pictures, and the protocols of TensorFlow Serving and KServe.

    A picture gets the answer that `cornu predict` gives. Requests that come together go through a model
    together. A file that changes is loaded again; if it is damaged, the old model goes on. Ctrl-C and
    SIGTERM stop the server after it has answered what it accepted. There is a page to drop pictures on, and
    /metrics for Prometheus.

    \b
    Examples:
      cornu serve runs/photos
      cornu serve digits=demo photos=models/photos --port 8080 --max-wait-ms 2
      curl --data-binary @cat.jpg http://127.0.0.1:8501/images/photos
      curl -d '{"instances": [[1.0, 2.0]]}' http://127.0.0.1:8501/v1/models/signals:predict
    """
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("They go together.", param_hint="--tls-cert, --tls-key")
    from cornu.cli.serve import serve as run

    run(
        models,
        token_file,
        log,
        host=host,
        port=port,
        max_batch=max_batch,
        max_wait=max_wait_ms / 1000,
        max_queue=max_queue,
        max_body=int(max_body_mb * 1e6),
        max_pixels=max_pixels,
        timeout=timeout,
        tls_cert=None if tls_cert is None else str(tls_cert),
        tls_key=None if tls_key is None else str(tls_key),
    )


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def tune(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help=_DATA_HELP, metavar="DATA")],
    trials: Annotated[
        int, typer.Option(min=1, metavar="N", help="Trainings, those of earlier calls among them.")
    ] = 20,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES,…",
            help="Options of `cornu train`, each as low:high, low:high:log or one|other; yes and no "
            "are for options without a value. Default: learning_rate=1e-4:1e-2:log,batch_size=32|64|128.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the trials. Default: runs/tune-<data>."),
    ] = None,
    debug: Debug = False,
):
    """Train again and again, and find the settings with the best validation accuracy.

    Each trial is a run of `cornu train` in a folder of its own; all further options are given to it. The
    settings of a trial follow from how well those before it did (Optuna), and of the trials that reach 1,
    3, 9, … epochs two thirds are stopped: successive halving. Ctrl-C stops; the same command goes on.

    \b
    Examples:
      cornu tune photos/ --trials 30 --epochs 9 --image-size 64
      cornu tune photos/ --search learning_rate=1e-4:1e-1:log,model=simple|resnet --optimizer sgd
      cornu tune photos/ --search augment=no|light|strong,batch_size=32|64 --backbone MobileNetV2
    """
    from cornu.cli.tune import tune as run

    group: Any = context.parent and context.parent.command
    run(data, trials, search or [], output, context.args, group.commands["train"])


@app.command()
@command
def summary(
    model: Annotated[
        str,
        typer.Argument(
            help=f"{_MODEL_HELP} Or a network: simple, lecture, tutorial, lenet, resnet or "
            "file.py:function.",
            metavar="MODEL",
        ),
    ],
    input_shape: Annotated[
        tuple | None,
        typer.Option(
            parser=_shape,
            metavar="SHAPE",
            help="For a network: rows x columns x channels. Default: 28x28x1.",
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="For a network: number of classes. Default: 10."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also print the formulas behind the numbers."),
    ] = False,
    debug: Debug = False,
):
    """Print the table of a model's layers.

    \b
    Examples:
      cornu summary demo
      cornu summary lenet --input-shape 32x32x3 --classes 100 --explain
    """
    from cornu.cli.summary import summary as run

    run(model, input_shape, classes, explain)


@app.command()
@command
def plan(
    model: Annotated[
        str,
        typer.Argument(
            help=f"{_MODEL_HELP} Or a network: simple, lecture, tutorial, lenet, resnet, ResNet50 and the "
            "others of cornu.applications, or file.py:function.",
            metavar="MODEL",
        ),
    ],
    devices: Annotated[int, typer.Option(min=1, metavar="N", help="Number of devices.")],
    batch: Annotated[int, typer.Option(min=1, metavar="B", help="Examples of all devices.")],
    hardware: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A JSON file with the figures of devices and network, or h100. Without tflops in it, or "
            "without a file, this machine is measured.",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="bfloat16, float16, tfloat32 or float32. For --hardware."),
    ] = None,
    input_shape: Annotated[
        tuple | None,
        typer.Option(
            parser=_shape,
            metavar="SHAPE",
            help="For a network: rows x columns x channels. Default: 28x28x1, or the application's.",
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            min=2, metavar="N", help="For a network: number of classes. Default: 10, or 1000."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
):
    """Predict memory, communication and time of a training step on 1 to 4,096 devices.

    \b
    Examples:
      cornu plan lenet --devices 2 --batch 256
      cornu plan ResNet50 --devices 64 --batch 16384 --hardware h100 --dtype bfloat16
    """
    from cornu.cli.plan import plan as run

    run(model, devices, batch, hardware, dtype, input_shape, classes, json)


@app.command(
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
)
def run(
    script: Annotated[str, typer.Argument(help="A Python file.", metavar="SCRIPT")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="The script's own arguments.", metavar="ARGUMENT")
    ] = None,
    module: Annotated[
        bool, typer.Option("-m", help="SCRIPT is the name of a module, as for `python -m`.")
    ] = False,
):
    """Run a Python script that was written for Keras: `import keras` and `tf.keras` in it give Cornu.

    \b
    Examples:
      cornu run lesson.py
      cornu run -m package.lesson
    """
    if not module and not Path(script).is_file():
        raise typer.BadParameter(f"File '{script}' does not exist.", param_hint="'SCRIPT'")
    from cornu.cli.run import run as run_script

    raise typer.Exit(run_script(script, arguments or [], module))


def main() -> None:
    """The entry point of `cornu`."""
    app()
