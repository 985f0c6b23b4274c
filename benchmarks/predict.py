"""`predict` on one picture and on many: Cornu beside Keras on each backend.

    python benchmarks/predict.py [--rounds 3] [--images 10000]

Each measurement is a process of its own, in turns. Writes a section of docs/benchmarks.md.
Libraries that are not installed are left out.
"""

import argparse
import json
import subprocess
import sys
import time
from statistics import median

import numpy as np
from common import ROOT, installed, machine, replace_section, use

MODELS = {
    "lecture": ("mnist_lecture", "make_model", (28, 28, 1)),
    "batch normalization": ("from_dense_to_convolutional", "batch_normalization", (28, 28, 1)),
    "residual": ("from_dense_to_convolutional", "residual", (28, 28, 1)),
    "colour model": ("convolution_by_hand", "colour_model", (32, 32, 3)),
}
BATCH = 128


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(library: str, images: int) -> dict:
    """Of each model: seconds for one picture, by two functions, and pictures a second."""
    keras = use(library)
    found = {}
    for name, (module, function, shape) in MODELS.items():
        keras.utils.set_random_seed(0)
        network = getattr(__import__(module), function)()
        x = np.random.default_rng(0).random((images, *shape), "float32")
        one = x[:1]
        found[name] = {
            "first call": seconds(lambda one=one, n=network: n.predict(one, verbose=0)),
            "predict": median(
                [seconds(lambda one=one, n=network: n.predict(one, verbose=0)) for _ in range(40)]
            ),
            "predict_on_batch": median(
                [seconds(lambda one=one, n=network: n.predict_on_batch(one)) for _ in range(100)][
                    10:
                ]
            ),
            "pictures a second": images
            / median(
                [
                    seconds(lambda x=x, n=network: n.predict(x, batch_size=BATCH, verbose=0))
                    for _ in range(4)
                ][1:]
            ),
        }
    return found


def in_a_process(library: str, images: int) -> dict:
    command = [sys.executable, __file__, "--child", library, str(images)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{library}:\n{done.stderr}")
    return json.loads(done.stderr.strip().splitlines()[-1])


def main(arguments) -> None:
    libraries = installed()
    found: dict = {library: [] for library in libraries}
    for turn in range(arguments.rounds):
        for library in libraries if turn % 2 == 0 else libraries[::-1]:
            found[library].append(in_a_process(library, arguments.images))

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
            cells = [f"{value:,.{digits}f}" for value in values] + [f"**{ratio:.2f}**"]
            unit = "" if what == "pictures a second" else ", ms"
            rows.append(f"| {model}: {what}{unit} | " + " | ".join(cells) + " |")
    new_line = chr(10)
    text = f"""
One picture by `predict`, which makes a progress bar and callbacks, the first time (it compiles)
and later, and by `predict_on_batch`; and {arguments.images:,} pictures in batches of {BATCH}. Medians of
{arguments.rounds} rounds in turns, each in a process of its own. The last column says how many times as
good Cornu is as the best peer. Written by `python benchmarks/predict.py`.

| model | {" | ".join(libraries)} | Cornu beside the best peer |
|{"---|" * (len(libraries) + 2)}
{new_line.join(rows)}

{machine()}.
"""
    print(text)
    replace_section(ROOT / "docs" / "benchmarks.md", "Prediction", text)


if __name__ == "__main__":
    if "--child" in sys.argv:
        library, images = sys.argv[2:]
        print(json.dumps(measure(library, int(images))), file=sys.stderr)
    else:
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--images", type=int, default=10000)
        main(parser.parse_args())
