"""Training on a GPU: Cornu beside Keras on each backend and beside PyTorch, or with several of XLA's flags.

    python benchmarks/gpu.py [--rounds 3] [--only NAME …] [--flags] [--python "PyTorch=venv/bin/python" …]
    python benchmarks/gpu.py --tiny

The lessons' models, and ResNet-18 and ResNet-50 on random images of the sizes of CIFAR-10 and ImageNet, in
float32, TF32 and bfloat16. Each measurement is a process of its own, in turns, and takes the median
time of the epochs after the first. With `--python`, a library has an environment of its own: those for
CUDA often want different versions of cuDNN. Writes docs/benchmarks-gpu.md, if every library computed on
a GPU, and nothing otherwise. `--tiny` runs the same with few and small images, on a CPU, too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import geometric_mean, median

import in_torch
import numpy as np
from common import (
    LIBRARIES,
    ROOT,
    in_a_process,
    in_turns,
    is_child,
    table,
    timed_epochs,
    use,
    versions,
)

REPORT = ROOT / "docs" / "benchmarks-gpu.md"
TORCH = ("PyTorch", "PyTorch, compiled")
PRECISIONS = ("float32", "TF32", "bfloat16")
MOMENTUM = ("SGD", {"learning_rate": 0.01, "momentum": 0.9})
ADAM = ("Adam", {})
# Model: module, function, its arguments, optimizer, shape of an image, classes, batch, images.
MODELS: dict[str, tuple] = {
    "lecture": ("mnist_lecture", "make_model", (), ADAM, (28, 28, 1), 10, 128, 51200),
    "sgd tutorial": ("mnist_with_sgd", "full_model", (), ("SGD", {}), (28, 28, 1), 10, 128, 51200),
    "colour model": ("convolution_by_hand", "colour_model", (), ADAM, (32, 32, 3), 10, 128, 51200),
    "residual": ("from_dense_to_convolutional", "residual", (), ADAM, (28, 28, 1), 10, 128, 51200),
    "vision transformer": ("networks", "vision_transformer", (), ADAM, (32, 32, 3), 10, 128, 51200),
}
for depth in (18, 50):
    for side, classes, batch, images in ((32, 10, 512, 51200), (224, 1000, 128, 2560)):
        MODELS[f"ResNet-{depth}, {side}x{side}"] = (
            *("networks", "resnet", (depth, side, classes), MOMENTUM),
            *((side, side, 3), classes, batch, images),
        )
# Sets of XLA's flags that may make convolutions faster.
FLAGS = {
    "XLA's own choice": "",
    "convolutions with epilogues": "--xla_gpu_experimental_enable_conv_fusion=true",
    "NHWC": "--xla_gpu_force_conv_nhwc=true",
    "NCHW": "--xla_gpu_force_conv_nchw=true",
    "cuDNN's products": "--xla_gpu_cudnn_gemm_fusion_level=2",
    "no Triton": "--xla_gpu_enable_triton_gemm=false",
    "loops as CUDA graphs": "--xla_gpu_command_buffer_unroll_loops=true",
}


def small(case: tuple) -> tuple:
    """The same case with few and small images."""
    module, function, arguments, optimizer, shape, classes, *_ = case
    if function == "resnet" and shape[0] > 64:
        # Just large enough for the layers of the large network.
        shape, classes = (72, 72, 3), 10
        arguments = (arguments[0], shape[0], classes)
    return module, function, arguments, optimizer, shape, classes, 4, 8


def case_of(name: str, tiny: str) -> tuple:
    return small(MODELS[name]) if tiny == "tiny" else MODELS[name]


def measure(library: str, name: str, precision: str, tiny: str, folder: str, epochs: str) -> dict:
    """What one library does with one model: the images that it trains on in a second."""
    module, function, arguments, (optimizer, settings), shape, classes, batch, images = case_of(
        name, tiny
    )
    if library == "describe":
        use("Cornu")
        network = getattr(__import__(module), function)(*arguments)
        Path(folder, f"{name}.json").write_text(in_torch.describe(network))
        return {}
    device = device_of(library, precision)
    if device is None and tiny != "tiny":
        raise SystemExit(
            f"{library} sees no GPU, so nothing is measured. `--tiny` tries the program on a CPU."
        )
    random = np.random.default_rng(0)
    x = random.random((images, *shape), "float32")
    labels = random.integers(0, classes, images)
    found = {"device": device or "no GPU", "versions": versions()}
    if library in TORCH:
        description = Path(folder, f"{name}.json").read_text()
        times, _, loss = in_torch.train(
            *(description, x, labels, optimizer, batch, int(epochs) + 1),
            compiled=library != "PyTorch",
            settings=settings,
            device="cuda" if device else "cpu",
            bfloat16=precision == "bfloat16",
        )
    else:
        times, loss = fit(library, name, precision, tiny, x, labels, int(epochs))
    if not np.isfinite(loss):
        raise SystemExit(f"The loss is {loss}: what was measured is not a training.")
    return {**found, "images": images / median(times[1:])}


def fit(library, name, precision, tiny, x, labels, epochs):
    """Seconds of each epoch of `fit`, and the last loss."""
    module, function, arguments, (optimizer, settings), *_, batch, _ = case_of(name, tiny)
    keras = use(library)
    keras.utils.set_random_seed(0)
    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    network = getattr(__import__(module), function)(*arguments)
    network.compile(
        optimizer=getattr(keras.optimizers, optimizer)(**settings),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        # Cornu runs many steps at once by itself, and Keras on PyTorch cannot.
        steps_per_execution=10 if LIBRARIES[library] in ("jax", "tensorflow") else 1,
    )
    watch, times = timed_epochs(keras)
    history = network.fit(
        x, labels, batch_size=batch, epochs=epochs + 1, callbacks=[watch], verbose=0
    )
    return times, history.history["loss"][-1]


def device_of(library: str, precision: str) -> str | None:
    """The name of the GPU that the library sees, which is told how to multiply numbers of float32."""
    backend = "torch" if library in TORCH else LIBRARIES[library] or "jax"
    exact = precision == "float32"
    if backend == "torch":
        import torch

        torch.set_float32_matmul_precision("highest" if exact else "high")
        torch.backends.cudnn.allow_tf32 = not exact
        torch.backends.cudnn.benchmark = True
        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(not exact)
        found = tf.config.list_physical_devices("GPU")
        details = [tf.config.experimental.get_device_details(device) for device in found]
        return details[0].get("device_name", "GPU") if details else None
    import jax

    jax.config.update("jax_default_matmul_precision", "float32" if exact else "tensorfloat32")
    device = jax.devices()[0]
    return device.device_kind if device.platform == "gpu" else None


def has(python: str, library: str) -> bool:
    """Whether an environment has what a library needs."""
    needed = ["torch"] if library in TORCH else [LIBRARIES[library] or "cornu"]
    needed += ["keras"] if library.startswith("Keras") else []
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {needed})))"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


def main(arguments) -> None:
    pythons = dict(given.split("=", 1) for given in arguments.python)
    # Column: library, what runs it, and its environment variables.
    columns = {
        library: (library, pythons.get(library, sys.executable), {})
        for library in (*LIBRARIES, *TORCH)
    }
    if arguments.flags:
        library, python, _ = columns["Cornu"]
        set_before = os.environ.get("XLA_FLAGS", "")
        columns = {
            label: (library, python, {"XLA_FLAGS": f"{set_before} {flags}"})
            for label, flags in FLAGS.items()
        }
    for label, (library, python, _) in list(columns.items()):
        if not has(python, library):
            print(f"{label} is left out: {python} does not have it")
            del columns[label]
    tiny, names = "tiny" if arguments.tiny else "whole", arguments.only or list(MODELS)
    found: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        if any(library in TORCH for library, *_ in columns.values()):
            for name in names:
                how = ("describe", name, "float32", tiny, folder, "0")
                in_a_process(__file__, *how, python=columns["Cornu"][1], JAX_PLATFORMS="cpu")
        for turn in range(1 if arguments.tiny else arguments.rounds):
            for name in names:
                for precision in arguments.precisions:
                    for label in in_turns(list(columns), turn):
                        library, python, environment = columns[label]
                        how = (library, name, precision, tiny, folder, arguments.epochs)
                        result = in_a_process(__file__, *how, python=python, **environment)
                        found.setdefault((name, precision, label), []).append(result)
                        print(
                            turn + 1, name, precision, label, f"{result['images']:.0f}", flush=True
                        )
    write(arguments, list(columns), names, found)


def write(arguments, labels: list[str], names: list[str], found: dict) -> None:
    rows, ratios = [], []
    for name in names:
        for precision in arguments.precisions:
            rates = [median(r["images"] for r in found[name, precision, label]) for label in labels]
            cells = [f"{rate:,.0f}" for rate in rates]
            if len(rates) > 1:
                ratios.append(rates[0] / max(rates[1:]))
                cells.append(f"**{ratios[-1]:.2f}**")
            rows.append([name, precision, str(case_of(name, "")[-2]), *cells])
    results = [r for runs in found.values() for r in runs]
    devices = ", ".join(sorted({r["device"] for r in results}))
    text = f"""
Images a second in training on random images in memory: {arguments.rounds} rounds in turns, each a
process of its own: medians, of the median epoch after the first. Device: {devices}. Cornu and Keras: `fit`,
in bfloat16 with `mixed_bfloat16`; on JAX and TensorFlow, Keras runs 10 steps an execution. PyTorch: a plain
loop over images on the device (`benchmarks/in_torch.py`), channels_last, a fused optimizer, in bfloat16
with autocast; compiled: `torch.compile` with CUDA graphs. Written by
`python benchmarks/gpu.py{" --flags" if arguments.flags else ""}`.
"""
    titles = ["model", "precision", "batch", *labels, *(["first / best other"] if ratios else [])]
    after = "; ".join(sorted({r["versions"] for r in results})) + "."
    if ratios:
        after = f"Geometric mean of the ratios: **{geometric_mean(ratios):.2f}**. {after}"
    title = "XLA's flags" if arguments.flags else "Training on a GPU"
    if arguments.tiny or arguments.only:
        print(*map(" | ".join, [titles, *rows]), after, sep="\n")
    else:
        table(REPORT, title, text, titles, rows, after)


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(MODELS), help="writes nothing")
    parser.add_argument("--precisions", nargs="*", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--flags", action="store_true", help="Cornu with several of XLA's flags")
    parser.add_argument("--python", nargs="*", default=[], help="LIBRARY=PATH of its own Python")
    parser.add_argument("--tiny", action="store_true", help="try it on a CPU; writes nothing")
    main(parser.parse_args())
