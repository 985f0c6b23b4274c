import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cornu
from cornu.core.variable import Variable, functional

# JAX 0.7 takes variables, but says that it will not for long.
pytestmark = pytest.mark.filterwarnings("ignore:Triggering of __jax_array__:DeprecationWarning")


def test_value_dtype_and_names():
    v = Variable([1, 2.5])
    assert (v.dtype, v.shape, v.name) == ("float32", (2,), "variable")
    assert Variable(3).dtype == "int32"
    assert Variable(np.zeros(2, np.float64)).dtype == "float32"
    with pytest.raises(ValueError, match="cannot contain character `/`"):
        Variable(0, name="a/b")
    with pytest.raises(ValueError, match="`shape` argument should be specified"):
        Variable(lambda shape, dtype: jnp.zeros(shape, dtype))
    with pytest.raises(AttributeError, match=r"GradientTape.*jax\.grad"):
        _ = v._id


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
        # Of truth values, as in Keras: bits would give 2 and 0.
        (Variable([6, 0]) & 3, [True, False]),
        (3 ^ Variable([6, 0]), [False, True]),
        (Variable([0.0, 2.0]) | [0, 1], [False, True]),
    ]:
        np.testing.assert_allclose(result, expected)
    assert (v == v).all()
    with pytest.raises(TypeError, match=r"cannot be used as a boolean.*ops.any"):
        bool(v)


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


def test_jax_takes_a_variable_for_its_array():
    v = Variable([1.0, 2.0], name="v")

    def cubes(x):
        return (x * x * x).sum()

    assert jax.jit(lambda tree: tree["v"] * tree["n"])({"v": v, "n": 3}).tolist() == [3.0, 6.0]
    assert type(jax.jit(lambda x: x)(v)) is type(v.value)
    assert jax.grad(cubes)(v).tolist() == [3.0, 12.0]
    assert jax.hessian(cubes)(v).tolist() == [[6.0, 0.0], [0.0, 12.0]]
    assert jax.vmap(lambda x: 2 * x)(v).tolist() == [2.0, 4.0]
    assert jax.jvp(cubes, (v,), (jnp.ones(2),))[1].tolist() == 15.0
    assert [a.tolist() for a in jax.device_put([v, v])] == [[1.0, 2.0]] * 2
    for function in (jnp.square, jnp.negative, jax.nn.relu, jnp.zeros_like, jnp.cumsum):
        np.testing.assert_array_equal(function(v), function(v.value))
    assert jax.lax.mul(v, v).tolist() == [1.0, 4.0]
    assert jnp.result_type(v, "bfloat16") == "float32"
    # A compiled function sees the value of each call.
    double = jax.jit(lambda x: 2 * x)
    before = double(v)
    v.assign([5.0, 6.0])
    assert (before.tolist(), double(v).tolist()) == ([2.0, 4.0], [10.0, 12.0])
    # A copy is one: training would give away the memory of a view.
    copied = np.array(v)
    copied[0] = 7.0
    assert v.numpy().tolist() == [5.0, 6.0]
    # It ends, and counts.
    assert [float(entry) for entry in v] == [5.0, 6.0]
    assert list(range(Variable(2))) == [0, 1]
    assert float(round(Variable(1.75))) == 2.0


def test_a_variable_is_one_leaf_next_to_its_gradient():
    variables = [Variable([1.0, 2.0]), Variable(3.0)]
    grads = jax.grad(lambda w: (w[0] ** 2).sum() + w[1])(variables)
    new = jax.tree.map(lambda w, g: w - g / 2, variables, grads)
    assert [a.tolist() for a in new] == [[0.0, 0.0], 2.5]
    assert jax.tree.leaves(variables)[1] is variables[1]
    assert [a.tolist() for a in jax.tree.map(jnp.zeros_like, variables)] == [[0.0, 0.0], 0.0]


def test_functions_of_jax_see_the_traced_value():
    v = Variable([1.0, 2.0])

    def computed():
        carried, _ = jax.lax.scan(lambda c, x: (c * x, x), v, jnp.ones(2))
        inner = jax.jit(lambda a: a * jnp.sin(v))(1.0)
        return jnp.sum(jnp.sin(v) + jax.lax.mul(v, v) + carried + inner)

    pure = functional(computed, [v])
    at = jnp.array([0.5, 0.7])
    if tuple(map(int, jax.__version__.split(".")[:2])) < (0, 10):
        with pytest.raises((ValueError, TypeError), match="Variable"):
            jax.grad(lambda x: pure([x])[0])(at)
        return
    for transform in (jax.grad, lambda f: jax.jit(jax.grad(f))):
        gradient = transform(lambda x: pure([x])[0])(at)
        np.testing.assert_allclose(gradient, 2 * jnp.cos(at) + 2 * at + 1, rtol=1e-6)


def test_stateless_functions_take_variables_for_values():
    metric = cornu.metrics.Mean()
    state = metric.stateless_update_state(metric.variables, [1.0, 3.0])
    assert [float(value) for value in state] == [4.0, 2.0]
    assert float(metric.stateless_result(metric.variables)) == 0.0
    model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1, kernel_initializer="ones")])
    x = jnp.ones((1, 2))
    for call in (model.stateless_call, jax.jit(model.stateless_call)):
        outputs, _ = call(model.trainable_variables, model.non_trainable_variables, x)
        assert outputs.tolist() == [[2.0]]
    optimizer = cornu.optimizers.SGD(0.5)
    optimizer.build(model.trainable_variables)
    grads = [Variable(jnp.ones((2, 1))), jnp.ones(1)]
    for apply in (optimizer.stateless_apply, jax.jit(optimizer.stateless_apply)):
        new, _ = apply(optimizer.variables, grads, model.trainable_variables)
        assert new[0].tolist() == [[0.5], [0.5]]
    assert model.get_weights()[0].tolist() == [[1.0], [1.0]]


def test_an_array_of_numpy_becomes_a_variable_without_a_program_for_its_shape(caplog):
    shapes = [(3, 5, n) for n in range(101, 104)]
    with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
        for shape in shapes:
            layer = cornu.layers.Layer()
            layer.add_weight(shape, "he_normal").assign(np.ones(shape))
    shown = [m for m in caplog.messages if "Compiling" in m]
    # What makes normal distributions, once for all shapes.
    assert len(shown) <= 1, shown


def test_an_initializer_by_name():
    for name, value in (("ones", 1), ("zeros", 0)):
        variable = cornu.Variable(name, shape=(2, 3))
        assert variable.dtype == "float32"
        np.testing.assert_array_equal(variable, np.full((2, 3), value))
    with pytest.raises(ValueError, match="Unknown initializer: 'oness'"):
        cornu.Variable("oness", shape=(2,))
    with pytest.raises(ValueError, match="`shape` argument"):
        cornu.Variable("ones")
