"""Inference and a training step of networks for ImageNet, beside Keras on each backend and PyTorch.

    python benchmarks/applications.py [--rounds 2] [--size 224] [--only NAME …]

MobileNetV2, ResNet50 and EfficientNetB0 with random weights, images of 224x224. PyTorch runs the same
networks in the memory layout `channels_last`, plain and through `torch.compile`; the others run Keras'
code, `predict_on_batch` and `train_on_batch` with Adam. Each measurement is a process of its own, in turns.
Writes a section of docs/benchmarks.md. Libraries that are not installed are left out.
"""

import argparse
import importlib.util
import time
from statistics import geometric_mean, median

import in_torch
import numpy as np
from common import in_a_process, in_turns, installed, is_child, report, seconds, use

NETWORKS = ("MobileNetV2", "ResNet50", "EfficientNetB0")
# What is measured, and how many images at once.
WORK = {"predict, 1 image": 1, "predict, 32 images": 32, "training step, 32 images": 32}
TORCH = ("PyTorch", "PyTorch, compiled")
SECONDS = 4.0


def of_keras(library: str, name: str, work: str, x, y):
    keras = use(library)
    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(weights=None, input_shape=x.shape[1:])
    if work.startswith("predict"):
        return lambda: network.predict_on_batch(x)
    network.compile("adam", "sparse_categorical_crossentropy")
    return lambda: network.train_on_batch(x, y)


def of_torch(library: str, name: str, work: str, x, y):
    import torch

    cornu = use("Cornu")
    model = getattr(cornu.applications, name)(weights=None, input_shape=x.shape[1:])
    torch.manual_seed(0)
    network = in_torch.build(in_torch.describe(model)).to(memory_format=torch.channels_last)
    del model
    called = network if library == "PyTorch" else torch.compile(network)
    images = torch.from_numpy(x.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(y).long()
    if work.startswith("predict"):
        network.eval()

        def predict():
            with torch.inference_mode():
                return called(images).numpy()

        return predict
    optimizer = torch.optim.Adam(network.parameters())

    def train():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(called(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return train


def measure(library: str, name: str, work: str, size: str) -> float:
    """The median of the seconds of a call."""
    random = np.random.default_rng(0)
    count = WORK[work]
    x = random.random((count, int(size), int(size), 3), "float32")
    y = random.integers(0, 1000, count)
    make = of_torch if library in TORCH else of_keras
    run = make(library, name, work, x, y)
    run()
    run()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - start < SECONDS and len(times) < 100):
        times.append(seconds(run))
    return median(times)


def main(arguments) -> None:
    libraries = installed()
    if importlib.util.find_spec("torch"):
        libraries += TORCH
    rows, ratios = [], {library: [] for library in libraries}
    for name in arguments.only or NETWORKS:
        for work in WORK:
            found: dict[str, list[float]] = {library: [] for library in libraries}
            for turn in range(arguments.rounds):
                for library in in_turns(libraries, turn):
                    found[library].append(
                        in_a_process(__file__, library, name, work, arguments.size)
                    )
            times = {library: median(each) for library, each in found.items()}
            print(name, work, {k: round(1000 * v, 1) for k, v in times.items()}, flush=True)
            rows.append([name, work, *(f"{1000 * times[library]:,.1f}" for library in libraries)])
            for library in libraries:
                ratios[library].append(times[library] / times["Cornu"])
    means = (f"{geometric_mean(ratios[library]):.2f}" for library in libraries)
    rows.append(["time against Cornu's", "geometric mean", *means])
    report(
        "Networks for ImageNet",
        f"Milliseconds a call, images of {arguments.size}x{arguments.size}: "
        "`python benchmarks/applications.py`.",
        ["network", "work", *libraries],
        rows,
        f"Medians of {arguments.rounds} processes each.",
    )


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--only", nargs="+", choices=NETWORKS)
    main(parser.parse_args())
