"""Memory of a training step: small batches, gradient accumulation, rematerialization, 16 bits.

    python benchmarks/memory.py

What the compiler says of the step, without its arguments; nothing is timed. Writes docs/scaling.md.
"""

import contextlib

import numpy as np
from common import ROOT, table

import cornu
from cornu import layers

# Label, batch size, steps of accumulation, whether outputs are computed again, dtype policy.
WAYS = [
    ("float32", 256, None, False, "float32"),
    ("float32", 64, None, False, "float32"),
    ("float32, gradient_accumulation_steps=4", 64, 4, False, "float32"),
    ("float32, RematScope", 256, None, True, "float32"),
    ("mixed_bfloat16", 256, None, False, "mixed_bfloat16"),
    ("mixed_float16", 256, None, False, "mixed_float16"),
]


def network(again: bool, policy: str):
    cornu.utils.set_random_seed(0)
    with cornu.RematScope("full") if again else contextlib.nullcontext():
        convolutions = [
            layers.Conv2D(32, 3, padding="same", activation="gelu", dtype=policy) for _ in range(4)
        ]
    end = [layers.GlobalAveragePooling2D(dtype=policy), layers.Dense(10, activation="softmax")]
    return cornu.Sequential([cornu.Input((32, 32, 3)), *convolutions, *end])


def main() -> None:
    x = np.random.default_rng(0).random((512, 32, 32, 3), "float32")
    y = np.zeros(512, "int32")
    rows = []
    for label, batch, steps, again, policy in WAYS:
        model = network(again, policy)
        optimizer = cornu.optimizers.Adam(gradient_accumulation_steps=steps)
        model.compile(optimizer, "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=batch, verbose=0, shuffle=False)
        loss = model.evaluate(x, y, verbose=0)
        used = model.make_train_function().temporaries / 2**20
        rows.append([label, str(batch), f"{used:.1f} MiB", f"{loss:.5f}"])
    text = """
Four 3x3 convolutions with 32 filters and gelu, on 512 images of 32x32x3 (`make memory`): what the compiled
step takes besides weights and data, and the loss after an epoch. On a CPU, XLA converts float16 to float32,
which costs memory instead of saving it.
"""
    columns = ["", "batch", "memory", "loss after an epoch"]
    table(ROOT / "docs" / "scaling.md", "Memory, measured", text, columns, rows)


if __name__ == "__main__":
    main()
