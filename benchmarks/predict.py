"""`predict` on one picture and on many: Cornu beside Keras on each backend, ONNX Runtime and OpenVINO.

    python benchmarks/predict.py [--rounds 3] [--images 10000]

Each measurement is a process of its own, in turns. Writes a section of docs/benchmarks.md.
Libraries that are not installed are left out.
"""

import argparse
import importlib.util
import tempfile
from statistics import median

import numpy as np
from common import in_a_process, in_turns, installed, is_child, report, seconds, use

MODELS = {
    "lecture": ("mnist_lecture", "make_model", (28, 28, 1)),
    "batch normalization": ("from_dense_to_convolutional", "batch_normalization", (28, 28, 1)),
    "residual": ("from_dense_to_convolutional", "residual", (28, 28, 1)),
    "colour model": ("convolution_by_hand", "colour_model", (32, 32, 3)),
    "dense": ("from_dense_to_convolutional", "dense", (28, 28, 1)),
    "convolutions": ("from_dense_to_convolutional", "convolutions", (28, 28, 1)),
    "pooling": ("from_dense_to_convolutional", "pooling", (28, 28, 1)),
    "sgd tutorial": ("mnist_with_sgd", "full_model", (28, 28, 1)),
    "thousand units": ("thousand_units", "make_model", (28, 28, 1)),
    "inception": ("from_dense_to_convolutional", "inception", (28, 28, 1)),
    "LeNet-5": ("networks", "lenet5", (28, 28, 1)),
    "depthwise separable": ("networks", "mobile", (32, 32, 3)),
    "signal": ("networks", "signal", (28, 28, 1)),
    "MobileNetV2": (None, "MobileNetV2", (224, 224, 3)),
    "ResNet50": (None, "ResNet50", (224, 224, 3)),
}
# These also by `predict`, and with many pictures.
MANY = ("lecture", "batch normalization", "residual", "colour model")
BATCH = 128


# These run the model that Cornu exports; they have nothing like `predict` around a call.
RUNTIMES = {"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}


def of_runtime(library: str, network):
    """A function from a batch to the model's outputs."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/m.onnx"
        network.export(path)
        if library == "ONNX Runtime":
            import onnxruntime

            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            name = session.get_inputs()[0].name
            return lambda x: session.run(None, {name: x})
        import openvino

        request = openvino.Core().compile_model(path, "CPU").create_infer_request()
        return lambda x: request.infer([x])


def network_of(keras, name: str):
    """A model with the weights it begins with."""
    module, function, _ = MODELS[name]
    keras.utils.set_random_seed(0)
    if module is None:
        return getattr(keras.applications, function)(weights=None)
    return getattr(__import__(module), function)()


def one_at_a_time(function, one) -> float:
    """The median of calls in a row, the first of which do not count."""
    calls = 30 if one.size > 10_000 else 200
    return median([seconds(function, one) for _ in range(calls)][calls // 5 :])


def measure_runtime(library: str, images: int) -> dict:
    cornu, found = use("Cornu"), {}
    for name, (*_, shape) in MODELS.items():
        run = of_runtime(library, network_of(cornu, name))
        x = np.random.default_rng(0).random((images if name in MANY else 1, *shape), "float32")

        def all_of_them(x=x, run=run):
            for start in range(0, len(x), BATCH):
                run(x[start : start + BATCH])

        found[name] = {"compiled": one_at_a_time(run, x[:1])}
        if name in MANY:
            taken = median([seconds(all_of_them) for _ in range(4)][1:])
            found[name]["pictures a second"] = images / taken
    return found


def measure(library: str, images: str | int) -> dict:
    """Of each model: seconds for one picture, by two functions, and pictures a second."""
    if library in RUNTIMES:
        return measure_runtime(library, int(images))
    keras, images = use(library), int(images)
    found: dict = {}
    for name, (*_, shape) in MODELS.items():
        network = network_of(keras, name)
        x = np.random.default_rng(0).random((images if name in MANY else 1, *shape), "float32")
        one, mine = x[:1], found.setdefault(name, {})
        if name in MANY:
            mine["first call"] = seconds(network.predict, one, verbose=0)
            mine["predict"] = median(seconds(network.predict, one, verbose=0) for _ in range(40))
        mine["predict_on_batch"] = one_at_a_time(network.predict_on_batch, one)
        if library == "Cornu":
            mine["compiled"] = one_at_a_time(network.compile_inference(), one)
        if name in MANY:
            all_of_them = {"batch_size": BATCH, "verbose": 0}
            taken = median([seconds(network.predict, x, **all_of_them) for _ in range(4)][1:])
            mine["pictures a second"] = images / taken
    return found


def main(arguments) -> None:
    libraries = installed()
    for name, package in RUNTIMES.items():
        if importlib.util.find_spec(package):
            libraries.append(name)
        else:
            print(f"{name} is left out: {package} is not installed in this environment")
    found: dict = {library: [] for library in libraries}
    for turn in range(arguments.rounds):
        for library in in_turns(libraries, turn):
            found[library].append(in_a_process(__file__, library, arguments.images))

    def middle(library, model, what):
        return median(result[model][what] for result in found[library])

    rows = []
    for model in MODELS:
        for what, factor, digits in (
            ("first call", 1000, 0),
            ("predict", 1000, 2),
            ("predict_on_batch", 1000, 3),
            ("compiled", 1000, 3),
            ("pictures a second", 1, 0),
        ):
            values = {
                library: factor * middle(library, model, what)
                for library in libraries
                if what in found[library][0][model]
            }
            if not values:
                continue
            mine, *others = values.values()
            ratio = mine / max(others) if what == "pictures a second" else min(others) / mine
            unit = "" if what == "pictures a second" else ", ms"
            cells = [f"{values[n]:,.{digits}f}" if n in values else "" for n in libraries]
            rows.append([f"{model}: {what}{unit}", *cells, f"**{ratio:.2f}**"])
    text = f"""
One image with `predict`, which creates a progress bar and callbacks: the first call, and later ones. One
image with `predict_on_batch`. One image with what is compiled for that: `compile_inference` beside ONNX
Runtime and OpenVINO, which run what Cornu exports, with the threads that they choose. And
{arguments.images:,} images in batches of {BATCH}. Medians of {arguments.rounds} rounds in turns, each in a
process of its own. The last column says how many times as fast Cornu is as the best peer. Written by
`python benchmarks/predict.py`.
"""
    report("Prediction", text, ["model", *libraries, "Cornu beside the best peer"], rows)


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=10000)
    main(parser.parse_args())
