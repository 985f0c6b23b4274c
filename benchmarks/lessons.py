"""Train every lesson's model on MNIST as its document does, and write docs/lessons.md.

    python benchmarks/lessons.py [--seeds 1] [--epochs N] [--only NAME …] [--keras]

With `--keras` the same files under examples/ run on Keras (with JAX) instead of Cornu, for the column
beside Cornu's. Results are kept in benchmarks/lessons.json as they come, so that an interrupted run
goes on where it stopped. MNIST is downloaded, or taken from the folder that CORNU_DATA_DIR names.
"""

import argparse
import functools
import json
import sys
import time

import numpy as np
from common import ROOT, machine, use

import cornu

if "--keras" in sys.argv:
    use("Keras on JAX").datasets.mnist.load_data = cornu.datasets.mnist.load_data
else:
    use("Cornu")

import from_dense_to_convolutional as improvements
import mnist_lecture
import mnist_with_sgd
import thousand_units

RESULTS = ROOT / "benchmarks" / "lessons.json"
TABLE = ROOT / "docs" / "lessons.md"


def lessons():
    """Name, epochs of the document, its accuracy (or None), model and how to train it."""
    for name in ("dense", "rescaled_dense", "convolutions", "pooling"):
        make = improvements.MODELS[name]
        run = functools.partial(improvements.run, name)
        yield name.replace("_", " "), 10, improvements.REPORTED.get(name), make, run
    yield "sgd tutorial", 10, mnist_with_sgd.REPORTED, mnist_with_sgd.full_model, mnist_with_sgd.run
    yield "lecture", 15, mnist_lecture.REPORTED, mnist_lecture.make_model, mnist_lecture.run
    yield "thousand units", 10, None, thousand_units.make_model, thousand_units.run
    for name, make in improvements.MODELS.items():
        if name not in ("dense", "rescaled_dense", "convolutions", "pooling"):
            yield name.replace("_", " "), 10, None, make, functools.partial(improvements.run, name)


def measure(arguments) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, epochs, reported, make, run in lessons():
        if arguments.only and name not in arguments.only:
            continue
        epochs = arguments.epochs or epochs
        for seed in range(arguments.seeds):
            library = "Keras" if arguments.keras else "Cornu"
            key = f"{library}: {name}, {epochs} epochs, seed {seed}"
            if key in results:
                continue
            start = time.perf_counter()
            accuracy = run(epochs=epochs, seed=seed, verbose=0)
            results[key] = {
                "library": library,
                "name": name,
                "epochs": epochs,
                "seed": seed,
                "parameters": make().count_params(),
                "document": reported,
                "accuracy": float(accuracy),
                "seconds": time.perf_counter() - start,
                "machine": machine(),
            }
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            print(key, f"{accuracy:.4f}", f"{results[key]['seconds']:.0f} s", flush=True)


def write_table() -> None:
    results = list(json.loads(RESULTS.read_text()).values())
    groups: dict = {}
    for result in results:
        groups.setdefault((result["name"], result["epochs"]), []).append(result)

    def accuracy(runs):
        percent = [100 * r["accuracy"] for r in runs]
        if len(runs) < 2:
            return f"{percent[0]:.2f} %" if runs else "—"
        return f"{np.median(percent):.2f} % ({min(percent):.2f} to {max(percent):.2f}, {len(runs)} seeds)"

    rows = []
    for name, *_ in lessons():
        for (other, epochs), runs in groups.items():
            if other != name:
                continue
            ours, theirs = (
                [r for r in runs if r["library"] == library] for library in ("Cornu", "Keras")
            )
            document = runs[0]["document"]
            rows.append(
                f"| {name} | {runs[0]['parameters']:,} | {epochs} | "
                f"{f'{100 * document:.2f} %' if document else '—'} | "
                f"{accuracy(ours)} | {accuracy(theirs)} |"
            )
    text = f"""# The lessons, measured

Each model of `examples/`, trained on MNIST as its tutorial says: accuracy on the 10,000 test images after
the last epoch with seed 0, or median and range over several seeds. The tutorials' figures are single
runs. A row without such a figure is an improvement that a tutorial only names, or belongs to a tutorial
that reports none.

| model | parameters | epochs | tutorial | Cornu | Keras on JAX, same seeds |
|---|---|---|---|---|---|
{chr(10).join(rows)}

The tutorial of the first models does not rescale the pixels, 0 to 255. For the dense network the result
is then a matter of luck: units die in the first steps, and a run that lost many stays at 80 %, or at 10
%. Keras draws the same numbers from the same seed and ends at the same accuracy. `rescaled dense` is the
same network after a `Rescaling(1 / 255)` layer.

Written by `make lessons`, which runs `python benchmarks/lessons.py`; the last column by
`python benchmarks/lessons.py --keras`. {results[-1]["machine"]}.
"""
    TABLE.write_text(text)
    print(f"wrote {TABLE}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="instead of the document's")
    parser.add_argument("--only", nargs="*", help="names of models")
    parser.add_argument("--keras", action="store_true", help="run the examples on Keras instead")
    parser.add_argument("--table", action="store_true", help="only write the table again")
    arguments = parser.parse_args()
    if not arguments.table:
        measure(arguments)
    write_table()
