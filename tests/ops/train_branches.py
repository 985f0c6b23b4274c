"""Train networks with a branch for each kind of layer, print what came out: `test_fixed_order` runs it."""

import hashlib

import numpy as np

import cornu
from cornu import layers as L

BATCH = 36

# Sizes at which XLA splits what it computes among threads.
OF_IMAGES = [
    [L.Conv2D(8, 3)],
    [L.Conv2D(8, 3, activation="gelu", groups=2), L.PReLU(shared_axes=[1, 2])],
    [L.DepthwiseConv2D(3), L.AveragePooling2D()],
    [L.SeparableConv2D(8, 3), L.GlobalAveragePooling2D()],
    [L.Conv2DTranspose(8, 3, strides=2), L.GlobalMaxPooling2D()],
    [L.Conv2D(8, 3), L.LayerNormalization()],
    [L.GroupNormalization(2), L.LayerNormalization(axis=(1, 2, 3)), L.UnitNormalization()],
    [L.Conv2D(8, 3), L.BatchNormalization(), L.BatchNormalization(axis=1)],
    [L.UpSampling2D(2, interpolation="bilinear"), L.Conv2D(4, 3, activity_regularizer="l2")],
    [L.Permute((3, 1, 2)), L.Conv2D(8, 3, data_format="channels_first")],
]
OF_ROWS = [
    [L.Conv1D(8, 3, padding="causal")],
    [L.Dense(32), L.EinsumDense("abc,cd->abd", (None, 16), bias_axes="d")],
    [L.Flatten(), L.SpectralNormalization(L.Dense(64)), L.RMSNormalization()],
]
OF_NUMBERS = [[L.Flatten(), L.Dense(96, activation="relu")]]
IMAGE, ROW = (14, 14, 4), (64, 8)


def digest(arrays) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def train(shape, branches, optimizer, **arguments):
    cornu.utils.set_random_seed(0)
    inputs = cornu.Input(shape)
    ends = []
    for branch in branches:
        x = inputs
        for layer in branch:
            # One of its own for each model.
            x = type(layer).from_config(layer.get_config())(x)
        ends.append(L.Flatten()(x))
    outputs = L.Dense(10, kernel_regularizer="l2")(L.Concatenate()(ends))
    model = cornu.Model(inputs, outputs)
    model.compile(
        getattr(cornu.optimizers, optimizer)(**arguments),
        cornu.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    # The last batch is smaller.
    random, count = np.random.default_rng(0), 3 * BATCH - 5
    x, y = random.standard_normal((count, *shape), np.float32), random.integers(0, 10, count)
    losses = model.fit(x, y, batch_size=BATCH, verbose=0).history["loss"]
    state = [v.numpy() for v in model.optimizer.variables]
    said = model.predict(x, batch_size=BATCH, verbose=0)
    print(optimizer, digest([*model.get_weights(), *state, losses, said]))


train(IMAGE, OF_IMAGES, "Adam")
train(ROW, OF_ROWS, "AdamW", use_ema=True, clipnorm=0.1)
train(ROW, OF_NUMBERS, "SGD", momentum=0.9, global_clipnorm=1.0)
train(ROW, OF_NUMBERS, "Adafactor")
train(ROW, OF_NUMBERS, "Lamb")
cornu.config.set_dtype_policy("mixed_bfloat16")
train(ROW, OF_ROWS[:1], "Adam")
