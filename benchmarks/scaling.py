"""Two processes on two cores against one on one core: Cornu, and Keras on JAX with its DataParallel.

    python benchmarks/scaling.py [--rounds 3] [--images 6400] [--epochs 3] [--only NAME …]
        [--cornu-only] [--batch 128 …] [--real-time]

One process is held to one core, two to one each. These share out the batches that one has: the loss is
the same, and the best that can be is half the time. Each measurement starts new processes, which take the
median time of the epochs after the first. Keras' processes are given their own halves of the data, as it
shares out only `tf.data`. Writes docs/scaling.md. Needs two cores that do nothing else, and says how busy
they were. With `--real-time` (for root), all has real-time priority, for which other programs have to wait.
The last columns have what `cornu plan` says, on one core, and how far that is from the measurement.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from statistics import median

import numpy as np
from common import ROOT, in_turns, table, timed_epochs, use

# Module of examples/, its function, and which pictures.
MODELS = {
    "lecture": ("mnist_lecture", "make_model", "mnist"),
    "colour model": ("convolution_by_hand", "colour_model", "cifar10"),
    "residual": ("from_dense_to_convolutional", "residual", "mnist"),
}
LIBRARIES = ("Cornu", "Keras on JAX")


def measure(library: str, model: str, folder: str, epochs: str, batch: str) -> dict:
    """Train a model in this process, which may be one of two."""
    count = int(os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", 1))
    number = int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0))
    module, function, data = MODELS[model]
    with np.load(f"{folder}/{data}.npz") as pictures:
        x, labels = pictures["x"], pictures["y"]
    keras = use(library)
    rows = int(batch)
    if count > 1:
        keras.distribution.initialize()
        own = library != "Cornu"
        spread = keras.distribution.DataParallel(auto_shard_dataset=not own)
        keras.distribution.set_distribution(spread)
        if own:
            x, labels, rows = x[number::count], labels[number::count], rows // count
    y = keras.utils.to_categorical(labels, 10)
    keras.utils.set_random_seed(0)
    network = getattr(__import__(module), function)()
    network.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    watch, times = timed_epochs(keras)
    history = network.fit(
        x, y, batch_size=rows, epochs=int(epochs) + 1, callbacks=[watch], verbose=0
    )
    return {"seconds": median(times[1:]), "loss": history.history["loss"][-1]}


def planned(model: str, batch: str) -> dict:
    """What the plan says of two processes, from a step that is measured in this one."""
    use("Cornu")
    from cornu.explain.plan import plan

    module, function, _ = MODELS[model]
    network = getattr(__import__(module), function)()
    network.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return {"seconds": plan(network, 2, int(batch)).asked.seconds}


def timed(child: list[str], count: int, arguments) -> dict:
    """What process 0 of so many, each on a core, answers."""
    cores = sorted(os.sched_getaffinity(0))
    before = ["chrt", "--rr", "1"] if arguments.real_time else []
    port = free_port()
    started = []
    for number in range(count):
        environment = {**os.environ, "KERAS_BACKEND": "jax"}
        if count > 1:
            environment |= {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
                "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
                "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
            }
        command = [*before, "taskset", "--cpu-list", str(cores[number]), sys.executable]
        command += [__file__, *child]
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
        raise SystemExit(f"{child}, {count} processes:\n" + said[0][1][-3000:])
    return json.loads(said[0][0].strip().splitlines()[-1])


def free_port() -> int:
    with socket.socket() as stream:
        stream.bind(("127.0.0.1", 0))
        return stream.getsockname()[1]


def main(arguments) -> None:
    names = [(name, batch) for name in arguments.only or MODELS for batch in arguments.batch]
    found: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        cornu = use("Cornu")
        for name in {data for *_, data in MODELS.values()}:
            (x, y), _ = getattr(cornu.datasets, name).load_data()
            x = (x[: arguments.images] / 255).astype("float32")
            x = x[..., None] if x.ndim == 3 else x
            np.savez(f"{folder}/{name}.npz", x=x, y=y[: arguments.images].ravel())
        load = os.getloadavg()[0]
        libraries = LIBRARIES[: 1 if arguments.cornu_only else 2]
        choices = [(*name, library, n) for name in names for library in libraries for n in (1, 2)]
        for turn in range(arguments.rounds):
            for name, batch, library, count in in_turns(choices, turn):
                settings = [library, name, folder, str(arguments.epochs), str(batch)]
                answer = timed(["--child", *settings], count, arguments)
                found.setdefault((name, batch, library, count), []).append(answer)
                print(name, batch, library, count, answer, flush=True)
        plans = {each: timed(["--plan", each[0], str(each[1])], 1, arguments) for each in names}
    rows = []
    for name, batch in names:
        row = [name, str(batch)]
        for library in libraries:
            one, two = (
                [each["seconds"] for each in found[name, batch, library, count]] for count in (1, 2)
            )
            speeds = [arguments.images / median(each) for each in (one, two)]
            row += [f"{speeds[0]:,.0f}", f"{speeds[1]:,.0f}", f"{speeds[1] / speeds[0]:.2f}"]
            if library == "Cornu":
                seconds = plans[name, batch]["seconds"] / batch
                off = seconds * speeds[1] - 1
        rows.append([*row, f"{1 / seconds:,.0f}", f"{100 * off:+.0f} %"])
    rival = " All had real-time priority, so that these had to wait." if arguments.real_time else ""
    text = f"""
Images a second in training, with batches of so many in all: one process held to one core, two on a core
each, and how many times as fast these are; and what `cornu plan` says of two, with the error of its step's
time (`make scaling`; the median of {arguments.rounds} rounds, each the median of {arguments.epochs} epochs
of {arguments.images} pictures). When it began, {load:.1f} programs were waiting for the cores.{rival}
"""
    columns = ["model", "batch"]
    columns += [f"{library}: {n}" for library in libraries for n in ("1", "2", "times")]
    columns += ["planned: 2", "time of its step"]
    table(ROOT / "docs" / "scaling.md", "Two cores, measured", text, columns, rows)


if __name__ == "__main__":
    if sys.argv[1:2] in (["--child"], ["--plan"]):
        answer = {"--child": measure, "--plan": planned}[sys.argv[1]]
        print("\n" + json.dumps(answer(*sys.argv[2:])))
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=MODELS)
    parser.add_argument("--cornu-only", action="store_true")
    parser.add_argument("--batch", nargs="+", type=int, default=[128])
    parser.add_argument("--real-time", action="store_true")
    main(parser.parse_args())
