"""Two processes on two cores against one on one core, Cornu and Keras on JAX; and what `cornu plan` says.

    python benchmarks/scaling.py [--rounds 3] [--images 6400] [--epochs 3] [--only NAME …]
        [--cornu-only] [--batch 128 …] [--real-time]

One process is held to one core, two to one each, four to one for each two. These share out the batches that
one has: the loss is the same, and the best that two can be is half the time. Each measurement starts new
processes, which take the median time of the epochs after the first. Keras' processes are given their own
halves of the data, as it shares out only `tf.data`. Writes docs/scaling.md. Needs two cores that do nothing
else, and says how busy they were. With `--real-time` (for root), all has real-time priority, for which
other programs have to wait.

The last columns compare what `cornu plan` says of one, two and four processes with what they took. Its step
of one device is measured while as many others compute, each alone, on the same cores; its network is what
sums between two such processes take.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import jax
import numpy as np
from common import ROOT, in_turns, seconds, table, timed_epochs, use
from jax.sharding import Mesh

# Module of examples/, its function, and which pictures.
MODELS = {
    "lecture": ("mnist_lecture", "make_model", "mnist"),
    "colour model": ("convolution_by_hand", "colour_model", "cifar10"),
    "residual": ("from_dense_to_convolutional", "residual", "mnist"),
}
LIBRARIES = ("Cornu", "Keras on JAX")
# Numbers of processes that the plan is compared with, and bytes of a short sum and of a long one.
COUNTS = (1, 2, 4)
SHORT, LONG = 1_000, 1_000_000


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


def planned(model: str, count: str, batch: str, network: str) -> dict:
    """What the plan says of so many processes, from a step that is measured in this one."""
    use("Cornu")
    from cornu.explain.plan import plan, read_hardware

    module, function, _ = MODELS[model]
    network_of_two = read_hardware(network)
    made = getattr(__import__(module), function)()
    made.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return {"seconds": plan(made, int(count), int(batch), network_of_two).asked.seconds}


def sums() -> dict:
    """What a sum over this process and another one takes, short and long, as figures of a network."""
    cornu = use("Cornu")
    from cornu.ops import joined_sums

    cornu.distribution.initialize()
    mesh = Mesh(np.array(jax.devices()), ("processes",))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("processes"))
    # As a step of training does it.
    total = jax.jit(lambda parts: joined_sums.over_devices([parts], mesh, parts.dtype))

    def summed(given):
        jax.block_until_ready(total(given))

    found = []
    for size in (SHORT, LONG):
        own = np.ones((1, size // 4), np.float32)
        given = jax.make_array_from_process_local_data(whole, own)
        times = [seconds(summed, given) for _ in range(50)]
        found.append(median(times[5:]))
    short, long = found
    # As in the plan: two waits, and between two processes each sends as many bytes as there are.
    rate = (LONG - SHORT) / max(long - short, 1e-9) / 1e9
    return {
        "network_latency_us": max(short - SHORT / rate / 1e9, 0) / 2 * 1e6,
        "network_gb_per_s": rate,
    }


def timed(child: list[str], count: int, arguments, alone=False) -> list[dict]:
    """What so many processes answer, each on a core; they compute together, or each alone."""
    cores = sorted(os.sched_getaffinity(0))
    before = ["chrt", "--rr", "1"] if arguments.real_time else []
    port = free_port()
    started = []
    for number in range(count):
        environment = {**os.environ, "KERAS_BACKEND": "jax"}
        if count > 1 and not alone:
            environment |= {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
                "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
                "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
            }
        command = [*before, "taskset", "--cpu-list", str(cores[number % len(cores)])]
        command += [sys.executable, __file__, *child]
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
    return [json.loads(text.strip().splitlines()[-1]) for text, _ in said]


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
        choices += [(*name, "Cornu", 4) for name in names]
        for turn in range(arguments.rounds):
            for name, batch, library, count in in_turns(choices, turn):
                settings = [library, name, folder, str(arguments.epochs), str(batch)]
                answer, *_ = timed(["--child", *settings], count, arguments)
                found.setdefault((name, batch, library, count), []).append(answer)
                print(name, batch, library, count, answer, flush=True)
        network = {"name": "two processes", **timed(["--sums"], 2, arguments)[0]}
        file = Path(folder, "network.json")
        file.write_text(json.dumps(network))
        plans = {}
        for name, batch in names:
            for count in COUNTS:
                settings = ["--plan", name, str(count), str(batch), str(file)]
                answers = timed(settings, count, arguments, alone=True)
                plans[name, batch, count] = median(each["seconds"] for each in answers)
    rows = []
    for name, batch in names:
        row, speeds = [name, str(batch)], {}
        for library in libraries:
            for count in COUNTS:
                runs = [each["seconds"] for each in found.get((name, batch, library, count), ())]
                if runs:
                    speeds[library, count] = arguments.images / median(runs)
            one, two = speeds[library, 1], speeds[library, 2]
            row += [f"{one:,.0f}", f"{two:,.0f}", f"{two / one:.2f}"]
        row.append(f"{speeds['Cornu', 4]:,.0f}")
        for count in COUNTS:
            off = plans[name, batch, count] / batch * speeds["Cornu", count] - 1
            row.append(f"{100 * off:+.0f} %")
        rows.append(row)
    rival = " All had real-time priority, so that these had to wait." if arguments.real_time else ""
    text = f"""
Images a second in training, with batches of so many in all: one process held to one core, two on a core
each, and how many times as fast these are; then four, two on each core. The last columns have how far the
time of a step that `cornu plan` says is from what it took (`make scaling`; the median of {arguments.rounds}
rounds, each the median of {arguments.epochs} epochs of {arguments.images} pictures). Between two processes,
a sum waits twice {network["network_latency_us"]:.0f} µs and moves {network["network_gb_per_s"]:.2f} GB/s.
When it began, {load:.1f} programs were waiting for the cores.{rival}
"""
    columns = ["model", "batch"]
    columns += [f"{library}: {n}" for library in libraries for n in ("1", "2", "times")]
    columns += ["Cornu: 4", *[f"plan: {count}" for count in COUNTS]]
    table(ROOT / "docs" / "scaling.md", "Two cores, measured", text, columns, rows)


if __name__ == "__main__":
    if sys.argv[1:2] in (["--child"], ["--plan"], ["--sums"]):
        answer = {"--child": measure, "--plan": planned, "--sums": sums}[sys.argv[1]]
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
