"""`predict` on one picture and on many: Cornu beside Keras on each backend.

    python benchmarks/predict.py [--rounds 3] [--images 10000]

Each measurement is a process of its own, in turns. Writes a section of docs/benchmarks.md.
Libraries that are not installed are left out.
"""

import argparse
from statistics import median

import numpy as np
from common import in_a_process, in_turns, installed, is_child, report, seconds, use

MODELS = {
    "lecture": ("mnist_lecture", "make_model", (28, 28, 1)),
    "batch normalization": ("from_dense_to_convolutional", "batch_normalization", (28, 28, 1)),
    "residual": ("from_dense_to_convolutional", "residual", (28, 28, 1)),
    "colour model": ("convolution_by_hand", "colour_model", (32, 32, 3)),
}
BATCH = 128


def measure(library: str, images: str | int) -> dict:
    """Of each model: seconds for one picture, by two functions, and pictures a second."""
    keras, images = use(library), int(images)
    found = {}
    for name, (module, function, shape) in MODELS.items():
        keras.utils.set_random_seed(0)
        network = getattr(__import__(module), function)()
        x = np.random.default_rng(0).random((images, *shape), "float32")
        one = x[:1]
        all_of_them = {"batch_size": BATCH, "verbose": 0}
        found[name] = {
            "first call": seconds(network.predict, one, verbose=0),
            "predict": median(seconds(network.predict, one, verbose=0) for _ in range(40)),
            "predict_on_batch": median(
                [seconds(network.predict_on_batch, one) for _ in range(100)][10:]
            ),
            "pictures a second": images
            / median([seconds(network.predict, x, **all_of_them) for _ in range(4)][1:]),
        }
    return found


def main(arguments) -> None:
    libraries = installed()
    found: dict = {library: [] for library in libraries}
    for turn in range(arguments.rounds):
        for library in in_turns(libraries, turn):
            found[library].append(in_a_process(__file__, library, arguments.images))

    def middle(library, model, what):
        return median(result[model][what] for result in found[library])

    rows = []
    for model in MODELS:
        for what, factor, digits in (
            ("first call", 1000, 0),
            ("predict", 1000, 2),
            ("predict_on_batch", 1000, 2),
            ("pictures a second", 1, 0),
        ):
            values = [factor * middle(library, model, what) for library in libraries]
            mine, *others = values
            ratio = mine / max(others) if what == "pictures a second" else min(others) / mine
            unit = "" if what == "pictures a second" else ", ms"
            cells = [f"{value:,.{digits}f}" for value in values]
            rows.append([f"{model}: {what}{unit}", *cells, f"**{ratio:.2f}**"])
    text = f"""
One picture by `predict`, which makes a progress bar and callbacks, the first time (it compiles)
and later, and by `predict_on_batch`; and {arguments.images:,} pictures in batches of {BATCH}. Medians of
{arguments.rounds} rounds in turns, each in a process of its own. The last column says how many times as
good Cornu is as the best peer. Written by `python benchmarks/predict.py`.
"""
    report("Prediction", text, ["model", *libraries, "Cornu beside the best peer"], rows)


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=10000)
    main(parser.parse_args())
