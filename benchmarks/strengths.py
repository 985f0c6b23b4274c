"""What `--augment` does for the accuracy: `cornu train` with each strength on 5,000 pictures of CIFAR-10.

    python benchmarks/strengths.py

Prints the table of docs/augmentation.md. A small network (`small` below, 95,000 weights) learns 500
training pictures of each class, a tenth of which choose the best epoch, and is judged by 5,000 test images.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import versions

import cornu
from cornu import layers

STRENGTHS = ("none", "light", "medium", "strong")


def small(input_shape, num_classes):
    """Three convolutions with normalization, each at half the size."""
    model = cornu.Sequential([cornu.Input(input_shape)])
    for filters in (32, 64, 128):
        model.add(layers.Conv2D(filters, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
        model.add(layers.MaxPooling2D())
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(num_classes, activation="softmax"))
    return model


def trained(file: Path, strength: str, seed: int, epochs: int) -> tuple[float, float]:
    """Test accuracy, and seconds an epoch."""
    words = [sys.executable, "-m", "cornu", "train", str(file), "--model", f"{__file__}:small"]
    words += ["--epochs", str(epochs), "--schedule", "cosine", "--learning-rate", "0.003"]
    words += ["--seed", str(seed), "--output", str(file.parent / f"{strength}-{seed}")]
    words += [] if strength == "none" else ["--augment", strength]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    folder = file.parent / f"{strength}-{seed}"
    settings = json.loads((folder / "settings.json").read_text())
    rows = (folder / "history.csv").read_text().split()[1:]
    return settings["accuracy"], float(np.median([float(row.split(",")[-1]) for row in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Test accuracy with each strength of --augment.")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments = parser.parse_args()
    (x, y), (x_test, y_test) = cornu.datasets.cifar10.load_data()
    rows = np.concatenate([np.flatnonzero(y.reshape(-1) == n)[:500] for n in range(10)])
    print(f"| strength | {' | '.join(f'seed {n}' for n in arguments.seeds)} | mean | s an epoch |")
    print("|---|" + "---:|" * (len(arguments.seeds) + 2))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "cifar.npz")
        tested = {"x_test": x_test[:5000], "y_test": y_test[:5000]}
        np.savez(file, x_train=x[rows], y_train=y[rows], **tested)
        for strength in STRENGTHS:
            found = [trained(file, strength, n, arguments.epochs) for n in arguments.seeds]
            cells = [f"{100 * accuracy:.1f} %" for accuracy, _ in found]
            mean = f"{100 * np.mean([accuracy for accuracy, _ in found]):.1f} %"
            seconds = np.median([seconds for _, seconds in found])
            print(f"| {strength} | {' | '.join(cells)} | {mean} | {seconds:.1f} |", flush=True)
    print(f"\n{arguments.epochs} epochs. {versions()}")


if __name__ == "__main__":
    main()
