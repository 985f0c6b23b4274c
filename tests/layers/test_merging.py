import keras
import numpy as np
import pytest
from oracle import compare_with_keras

from cornu import layers
from cornu.core.masking import get_mask

RANDOM = np.random.RandomState(0)


def arrays(*shapes):
    return [RANDOM.uniform(0.5, 2, shape).astype("float32") for shape in shapes]


ELEMENTWISE = ["Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"]
FUNCTIONS = [*(name.lower() for name in ELEMENTWISE), "concatenate"]


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize(
    "shapes",
    [
        [(3, 4, 5), (3, 4, 5)],
        [(3, 4, 5), (3, 1, 5)],
        [(3, 1, 5), (3, 4, 1)],
        [(3, 5), (3, 2, 4, 5)],
        [(3, 4, 5), (3, 4, 5), (3, 5)],
        [(3, 4)],
    ],
    ids=str,
)
def test_elementwise(name, shapes):
    shapes = shapes if name != "Subtract" else [shapes[0], shapes[-1]]
    compare_with_keras(name, {}, arrays(*shapes))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_concatenate(axis):
    shapes = [[3, 4, 5] for _ in range(3)]
    for i, shape in enumerate(shapes):
        shape[axis] = i + 1
    # Keras states a wrong batch size for axis 0.
    inputs = arrays(*shapes)
    if axis:
        compare_with_keras("Concatenate", {"axis": axis}, inputs)
    output = layers.Concatenate(axis)(inputs)
    np.testing.assert_array_equal(output, np.concatenate(inputs, axis))


@pytest.mark.parametrize(
    "axes, shapes, normalize",
    [
        (1, [(3, 4), (3, 4)], False),
        (1, [(3, 4), (3, 4)], True),
        (-1, [(3, 5, 4), (3, 4)], False),
        (2, [(3, 5, 4), (3, 6, 4)], True),
        ((1, 2), [(3, 5, 4), (3, 6, 5)], False),
        ([2, 1], [(3, 5, 6, 4), (3, 6, 2)], False),
        ((1, 3), [(3, 5), (3, 6, 2, 5)], False),
    ],
)
def test_dot(axes, shapes, normalize):
    compare_with_keras(
        "Dot", {"axes": axes, "normalize": normalize}, arrays(*shapes), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    inputs = arrays((3, 4), (3, 4))
    ours, theirs = getattr(layers, name)(inputs), getattr(keras.layers, name)(inputs)
    np.testing.assert_array_equal(ours, theirs)
    symbols = [layers.Input((4,)), layers.Input((4,))]
    assert getattr(layers, name)(symbols, name="merged").shape == (None, *ours.shape[1:])


def test_dot_function():
    inputs = arrays((3, 4), (3, 4))
    ours, theirs = layers.dot(inputs), keras.layers.dot(inputs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("name", [*ELEMENTWISE, "Concatenate", "Dot"])
@pytest.mark.parametrize("masked", [(True, True), (True, False), (False, True)])
def test_masks(name, masked):
    arguments = {"axes": 2} if name == "Dot" else {}
    xs = arrays((2, 4, 3), (2, 4, 3))
    xs[0][:, 2:] = 0
    xs[1][0, 1:] = 0

    def run(library, mask_of):
        inputs = [library.Masking()(x) if m else x + 0 for x, m in zip(xs, masked, strict=True)]
        output = getattr(library, name)(**arguments)(inputs)
        return output, mask_of(output)

    ours, our_mask = run(layers, get_mask)
    theirs, their_mask = run(keras.layers, keras.src.backend.get_keras_mask)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert (our_mask is None) == (their_mask is None)
    if our_mask is not None:
        np.testing.assert_array_equal(our_mask, their_mask)


def test_concatenate_masks_in_time():
    xs = arrays((2, 3, 4), (2, 2, 4))
    xs[0][:, 1:] = 0
    output = layers.Concatenate(axis=1)([layers.Masking()(xs[0]), xs[1]])
    np.testing.assert_array_equal(get_mask(output), [[True, False, False, True, True]] * 2)


def test_static_shapes():
    def symbol(*shape):
        return layers.Input(batch_shape=shape)

    assert layers.Add()([symbol(None, 3), symbol(2, 3)]).shape == (2, 3)
    assert layers.Add()([symbol(None, None, 3), symbol(None, 4, 1)]).shape == (None, None, 3)
    # A batch of one is the same for every example.
    assert layers.Add()([symbol(None, 9, 3), symbol(1, 9, 3)]).shape == (None, 9, 3)
    assert layers.Concatenate()([symbol(None, 3), symbol(2, 4)]).shape == (2, 7)
    assert layers.Concatenate()([symbol(2, None), symbol(2, 4)]).shape == (2, None)
    assert layers.Dot(1)([symbol(None, 3), symbol(2, 3)]).shape == (2, 1)
    assert layers.Dot(2)([symbol(2, None, 3), symbol(2, 4, 3)]).shape == (2, None, 4)


@pytest.mark.parametrize(
    "layer, shapes, message",
    [
        (lambda: layers.Add(), [(2, 3), (2, 4)], r"incompatible shapes.*\(2, 3\), \(2, 4\)"),
        (lambda: layers.Multiply(), [(2, 3, 4), (2, 2, 4)], "inputs have incompatible shapes"),
        (lambda: layers.Add(), [(2, 3), (4, 3)], "different batch sizes"),
        (lambda: layers.Add(), [], "at least 1 input"),
        (lambda: layers.Subtract(), [(2, 3)], "exactly 2 inputs. Received 1 inputs"),
        (lambda: layers.Subtract(), [(2, 3)] * 3, "exactly 2 inputs. Received 3 inputs"),
        (lambda: layers.Concatenate(), [(2, 3, 4), (2, 2, 4)], "matching shapes except for the co"),
        (lambda: layers.Concatenate(), [(2, 3), (2, 3, 4)], "matching shapes except for the co"),
        (lambda: layers.Concatenate(2), [(2, 3), (2, 3)], "axis 2 is out of bounds"),
        (lambda: layers.Dot(1), [(2, 3), (2, 4)], r"incompatible input shapes.*3 .*!= 4"),
        (lambda: layers.Dot(1), [(2, 3), (5, 3)], "different batch sizes"),
        (lambda: layers.Dot(2), [(2, 3), (2, 3)], "must name an axis behind the batch"),
        (lambda: layers.Dot(0), [(2, 3), (2, 3)], "must name an axis behind the batch"),
        (lambda: layers.Dot(1), [(2, 3)] * 3, "exactly 2 inputs"),
    ],
)
def test_bad_shapes(layer, shapes, message):
    for inputs in (arrays(*shapes), [layers.Input(batch_shape=shape) for shape in shapes]):
        with pytest.raises(ValueError, match=message):
            layer()(inputs)


@pytest.mark.parametrize("name", [*ELEMENTWISE, "Concatenate"])
def test_one_tensor_is_no_list(name):
    for inputs in (arrays((2, 3))[0], layers.Input((3,))):
        with pytest.raises(ValueError, match=r"should be called on a list of inputs, such as"):
            getattr(layers, name)()(inputs)


@pytest.mark.parametrize(
    "axes, error, message",
    [
        ("ab", TypeError, "it should be a list or an int"),
        ((1,), ValueError, "it should contain two integers"),
        ((1, 2.0), ValueError, "it should contain two integers"),
    ],
)
def test_bad_dot_axes(axes, error, message):
    with pytest.raises(error, match=message):
        layers.Dot(axes)


def test_merge_function_may_be_overridden():
    class Tenfold(layers.Add):
        def _merge_function(self, inputs):
            return super()._merge_function(inputs) * 10

    assert Tenfold()([np.ones((1, 2)), np.ones((1, 2))]).tolist() == [[20.0, 20.0]]


def test_a_mask_that_a_subclass_makes_of_inputs_without_masks():
    class Positive(layers.Add):
        def compute_mask(self, inputs, mask=None):
            return inputs[0][..., 0] > 0

    x = layers.Input((3, 2))
    assert get_mask(Positive()([x, x])).shape == (None, 3)
    assert get_mask(layers.Add()([x, x])) is None
