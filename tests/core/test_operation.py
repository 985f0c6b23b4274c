"""Operations of one's own, and functions between symbolic tensors."""

import pickle

import keras
import numpy as np
import pytest

import cornu

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]], "float32")


@cornu.saving.register_keras_serializable("operations")
class Power(cornu.Operation):
    def __init__(self, exponent=2, name=None):
        super().__init__(name=name)
        self.exponent = exponent

    def call(self, x):
        return x**self.exponent


def test_an_operation_is_part_of_a_model(tmp_path):
    x = cornu.Input((3,))
    power = Power(3)
    model = cornu.Model(x, cornu.layers.Dense(1)(power(x)))
    np.testing.assert_array_equal(power(X), X**3)
    assert power(np.array([2], "int32")).dtype == "int32" and power.output.shape == (None, 3)
    assert power in model.operations and power not in model.layers
    model.compile("sgd", "mse")
    model.fit(X, X[:, :1], verbose=0)
    model.save(tmp_path / "m.keras")
    again = cornu.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again(X), model(X))
    assert isinstance(cornu.layers.Dense(1), cornu.Operation)
    assert isinstance(model, cornu.Operation)

    class Without(cornu.Operation):
        def __init__(self):
            pass

    with pytest.raises(RuntimeError, match="In Without, `super"):
        Without()(X)
    with pytest.raises(NotImplementedError, match="does not define `call`"):
        cornu.Operation()(X)
    with pytest.raises(ValueError, match="must be a string"):
        Power(name=3)


def graph(k):
    a, b = k.Input((3,), name="a"), k.Input((3,), name="b")
    k.utils.set_random_seed(0)
    middle = k.layers.Dense(2)(a + b)
    return [a, b], middle, {"sum": middle * 2, "first": a}


def test_a_function_is_what_lies_between_tensors():
    results = {}
    for k in (cornu, keras):
        inputs, middle, outputs = graph(k)
        function = k.Function(inputs, outputs, name="between")
        assert [t.name for t in k.utils.get_source_inputs(outputs["sum"])] == ["a", "b"]
        assert function.compute_output_shape([(5, 3), (5, 3)]) == {"sum": (5, 2), "first": (5, 3)}
        twice = k.Model(inputs, function(inputs))
        results[k] = [function([X, X]), twice([X, X]), k.Function(middle, outputs["sum"])(X[:, :2])]
        assert function.name == "between" and len(function.inputs) == 2
    for mine, other in zip(*(flat(results[k]) for k in (cornu, keras)), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    inputs, middle, outputs = graph(cornu)
    function = cornu.Function(inputs, outputs)
    for problem, call in (
        ("takes 2 inputs", lambda: function([X])),
        (
            r"takes 'b' of shape \(None, 3\). Received: shape \(2, 2\)",
            lambda: function([X, X[:, :2]]),
        ),
        ("not connected to `inputs`", lambda: cornu.Function(inputs[0], middle)),
    ):
        with pytest.raises(ValueError, match=problem):
            call()
    with pytest.raises(NotImplementedError, match="Make a `Model`"):
        function.get_config()
    with pytest.raises(ValueError, match="cannot contain character `/`"):
        Power(name="a/b")


def test_a_function_begins_with_tensors_made_by_hand_or_within_a_graph():
    for k in (cornu, keras):
        a, b = k.KerasTensor((None, 3), name="a"), k.KerasTensor((2, None), name="b")
        both = a + b
        outputs = k.ops.maximum(both, 0)
        assert outputs.shape == (2, 3)
        np.testing.assert_allclose(k.Function([a, b], outputs)([X, X]), 2 * X.clip(0))
        last = k.Function(both, outputs)
        assert not any("add" in o.name for o in last.operations)
        np.testing.assert_allclose(last(X), X.clip(0))


def flat(results):
    parts = [[r[k] for k in sorted(r)] if isinstance(r, dict) else [r] for r in results]
    return [np.asarray(each) for part in parts for each in part]


def test_functions_and_operators_can_be_pickled():
    x = cornu.Input((3,))
    outputs = [cornu.ops.sum(x, axis=1), 1 - x, abs(-x), x[:, 1:], x < 2, x.reshape((-1, 1, 3))]
    outputs += [cornu.ops.softmax(x), cornu.ops.norm(x, axis=1), x @ np.ones((3, 2), "float32")]
    model = cornu.Model(x, outputs)
    for found, expected in zip(pickle.loads(pickle.dumps(model))(X), model(X), strict=True):
        np.testing.assert_array_equal(found, expected)
