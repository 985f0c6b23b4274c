"""Quantized and adapted layers compute what they do in Keras, and are exchanged with it."""

import contextlib
import warnings

import keras
import numpy as np
import pytest

import cornu

RANDOM = np.random.RandomState(0)


def model_of(module, kind, **arguments):
    layers = module.layers
    if kind == "embedding":
        return module.Sequential(
            [module.Input((4,), dtype="int32"), layers.Embedding(11, 9, **arguments)]
        )
    if kind == "convolution":
        return module.Sequential(
            [module.Input((6, 6, 2)), layers.Conv2D(4, 3, groups=2, **arguments)]
        )
    if kind == "dense":
        return module.Sequential([module.Input((10,)), layers.Dense(7, "relu", **arguments)])
    einsum = layers.EinsumDense("abc,cde->adbe", (2, 5, 3), bias_axes="e", **arguments)
    return module.Sequential([module.Input((5, 10)), einsum])


def pair(kind, mode=None, low_rank=False, **arguments):
    """A model here and in Keras with the same weights, and inputs for them."""
    ours, theirs = (model_of(module, kind, **arguments) for module in (cornu, keras))
    weights = [RANDOM.normal(size=w.shape).astype("float32") for w in theirs.weights]
    for module, model in ((cornu, ours), (keras, theirs)):
        model.set_weights(weights)
        if mode is not None:
            config = None
            if mode == "blocks of 4":
                config = module.quantizers.Int4QuantizationConfig(block_size=4)
            if mode == "weights alone":
                config = module.quantizers.Int8QuantizationConfig(activation_quantizer=None)
            # Keras warns of each layer without weights, too.
            with contextlib.nullcontext() if module is cornu else warnings.catch_warnings():
                if module is keras:
                    warnings.simplefilter("ignore")
                model.quantize(None if config else mode, config)
        if low_rank:
            model.layers[-1].enable_lora(2, lora_alpha=3)
    shape = (8, *theirs.input_shape[1:])
    x = RANDOM.randint(0, 11, shape) if kind == "embedding" else RANDOM.normal(size=shape)
    return ours, theirs, x.astype("int32" if kind == "embedding" else "float32")


def exchange(ours, theirs, x, folder, tolerance):
    """Files of each, read by the other."""
    ours.save(folder / "ours.keras")
    theirs.save(folder / "theirs.keras")
    before = ours.predict(x, verbose=0)
    for module, name in ((keras, "ours"), (cornu, "theirs"), (cornu, "ours")):
        loaded = module.saving.load_model(folder / f"{name}.keras")
        np.testing.assert_allclose(loaded.predict(x, verbose=0), before, 1e-4, tolerance)


@pytest.mark.parametrize("mode", ["int8", "weights alone", "int4", "blocks of 4"])
@pytest.mark.parametrize("kind", ["dense", "einsum", "embedding"])
def test_integers(kind, mode, tmp_path):
    ours, theirs, x = pair(kind, mode)
    for call in (lambda model: model(x), lambda model: model.predict(x, verbose=0)):
        np.testing.assert_allclose(call(ours), call(theirs), 1e-5, 1e-5)
    if mode == "blocks of 4":
        exchange(ours, theirs, x, tmp_path, 1e-5)
    assert all("bias" in v.path for v in ours.trainable_variables)


def history(module, model, x):
    y = np.cos(np.arange(np.prod(model.output_shape[1:]) * len(x)), dtype="float32")
    model.compile(module.optimizers.SGD(0.05), "mse")
    y = y.reshape(len(x), *model.output_shape[1:])
    return model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("dense", None),
        ("dense", "int8"),
        ("einsum", "int4"),
        ("embedding", "int8"),
        ("convolution", None),
    ],
)
def test_low_rank_adaptation(kind, mode, tmp_path):
    ours, theirs, x = pair(kind, mode, low_rank=True)
    frozen = ours.layers[-1]._main_variable.numpy()
    for mine, other in zip(ours.trainable_variables, theirs.trainable_variables, strict=True):
        assert mine.path.split("/")[-1] == other.path.split("/")[-1]
        value = RANDOM.normal(size=mine.shape)
        mine.assign(value)
        other.assign(value)
    np.testing.assert_allclose(ours(x), theirs(x), 1e-4, 1e-4)
    np.testing.assert_allclose(history(cornu, ours, x), history(keras, theirs, x), 1e-4)
    np.testing.assert_array_equal(ours.layers[-1]._main_variable.numpy(), frozen)
    if mode is None:
        exchange(ours, theirs, x, tmp_path, 1e-3)
        # Files hold the sum: who knows of no adaptation reads it, from each kind of file.
        for name in ("w.weights.h5", "w.safetensors"):
            ours.save_weights(tmp_path / name)
            plain = model_of(cornu, kind)
            plain.load_weights(tmp_path / name)
            np.testing.assert_allclose(plain(x), ours(x), 1e-4, 1e-4)
            ours.load_weights(tmp_path / name)
            np.testing.assert_allclose(plain(x), ours(x), 1e-4, 1e-4)
    ours.trainable = False
    ours.trainable = True
    assert not ours.layers[-1]._main_variable.trainable


@pytest.mark.parametrize("kind", ["dense", "einsum"])
def test_floats_of_8_bits(kind, tmp_path):
    ours, theirs, x = pair(kind, "float8")
    np.testing.assert_allclose(history(cornu, ours, x), history(keras, theirs, x), 1e-4)
    for mine, other in zip(
        ours.layers[-1]._saved_weights()[2:],
        [w for w in theirs.layers[-1].weights if "scale" in w.name or "amax" in w.name],
        strict=True,
    ):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), 1e-4, err_msg=mine.path)
    if kind == "dense":
        exchange(ours, theirs, x, tmp_path, 1e-4)


def test_from_the_start():
    """A dtype and arguments of the constructor instead of calls."""
    layer = cornu.layers.Dense(3, dtype="int4/4_from_float32", lora_rank=2, lora_alpha=8)
    layer.build((None, 10))
    assert layer._main_variable.shape == (10, 2) and layer.kernel.shape == (10, 3)
    assert layer.lora_alpha == 8 and layer.get_config()["lora_alpha"] == 8
    late = cornu.layers.Dense(3)
    late.build((None, 10))
    late.dtype_policy = "int4/4_from_float32"
    assert late.kernel_scale.shape == (3, 3)
    own = cornu.quantizers.Int8QuantizationConfig(activation_quantizer=None)
    chosen = cornu.layers.Dense(3, quantization_config=own)
    chosen.build((None, 10))
    chosen.quantize("int8")
    assert chosen.inputs_quantizer is None


def test_filters_and_refusals():
    model = cornu.Sequential(
        [cornu.Input((4,)), cornu.layers.Dense(3, name="a"), cornu.layers.Dense(3, name="b")]
    )
    x = np.ones((2, 4), "float32")
    before = model.predict(x, verbose=0)
    model.quantize("int8", filters=["b"])
    assert [layer.quantization_mode for layer in model.layers] == [None, "int8"]
    # What was compiled before is not used any more.
    after = model.predict(x, verbose=0)
    assert 0 < np.abs(after - before).max() < 0.1
    np.testing.assert_allclose(after, model(x), 1e-5, 1e-6)
    with pytest.raises(ValueError, match="already quantized"):
        model.quantize("int4", filters="b")
    with pytest.raises(NotImplementedError, match="calibration"):
        model.quantize("gptq")
    with pytest.raises(ValueError, match="Contradictory"):
        model.quantize("int4", cornu.quantizers.Int8QuantizationConfig())

    class Own(cornu.layers.Dense):
        pass

    layer = Own(2)
    layer.build((None, 3))
    with pytest.raises(NotImplementedError, match="cannot be quantized"):
        layer.quantize("int8")
    with pytest.raises(ValueError, match="isn't yet built"):
        cornu.layers.Dense(2).enable_lora(2)
    layer.enable_lora(2)
    assert layer.lora_kernel_a.path == f"{layer.path}/lora_kernel_a"
    with pytest.raises(ValueError, match="already enabled"):
        layer.enable_lora(2)


def test_a_file_of_floats_is_not_read_into_integers(tmp_path):
    """Not even where the shapes are the same."""
    model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(3, use_bias=False)])
    model.save_weights(tmp_path / "floats.weights.h5")
    layer = model.layers[0]
    layer.quantize("int8")
    layer._saved_weights = lambda: [layer._main_variable]
    with pytest.raises(ValueError, match="fractions would be lost"):
        model.load_weights(tmp_path / "floats.weights.h5")


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_attention(mode, tmp_path):
    def made(module):
        x = module.Input((6, 8))
        y = module.layers.MultiHeadAttention(2, 4, name="attention")(x, x)
        return module.Model(x, module.layers.Dense(3)(y))

    ours, theirs = made(cornu), made(keras)
    theirs.set_weights(ours.get_weights())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.quantize(mode)
    ours.quantize(mode)
    x = RANDOM.normal(size=(3, 6, 8)).astype("float32")
    np.testing.assert_allclose(ours(x), theirs(x), 1e-5, 1e-5)
    # Keras forgets the projections' formats, but reads them where they are stated.
    ours.save(tmp_path / "ours.keras")
    for module in (cornu, keras):
        loaded = module.saving.load_model(tmp_path / "ours.keras")
        np.testing.assert_allclose(loaded(x), ours(x), 1e-5, 1e-5)
    theirs.save(tmp_path / "theirs.keras")
    if mode != "float8":
        with pytest.raises(ValueError, match="is quantized in"):
            cornu.saving.load_model(tmp_path / "theirs.keras")
    again = made(cornu)
    again.quantize(mode)
    again.load_weights(tmp_path / "theirs.keras")
    np.testing.assert_allclose(again(x), theirs(x), 1e-5, 1e-5)
