"""An input that activates a channel most strongly."""

import jax
import jax.numpy as jnp
import numpy as np

from cornu.explain.attribution.scores import without_activation
from cornu.explain.observe import call_of, calls, channel_axis, predicted, shapes_of_calls


def activation_maximization(
    model, layer, channel=0, steps=128, learning_rate=0.1, size=None, low=0.0, high=1.0, seed=0
) -> np.ndarray:
    """An input, optimized from noise, that activates a layer's channel most strongly.

    Gradient ascent with the gradient's length taken out, within a range; each step the image is moved a
    little against the last, so that no single pixel is made to shine.

    Args:
        model: a built model with one input.
        layer: the layer, its name, or its index in `model.layers`.
        channel: feature map, or unit of a dense layer.
        steps: how many.
        learning_rate: how far a step goes, as a share of the range.
        size: spatial sizes of the input, where the model takes any.
        low, high: range of the input.
        seed: of the noise.

    Returns:
        an array of the shape of one input.

    Source: Erhan et al. 2009, "Visualizing higher-layer features of a deep network".
    """
    tensors = jax.tree.leaves(getattr(model, "inputs", None) or [])
    if len(tensors) != 1:
        raise ValueError(
            "An input is made for models with one input. Model "
            f"{model.name} has {len(tensors) or 'no known'} inputs."
        )
    shape = tensors[0].shape[1:]
    if None in shape:
        if size is None:
            raise ValueError(
                f"Model {model.name} takes inputs of any size, {shape}. Give `size`, such as size=(64, 64)."
            )
        shape = (*size, shape[-1])
    chosen = call_of(shapes_of_calls(model, jnp.zeros((1, *shape))), model, layer)
    # Where a relu has cut, there is no gradient to follow.
    bare = without_activation(chosen.operation, None)
    axis = channel_axis(chosen.operation, chosen.outputs.ndim)
    count = chosen.outputs.shape[axis]
    if not 0 <= channel < count:
        raise ValueError(f"The layer '{chosen.name}' has {count} channels. Received: {channel=}")

    def answer(x):
        call = call_of(calls(model, x), model, layer)
        outputs = call.outputs if bare is None else predicted(bare, *call.arguments.values())
        return jnp.mean(jax.lax.index_in_dim(outputs, channel, axis, keepdims=False))

    width = high - low
    spatial = tuple(range(1, len(shape)))

    @jax.jit
    def step(x, key):
        shift = jax.random.randint(key, (len(spatial),), -1, 2)
        moved = jnp.roll(x, shift, spatial)
        gradient = jax.grad(answer)(moved)
        scale = jnp.sqrt(jnp.mean(gradient**2)) + 1e-12
        moved = jnp.clip(moved + learning_rate * width * gradient / scale, low, high)
        return jnp.roll(moved, -shift, spatial)

    key = jax.random.key(seed)
    x = low + width * (0.5 + 0.1 * jax.random.normal(key, (1, *shape)))
    for n in range(steps):
        x = step(x, jax.random.fold_in(key, n))
    return np.asarray(x[0])
