"""Wall time from starting a process to an accuracy on MNIST's test set: Cornu beside Keras.

    python benchmarks/accuracy.py [--rounds 1] [--libraries Cornu "Keras on TensorFlow" …]

Each run is a process of its own, in turns: it imports, reads the data, trains, and evaluates after
each epoch, until the accuracy is reached. Writes a section of docs/benchmarks.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import median

import numpy as np
from common import LIBRARIES, ROOT, installed, machine, replace_section, use

# Model: module of examples/, its function, optimizer, batch size, and the accuracy.
GOALS = {
    "lecture": ("mnist_lecture", "make_model", "adam", 128, 0.99),
    "sgd tutorial": ("mnist_with_sgd", "full_model", "sgd", 100, 0.975),
}
MOST_EPOCHS = 25


def measure(library: str, name: str, seed: int, data: str, started: float) -> dict:
    keras = use(library)
    module, function, optimizer, batch_size, goal = GOALS[name]
    keras.utils.set_random_seed(seed)
    with np.load(data) as arrays:
        x, y, x_test, y_test = (arrays[n] for n in ("x_train", "y_train", "x_test", "y_test"))
    x, x_test = (images[..., None].astype("float32") / 255 for images in (x, x_test))
    y, y_test = (keras.utils.to_categorical(labels, 10) for labels in (y, y_test))
    network = getattr(__import__(module), function)()
    network.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    for epoch in range(MOST_EPOCHS):
        network.fit(x, y, batch_size=batch_size, epochs=1, verbose=0)
        _, accuracy = network.evaluate(x_test, y_test, batch_size=1000, verbose=0)
        if accuracy >= goal:
            return {"seconds": time.time() - started, "epochs": epoch + 1, "accuracy": accuracy}
    return {"seconds": float("inf"), "epochs": MOST_EPOCHS, "accuracy": accuracy}


def in_a_process(library: str, name: str, seed: int, data: str) -> dict:
    command = [sys.executable, __file__, "--child", library, name, str(seed), data]
    environment = {**os.environ, "CORNU_BENCHMARK_START": str(time.time())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{library}, {name}:\n{done.stderr}")
    return json.loads(done.stderr.strip().splitlines()[-1])


def prepare(folder: str) -> str:
    """MNIST in one file, which all libraries read."""
    import cornu

    (x, y), (x_test, y_test) = cornu.datasets.mnist.load_data()
    path = f"{folder}/mnist.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return path


def main(arguments) -> None:
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, prepare(folder))


def compare(arguments, data: str) -> None:
    libraries = [library for library in installed() if library in arguments.libraries]
    rows = []
    for name, (*_, batch_size, goal) in GOALS.items():
        found: dict = {library: [] for library in libraries}
        for seed in range(arguments.rounds):
            for library in libraries if seed % 2 == 0 else libraries[::-1]:
                found[library].append(in_a_process(library, name, seed, data))
                print(name, library, found[library][-1], flush=True)
        times = [median(r["seconds"] for r in found[library]) for library in libraries]
        cells = [
            f"{t:.0f} s, {median(r['epochs'] for r in found[library]):.0f} epochs"
            for library, t in zip(libraries, times, strict=True)
        ]
        ratio = f"{min(times[1:]) / times[0]:.1f}" if len(times) > 1 else ""
        rows.append(
            f"| {name}, {goal:.1%}, batches of {batch_size} | "
            + " | ".join(cells)
            + f" | **{ratio}** |"
        )
    new_line = chr(10)
    text = f"""
From starting the process to the accuracy on the test set, evaluated after each epoch: medians of
{arguments.rounds} seeds, each a process of its own. Written by `python benchmarks/accuracy.py`.

| model | {" | ".join(libraries)} | best peer / Cornu |
|{"---|" * (len(libraries) + 2)}
{new_line.join(rows)}

{machine()}.
"""
    print(text)
    replace_section(ROOT / "docs" / "benchmarks.md", "Time to an accuracy", text)


if __name__ == "__main__":
    if "--child" in sys.argv:
        library, name, seed, data = sys.argv[2:]
        started = float(os.environ["CORNU_BENCHMARK_START"])
        print(json.dumps(measure(library, name, int(seed), data, started)), file=sys.stderr)
    else:
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("--rounds", type=int, default=1)
        parser.add_argument(
            "--libraries", nargs="*", default=["Cornu", "Keras on TensorFlow"], choices=LIBRARIES
        )
        main(parser.parse_args())
