"""How the time of a step grows with batch, image, channels and depth: Cornu beside Keras.

    python benchmarks/growth.py [--libraries Cornu "Keras on TensorFlow" …]

The network is `depth` convolutions of 3x3 with relu, a pool, and a dense layer; one size changes, the
others stay as `BASE` says. Each library has a process for each size, and every second size has
them in the other order. Writes a section of docs/benchmarks.md and docs/growth.svg.
"""

import argparse
from statistics import median

import numpy as np
from common import (
    LIBRARIES,
    ROOT,
    in_a_process,
    in_turns,
    installed,
    is_child,
    report,
    seconds,
    use,
)

BASE = {"batch": 32, "side": 32, "channels": 32, "depth": 2}
SIZES = {
    "batch": (1, 4, 16, 64, 256, 1024),
    "side": (16, 32, 64, 128, 256),
    "channels": (8, 16, 32, 64, 128, 256),
    "depth": (2, 5, 10, 20, 50),
}
# By how much time should grow when a size doubles, if it grows as the arithmetic does.
ARITHMETIC = {"batch": 2, "side": 4, "channels": 4, "depth": 2}
UNITS = {"batch": "pictures", "side": "pixels", "channels": "channels", "depth": "layers"}


def measure(library: str, *sizes: str) -> float:
    """Milliseconds a step of `fit`."""
    keras = use(library)
    batch, side, channels, depth = map(int, sizes)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    stack = [layers.Input((side, side, 3))]
    stack += [layers.Conv2D(channels, 3, padding="same", activation="relu") for _ in range(depth)]
    stack += [layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]
    model = keras.Sequential(stack)
    model.compile("sgd", "sparse_categorical_crossentropy")
    steps = max(2, min(32, 256 // batch))
    random = np.random.default_rng(0)
    x = random.random((steps * batch, side, side, 3), "float32")
    y = random.integers(0, 10, len(x))
    times = [1000 / steps * seconds(model.fit, x, y, batch_size=batch, verbose=0) for _ in range(7)]
    # In the first ones, programs are compiled and memory is fetched from the system.
    return median(times[3:])


def slopes(sizes, times) -> np.ndarray:
    """Between neighbours: the factor of the time when the size doubles."""
    return 2 ** (np.diff(np.log(times)) / np.diff(np.log(sizes)))


def main(arguments) -> None:
    libraries = [library for library in installed() if library in arguments.libraries]
    found: dict = {}
    for what, sizes in SIZES.items():
        for turn, size in enumerate(sizes):
            for library in in_turns(libraries, turn):
                time = in_a_process(__file__, library, *{**BASE, what: size}.values())
                found[library, what, size] = time
                print(what, size, library, round(time, 2), flush=True)
    rows = []
    for what, sizes in SIZES.items():
        for library in libraries:
            times = [found[library, what, size] for size in sizes]
            fit = np.polyfit(np.log2(sizes[-3:]), np.log2(times[-3:]), 1)[0]
            rows.append(
                [
                    f"{what}: {library}",
                    ", ".join(f"{s}: {t:.2f}" for s, t in zip(sizes, times, strict=True)),
                    ", ".join(f"{factor:.1f}" for factor in slopes(sizes, times)),
                    f"{2**fit:.2f}",
                    str(ARITHMETIC[what]),
                ]
            )
    base = ", ".join(f"{what} {size}" for what, size in BASE.items())
    text = f"""
![Time of a step against each size](growth.svg)

A step of `fit` for a network of `depth` 3x3 convolutions where one size changes and the others stay
({base}).
A factor says by how much the time grows when the size doubles. Above the arithmetic's factor, time grows
faster than the work; below it, a fixed cost still shows. The fit is that of the last three sizes. Written
by `python benchmarks/growth.py`.
"""
    columns = ["size", "milliseconds a step", "factors", "fit", "arithmetic"]
    report("Growth", text, columns, rows)
    plot(found, libraries)


def plot(found: dict, libraries: list[str]) -> None:
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "cornu"
    from matplotlib import pyplot

    figure, all_axes = pyplot.subplots(2, 2, figsize=(8, 6), layout="constrained")
    for axes, (what, sizes) in zip(all_axes.flat, SIZES.items(), strict=True):
        for library, marker, color in zip(libraries, "os^v", COLORS, strict=False):
            times = [found[library, what, size] for size in sizes]
            axes.loglog(sizes, times, marker=marker, color=color, label=library)
        # The slope of the arithmetic, through the first library's last time.
        last = found[libraries[0], what, sizes[-1]]
        power = np.log2(ARITHMETIC[what])
        line = [last * (size / sizes[-1]) ** power for size in sizes]
        axes.loglog(sizes, line, color="gray", linestyle=":", label="as the arithmetic")
        axes.set_xlabel(f"{what} ({UNITS[what]})")
        axes.set_ylabel("ms a step")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    all_axes[0, 0].legend()
    figure.savefig(ROOT / "docs" / "growth.svg", metadata={"Date": None})


COLORS = ("#2a6f97", "#c1571b", "#5b8c2a", "#7a4fa0")


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--libraries", nargs="*", default=["Cornu", "Keras on TensorFlow"], choices=LIBRARIES
    )
    main(parser.parse_args())
