"""How many wrong labels `cornu train` names: 5 % are planted in 5,000 pictures, as folders of PNG files.

    python benchmarks/label_noise.py [mnist] [cifar10]

Prints the table of docs/datasets.md. MNIST is learned by `lecture` for 5 epochs; CIFAR-10 by the network of
benchmarks/strengths.py for 20. Precision is the share of planted labels among the first of the list, recall
the share of all planted labels that are among them.
"""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import versions
from PIL import Image

import cornu

COUNT, SHARE = 5000, 0.05
NETWORK = f"{Path(__file__).with_name('strengths.py')}:small"
CASES = {
    "mnist": ("lecture", 5, ["--image-size", "28"]),
    "cifar10": (NETWORK, 20, ["--image-size", "32", "--learning-rate", "0.003"]),
}


def plant(name: str, folder: Path) -> int:
    """Write the pictures; those with a wrong label have names that say so. Returns how many these are."""
    (x, y), _ = getattr(cornu.datasets, name).load_data()
    x, y = x[:COUNT], y.reshape(-1)[:COUNT].astype(int)
    random = np.random.default_rng(0)
    wrong = random.permutation(COUNT)[: int(SHARE * COUNT)]
    y[wrong] = (y[wrong] + random.integers(1, 10, len(wrong))) % 10
    is_wrong = np.isin(np.arange(COUNT), wrong)
    for number, (image, label) in enumerate(zip(x, y, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        kind = "planted" if is_wrong[number] else "right"
        Image.fromarray(image).save(place / f"{number}-{kind}.png")
    return len(wrong)


def listed(name: str, folder: Path) -> list[bool]:
    """Whether each label that the run names was planted, in the order of the list."""
    network, epochs, options = CASES[name]
    words = [sys.executable, "-m", "cornu", "train", str(folder / "pictures"), "--model", network]
    words += ["--epochs", str(epochs), "--seed", "0", "--output", str(folder / "run"), *options]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    with open(folder / "run" / "label_noise.csv", newline="", encoding="utf-8") as file:
        return ["planted" in row["name"] for row in csv.DictReader(file)]


def main() -> None:
    print("| pictures | first of the list | precision | recall |\n|---|---:|---:|---:|")
    for name in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as folder:
            planted = plant(name, Path(folder, "pictures"))
            found = np.array(listed(name, Path(folder)))
        for count in sorted({min(n, len(found)) for n in (50, 125, 250, len(found))}):
            hits = found[:count].sum()
            all_of_them = " (all)" if count == len(found) else ""
            print(
                f"| {name} | {count}{all_of_them} | {100 * hits / count:.0f} % | "
                f"{100 * hits / planted:.0f} % |",
                flush=True,
            )
    print(f"\n{planted} of {COUNT} labels were planted. {versions()}")


if __name__ == "__main__":
    main()
