"""Training from a folder of pictures: memory does not grow with the folder.

    python benchmarks/folder.py [--pictures 20000 40000 60000] [--side 64]

Writes JPEG pictures of noise and shapes to a temporary folder, trains a small network on it for one
epoch, each folder in a process of its own, and writes a section of docs/benchmarks.md.
"""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from common import in_a_process, is_child, peak_memory, report, seconds


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


def train(folder: str, side: str | int) -> dict:
    import cornu
    from cornu import layers

    side = int(side)
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
    took = seconds(lambda: model.fit(data, verbose=0))
    return {"seconds": took, "before": before / 1e6, "peak": peak_memory() / 1e6}


def main(arguments) -> None:
    rows = []
    for count in arguments.pictures:
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder), count, arguments.side)
            result = in_a_process(__file__, folder, arguments.side)
        decoded = count * arguments.side**2 * 3 * 4 / 1e6
        numbers = count, decoded, result["before"], result["peak"], count / result["seconds"]
        rows.append([f"{number:,.0f}" for number in numbers])
    text = f"""
One epoch on a folder of {arguments.side}x{arguments.side} JPEG images, in megabytes: what all images
would take as float32, the peak memory of the process before `fit` (after a first step), and after it.
Written by `python benchmarks/folder.py`.
"""
    columns = ["images", "all, decoded", "peak before", "peak after", "images a second"]
    report("Training from a folder", text, columns, rows)


if __name__ == "__main__" and not is_child(train):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, nargs="+", default=[20000, 40000, 60000])
    parser.add_argument("--side", type=int, default=64)
    main(parser.parse_args())
