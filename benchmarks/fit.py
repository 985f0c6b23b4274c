"""Complete `fit` of every lesson's model, and of some others: Cornu beside Keras on each backend.

    python benchmarks/fit.py [--rounds 3] [--images 6400] [--epochs 3] [--only NAME …] [--beyond]

Each measurement is a process of its own. It makes the model from the same file under examples/,
trains it on real pictures (MNIST; CIFAR-10 for the colour model) with metrics and progress bar, and
takes the median time of the epochs after the first. Writes docs/benchmarks.md and docs/benchmarks.svg.
Libraries that are not installed are left out.
"""

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path
from statistics import geometric_mean, median, median_low

import in_torch
import numpy as np
from common import (
    ROOT,
    in_a_process,
    in_turns,
    installed,
    is_child,
    peak_memory,
    report,
    since_start,
    use,
)

BATCH = 128
# Model: module of examples/, its function, optimizer, and which pictures.
MODELS = {
    "dense": ("from_dense_to_convolutional", "dense", "adam", "mnist"),
    "convolutions": ("from_dense_to_convolutional", "convolutions", "adam", "mnist"),
    "pooling": ("from_dense_to_convolutional", "pooling", "adam", "mnist"),
    "sgd tutorial": ("mnist_with_sgd", "full_model", "sgd", "mnist"),
    "lecture": ("mnist_lecture", "make_model", "adam", "mnist"),
    "thousand units": ("thousand_units", "make_model", "sgd", "mnist"),
    "colour model": ("convolution_by_hand", "colour_model", "adam", "cifar10"),
    "batch normalization": ("from_dense_to_convolutional", "batch_normalization", "adam", "mnist"),
    "inception": ("from_dense_to_convolutional", "inception", "adam", "mnist"),
    "residual": ("from_dense_to_convolutional", "residual", "adam", "mnist"),
    # These are not in the lessons.
    "LeNet-5": ("networks", "lenet5", "adam", "mnist"),
    "depthwise separable": ("networks", "mobile", "adam", "cifar10"),
    "signal": ("networks", "signal", "adam", "mnist"),
    "LSTM": ("networks", "lstm", "adam", "mnist"),
    "ConvLSTM": ("networks", "conv_lstm", "adam", "mnist"),
    "vision transformer": ("networks", "vision_transformer", "adam", "cifar10"),
}
OTHERS = ("LeNet-5", "depthwise separable", "signal", "LSTM", "ConvLSTM", "vision transformer")
# These have a table of their own: `--beyond`.
BEYOND = ("LSTM", "ConvLSTM", "vision transformer")
# PyTorch without Keras; the second through `torch.compile`.
TORCH = ("PyTorch", "PyTorch, compiled")
# PyTorch has no layer for these.
NOT_IN_TORCH = ("ConvLSTM",)
# What holds each library to the instructions of AVX2.
AVX2 = {
    "CORNU_ISA": "avx2",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


def measure(library: str, model: str, folder: str, epochs: str | int) -> dict:
    """Train one model with one library in this process."""
    module, function, optimizer, data = MODELS[model]
    with np.load(f"{folder}/{data}.npz") as pictures:
        x, labels = pictures["x"], pictures["y"]
    steps, epochs = -(-len(x) // BATCH), int(epochs)
    if library in TORCH:
        network = Path(folder, f"{model}.json").read_text()
        compiled = library != "PyTorch"
        times, first, _ = in_torch.train(
            network, x, labels, optimizer, BATCH, epochs + 1, compiled, since_start
        )
        return results([t / steps for t in times], first)
    keras = use(library)
    y = keras.utils.to_categorical(labels, 10)
    keras.utils.set_random_seed(0)
    network = getattr(__import__(module), function)()
    network.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    begins: list[float] = []
    ends: list[float] = []
    first: list[float] = []

    class Watch(keras.callbacks.Callback):
        # Only the first is looked at. (Keras does not know this attribute.)
        needs_every_batch = False

        def on_train_batch_end(self, batch, logs=None):
            if not first:
                float(logs["loss"])
                first.append(since_start())

        def on_epoch_begin(self, epoch, logs=None):
            begins.append(time.perf_counter())

        def on_epoch_end(self, epoch, logs=None):
            float(logs["loss"])
            ends.append(time.perf_counter())

    network.fit(x, y, batch_size=BATCH, epochs=epochs + 1, callbacks=[Watch()], verbose=1)
    times = [(end - begin) / steps for begin, end in zip(begins, ends, strict=True)]
    return results(times, first[0])


def results(times: list[float], first: float) -> dict:
    return {
        "milliseconds": 1000 * median(times[1:]),
        "first_step": first,
        "megabytes": peak_memory() / 1e6,
    }


def prepare(folder: Path, images: int) -> None:
    cornu = use("Cornu")
    for name, (module, function, *_) in MODELS.items():
        network = getattr(__import__(module), function)()
        if name in NOT_IN_TORCH:
            continue
        (folder / f"{name}.json").write_text(in_torch.describe(network))
    for name in {data for *_, data in MODELS.values()}:
        (x, y), _ = getattr(cornu.datasets, name).load_data()
        x = (x[:images] / 255).astype("float32")
        np.savez(folder / f"{name}.npz", x=x[..., None] if x.ndim == 3 else x, y=y[:images].ravel())


def main(arguments) -> None:
    usual = [name for name in MODELS if name not in BEYOND]
    names = arguments.only or list(BEYOND if arguments.beyond else usual)
    libraries = installed()
    if importlib.util.find_spec("torch"):
        # What `torch.compile` makes fails when it is held to AVX2: an index out of bounds in max-pooling.
        libraries += TORCH[:1] if arguments.avx2 else TORCH
    peers = libraries[1:]
    environment = AVX2 if arguments.avx2 else {}
    found: dict = {(n, library): [] for n in names for library in libraries}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), arguments.images)
        for turn in range(arguments.rounds):
            for name in names:
                for library in in_turns(libraries, turn):
                    if library in TORCH and name in NOT_IN_TORCH:
                        continue
                    result = in_a_process(
                        __file__, library, name, folder, arguments.epochs, **environment
                    )
                    found[name, library].append(result)
                    shown = {k: round(v, 2) for k, v in result.items()}
                    print(turn + 1, name, library, shown, flush=True)

    # Of two, the smaller: what else the machine does can only slow a library down.
    def middle(name, library, what):
        return median_low(result[what] for result in found[name, library])

    def best(name, what):
        return min(middle(name, peer, what) for peer in peers if found[name, peer])

    rows, ratios = [], {}
    for name in names:
        ratios[name] = best(name, "milliseconds") / middle(name, "Cornu", "milliseconds")
        cells = [
            f"{middle(name, library, 'milliseconds'):.2f}" if found[name, library] else "none"
            for library in libraries
        ]
        cells.append(f"**{ratios[name]:.2f}**")
        for what, digits in (("first_step", 1), ("megabytes", 0)):
            cells.append(f"{middle(name, 'Cornu', what):.{digits}f}")
            cells.append(f"{best(name, what):.{digits}f}")
        rows.append([name, *cells])
    titles = [f"{library}, ms" for library in libraries] + ["best peer / Cornu"]
    titles += ["first step: Cornu, s", "best peer, s", "memory: Cornu, MB", "leanest peer, MB"]
    mean = geometric_mean([r for name, r in ratios.items() if name not in OTHERS] or [1])
    rounds = (
        f"the (low) median over {arguments.rounds} rounds" if arguments.rounds > 1 else "one round"
    )
    text = f"""
{PICTURE if not arguments.avx2 else ""}

Complete `fit` with metrics and progress bar, batches of {BATCH}, {arguments.images} real images:
{rounds} of the median epoch after the first, in milliseconds a step. All
libraries run the same files, under `examples/` and in `benchmarks/networks.py`, in turns, each time in
a process of its own; PyTorch alone, eager and through `torch.compile`, runs the same layers in a plain loop
(`benchmarks/in_torch.py`, channels_last). "First step" is the time from starting the process to the end
of the first step, in seconds; memory is the peak of the whole process. Written by
`{COMMANDS[arguments.avx2]}`.
"""
    after = f"Geometric mean of the ratios: **{mean:.2f}** over the lessons' models."
    if arguments.beyond:
        text = text.replace(PICTURE, "Recurrent networks and attention. Below 1, a peer is faster.")
        text = text.replace(COMMANDS[0], "python benchmarks/fit.py --beyond")
        report("Training beyond convolutions", text, ["model", *titles], rows)
    elif not arguments.only:
        report(TITLES[arguments.avx2], text, ["model", *titles], rows, after)
        if not arguments.avx2:
            plot(ratios)
    else:
        print(*map(" | ".join, rows), sep=chr(10))


PICTURE = "![How many times as fast as the best peer each model trains](benchmarks.svg)"
TITLES = (
    "Training: Cornu beside Keras on each backend",
    "Training with AVX2: all libraries held to its instructions",
)
COMMANDS = "make benchmark", "python benchmarks/fit.py --avx2"


def plot(ratios: dict) -> None:
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "cornu"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 0.4 * len(ratios) + 1.2), layout="constrained")
    names = list(ratios)[::-1]
    bars = axes.barh(names, [ratios[name] for name in names], color="#2a6f97")
    axes.bar_label(bars, fmt=" %.1f")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("times as fast as the best of Keras on three backends and PyTorch")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(ROOT / "docs" / "benchmarks.svg", metadata={"Date": None})


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(MODELS))
    parser.add_argument("--beyond", action="store_true", help="recurrent networks and attention")
    parser.add_argument("--avx2", action="store_true", help="hold all libraries to AVX2")
    main(parser.parse_args())
