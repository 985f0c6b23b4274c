"""Train every lesson's model on MNIST as its document does, and write docs/lessons.md.

    python benchmarks/lessons.py [--seeds 1] [--epochs N] [--only NAME …]

Results are kept in benchmarks/lessons.json as they come, so that an interrupted run goes on where it
stopped. MNIST is downloaded, or taken from the folder that CORNU_DATA_DIR names.
"""

import argparse
import functools
import json
import os
import platform
import sys
import time
from pathlib import Path

import jax
import numpy as np

import cornu

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples"))

import from_dense_to_convolutional as improvements  # noqa: E402
import mnist_lecture  # noqa: E402
import mnist_with_sgd  # noqa: E402
import thousand_units  # noqa: E402

RESULTS = HERE / "lessons.json"
TABLE = HERE.parent / "docs" / "lessons.md"


def lessons():
    """Name, epochs of the document, its accuracy (or None), model and how to train it."""
    for name in ("dense", "convolutions", "pooling"):
        make = improvements.MODELS[name]
        run = functools.partial(improvements.run, name)
        yield name, 10, improvements.REPORTED[name], make, run
    yield "sgd tutorial", 10, mnist_with_sgd.REPORTED, mnist_with_sgd.full_model, mnist_with_sgd.run
    yield "lecture", 15, mnist_lecture.REPORTED, mnist_lecture.make_model, mnist_lecture.run
    yield "thousand units", 10, None, thousand_units.make_model, thousand_units.run
    for name, make in improvements.MODELS.items():
        if name not in improvements.REPORTED:
            yield name, 10, None, make, functools.partial(improvements.run, name)


def measure(arguments) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, epochs, reported, make, run in lessons():
        if arguments.only and name not in arguments.only:
            continue
        epochs = arguments.epochs or epochs
        for seed in range(arguments.seeds):
            key = f"{name}, {epochs} epochs, seed {seed}"
            if key in results:
                continue
            start = time.perf_counter()
            accuracy = run(epochs=epochs, seed=seed, verbose=0)
            results[key] = {
                "name": name,
                "epochs": epochs,
                "seed": seed,
                "parameters": make().count_params(),
                "document": reported,
                "accuracy": float(accuracy),
                "seconds": time.perf_counter() - start,
                "versions": f"Cornu {cornu.version()}, JAX {jax.__version__}, "
                f"Python {platform.python_version()}",
                "machine": f"{_processor()}, {os.cpu_count()} cores",
            }
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            print(key, f"{accuracy:.4f}", f"{results[key]['seconds']:.0f} s", flush=True)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def write_table() -> None:
    results = list(json.loads(RESULTS.read_text()).values())
    groups: dict = {}
    for result in results:
        groups.setdefault((result["name"], result["epochs"]), []).append(result)
    rows = []
    for name, *_ in lessons():
        for (other, epochs), runs in groups.items():
            if other != name:
                continue
            accuracies = [100 * r["accuracy"] for r in runs]
            spread = f" ± {np.std(accuracies):.2f}" if len(runs) > 1 else ""
            document = runs[0]["document"]
            rows.append(
                f"| {name} | {runs[0]['parameters']:,} | {epochs} | "
                f"{f'{100 * document:.2f} %' if document else '—'} | "
                f"{np.mean(accuracies):.2f}{spread} % | {len(runs)} | "
                f"{np.median([r['seconds'] for r in runs]):.0f} |"
            )
    text = f"""# The lessons, measured

Each model of `examples/`, trained on MNIST as its document says: accuracy on the 10,000 test images
after the last epoch. The documents' figures are single runs. Written by `make lessons`
(`python benchmarks/lessons.py`); a row without a document's figure is one of the improvements that a
lesson names, or a lesson that reports none.

| model | parameters | epochs | document | measured | seeds | seconds a run |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Seconds include loading the data, compiling and evaluating; the machine did other work as well, so
they say little. {results[0]["machine"]}; {results[0]["versions"]}.
"""
    TABLE.write_text(text)
    print(f"wrote {TABLE}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="instead of the document's")
    parser.add_argument("--only", nargs="*", help="names of models")
    parser.add_argument("--table", action="store_true", help="only write the table again")
    arguments = parser.parse_args()
    if not arguments.table:
        measure(arguments)
    write_table()
