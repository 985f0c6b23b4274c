"""What holds for every layer: one table, and one set of tests that all of them go through."""

import copy
import functools
import inspect
import json
import pickle
from typing import NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from cornu import layers
from cornu.core import registry
from cornu.core.variable import functional


class Case(NamedTuple):
    """How to make a layer and what to call it on."""

    arguments: dict = {}
    shape: tuple | list = (4, 6)
    """Of the input without the batch; a list of shapes for a layer that takes a list."""
    free: tuple = ()
    """Axes, the batch included, whose size may be unknown besides the batch's."""
    dtype: str = "float32"
    training: bool = False
    """Whether the layer does something else in training."""
    separate: bool = False
    """Whether the inputs are arguments of the call, and not one list."""


@registry.register_keras_serializable("contract")
def double(x):
    return 2 * x


ROW, IMAGE, COLOURS, VOLUME = (8, 6), (8, 8, 4), (8, 8, 3), (4, 4, 4, 2)
PAIR = [(4, 6), (4, 6)]

CASES = {
    "Activation": Case({"activation": "relu"}, free=(1,)),
    "ActivityRegularization": Case({"l1": 0.1}, free=(1,)),
    "Add": Case(shape=PAIR, free=(1,)),
    "AdditiveAttention": Case(shape=PAIR, free=(1,)),
    "AlphaDropout": Case({"rate": 0.4, "seed": 1}, free=(1,), training=True),
    "Attention": Case({"use_scale": True, "score_mode": "concat"}, shape=PAIR, free=(1,)),
    "Average": Case(shape=PAIR, free=(1,)),
    "AugMix": Case({"num_chains": 1, "seed": 1}, COLOURS, training=True),
    "AutoContrast": Case(shape=IMAGE, free=(1, 2)),
    "ContrastLimitedAdaptiveHistogramEqualization": Case({"tile_grid_size": (2, 2)}, IMAGE),
    "CutMix": Case({"seed": 1}, IMAGE, training=True),
    "Equalization": Case(shape=IMAGE, free=(1, 2), training=True),
    "MaxNumBoundingBoxes": Case({"max_number": 3}, IMAGE, free=(1, 2)),
    "MixUp": Case({"seed": 1}, IMAGE, training=True),
    "RandAugment": Case({"seed": 1}, COLOURS, training=True),
    "RandomColorDegeneration": Case({"factor": 0.9, "seed": 1}, COLOURS, training=True),
    "RandomColorJitter": Case({"brightness_factor": 0.2, "seed": 1}, COLOURS, training=True),
    "RandomElasticTransform": Case({"factor": (1, 1), "seed": 1}, IMAGE, training=True),
    "RandomErasing": Case({"factor": (1, 1), "seed": 1}, IMAGE, training=True),
    "RandomGaussianBlur": Case({"factor": (1, 1), "seed": 1}, IMAGE, training=True),
    "RandomGrayscale": Case({"seed": 1}, COLOURS, training=True),
    "RandomHue": Case({"factor": 0.9, "value_range": (-9, 9), "seed": 1}, COLOURS, training=True),
    "RandomInvert": Case({"factor": (1, 1), "seed": 1}, IMAGE, training=True),
    "RandomPerspective": Case({"factor": (1, 1), "seed": 1}, IMAGE, training=True),
    "RandomPosterization": Case({"factor": 5, "seed": 1}, IMAGE, training=True),
    "RandomSaturation": Case({"factor": 0.9, "seed": 1}, COLOURS, training=True),
    "RandomSharpness": Case({"factor": 0.9, "seed": 1}, IMAGE, training=True),
    "RandomShear": Case({"x_factor": 0.2, "y_factor": 0.1, "seed": 1}, IMAGE, training=True),
    "Solarization": Case({"addition_factor": 0.5, "seed": 1}, IMAGE, training=True),
    "BatchNormalization": Case(shape=IMAGE, free=(1, 2), training=True),
    "Bidirectional": Case({"layer": ("GRU", 3)}, free=(1,)),
    "CategoryEncoding": Case({"num_tokens": 5}, (4,), free=(1,), dtype="int32"),
    "CenterCrop": Case({"height": 3, "width": 5}, IMAGE),
    "Concatenate": Case(shape=[(4, 6), (4, 2)], free=(1,)),
    "CustomScaleLayer": Case({"scale": 0.5}, shape=PAIR, free=(1,)),
    "Dense": Case({"units": 3}, free=(1,)),
    "Discretization": Case({"bin_boundaries": [0.5, 1.0]}, free=(1,)),
    "Dot": Case({"axes": 2}, shape=PAIR, free=(1,)),
    "Dropout": Case({"rate": 0.4, "seed": 1}, free=(1,), training=True),
    "ELU": Case(free=(1,)),
    "EinsumDense": Case(
        {"equation": "abc,cd->abd", "output_shape": (None, 3), "bias_axes": "d"}, free=(1,)
    ),
    "Embedding": Case({"input_dim": 5, "output_dim": 3}, (4,), free=(1,), dtype="int32"),
    "Flatten": Case(shape=IMAGE, free=(1,)),
    "GaussianDropout": Case({"rate": 0.4, "seed": 1}, free=(1,), training=True),
    "GaussianNoise": Case({"stddev": 0.4, "seed": 1}, free=(1,), training=True),
    "GRU": Case({"units": 3, "seed": 1}, free=(1,)),
    "GroupNormalization": Case({"groups": 2}, IMAGE, free=(1, 2)),
    "GroupQueryAttention": Case(
        {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2, "use_gate": True},
        shape=[(4, 6), (5, 6)],
        free=(1,),
        separate=True,
    ),
    "HashedCrossing": Case({"num_bins": 5}, [(1,), (1,)], dtype="int32"),
    "Hashing": Case({"num_bins": 5}, free=(1,), dtype="int32"),
    "Identity": Case(free=(1,)),
    "IntegerLookup": Case({"vocabulary": [3, 1]}, free=(1,), dtype="int32"),
    "Lambda": Case({"function": double}, free=(1,)),
    "LSTM": Case({"units": 3, "seed": 1, "dropout": 0.4}, free=(1,), training=True),
    "LayerNormalization": Case(free=(1,)),
    "LayerScale": Case({"init_values": 0.1, "projection_dim": 6}, free=(1,)),
    "LeakyReLU": Case(free=(1,)),
    "Masking": Case(free=(1,)),
    "Maximum": Case(shape=PAIR, free=(1,)),
    "MelSpectrogram": Case({"fft_length": 16, "num_mel_bins": 3}, (40,), free=(1,)),
    "Minimum": Case(shape=PAIR, free=(1,)),
    "MultiHeadAttention": Case(
        {"num_heads": 2, "key_dim": 3, "dropout": 0.4, "seed": 1},
        shape=[(4, 6), (5, 2)],
        free=(1,),
        training=True,
        separate=True,
    ),
    "Multiply": Case(shape=PAIR, free=(1,)),
    "Normalization": Case(free=(1,)),
    "PReLU": Case({"shared_axes": [1]}, free=(1,)),
    "Permute": Case({"dims": (2, 1)}, free=(1,)),
    "RNN": Case({"cell": ("GRUCell", 3), "return_sequences": True}, free=(1,)),
    "RMSNormalization": Case(free=(1,)),
    "RandomBrightness": Case({"factor": 0.2, "seed": 1}, IMAGE, training=True),
    "RandomContrast": Case({"factor": 0.2, "seed": 1}, IMAGE, training=True),
    "RandomCrop": Case({"height": 3, "width": 5, "seed": 1}, IMAGE, training=True),
    "RandomFlip": Case({"seed": 1}, IMAGE, training=True),
    "RandomRotation": Case({"factor": 0.2, "seed": 1}, IMAGE, training=True),
    "RandomTranslation": Case(
        {"height_factor": 0.2, "width_factor": 0.3, "seed": 1}, IMAGE, training=True
    ),
    "RandomZoom": Case({"height_factor": 0.2, "seed": 1}, IMAGE, training=True),
    "ReLU": Case(free=(1,)),
    "RepeatVector": Case({"n": 3}, (6,), free=(1,)),
    "Rescaling": Case({"scale": 0.5, "offset": 1.0}, free=(1,)),
    "Reshape": Case({"target_shape": (-1, 7)}, (14, 2), free=(1,)),
    "Resizing": Case({"height": 3, "width": 5}, IMAGE, free=(1, 2)),
    "STFTSpectrogram": Case({"frame_length": 8}, (20, 2), free=(1,)),
    "ReversibleEmbedding": Case({"input_dim": 5, "output_dim": 3}, (4,), free=(1,), dtype="int32"),
    "SimpleRNN": Case({"units": 3, "seed": 1}, free=(1,)),
    "Softmax": Case(free=(1,)),
    "SpatialDropout1D": Case({"rate": 0.4, "seed": 1}, ROW, free=(1,), training=True),
    "SpatialDropout2D": Case({"rate": 0.4, "seed": 1}, IMAGE, free=(1, 2), training=True),
    "SpatialDropout3D": Case({"rate": 0.4, "seed": 1}, VOLUME, free=(1, 2), training=True),
    "SpectralNormalization": Case({"layer": ("Dense", 3)}, training=True),
    "Subtract": Case(shape=PAIR, free=(1,)),
    "TimeDistributed": Case({"layer": ("Dense", 3)}, (4, 2, 6)),
    "UnitNormalization": Case(free=(1,)),
}

for _ndim, _shape in ((1, ROW), (2, IMAGE), (3, VOLUME)):
    _anything = Case(shape=_shape, free=tuple(range(1, _ndim + 1)))
    for _name in ("Conv{}D", "Conv{}DTranspose", "SeparableConv{}D")[: 3 if _ndim < 3 else 2]:
        CASES[_name.format(_ndim)] = _anything._replace(arguments={"filters": 3, "kernel_size": 3})
    CASES[f"ConvLSTM{_ndim}D"] = Case(
        {"filters": 3, "kernel_size": 3, "seed": 1}, (2, *_shape), free=(1,)
    )
    if _ndim < 3:
        CASES[f"DepthwiseConv{_ndim}D"] = _anything._replace(arguments={"kernel_size": 3})
    for _name in ("MaxPooling{}D", "AveragePooling{}D", "L2Pooling{}D", "GlobalMaxPooling{}D"):
        CASES[_name.format(_ndim)] = _anything
    for _name in ("AdaptiveMaxPooling{}D", "AdaptiveAveragePooling{}D"):
        CASES[_name.format(_ndim)] = _anything._replace(arguments={"output_size": 3})
    for _name in ("GlobalAveragePooling{}D", "UpSampling{}D", "ZeroPadding{}D", "Cropping{}D"):
        CASES[_name.format(_ndim)] = _anything

# Base classes that compute nothing, and where a graph starts.
ABSTRACT = {"InputLayer", "Layer", "Wrapper"}
# They hold functions, modules and layers of the user's: see test_jax_layer.py.
OF_FUNCTIONS = {"FlaxLayer", "JaxLayer", "Pipeline"}
# What gives indices gives integers, whatever the dtype.
OF_INDICES = {"Discretization", "HashedCrossing", "Hashing", "IntegerLookup"}
# Keras computes them with TensorFlow, which no test needs: see test_lookup.py.
IN_TENSORFLOW = {"HashedCrossing", "Hashing", "IntegerLookup"}
# No compiled program takes text: see test_lookup.py.
OF_TEXT = {"StringLookup", "TextVectorization"}
# Cells are called with states as well: see test_recurrent.py.
CELLS = {"GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"}


def own_layers():
    """Cornu's layers by the names that Keras' users know."""
    names = {}
    for name, cls in registry.registered("layer").items():
        if cls.__module__.startswith(("cornu.layers", "cornu.core")):
            names.setdefault(cls, name)
    return {name: cls for cls, name in names.items()}


def test_every_layer_is_in_the_table():
    assert set(own_layers()) - ABSTRACT - CELLS - OF_TEXT - OF_FUNCTIONS == set(CASES)


def test_every_name_that_keras_has_for_a_layer():
    own = {cls.__name__: cls for cls in own_layers().values()}
    for alias, theirs in vars(keras.layers).items():
        if inspect.isclass(theirs) and theirs.__name__ in own:
            # Names of Keras 1 are classes that make one of today.
            assert issubclass(getattr(layers, alias), own[theirs.__name__])
            wanted, names = (
                list(inspect.signature(cls.__init__).parameters)
                for cls in (theirs, own[theirs.__name__])
            )
            assert [name for name in names if name in wanted] == wanted
        elif inspect.isfunction(theirs) and alias.islower():
            assert callable(getattr(layers, alias))
    assert all(hasattr(layers, name) for name in layers.__all__)


def make(kind, **more):
    arguments = dict(CASES[kind].arguments)
    for held in {"layer", "cell"} & set(arguments):
        inner, *values = arguments[held]
        arguments[held] = getattr(layers, inner)(*values, dtype=more.get("dtype"))
    return getattr(layers, kind)(**arguments, **more)


def shapes_of(name):
    shape = CASES[name].shape
    return shape if isinstance(shape, list) else [shape]


def example(name, batch=3):
    random = np.random.RandomState(0)
    case = CASES[name]
    arrays = [
        random.randint(0, 5, (batch, *shape)).astype(case.dtype)
        if case.dtype == "int32"
        else random.uniform(0.1, 2.0, (batch, *shape)).astype(case.dtype)
        for shape in shapes_of(name)
    ]
    return arrays if isinstance(case.shape, list) else arrays[0]


def symbolic(name, free=()):
    inputs = [
        layers.Input(
            tuple(None if i in free else n for i, n in enumerate(shape, start=1)),
            dtype=CASES[name].dtype,
        )
        for shape in shapes_of(name)
    ]
    return inputs if isinstance(CASES[name].shape, list) else inputs[0]


def spread(name, inputs):
    """Inputs as the arguments of a call."""
    return inputs if CASES[name].separate else [inputs]


every_layer = pytest.mark.parametrize("name", sorted(set(CASES) & set(own_layers())))


@every_layer
def test_shape_is_known_before_computing(name):
    output = make(name)(*spread(name, example(name)))
    for free in ((), CASES[name].free):
        inferred = make(name)(*spread(name, symbolic(name, free))).shape
        assert inferred[0] is None
        assert len(inferred) == output.ndim
        assert all(n in (None, m) for n, m in zip(inferred, output.shape, strict=True))
        if not free:
            assert None not in inferred[1:]
    shapes = [(3, *shape) for shape in shapes_of(name)]
    layer = make(name)
    shapes = shapes if isinstance(CASES[name].shape, list) else shapes[0]
    assert layer.compute_output_shape(*spread(name, shapes)) == output.shape
    theirs = getattr(keras.layers, name, keras.layers.Dense).compute_output_shape
    keyword = list(inspect.signature(theirs).parameters)[1]
    if not CASES[name].separate and keyword != "args":
        assert make(name).compute_output_shape(**{keyword: shapes}) == output.shape


@every_layer
def test_symbolic_outputs_of_a_layer_without_weights(name):
    layer = make(name)
    names = inspect.signature(layer.call).parameters
    arguments = dict(zip(names, spread(name, symbolic(name)), strict=False))
    by_name, outputs = layer.compute_output_spec(**arguments), make(name)(**arguments)
    by_place = layer.compute_output_spec(*arguments.values())
    assert by_name.shape == by_place.shape == outputs.shape
    assert by_name.dtype == by_place.dtype == outputs.dtype
    assert not layer.weights or layer.built == make(name).built


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_dtype_is_known_before_computing(name, dtype):
    # Of these the dtype is that of the indices.
    layer = make(name) if name.startswith("Hash") else make(name, dtype=dtype)
    inferred = layer(*spread(name, symbolic(name)))
    output = layer(*spread(name, example(name)))
    assert inferred.dtype == output.dtype
    assert output.dtype == ("int32" if name in OF_INDICES else dtype.removeprefix("mixed_"))
    assert {w.dtype for w in layer.weights} <= {"float32", "int32"}


@every_layer
def test_symbolic_and_eager_builds_agree(name):
    first, second = make(name), make(name)
    first(*spread(name, symbolic(name)))
    second(*spread(name, example(name)))
    assert first.built and second.built
    assert [w.shape for w in first.weights] == [w.shape for w in second.weights]
    assert first.count_params() == second.count_params()


@every_layer
def test_names(name):
    first, second = make(name), make(name)
    for layer in (first, second):
        layer(*spread(name, example(name)))
    assert first.name != second.name
    paths = [v.path for layer in (first, second) for v in layer.variables]
    assert len(paths) == len(set(paths))
    assert all(v.path.startswith(first.name + "/") for v in first.weights)


@every_layer
def test_config_round_trip(name):
    layer = make(name, name="original")
    config = layer.get_config()
    twin = type(layer).from_config(copy.deepcopy(config))
    assert twin.get_config() == config
    described = json.loads(json.dumps(layers.serialize(layer)))
    from_file = layers.deserialize(described)
    assert type(from_file) is type(layer)
    assert json.dumps(from_file.get_config()) == json.dumps(config)
    layer(*spread(name, example(name)))
    rebuilt = layers.deserialize(json.loads(json.dumps(layers.serialize(layer))))
    rebuilt(*spread(name, example(name)))
    assert [w.shape for w in rebuilt.weights] == [w.shape for w in layer.weights]
    assert rebuilt.name == "original"


@every_layer
def test_config_holds_every_argument(name):
    """An argument that no configuration has would be lost in a file."""
    hidden = {"self", "kwargs", "args", "lora_rank", "lora_alpha", "gptq_unpacked_column_size"}
    hidden |= {"flash_attention", "use_cudnn"}
    hidden |= {"seed"} if name == "SimpleRNN" else set()
    hidden |= {"sparse"} if name == "CategoryEncoding" else set()
    hidden |= {"weights"} if name in ("Embedding", "Bidirectional") else set()
    hidden |= {"noise_shape"} if name.startswith("Spatial") else set()
    hidden |= {"output_shape", "mask"} if name == "Lambda" else set()
    cls = getattr(layers, name)
    arguments = set(inspect.signature(cls.__init__).parameters) - hidden
    optional = {"activity_regularizer"} if name not in ("EinsumDense", "Embedding") else set()
    assert arguments - optional <= set(make(name).get_config())


@every_layer
@pytest.mark.parametrize(
    "clone",
    [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))],
    ids=["copy", "pickle"],
)
def test_copies(name, clone):
    layer, x = make(name), spread(name, example(name))
    layer(*x)
    twin = clone(layer)
    for mine, theirs in zip(layer.variables, twin.variables, strict=True):
        assert mine is not theirs
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    for training in {False, CASES[name].training}:
        np.testing.assert_array_equal(layer(*x, training=training), twin(*x, training=training))


@every_layer
def test_stateless_call_compiled_equals_call(name):
    layer, x = make(name), spread(name, example(name))
    layer(*x)

    def pure(trainable, others, inputs, training):
        return layer.stateless_call(trainable, others, *inputs, training=training)

    compiled = jax.jit(pure, static_argnums=3)
    for training in sorted({False, CASES[name].training}):
        trainable = [v.value for v in layer.trainable_variables]
        others = [v.value for v in layer.non_trainable_variables]
        outputs, new = compiled(trainable, others, x, training)
        np.testing.assert_allclose(outputs, layer(*x, training=training), rtol=1e-5, atol=1e-6)
        for value, variable in zip(new, layer.non_trainable_variables, strict=True):
            np.testing.assert_allclose(value, variable.numpy(), rtol=1e-5, atol=1e-7)


@every_layer
def test_training_is_accepted(name):
    layer, x = make(name), spread(name, example(name))
    inference, again = layer(*x, training=False), layer(*x, training=False)
    np.testing.assert_array_equal(inference, again)
    trained = layer(*x, training=True)
    assert trained.shape == inference.shape and trained.dtype == inference.dtype
    assert np.array_equal(trained, inference) != CASES[name].training


@every_layer
def test_weights_round_trip(name):
    layer, x = make(name), spread(name, example(name))
    layer(*x)
    weights = [np.random.RandomState(i).permutation(w) if w.ndim else w for i, w in
               enumerate(layer.get_weights())]  # fmt: skip
    layer.set_weights(weights)
    for given, kept in zip(weights, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(given, kept)
    twin = make(name)
    twin(*x)
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(*x), layer(*x))
    with pytest.raises(ValueError, match=r"set_weights\(weights\)"):
        layer.set_weights([*weights, np.zeros(3)])


@every_layer
def test_built_from_the_start_without_weights(name):
    layer = make(name)
    if type(layer).build is layers.Layer.build:
        assert layer.built and not layer.weights
    else:
        assert not layer.built


@every_layer
def test_empty_batch(name):
    """The last batch of a filtered dataset may be empty."""
    output = make(name)(*spread(name, example(name, batch=0)))
    assert output.shape == (0, *make(name)(*spread(name, example(name))).shape[1:])


@every_layer
def test_unknown_argument(name):
    with pytest.raises((ValueError, TypeError), match="no_such_argument"):
        make(name, no_such_argument=1)


@pytest.mark.parametrize("name", [n for n in CASES if n not in OF_TEXT | OF_INDICES])
def test_no_promotion_is_left_to_jax(name):
    """A process in which arrays of several ranks or dtypes are errors can use the layer."""
    if CASES[name].dtype != "float32":
        pytest.skip("takes indices")
    layer = make(name)
    inputs = spread(name, example(name))
    layer(*inputs)
    call = functional(functools.partial(layer, training=True), layer.variables)

    def total(values, inputs):
        outputs, after = call(values, *inputs)
        return sum(jnp.sum(o.astype("float32")) for o in jax.tree.leaves(outputs)), after

    values = [v.value for v in layer.variables]
    inputs = jax.tree.map(jnp.asarray, inputs)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(jax.grad(total, (0, 1), has_aux=True, allow_int=True), values, inputs)
