"""What the compiled step of a training on many devices holds: sums of gradients, nothing large gathered."""

import math
import os
import re
import subprocess
import sys

import pytest

from cornu.core.kernels import native

# It prints the step's program before it is compiled for each device, and after.
PROGRAM = """
import sys
import numpy as np
import cornu
from cornu import layers
from cornu.training import interrupts

count, way = int(sys.argv[1]), sys.argv[2]
inputs = cornu.Input((12, 12, 1))
x = layers.Conv2D(16, 3, use_bias=False)(inputs)
x = layers.ReLU()(layers.BatchNormalization()(x))
x = layers.Conv2D(32, 3, activation="relu")(layers.MaxPooling2D()(x))
x = layers.Dense(10, "softmax")(layers.Flatten()(x))
model = cornu.Model(inputs, x)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
compile_ahead = interrupts.compile_ahead

def shown(step, *arguments, **how):
    lowered = step.lower(*arguments)
    print(lowered.as_text(), "=====", lowered.compile().as_text(), "=====", model.count_params())
    return compile_ahead(step, *arguments, **how)

interrupts.compile_ahead = shown
spread = {"data": cornu.distribution.DataParallel, "sharded": cornu.distribution.FullyShardedDataParallel}
arguments = {"min_size": 1024} if way == "sharded" else {}
with spread[way](**arguments).scope():
    rows = 2 * count
    x, y = np.zeros((rows, 12, 12, 1), "float32"), np.zeros(rows, "int32")
    history = model.fit(x, y, batch_size=rows, verbose=0).history
assert np.isfinite(history["loss"]).all()
"""


def results_of(operation: str, program: str) -> list[list[tuple]]:
    """The shapes that each operation of one kind returns."""
    found = re.findall(rf"^.* = (.*) {operation}(?:-start)?\(", program, re.M)
    return [
        [
            tuple(int(n) for n in shape.split(",") if n)
            for shape in re.findall(r"\[([\d,]*)\]", line)
        ]
        for line in found
    ]


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, 64])
@pytest.mark.parametrize("way", ["data", "sharded"])
def test_collectives(count, way):
    flags = f"--xla_force_host_platform_device_count={count}"
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(count), way],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    lowered, compiled, parameters = run.stdout.split("=====")
    sums = results_of("all-reduce", compiled)
    sizes = [sum(math.prod(shape) for shape in shapes) for shapes in sums]
    weights = int(parameters) - 32
    assert weights <= sum(sizes) <= weights + 64
    gathered = results_of("all-gather", compiled)
    if way == "data":
        # The sums of batch normalization's gradient with all gradients behind it, and all others, each in
        # one array, which is one message; and each device's moments of batch normalization.
        assert [len(shapes) for shapes in sums] == [1, 1]
        assert gathered == [[(count, 32)]]
    else:
        assert len(sums) <= 4
        # Weights that are kept in parts, for the layers that use them; and moments.
        sizes = {math.prod(shape) for shapes in gathered for shape in shapes}
        assert sizes <= {3 * 3 * 16 * 32, 2880, count * 16, count * 32}
    for other in ("all-to-all", "collective-permute"):
        assert not results_of(other, compiled)
    if native().in_use:
        assert len(set(re.findall(r"@(cornu_\w+)", lowered))) > 8
