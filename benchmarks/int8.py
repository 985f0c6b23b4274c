"""What `compile_inference` loses and gains in bfloat16 and int8, beside float32 and ONNX Runtime's int8.

    python benchmarks/int8.py [--rounds 2] [--only NAME …]

Each library is a process of its own, in turns. Writes a section of docs/benchmarks.md. The packaged
networks are judged on their 10,000 test images and calibrated on 500 training images; the others have the
weights they begin with.
"""

import argparse
import importlib.util
import tempfile
from statistics import median

import numpy as np
from common import in_a_process, in_turns, is_child, report, seconds, use
from predict import MODELS, network_of

PACKAGED = {"LeNet5": "mnist", "SmallResNet": "cifar10"}
OTHERS = (
    "lecture",
    "residual",
    "colour model",
    "convolutions",
    "thousand units",
    "inception",
    "depthwise separable",
    "MobileNetV2",
    "ResNet50",
)
PRECISIONS = ("float32", "bfloat16", "int8")


def many(x) -> int:
    """How many pictures are a batch: fewer large ones."""
    return 4 if x[0].size > 100_000 else 32


def pictures(cornu, name: str):
    """Images to calibrate with, and images with labels for those that have been trained."""
    if name in PACKAGED:
        (x, _), (x_test, y_test) = getattr(cornu.datasets, PACKAGED[name]).load_data()
        rows = [a.reshape(*a.shape[:3], -1).astype("float32") for a in (x[:500], x_test)]
        return rows[0], rows[1], y_test.ravel()
    x = np.random.default_rng(0).random((32, *MODELS[name][2]), "float32")
    return x, x, None


def times(functions: dict, x) -> dict:
    """Milliseconds for one picture and for many, the functions in turns."""
    found: dict = {what: {} for what in functions}
    for count in (1, many(x)):
        calls = 8 if x[:count].size > 400_000 else 20 if x[0].size > 100_000 else 200
        taken: dict = {what: [] for what in functions}
        for turn in range(calls):
            for what in in_turns(list(functions), turn):
                taken[what].append(seconds(functions[what], x[:count]))
        for what, each in taken.items():
            key = "one" if count == 1 else "many"
            found[what][key] = 1000 * median(each[calls // 5 :])
    return found


def of_onnx_runtime(network, x, folder: str) -> dict:
    """Functions of the exported model, in float32 and as its own tool quantizes it."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(x)

        def get_next(self):
            one = next(self.rest, None)
            return None if one is None else {name: one[None]}

    paths = [f"{folder}/{name}.onnx" for name in ("float32", "prepared", "int8")]
    network.export(paths[0], verbose=0)

    def session(path):
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    first = session(paths[0])
    name = first.get_inputs()[0].name
    quant_pre_process(paths[0], paths[1], skip_symbolic_shape=True)
    quantize_static(
        paths[1],
        paths[2],
        Reader(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    second = session(paths[2])
    return {
        "float32": lambda x: first.run(None, {name: x})[0],
        "int8": lambda x: second.run(None, {name: x})[0],
    }


def measure(library: str, name: str) -> dict:
    """Times and, of the networks with trained weights, accuracies."""
    cornu = use("Cornu")
    network = getattr(cornu.applications, name)() if name in PACKAGED else network_of(cornu, name)
    x, x_test, y_test = pictures(cornu, name)
    with tempfile.TemporaryDirectory() as folder:
        if library == "Cornu":
            functions = {
                precision: network.compile_inference(
                    (1, many(x)), precision, x=x if precision != "float32" else None, verbose=0
                )
                for precision in PRECISIONS
            }
        else:
            functions = of_onnx_runtime(network, x, folder)
        found = times(functions, x)
    if y_test is not None:
        for what, function in functions.items():
            parts = [function(part) for part in np.array_split(x_test, 100)]
            found[what]["accuracy"] = float((np.concatenate(parts).argmax(-1) == y_test).mean())
    return found


def main(arguments) -> None:
    libraries = ["Cornu"]
    if all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))):
        libraries.append("ONNX Runtime")
    names = arguments.only or [*PACKAGED, *OTHERS]
    found: dict = {(library, name): [] for library in libraries for name in names}
    for turn in range(arguments.rounds):
        for name in names:
            for library in in_turns(libraries, turn):
                found[library, name].append(in_a_process(__file__, library, name))
                print(library, name, found[library, name][-1], flush=True)

    def middle(library, name, what, key):
        return median(result[what][key] for result in found[library, name])

    columns = [("Cornu", what) for what in PRECISIONS]
    columns += [("ONNX Runtime", what) for what in ("float32", "int8") if len(libraries) > 1]
    rows = []
    for name in names:
        count = 4 if name in ("MobileNetV2", "ResNet50") else 32
        for key, title in (
            ("accuracy", "accuracy"),
            ("one", "1 picture, ms"),
            ("many", f"{count} pictures, ms"),
        ):
            if key == "accuracy" and name not in PACKAGED:
                continue
            values = [middle(library, name, what, key) for library, what in columns]
            cells = [f"{v:.2%}" if key == "accuracy" else f"{v:.3g}" for v in values]
            rows.append([name, title, *cells])
    text = """
Accuracy on the 10,000 test images of MNIST (`LeNet5`) and CIFAR-10 (`SmallResNet`), and milliseconds for a
call of `compile_inference` in each precision: medians of calls in turns, and of rounds. ONNX Runtime runs
the exported model, and what its `quantize_static` makes of it (a scale for each channel), with as many
threads as there are cores. All are calibrated on the same images. Written by `python benchmarks/int8.py`.
"""
    titles = ["model", "", *(f"{a}, {b}" for a, b in columns)]
    if arguments.only:
        print(*map(" | ".join, [titles, *rows]), sep="\n")
    else:
        report("Fewer bits", text, titles, rows)


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=[*PACKAGED, *OTHERS], help="writes no table")
    main(parser.parse_args())
