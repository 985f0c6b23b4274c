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
}
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


def measure_runtime(library: str, images: int) -> dict:
    cornu, found = use("Cornu"), {}
    for name, (module, function, shape) in MODELS.items():
        cornu.utils.set_random_seed(0)
        run = of_runtime(library, getattr(__import__(module), function)())
        x = np.random.default_rng(0).random((images, *shape), "float32")
        one = x[:1]

        def all_of_them(x=x, run=run):
            for start in range(0, len(x), BATCH):
                run(x[start : start + BATCH])

        found[name] = {
            "predict_on_batch": median([seconds(run, one) for _ in range(100)][10:]),
            "pictures a second": images / median([seconds(all_of_them) for _ in range(4)][1:]),
        }
    return found


def measure(library: str, images: str | int) -> dict:
    """Of each model: seconds for one picture, by two functions, and pictures a second."""
    if library in RUNTIMES:
        return measure_runtime(library, int(images))
    keras, images = use(library), int(images)
    found = {}
    for name, (module, function, shape) in MODELS.items():
        keras.utils.set_random_seed(0)
        network = getattr(__import__(module), function)()
        x = np.random.default_rng(0).random((images, *shape), "float32")
        one = x[:1]
        all_of_them = {"batch_size": BATCH, "verbose": 0}
        found[name] = {
            "first call": seconds(network.predict, one, verbose=0),
            "predict": median(seconds(network.predict, one, verbose=0) for _ in range(40)),
            "predict_on_batch": median(
                [seconds(network.predict_on_batch, one) for _ in range(100)][10:]
            ),
            "pictures a second": images
            / median([seconds(network.predict, x, **all_of_them) for _ in range(4)][1:]),
        }
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
            ("predict_on_batch", 1000, 2),
            ("pictures a second", 1, 0),
        ):
            values = {
                library: factor * middle(library, model, what)
                for library in libraries
                if what in found[library][0][model]
            }
            mine, *others = values.values()
            ratio = mine / max(others) if what == "pictures a second" else min(others) / mine
            unit = "" if what == "pictures a second" else ", ms"
            cells = [f"{values[n]:,.{digits}f}" if n in values else "" for n in libraries]
            rows.append([f"{model}: {what}{unit}", *cells, f"**{ratio:.2f}**"])
    text = f"""
One image with `predict`, which creates a progress bar and callbacks: the first call, which compiles, and
later calls. One image with `predict_on_batch`. And {arguments.images:,} images in batches of {BATCH}.
Medians of {arguments.rounds} rounds in turns, each in a process of its own. The last column says how many
times as fast Cornu is as the best peer. ONNX Runtime and OpenVINO run what Cornu exports. Written by
`python benchmarks/predict.py`.
"""
    report("Prediction", text, ["model", *libraries, "Cornu beside the best peer"], rows)


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=10000)
    main(parser.parse_args())
