"""Models of every family of layer: `fit` gives Keras' losses, metrics and weights for twenty steps."""

import keras
import numpy as np
import pytest

import cornu

random = np.random.RandomState(0)
IMAGES = random.rand(64, 12, 12, 3).astype("float32")
GRAY = random.rand(64, 12, 12, 1).astype("float32")
BYTES = random.randint(0, 256, (64, 12, 12, 3)).astype("uint8")
SIGNALS = random.randn(64, 16, 3).astype("float32")
VIDEOS = random.rand(64, 4, 6, 6, 2).astype("float32")
ROWS = random.randn(64, 10).astype("float32")
WORDS = random.randint(1, 20, (64, 9)).astype("int32")
for row, length in zip(WORDS, random.randint(2, 10, 64), strict=True):
    row[length:] = 0
CLASSES = random.randint(0, 4, 64).astype("int32")
ONE_HOT = np.eye(4, dtype="float32")[CLASSES]
BINARY = (random.rand(64, 1) < 0.5).astype("float32")
NUMBERS = random.randn(64, 2).astype("float32")
SPARSE = "sparse_categorical_crossentropy"

MODELS = {}


def trained_with(x, y, optimizer="adam", loss=SPARSE, metrics=("accuracy",), **fit):
    """Decorator: the model, what it is trained on and how.

    `optimizer` and `loss` may be functions of the library; they are called after the seed is set.
    """

    def decorate(make):
        MODELS[make.__name__] = (make, x, y, optimizer, loss, list(metrics), fit)
        return make

    return decorate


@trained_with(GRAY, CLASSES, lambda k: k.optimizers.SGD(0.05, momentum=0.9))
def lenet(k, layers):
    return k.Sequential(
        [
            k.Input((12, 12, 1)),
            layers.Conv2D(4, 3, padding="same", activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(6, 3, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(12, activation="tanh"),
            layers.Dense(4, activation="softmax"),
        ]
    )


@trained_with(IMAGES, ONE_HOT, loss="categorical_crossentropy", validation_split=0.25)
def convolutions_and_batch_normalization(k, layers):
    return k.Sequential(
        [
            k.Input((12, 12, 3)),
            layers.Conv2D(6, 3, use_bias=False, kernel_initializer="he_normal"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(3, strides=2, padding="same"),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )


@trained_with(np.moveaxis(IMAGES, -1, 1), CLASSES, lambda k: k.optimizers.RMSprop(1e-3))
def channels_first(k, layers):
    first = {"data_format": "channels_first"}
    return k.Sequential(
        [
            k.Input((3, 12, 12)),
            layers.Conv2D(6, 3, strides=2, padding="same", activation="gelu", **first),
            layers.BatchNormalization(axis=1),
            layers.AveragePooling2D(2, **first),
            layers.Conv2D(5, 2, activation="softplus", **first),
            layers.GlobalAveragePooling2D(**first),
            layers.Dense(4, activation="softmax"),
        ]
    )


@trained_with(
    IMAGES,
    CLASSES,
    lambda k: k.optimizers.Nadam(2e-3),
    metrics=["sparse_top_k_categorical_accuracy"],
)
def depthwise_separable(k, layers):
    return k.Sequential(
        [
            k.Input((12, 12, 3)),
            layers.DepthwiseConv2D(3, depth_multiplier=2, activation="swish"),
            layers.SeparableConv2D(8, 3, padding="same", activation="swish"),
            layers.SpatialDropout2D(0.2),
            layers.GlobalMaxPooling2D(),
            layers.Dense(4, activation="softmax"),
        ]
    )


@trained_with(SIGNALS, BINARY, lambda k: k.optimizers.Adagrad(0.05), "binary_crossentropy", ["AUC"])
def signals(k, layers):
    return k.Sequential(
        [
            k.Input((16, 3)),
            layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="elu"),
            layers.MaxPooling1D(2),
            layers.SeparableConv1D(5, 3, activation="elu"),
            layers.ZeroPadding1D(1),
            layers.Cropping1D((0, 1)),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


@trained_with(VIDEOS, NUMBERS, lambda k: k.optimizers.Adamax(0.01), "mse", ["mae"])
def volumes(k, layers):
    return k.Sequential(
        [
            k.Input((4, 6, 6, 2)),
            layers.Conv3D(4, 2, activation="tanh"),
            layers.AveragePooling3D((1, 2, 2)),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


@trained_with(IMAGES, IMAGES, lambda k: k.optimizers.Adam(5e-3), "mae", ["mse"])
def autoencoder(k, layers):
    return k.Sequential(
        [
            k.Input((12, 12, 3)),
            layers.Conv2D(6, 3, strides=2, padding="same", activation="silu"),
            layers.Conv2D(4, 3, strides=2, padding="same", activation="silu"),
            layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="silu"),
            layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="sigmoid"),
        ]
    )


@trained_with(
    IMAGES,
    ONE_HOT,
    lambda k: k.optimizers.AdamW(k.optimizers.schedules.CosineDecay(5e-3, 20), weight_decay=0.01),
    lambda k: k.losses.CategoricalCrossentropy(label_smoothing=0.1, from_logits=True),
)
def residual(k, layers):
    inputs = k.Input((12, 12, 3))
    x = layers.Conv2D(6, 3, padding="same")(inputs)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        y = layers.Conv2D(6, 3, padding="same", activation="gelu")(y)
        x = layers.Add()([x, layers.Conv2D(6, 1)(y)])
    x = layers.GlobalAveragePooling2D()(x)
    return k.Model(inputs, layers.Dense(4)(x))


@trained_with(
    IMAGES, CLASSES, lambda k: k.optimizers.SGD(0.1, momentum=0.8, nesterov=True, clipnorm=0.5)
)
def inception(k, layers):
    inputs = k.Input((12, 12, 3))
    branches = [
        layers.Conv2D(3, 1, activation="tanh")(inputs),
        layers.Conv2D(4, 3, padding="same", activation="tanh")(inputs),
        layers.Conv2D(2, 5, padding="same", activation="tanh")(inputs),
        layers.AveragePooling2D(3, strides=1, padding="same")(inputs),
    ]
    x = layers.Flatten()(layers.Concatenate()(branches))
    return k.Model(inputs, layers.Dense(4, activation="softmax")(x))


@trained_with(
    GRAY,
    (GRAY > 0.5).astype("float32"),
    lambda k: k.optimizers.Lamb(0.01),
    "binary_focal_crossentropy",
    ["binary_accuracy"],
)
def u_net(k, layers):
    inputs = k.Input((12, 12, 1))
    down = layers.Conv2D(4, 3, padding="same", activation="softsign")(inputs)
    x = layers.Conv2D(6, 3, padding="same", activation="softsign")(layers.AveragePooling2D(2)(down))
    x = layers.UpSampling2D(interpolation="bilinear")(x)
    x = layers.Concatenate()([down, x])
    return k.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))


@trained_with(IMAGES, NUMBERS, lambda k: k.optimizers.Lion(1e-3), "huber", ["mae"])
def group_normalization(k, layers):
    return k.Sequential(
        [
            k.Input((12, 12, 3)),
            layers.Conv2D(6, 3),
            layers.GroupNormalization(3),
            layers.Activation("mish"),
            layers.AveragePooling2D(2),
            layers.RMSNormalization(),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


@trained_with(WORDS, CLASSES)
def masked_lstm(k, layers):
    return k.Sequential(
        [
            k.Input((9,), dtype="int32"),
            layers.Embedding(20, 8, mask_zero=True),
            layers.LSTM(6, dropout=0.2, recurrent_dropout=0.1),
            layers.Dense(4, activation="softmax"),
        ]
    )


@trained_with(SIGNALS, NUMBERS, "rmsprop", "mse", ["mae"])
def stacked_gru(k, layers):
    return k.Sequential(
        [
            k.Input((16, 3)),
            layers.GRU(5, return_sequences=True),
            layers.LayerNormalization(),
            layers.GRU(4, reset_after=False, go_backwards=True),
            layers.Dense(2),
        ]
    )


@trained_with(WORDS, BINARY, "adam", "binary_crossentropy")
def bidirectional(k, layers):
    return k.Sequential(
        [
            k.Input((9,), dtype="int32"),
            layers.Embedding(20, 6, mask_zero=True, embeddings_regularizer="l2"),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
            layers.Bidirectional(layers.GRU(3), merge_mode="sum"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


@trained_with(SIGNALS, NUMBERS, "adam", "mse", [], shuffle=False)
def stateful_rnn(k, layers):
    return k.Sequential(
        [
            k.Input(batch_shape=(16, 16, 3)),
            layers.SimpleRNN(5, stateful=True),
            layers.Dense(2),
        ]
    )


@trained_with(VIDEOS, VIDEOS[:, -1, :, :, :1], "adam", "mse", [])
def conv_lstm(k, layers):
    return k.Sequential(
        [
            k.Input((4, 6, 6, 2)),
            layers.ConvLSTM2D(3, 3, padding="same"),
            layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )


@trained_with(VIDEOS, CLASSES)
def time_distributed(k, layers):
    return k.Sequential(
        [
            k.Input((4, 6, 6, 2)),
            layers.TimeDistributed(layers.Conv2D(4, 3, activation="tanh")),
            layers.TimeDistributed(layers.GlobalAveragePooling2D()),
            layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)]),
            layers.Dense(4, activation="softmax"),
        ]
    )


@trained_with([SIGNALS, SIGNALS[:, ::-1, :2].copy()], [SIGNALS[:, :, :2]], "adam", "mse", [])
def sequence_to_sequence(k, layers):
    source, target = k.Input((16, 3)), k.Input((16, 2))
    _, *state = layers.LSTM(5, return_state=True)(source)
    x = layers.LSTM(5, return_sequences=True)(target, initial_state=state)
    return k.Model([source, target], layers.TimeDistributed(layers.Dense(2))(x))


@trained_with(
    WORDS,
    CLASSES,
    lambda k: k.optimizers.Adam(
        k.optimizers.schedules.ExponentialDecay(5e-3, 5, 0.8), use_ema=True
    ),
)
def transformer(k, layers):
    inputs = k.Input((9,), dtype="int32")
    x = layers.Embedding(20, 8, mask_zero=True)(inputs)
    y = layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    y = layers.Dense(8)(layers.Dense(16, activation="gelu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling1D()(x)
    return k.Model(inputs, layers.Dense(4, activation="softmax")(x))


@trained_with(IMAGES, CLASSES, lambda k: k.optimizers.AdamW(2e-3, global_clipnorm=1.0))
def vision_transformer(k, layers):
    inputs = k.Input((12, 12, 3))
    x = layers.Reshape((9, 8))(layers.Conv2D(8, 4, strides=4)(inputs))
    positions = layers.Embedding(9, 8)(k.ops.arange(9))
    x = layers.Add()([x, k.ops.broadcast_to(k.ops.expand_dims(positions, 0), (1, 9, 8))])
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
    y = layers.Dense(16, activation=k.activations.gelu)(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(8)(y)])
    return k.Model(inputs, layers.Dense(4, activation="softmax")(layers.Flatten()(x)))


@trained_with([SIGNALS, SIGNALS[:, :7].copy()], NUMBERS, "adam", "log_cosh", [])
def attention(k, layers):
    query, value = k.Input((16, 3)), k.Input((7, 3))
    x = layers.Attention(use_scale=True, score_mode="concat")([query, value])
    y = layers.AdditiveAttention()([query, value])
    z = layers.GroupQueryAttention(4, 4, 2)(query, value, use_causal_mask=True)
    x = layers.GlobalMaxPooling1D()(layers.Concatenate()([x, y, z]))
    return k.Model([query, value], layers.Dense(2)(x))


@trained_with(BYTES, CLASSES)
def augmentation(k, layers):
    return k.Sequential(
        [
            k.Input((12, 12, 3), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.RandomFlip("horizontal", seed=1),
            layers.RandomRotation(0.1, seed=2),
            layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", seed=3),
            layers.RandomContrast(0.2, seed=4),
            layers.Conv2D(4, 3, activation="tanh"),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )


@trained_with(
    {"image": IMAGES, "row": ROWS},
    {"kind": CLASSES, "numbers": NUMBERS},
    "adam",
    {"kind": SPARSE, "numbers": "mse"},
    [],
    sample_weight={"kind": np.abs(ROWS[:, 0]), "numbers": np.abs(ROWS[:, 1])},
)
def several_inputs_and_outputs(k, layers):
    image, row = k.Input((12, 12, 3), name="image"), k.Input((10,), name="row")
    x = layers.Flatten()(layers.Conv2D(3, 3, strides=3, activation="tanh")(image))
    x = layers.Concatenate()([x, layers.Dense(6, activation="selu")(row)])
    kind = layers.Dense(4, activation="softmax", name="kind")(x)
    numbers = layers.Dense(2, name="numbers")(x)
    return k.Model({"image": image, "row": row}, {"kind": kind, "numbers": numbers})


@trained_with(ROWS, NUMBERS, lambda k: k.optimizers.Adadelta(1.0), "cosine_similarity", [])
def rows(k, layers):
    return k.Sequential(
        [
            k.Input((10,)),
            layers.EinsumDense("ab,bc->ac", output_shape=8, bias_axes="c"),
            layers.UnitNormalization(),
            layers.GaussianNoise(0.1, seed=5),
            layers.PReLU(),
            layers.GaussianDropout(0.1, seed=6),
            layers.LeakyReLU(0.1),
            layers.AlphaDropout(0.1, seed=7),
            layers.Dense(2),
        ]
    )


@trained_with(ROWS, ONE_HOT, lambda k: k.optimizers.Ftrl(0.1), "kl_divergence", ["kl_divergence"])
def regularizers_and_constraints(k, layers):
    return k.Sequential(
        [
            k.Input((10,)),
            layers.Dense(8, "tanh", kernel_regularizer=k.regularizers.L1L2(1e-3, 1e-3)),
            layers.Dense(6, "tanh", kernel_constraint=k.constraints.MaxNorm(0.7)),
            layers.ActivityRegularization(l2=1e-3),
            layers.Dense(4, "softmax", bias_constraint="non_neg"),
        ]
    )


@trained_with(ROWS, NUMBERS, lambda k: k.optimizers.Adafactor(0.01), "mse", ["r2_score"])
def maxima_and_repeats(k, layers):
    inputs = k.Input((10,))
    x = layers.RepeatVector(3)(layers.Dense(4, activation="tanh")(inputs))
    x = layers.Conv1D(4, 2, activation="tanh")(x)
    x = layers.Permute((2, 1))(x)
    y = layers.Maximum()([layers.Flatten()(x), layers.Dense(8)(inputs)])
    y = layers.Subtract()([y, layers.Minimum()([y, layers.Dense(8)(inputs)])])
    return k.Model(inputs, layers.Dense(2)(layers.Multiply()([y, y])))


@trained_with(
    [ROWS, ROWS[::-1].copy()], BINARY, lambda k: k.optimizers.Adam(1e-3, clipvalue=0.1), "hinge", []
)
def siamese(k, layers):
    shared = k.Sequential([layers.Dense(8, activation="tanh"), layers.Dense(6)])
    left, right = k.Input((10,)), k.Input((10,))
    x = layers.Dot(axes=1, normalize=True)([shared(left), shared(right)])
    return k.Model([left, right], x)


@trained_with(IMAGES, CLASSES, lambda k: k.optimizers.SGD(0.05, gradient_accumulation_steps=2))
def spectral_normalization(k, layers):
    return k.Sequential(
        [
            k.Input((12, 12, 3)),
            layers.SpectralNormalization(layers.Conv2D(4, 3, activation="tanh")),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )


@trained_with(
    IMAGES, CLASSES, lambda k: k.optimizers.Muon(2e-3), class_weight={0: 1, 1: 2, 2: 0.5, 3: 1}
)
def subclass(k, layers):
    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [layers.Conv2D(4, 3, activation="tanh") for _ in range(2)]
            self.heads = {"last": layers.Dense(4, activation="softmax"), "flat": layers.Flatten()}

        def call(self, x, training=False):
            for block in self.blocks:
                x = block(x)
            if training:
                self.add_loss(1e-2 * k.ops.mean(k.ops.square(x)))
            return self.heads["last"](self.heads["flat"](x))

    return Net()


@trained_with(IMAGES, ONE_HOT, "adam", "categorical_hinge", ["categorical_accuracy", "precision"])
def nested(k, layers):
    features = k.Sequential(
        [
            k.Input((12, 12, 3)),
            layers.Conv2D(4, 3, activation="tanh", name="first"),
            layers.AveragePooling2D(2),
        ],
        name="features",
    )
    inputs = k.Input((12, 12, 3))
    x = layers.Lambda(lambda x: x * 2 - 1)(inputs)
    x = features(x)
    x = layers.Resizing(3, 3)(x)
    return k.Model(inputs, layers.Dense(4, activation="softmax")(layers.Flatten()(x)))


def history_and_weights(k, name):
    make, x, y, optimizer, loss, metrics, fit = MODELS[name]
    k.utils.clear_session()
    k.utils.set_random_seed(11)
    model = make(k, k.layers)
    model.compile(
        optimizer=optimizer(k) if callable(optimizer) else optimizer,
        loss=loss(k) if callable(loss) else loss,
        metrics=metrics,
    )
    epochs = 5 if "validation_split" not in fit else 7
    history = model.fit(x, y, batch_size=16, epochs=epochs, verbose=0, **fit)
    return history.history, model.get_weights()


# What these have is compared in the tests of recurrent layers and attention, too.
SLOW = {
    "attention",
    "bidirectional",
    "sequence_to_sequence",
    "stacked_gru",
    "time_distributed",
    "transformer",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in MODELS]
)
def test_twenty_steps_are_those_of_keras(name):
    ours, our_weights = history_and_weights(cornu, name)
    theirs, their_weights = history_and_weights(keras, name)
    assert list(ours) == list(theirs)
    for key in ours:
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-4, atol=1e-4, err_msg=key)
    for ours, theirs in zip(our_weights, their_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
