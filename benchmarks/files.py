"""Model files: what Keras and Cornu make of each other's, and what saving and loading 500 MB costs.

    python benchmarks/files.py [--rounds 3] [--megabytes 500]

Needs Keras. Writes sections of docs/files.md.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from common import ROOT, in_a_process, in_turns, is_child, machine, peak_memory, seconds, table, use

LIBRARIES = ("Cornu", "Keras on JAX")
DOCUMENT = ROOT / "docs" / "files.md"


def measure(library: str, what: str, path: str, megabytes: str) -> dict:
    """Seconds to save or load a model, and by how much the peak of memory grew meanwhile."""
    keras = use(library)
    if what == "load":
        import h5py  # noqa: F401  What is imported is not what is measured.

        before = peak_memory()
        took = seconds(keras.saving.load_model, path)
        return {"seconds": took, "megabytes": (peak_memory() - before) / 1e6}
    layers = keras.layers
    width = int((int(megabytes) * 1e6 / 4 / 8) ** 0.5)
    stack = [keras.Input((width,)), *(layers.Dense(width) for _ in range(8))]
    model = keras.Sequential(stack)
    before = peak_memory()
    took = seconds(model.save, path)
    return {"seconds": took, "megabytes": (peak_memory() - before) / 1e6}


def sizes(arguments) -> tuple[list[str], list[list[str]]]:
    found: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.rounds):
            for library in in_turns(list(LIBRARIES), turn):
                path = f"{folder}/{library}.keras"
                for what in ("save", "load"):
                    result = in_a_process(__file__, library, what, path, arguments.megabytes)
                    found.setdefault((what, library), []).append(result)
                    print(turn + 1, what, library, result, flush=True)
                size = os.path.getsize(path)
    rows = []
    for what in ("save", "load"):
        cells = [what]
        for library in LIBRARIES:
            results = found[what, library]
            cells += [f"{median(r[key] for r in results):.{d}f}" for key, d in KEYS]
        rows.append(cells)
    columns = [
        "",
        *(f"{library}, {unit}" for library in LIBRARIES for unit in ("s", "MB of memory")),
    ]
    return [f"{size / 1e6:.0f}", *columns], rows


KEYS = (("seconds", 2), ("megabytes", 0))


def exchanges() -> list[list[str]]:
    """The largest difference of predictions, for each layer, in both directions."""
    os.environ["KERAS_BACKEND"] = "jax"
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "saving")]
    import keras
    import numpy as np
    import test_exchange

    import cornu

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in test_exchange.EVERY:
            to, back = (
                abs(np.subtract(*test_exchange.exchanged(name, *libraries, Path(folder))[:2])).max()
                for libraries in ((cornu, keras), (keras, cornu))
            )
            rows.append([f"`{name}`", f"{to:.1e}" if to else "0", f"{back:.1e}" if back else "0"])
    return rows


def main(arguments) -> None:
    (size, *columns), rows = sizes(arguments)
    report = f"""
A `.keras` file of {size} MB: seconds, and how much the peak memory of the process grew. When a file is
loaded, this includes the model. Medians of {arguments.rounds} rounds in turns, each in a process of its
own. Written by `python benchmarks/files.py`.
"""
    table(DOCUMENT, "What saving and loading costs", report, columns, rows)
    report = """
For each layer, a model with random weights is saved by one library and loaded by the other. The table shows
the largest absolute difference between their predictions. Written by `python benchmarks/files.py`.
"""
    columns = ["layer", "Cornu writes, Keras reads", "Keras writes, Cornu reads"]
    table(DOCUMENT, "Exchange with Keras, layer by layer", report, columns, exchanges())
    print(machine())


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=500)
    main(parser.parse_args())
