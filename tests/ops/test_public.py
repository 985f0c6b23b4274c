"""The functions of `cornu.ops` give what those of `keras.ops` give, and become part of graphs."""

import keras
import numpy as np
import pytest

import cornu
from cornu import ops

random = np.random.RandomState(0)
A = random.randn(3, 4).astype("float32")
B = random.rand(3, 4).astype("float32") + 0.1
SQUARE = random.randn(4, 4).astype("float32")
POSITIVE = SQUARE @ SQUARE.T + np.eye(4, dtype="float32")
LINE = random.randn(6).astype("float32")
INTEGERS = random.randint(0, 5, (3, 4))
IMAGES = random.rand(2, 6, 8, 3).astype("float32")
KERNEL = random.randn(3, 3, 3, 4).astype("float32")
PROBABILITIES = (B / B.sum(-1, keepdims=True)).astype("float32")
BOOLEANS = A > 0
BYTES = INTEGERS.astype("uint8")
EIGHT_BITS = (30 * INTEGERS).astype("int8")
LOGITS = np.random.default_rng(0).standard_normal((2, 5, 4)).astype("float32")
CUBE = np.random.default_rng(2).random((2, 3, 5)).astype("float32")
HALF = (100 * A).astype("float16")
SMALL = 1e-3 * A
COLUMNS = np.random.default_rng(1).random((2, 8, 9)).astype("float32")

CALLS = {
    "one array": (
        "abs absolute angle arcsinh arctan cbrt ceil conj conjugate copy cos cosh deg2rad exp exp2 "
        "expm1 fabs fliplr flipud floor imag isfinite isinf isnan isneginf isposinf isreal "
        "logical_not negative rad2deg ravel real reciprocal sign signbit sin sinc sinh square tan "
        "tanh trunc corrcoef erf erfc sort argsort transpose trace nan_to_num diff average flip "
        "zeros_like ones_like all any amax amin argmax argmin logsumexp max mean median min ptp "
        "prod std sum var cumsum cumprod count_nonzero squeeze norm diagonal tril triu round "
        "nanargmax nanargmin nanmax nanmean nanmedian nanmin nanprod nanstd nansum nanvar "
        "relu relu6 sigmoid silu softmax softplus softsign selu elu celu gelu leaky_relu "
        "log_sigmoid log_softmax swish hard_swish hard_sigmoid hard_silu hard_tanh hard_shrink soft_shrink "
        "tanh_shrink sparse_plus sparse_sigmoid squareplus glu normalize "
        "rms_normalization layer_normalization stop_gradient nonzero i0 diagflat nancumsum",
        [(A,)],
    ),
    "one positive array": (
        "log log10 log1p log2 sqrt rsqrt arccos arcsin arctanh erfinv",
        [(B * 0.9,)],
    ),
    "two arrays": (
        "add subtract multiply divide true_divide maximum minimum fmax fmin arctan2 equal "
        "not_equal greater greater_equal less less_equal logaddexp logaddexp2 logical_and "
        "logical_or logical_xor hypot heaviside power mod fmod floor_divide divide_no_nan isclose "
        "allclose nextafter outer inner append vdot",
        [(B, B[::-1])],
    ),
    "two rows": ("dot matmul kron cross tensordot", [(SQUARE[:3, :3], POSITIVE[:3, :3])]),
    "integers": (
        "bitwise_and bitwise_or bitwise_xor left_shift right_shift gcd lcm bitwise_left_shift "
        "bitwise_right_shift",
        [(INTEGERS, INTEGERS[::-1])],
    ),
    "one of integers": ("bitwise_not bitwise_invert", [(INTEGERS,)]),
    "square matrices": (
        "det inv cholesky eigh qr logdet slogdet pinv matrix_rank svd",
        [(POSITIVE,)],
    ),
    "solutions": ("solve lstsq", [(POSITIVE, SQUARE)]),
    "axes": (
        "sum mean max min prod std var any all amax amin logsumexp median argmax argmin nansum",
        [(A, 0), (A, 1, True)],
    ),
    "lists": ("concatenate hstack vstack dstack stack", [([A, B],)]),
    "sequence": ("bincount", [(INTEGERS.ravel(),)]),
    "quantiles": ("quantile nanquantile", [(A, 0.3), (A, [0.1, 0.5], 0)]),
    "percentiles": ("percentile nanpercentile", [(A, 30), (A, [10, 50], 0)]),
    "places": ("take", [(A, INTEGERS[:, :2] % 3, 0), (A, [0, 2])]),
}
ONE_BY_ONE = [
    *((name, (7,), {}) for name in ("bartlett", "blackman", "hamming", "hanning")),
    ("kaiser", (7, 3.5), {}),
    ("cdist", (A, B), {}),
    ("cdist", (BYTES, BYTES[::-1]), {}),
    ("cdist", (BYTES, A), {}),
    ("cholesky_inverse", (np.linalg.cholesky(POSITIVE),), {}),
    ("cholesky_inverse", (np.linalg.cholesky(POSITIVE).T.copy(),), {"upper": True}),
    ("lu_factor", (SQUARE,), {}),
    ("numpy.slogdet", (SQUARE,), {}),
    ("numpy.ndim", (A,), {}),
    ("numpy.size", (A,), {}),
    ("unique", (INTEGERS % 3,), {"return_counts": True, "return_inverse": True}),
    ("unique", (INTEGERS % 3,), {"size": 5, "fill_value": -1}),
    ("view", (A,), {"dtype": "int32"}),
    ("view_as_complex", (A[:, :2],), {}),
    ("view_as_complex", (BYTES[:, :2],), {}),
    ("view_as_real", (A[:, :2] + 1j,), {}),
    ("rearrange", (IMAGES, "b (h h2) w c -> b h w (h2 c)"), {"h2": 2}),
    ("rearrange", (IMAGES, "b h w c -> (b w) c h"), {}),
    ("unfold", (IMAGES, 2), {}),
    ("unfold", (IMAGES, (2, 1)), {"dilation": 2, "padding": (1, 0), "stride": (1, 2)}),
    ("fold", (COLUMNS, 4, 2), {}),
    ("fold", ((9 * COLUMNS).astype("int32"), 4, 2), {}),
    ("fold", (COLUMNS, (5, 7), 2), {"dilation": 2, "padding": (1, 0), "stride": (2, 2)}),
    ("ctc_decode", (LOGITS, np.array([5, 3])), {}),
    ("ctc_decode", (LOGITS, np.array([5, 3])), {"merge_repeated": False, "mask_index": None}),
    ("ctc_decode", ((9 * abs(LOGITS)).astype("uint8"), np.array([5, 3])), {}),
    ("ctc_loss", (np.array([[1, 2], [3, 1]]), LOGITS, np.array([0, 2]), np.array([0, 4])), {}),
    (
        "ctc_loss",
        (np.array([[1, 2, 2], [3, 1, 0]]), LOGITS, np.array([3, 2]), np.array([5, 4])),
        {},
    ),
    ("reshape", (A, (2, -1)), {}),
    ("expand_dims", (A, 1), {}),
    ("swapaxes", (IMAGES, 1, 3), {}),
    ("moveaxis", (IMAGES, 1, -1), {}),
    ("transpose", (IMAGES,), {"axes": (0, 3, 1, 2)}),
    ("broadcast_to", (A, (2, 3, 4)), {}),
    ("repeat", (A, 2), {"axis": 1}),
    ("tile", (A, (2, 3)), {}),
    ("roll", (A, 2), {"axis": 1}),
    ("rot90", (A,), {"k": 3}),
    ("take_along_axis", (A, INTEGERS % 4), {"axis": 1}),
    ("split", (A, 2), {"axis": 1}),
    ("array_split", (A, 3), {"axis": 1}),
    ("hsplit", (A, 2), {}),
    ("clip", (A, -0.3, 0.4), {}),
    ("round", (A,), {"decimals": 2}),
    ("diag", (SQUARE,), {"k": 1}),
    ("digitize", (A, np.array([-1.0, 0.0, 1.0])), {}),
    ("searchsorted", (np.sort(LINE), LINE), {"side": "right"}),
    ("trapezoid", (LINE,), {"dx": 2.0}),
    ("vander", (LINE,), {"N": 3}),
    ("histogram", (LINE,), {"bins": 4}),
    ("where", (BOOLEANS, A, B), {}),
    ("where", (BOOLEANS,), {}),
    ("select", ([BOOLEANS, ~BOOLEANS], [A, B]), {}),
    ("pad", (A, ((1, 2), (0, 1))), {"constant_values": 3.0}),
    ("pad", (A, ((1, 2), (0, 1))), {"mode": "reflect"}),
    ("einsum", ("ij,kj->ik", A, B), {}),
    ("meshgrid", (LINE, LINE), {"indexing": "ij"}),
    ("zeros", ((2, 3),), {}),
    ("ones", ((2, 3),), {"dtype": "int32"}),
    ("full", ((2, 3), 4.5), {}),
    ("full_like", (A, 4.5), {}),
    ("arange", (2, 9, 3), {}),
    ("linspace", (0, 1), {"num": 5}),
    ("logspace", (0, 1), {"num": 5}),
    ("geomspace", (1, 8), {"num": 4}),
    ("eye", (3,), {"k": 1}),
    ("tri", (3, 4), {}),
    ("identity", (3,), {}),
    ("unravel_index", (np.array([3, 7]), (3, 4)), {}),
    ("isin", (INTEGERS, np.array([1, 2])), {}),
    ("argpartition", (LINE, 2), {}),
    ("correlate", (LINE, LINE[:3]), {"mode": "same"}),
    ("cast", (A, "int32"), {}),
    ("saturate_cast", (A * 300, "uint8"), {}),
    ("slice", (A, (1, 0), (2, -1)), {}),
    ("slice_update", (A, (1, 1), B[:2, :2]), {}),
    ("scatter", (np.array([[1], [3]]), B[:2], (5, 4)), {}),
    ("scatter_update", (A, np.array([[0, 1], [2, 2]]), np.array([1.0, 2.0], "float32")), {}),
    ("unstack", (A,), {"axis": 1}),
    ("shape", (A,), {}),
    ("size", (A,), {}),
    ("ndim", (A,), {}),
    ("dtype", (A,), {}),
    ("convert_to_tensor", ([1.0, 2.0],), {}),
    ("convert_to_numpy", (A,), {}),
    ("solve_triangular", (np.tril(POSITIVE), SQUARE), {"lower": True}),
    ("get_item", (A, (slice(None), 1)), {}),
    ("one_hot", (INTEGERS, 5), {}),
    ("one_hot", (INTEGERS, 5), {"axis": 0, "dtype": "int32"}),
    ("multi_hot", (INTEGERS, 5), {}),
    ("multi_hot", (INTEGERS, 5), {"axis": 0}),
    ("multi_hot", (INTEGERS[0], 5), {}),
    ("top_k", (A, 2), {}),
    ("in_top_k", (np.array([1, 2, 0]), A, 2), {}),
    ("in_top_k", (np.array([1, 9, 0]), np.where(A[0, 1] == A, np.nan, A), 2), {}),
    ("matmul", (EIGHT_BITS, EIGHT_BITS.T), {}),
    ("einsum", ("ij,kj->ik", EIGHT_BITS, EIGHT_BITS), {}),
    ("average", (A, 1, [1, 2, 3, 4]), {}),
    ("digitize", (A, [-1.0, 0.0, 1.0]), {}),
    ("median", (IMAGES, [0, -1]), {}),
    ("moments", (A, [0]), {"keepdims": True}),
    ("batch_normalization", (IMAGES, LINE[:3], B[0, :3], -1), {"offset": A[0, :3]}),
    ("layer_normalization", (A,), {"gamma": A[0], "beta": B[0]}),
    ("layer_normalization", (IMAGES,), {"gamma": LINE[:3], "beta": B[0, :3], "axis": -1}),
    ("layer_normalization", (CUBE,), {"gamma": LINE[:3], "beta": B[0, :3], "axis": 1}),
    ("layer_normalization", (CUBE,), {"gamma": CUBE[0], "beta": CUBE[1], "axis": [-1, 1]}),
    ("layer_normalization", (HALF,), {"gamma": A[0], "beta": B[0]}),
    ("layer_normalization", (SMALL,), {}),
    ("rms_normalization", (A,), {"scale": B[0]}),
    ("rms_normalization", (HALF,), {"scale": B[0]}),
    ("rms_normalization", (SMALL,), {}),
    ("moments", (9 * HALF, [0]), {}),
    ("threshold", (A, 0.2, 7.0), {}),
    ("conv", (IMAGES, KERNEL), {"strides": 2, "padding": "same"}),
    ("conv", (IMAGES, KERNEL[:, :, :1, :3]), {}),
    ("depthwise_conv", (IMAGES, KERNEL[..., :2]), {}),
    ("separable_conv", (IMAGES, KERNEL[..., :2], random.randn(1, 1, 6, 5).astype("float32")), {}),
    ("conv_transpose", (IMAGES, KERNEL.swapaxes(2, 3)), {"strides": 2}),
    ("max_pool", (IMAGES, 2), {"strides": 2}),
    ("average_pool", (IMAGES, 3), {"strides": 2, "padding": "same"}),
    ("space_to_depth", (IMAGES, 2), {}),
    ("depth_to_space", (np.tile(IMAGES, 4), 2), {}),
    ("psnr", (A, B, 2.0), {}),
    ("segment_sum", (A, np.array([0, 0, 1])), {"num_segments": 3}),
    ("segment_max", (A, np.array([0, 0, 1])), {"num_segments": 2}),
    ("categorical_crossentropy", (np.eye(4, dtype="float32")[:3], PROBABILITIES), {}),
    ("categorical_crossentropy", (np.eye(4, dtype="float32")[:3], A), {"from_logits": True}),
    ("sparse_categorical_crossentropy", (np.array([1, 2, 0]), PROBABILITIES), {}),
    ("sparse_categorical_crossentropy", (np.array([1, 2, 0]), A, True), {"axis": -1}),
    ("binary_crossentropy", (BOOLEANS.astype("float32"), A, True), {}),
    ("binary_crossentropy", (BOOLEANS.astype("float32"), PROBABILITIES), {}),
    ("dot_product_attention", (IMAGES, IMAGES, IMAGES), {}),
    ("image.resize", (IMAGES, (4, 5)), {}),
    ("image.resize", (IMAGES, (5, 5)), {"crop_to_aspect_ratio": True}),
    ("image.resize", (IMAGES, (5, 5)), {"pad_to_aspect_ratio": True}),
    ("image.rgb_to_grayscale", (IMAGES,), {}),
    ("image.extract_patches", (IMAGES, 2), {}),
    ("cond", (True, lambda: 1.0, lambda: 2.0), {}),
    ("fori_loop", (0, 3, lambda i, v: v + i, 1), {}),
    ("while_loop", (lambda i: i < 7, lambda i: (i + 2,), (0,)), {}),
    ("scan", (lambda c, x: (c + x, c * x), np.float32(0), LINE), {}),
    ("map", (lambda x: x * 2, A), {}),
    ("vectorized_map", (lambda x: x.sum(), A), {}),
    ("associative_scan", (lambda a, b: a + b, LINE), {}),
    ("bincount", (INTEGERS,), {"minlength": 9}),
    ("normalize", (A,), {"axis": (0, 1)}),
    ("bincount", (INTEGERS, 0.5 * INTEGERS), {"minlength": 9}),
    *((name, (INTEGERS,), {}) for name in ("ceil", "floor", "erfc")),
    ("switch", (1, [lambda x: x, lambda x: -x], A), {}),
]
CASES = ONE_BY_ONE + [
    (name, arguments, {})
    for names, calls in CALLS.values()
    for name in names.split()
    for arguments in calls
]


def look_up(module, name):
    for part in name.split("."):
        module = getattr(module, part)
    return module


def flat(result):
    if isinstance(result, (list, tuple)):
        return [leaf for part in result for leaf in flat(part)]
    return [np.asarray(result)]


@pytest.mark.parametrize(
    "name, args, kwargs", CASES, ids=[f"{i} {case[0]}" for i, case in enumerate(CASES)]
)
def test_as_keras_does(name, args, kwargs):
    mine, other = (flat(look_up(k.ops, name)(*args, **kwargs)) for k in (cornu, keras))
    assert len(mine) == len(other)
    for a, b in zip(mine, other, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if a.dtype.kind in "fc":
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(a, b)


def test_variables_and_lists_are_arrays():
    variable = cornu.Variable([1.0, 2.0])
    assert float(ops.sum(variable)) == 3
    assert ops.add([1, 2], variable).tolist() == [2, 4]


def network(k):
    x = k.Input((4, 6))
    y = k.ops.relu(k.ops.matmul(x, k.ops.transpose(x, (0, 2, 1))) - 0.5)
    y = k.ops.concatenate([y, 2 - y], axis=-1)
    y = k.ops.expand_dims(y[:, 1:], -1)
    y = k.layers.Flatten()(k.ops.max_pool(y, 2, 2)) ** 2 / 3
    first, second = k.ops.split(y, 2, axis=1)
    return k.Model(x, [k.activations.tanh(first), k.ops.mean(-second, axis=1, keepdims=True)])


def test_functions_in_a_graph():
    x = random.randn(5, 4, 6).astype("float32")
    mine, theirs = network(cornu), network(keras)
    assert mine.output_shape == theirs.output_shape
    again = cornu.Model.from_config(mine.get_config())
    for a, b, c in zip(mine(x), theirs(x), again(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(a, c)


def test_shapes_of_symbolic_tensors():
    x = cornu.Input((4, 6))
    assert ops.shape(x) == (None, 4, 6) and ops.ndim(x) == 3 and ops.size(x) is None
    assert ops.reshape(x, (-1, 24)).shape == (None, 24)
    assert ops.argmax(x, axis=-1).dtype == "int32"
    # A part of an unknown size may be shorter than it is asked for.
    for k in (cornu, keras):
        x = k.Input((None, 3))
        parts = (
            x[:, :5],
            x[:, 2:4, 1:],
            x[:, -5:],
            x[:, 200:],
            x[:, ::2, None],
            x[:, 7],
            x[..., :2],
        )
        assert [part.shape[1:] for part in parts] == [
            *[(None, 3), (None, 2), (None, 3), (None, 3), (None, 1, 3), (3,), (None, 2)]
        ]
        y, batch = k.Input((48,)), (10, 4, 4, 3)
        assert [k.ops.reshape(y, n).shape for n in (batch, (10, -1), (-1, 7))] == [
            *[batch, (10, None), (None, 7)]
        ]
        assert k.ops.broadcast_to(y, (10, 48)).shape == (10, 48)
        assert {part.shape for part in k.ops.split(x, 3, axis=1)} == {(None, None, 3)}
        assert k.ops.diag(x[0]).shape == k.ops.diagonal(x, axis1=2)[0].shape == (None,)
        with pytest.raises(ValueError, match=r"\(None, 3, None\).*`num`"):
            k.ops.unstack(k.Input((3, None)), axis=2)
        a, b = k.KerasTensor((2,)), k.KerasTensor((2,))
        assert [id(each) for each in k.utils.get_source_inputs(a + 2 * b)] == [id(a), id(b)]
    assert cornu.Input((3,))[:5].shape == (None, 3) and cornu.Input((7,))[:, :5].shape == (None, 5)
    x = cornu.Input((4, 6))
    with pytest.raises(TypeError, match=r"sum\(x, axis=None, keepdims=False\).*'axes'"):
        ops.sum(x, axes=1)


MEETING = [
    ("add", [(None, 3), (2, None)], {}),
    ("greater", [(None, 3), (2, None)], {}),
    ("floor_divide", [(None, 3), (2, None)], {}),
    ("linspace", [(None, 3, 4), (2, 3, 4)], {"num": 5, "axis": 1}),
    ("vstack", [[(None, 3), (None, None)]], {}),
    ("unstack", [(2, None, None)], {"num": 3, "axis": 1}),
    ("repeat", [(None, 3)], {"repeats": [1, 2, 1], "axis": 1}),
    (
        "image.pad_images",
        [(None, None, None, 3)],
        {"top_padding": 2, "left_padding": 3, "target_height": 20, "target_width": 30},
    ),
    ("logical_and", [(None, 3), (2, None)], {}),
]


@pytest.mark.parametrize(("name", "shapes", "kwargs"), MEETING, ids=[case[0] for case in MEETING])
def test_unknown_sizes_that_must_be_known_ones(name, shapes, kwargs):
    def outputs(k):
        function = k.ops
        for part in name.split("."):
            function = getattr(function, part)
        args = [
            [k.KerasTensor(each) for each in shape]
            if isinstance(shape, list)
            else k.KerasTensor(shape)
            for shape in shapes
        ]
        made = function(*args, **kwargs)
        return [t.shape for t in made] if isinstance(made, list) else made.shape

    assert outputs(cornu) == outputs(keras)


def test_a_batch_is_never_taken_for_a_size():
    with pytest.raises(TypeError, match=r"\(3,\) and \(4,\)|\(3,\) and \(None,\)"):
        ops.matmul(cornu.Input((3,)), cornu.Input((4,)))


def test_the_images_size_in_a_shape():
    args = (None, 9, 9, 3), cornu.KerasTensor((2,)), cornu.KerasTensor((2,)), (1, 2), "linear"
    found = ops.image.scale_and_translate(cornu.KerasTensor((None, 8, 8, 3)), *args)
    assert found.shape == (None, 9, 9, 3)


def test_unknown_function():
    with pytest.raises(
        AttributeError, match=r"Cornu has no `cornu.ops.summ`. Did you mean `(cum)?sum`"
    ):
        _ = ops.summ
    assert {"sum", "conv", "relu", "shape", "nn", "norm"} <= set(dir(ops))


def test_rearrange_names_what_does_not_fit():
    x = np.zeros((2, 6, 3))
    assert cornu.ops.rearrange(x, "... c -> c ...").shape == (3, 2, 6)
    assert cornu.ops.rearrange(
        x, "a (b 1 c) d -> (a b) 1 (... c d)".replace("... ", ""), c=2
    ).shape == (
        6,
        1,
        6,
    )
    for pattern, sizes, message in [
        ("a b -> b a", {}, "does not fit"),
        ("a (b c) d -> a b c d", {}, "give one of them, such as b=2"),
        ("a (b c) d -> a b c d", {"b": 4}, "does not fit"),
        ("a b c -> a b", {}, "the same axes"),
        ("a b c", {}, "one `->`"),
        ("a (b c -> a b c", {}, "do not match"),
        ("a b c; -> a b c", {}, "no axis"),
    ]:
        with pytest.raises(ValueError, match=message):
            cornu.ops.rearrange(x, pattern, **sizes)
    with pytest.raises(ValueError, match=r"rows of one length.*\(3, 4\) and \(3, 1\)"):
        cornu.ops.cdist(A, B[:, :1])
    with pytest.raises(ValueError, match=r"\(batch, channels \* 4, 9\).*\(2, 8, 8\)"):
        cornu.ops.fold(COLUMNS[..., :8], 4, 2)
    for message, call in (
        ("positive definite", lambda: cornu.ops.cholesky(-np.eye(3))),
        (r"1-D.*\(2, 2\)", lambda: cornu.ops.segment_sum(A, np.zeros((2, 2), int))),
        (r"1-D.*\(2,\)", lambda: cornu.ops.segment_max(A, np.zeros(2, int))),
        ("at least 2.*=0", lambda: cornu.ops.depth_to_space(IMAGES, 0)),
        ("divisible by 4.*3 channels", lambda: cornu.ops.depth_to_space(IMAGES, 2)),
        ("must match.*1 start", lambda: cornu.ops.slice(A, [0], [1, 2])),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.warns(UserWarning, match="rms_scaling=True"):
        scaled = cornu.ops.layer_normalization(A, rms_scaling=True)
    np.testing.assert_allclose(scaled, A / np.sqrt(A.var(-1, keepdims=True) + 1e-7), rtol=1e-5)
    for normalized in (cornu.ops.layer_normalization, cornu.ops.rms_normalization):
        assert normalized(HALF, B[0]).dtype == "float16"
    with pytest.raises(TypeError, match="no argument 'rms'"):
        cornu.ops.layer_normalization(A, rms=True)
    with pytest.raises(ValueError, match="greedy"):
        cornu.ops.ctc_decode(LOGITS, np.array([5, 5]), strategy="beam_search")
    value, tangent, extra = cornu.ops.jvp(lambda x: (x**2, x), (3.0,), (2.0,), has_aux=True)
    assert (float(value), float(tangent), float(extra)) == (9, 12, 3)


@pytest.mark.parametrize("fill_value", [0, True, 0.5])
def test_full_has_floats_unless_told_otherwise(fill_value):
    for given in ({}, {"dtype": "int32"}):
        ours, theirs = (k.ops.full((2,), fill_value, **given) for k in (cornu, keras))
        assert ours.dtype == theirs.dtype and ours.tolist() == theirs.tolist()
