"""All kinds of layers whose arithmetic is explained."""

from cornu import layers as L

# A shape of input, and layers for it.
KINDS = {
    "signals": (
        (9, 4),
        [
            lambda: L.Conv1D(3, 3, padding="causal", activation="relu"),
            lambda: L.Conv1D(6, 2, strides=2, groups=2),
            lambda: L.DepthwiseConv1D(3, depth_multiplier=2),
            lambda: L.SeparableConv1D(4, 3, padding="same"),
            lambda: L.Conv1DTranspose(4, 5, strides=3, padding="same", output_padding=1),
            lambda: L.MaxPooling1D(3, 2, padding="same"),
            lambda: L.GlobalMaxPooling1D(),
            lambda: L.Dense(5, activation="softmax"),
            lambda: L.RMSNormalization(),
            lambda: L.UnitNormalization(),
            lambda: L.LeakyReLU(),
            lambda: L.PReLU("uniform"),
            lambda: L.ELU(),
            lambda: L.Softmax(),
            lambda: L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d"),
            lambda: L.UpSampling1D(2),
            lambda: L.ZeroPadding1D(2),
            lambda: L.Cropping1D(1),
        ],
    ),
    "images": (
        (9, 8, 4),
        [
            lambda: L.Conv2D(6, 3, strides=2, padding="same", groups=2, activation="softmax"),
            lambda: L.Conv2D(6, 3, dilation_rate=2, activation="tanh"),
            lambda: L.Conv2D(3, (2, 5), strides=(1, 3), use_bias=False),
            lambda: L.Conv2D(6, 3, data_format="channels_first"),
            lambda: L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="sigmoid"),
            lambda: L.SeparableConv2D(4, 3, padding="same", strides=2, activation="gelu"),
            lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same", activation="relu"),
            lambda: L.Conv2DTranspose(3, 3, strides=2),
            lambda: L.Conv2DTranspose(3, 2, dilation_rate=3),
            lambda: L.MaxPooling2D(3, 2, padding="same"),
            lambda: L.MaxPooling2D(data_format="channels_first"),
            lambda: L.AveragePooling2D(3, 2, padding="same"),
            lambda: L.L2Pooling2D(2),
            lambda: L.GlobalAveragePooling2D(),
            lambda: L.GlobalMaxPooling2D(keepdims=True),
            lambda: L.BatchNormalization(),
            lambda: L.BatchNormalization(axis=1, scale=False),
            lambda: L.LayerNormalization(),
            lambda: L.LayerNormalization(axis=(1, 2)),
            lambda: L.GroupNormalization(2),
            lambda: L.Activation("silu"),
            lambda: L.ReLU(0.8, 0.1, 0.2),
            lambda: L.Flatten(),
            lambda: L.Dropout(0.5),
            lambda: L.Reshape((24, 12)),
            lambda: L.Permute((2, 1, 3)),
            lambda: L.UpSampling2D(2, interpolation="bilinear"),
            lambda: L.Rescaling(1 / 255, 0.5),
            lambda: L.Resizing(7, 7),
        ],
    ),
    "volumes": (
        (5, 4, 6, 2),
        [
            lambda: L.Conv3D(2, (2, 3, 2), padding="same"),
            lambda: L.Conv3DTranspose(2, 2, strides=2),
            lambda: L.AveragePooling3D(2),
            lambda: L.GlobalAveragePooling3D(),
        ],
    ),
}
CASES = [(shape, make) for shape, makes in KINDS.values() for make in makes]
IDS = [type(make()).__name__ for _, make in CASES]
