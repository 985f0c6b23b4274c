"""Mutated files for the readers: none may hang, eat memory, or raise anything but the documented error.

    python tests/attacks/fuzz.py [--inputs 100000] [--seed 0] [--targets archive config …] [--keep FOLDER]
    python tests/attacks/fuzz.py --guided hdf5 [--inputs 100000] [--keep FOLDER]

Each input is made from a good file by changes that the seed and its number say, so that one that fails can
be made again: `--seed S --only N`. With `--keep`, inputs that fail are written there. Prints, for each
target, how many inputs were refused and accepted, the longest time, and every failure once.

With `--guided`, atheris (`pip install atheris`) looks for inputs that reach new lines of the reader, and
keeps them in a corpus in the folder.
"""

import argparse
import contextlib
import functools
import inspect
import io
import json
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path

import forged
import numpy as np

import cornu
from cornu import layers

# What a file that is no model's, or no picture's, may raise.
DOCUMENTED = cornu.saving.FileFormatError
BYTES = 1024**3


def pictures():
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    for form in ("PNG", "JPEG", "BMP", "GIF"):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, form)
        yield stream.getvalue()


class Targets:
    """Each method reads one mutated input; the good ones are made once."""

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / "good.keras"
        models = (forged.small_model(), larger())
        self.archives, self.weights, self.configs = [], [], []
        for model in models:
            model.compile("adam", "mse", metrics=["accuracy"])
            model.save(path)
            self.archives.append(path.read_bytes())
            with zipfile.ZipFile(path) as archive:
                self.weights.append(archive.read("model.weights.h5"))
                self.configs.append(json.loads(archive.read("config.json")))
        model = models[0]
        model.save_weights(folder / "good.safetensors")
        self.safetensors = (folder / "good.safetensors").read_bytes()
        self.model = model
        self.pictures = list(pictures())
        (folder / "pictures" / "a").mkdir(parents=True)

    def archive(self, rng):
        data = damaged(rng.choice(self.archives), rng)
        (self.folder / "m.keras").write_bytes(data)
        return data, lambda: cornu.saving.load_model(self.folder / "m.keras")

    def config(self, rng):
        which = rng.randrange(len(self.configs))
        config = forged.mutated(self.configs[which], rng)
        with zipfile.ZipFile(self.folder / "m.keras", "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", self.weights[which])
        data = json.dumps(config).encode()
        return data, lambda: cornu.saving.load_model(self.folder / "m.keras")

    def hdf5(self, rng):
        data = damaged(self.weights[0], rng)
        (self.folder / "w.weights.h5").write_bytes(data)
        return data, lambda: self.model.load_weights(self.folder / "w.weights.h5")

    def safetensor(self, rng):
        data = damaged(self.safetensors, rng)
        (self.folder / "w.safetensors").write_bytes(data)
        return data, lambda: self.model.load_weights(self.folder / "w.safetensors")

    def picture(self, rng):
        data = damaged(rng.choice(self.pictures), rng)
        (self.folder / "pictures" / "a" / "1.png").write_bytes(data)

        def read():
            try:
                found = cornu.utils.image_dataset_from_directory(
                    self.folder / "pictures", image_size=(8, 8), verbose=False
                )
                list(found)
            except (ValueError, OSError) as error:
                # A picture that cannot be read is named.
                assert "1.png" in str(error)
                raise DOCUMENTED(str(error)) from error

        return data, read

    def starts(self, name: str) -> list[bytes]:
        """Good inputs of a target, for a corpus."""
        configs = [json.dumps(config).encode() for config in self.configs]
        return {
            "archive": self.archives,
            "config": configs,
            "hdf5": self.weights,
            "safetensor": [self.safetensors],
            "picture": self.pictures,
        }[name]

    def read(self, name: str, data: bytes) -> None:
        """Read bytes that something else has made."""
        write = {
            "archive": "m.keras",
            "hdf5": "w.weights.h5",
            "safetensor": "w.safetensors",
            "picture": "pictures/a/1.png",
        }
        _, reader = getattr(self, name)(random.Random(0))
        if name == "config":
            with zipfile.ZipFile(self.folder / "m.keras", "w") as archive:
                archive.writestr("config.json", data)
                archive.writestr("model.weights.h5", self.weights[0])
        else:
            (self.folder / write[name]).write_bytes(data)
        with contextlib.suppress(DOCUMENTED):
            reader()


def instrument(instrument_func) -> None:
    """Let the readers' own functions tell which of their lines are reached."""
    from cornu.core import registry
    from cornu.models import graph_config
    from cornu.saving import archive, hdf5, legacy, reading, weights

    for module in (registry, graph_config, archive, hdf5, legacy, reading, weights):
        for holder in (module, *(c for c in vars(module).values() if inspect.isclass(c))):
            for name, function in list(vars(holder).items()):
                if inspect.isfunction(function) and function.__module__ == module.__name__:
                    setattr(holder, name, instrument_func(function))


def guided(arguments) -> None:
    """Let atheris choose the inputs; it stops at the first failure and writes it down."""
    import atheris

    folder = Path(arguments.keep or "fuzz")
    corpus = folder / f"corpus-{arguments.guided}"
    corpus.mkdir(parents=True, exist_ok=True)
    instrument(atheris.instrument_func)
    with tempfile.TemporaryDirectory() as temporary:
        targets = Targets(Path(temporary))
        for i, data in enumerate(targets.starts(arguments.guided)):
            (corpus / f"good-{i}").write_bytes(data)
        options = ["-timeout=5", "-rss_limit_mb=3000", "-max_len=200000"]
        options += [f"-runs={arguments.inputs}", f"-artifact_prefix={folder}/", str(corpus)]
        read = functools.partial(targets.read, arguments.guided)
        atheris.Setup([sys.argv[0], *options], read)
        atheris.Fuzz()


def larger():
    x = y = cornu.Input((8, 8, 2))
    y = layers.SeparableConv2D(3, 3, padding="same")(y)
    y = layers.BatchNormalization()(y)
    y = layers.Concatenate()([x, y])
    y = layers.MaxPooling2D()(layers.LeakyReLU(0.1)(y))
    y = layers.Dropout(0.5)(layers.Flatten()(y))
    y = layers.Dense(3, kernel_regularizer="l2", kernel_constraint="max_norm")(y)
    return cornu.Model(x, y)


INTERESTING = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1)


def damaged(data: bytes, rng) -> bytes:
    """The bytes with one to eight changes: other bytes, other numbers, pieces left out, twice, or moved."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at, how = rng.randrange(len(data) or 1), rng.random()
        size = min(rng.choice((1, 2, 4, 8, 16, 64, 500)), len(data) - at)
        if how < 0.35:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif how < 0.6:
            form = rng.choice("BHIQ")
            number = rng.choice(INTERESTING) % 2 ** (8 * struct.calcsize(form))
            data[at : at + struct.calcsize(form)] = struct.pack("<" + form, number)
        elif how < 0.7:
            del data[at : at + size]
        elif how < 0.8:
            data[at:at] = data[at : at + size]
        elif how < 0.95:
            other = rng.randrange(len(data) or 1)
            data[at : at + size] = data[other : other + size]
        else:
            del data[at:]
        if not data:
            break
    return bytes(data)


def attack(target, number: int, seed: int) -> tuple[str, float, str, bytes]:
    """What became of an input: the kind, seconds, what failed, and the input."""
    data, read = target(random.Random(f"{seed} {number}"))
    begin = time.perf_counter()
    kind, failure = "accepted", ""
    try:
        read()
    except DOCUMENTED:
        kind = "refused"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = "failed"
        failure = (
            f"{type(error).__name__}: {error!s:.100} ({Path(place.filename).name}:{place.lineno})"
        )
    return kind, time.perf_counter() - begin, failure, data


def main(arguments) -> int:
    with tempfile.TemporaryDirectory() as folder:
        targets = Targets(Path(folder))
        failures: dict = {}
        for name in arguments.targets:
            counts, longest = Counter(), (0.0, -1)
            target = getattr(targets, name)
            attack(target, -1, arguments.seed)
            before = peak()
            numbers = range(arguments.inputs) if arguments.only is None else [arguments.only]
            for number in numbers:
                kind, seconds, failure, data = attack(target, number, arguments.seed)
                counts[kind] += 1
                longest = max(longest, (seconds, number))
                if seconds > arguments.seconds:
                    failure = failure or f"took more than {arguments.seconds} s"
                if failure and (name, failure) not in failures:
                    failures[name, failure] = number
                    print(f"{name} {number}: {failure}", flush=True)
                    if arguments.keep:
                        Path(arguments.keep).mkdir(exist_ok=True, parents=True)
                        Path(arguments.keep, f"{name}-{arguments.seed}-{number}").write_bytes(data)
            grown = peak() - before
            if grown > BYTES:
                failures[name, "memory"] = -1
            print(
                f"{name}: {sum(counts.values()):,} inputs, {counts['refused']:,} refused, "
                f"{counts['accepted']:,} accepted, {counts['failed']:,} failed; longest {longest[0]:.2f} s "
                f"(input {longest[1]}), memory grew by {grown / 1e6:.0f} MB",
                flush=True,
            )
    return 1 if failures else 0


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


ALL = ("archive", "config", "hdf5", "safetensor", "picture")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1.0, help="what is a hang")
    parser.add_argument("--only", type=int, help="one input, by its number")
    parser.add_argument("--targets", nargs="*", default=ALL, choices=ALL)
    parser.add_argument("--keep", help="folder for inputs that fail")
    parser.add_argument(
        "--guided", choices=ALL, help="one target, with inputs that atheris chooses"
    )
    given = parser.parse_args()
    sys.exit(guided(given) if given.guided else main(given))
