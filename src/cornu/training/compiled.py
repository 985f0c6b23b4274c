"""What `compile` was given, resolved for a model's outputs: one loss and the metrics of each."""

import itertools
from collections.abc import Callable
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


def per_output(given, names: list[str], what: str, single: bool) -> list:
    """Spread an argument of `compile` over the outputs: by name, by position, or the same for all."""
    if isinstance(given, dict) and "class_name" not in given:
        unknown = [key for key in given if key not in names]
        if unknown:
            raise ValueError(
                f"In the dict argument `{what}`, key '{unknown[0]}' does not correspond to any "
                f"model output. Received: {what}={given}. The outputs are {names}."
            )
        return [given.get(name) for name in names]
    if isinstance(given, list | tuple):
        if single and len(names) == 1:
            return [list(given)]
        if single and not given:
            return [None] * len(names)
        if len(given) != len(names):
            raise ValueError(
                f"For a model with multiple outputs, when providing the `{what}` argument as a "
                f"list, it should have as many entries as the model has outputs. Received:\n"
                f"{what}={given}\nof length {len(given)} whereas the model has {len(names)} "
                f"outputs: {names}."
            )
        return list(given)
    return [given] * len(names)


def align(targets, outputs, names: list[str], what: str = "y") -> list:
    """The targets in the order of the flattened outputs; None where there is none."""
    flat = jax.tree.leaves(outputs)
    if targets is None:
        return [None] * len(flat)
    if isinstance(targets, dict):
        if isinstance(outputs, dict):
            names = sorted(outputs)
        missing = [name for name in targets if name not in names]
        if missing:
            raise ValueError(
                f"`{what}` is a dict with the key '{missing[0]}', but the model has no output of "
                f"that name. The outputs are {names}."
            )
        return [targets.get(name) for name in names]
    if isinstance(targets, list | tuple):
        leaves = list(targets)
        if len(leaves) != len(flat):
            leaves = jax.tree.leaves(targets)
        if len(leaves) != len(flat):
            raise ValueError(
                f"The model has {len(flat)} outputs ({', '.join(names)}), but `{what}` has "
                f"{len(leaves)} entries."
            )
        return leaves
    if len(flat) > 1 and what == "y":
        raise ValueError(
            f"The model has {len(flat)} outputs ({', '.join(names)}), but `y` is one array. Pass a "
            "list of arrays, or a dict from the outputs' names."
        )
    return [targets] * len(flat)


class CompiledLoss:
    """The losses of all outputs as one scalar."""

    def __init__(self, loss, loss_weights, names: list[str]):
        self.names = names
        self.losses = [_to_loss(entry) for entry in per_output(loss, names, "loss", single=False)]
        self.weights = [1.0] * len(names)
        if loss_weights is not None:
            spread = per_output(loss_weights, names, "loss_weights", single=False)
            self.weights = [1.0 if w is None else w for w in spread]
            if any(not isinstance(w, int | float) for w in self.weights):
                raise ValueError(
                    "`loss_weights` must be numbers, one for each output. Received: "
                    f"loss_weights={loss_weights}. (The third argument of `compile` is "
                    "`loss_weights`; write metrics=[…] with its name.)"
                )
        if not any(self.losses):
            raise ValueError("`loss` holds no loss for any output.")
        several = len(names) > 1
        self.trackers = [
            Mean(name=f"{name}_loss") if several and entry is not None else None
            for name, entry in zip(names, self.losses, strict=True)
        ]

    @property
    def metrics(self) -> list[Metric]:
        """The trackers of each output's own loss, if there are several outputs."""
        return [tracker for tracker in self.trackers if tracker is not None]

    def __call__(self, y, y_pred, sample_weight=None):
        outputs = jax.tree.leaves(y_pred)
        targets = align(y, y_pred, self.names)
        weights = align(sample_weight, y_pred, self.names, "sample_weight")
        total = 0.0
        for loss, target, output, weight, share, tracker in zip(
            self.losses, targets, outputs, weights, self.weights, self.trackers, strict=True
        ):
            if loss is None:
                continue
            if target is None:
                raise ValueError(
                    f"The loss {getattr(loss, 'name', loss)} needs targets, but no `y` was passed "
                    "(or none for this output)."
                )
            try:
                value = loss(target, output, sample_weight=weight)
            except Exception as error:
                if not getattr(loss, "fn", loss).__module__.startswith("cornu."):
                    shapes = f"y_true: {np.shape(target)}, y_pred: {np.shape(output)}"
                    blame(error, f"the loss '{getattr(loss, 'name', loss)}'", shapes)
                raise
            if tracker is not None:
                tracker.update_state(jax.lax.stop_gradient(value), sample_weight=output.shape[0])
            total = total + share * value
        return total


def _to_loss(entry) -> Callable | None:
    if isinstance(entry, list | tuple) and len(entry) == 1:
        (entry,) = entry
    if entry is None or isinstance(entry, Loss):
        return entry
    if isinstance(entry, list | tuple):
        raise ValueError(f"Expected one loss for each output. Received: loss={entry}")
    if isinstance(entry, str) and entry.lower() in ("crossentropy", "ce"):
        return LossFunctionWrapper(_crossentropy, name=entry)
    found = registry.get("loss", entry)
    if isinstance(found, Loss):
        return found
    return LossFunctionWrapper(found, name=getattr(found, "__name__", "loss"))


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
        # The names in the last result.
        self.result_names: list[str] = []
        self.built = False

    def spread(self, names: list[str]) -> None:
        """Set the names of the outputs that the metrics are for."""
        self.names = names
        self._spread = [
            per_output(given, names, what, single=True) for what, given in self._given.items()
        ]

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
        targets = align(y, y_pred, self.names)
        several = len(self.names) > 1
        self._entries = []
        for spread, weighted in zip(self._spread, (False, True), strict=True):
            each_output = zip(spread, self.names, targets, outputs, strict=True)
            for i, (given, name, target, output) in enumerate(each_output):
                for entry in _flat(given):
                    if entry is not None and target is not None:
                        metric = to_metric(entry, target, output)
                        prefix = f"{name}_" if several else ""
                        self._entries.append(_Entry(metric, i, prefix, weighted))
        self.built = True

    def update_state(self, y, y_pred, sample_weight=None) -> None:
        """Update all of them with a batch."""
        outputs = jax.tree.leaves(y_pred)
        targets = align(y, y_pred, self.names)
        weights = align(sample_weight, y_pred, self.names, "sample_weight")
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
