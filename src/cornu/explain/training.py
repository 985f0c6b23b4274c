"""Diagnostics of training: dead units, gradients, mistakes, and a range test of learning rates."""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from cornu.explain.observe import as_batch, calls, channel_axis
from cornu.layers.activation import ReLU
from cornu.training.learning_rate import LearningRates, batches_of, trial


def dead_relus(model, x) -> dict[str, float]:
    """For each layer with a relu, the share of its channels (or units) that are zero for all of a batch.

    Such a channel has no gradient either, and does not learn from these examples. A few are usual; many
    say that the learning rate is too high, or the initial weights too large.

    Args:
        model: any built model.
        x: a batch; the larger, the surer.

    Returns:
        a dict from names of layers to shares between 0 and 1.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(4, "relu", name="hidden")])
    >>> model.set_weights([np.ones((2, 4)), np.array([0.0, 0.0, -9.0, -9.0])])
    >>> cornu.explain.dead_relus(model, np.ones((1, 2)))
    {'hidden': 0.5}
    """
    return dead_in(calls(model, as_batch(model, x)))


def dead_in(found: list) -> dict[str, float]:
    """`dead_relus` for calls that were observed."""
    shares: dict[str, float] = {}
    for call in found:
        layer = call.operation
        activation = getattr(getattr(layer, "activation", None), "__name__", "")
        if activation != "relu" and not isinstance(layer, ReLU):
            continue
        outputs = jnp.moveaxis(call.outputs, channel_axis(layer, call.outputs.ndim), -1)
        alive = jnp.any(outputs != 0, axis=tuple(range(outputs.ndim - 1)))
        shares[call.name] = float(1 - alive.mean())
    return shares


def gradients(model, x, y, sample_weight=None) -> dict[str, np.ndarray]:
    """The gradient of the loss with respect to each trainable weight, for one batch; nothing is changed.

    It is that of evaluation: nothing is dropped, and batch normalization takes its moving statistics.

    Args:
        model: a compiled model.
        x, y, sample_weight: a batch, as for `fit`.

    Returns:
        a dict from the weights' paths to arrays of their shapes.

    Raises ValueError if the model is not compiled.
    """
    model._need_compiled("gradients")
    # Builds what is still missing, such as the metrics.
    model.test_on_batch(x, y, sample_weight)
    model.reset_metrics()
    trainable, others = model._state_variables()
    metrics = [v.value for v in model.metrics_variables]

    data = *(jax.tree.map(jnp.asarray, part) for part in (x, y)), sample_weight

    def loss(values):
        fixed = [v.value for v in others]
        return model.compute_loss_and_updates(values, fixed, metrics, *data)[0]

    found = jax.jit(jax.grad(loss))([v.value for v in trainable])
    return {v.path: np.asarray(g, np.float32) for v, g in zip(trainable, found, strict=True)}


@dataclass(frozen=True)
class Mistake:
    """An example that was classified wrongly.

    Attributes:
        index: its index in the data.
        true, predicted: the classes.
        probability: what the model gave the wrong class.
    """

    index: int
    true: int
    predicted: int
    probability: float


def mistakes(model, x, y, batch_size=256) -> list[Mistake]:
    """The examples that a classifier gets wrong, the most confident mistakes first.

    They are often wrong labels, or show what the data lack. `visualize.plot_predictions` draws them.

    Args:
        model: a classifier with an output of shape `(n, classes)`.
        x: examples.
        y: their classes as integers, or one-hot.
        batch_size: for `predict`.

    Returns:
        a list of `Mistake`.
    """
    probabilities = model.predict(x, batch_size=batch_size, verbose=0)
    true = np.asarray(y)
    true = true.argmax(-1) if true.ndim > 1 and true.shape[-1] > 1 else true.reshape(-1)
    predicted = probabilities.argmax(-1)
    wrong = np.flatnonzero(predicted != true)
    order = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")]
    return [
        Mistake(int(i), int(true[i]), int(predicted[i]), float(probabilities[i, predicted[i]]))
        for i in order
    ]


def learning_rate_range(
    model,
    x,
    y=None,
    lowest=1e-6,
    highest=1.0,
    steps=100,
    batch_size=32,
    sample_weight=None,
    class_weight=None,
    seed=0,
) -> LearningRates:
    """Try rising learning rates, one a step, and see where the loss falls, and where it explodes.

    It begins with the weights as they are and an optimizer that is new; afterwards, both are what they
    were.

    Args:
        model: a compiled model.
        x, y, sample_weight: arrays as for `fit`, or as `x` a data set of batches.
        lowest, highest: the range; rates rise by the same factor from step to step. Of several
            optimizers, they are those of the one with the largest; the others keep their share.
        steps: how many.
        batch_size: samples a step, for arrays.
        class_weight: as for `fit`.
        seed: of the samples' order.

    Returns:
        the rates with their losses, and a suggestion; `visualize.plot_learning_rates` draws them.

    Raises ValueError if the model is not compiled, or the range is none.

    Source: Smith 2017, "Cyclical learning rates for training neural networks".
    """
    model._need_compiled("learning_rate_range")
    if not 0 < lowest < highest or steps < 2:
        raise ValueError(
            "Expected 0 < lowest < highest and at least 2 steps. Received: "
            f"lowest={lowest}, highest={highest}, steps={steps}"
        )
    batches = batches_of(x, y, sample_weight, batch_size, np.random.default_rng(seed))
    first = next(batches)
    if not model.built:
        model.predict_on_batch(first[0])
    optimizer = model.optimizer
    # What momentum has gathered at another rate would go on moving the weights.
    # A schedule would not let the rate be set.
    model.optimizer = type(optimizer).from_config(_with_numbers(optimizer.get_config(), lowest))
    shares = [float(part.learning_rate) for part in optimizer._parts]

    def set_rate(rate: float) -> None:
        for part, share in zip(model.optimizer._parts, shares, strict=True):
            part.learning_rate = rate * share / max(shares)

    try:
        return trial(
            model,
            itertools.chain([first], batches),
            set_rate,
            class_weight,
            lowest,
            highest,
            steps,
        )
    finally:
        model.optimizer = optimizer


def _with_numbers(config, rate: float):
    """An optimizer's configuration, and those within it, with a number for each learning rate."""
    if not isinstance(config, dict):
        return config
    return {
        name: rate if name == "learning_rate" else _with_numbers(value, rate)
        for name, value in config.items()
    }
