"""Two processes on two cores against one on one core: Cornu, and Keras on JAX with its DataParallel.

    python benchmarks/scaling.py [--rounds 3] [--images 6400] [--epochs 3] [--only NAME …]

One process is held to one core, two to two. These share out the batches of 128 that one has: the loss is
the same, and the best that can be is half the time. Each measurement starts new processes, which take the
median time of the epochs after the first. Keras' processes are given their own halves of the data, as it
shares out only `tf.data`. Writes docs/scaling.md. Needs two cores that do nothing else, and says how busy
they were.
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
from common import ROOT, in_turns, table, use

BATCH = 128
# Module of examples/, its function, and which pictures.
MODELS = {
    "lecture": ("mnist_lecture", "make_model", "mnist"),
    "colour model": ("convolution_by_hand", "colour_model", "cifar10"),
    "residual": ("from_dense_to_convolutional", "residual", "mnist"),
}
LIBRARIES = ("Cornu", "Keras on JAX")


def measure(library: str, model: str, folder: str, epochs: str) -> dict:
    """Train a model in this process, which may be one of two."""
    count = int(os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", 1))
    number = int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0))
    module, function, data = MODELS[model]
    with np.load(f"{folder}/{data}.npz") as pictures:
        x, labels = pictures["x"], pictures["y"]
    keras = use(library)
    batch = BATCH
    if count > 1:
        keras.distribution.initialize()
        own = library != "Cornu"
        spread = keras.distribution.DataParallel(auto_shard_dataset=not own)
        keras.distribution.set_distribution(spread)
        if own:
            x, labels, batch = x[number::count], labels[number::count], BATCH // count
    y = keras.utils.to_categorical(labels, 10)
    keras.utils.set_random_seed(0)
    network = getattr(__import__(module), function)()
    network.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    times: list[float] = []

    class Watch(keras.callbacks.Callback):
        needs_every_batch = False

        def on_epoch_begin(self, epoch, logs=None):
            times.append(-time.perf_counter())

        def on_epoch_end(self, epoch, logs=None):
            float(logs["loss"])
            times[-1] += time.perf_counter()

    history = network.fit(
        x, y, batch_size=batch, epochs=int(epochs) + 1, callbacks=[Watch()], verbose=0
    )
    return {"seconds": median(times[1:]), "loss": history.history["loss"][-1]}


def timed(library: str, model: str, folder: str, epochs: int, count: int, port: int) -> dict:
    """What process 0 of so many, on as many cores, answers."""
    cores = sorted(os.sched_getaffinity(0))
    arguments = [__file__, "--child", library, model, folder, str(epochs)]
    started = []
    for number in range(count):
        environment = {**os.environ, "KERAS_BACKEND": "jax"}
        if count > 1:
            environment |= {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
                "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
                "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
            }
        # Two are held to two cores, and not each to one: there, what waits for the other process and what
        # computes take turns, of some milliseconds each, in each sum of gradients.
        held = ",".join(map(str, cores[:count]))
        command = ["taskset", "--cpu-list", held, sys.executable, *arguments]
        started.append(
            subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=900) for process in started]
    finally:
        for process in started:
            process.kill()
    if any(process.returncode for process in started):
        raise SystemExit(f"{library}, {model}, {count} processes:\n" + said[0][1][-3000:])
    return json.loads(said[0][0].strip().splitlines()[-1])


def main(arguments) -> None:
    from cornu.distribution.launch import free_port

    names = arguments.only or list(MODELS)
    found: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        cornu = use("Cornu")
        for name in {data for *_, data in MODELS.values()}:
            (x, y), _ = getattr(cornu.datasets, name).load_data()
            x = (x[: arguments.images] / 255).astype("float32")
            x = x[..., None] if x.ndim == 3 else x
            np.savez(f"{folder}/{name}.npz", x=x, y=y[: arguments.images].ravel())
        load = os.getloadavg()[0]
        choices = [(name, library, n) for name in names for library in LIBRARIES for n in (1, 2)]
        for turn in range(arguments.rounds):
            for name, library, count in in_turns(choices, turn):
                answer = timed(library, name, folder, arguments.epochs, count, free_port())
                found.setdefault((name, library, count), []).append(answer)
                print(name, library, count, answer, flush=True)
    rows = []
    for name in names:
        row = [name]
        for library in LIBRARIES:
            one, two = (
                [each["seconds"] for each in found[name, library, count]] for count in (1, 2)
            )
            speeds = [arguments.images / min(each) for each in (one, two)]
            row += [f"{speeds[0]:,.0f}", f"{speeds[1]:,.0f}", f"{speeds[1] / speeds[0]:.2f}"]
        rows.append(row)
    settings = (
        f"the best of {arguments.rounds} rounds, each the median of {arguments.epochs} epochs"
    )
    text = f"""
Images a second in training, with batches of {BATCH} in all: one process held to one core, two
processes on two cores, and how many times as fast these are (`make scaling`; {settings} of
{arguments.images} pictures). When it began, {load:.1f} programs were waiting for the cores.
"""
    columns = ["model", *(f"{library}: {n}" for library in LIBRARIES for n in ("1", "2", "times"))]
    table(ROOT / "docs" / "scaling.md", "Two cores, measured", text, columns, rows)


if __name__ == "__main__":
    if "--child" in sys.argv:
        print("\n" + json.dumps(measure(*sys.argv[2:])))
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=MODELS)
    main(parser.parse_args())
