"""Every layer on inputs of every format: run as a program, it writes docs/dtypes.md (`make dtypes`).

The right numbers are those of Keras' layer, with the same weights, on the same inputs as float32. What
`predict`, `fit`, and a saved and loaded model give is asked of models that hold many layers side by side.
"""

import os
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
if __name__ == "__main__":
    # Thousands of small programs are compiled, and each runs once.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import keras
import numpy as np
from test_contract import CASES, IMAGE, IN_TENSORFLOW, PAIR, ROW, Case, spread

import cornu
from cornu import layers

FORMATS = "bool uint8 uint16 int8 int16 int32 int64 float16 bfloat16 float64".split()

# What a layer does may depend on its arguments.
VARIANTS = {
    "ReLU, all arguments": Case({"max_value": 6.5, "negative_slope": 0.1, "threshold": 1.0}),
    "Activation, softmax": Case({"activation": "softmax"}),
    "Conv1D, causal": Case({"filters": 2, "kernel_size": 3, "padding": "causal"}, ROW),
    "Conv2D, groups": Case({"filters": 2, "kernel_size": 3, "groups": 2}, IMAGE),
    "Dot, normalized": Case({"axes": 2, "normalize": True}, PAIR),
    "LayerNormalization, no scale": Case({"scale": False}),
    "MaxPooling2D, same": Case({"pool_size": 3, "padding": "same"}, IMAGE),
    "AveragePooling2D, same": Case({"pool_size": 3, "padding": "same"}, IMAGE),
    "UpSampling2D, bilinear": Case({"interpolation": "bilinear"}, IMAGE),
    "Resizing, nearest": Case({"height": 3, "width": 5, "interpolation": "nearest"}, IMAGE),
}
ALL = {**{n: case for n, case in CASES.items() if n not in IN_TENSORFLOW}, **VARIANTS}

# A user's own function gets what comes, and sums of bytes in it are bytes.
OWN_FUNCTION = {"Lambda"}
# As in Keras, integers stay integers: they are rounded.
ROUNDED = {"Resizing"}


# As in Keras, of integers the fraction is cut off.
TRUNCATED = {"ContrastLimitedAdaptiveHistogramEqualization"}


def make(name, module=layers):
    """The layer of a case, from Cornu or from Keras."""
    arguments = dict(ALL[name].arguments)
    kind = name.split(",")[0]
    for held in {"layer", "cell"} & set(arguments):
        inner, *values = arguments[held]
        arguments[held] = getattr(module, inner)(*values)
    if "Pooling" in kind and not kind.startswith(("Adaptive", "Global")):
        # In Keras it has no default.
        arguments.setdefault("pool_size", 2)
    return getattr(module, kind)(**arguments)


def shapes_of(name) -> list[tuple]:
    shape = ALL[name].shape
    return shape if isinstance(shape, list) else [shape]


def example(name, dtype, batch=2):
    """Numbers over most of a format's range, at most 100 from zero: sums of them are exact in float32."""
    random = np.random.RandomState(0)
    high = 5 if name == "Embedding" else {"bool": 2, "int8": 100}.get(dtype, 201)
    low = 0 if name == "Embedding" or dtype == "bool" or dtype.startswith("u") else -100
    arrays = [random.randint(low, high, (batch, *s)) for s in shapes_of(name)]
    if "float" in dtype and name != "Embedding":
        # Quarters are exact in each float format.
        arrays = [a % 8 / 4 for a in arrays]
    arrays = [a.astype(jax.numpy.dtype(dtype)) for a in arrays]
    return arrays if isinstance(ALL[name].shape, list) else arrays[0]


def as_float(value):
    return jax.tree.map(lambda a: np.asarray(a, np.float32), value)


def weights_for(layer):
    """Weights to compare with, the same for a layer here and in Keras."""
    for number, weight in enumerate(layer.weights):
        if "float" in str(weight.dtype) and not weight.path.endswith(
            ("mean", "variance", "vector_u")
        ):
            random = np.random.RandomState(number)
            weight.assign(random.uniform(0.2, 1, weight.shape).astype("float32"))


def arguments(name, inputs):
    """Inputs as the arguments of a call of the layer."""
    return spread(name if name in CASES else name.split(",")[0], inputs)


def called(name, module, inputs):
    layer = make(name, module)
    layer(*arguments(name, as_float(inputs)), training=False)
    weights_for(layer)
    return layer(*arguments(name, inputs), training=False)


def module_of(name):
    """Where Keras has a layer: some are parts of its networks."""
    networks = keras.src.applications
    parts = {"CustomScaleLayer": networks.inception_resnet_v2, "LayerScale": networks.convnext}
    return parts.get(name, keras.layers)


def right(name, inputs):
    """What Keras computes of the same numbers as float32, or NumPy where Keras has no such layer."""
    inputs = as_float(inputs)
    if name.startswith("L2Pooling"):
        mean = called(name.replace("L2", "Average"), keras.layers, inputs**2)
        return np.sqrt(np.asarray(mean) * 2 ** (inputs.ndim - 2))
    # Outside of training, Keras' hands on images that are larger than what it states.
    module = layers if name == "RandomCrop" else module_of(name)
    return np.asarray(called(name, module, inputs))


def check_number(name, output, expected):
    given, expected = np.asarray(output, np.float64), np.asarray(expected, np.float64)
    if name.split(",")[0] in ROUNDED and output.dtype != np.float32:
        expected = np.rint(expected)
    if name in TRUNCATED and np.issubdtype(output.dtype, np.integer):
        limits = np.iinfo(output.dtype)
        expected = np.clip(np.trunc(expected), limits.min, limits.max)
    np.testing.assert_allclose(given, expected, rtol=2e-5, atol=2e-5, err_msg=name)


def check_eager(name, dtype) -> str:
    """Call a layer on an array; returns the format of the result, which it stated before."""
    inputs = example(name, dtype)
    output = called(name, layers, inputs)
    if name not in OWN_FUNCTION:
        check_number(name, output, right(name, inputs))
    symbols = jax.tree.map(lambda a: layers.Input(a.shape[1:], dtype=str(a.dtype)), inputs)
    stated = make(name)(*arguments(name, symbols))
    assert jax.dtypes.canonicalize_dtype(stated.dtype) == output.dtype, (name, dtype, stated)
    return str(output.dtype)


# `Masking` warns where a layer beside it destroys its mask.
ALONE = {"Embedding", "Masking", *OWN_FUNCTION}


def names_of(shape, trained=False) -> list[str]:
    """The cases whose inputs have a shape; only those whose training can be compared, if so."""
    return [
        name
        for name, case in ALL.items()
        if case.shape == shape and name not in ALONE and not (trained and is_untrainable(name))
    ]


def is_untrainable(name) -> bool:
    """Whether training is random, or the format of the inputs makes a difference."""
    return ALL[name].training or name.split(",")[0] in ROUNDED | TRUNCATED | OWN_FUNCTION


def side_by_side(names, dtype):
    """Inputs of a format, and for each layer what it gives for them."""
    shape = ALL[names[0]].shape
    several = isinstance(shape, list)
    inputs = [layers.Input(s, dtype=dtype) for s in (shape if several else [shape])]
    inputs = inputs if several else inputs[0]
    outputs = {}
    for number, name in enumerate(names):
        layer = make(name)
        layer.name = f"layer_{number}"
        outputs[f"{number:02}"] = layer(*arguments(name, inputs))
        weights_for(layer)
    return inputs, outputs


def check_predict(names, dtype, folder) -> None:
    """`predict`, with a model as it was made and as it was loaded, gives what Keras does for float32."""
    inputs = example(names[0], dtype)
    model = cornu.Model(*side_by_side(names, dtype))
    path = str(Path(folder) / "model.keras")
    model.save(path)
    for one in (model, cornu.saving.load_model(path)):
        outputs = one.predict(inputs, verbose=0)
        for key, name in zip(sorted(outputs), names, strict=True):
            stated = jax.dtypes.canonicalize_dtype(one.output[key].dtype)
            assert outputs[key].dtype == stated, (name, dtype)
            if name not in OWN_FUNCTION:
                check_number(name, outputs[key], right(name, inputs))


def check_fit(names, dtype) -> None:
    """A step of training on a format changes weights as one on float32 does."""
    found = []
    for own in (dtype, "float32"):
        inputs, outputs = side_by_side(names, own)
        sums = [
            layers.Dense(1, kernel_initializer="ones")(layers.Flatten()(output))
            for output in outputs.values()
        ]
        model = cornu.Model(inputs, layers.Concatenate()(sums))
        model.compile(cornu.optimizers.SGD(1e-6), "mean_squared_error")
        x = example(names[0], dtype)
        model.fit(x if own == dtype else as_float(x), np.zeros((2, len(names))), verbose=0)
        found.append(model.weights)
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(
            mine.numpy(), theirs.numpy(), rtol=2e-5, atol=2e-5, err_msg=f"{mine.path} {dtype}"
        )


# ---- the table

SHORT = {"float": "f", "uint": "u", "int": "i", "bool": "b", "bfloat": "bf"}

INTRODUCTION = """# Inputs of every dtype

The output dtype of each layer for each input dtype (`f32` is float32, `u8` uint8, `b` bool), and the tests
that the values passed. Written by `make dtypes` (tests/layers/grid.py); the test suite runs a part of it.

- **e**: the layer is called on a NumPy array.
- **j**: `predict` of a compiled model.
- **s**: a model that was saved as `.keras` and loaded.
- **f**: one step of `fit` gives the same weights as on the same data in float32. Not tested where training
  is random, or where the dtype should make a difference.

The values are compared with those of the same layer of Keras {keras}, with the same weights and the same
inputs in float32. `L2Pooling`, which Keras does not have, is compared with NumPy. The output always has the
dtype that the layer states for symbolic inputs. 64-bit arrays become 32-bit arrays, as everywhere in JAX
unless `JAX_ENABLE_X64=1`; integers that do not fit are refused.

**\\*** For these inputs, Keras itself gives other values or an error.
**\\~** Keras gives the same values in another dtype.

A layer that calculates first converts integers and booleans to its compute dtype, as it does floats: the
mean of bytes has a fraction, and their sum does not fit a byte. A layer that only moves, selects or looks
up values leaves them as they are. `Add`, `Subtract`, `Multiply` and `Dot` calculate with int32 directly
and convert other integers. `Resizing` rounds to the dtype of its input, as Keras does. A `Lambda` gets
its input unchanged; what its function makes of bytes is not compared.
"""


def compared_with_keras(name, dtype, inputs, output) -> str:
    """How Keras' answer for the same inputs differs: "*" in numbers, "~" in format, or not at all."""
    if name.startswith("L2Pooling") or name in OWN_FUNCTION or name == "RandomCrop":
        return ""
    try:
        theirs = called(name, module_of(name), inputs)
        check_number(name, theirs, output)
    except Exception:
        return "*"
    return "" if str(theirs.dtype) == str(output.dtype) else "~"


def shortened(dtype: str) -> str:
    """`float32` as `f32`."""
    kind = dtype.rstrip("0123456789")
    return SHORT[kind] + dtype[len(kind) :]


def computed(dtype) -> dict[str, str]:
    """What the page says of each layer for inputs of a format; raises where a number is wrong."""
    shapes = {str(ALL[name].shape): ALL[name].shape for name in ALL if name not in ALONE}
    groups = [names_of(shape) for shape in shapes.values()] + [[name] for name in sorted(ALONE)]
    passed = dict.fromkeys(ALL, "e")
    for names in groups:
        with tempfile.TemporaryDirectory() as folder:
            check_predict(names, dtype, folder)
        trained = [name for name in names if not is_untrainable(name)]
        if trained:
            check_fit(trained, dtype)
        for name in names:
            passed[name] += "js" + "f" * (name in trained)
    cells = {}
    for name in ALL:
        result = shortened(check_eager(name, dtype))
        inputs = example(name, dtype)
        mark = compared_with_keras(name, dtype, inputs, called(name, layers, inputs))
        cells[name] = f"{result} {passed[name]}" + (f" \\{mark}" if mark else "")
    return cells


def write(cells: dict[str, dict[str, str]]) -> None:
    """Write the page from what was computed for each format."""
    lines = [INTRODUCTION.format(keras=keras.__version__)]
    lines.append("| | " + " | ".join(cells) + " |")
    lines.append("|---" * (len(cells) + 1) + "|")
    lines += [
        f"| {name} | " + " | ".join(column[name] for column in cells.values()) + " |"
        for name in sorted(ALL)
    ]
    page = Path(__file__).parents[2] / "docs" / "dtypes.md"
    page.write_text("\n".join(lines) + "\n")


def start() -> None:
    """Set up what thousands of small programs, of which each runs once, need."""
    warnings.simplefilter("ignore")
    # A model that was loaded is the same program as the one that was saved.
    jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp())
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


if __name__ == "__main__":
    start()
    write({dtype: computed(dtype) for dtype in FORMATS})
