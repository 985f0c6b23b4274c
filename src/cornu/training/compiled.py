"""What `compile` was given, resolved for a model's outputs: one loss and the metrics of each."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import masking, registry
from cornu.core.blame import blame
from cornu.core.variable import Variable
from cornu.losses import Loss, LossFunctionWrapper
from cornu.metrics import Mean, MeanMetricWrapper, Metric
from cornu.metrics import get as get_metric
from cornu.training.per_output import Outputs, align, is_container, order_given, per_output


class Term(NamedTuple):
    """One loss of one output."""

    output: int
    loss: Callable
    weight: float
    # The mean in the logs, if there are several.
    tracker: Mean | None


class CompiledLoss:
    """The losses of all outputs as one scalar."""

    def __init__(self, loss, loss_weights, outputs: Outputs):
        self.names = outputs.names
        spread = per_output(loss, outputs, "loss")
        losses = [_several(entry) for entry in spread]
        weights = _weights(loss_weights, losses, outputs)
        given = [
            (i, entry, weight)
            for i, pairs in enumerate(zip(losses, weights, strict=True))
            for entry, weight in zip(*pairs, strict=True)
            if entry is not None
        ]
        if not given:
            raise ValueError("`loss` holds no loss for any output.")
        # In the order of the user's dict, in which `evaluate` returns them.
        order = order_given(loss, outputs)
        given.sort(key=lambda term: order.index(term[0]))
        several = len(given) > 1
        self.terms = [
            Term(
                i,
                entry,
                weight,
                Mean(name=f"{outputs.name_of_loss(i, entry)}_loss") if several else None,
            )
            for i, entry, weight in given
        ]
        # The numbers of the outputs that have a loss: `y` may hold targets for them alone.
        self.trained = sorted({term.output for term in self.terms})

    @property
    def metrics(self) -> list[Metric]:
        """The trackers of each loss, if there are several."""
        return [term.tracker for term in self.terms if term.tracker is not None]

    def pairs(self, y, outputs) -> Iterator[tuple]:
        """Each loss with the name of its output, its targets if there are any, and the output."""
        leaves = jax.tree.leaves(outputs)
        targets = align(y, outputs, self.names, trained=self.trained)
        for term in self.terms:
            yield term.loss, self.names[term.output], targets[term.output], leaves[term.output]

    def __call__(self, y, y_pred, sample_weight=None):
        weights = align(sample_weight, y_pred, self.names, "sample_weight", self.trained)
        total = 0.0
        for term, (loss, _, target, output) in zip(self.terms, self.pairs(y, y_pred), strict=True):
            if target is None:
                raise ValueError(
                    f"The loss {getattr(loss, 'name', loss)} needs targets, but no `y` was passed "
                    "(or none for this output)."
                )
            try:
                value = loss(target, output, sample_weight=weights[term.output])
            except Exception as error:
                if not getattr(loss, "fn", loss).__module__.startswith("cornu."):
                    shapes = f"y_true: {np.shape(target)}, y_pred: {np.shape(output)}"
                    blame(error, f"the loss '{getattr(loss, 'name', loss)}'", shapes)
                raise
            if term.tracker is not None:
                share = output.shape[0]
                term.tracker.update_state(jax.lax.stop_gradient(value), sample_weight=share)
            total = total + term.weight * value
        return total


def _several(entry) -> list[Callable | None]:
    """The losses of one output."""
    return [_to_loss(one) for one in (entry if isinstance(entry, list | tuple) else [entry])]


def _weights(given, losses: list[list], outputs: Outputs) -> list[list[float]]:
    """The factor of each loss of each output."""
    count = sum(map(len, losses))
    if (
        isinstance(given, list | tuple)
        and len(given) == count
        and not any(map(is_container, given))
    ):
        # One for each loss, in their order.
        rest = iter(given)
        spread = [[next(rest) for _ in entries] for entries in losses]
    else:
        spread = [
            list(entry) if isinstance(entry, list | tuple) else [entry] * len(entries)
            for entry, entries in zip(
                per_output(given, outputs, "loss_weights"), losses, strict=True
            )
        ]
    spread = [[1.0 if weight is None else weight for weight in entry] for entry in spread]
    if list(map(len, spread)) != list(map(len, losses)) or any(
        not isinstance(weight, int | float) for entry in spread for weight in entry
    ):
        raise ValueError(
            "`loss_weights` must be numbers, one for each output. Received: "
            f"loss_weights={given}. (The third argument of `compile` is "
            "`loss_weights`; write metrics=[…] with its name.)"
        )
    return spread


def _to_loss(entry) -> Callable | None:
    if entry is None or isinstance(entry, Loss):
        return entry
    if is_container(entry):
        raise ValueError(
            f"Expected one loss for each output, or a list of its losses. Received: loss={entry}"
        )
    if isinstance(entry, str) and entry.lower() in ("crossentropy", "ce"):
        return LossFunctionWrapper(_crossentropy, name=entry)
    found = registry.get("loss", entry)
    if isinstance(found, Loss):
        return found
    name = entry if isinstance(entry, str) else getattr(found, "__name__", "loss")
    return LossFunctionWrapper(found, name=name)


def _crossentropy(y_true, y_pred):
    """The cross-entropy that fits the shapes."""
    kind = _kind_of_labels(y_true, y_pred)
    return registry.get("loss", f"{kind}_crossentropy")(y_true, y_pred)


class CompiledMetrics(Metric):
    """The metrics of all outputs as one; they are made when the shapes of the targets are known.

    Those without weights come first, then the weighted ones, each in the order of the outputs.
    """

    def __init__(self, metrics, weighted_metrics):
        super().__init__(name="compile_metrics")
        self._given = {"metrics": metrics, "weighted_metrics": weighted_metrics}
        self._spread: list[list] = []
        self._entries: list[_Entry] = []
        self.names: list[str] = []
        self._trained: list[int] = []
        self._prefixes: list[str] = []
        # The names in the last result.
        self.result_names: list[str] = []
        self.built = False

    def spread(self, outputs: Outputs, loss: CompiledLoss | None) -> None:
        """Set the outputs that the metrics are for, and their losses."""
        self.names = outputs.names
        self._trained = [] if loss is None else loss.trained
        self._prefixes = [outputs.prefix_of_metrics(i) for i in range(len(outputs))]
        self._spread = [per_output(given, outputs, what) for what, given in self._given.items()]

    @property
    def metrics(self) -> list[Metric]:
        """All metrics, in the order in which their values are given."""
        return [entry.metric for entry in self._entries]

    @property
    def variables(self) -> list[Variable]:
        """The state of all metrics."""
        return list({id(v): v for metric in self.metrics for v in metric.variables}.values())

    def build(self, y, y_pred) -> None:
        """Make the metrics: what `"accuracy"` means depends on the shapes."""
        outputs = jax.tree.leaves(y_pred)
        targets = align(y, y_pred, self.names, trained=self._trained)
        self._entries = []
        of_each_kind = zip(self._given.values(), self._spread, (False, True), strict=True)
        for argument, spread, weighted in of_each_kind:
            is_chosen = is_container(argument) and any(target is not None for target in targets)
            each_output = zip(spread, self._prefixes, targets, outputs, strict=True)
            for i, (given, prefix, target, output) in enumerate(each_output):
                if target is None and is_chosen and any(e is not None for e in _flat(given)):
                    raise ValueError(
                        f"The metrics of the output '{self.names[i]}' need targets, but `y` has none for "
                        f"it. Received: {given}"
                    )
                for entry in _flat(given):
                    if entry is not None and target is not None:
                        metric = to_metric(entry, target, output)
                        self._entries.append(_Entry(metric, i, prefix, weighted))
        self.built = True

    def update_state(self, y, y_pred, sample_weight=None) -> None:
        """Update all of them with a batch."""
        outputs = jax.tree.leaves(y_pred)
        targets = align(y, y_pred, self.names, trained=self._trained)
        weights = align(sample_weight, y_pred, self.names, "sample_weight", self._trained)
        masks = [masking.get_mask(output) for output in outputs]
        for metric, i, _, weighted in self._entries:
            if targets[i] is None:
                continue
            chosen = weights[i] if weighted else None
            if masks[i] is not None:
                mask = jnp.asarray(masks[i], jnp.float32)
                chosen = mask if chosen is None else chosen * mask
            metric.update_state(targets[i], outputs[i], sample_weight=chosen)

    def reset_state(self) -> None:
        """Reset all of them."""
        for metric in self.metrics:
            metric.reset_state()

    def result(self) -> dict[str, Any]:
        """The values under the names that logs use.

        A name that is taken already gets `weighted_` before it, if the metric is weighted, and else a
        number behind it.
        """
        results: dict[str, Any] = {}
        for metric, _, prefix, weighted in self._entries:
            value = metric.result()
            for name, number in (
                value if isinstance(value, dict) else {metric.name: value}
            ).items():
                key = f"{prefix}{name}"
                if weighted and key in results:
                    key = f"{prefix}weighted_{name}"
                results[unused(key, results)] = number
        self.result_names = list(results)
        return results


class _Entry(NamedTuple):
    metric: Metric
    output: int
    prefix: str
    weighted: bool


def _flat(given) -> list:
    """Nested lists, flattened in order."""
    if not isinstance(given, list | tuple):
        return [given]
    return [entry for part in given for entry in _flat(part)]


def unused(name: str, taken) -> str:
    """The name, with the first number appended that makes it unique, if it is taken."""
    if name not in taken:
        return name
    return next(new for i in itertools.count(1) if (new := f"{name}_{i}") not in taken)


def to_metric(entry, y_true, y_pred) -> Metric:
    """Resolve one entry of `metrics`; `"accuracy"` and `"crossentropy"` depend on the shapes."""
    if isinstance(entry, Metric):
        return entry
    name = entry if isinstance(entry, str) else None
    if name is not None and name.lower() in ("accuracy", "acc", "crossentropy", "ce"):
        kind = "accuracy" if name.lower() in ("accuracy", "acc") else "crossentropy"
        found = get_metric(f"{_kind_of_labels(y_true, y_pred)}_{kind}")
    else:
        found = get_metric(entry)
    if isinstance(found, Metric):
        if name is not None:
            found.name = name
        return found
    if not callable(found):
        raise ValueError(f"Could not interpret metric: {entry!r}")
    return MeanMetricWrapper(found, name=name or getattr(found, "__name__", "metric"))


def _kind_of_labels(y_true, y_pred) -> str:
    if y_pred.shape[-1] == 1:
        return "binary"
    true_shape = tuple(y_true.shape)
    if len(true_shape) < len(y_pred.shape) or true_shape[-1] == 1:
        return "sparse_categorical"
    return "categorical"
