"""Wall time from starting a process to an accuracy on MNIST's test set: Cornu beside Keras.

    python benchmarks/accuracy.py [--rounds 1] [--libraries Cornu "Keras on TensorFlow" …]

Each run is a process of its own, in turns: it imports, reads the data, trains, and evaluates after
each epoch, until the accuracy is reached. Writes a section of docs/benchmarks.md.
"""

import argparse
import tempfile
from statistics import median

import numpy as np
from common import (
    LIBRARIES,
    in_a_process,
    in_turns,
    installed,
    is_child,
    report,
    since_start,
    use,
)

# Model: module of examples/, its function, optimizer, batch size, and the accuracy.
GOALS = {
    "lecture": ("mnist_lecture", "make_model", "adam", 128, 0.99),
    "sgd tutorial": ("mnist_with_sgd", "full_model", "sgd", 100, 0.975),
}
MOST_EPOCHS = 25


def measure(library: str, name: str, seed: str | int, data: str) -> dict:
    keras = use(library)
    module, function, optimizer, batch_size, goal = GOALS[name]
    keras.utils.set_random_seed(int(seed))
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
            return {"seconds": since_start(), "epochs": epoch + 1, "accuracy": accuracy}
    return {"seconds": float("inf"), "epochs": MOST_EPOCHS, "accuracy": accuracy}


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
            for library in in_turns(libraries, seed):
                found[library].append(in_a_process(__file__, library, name, seed, data))
                print(name, library, found[library][-1], flush=True)
        times = [median(r["seconds"] for r in found[library]) for library in libraries]
        cells = [
            f"{t:.0f} s, {median(r['epochs'] for r in found[library]):.0f} epochs"
            for library, t in zip(libraries, times, strict=True)
        ]
        ratio = f"{min(times[1:]) / times[0]:.1f}" if len(times) > 1 else ""
        rows.append([f"{name}, {goal:.1%}, batches of {batch_size}", *cells, f"**{ratio}**"])
    text = f"""
From starting the process to the accuracy on the test set, evaluated after each epoch: medians of
{arguments.rounds} seeds, each a process of its own. Written by `python benchmarks/accuracy.py`.
"""
    report("Time to an accuracy", text, ["model", *libraries, "best peer / Cornu"], rows)


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--libraries", nargs="*", default=["Cornu", "Keras on TensorFlow"], choices=LIBRARIES
    )
    main(parser.parse_args())
