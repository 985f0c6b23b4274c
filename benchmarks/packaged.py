"""How the weights that come with the package were made.

    python benchmarks/packaged.py LeNet5                      # a minute
    python benchmarks/packaged.py Tour                        # a minute
    python benchmarks/packaged.py SmallResNet                 # half an hour on two cores
    python benchmarks/packaged.py SmallResNet --classes 0 1 2 3 4 --rate 0.5 --output five.weights.h5

Writes the weights into the package; or those without the classifier into `--output`. Prints the accuracy on
the test images.

LeNet-5 and the network of the explorer's tour learn MNIST, with digits that are moved, turned and zoomed
at random. SmallResNet learns CIFAR-10 with the means of `cifar10.py`. Then its first convolution for
larger images, which begins as the mean of 2x2 pixels before the other one, learns the images at 64x64,
while all other weights are frozen.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from cifar10 import DECAY, RATE, SHIFT, Copies, Shift, Triangle
from common import versions

import cornu
from cornu import layers, optimizers
from cornu.applications import lenet, packaged, small_resnet
from cornu.explorer import tour
from cornu.optimizers.schedules import CosineDecay

BATCH = 1024


def write(weights: dict, path: Path) -> None:
    """Write weights into the package, in half precision."""
    arrays = {name: np.asarray(value, "float16") for name, value in weights.items()}
    with path.open("wb") as opened:
        np.savez_compressed(opened, allow_pickle=False, **arrays)
    print(f"{path}: {path.stat().st_size:,} bytes")


def by_path(model) -> dict:
    return {variable.path: variable.numpy() for variable in model.weights}


def accuracy(model, x, y) -> float:
    return float(np.mean(model.predict(x, batch_size=500, verbose=0).argmax(1) == y))


def train_lenet(epochs: int):
    model = lenet.LeNet5(weights=None)
    x_test, y_test = learn_digits(model, epochs, 255, 1e-2)
    write(by_path(model), packaged.FOLDER / lenet.PACKAGED.file)
    print(f"accuracy {accuracy(lenet.LeNet5(), x_test, y_test):.4f}")


def train_tour(epochs: int):
    model = tour.model(None)
    x_test, y_test = learn_digits(model, epochs, 1, 1e-3)
    write({k.replace("/", "."): v for k, v in by_path(model).items()}, tour.WEIGHTS)
    shipped = tour.model()
    print(f"accuracy {accuracy(shipped, x_test, y_test):.4f}")
    answers = shipped.predict(tour.drawings().x, verbose=0)
    for digit, answer in zip(tour.drawings().y, answers, strict=True):
        print(f"drawing of {digit}: {answer.argmax()}, {answer.max():.3f}")


def learn_digits(model, epochs: int, white: float, decay: float):
    """Train on MNIST, and return its test images and their classes."""
    (x, y), (x_test, y_test) = cornu.datasets.mnist.load_data()
    scale = np.float32(255 / white)
    x, x_test = x[..., None] / scale, x_test[..., None] / scale
    inputs = moved = cornu.Input((28, 28, 1))
    for layer in (
        layers.RandomRotation(0.04, fill_mode="constant"),
        layers.RandomTranslation(0.1, 0.1, fill_mode="constant"),
        layers.RandomZoom(0.15, 0.15, fill_mode="constant"),
    ):
        moved = layer(moved)
    trained = cornu.Model(inputs, model(moved))
    steps = epochs * -(-len(x) // 128)
    rate = CosineDecay(0.0, steps, warmup_target=3e-3, warmup_steps=200)
    trained.compile(
        optimizers.AdamW(rate, weight_decay=decay),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    trained.fit(x, y, 128, epochs=epochs, verbose=2)
    return x_test, y_test


def images_of(classes):
    """Images of both parts with a margin, and their labels from 0 on."""
    margin = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))
    for x, y in cornu.datasets.cifar10.load_data():
        chosen = np.isin(y.reshape(-1), classes)
        y = np.searchsorted(classes, y.reshape(-1)[chosen])
        yield np.pad(x[chosen], margin, "reflect"), y


def whitened(images):
    """Filters of 2x2 pixels whose outputs are uncorrelated and of variance one, and their opposites."""
    inside = images[:4000, SHIFT:-SHIFT, SHIFT:-SHIFT].astype("float32") / 64 - 121 / 64
    patches = [inside[:, r : 31 + r, c : 31 + c] for r in (0, 1) for c in (0, 1)]
    patches = np.concatenate(patches, axis=-1).reshape(-1, 12)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / np.sqrt(values + 5e-4)).reshape(2, 2, 3, 12)
    return np.concatenate([filters, -filters], axis=-1)


def fit(model, x, y, epochs: int, optimizer) -> None:
    """Train a model of logits; each image is mirrored in every second epoch."""
    loss = cornu.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(optimizer, loss, metrics=["accuracy"])
    random = np.random.default_rng(0)
    mirrored = random.random(len(x)) < 0.5
    labels = np.eye(int(y.max()) + 1, dtype="float32")[y]
    start = time.perf_counter()
    for epoch in range(epochs):
        turned = mirrored == (epoch % 2 == 0)
        views = np.where(turned[:, None, None, None], x[:, :, ::-1], x)
        chosen = random.permutation(len(x))[: len(x) // BATCH * BATCH]
        history = model.fit(views[chosen], labels[chosen], BATCH, shuffle=False, verbose=0).history
        numbers = ", ".join(f"{name} {value[0]:.4f}" for name, value in history.items())
        print(f"epoch {epoch}: {numbers}, {time.perf_counter() - start:.0f} s", flush=True)


def train_small_resnet(
    epochs: int, large_epochs: int, classes: list[int], output: str | None, rate: float
):
    (x, y), (x_test, y_test) = images_of(classes)
    backbone = small_resnet.SmallResNet(
        weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg"
    )
    for layer in backbone.layers:
        if isinstance(layer, layers.Conv2D):
            layer.kernel.assign(Copies()(layer.kernel.shape, "float32"))
    stem = backbone.get_layer("stem_conv")
    stem.set_weights([whitened(x)])
    stem.trainable = False
    inputs = cornu.Input(x.shape[1:], dtype="uint8")
    top = layers.Dense(len(classes), use_bias=False)
    model = cornu.Model(inputs, layers.Rescaling(1 / 3)(top(backbone(Shift()(inputs)))))
    steps = epochs * (len(x) // BATCH)

    def sgd(peak, decay):
        return optimizers.SGD(Triangle(peak, steps), 0.85, nesterov=True, weight_decay=decay)

    # Biases learn faster.
    biases = {".*/beta": sgd(64 * rate, DECAY / 64)}
    maps = optimizers.OptimizerMap(sgd(rate, DECAY), biases)
    fit(model, x, y, epochs, optimizers.MultiOptimizer(maps))
    print(f"accuracy at 32x32: {accuracy(model, x_test, y_test):.4f}")
    if output is not None:
        backbone.save_weights(output)
        return
    weights = by_path(backbone)
    weights["predictions/kernel"] = top.kernel.numpy() / 3
    weights["predictions/bias"] = np.zeros(len(classes))
    train_large(weights, x, y, large_epochs)
    write(weights, packaged.FOLDER / small_resnet.PACKAGED.file)
    images = x_test[:, SHIFT:-SHIFT, SHIFT:-SHIFT]
    for size in (32, 64):
        pixels = np.asarray(layers.Resizing(size, size)(images.astype("float32")))
        shipped = small_resnet.SmallResNet(input_shape=(size, size, 3))
        print(
            f"accuracy in half precision at {size}x{size}: {accuracy(shipped, pixels, y_test):.4f}"
        )


def train_large(weights: dict, x, y, epochs: int) -> None:
    """Add the first convolution for larger images to the weights."""
    large = small_resnet.SmallResNet(
        weights=None, include_top=False, input_shape=(64, 64, 3), pooling="avg"
    )
    weights["stem_conv_large/kernel"] = weights["stem_conv/kernel"].repeat(2, 0).repeat(2, 1) / 4
    for variable in large.weights:
        variable.assign(weights[variable.path])
    for layer in large.layers:
        layer.trainable = layer.name == "stem_conv_large"
    top = layers.Dense(weights["predictions/bias"].size, use_bias=False, trainable=False)
    inputs = cornu.Input(x.shape[1:], dtype="uint8")
    model = cornu.Model(inputs, top(large(layers.Resizing(64, 64)(Shift()(inputs)))))
    top.kernel.assign(weights["predictions/kernel"])
    steps = epochs * (len(x) // BATCH)
    fit(model, x, y, epochs, optimizers.Adam(CosineDecay(1e-3, steps)))
    weights["stem_conv_large/kernel"] = large.get_layer("stem_conv_large").kernel.numpy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=["LeNet5", "SmallResNet", "Tour"])
    parser.add_argument("--epochs", type=int, help="default: 20; 22 of SmallResNet")
    parser.add_argument("--large-epochs", type=int, default=2)
    parser.add_argument("--classes", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--output")
    parser.add_argument("--rate", type=float, default=RATE, help="the largest, of SmallResNet")
    arguments = parser.parse_args()
    if len(arguments.classes) < 10 and arguments.output is None:
        parser.error("--classes needs --output: the package's weights are for all ten")
    print(versions())
    cornu.utils.set_random_seed(0)
    if arguments.network == "LeNet5":
        train_lenet(arguments.epochs or 20)
    elif arguments.network == "Tour":
        train_tour(arguments.epochs or 20)
    else:
        train_small_resnet(
            arguments.epochs or 22,
            arguments.large_epochs,
            arguments.classes,
            arguments.output,
            arguments.rate,
        )
