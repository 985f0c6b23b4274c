"""The same layer here and in Keras, given the same weights and inputs."""

import jax
import jax.numpy as jnp
import keras
import numpy as np

from cornu import layers


def compare_with_keras(name, arguments, inputs, training=False, rtol=1e-6, atol=1e-6):
    """Compare configuration, output, gradients, state after the call and the stated shape.

    Args:
        name: of the class, in both `layers` modules.
        arguments: of its constructor.
        inputs: an array, or a list of arrays.
        training: whether the call is one in training.
        rtol, atol: tolerances of the numbers; everything else must be equal.
    """
    arguments = {"name": "same", **arguments}
    ours, theirs = getattr(layers, name)(**arguments), getattr(keras.layers, name)(**arguments)
    assert ours.get_config() == theirs.get_config()
    assert type(ours).from_config(theirs.get_config()).get_config() == theirs.get_config()
    ours(inputs, training=training), theirs(inputs, training=training)
    random = np.random.RandomState(3)
    weights = [random.uniform(0.2, 1, w.shape).astype("float32") for w in theirs.weights]
    assert [w.shape for w in ours.weights] == [w.shape for w in weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)

    def score(output, state):
        # Not linear, so that the gradient depends on the output.
        return jnp.sum(jnp.sin(output.astype("float32"))), (output, state)

    def run_ours(trainable, others, inputs):
        return score(*ours.stateless_call(trainable, others, inputs, training=training))

    def run_theirs(trainable, others, inputs):
        # Not Keras' `stateless_call`: it runs `call`, which knows of no mixed precision.
        pairs = [
            *zip(theirs.trainable_variables, trainable, strict=True),
            *zip(theirs.non_trainable_variables, others, strict=True),
        ]
        with keras.StatelessScope(state_mapping=pairs) as scope:
            output = theirs(inputs, training=training)
        return score(output, [scope.get_current_value(v) for v in theirs.non_trainable_variables])

    inputs = jax.tree.map(jnp.asarray, inputs)
    floats = all(jnp.issubdtype(x.dtype, jnp.floating) for x in jax.tree.leaves(inputs))
    by = (0, 2) if floats else 0
    results = []
    for layer, run in ((ours, run_ours), (theirs, run_theirs)):
        values = [
            [jnp.asarray(v.value) for v in variables]
            for variables in (layer.trainable_variables, layer.non_trainable_variables)
        ]
        # As one program: step by step, there would be dozens to compile.
        results.append(jax.jit(jax.value_and_grad(run, by, has_aux=True))(*values, inputs))
    same(*results, rtol, atol)
    # The call alone, step by step.
    output = ours(inputs, training=training)
    (_, compiled), _ = results[0]
    same((output, [v.value for v in ours.non_trainable_variables]), compiled, rtol, atol)
    shapes = jax.tree.map(lambda x: tuple(x.shape), inputs)
    assert tuple(ours.compute_output_shape(shapes)) == tuple(theirs.compute_output_shape(shapes))


def twins(make, inputs):
    """A layer that `make(layers)` returns, here and in Keras, with the same weights."""
    ours, theirs = make(layers), make(keras.layers)
    ours(inputs), theirs(inputs)
    ours.set_weights(theirs.get_weights())
    return ours, theirs


def same(ours, theirs, tolerance=1e-6, atol=None):
    """Compare the arrays of two structures; `tolerance` is relative, and absolute without `atol`."""
    atol = tolerance if atol is None else atol
    ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape and mine.dtype == other.dtype
        mine, other = np.asarray(mine, "float32"), np.asarray(other, "float32")
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=atol)
