"""Few examples are predicted by programs, and nobody can tell but by the clock."""

import json
import threading
import zipfile

import jax
import numpy as np
import pytest

import cornu as keras
from cornu import layers
from cornu.core.kernels import native
from cornu.inference import CompiledInference
from cornu.inference.program import BETWEEN, CONSTANTS, INPUT, OUTPUT, Program

pytestmark = pytest.mark.skipif(not native().in_use, reason="needs the native kernels")


def images(count, shape=(12, 12, 3), dtype="float32"):
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, *shape)).astype(dtype) / (255 if dtype == "float32" else 1)


def program_of(model):
    """The programs that predicted, by how many examples; None where XLA did."""
    entries = model._functions["predict"]._quick._entries
    return {key[1][0][0]: entry and entry.program for key, entry in entries.items()}


def residual(x):
    y = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(y))
    return layers.ReLU()(layers.Add()([y, layers.Conv2D(8, 1)(x)]))


def squeeze(x):
    x = layers.Conv2D(8, 3, activation="swish")(x)
    scale = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(scale)])


def mixed_pools(x):
    x = layers.ZeroPadding2D(1)(layers.Conv2D(6, 3, strides=2, padding="same")(x))
    parts = [layers.MaxPooling2D(3, 1, "same"), layers.AveragePooling2D(2, 1, "same")]
    return layers.Concatenate()([part(x) for part in parts])


PARTS = {
    "dense": lambda x: layers.Dense(7, activation="tanh")(layers.Flatten()(x)),
    "convolution, pooling": lambda x: layers.MaxPooling2D()(
        layers.Conv2D(9, 3, activation="relu")(x)
    ),
    "residual": residual,
    "squeeze and excitation": squeeze,
    "pools": mixed_pools,
    "depthwise, relu6": lambda x: layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same")(x)),
    "separable": lambda x: layers.SeparableConv2D(5, 3, activation="sigmoid")(x),
    "groups, dilation": lambda x: layers.Conv2D(6, 3, groups=3, dilation_rate=2)(x),
    "signal": lambda x: layers.Conv1D(5, 3, padding="causal")(layers.Reshape((36, 12))(x)),
    "volume": lambda x: layers.Conv3D(4, 2)(layers.Reshape((12, 12, 3, 1))(x)),
    "channels first": lambda x: layers.Conv2D(4, 3, data_format="channels_first")(
        layers.Permute((3, 1, 2))(x)
    ),
    "upsampling, cropping": lambda x: layers.Cropping2D(2)(layers.UpSampling2D()(x)),
    "normalization": lambda x: layers.ReLU()(layers.BatchNormalization()(x)),
    "scalars": lambda x: layers.Lambda(lambda x: x * x.max() + (x.sum() - x))(x),
}
# What no kernel does, or what changes with each call.
BY_XLA = {
    "layer normalization": lambda x: layers.LayerNormalization()(
        layers.EinsumDense("abcd,de->abce", (12, 12, 4))(x)
    ),
    "recurrent": lambda x: layers.LSTM(3)(layers.Reshape((12, 36))(x)),
    "dropout that draws": lambda x: layers.Dropout(0.5)(x, training=True),
}


def model_of(part, dtype="float32"):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3), dtype=dtype)
    x = layers.Rescaling(1 / 255)(inputs) if dtype == "uint8" else inputs
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(part(x))))
    for variable in model.variables:
        if "seed" not in variable.path:
            variable.assign(
                np.random.default_rng(1).uniform(0.2, 0.8, variable.shape)
                - 0.3 * ("kernel" in variable.path)
            )
    return model


def by_xla(model, x):
    """What the compiled step makes of it, padded to so many examples that there is no program."""
    many = np.concatenate([x, np.zeros((9, *x.shape[1:]), x.dtype)])
    return np.asarray(model.predict_on_batch(many))[: len(x)]


@pytest.mark.parametrize("part", [*PARTS, *BY_XLA])
def test_same_as_xla(part):
    model = model_of({**PARTS, **BY_XLA}[part])
    for count in (1, 3):
        x = images(count)
        found = model.predict_on_batch(x)
        if part != "dropout that draws":
            np.testing.assert_allclose(found, by_xla(model, x), rtol=1e-5, atol=1e-6)
        assert (program_of(model).get(count) is not None) == (part in PARTS)
    x = images(1)
    if part in PARTS:
        x[0, 3, 4] = np.nan
        np.testing.assert_array_equal(
            np.isnan(model.predict_on_batch(x)), np.isnan(by_xla(model, x))
        )


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_dtypes(dtype):
    model, x = model_of(PARTS["residual"], dtype), images(2, dtype="uint8")
    for given in ("uint8", "int32", "int64", "float32", "float64", "bool"):
        np.testing.assert_allclose(
            model.predict_on_batch(x.astype(given)),
            by_xla(model, x.astype(given)),
            rtol=1e-5,
            atol=1e-6,
        )
    strided = np.concatenate([x, x], -1)[..., ::2]
    np.testing.assert_allclose(
        model.predict_on_batch(strided), by_xla(model, strided), rtol=1e-5, atol=1e-6
    )


def test_normalization_far_from_zero():
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(epsilon=1e-6)])
    mean, _ = model.non_trainable_variables
    mean.assign(np.full(4, 2000.0))
    x = (2000 + images(2, (4,))).astype("float32")
    np.testing.assert_allclose(model.predict_on_batch(x), (x - 2000) / np.sqrt(1 + 1e-6), rtol=1e-6)
    assert program_of(model)[2] is not None


def test_weights_that_a_program_does_not_compute_with():
    """They are infinite, or of 16 bits."""
    model, x = model_of(PARTS["normalization"]), images(1)
    for variable in model.variables:
        variable.assign(variable * np.float32(-np.inf))
    np.testing.assert_array_equal(model.predict_on_batch(x), by_xla(model, x))
    half = keras.Sequential([keras.Input((4,)), layers.Dense(3, dtype="bfloat16")])
    assert half.predict_on_batch(np.ones((1, 4))).shape == (1, 3)


@pytest.mark.parametrize("bounds", [(np.nan, 1.0), (0.0, np.nan)])
def test_bounds_of_a_convolution_that_are_nan(bounds):
    model = keras.Sequential([keras.Input((12, 12, 3)), layers.Conv2D(4, 3)])
    model.add(layers.Lambda(lambda x: x.clip(*bounds)))
    x = images(1)
    assert np.isnan(model.predict_on_batch(x)).all() and np.isnan(by_xla(model, x)).all()
    assert program_of(model)[1] is not None


def test_debugging_of_jax_sees_predictions():
    model, x = model_of(PARTS["dense"]), images(1)
    assert np.isfinite(model.predict_on_batch(x)).all()
    x[:] = np.nan
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        model.predict_on_batch(x)


class Nested(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = {"a": [layers.Conv2D(4, 3, activation="relu")], "b": (layers.Dense(2),)}

    def call(self, inputs):
        x = self.parts["a"][0](inputs["image"])
        return {"mean": x.mean((1, 2)), "dense": [self.parts["b"][0](inputs["vector"])]}


def test_structures_of_a_subclass(tmp_path):
    model = Nested()
    x = {"image": images(2), "vector": images(2, (5,))}
    found, expected = model.predict_on_batch(x), jax.tree.map(np.asarray, model(x))
    assert program_of(model)[2] is not None
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )
    compiled = model.compile_inference((1, 2), x=x)
    compiled.save(tmp_path / "nested")
    for one in (compiled, CompiledInference.load(tmp_path / "nested")):
        again = one(x)
        assert jax.tree.structure(again) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, again, found)


def test_new_weights_are_used_at_once():
    model, x = model_of(PARTS["residual"]), images(1)
    model.compile("sgd", "mse")
    for step in range(6):
        # After a few changes in a row, XLA predicts.
        np.testing.assert_allclose(
            model.predict_on_batch(x), by_xla(model, x), rtol=1e-5, atol=1e-6
        )
        before = model.trainable_variables[0].value
        if step % 2:
            model.set_weights([w * 0.9 for w in model.get_weights()])
        else:
            model.train_on_batch(x, np.ones((1, 3)))
            assert before.is_deleted(), "a prediction keeps training from using the weights' memory"
    model.layers[1].add_weight(shape=(), name="more")
    base = model.predict_on_batch(x)
    np.testing.assert_allclose(base, by_xla(model, x), rtol=1e-5, atol=1e-6)
    again = model.predict_on_batch(x)
    assert program_of(model)[1] is not None
    np.testing.assert_allclose(again, base, rtol=1e-5, atol=1e-6)


def test_threads():
    model = model_of(PARTS["squeeze and excitation"])
    compiled = model.compile_inference((1, 4))
    assert len({id(p.plan.constants) for p in compiled._programs.values()}) == 1
    calls = [(call, images(n)) for n in (1, 2, 3, 4) for call in (model.predict_on_batch, compiled)]
    wrong = []

    def ask(call, x, y):
        wrong.extend(x.shape for _ in range(20) if not np.array_equal(call(x), y))

    threads = [
        threading.Thread(target=ask, args=(call, x, call(x))) for call, x in calls for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_newer_weights_while_a_program_is_made(monkeypatch):
    """A thread that began with older weights leaves no program for them behind."""
    model, x = model_of(PARTS["normalization"]), images(1)
    seen, began, go_on = [], threading.Event(), threading.Event()

    def slow(plan, others):
        if threading.current_thread() is not threading.main_thread():
            began.set()
            go_on.wait(20)
        return plan

    monkeypatch.setattr("cornu.inference.quick.sharing", slow)
    thread = threading.Thread(target=lambda: seen.append(model.predict_on_batch(x)))
    thread.start()
    assert began.wait(20)
    model.set_weights([w * 0.5 for w in model.get_weights()])
    model.predict_on_batch(x)
    go_on.set()
    thread.join()
    np.testing.assert_allclose(model.predict_on_batch(x), by_xla(model, x), rtol=1e-5, atol=1e-6)
    assert np.abs(seen[0] - by_xla(model, x)).max() > 1e-4


class Mixing(keras.Model):
    """Sees several examples at once, and has outputs that are no batch."""

    def call(self, x):
        return {"far": (x - x.max(0), None), "sum": x.sum(), "two": keras.ops.ones((2,))}


@pytest.mark.parametrize(
    "contained", [list, tuple, lambda xs: {"b": xs[0], "a": xs[1]}, lambda xs: [xs[:1], xs[1]]]
)
def test_containers_of_inputs(contained):
    a, b = keras.Input((4,)), keras.Input((3,))
    outputs = [layers.Dense(2)(layers.Concatenate()([a, b])), layers.Activation("relu")(b)]
    model = keras.Model(contained([a, b]), outputs)
    x = contained([images(3, (4,)), images(3, (3,))])
    found, expected = model.compile_inference((1, 2))(x), model.predict(x, verbose=0)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda y, z: np.testing.assert_allclose(y, z, atol=1e-6), found, expected)


def test_examples_that_see_each_other(tmp_path):
    model, x = Mixing(), images(3, (5,))
    model.compile(jit_compile=False)
    model.compile_inference((2, 3), x=x).save(tmp_path / "mixing")
    compiled = CompiledInference.load(tmp_path / "mixing")
    for given in (x, x[:2]):
        found, expected = compiled(given), model.predict_on_batch(given)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_allclose, found, expected)
    for given in (x[:1], np.concatenate([x, x])):
        with pytest.raises(ValueError, match=r"compiled for \[2, 3\] examples"):
            compiled(given)


def test_what_compiled_inference_says(tmp_path):
    model, x = model_of(PARTS["convolution, pooling"]), images(7)
    compiled = model.compile_inference((2, 3))
    np.testing.assert_allclose(compiled(x), by_xla(model, x), rtol=1e-5, atol=1e-6)
    before = compiled(x)
    model.set_weights([w * 0 for w in model.get_weights()])
    np.testing.assert_array_equal(compiled(x), before)
    for call, message in (
        (lambda: compiled(x[0]), r"shape \('examples', 12, 12, 3\)"),
        (lambda: compiled(x[:0]), "one example at least"),
        (lambda: compiled({"a": x}), "Expected inputs as"),
        (lambda: compiled(x.astype("complex64")), "must be float32"),
        (lambda: model.compile_inference(0), "positive integers"),
        (lambda: model.compile_inference(None), "positive integers"),
        (lambda: model.compile_inference(x=[1.0]), "must be an array"),
        (lambda: model.compile_inference(precision="half"), "must be one of"),
        (lambda: model_of(BY_XLA["recurrent"]).compile_inference(), "because of this"),
        (lambda: Nested().compile_inference(), "does not know its input's shape"),
        (
            lambda: keras.Sequential([keras.Input((None, 3)), layers.Dense(2)]).compile_inference(),
            "several sizes",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    compiled._outputs = {0: 0}
    with pytest.raises(ValueError, match="keys are strings"):
        compiled.save(tmp_path / "numbers")


def _changed(part, *keys, value):
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value


@pytest.mark.parametrize(
    "keys, value",
    [
        (["programs", 1, "inputs", 0, 0], [3, 99, 2]),
        (["programs", 1, "inputs"], [[[3, 6, 6, 2], "float32"]] * 2),
        (["programs", 1, "outputs"], []),
        (["programs", 0, "memory"], -1),
        (["programs", 0, "memory"], 2**62),
        (["programs", 0, "memory"], "much"),
        (["programs", 0, "examples"], 2),
        (["programs", 0, "kernels", 0], "chain"),
        (["programs", 0, "steps"], "0/constants"),
        (["inputs"], [0]),
        (["inputs"], 1),
        (["outputs"], {"tuple": [0, 0]}),
        (["programs"], []),
        (["format"], 0),
        ([], None),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, keys, value):
    path = tmp_path / "compiled"
    small_model().compile_inference((1, 3)).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(parts["program.json"])
    if keys:
        _changed(header, *keys, value=value)
    parts["program.json"] = json.dumps(header).encode() if keys else b"[" * 100_000
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(keras.saving.FileFormatError, match=f"{path} is (no compiled|damaged)"):
        CompiledInference.load(path)


def test_a_file_that_would_inflate_is_refused(tmp_path):
    path = tmp_path / "compiled"
    small_model().compile_inference().save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="is compressed"):
        CompiledInference.load(path)
    path.write_text("{}")
    with pytest.raises(
        keras.saving.FileFormatError, match="no compiled inference that Cornu can read"
    ):
        CompiledInference.load(path)


def small_model(*more):
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(2),
            *more,
        ]
    )


def test_a_step_reads_and_writes_only_what_it_may():
    # The operands of the last step: what it reads, a number for each channel or the bias, what it writes.
    source, bias, result = -9, -6, -3
    plan = small_model().compile_inference()._programs[1].plan
    assert plan.names[-1] == "prepared_convolution"
    for at in (bias, bias - 3):
        numbers = plan.numbers.copy()
        numbers[at : at + 3] = [BETWEEN, 0, 0]
        # What is prepared is what does not change.
        with pytest.raises(ValueError, match="make no sense"):
            Program(plan._replace(numbers=numbers))
    plan = small_model(layers.Rescaling([2.0, 3.0])).compile_inference()._programs[1].plan
    assert plan.names[-1] == "chain"
    for at, place, message in (
        (source, [-1, 0, 0], "beyond the program's memory"),
        (source, [4, 0, 0], "beyond the program's memory"),
        (source, [BETWEEN, 0, 2**62], "beyond the program's memory"),
        (result, [INPUT, 0, 0], "only read"),
        (result, [CONSTANTS, 0, 0], "only read"),
        (source, [OUTPUT, 0, 0], None),
        (bias, [OUTPUT, 0, 0], "writes where it reads"),
    ):
        numbers = plan.numbers.copy()
        numbers[at : at + 3 or None] = place
        changed = plan._replace(numbers=numbers)
        if message is None:
            Program(changed)
            continue
        with pytest.raises(ValueError, match=message):
            Program(changed)


def test_a_damaged_program_is_refused_or_harmless():
    plan = small_model().compile_inference()._programs[1].plan
    rng, refused = np.random.default_rng(0), 0
    x = np.zeros((1, 6, 6, 2), "float32")
    for _ in range(2000):
        numbers = plan.numbers.copy()
        place = rng.integers(len(numbers))
        numbers[place] = rng.choice(
            [-1, 0, 1, 2, 3, 7, 100, 2**31, 2**62, -(2**63), numbers[place] + 1]
        )
        try:
            Program(plan._replace(numbers=numbers))([x])
        except (ValueError, RuntimeError):
            refused += 1
    assert refused > 1000
