import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cornu.core.variable import Variable, functional


def test_value_dtype_and_names():
    v = Variable([1, 2.5])
    assert (v.dtype, v.shape, v.name) == ("float32", (2,), "variable")
    assert Variable(3).dtype == "int32"
    assert Variable(np.zeros(2, np.float64)).dtype == "float32"
    with pytest.raises(ValueError, match="cannot contain character `/`"):
        Variable(0, name="a/b")
    with pytest.raises(ValueError, match="`shape` argument should be specified"):
        Variable(lambda shape, dtype: jnp.zeros(shape, dtype))


def test_assign_checks_shape_and_converts():
    v = Variable([1.0, 2.0], name="v")
    v.assign([3, 4])
    assert v.numpy().tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match=r"variable.shape=\(2,\), Received: value.shape=\(3,\)"):
        v.assign([1, 2, 3])
    # What JAX makes of Python's numbers adapts to others; a variable does not.
    v.assign(jnp.where(jnp.array([True, False]), 1.0, 2.0))
    assert v.value.weak_type is False


def test_assign_copies_an_array_that_is_changed_later():
    # Where its memory is aligned to 64 bytes, JAX takes an array of NumPy's as it lies.
    raw = np.zeros(1000 * 4 + 64, np.uint8)
    array = raw[-raw.ctypes.data % 64 :][: 1000 * 4].view(np.float32)
    v = Variable(np.zeros(1000))
    v.assign(array)
    array[:] = 1
    assert not v.numpy().any()


def test_training_leaves_a_variable_alone_whose_value_was_assigned_to_the_model():
    import cornu

    def model():
        made = cornu.Sequential([cornu.Input((4,)), cornu.layers.Dense(3)])
        made.compile("sgd", "mse")
        return made

    teacher, student = model(), model()
    given = jnp.full((3,), 0.5)
    student.layers[0].kernel.assign(teacher.layers[0].kernel)
    student.layers[0].bias.assign(given)
    before = teacher.layers[0].kernel.numpy()
    student.fit(np.ones((8, 4)), np.zeros((8, 3)), verbose=0)
    np.testing.assert_array_equal(teacher.layers[0].kernel.numpy(), before)
    assert given.tolist() == [0.5] * 3
    assert (student.layers[0].kernel.numpy() != before).all()


def test_arithmetic_goes_both_ways():
    v = Variable([1.0, 2.0])
    for result, expected in [
        (v + 1, [2, 3]),
        (1 - v, [0, -1]),
        (np.ones(2, np.float32) * v, [1, 2]),
        (jnp.ones(2) / v, [1, 0.5]),
        (v @ v, 5),
        (-v, [-1, -2]),
        (v**2, [1, 4]),
    ]:
        np.testing.assert_allclose(result, expected)
    assert (v == v).all()


def test_functional_leaves_the_variables_alone():
    v, w = Variable(1.0), Variable(2.0)

    def swap():
        a, b = v.value, w.value
        v.assign(b)
        w.assign(a)
        return a + b

    result, new = jax.jit(functional(swap, [v, w]))([10.0, 20.0])
    assert (float(result), [float(n) for n in new]) == (30.0, [20.0, 10.0])
    assert (float(v), float(w)) == (1.0, 2.0)


def test_functional_nests_and_differentiates():
    v, w = Variable(3.0), Variable(5.0)
    inner = functional(lambda: v.value * w.value, [v])

    def outer():
        result, _ = inner([v.value * 2])
        return result

    pure = functional(outer, [v, w])
    gradient = jax.grad(lambda values: pure(values)[0])([3.0, 5.0])
    assert [float(g) for g in gradient] == [10.0, 6.0]


def test_an_assignment_that_would_be_lost_is_refused():
    v = Variable(0.0, name="lost")
    with pytest.raises(RuntimeError, match="'lost' was assigned inside a compiled function"):
        jax.jit(lambda x: v.assign(x).value)(1.0)


def test_made_within_a_trace_it_holds_a_real_array():
    made = []

    def function(x):
        made.append(Variable(lambda shape, dtype: jnp.ones(shape, dtype), shape=(2,)))
        return x

    jax.eval_shape(function, jnp.zeros(1))
    assert made[0].numpy().tolist() == [1.0, 1.0]


def test_copies_have_buffers_of_their_own():
    v = Variable([1.0], name="v")
    for twin in (copy.deepcopy(v), pickle.loads(pickle.dumps(v))):
        v.assign([9.0])
        assert (twin.numpy().tolist(), twin.path) == ([1.0], "v")
        v.assign([1.0])
