"""How a loss changes with one number of a model's output."""

from typing import NamedTuple

import jax
import numpy as np

from cornu.core import masking
from cornu.core.dtype import epsilon
from cornu.explain.terms.base import show
from cornu.losses import probabilistic, regression


class Slope(NamedTuple):
    """One loss' derivative by one number of the output.

    Attributes:
        loss: the loss' name.
        formula: how it is computed, in words and numbers; empty if the derivative was asked for.
        value: the number.
    """

    loss: str
    formula: str
    value: float


def slopes_of(run, output: int, example: int, index: tuple, expected: float) -> list[Slope]:
    """The derivative of each loss of an output by one of its numbers.

    Args:
        run: the run.
        output: which of the model's outputs.
        example: which of the batch.
        index: the place in the output, without the batch.
        expected: the derivative of all of them together, for those whose formula is not known.
    """
    compiled = run.model._compiled_loss
    terms = [] if compiled is None else [t for t in compiled.terms if t.output == output]
    if len(terms) == 1 and _is_plain(run, terms[0], output):
        found = _by_formula(run, terms[0], output, example, index)
        if found is not None:
            return [found]
    name = " + ".join(getattr(t.loss, "name", "loss") for t in terms) or "added losses"
    return [Slope(name, "", expected)]


def _is_plain(run, term, output: int) -> bool:
    """Whether nothing but this loss, of all examples alike, sees the output."""
    leaf = jax.tree.leaves(run.whole.outputs)[output]
    return (
        type(run.model).compute_loss.__module__.startswith("cornu.training")
        and run.sample_weight is None
        and masking.get_mask(leaf) is None
        and getattr(term.loss, "reduction", None) in ("sum_over_batch_size", "mean", "sum")
    )


def _by_formula(run, term, output: int, example: int, index: tuple) -> Slope | None:
    function, settings = getattr(term.loss, "fn", None), getattr(term.loss, "_keywords", {})
    rule = _RULES.get(function) if type(term.loss).__module__.startswith("cornu.losses") else None
    if rule is None or settings.get("ignore_class") is not None:
        return None
    outputs = np.asarray(jax.tree.leaves(run.whole.outputs)[output], np.float64)
    targets = jax.tree.leaves(run.y)
    if len(targets) <= output or len(targets) != len(jax.tree.leaves(run.whole.outputs)):
        return None
    target = np.asarray(targets[output])
    *place, channel = index
    if outputs.ndim < 2 or settings.get("axis", -1) not in (-1, outputs.ndim - 1):
        return None
    row = outputs[(example, *place)]
    y = _target_of(function, settings, target, outputs, (example, *place))
    from_logits = settings.get("from_logits", False)
    found = None if y is None else rule(y, row, channel, from_logits)
    if found is None:
        return None
    formula, value = found
    count = 1 if term.loss.reduction == "sum" else int(np.prod(outputs.shape[:-1]))
    if count > 1:
        formula = f"({formula}) / {count}"
    if term.weight != 1:
        formula = f"{formula} × {show(term.weight)}"
    return Slope(term.loss.name, formula, value / count * term.weight)


def _target_of(function, settings: dict, target: np.ndarray, outputs: np.ndarray, place: tuple):
    """The targets of a row of the output; None if they have an unusual shape."""
    classes = outputs.shape[-1]
    if function is probabilistic.sparse_categorical_crossentropy:
        if target.ndim == outputs.ndim and target.shape[-1] == 1:
            target = target[..., 0]
        if target.shape != outputs.shape[:-1]:
            return None
        return np.eye(classes)[int(target[place])]
    if target.ndim == outputs.ndim - 1 and classes == 1:
        target = target[..., None]
    if target.shape != outputs.shape:
        return None
    y, smoothing = target[place].astype(np.float64), settings.get("label_smoothing", 0)
    share = 0.5 if function is probabilistic.binary_crossentropy else 1 / classes
    return y * (1 - smoothing) + share * smoothing


def _categorical(y, row, channel, from_logits):
    if from_logits:
        powers = np.exp(row - row.max())
        share = powers[channel] / powers.sum()
        total = y.sum()
        times = "" if total == 1 else f" × {show(total)}"
        return f"{show(share)}{times} - {show(y[channel])}", share * total - y[channel]
    total = row.sum()
    share = row / total
    # Beyond the limits that keep the logarithm finite, nothing changes.
    weights = np.where((share > epsilon()) & (share < 1 - epsilon()), y, 0)
    own = weights[channel] / share[channel] if weights[channel] else 0.0
    text = f"{show(weights.sum())} - {show(weights[channel])} / {show(share[channel])}"
    if y.sum() and not weights.any():
        text = f"{show(share[y.argmax()])} is beyond the limits that keep the logarithm finite: 0"
    return text, (weights.sum() - own) / total


def _binary(y, row, channel, from_logits):
    p, target, count = row[channel], y[channel], len(row)
    if from_logits:
        share = 0.5 * (1 + np.tanh(p / 2))
        text, value = f"{show(share)} - {show(target)}", share - target
    elif not epsilon() < p < 1 - epsilon():
        return f"{show(p)} is beyond the limits that keep the logarithm finite", 0.0
    else:
        value = (p - target) / (p * (1 - p))
        text = f"({show(p)} - {show(target)}) / ({show(p)} × (1 - {show(p)}))"
    return (text, value) if count == 1 else (f"{text} / {count}", value / count)


def _squared(y, row, channel, from_logits):
    text = f"2 × ({show(row[channel])} - {show(y[channel])})"
    value = 2 * (row[channel] - y[channel])
    return (text, value) if len(row) == 1 else (f"{text} / {len(row)}", value / len(row))


def _absolute(y, row, channel, from_logits):
    sign = np.sign(row[channel] - y[channel])
    text = f"sign of ({show(row[channel])} - {show(y[channel])})"
    return (text, sign) if len(row) == 1 else (f"{text} / {len(row)}", sign / len(row))


_RULES = {
    probabilistic.categorical_crossentropy: _categorical,
    probabilistic.sparse_categorical_crossentropy: _categorical,
    probabilistic.binary_crossentropy: _binary,
    regression.mean_squared_error: _squared,
    regression.mean_absolute_error: _absolute,
}
