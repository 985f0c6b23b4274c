"""Diagnostics of training: dead units, gradients, mistakes, and a range test of learning rates."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cornu.callbacks import Callback
from cornu.explain.observe import as_batch, calls, channel_axis
from cornu.layers.activation import ReLU


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
    shares: dict[str, float] = {}
    for call in calls(model, as_batch(model, x)):
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


class LearningRates(NamedTuple):
    """What a range test has found.

    Attributes:
        rates: learning rates, one for each step.
        losses: the smoothed loss after each.
        suggestion: a rate to begin with: where the loss falls most steeply.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float


class _Rising(Callback):
    """Sets the next rate before every batch and notes the loss; stops when it explodes."""

    def __init__(self, rates):
        super().__init__()
        self.rates, self.losses = rates, []
        self._total = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.rates[min(len(self.losses), len(self.rates) - 1)]

    def on_train_batch_end(self, batch, logs=None):
        # The logs hold the mean of the epoch so far.
        total = float(logs["loss"]) * (batch + 1)
        loss, self._total = total - self._total, total
        before = self.losses[-1] if self.losses else loss
        self.losses.append(0.8 * before + 0.2 * loss)
        exploded = not np.isfinite(loss) or self.losses[-1] > 4 * min(self.losses)
        if exploded or len(self.losses) == len(self.rates):
            self.model.stop_training = True

    def on_epoch_begin(self, epoch, logs=None):
        self._total = 0.0


def learning_rate_range(
    model, x, y, lowest=1e-6, highest=1.0, steps=100, batch_size=32, **fit_arguments
) -> LearningRates:
    """Try rising learning rates, one a step, and see where the loss falls, and where it explodes.

    It begins with the weights as they are and an optimizer that is new; afterwards, both are what they
    were.

    Args:
        model: a compiled model.
        x, y: data, as for `fit`.
        lowest, highest: the range; rates rise by the same factor from step to step.
        steps: how many.
        batch_size, fit_arguments: as for `fit`.

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
    if not model.built:
        model.predict_on_batch(np.asarray(x)[:1])
    kept = [(v, np.asarray(v)) for v in model.variables]
    optimizer = model.optimizer
    # What momentum has gathered at another rate would go on moving the weights.
    # A schedule would not let the rate be set.
    model.optimizer = type(optimizer).from_config(
        {**optimizer.get_config(), "learning_rate": lowest}
    )
    rising = _Rising(np.geomspace(lowest, highest, steps))
    data = {"x": x, "y": y, "batch_size": batch_size, "callbacks": [rising], "verbose": 0}
    try:
        model.fit(**data, epochs=-(-steps * batch_size // len(x)) + 1, **fit_arguments)
    finally:
        for variable, value in kept:
            variable.assign(value)
        model.optimizer, model.stop_training = optimizer, False
    losses = np.array(rising.losses)
    rates = rising.rates[: len(losses)]
    # The steepest descent before the lowest point.
    slopes = np.gradient(losses, np.log(rates)) if len(losses) > 2 else np.zeros(len(losses))
    falling = slopes[: max(int(np.nanargmin(losses)), 1)]
    return LearningRates(rates, losses, float(rates[int(np.argmin(falling))]))
