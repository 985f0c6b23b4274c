"""The benchmarks for GPUs, as far as they can be tried without one."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark_of(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return lambda name: __import__(name)


def lowered(model, x, y) -> str:
    """A step of training as a program for CUDA."""
    model.optimizer.build(model.trainable_variables)
    model.evaluate(x, y, verbose=0)
    function = model.make_train_function()
    step = jax.jit(functools.partial(function._run, []), donate_argnums=0)
    batch = (jnp.asarray(x), jnp.asarray(y), None)
    return jax.export.export(step, platforms=["cuda"])(*function._take([]), batch).mlir_module()


def test_the_recipe_for_cifar10_is_lowered_for_gpus(benchmark_of):
    recipe = benchmark_of("cifar10")
    x = np.random.default_rng(0).integers(0, 256, (6, 36, 36, 3), "uint8")
    y = np.eye(10, dtype="float32")[:6]
    model = recipe.compiled(recipe.network(0.1, "mixed_bfloat16"), 8)
    recipe.whiten(model, x)
    text = lowered(model, x, y)
    assert "custom_call @cornu" not in text
    operands = re.findall(r"stablehlo.convolution.*: \(tensor<(.*?)>, tensor<(.*?)>\) ->", text)
    # Seven layers, of which the first is fixed: nothing needs the gradient of the second's input.
    assert len(operands) == 7 + 6 + 5
    assert all(operand.endswith("xbf16") for pair in operands for operand in pair)
    # What the first layer says of patches has variance one, and no two directions agree.
    first = jax.lax.conv_general_dilated(
        (x[:, 2:-2, 2:-2].astype("float32") - np.float32(recipe.MEAN))
        / np.float32(recipe.DEVIATION),
        model.get_layer("whitening").kernel.value[..., :12],
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ).reshape(-1, 12)
    np.testing.assert_allclose(first.T @ first / len(first), np.eye(12), atol=0.02)


def test_windows_are_each_images_own_and_the_rate_is_a_triangle(benchmark_of):
    recipe = benchmark_of("cifar10")
    image = np.arange(36 * 36 * 3, dtype="float32").reshape(1, 36, 36, 3)
    windows = np.asarray(recipe.Shift()(np.repeat(image, 40, axis=0), training=True))
    begins = windows[:, 0, 0, 0]
    assert len(set(begins.tolist())) > 5
    for window, begin in zip(windows, begins, strict=True):
        row, column = divmod(int(begin) // 3, 36)
        np.testing.assert_array_equal(window, image[0, row : row + 32, column : column + 32])
    rate = recipe.Triangle(2.0, 100)
    np.testing.assert_allclose([rate(n) for n in (0, 25, 100)], [0.4, 2.0, 0.14], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("depth, weights", [(18, 11_689_512), (50, 25_557_032)])
def test_the_residual_networks_are_those_of_the_paper(depth, weights, benchmark_of):
    """As many weights as torchvision's."""
    networks = benchmark_of("networks")
    model = networks.resnet(depth, 224, 1000)
    assert sum(w.value.size for w in model.trainable_variables) == weights
    assert networks.resnet(depth, 32, 10).layers[-4].output.shape[1:3] == (4, 4)


def run(*arguments):
    command = [sys.executable, BENCHMARKS / "gpu.py", "--only", "lecture", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_the_benchmark_runs_on_a_cpu_and_measures_nothing_there():
    done = run("--tiny", "--precisions", "bfloat16", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "1 lecture bfloat16 Cornu " in done.stdout and "no GPU" not in done.stderr
    if not any(device.platform == "gpu" for device in jax.devices()):
        done = run("--precisions", "TF32")
        assert done.returncode and "sees no GPU, so nothing is measured" in done.stderr
