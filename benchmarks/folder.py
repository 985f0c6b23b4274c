"""Training from a folder of pictures: memory does not grow with the folder.

    python benchmarks/folder.py [--pictures 20000 40000 60000] [--side 64]

Writes JPEG pictures of noise and shapes to a temporary folder, trains a small network on it for one
epoch, each folder in a process of its own, and writes a section of docs/benchmarks.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from common import ROOT, machine, peak_memory, replace_section


def draw(folder: Path, count: int, side: int) -> None:
    from PIL import Image

    random = np.random.default_rng(0)
    background = random.integers(0, 90, (side, side, 3), dtype=np.uint8)

    def one(i: int) -> None:
        picture = np.roll(background, i, axis=i % 2)
        width = side // (2 + i % 4)
        picture[:width, : (i * 7) % side] += np.uint8(120)
        Image.fromarray(picture).save(folder / f"class_{i % 4}" / f"{i}.jpg", quality=85)

    for i in range(4):
        (folder / f"class_{i}").mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(count)))


def train(folder: str, side: int) -> dict:
    import cornu
    from cornu import layers

    data = cornu.utils.image_dataset_from_directory(
        folder, image_size=(side, side), batch_size=128, seed=0, verbose=False
    )
    model = cornu.Sequential(
        [
            cornu.Input((side, side, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.train_on_batch(*next(iter(data)))
    before = peak_memory()
    start = time.perf_counter()
    model.fit(data, verbose=0)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "before": before / 1e6, "peak": peak_memory() / 1e6}


def main(arguments) -> None:
    rows = []
    for count in arguments.pictures:
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder), count, arguments.side)
            command = [sys.executable, __file__, "--child", folder, str(arguments.side)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        result = json.loads(done.stdout.splitlines()[-1])
        decoded = count * arguments.side**2 * 3 * 4 / 1e6
        rows.append(
            f"| {count:,} | {decoded:,.0f} | {result['before']:.0f} | {result['peak']:.0f} | "
            f"{count / result['seconds']:,.0f} |"
        )
        print(rows[-1])
    text = f"""
One epoch on a folder of {arguments.side}x{arguments.side} JPEG pictures, in megabytes: what all pictures
would take as float32, the peak of the process before `fit` (a first step is done), and after it.
Written by `python benchmarks/folder.py`.

| pictures | all, decoded | peak before | peak after | pictures a second |
|---|---|---|---|---|
{chr(10).join(rows)}

{machine()}.
"""
    replace_section(ROOT / "docs" / "benchmarks.md", "Training from a folder", text)


if __name__ == "__main__":
    if "--child" in sys.argv:
        print(json.dumps(train(sys.argv[2], int(sys.argv[3]))))
    else:
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("--pictures", type=int, nargs="+", default=[20000, 40000, 60000])
        parser.add_argument("--side", type=int, default=64)
        main(parser.parse_args())
