"""Reading pictures ahead of training: Cornu beside `tf.data` and PyTorch's `DataLoader`.

    python benchmarks/streams.py [--rounds 5] [--photographs 1500] [--peers PYTHON]

Each reads folders of files, a folder for each class, mixed, in batches of float32: CIFAR-10 as it is, JPEG
of 32x32 from `cifar10-jpeg.tar.gz` in the folder that CORNU_DATA_DIR names, the same enlarged to 64x64 as
JPEG and PNG, and JPEG of 500x400 that is made here, resized to 224x224. A process makes two passes, and the
second is timed. The libraries take turns, and a section of docs/benchmarks.md is written. PYTHON has
TensorFlow and PyTorch, if this one has not.
"""

import argparse
import os
import statistics
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from common import in_a_process, in_turns, is_child, peak_memory, report, seconds

BATCH = 128
MODULES = {"Cornu": "cornu", "tf.data": "tensorflow", "DataLoader": "torch"}
LIBRARIES = list(MODULES)


def draw(folder: Path, count: int) -> None:
    """Pictures that compress like photographs: smooth shapes with some noise."""
    from PIL import Image

    random = np.random.default_rng(0)
    for i in range(4):
        (folder / f"class_{i}").mkdir(parents=True)
    for i in range(count):
        coarse = random.integers(0, 255, (20, 25, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((500, 400), Image.Resampling.BICUBIC))
        noisy = smooth + random.integers(-12, 12, smooth.shape)
        picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        picture.save(folder / f"class_{i % 4}" / f"{i}.jpg", quality=90)


def enlarge(folder: Path, to: Path, ending: str) -> None:
    """Twice as wide and high copies of pictures."""
    from PIL import Image

    for path in folder.rglob("*.jpg"):
        (to / path.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as file:
            larger = file.resize((64, 64), Image.Resampling.BICUBIC)
        larger.save(to / path.parent.name / f"{path.stem}.{ending}", quality=90)


def found(folder: str) -> tuple[list[str], list[int]]:
    classes = sorted(os.listdir(folder))
    files = [
        (f"{folder}/{c}/{f}", i) for i, c in enumerate(classes) for f in os.listdir(f"{folder}/{c}")
    ]
    return [path for path, _ in files], [label for _, label in files]


def cornu_pass(folder: str, side: int):
    import cornu

    cornu.config.keep_freed_memory()
    data = cornu.utils.image_dataset_from_directory(
        folder, image_size=(side, side), batch_size=BATCH, seed=0, verbose=False
    )
    return data.as_numpy_iterator


def tensorflow_pass(folder: str, side: int):
    import tensorflow as tf

    def read(path, label):
        # Of PNG, too.
        picture = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        picture = tf.image.resize(picture, (side, side))
        picture.set_shape((side, side, 3))
        return picture, label

    paths, labels = found(folder)
    data = tf.data.Dataset.from_tensor_slices((paths, labels)).shuffle(len(paths), seed=0)
    data = data.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
    return data.prefetch(tf.data.AUTOTUNE).as_numpy_iterator


class Pictures:
    """A data set of PyTorch's, as `torchvision.datasets.ImageFolder` is one."""

    def __init__(self, folder, side):
        (self.paths, self.labels), self.side = found(folder), side

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        import torch
        from PIL import Image

        with Image.open(self.paths[i]) as file:
            picture = file.convert("RGB")
        if picture.size != (self.side, self.side):
            picture = picture.resize((self.side, self.side), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float(), self.labels[i]


def torch_pass(folder: str, side: int):
    from torch.utils.data import DataLoader

    workers = os.cpu_count()
    loader = DataLoader(
        Pictures(folder, side), BATCH, True, num_workers=workers, persistent_workers=True
    )
    return lambda: iter(loader)


def measure(library: str, folder: str, side: str) -> dict:
    makers = dict(zip(LIBRARIES, (cornu_pass, tensorflow_pass, torch_pass), strict=True))
    begin = makers[library](folder, int(side))
    counts = []

    def one_pass():
        counts.append(sum(len(y) for _, y in begin()))

    one_pass()
    before = processor_seconds()
    took = seconds(one_pass)
    busy = processor_seconds() - before
    memory = peak_memory()
    if library == "DataLoader":
        memory += sum(peak_memory(child) for child in children())
    return {
        "rate": counts[-1] / took,
        "memory": memory / 1e6,
        "busy": busy / counts[-1] * 1e3,
        "version": sys.modules[MODULES[library]].__version__,
    }


def processor_seconds() -> float:
    """Of this process and its workers."""
    ticks = 0
    for process in (os.getpid(), *children()):
        # Behind the name of the program, which may hold spaces.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children() -> list[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(number) for task in tasks for number in task.read_text().split()]


def main(arguments) -> None:
    rows: list = []
    versions: dict = {}
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with tarfile.open(Path(os.environ["CORNU_DATA_DIR"]) / "cifar10-jpeg.tar.gz") as file:
            file.extractall(folder, filter="data")
        draw(folder / "photographs", arguments.photographs)
        sets = [("JPEG, 32x32", folder / arguments.part, 32)]
        for ending in ("jpg", "png"):
            enlarge(folder / arguments.part, folder / ending, ending)
            name = {"jpg": "JPEG", "png": "PNG"}[ending]
            sets.append((f"{name}, 64x64", folder / ending, 64))
        sets.append(("JPEG, 500x400 to 224x224", folder / "photographs", 224))
        for name, pictures, side in sets:
            results: dict = {library: [] for library in LIBRARIES}
            for turn in range(arguments.rounds):
                for library in in_turns(LIBRARIES, turn):
                    python = sys.executable if library == "Cornu" else arguments.peers
                    result = in_a_process(__file__, library, pictures, side, python=python)
                    print(name, library, result, flush=True)
                    results[library].append(result)
                    versions[library] = f"{MODULES[library]} {result['version']}"
                load.append(os.getloadavg()[0])
            for library in LIBRARIES:
                rates = [r["rate"] for r in results[library]]
                ratios = [
                    r["rate"] / own["rate"]
                    for r, own in zip(results[library], results["Cornu"], strict=True)
                ]
                memory = statistics.median(r["memory"] for r in results[library])
                spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
                busy = statistics.median(r["busy"] for r in results[library])
                median = f"{statistics.median(rates):,.0f}"
                rows.append(
                    [
                        name,
                        library,
                        median,
                        spread,
                        f"{statistics.median(ratios):.2f}",
                        f"{busy:.3f}",
                        f"{memory:,.0f}",
                    ]
                )
    text = f"""
Pictures a second that are read, decoded, resized, mixed and put into float32 batches of {BATCH}, in the
second pass of a process: medians of {arguments.rounds} rounds in which the libraries take turns, their
ranges, the median of the ratios to Cornu in the same round, the milliseconds that a core works for a
picture, and the peak memory in megabytes, workers included. The pictures are the {arguments.part} part of
CIFAR-10, also enlarged, and {arguments.photographs} that are drawn. Cornu decodes JPEG with simplejpeg and
PNG with a kernel, in threads, and keeps freed memory (`config.keep_freed_memory()`); `tf.data` has threads
of its own; `DataLoader` has a process for each core, and Pillow, which resizes with smoothing.
{statistics.mean(load):.0f} programs wanted the machine's cores on average, from {min(load):.0f} to
{max(load):.0f}; where these are more than the cores, the time of the cores says more than the rate.
Written by `make streams`.
"""
    columns = ["pictures", "library", "a second", "range", "to Cornu", "ms of a core", "memory"]
    after = f"{versions['tf.data']}, {versions['DataLoader']};"
    report("Streams of pictures", text, columns, rows, after)


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photographs", type=int, default=1500)
    parser.add_argument("--part", default="train", choices=("train", "test"), help="of CIFAR-10")
    parser.add_argument("--peers", default=sys.executable)
    main(parser.parse_args())
