"""Predictions in fewer bits are near those in float32, and everybody is told how near."""

import os
import subprocess
import sys

import numpy as np
import pytest

import cornu as keras
from cornu import layers
from cornu.core.kernels import native
from cornu.inference import CompiledInference
from cornu.inference.calibration import Seen
from cornu.inference.program import Program

pytestmark = pytest.mark.skipif(not native().in_use, reason="needs the native kernels")

SHAPE = (12, 10, 3)


def images(count, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE), "float32") * 2 - 0.5


def plain(x):
    x = layers.Conv2D(12, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(17, 3, activation="relu6")(x)
    x = layers.MaxPooling2D()(layers.Conv2D(8, 1, activation="relu")(x))
    return layers.Dense(9)(layers.Flatten()(x))


def branches(x):
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(16, (5, 1), padding="same", groups=2)(x)
    z = layers.Conv2D(16, 3, padding="same", dilation_rate=2, activation="relu")(x)
    x = layers.DepthwiseConv2D(3)(layers.Add()([x, y, z]))
    x = layers.Conv2D(8, 3)(layers.Concatenate()([x, x]))
    return layers.Softmax()(layers.GlobalAveragePooling2D()(layers.BatchNormalization()(x)))


def signal(x):
    x = layers.Reshape((12, 30))(x)
    x = layers.Conv1D(8, 5, padding="causal", activation="tanh")(x)
    return layers.Dense(8)(layers.Dense(11, activation="relu")(layers.Flatten()(x)))


def volume(x):
    x = layers.MaxPooling3D((2, 1, 2))(
        layers.Conv3D(8, 3, activation="relu")(layers.Reshape((6, 6, 10, 1))(x))
    )
    return layers.Conv3D(8, 2)(x)


PARTS = {part.__name__: part for part in (plain, branches, signal, volume)}


def model_of(part):
    keras.utils.set_random_seed(1)
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, part(inputs))
    rng = np.random.default_rng(0)
    model.set_weights([w + 0.05 * rng.random(w.shape, "float32") for w in model.get_weights()])
    return model


def plan_of(compiled, size=1):
    return compiled._programs[size].plan


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("precision, tolerance", [("bfloat16", 0.02), ("int8", 0.05)])
def test_near_float32(part, precision, tolerance, tmp_path, capsys):
    model, x = model_of(PARTS[part]), images(70)
    exact = model.compile_inference((1, 4))(x)
    compiled = model.compile_inference((1, 4), precision=precision, x=x)
    assert "reduced_convolution" in plan_of(compiled).names
    found = compiled(x)
    difference = np.abs(found - exact)
    assert 0 < difference.max() < tolerance * np.abs(exact).max()
    loss = compiled.loss
    assert loss.examples == 70 and loss.accuracy is None
    np.testing.assert_allclose(loss.largest_difference, difference.max(), rtol=0.01)
    np.testing.assert_allclose(loss.mean_difference, difference.mean(), rtol=0.01)
    assert loss.agreement == (found.argmax(-1) == exact.argmax(-1)).mean()
    assert capsys.readouterr().out == f"{precision}: {loss}\n"
    compiled.save(tmp_path / "small")
    again = CompiledInference.load(tmp_path / "small")
    np.testing.assert_array_equal(again(x), found)
    assert (again.loss, again.precision) == (loss, precision) and precision in repr(again)
    model.compile_inference((1, 4)).save(tmp_path / "large")
    assert (tmp_path / "small").stat().st_size < (tmp_path / "large").stat().st_size


def test_bytes_stay_bytes_between_convolutions():
    model, x = model_of(plain), images(20)
    compiled = model.compile_inference(4, precision="int8", x=x, verbose=0)
    names = plan_of(compiled, 4).names
    assert names == ["reduced_convolution"] * 4
    # Four bytes for each number, but for the borders of the program.
    assert plan_of(compiled, 4).memory < plan_of(model.compile_inference(4), 4).memory / 3


ASK = """
import sys, numpy as np
from cornu.inference import CompiledInference
x, expected = np.load(sys.argv[2]).values()
np.testing.assert_array_equal(CompiledInference.load(sys.argv[1])(x), expected)
"""


def test_the_same_bits_on_all_processors(tmp_path, monkeypatch):
    model, x = model_of(plain), images(5)
    compiled = model.compile_inference((1, 4), precision="int8", x=x, verbose=0)
    compiled.save(tmp_path / "model")
    expected = compiled(x)
    np.testing.assert_array_equal(np.concatenate([compiled(one[None]) for one in x]), expected)
    np.savez(tmp_path / "data.npz", x=x, expected=expected)
    monkeypatch.setenv("CORNU_DOT_PRODUCTS", "0")
    slow = CompiledInference.load(tmp_path / "model")
    np.testing.assert_array_equal(slow(x), expected)
    asked = [sys.executable, "-c", ASK, tmp_path / "model", tmp_path / "data.npz"]
    done = subprocess.run(asked, env={**os.environ, "CORNU_ISA": "baseline"}, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_labels_and_other_data(capsys):
    model, x = model_of(branches), images(40)
    y = model.predict(x, verbose=0).argmax(-1)
    y[:10] = (y[:10] + 1) % 8
    arguments = {"precision": "int8", "verbose": 0}
    loss = model.compile_inference(x=x, validation=(x, y), **arguments).loss
    assert loss.accuracy_in_float32 == 0.75 and abs(loss.accuracy - 0.75) <= 0.1
    one_hot = np.eye(8, dtype="float32")[y]
    batches = keras.data.Dataset.from_tensor_slices((x, one_hot)).batch(16)
    for given, labelled in ((batches, batches), (x.tolist(), iter([(x, y)])), (x, (x, one_hot))):
        again = model.compile_inference(x=given, validation=labelled, **arguments)
        assert again.loss.accuracy_in_float32 == 0.75
        assert again.loss.accuracy == loss.accuracy
    assert model.compile_inference(x=x, validation=x[:7], **arguments).loss.examples == 7
    once = model.compile_inference(x=iter([(x[:30], y[:30]), (x[30:], y[30:])]), **arguments)
    assert once.loss == model.compile_inference(x=x, **arguments).loss
    assert model.compile_inference(precision="bfloat16").loss is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("container", [list, tuple])
def test_several_inputs(container):
    inputs = [keras.Input((5,)), keras.Input((4,))]
    model = keras.Model(inputs, layers.Dense(8)(layers.Concatenate()(inputs)))
    rng = np.random.default_rng(0)
    x = container(rng.random((9, n), "float32") for n in (5, 4))
    for precision in ("bfloat16", "int8"):
        compiled = model.compile_inference(precision=precision, x=x, verbose=0)
        np.testing.assert_allclose(compiled(x), model.predict(x, verbose=0), atol=0.02)
        assert compiled.loss.examples == 9


def test_bytes_as_inputs():
    inputs = keras.Input((6, 6, 1), dtype="uint8")
    model = keras.Model(
        inputs, layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(inputs))
    )
    x = np.random.default_rng(0).integers(0, 256, (9, 6, 6, 1)).astype("uint8")
    compiled = model.compile_inference(precision="int8", x=x, verbose=0)
    np.testing.assert_allclose(compiled(x), model.predict(x, verbose=0), atol=0.02)


def test_numbers_that_are_not_finite():
    model, x = model_of(plain), images(30)
    compiled = {
        precision: model.compile_inference((1, 4), precision=precision, x=x, verbose=0)
        for precision in ("bfloat16", "int8")
    }
    spoilt = x[:5].copy()
    spoilt[1, 3, 3, 1], spoilt[2, 11, 9, 0] = np.nan, np.inf
    exact = model.compile_inference()(spoilt)
    for precision, predict in compiled.items():
        found, clean = predict(spoilt), predict(x[:5])
        np.testing.assert_array_equal(found[[0, 3, 4]], clean[[0, 3, 4]])
        assert np.isnan(found[1]).all(), precision
        # Bounds have cut the infinity off, in float32 as well.
        np.testing.assert_allclose(found[2], exact[2], atol=0.5)
    for bad in (spoilt[1:2], spoilt[2:3]):
        with pytest.raises(ValueError, match="NaN or infinite"):
            model.compile_inference(precision="int8", x=bad)


def test_channels_and_inputs_of_zeros():
    model, x = model_of(plain), images(1)
    kernel, bias, *rest = model.get_weights()
    kernel[..., 3], kernel[..., 5], bias[5] = 0, 0, 0
    kernel[..., 7] = 1e-20
    model.set_weights([kernel, bias, *rest])
    # Of one picture.
    compiled = model.compile_inference(precision="int8", x=x, verbose=0)
    np.testing.assert_allclose(compiled(x), model.predict(x, verbose=0), atol=0.1)
    nothing = np.zeros_like(x)
    blind = model.compile_inference(precision="int8", x=nothing, verbose=0)
    np.testing.assert_allclose(blind(nothing), model.predict(nothing, verbose=0), atol=0.1)
    assert np.isfinite(blind(x)).all()


def test_what_is_refused():
    model, x = model_of(plain), images(3)
    labels = np.zeros((3, 2))
    for call, message in (
        (lambda: model.compile_inference(precision="int8"), "calibrated on data"),
        (lambda: model.compile_inference(precision="int4", x=x), "must be one of"),
        (lambda: model.compile_inference(x=x, validation=x), "what fewer bits lose"),
        (
            lambda: model.compile_inference(precision="int8", x=x[:, 1:]),
            "incompatible with the layer",
        ),
        (
            lambda: model.compile_inference(precision="int8", x=x, validation=(x, labels)),
            "numbers of classes",
        ),
        (
            lambda: model_of(lambda x: layers.Conv2D(2, 3)(x)).compile_inference(
                precision="bfloat16"
            ),
            "Nothing of this model",
        ),
        (
            lambda: model_of(
                lambda x: layers.Dense(8)(layers.LSTM(4)(layers.Reshape((12, 30))(x)))
            ).compile_inference(precision="int8", x=x),
            "because of this",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    model.set_weights([w * np.nan for w in model.get_weights()])
    with pytest.raises(ValueError, match="NaN or infinite"):
        model.compile_inference(precision="int8", x=x)


def test_ranges():
    seen, rng = Seen(), np.random.default_rng(0)
    numbers = rng.normal(size=100_000).astype("float32")
    for part in (np.zeros(3, "float32"), numbers[:10] * 1e-3, *np.array_split(numbers, 7)):
        seen.add(part)
    found = seen.range()

    def error(step, zero):
        q = np.clip(np.rint(numbers / step) + zero, 0, 255)
        return np.square((q - zero) * step - numbers).mean()

    widest = (numbers.max() - numbers.min()) / 255
    zero = np.rint(-numbers.min() / widest)
    assert error(*found) < error(widest, zero) and found.step > 0.5 * widest
    # Zero is a byte of its own, and rare large numbers are kept where nothing is gained.
    seen = Seen()
    seen.add(np.linspace(5, 6, 50, dtype="float32"))
    assert seen.range().zero == 0 and seen.range().step == np.float32(6 / 255)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_damaged_program_is_refused_or_harmless(precision):
    x = images(1)
    plan = plan_of(model_of(plain).compile_inference(precision=precision, x=x, verbose=0))
    rng, refused = np.random.default_rng(0), 0
    for _ in range(1000):
        numbers = plan.numbers.copy()
        place = rng.integers(len(numbers))
        numbers[place] = rng.choice([-1, 0, 1, 2, 3, 255, 2**31, -(2**63), numbers[place] + 1])
        try:
            Program(plan._replace(numbers=numbers))([x])
        except (ValueError, RuntimeError, MemoryError):
            refused += 1
    assert refused > 400
