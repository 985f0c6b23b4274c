"""Pictures of what `cornu.explain` says about a network, for docs/explain.md.

    python benchmarks/gallery.py
    python benchmarks/gallery.py --only lesson  # one section, which trains nothing; or back: "The way back"

Trains the lecture's network on MNIST and the colour network on CIFAR-10, draws their windows, maps and
filters into docs/images/explain, and writes the sections of docs/explain.md that show them.
"""

import argparse
import sys

import numpy as np
from common import ROOT, machine, replace_section

import cornu
from cornu import explain, visualize

sys.path.insert(0, str(ROOT / "examples"))
import convolution_by_hand as by_hand
import from_dense_to_convolutional as from_dense
import mnist_lecture

IMAGES = ROOT / "docs" / "images" / "explain"
DOCUMENT = ROOT / "docs" / "explain.md"
CLASSES = [str(n) for n in range(10)]
COLOURED = "airplane automobile bird cat deer dog frog horse ship truck".split()


def trained():
    """The lecture's network after three epochs, and the test images with their labels."""
    (x, y), (x_test, y_test) = cornu.datasets.mnist.load_data()
    x, x_test = (a[..., None].astype("float32") / 255 for a in (x, x_test))
    cornu.utils.set_random_seed(0)
    cornu.backend.clear_session()
    model = mnist_lecture.make_model()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rates = explain.learning_rate_range(model, x, y, batch_size=128)
    history = model.fit(x, y, batch_size=128, epochs=3, validation_split=0.1, verbose=2)
    return model, history, rates, (x[:2000], y[:2000]), (x_test, y_test)


# The figures of "Working Principles of Convolutional Neural Networks in Keras" (Akgun 2023), what they
# show, and the file of ours.
FIGURES = (
    ("1", "a typical network as a row of volumes", "volumes.png"),
    ("4 and 5", "a 3x3 window on 8x8 random numbers, and the numbers that it gives", "sliding.png"),
    ("6", "the same with zero padding", "padding.png"),
    ("7", "three kernels on one channel", "one-channel.png"),
    ("8 and 9", "nine kernels from three channels to three", "three-channels.png"),
    ("10", "a simple complete network, with all connections", "connections.png"),
    ("13", "a network for ten classes of 32x32 colour pictures", "volumes-colour.png"),
    ("15 to 17", "a window on a signal", "signal.png"),
)


def lesson_figures() -> None:
    """Draw each figure of the lesson anew, from its own models."""
    L, random = cornu.layers, np.random.default_rng(0)
    cornu.utils.set_random_seed(1)
    numbers = random.random((8, 8, 1)).round(1)
    (digits, _), _ = cornu.datasets.digits.load_data()
    digit = digits[0].reshape(8, 8, 1) / 16.0
    colours = np.concatenate([digit, digit.transpose(1, 0, 2), 1 - digit], -1)

    def fresh(make, *values):
        # The names of a session's first layers have no numbers.
        cornu.backend.clear_session()
        return make(*values)

    def network(shape, layer):
        return cornu.Sequential([cornu.Input(shape), layer])

    def slide(model, x, place, name):
        visualize.plot_sliding(model, x, -1, place, path=IMAGES / name)

    slide(fresh(by_hand.single_convolution), numbers, (2, 3), "sliding.png")
    slide(fresh(by_hand.single_convolution, "same"), numbers, (0, 0), "padding.png")
    slide(network((6, 6, 1), L.Conv2D(1, 3, name="conv2d")), numbers[:6, :6], None, "sliding.gif")
    slide(fresh(by_hand.two_kernels_1d), np.arange(1.0, 11)[:, None] / 10, 4, "signal.png")
    three = {"padding": "same", "activation": "relu", "name": "conv2d"}
    for model, x, name in (
        (network((8, 8, 1), L.Conv2D(3, 3, **three)), digit, "one-channel.png"),
        (network((8, 8, 3), L.Conv2D(3, 3, **three)), colours, "three-channels.png"),
        (fresh(by_hand.two_convolutions), digit, "connections.png"),
    ):
        names = ["zero", "one", "two"] if model.output_shape == (None, 3) else None
        visualize.plot_connections(model, x, IMAGES / name, class_names=names)
    for make, name in (
        (mnist_lecture.make_model, "volumes"),
        (by_hand.colour_model, "volumes-colour"),
    ):
        visualize.plot_volumes(fresh(make), IMAGES / f"{name}.png")
    visualize.plot_model(fresh(from_dense.inception), IMAGES / "inception.png", dpi=70)
    rows = "\n".join(
        f"| {number} | {what} | ![{what}](images/explain/{file}) |"
        for number, what, file in FIGURES
    )
    text = f"""
The figures of the lesson that `examples/convolution_by_hand.py` follows. Cornu draws them from real
models, with any data: `visualize.plot_volumes`, `plot_connections`, `plot_sliding`. Written by
`python benchmarks/gallery.py`.

| figure | what it shows | ours |
|---|---|---|
{rows}

`plot_sliding` writes an animation if the name ends in `.gif` or `.html`:

![a window slides over numbers](images/explain/sliding.gif)

`visualize.plot_model(model)` draws any model as a graph, without Graphviz. This is the inception
network of the lessons:

![a graph of an inception block](images/explain/inception.png)
"""
    replace_section(DOCUMENT, "The figures of a lesson", text)


def colour_pictures() -> None:
    """The lesson's colour network, trained on CIFAR-10, and what it looks at."""
    (x, y), (x_test, y_test) = cornu.datasets.cifar10.load_data()
    x, x_test = (a.astype("float32") / 255 for a in (x, x_test))
    y, y_test = y.ravel(), y_test.ravel()
    cornu.utils.set_random_seed(0)
    cornu.backend.clear_session()
    model = by_hand.colour_model()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=128, epochs=6, verbose=2)
    accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
    layers = [layer.name for layer in model.layers if "conv" in layer.name]
    right = model.predict(x_test[:500], verbose=0).argmax(-1) == y_test[:500]
    shown = [int(np.flatnonzero((y_test[:500] == n) & right)[0]) for n in (0, 1, 3, 4, 5, 7, 8, 9)]
    batch, titles = x_test[shown], [COLOURED[y_test[n]] for n in shown]
    for name in ("grad_cam", "grad_cam_plus_plus", "smooth_grad"):
        maps = getattr(explain, name)(model, batch)
        file = IMAGES / f"colour-{name.replace('_', '-')}.png"
        visualize.plot_attribution(batch, maps, titles, file)
    maps = explain.feature_maps(model, batch[0], layers[0])[0]
    visualize.plot_feature_maps(maps, f"{layers[0]}: {titles[0]}", path=IMAGES / "colour-maps.png")
    filters = explain.filters(model, layers[0])
    visualize.plot_filters(filters, layers[0], path=IMAGES / "colour-filters.png")
    fields = explain.receptive_field(model)
    fields.plot(batch[4], layers[-1], (3, 4), IMAGES / "colour-receptive-field.png")
    text = f"""
The lesson's colour network after six epochs; accuracy on the test set {accuracy:.4f}. Written by
`python benchmarks/gallery.py`.

`explain.grad_cam(model, x)`, for the predicted class:

![Grad-CAM](images/explain/colour-grad-cam.png)

`explain.grad_cam_plus_plus(model, x)` and `explain.smooth_grad(model, x)`:

![Grad-CAM++](images/explain/colour-grad-cam-plus-plus.png)

![SmoothGrad](images/explain/colour-smooth-grad.png)

The receptive field of one output position of the last convolution, and the feature maps and filters of
the first convolution, which reads three channels:

![a receptive field](images/explain/colour-receptive-field.png)

![feature maps](images/explain/colour-maps.png)

![filters](images/explain/colour-filters.png)
"""
    replace_section(DOCUMENT, "A network trained on CIFAR-10", text)


def way_back() -> None:
    """Where a network of the package errs, how the loss goes back from there."""
    _, (x, y) = cornu.datasets.mnist.load_data()
    x = x[..., None].astype("float32")
    model = cornu.applications.LeNet5()
    model.compile("adam", "sparse_categorical_crossentropy")
    mistake = next(m for m in explain.mistakes(model, x[:2000], y[:2000]) if m.probability < 0.99)
    digit, label = x[mistake.index], y[mistake.index]
    done = explain.backpropagation(model, digit, label)
    done.plot(IMAGES / "backpropagation.png")
    sizes = np.abs(done.gradients["conv2"])
    row, column, channel = map(int, np.unravel_index(sizes.argmax(), sizes.shape))
    gradient = explain.gradient(model, digit, label, "conv2", (row, column), channel)
    index = (2, 2, 0, channel)
    weight = explain.weight_gradient(model, digit, label, "conv2", index)
    weight.plot(IMAGES / "weight-gradient.png")
    update = explain.update(model, digit, label, "conv2", index)
    text = f"""
Why does a weight change? A digit that the LeNet-5 of the package takes for a {mistake.predicted}, and that
is a {mistake.true}; the loss is {done.loss:.4g}. Written by `python benchmarks/gallery.py --only back`.

`explain.gradient(model, digit, label, "conv2", ({row}, {column}), {channel})`,
the chain rule with its numbers:

```
{gradient}
```

`explain.weight_gradient(model, digit, label, "conv2", {index})`:

```
{weight}
```

![what the weight met, the gradients there, and the products](images/explain/weight-gradient.png)

`explain.update(model, digit, label, "conv2", {index})`, one step of Adam:

```
{update}
```

`visualize.plot_backpropagation(explain.backpropagation(model, digit, label))`, both directions:

![feature maps, and the gradients below them](images/explain/backpropagation.png)
"""
    replace_section(DOCUMENT, "The way back", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["back", "lesson"], help="write this section alone")
    IMAGES.mkdir(parents=True, exist_ok=True)
    only = parser.parse_args().only
    if only is None:
        colour_pictures()
        trained_pictures()
    if only != "back":
        lesson_figures()
    if only != "lesson":
        way_back()


def trained_pictures() -> None:
    """The lecture's network, and all that is asked of it."""
    model, history, rates, train, (x, y) = trained()
    first, second = [layer.name for layer in model.layers if "conv" in layer.name][:2]
    names = [layer.name for layer in model.layers]
    shown = [int(np.flatnonzero(y == digit)[0]) for digit in (7, 2, 1, 0, 4, 9, 5, 3)]
    seven = x[shown[0]]
    place = (8, 12)
    window = explain.window(model, seven, first, place, 0)
    deep = explain.window(model, seven, second, (4, 5), 3)
    pooled = explain.window(model, seven, names[names.index(first) + 1], (4, 6), 0)
    fields = explain.receptive_field(model)
    window.plot(IMAGES / "window.png")
    deep.plot(IMAGES / "window-deep.png")
    fields.plot(seven, second, (4, 5), IMAGES / "receptive-field.png")
    maps = explain.feature_maps(model, seven, first)[0]
    visualize.plot_feature_maps(maps, f"{first}: a seven", path=IMAGES / "feature-maps.png")
    visualize.plot_filters(explain.filters(model, first), first, path=IMAGES / "filters.png")
    batch = x[shown]
    for name in ("grad_cam", "integrated_gradients", "occlusion"):
        found = getattr(explain, name)(model, batch)
        visualize.plot_attribution(batch, found, y[shown], IMAGES / f"{name.replace('_', '-')}.png")
    wrong = explain.mistakes(model, x, y)[:12]
    images, labels = x[[m.index for m in wrong]], [m.true for m in wrong]
    probabilities = model.predict(images, verbose=0)
    visualize.plot_predictions(images, labels, probabilities, CLASSES, IMAGES / "mistakes.png")
    answers = np.stack(
        [explain.activation_maximization(model, second, n)[..., 0] for n in range(16)], axis=-1
    )
    visualize.plot_feature_maps(
        answers, f"what the channels of {second} answer to", path=IMAGES / "maximization.png"
    )
    visualize.plot_history(history, IMAGES / "curves.png")
    visualize.plot_learning_rates(rates, IMAGES / "learning-rates.png")
    visualize.plot_histograms(
        explain.gradients(model, train[0][:128], train[1][:128]), IMAGES / "gradients.png"
    )
    dead = explain.dead_relus(model, x[:1000])
    text = f"""
A seven of the test images, and the lecture's network after three epochs (validation accuracy
{history.history["val_accuracy"][-1]:.4f}). Written by `python benchmarks/gallery.py`.

`explain.window(model, seven, "{first}", {place}, 0)`:

```
{window}
```

![the patch, the kernel, the products](images/explain/window.png)

`explain.window(model, seven, "{second}", (4, 5), 3)` reads 32 channels; the figure shows four:

![four channels of a deeper window](images/explain/window-deep.png)

`explain.window(model, seven, "{pooled.layer}", (4, 6), 0)`:

```
{pooled}
```

`print(explain.receptive_field(model))`, and `.plot(seven, "{second}", (4, 5))`:

```
{fields}
```

![the receptive field of one output position of the second convolution](images/explain/receptive-field.png)

`print(explain.arithmetic(model))`, also as `model.summary(explain=True)` and `cornu summary --explain`:

```
{explain.arithmetic(model)}
```

`visualize.plot_feature_maps(explain.feature_maps(model, seven, "{first}")[0])`:

![feature maps](images/explain/feature-maps.png)

`visualize.plot_filters(explain.filters(model, "{first}"))`:

![filters](images/explain/filters.png)

`visualize.plot_attribution(x, explain.grad_cam(model, x), y)`:

![Grad-CAM](images/explain/grad-cam.png)

The same with `explain.integrated_gradients(model, x)`, whose values add up to the score, and with
`explain.occlusion(model, x)`:

![integrated gradients](images/explain/integrated-gradients.png)

![occlusion](images/explain/occlusion.png)

`explain.activation_maximization(model, "{second}", n)` for the first 16 channels:

![inputs that activate the channels most](images/explain/maximization.png)

The most confident mistakes, `explain.mistakes(model, x_test, y_test)`:

![mistakes](images/explain/mistakes.png)

`explain.learning_rate_range(model, x, y)` before training, the training curves, and the gradients after
training:

![learning rates](images/explain/learning-rates.png)

![curves](images/explain/curves.png)

![gradients](images/explain/gradients.png)

`explain.dead_relus(model, x_test[:1000])`: {dead}.

{machine()}.
"""
    replace_section(DOCUMENT, "A network trained on MNIST", text)
    print(text)


if __name__ == "__main__":
    main()
