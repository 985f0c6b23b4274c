"""Fine-tuning beside training from scratch, with a few hundred pictures.

    python benchmarks/packaged.py SmallResNet --classes 0 1 2 3 4 --epochs 16 --rate 0.5 \\
        --output five.weights.h5
    python benchmarks/transfer.py --weights five.weights.h5

The backbone has seen five classes of CIFAR-10; the pictures are of the other five, 100 and 200 of each.
From scratch the same network, and the command line's `simple`, learn the same pictures with the same
augmentation. All are judged by the 5,000 test images of these classes. Times are those of all of the
training, compilation included; steps are those of the whole network, which do not depend on the machine.
Fine-tuning is `models.fine_tune` with its defaults, but for the number of epochs. The last line shows what
frozen features cost in an epoch with MobileNetV2, whose weights are random here: the time does not depend
on them. Writes a section of docs/benchmarks.md.
"""

import argparse
import time

import numpy as np
from common import report

import cornu
from cornu import layers
from cornu.applications import MobileNetV2, SmallResNet
from cornu.cli.networks import simple


def pictures(classes, of_each: int | None, seed: int):
    """Training and test images of these classes of CIFAR-10, so many of each for training."""
    random = np.random.default_rng(seed)
    found = []
    for (x, y), count in zip(cornu.datasets.cifar10.load_data(), (of_each, None), strict=True):
        y = y.reshape(-1)
        rows = [random.permutation(np.flatnonzero(y == name))[:count] for name in classes]
        labels = np.repeat(np.arange(len(classes)), [len(each) for each in rows])
        chosen = np.concatenate(rows)
        order = random.permutation(len(chosen))
        found.append((x[chosen][order].astype("float32"), labels[order]))
    return found


def augmented(x):
    x = layers.RandomFlip("horizontal")(x)
    return layers.RandomTranslation(0.1, 0.1)(x)


def from_scratch(body, x, y, epochs: int, batch: int = 32):
    """A model of random weights, trained with AdamW and a learning rate that rises and falls."""
    inputs = cornu.Input(x.shape[1:])
    model = cornu.Model(inputs, body(augmented(inputs)))
    steps = epochs * -(-len(x) // batch)
    rate = cornu.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=2e-3, warmup_steps=steps // 10
    )
    model.compile(cornu.optimizers.AdamW(rate), "sparse_categorical_crossentropy")
    model.fit(x, y, batch, epochs=epochs, verbose=0)
    return model


def with_head(backbone, shape, classes: int):
    inputs = cornu.Input(shape)
    x = layers.Dropout(0.2)(backbone(augmented(inputs)))
    model = cornu.Model(inputs, layers.Dense(classes, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def tuned(weights: str, x, y, epochs: int):
    backbone = SmallResNet(
        weights=weights, include_top=False, input_shape=x.shape[1:], pooling="avg"
    )
    model = with_head(backbone, x.shape[1:], int(y.max()) + 1)
    cornu.models.fine_tune(model, x, y, epochs=epochs, draws=4, batch_size=32, verbose=0)
    return model


def small_resnet(x):
    return SmallResNet(weights=None, input_tensor=x, classes=5).output


def scaled_simple(x):
    return simple(layers.Rescaling(1 / 255)(x), 5)


def compare(weights: str, of_each: int, runs: int) -> list[list[str]]:
    """Rows of the table: accuracy and seconds, the means over runs with pictures of their own."""
    ways = {
        f"SmallResNet, fine-tuned: the head, then {epochs} epochs": (
            epochs,
            lambda x, y, epochs=epochs: tuned(weights, x, y, epochs),
        )
        for epochs in (0, 5, 15)
    }
    # Five epochs and fifteen, as fine-tuning has, and as many as still help.
    for name, body in {"SmallResNet": small_resnet, "simple": scaled_simple}.items():
        for epochs in (5, 15, 60):
            ways[f"{name} from scratch, {epochs} epochs"] = (
                epochs,
                lambda x, y, body=body, epochs=epochs: from_scratch(body, x, y, epochs),
            )
    found: dict[str, list] = {name: [] for name in ways}
    for seed in range(runs):
        (x, y), (x_test, y_test) = pictures(range(5, 10), of_each, seed)
        for name, (_, train) in ways.items():
            cornu.utils.set_random_seed(seed)
            start = time.perf_counter()
            model = train(x, y)
            seconds = time.perf_counter() - start
            correct = model.predict(x_test, batch_size=500, verbose=0).argmax(1) == y_test
            found[name].append((correct.mean(), seconds))
            print(f"{of_each} a class, run {seed}, {name}: {correct.mean():.4f}", flush=True)
    rows = []
    for name, (epochs, _) in ways.items():
        accuracy, seconds = np.mean(found[name], axis=0)
        spread = np.std([each for each, _ in found[name]])
        rows.append(
            [
                f"{of_each}",
                name,
                f"{100 * accuracy:.1f} ± {100 * spread:.1f} %",
                f"{epochs * -(-len(x) // 32):,}",
                f"{seconds:.1f}",
            ]
        )
    return rows


def frozen(images: int = 500, size: int = 96) -> str:
    """What an epoch costs with the whole of MobileNetV2, and with its features, in words."""
    x = np.random.default_rng(0).integers(0, 256, (images, size, size, 3)).astype("float32")
    y = np.arange(images) % 5
    shape = (size, size, 3)
    backbone = MobileNetV2(input_shape=shape, include_top=False, weights=None, pooling="avg")
    inputs = cornu.Input(shape)
    x_scaled = cornu.applications.mobilenet_v2.preprocess_input(inputs)
    outputs = layers.Dense(5, activation="softmax")(backbone(x_scaled))
    model = cornu.Model(inputs, outputs)
    backbone.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    seconds = {}

    def timed(name, function):
        function()
        start = time.perf_counter()
        function()
        seconds[name] = time.perf_counter() - start

    timed("an epoch through the frozen network", lambda: model.fit(x, y, 32, verbose=0))
    timed("all features", lambda: backbone.predict(x / 127.5 - 1, 32, verbose=0))
    features = backbone.predict(x / 127.5 - 1, 32, verbose=0)
    head = cornu.Sequential([cornu.Input((features.shape[1],)), layers.Dense(5, "softmax")])
    head.compile("adam", "sparse_categorical_crossentropy")
    timed("an epoch of the head on features", lambda: head.fit(features, y, 32, verbose=0))
    listed = ", ".join(f"{name} {1000 * value:,.0f} ms" for name, value in seconds.items())
    return f"With MobileNetV2, random weights and {images} images of {size}x{size}: {listed}."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="of the backbone that saw five classes")
    parser.add_argument(
        "--of-each", type=int, nargs="+", default=[100, 200], help="pictures of each class"
    )
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    rows = [row for n in arguments.of_each for row in compare(arguments.weights, n, arguments.runs)]
    report(
        "Fine-tuning beside training from scratch",
        "The backbone has learned five classes of CIFAR-10; these are pictures of the other five, judged "
        f"by their 5,000 test images: means and deviations of {arguments.runs} runs with pictures of their "
        "own. Seconds are those of all of the training with its compilation, steps those of the whole "
        "network. "
        "Written by `python benchmarks/transfer.py`.",
        ["pictures of a class", "way", "accuracy", "steps", "seconds"],
        rows,
        frozen(),
    )
