"""Attention, beside Keras' layers."""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from oracle import compare_with_keras

import cornu
from cornu import explain, layers
from cornu.core.masking import get_mask

random = np.random.RandomState(0)
QUERY = random.randn(2, 4, 6).astype("float32")
VALUE = random.randn(2, 5, 6).astype("float32")
KEY = random.randn(2, 5, 6).astype("float32")
QUERY_MASK = np.array([[1, 1, 0, 1], [1, 1, 1, 0]], bool)
VALUE_MASK = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]], bool)
SEEN = random.rand(2, 4, 5) > 0.3

# A power of two, which a configuration of Keras' holds as it is.
L1 = {"class_name": "L1", "config": {"l1": 0.25}}

HEADS = {
    "MultiHeadAttention": {"num_heads": 2, "key_dim": 3},
    "GroupQueryAttention": {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
}
several_heads = pytest.mark.parametrize("name", HEADS)
one_head = pytest.mark.parametrize("name", ["Attention", "AdditiveAttention"])


def pair(kind, *inputs, **arguments):
    """A layer here and in Keras, with the same weights, built for inputs."""
    arguments = {**HEADS.get(kind, {}), **arguments}
    ours, theirs = (getattr(k.layers, kind)(**arguments) for k in (cornu, keras))
    if inputs:
        shapes = [[x.shape for x in i] if isinstance(i, list) else i.shape for i in inputs]
        ours.build(*shapes), theirs.build(*shapes)
        numbers = np.random.RandomState(3)
        weights = [numbers.uniform(-1, 1, w.shape).astype("float32") for w in theirs.weights]
        ours.set_weights(weights), theirs.set_weights(weights)
        ends = [[w.path.split("/", 1)[1] for w in layer.weights] for layer in (ours, theirs)]
        assert ends[0] == ends[1]
    return ours, theirs


def assert_same(ours, theirs, **tolerance):
    mine, other = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    for a, b in zip(mine, other, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        a, b = np.asarray(a, "float32"), np.asarray(b, "float32")
        np.testing.assert_allclose(a, b, **{"rtol": 1e-5, "atol": 1e-6, **tolerance})


# ---- one head


@one_head
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("inputs", [[QUERY, VALUE], [QUERY, VALUE, KEY]], ids=["two", "three"])
def test_one_head(name, dtype, inputs):
    rough = {"rtol": 2e-2, "atol": 2e-2} if dtype != "float32" else {"rtol": 1e-5}
    compare_with_keras(name, {"dtype": dtype}, inputs, **rough)


@pytest.mark.parametrize("score_mode", ["dot", "concat"])
def test_scale(score_mode):
    arguments = {"use_scale": True, "score_mode": score_mode}
    compare_with_keras("Attention", arguments, [QUERY, VALUE], rtol=1e-5)
    compare_with_keras("AdditiveAttention", {"use_scale": False}, [QUERY, VALUE], rtol=1e-5)


@one_head
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("causal", [False, True])
def test_one_head_masks(name, dtype, causal):
    inputs = [QUERY.astype(dtype), VALUE.astype(dtype)]
    ours, theirs = pair(name, inputs, dtype=dtype)
    rough = {"rtol": 5e-3, "atol": 5e-3} if dtype == "float16" else {}
    for mask in (None, [QUERY_MASK, VALUE_MASK], [None, VALUE_MASK], [QUERY_MASK, None]):
        more = {"mask": mask, "use_causal_mask": causal, "return_attention_scores": True}
        assert_same(ours(inputs, **more), theirs(inputs, **more), **rough)


@one_head
def test_masks_by_position(name):
    """They count instead of those on the inputs, and reach the output."""
    layer = getattr(layers, name)()
    query = layers.Masking()(QUERY)
    masks = [QUERY_MASK, VALUE_MASK]
    output = layer([query, VALUE], masks)
    assert_same(output, layer([QUERY, VALUE], mask=masks))
    np.testing.assert_array_equal(get_mask(output), QUERY_MASK)
    with pytest.raises(TypeError, match="multiple values for argument 'mask'"):
        layer([QUERY, VALUE], masks, mask=masks)


@one_head
def test_one_head_takes_a_list(name):
    layer = getattr(layers, name)()
    for bad in (QUERY, (QUERY, VALUE)):
        with pytest.raises(ValueError, match="must be called on a list"):
            layer(bad)
    for bad in ([QUERY], [QUERY] * 4):
        with pytest.raises(ValueError, match="accepts inputs of length 2 or 3"):
            layer(bad)
    with pytest.raises(ValueError, match=r"mask of .* must be a list"):
        layer([QUERY, VALUE], mask=VALUE_MASK)
    with pytest.raises(ValueError, match="accepts mask of length 2 or 3"):
        layer([QUERY, VALUE], mask=[VALUE_MASK])


def test_bad_score_mode():
    with pytest.raises(ValueError, match="Invalid value for argument score_mode"):
        layers.Attention(score_mode="sum")


def test_additive_needs_the_length_of_a_query():
    layer = layers.AdditiveAttention()
    with pytest.raises(ValueError, match="must be known"):
        layer([layers.Input((4, None)), layers.Input((5, None))])


# ---- several heads


@several_heads
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"use_gate": True, "use_bias": False},
        {"sliding_window": 2, "kernel_regularizer": L1, "activity_regularizer": L1},
        {"dropout": 0.3, "seed": 7, "kernel_initializer": "ones", "bias_constraint": "non_neg"},
    ],
    ids=["default", "gate", "window", "dropout"],
)
def test_several_heads(name, arguments):
    ours, theirs = pair(name, QUERY, VALUE, name="same", **arguments)
    built = {"attention_axes"}
    mine, other = ours.get_config(), theirs.get_config()
    assert {k: v for k, v in mine.items() if k not in built} == {
        k: v for k, v in other.items() if k not in built
    }
    assert type(ours).from_config(other).get_config().keys() == other.keys()
    for inputs in ((QUERY, VALUE), (QUERY, VALUE, KEY)):
        for training in (False, True):
            assert_same(ours(*inputs, training=training), theirs(*inputs, training=training))
            losses = [np.sum([float(v) for v in layer.losses]) for layer in (ours, theirs)]
            np.testing.assert_allclose(*losses, rtol=1e-5)
    assert ours.compute_output_shape(QUERY.shape, VALUE.shape) == QUERY.shape


@several_heads
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_bfloat16"])
def test_formats(name, dtype):
    ours, theirs = pair(name, QUERY, VALUE, dtype=dtype)
    for more in ({}, {"return_attention_scores": True, "use_causal_mask": True}):
        assert_same(ours(QUERY, VALUE, **more), theirs(QUERY, VALUE, **more), rtol=3e-2, atol=3e-2)


@several_heads
@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize(
    "masks",
    [
        {"use_causal_mask": True},
        {"value_mask": VALUE_MASK},
        {"key_mask": VALUE_MASK, "key": KEY},
        {"attention_mask": SEEN},
        {"attention_mask": SEEN.astype("int32"), "value_mask": VALUE_MASK, "use_causal_mask": True},
        {"attention_mask": SEEN.astype("float32")},
        {"attention_mask": SEEN[:1]},
    ],
    ids=["causal", "value", "key", "attention", "all", "float", "broadcast"],
)
def test_masks(name, masks, scores):
    ours, theirs = pair(name, QUERY, VALUE)
    more = {**masks, "return_attention_scores": scores}
    assert_same(ours(QUERY, VALUE, **more), theirs(QUERY, VALUE, **more))


@several_heads
def test_a_mask_for_each_head_joins_the_others(name):
    layer, _ = pair(name, QUERY, VALUE)
    heads = 2 if name == "MultiHeadAttention" else 4
    each = np.repeat(SEEN[:, None], heads, axis=1)
    together = layer(QUERY, VALUE, attention_mask=SEEN, value_mask=VALUE_MASK)
    assert_same(layer(QUERY, VALUE, attention_mask=each, value_mask=VALUE_MASK), together)


@several_heads
def test_arguments_by_position(name):
    layer, _ = pair(name, QUERY, VALUE)
    given = layer(QUERY, VALUE, KEY, None, VALUE_MASK, None, SEEN, True)
    named = layer(
        QUERY, VALUE, KEY, value_mask=VALUE_MASK, attention_mask=SEEN, return_attention_scores=True
    )
    assert_same(given, named)


@several_heads
def test_query_mask(name):
    """A mask that is given counts as one that the query has; Keras' multi-head layer leaves it out."""
    layer, _ = pair(name, QUERY, VALUE)
    query = jnp.asarray(QUERY)
    query._keras_mask = jnp.asarray(QUERY_MASK)
    theirs = layer(query, VALUE)
    assert get_mask(query) is query._keras_mask
    given = layer(QUERY, VALUE, query_mask=QUERY_MASK)
    assert_same(given, theirs)
    for output in (given, theirs):
        np.testing.assert_array_equal(get_mask(output), QUERY_MASK)


# Keras takes the mask off the input of its multi-head layer; in the other, projections warn of it.
masks_in_keras = pytest.mark.filterwarnings("ignore:.*does not support masking")


@masks_in_keras
@several_heads
def test_masks_of_an_embedding(name):
    ids = np.array([[3, 1, 0, 0], [2, 0, 0, 0]])
    found = []
    for k in (cornu, keras):
        inputs = k.Input((4,), dtype="int32")
        embedding = k.layers.Embedding(5, 6, mask_zero=True)
        x, y = embedding(inputs), embedding(inputs)
        attention = getattr(k.layers, name)(**HEADS[name])
        output, weights = attention(x, x, return_attention_scores=True)
        pooled = k.layers.GlobalAveragePooling1D()(attention(y, y, use_causal_mask=True))
        model = k.Model(inputs, [output, weights, pooled])
        numbers = np.random.RandomState(2)
        model.set_weights([numbers.uniform(-1, 1, w.shape) for w in model.weights])
        found.append(model.predict(ids, verbose=0))
    assert_same(*found)
    assert not found[0][1][0, :, :, 2:].any()


@pytest.mark.parametrize(
    "arguments, shape",
    [
        ({"value_dim": 5, "output_shape": 7}, (2, 4, 6)),
        ({"output_shape": (3, 2)}, (2, 4, 6)),
        ({"attention_axes": 1}, (2, 3, 4, 6)),
        ({"attention_axes": (2,)}, (2, 3, 4, 6)),
        ({"attention_axes": (-2,), "dropout": 0.2, "seed": 3}, (2, 3, 4, 6)),
        ({}, (2, 3, 4, 6)),
    ],
)
def test_axes(arguments, shape):
    x = np.random.RandomState(1).randn(*shape).astype("float32")
    ours, theirs = pair("MultiHeadAttention", x, x, **arguments)
    for more in ({}, {"return_attention_scores": True}, {"training": True}):
        if "value_dim" in arguments and "return_attention_scores" not in more:
            # Keras fails here: JAX wants values as long as keys.
            assert_same(ours(x, x), ours(x, x, return_attention_scores=True)[0])
        else:
            assert_same(ours(x, x, **more), theirs(x, x, **more))
    assert ours(layers.Input(shape[1:]), layers.Input(shape[1:])).shape[1:] == ours(x, x).shape[1:]
    config = ours.get_config()
    assert type(ours).from_config(config).get_config() == config


@pytest.mark.parametrize(
    "query, value, axes, masks",
    [
        ((2, 3, 4), (2, 3, 2), (2,), [(2, 4, 2), (2, 3, 4, 2), (2, 3, 2, 4, 2)]),
        ((2, 3, 4), (2, 3, 2), (1, 2), [(2, 3, 4, 3, 2), (2, 2, 3, 4, 3, 2)]),
        ((2, 5, 3, 4), (2, 5, 3, 2), (2, 3), [(2, 3, 4, 3, 2), (2, 5, 3, 4, 3, 2)]),
    ],
    ids=["one axis", "both axes", "two of three"],
)
def test_masks_of_several_axes(query, value, axes, masks):
    numbers = np.random.RandomState(6)
    x, y = (numbers.randn(*shape, 6).astype("float32") for shape in (query, value))
    ours, theirs = pair("MultiHeadAttention", x, y, attention_axes=axes)
    for shape in masks:
        more = {"attention_mask": numbers.rand(*shape) > 0.3, "return_attention_scores": True}
        assert_same(ours(x, y, **more), theirs(x, y, **more))


@several_heads
def test_symbolic(name):
    x, y = layers.Input((None, 6)), layers.Input((5, 6))
    layer = getattr(layers, name)(**HEADS[name])
    mask = layers.Input((None, 5), dtype="bool")
    output, weights = layer(x, y, attention_mask=mask, return_attention_scores=True)
    assert output.shape == (None, None, 6)
    assert weights.shape[1:] == (2 if name == "MultiHeadAttention" else 4, None, 5)
    model = cornu.Model([x, y, mask], output)
    assert_same(
        model.predict([QUERY, VALUE, SEEN], verbose=0), layer(QUERY, VALUE, attention_mask=SEEN)
    )


def transformer(k):
    """Tokens, attention of both kinds, and a class; every weight is drawn from the program's seed."""
    k.utils.set_random_seed(5)
    L = k.layers
    tokens = k.Input((6,), dtype="int32")
    embedding = L.Embedding(8, 8, mask_zero=True)
    x = embedding(tokens)
    x = L.Add()([embedding(tokens), L.MultiHeadAttention(2, 4, dropout=0.1)(x, x)])
    x = L.LayerNormalization()(x)
    x = L.Add()([x, L.GroupQueryAttention(4, 4, 2, use_gate=True)(x, x, use_causal_mask=True)])
    x = L.Attention(use_scale=True, dropout=0.1)([x, x])
    x = L.AdditiveAttention()([x, x])
    return k.Model(tokens, L.Dense(3, activation="softmax")(L.GlobalAveragePooling1D()(x)))


@masks_in_keras
def test_fit_has_the_history_of_keras():
    numbers = np.random.RandomState(0)
    x, y = numbers.randint(1, 8, (16, 6)), numbers.randint(0, 3, 16)
    x[:, 4:] *= numbers.randint(0, 2, (16, 1))
    losses = []
    for k in (cornu, keras):
        model = transformer(k)
        model.compile(k.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
        losses.append(model.fit(x, y, batch_size=8, epochs=3, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-4)


@masks_in_keras
@pytest.mark.parametrize("writer, reader", [(cornu, keras), (keras, cornu)], ids=["to", "from"])
def test_files(writer, reader, tmp_path):
    tokens = np.array([[1, 2, 3, 4, 0, 0], [5, 6, 7, 1, 2, 0]])
    model = transformer(writer)
    expected = model.predict(tokens, verbose=0)
    for file in ("model.keras", "model.weights.h5"):
        path = tmp_path / file
        if file == "model.keras":
            model.save(path)
            again = reader.saving.load_model(path)
        else:
            model.save_weights(path)
            again = transformer(reader)
            again.set_weights([w * 0 for w in again.get_weights()])
            again.load_weights(path)
        np.testing.assert_allclose(again.predict(tokens, verbose=0), expected, atol=1e-5)


@several_heads
def test_own_attention(name):
    """`_compute_attention` may be overridden, as Keras says; it gets all masks as one."""

    class First(getattr(layers, name)):
        def _compute_attention(self, query, key, value, attention_mask=None, training=None):
            assert attention_mask.shape == (1, 4, 4)
            return value[:, :1] + 0 * query, None

    assert First(**HEADS[name])(QUERY, QUERY, use_causal_mask=True).shape == QUERY.shape


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("MultiHeadAttention", {"num_heads": 0}, "`num_heads`"),
        ("MultiHeadAttention", {"key_dim": 2.5}, "`key_dim`"),
        ("MultiHeadAttention", {"value_dim": -1}, "`value_dim`"),
        ("MultiHeadAttention", {"sliding_window": 0}, "`sliding_window`"),
        ("MultiHeadAttention", {"output_shape": "wide"}, "`output_shape`"),
        ("MultiHeadAttention", {"attention_axes": "time"}, "`attention_axes`"),
        ("MultiHeadAttention", {"flash_attention": True, "dropout": 0.1}, "Dropout is not"),
        ("GroupQueryAttention", {"num_query_heads": 3}, "must be divisible"),
        ("GroupQueryAttention", {"head_dim": 0}, "`head_dim`"),
        ("GroupQueryAttention", {"num_key_value_heads": 0}, "`num_key_value_heads`"),
    ],
)
def test_bad_arguments(name, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        getattr(layers, name)(**{**HEADS[name], **arguments})


@several_heads
def test_bad_shapes(name):
    layer = getattr(layers, name)(**HEADS[name])
    with pytest.raises(ValueError, match="must be equal"):
        layer(QUERY, VALUE, KEY[:, :3])
    with pytest.raises(ValueError, match="must be equal"):
        layer.compute_output_shape((2, 4, 6), (2, 5, 6), (2, 3, 6))
    if name == "GroupQueryAttention":
        with pytest.raises(ValueError, match="last dimension"):
            layer.compute_output_shape((2, 4, 6), (2, 5, 3))
        with pytest.raises(ValueError, match="positions, features"):
            layer(QUERY[None], VALUE[None])


@several_heads
def test_flash_attention(name):
    """On a CPU there is none: it is left out where it may be, refused where it is demanded."""
    assert cornu.config.is_flash_attention_enabled() is None
    cornu.config.disable_flash_attention()
    try:
        assert cornu.config.is_flash_attention_enabled() is False
    finally:
        cornu.config.enable_flash_attention()
    assert_same(
        *(pair(name, QUERY, VALUE, flash_attention=f)[0](QUERY, VALUE) for f in (False, None))
    )
    layer = getattr(layers, name)(**HEADS[name], flash_attention=True)
    if jax.default_backend() == "gpu":
        return
    with pytest.raises(RuntimeError, match="needs a GPU"):
        layer(QUERY, VALUE)
    with pytest.raises(ValueError, match="attention scores"):
        layer(QUERY, VALUE, return_attention_scores=True)


@pytest.mark.parametrize("name", ["Attention", *HEADS])
def test_explained(name):
    """Attention is no sum of weighted inputs, and sees everything; what its projections do is shown."""
    inputs = layers.Input((4, 6))
    layer = getattr(layers, name)(**HEADS.get(name, {}), name="attention")
    output = layer(inputs, inputs) if name in HEADS else layer([inputs, inputs])
    model = cornu.Model(inputs, output)
    with pytest.raises(NotImplementedError, match="'attention'"):
        explain.window(model, QUERY[:1], "attention", position=1, channel=0)
    assert "everything" in str(explain.receptive_field(model))
    if name in HEADS:
        query = explain.window(model, QUERY[:1], "query", position=(1, 0), channel=0)
        np.testing.assert_allclose(query.result, query.expected, rtol=1e-5)


def test_operation():
    """`ops.dot_product_attention`, with fewer heads of keys than of queries, and what it refuses."""
    heads = [
        np.random.RandomState(i).randn(2, 5, n, 4).astype("float32")
        for i, n in enumerate((4, 2, 2))
    ]
    bias = np.random.RandomState(4).randn(2, 4, 5, 5).astype("float32")
    for more in ({}, {"is_causal": True, "scale": 0.3}, {"bias": bias}, {"mask": bias > -1}):
        own, other = (k.ops.dot_product_attention(*heads, **more) for k in (cornu, keras))
        assert_same(own, other)
    symbolic = cornu.ops.dot_product_attention(*[layers.Input(x.shape[1:]) for x in heads])
    assert symbolic.shape == (None, 5, 4, 4)
    with pytest.raises(ValueError, match="only supports 4D"):
        cornu.ops.dot_product_attention(QUERY, VALUE, VALUE)
    with pytest.raises(ValueError, match="attn_logits_soft_cap"):
        cornu.ops.dot_product_attention(*heads, attn_logits_soft_cap=2.0)
    with (
        pytest.raises(RuntimeError, match="needs a GPU")
        if jax.default_backend() != "gpu"
        else nullcontext()
    ):
        cornu.ops.dot_product_attention(*heads, flash_attention=True)
