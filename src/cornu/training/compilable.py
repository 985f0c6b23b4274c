"""What `compile` sets: the optimizer, the losses and the metrics of a model."""

import functools
import itertools
import warnings
from typing import Any

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.layer import Layer
from cornu.core.tracking import Aside
from cornu.core.variable import functional
from cornu.metrics import Mean
from cornu.optimizers import LossScaleOptimizer
from cornu.optimizers import get as get_optimizer
from cornu.training.compiled import CompiledLoss, CompiledMetrics, unused
from cornu.training.per_output import Outputs
from cornu.training.step import loss_of


class Compilable(Layer):
    """The part of a model that holds what to minimize, how, and what to measure."""

    # What training keeps on a model and that is no part of it as a layer.
    loss: Aside[Any]
    _loss_tracker: Aside[Any]
    _compile_arguments: Aside[dict]
    _compiled_metrics: Aside[Any]
    # For which kinds of work a batch has been looked at since `compile`.
    _checked: Aside[frozenset]
    _functions: Aside[dict]

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.optimizer: Any = None
        self.stop_training = False
        self.compiled = False
        self.run_eagerly = False
        self.jit_compile = True
        self.steps_per_execution = 1
        self.loss = None
        self._loss_tracker = None
        self._compiled_loss: Any = None
        self._compiled_metrics = None
        self._compile_arguments = {}
        self._checked = frozenset()
        self._functions = {}

    def __getstate__(self):
        # Compiled steps are made again by whoever needs them.
        return {**self.__dict__, "_functions": {}}

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        auto_scale_loss=True,
    ):
        """Configure training.

        Args:
            optimizer: name, `Optimizer`, or an Optax transformation.
            loss: name, `Loss`, or function `(y_true, y_pred)`; for several outputs a list, a dict
                from the outputs' names, or the structure of the outputs, such as `[("mse", "mae"),
                "mse"]`. A list in an output's place is the sum of several losses. Logs name each
                by its path: `0/a_loss`.
            loss_weights: factor of each loss, a list, a dict or the structure.
            metrics: list of names, `Metric`s or functions; for several outputs a list of such, a
                dict, or the structure of the outputs.
            weighted_metrics: the same, but weighted by `sample_weight` and `class_weight`.
            run_eagerly: run steps operation by operation, for looking into them.
            steps_per_execution: number of steps between two calls of the batch callbacks. Where no
                callback needs each batch, as many steps run at once as take about a tenth of a second;
                results do not depend on it. `"auto"` means 1.
            jit_compile: whether to compile steps; `"auto"` means yes.
            auto_scale_loss: under `mixed_float16`, wrap the optimizer in a `LossScaleOptimizer`.

        Each call replaces all that an earlier one set. In Keras 3.15 a call without `loss` or without
        `metrics` keeps the earlier ones, although a saved file says otherwise.

        Source: Keras: Model training APIs.
        """
        optimizer = get_optimizer(optimizer)
        if (
            auto_scale_loss
            and self.dtype_policy.name == "mixed_float16"
            and not isinstance(optimizer, LossScaleOptimizer)
        ):
            optimizer = LossScaleOptimizer(optimizer, name="loss_scale_optimizer")
        _check_arguments(loss, loss_weights, run_eagerly, steps_per_execution, jit_compile)
        self.optimizer = optimizer
        self.loss = loss
        self._compile_arguments = {
            "optimizer": optimizer,
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
            **({} if auto_scale_loss else {"auto_scale_loss": False}),
        }
        self.run_eagerly = run_eagerly
        self.jit_compile = jit_compile is not False
        self.steps_per_execution = 1 if steps_per_execution == "auto" else steps_per_execution
        self._loss_tracker = Mean(name="loss")
        self._compiled_loss = None
        given = metrics is not None or weighted_metrics is not None
        self._compiled_metrics = CompiledMetrics(metrics, weighted_metrics) if given else None
        self._checked = frozenset()
        self._functions = {}
        self.stop_training = False
        self.compiled = True
        if self._graph is not None:
            self._resolve_outputs(self.output)

    def _resolve_outputs(self, structure) -> None:
        """Spread losses and metrics over the outputs, once these are known."""
        outputs = Outputs(structure, self.output_names, are_layers=self._graph is not None)
        given = self._compile_arguments
        if self._compiled_loss is None and given["loss"] is not None:
            self._compiled_loss = CompiledLoss(given["loss"], given["loss_weights"], outputs)
        if self._compiled_metrics is not None:
            self._compiled_metrics.spread(outputs, self._compiled_loss)

    def _need_compiled(self, method: str) -> None:
        if not self.compiled:
            raise ValueError(
                f"You must call `compile()` before calling `{method}()`. For example:\n"
                "    model.compile(optimizer='adam', loss='categorical_crossentropy', "
                "metrics=['accuracy'])"
            )

    def get_compile_config(self) -> dict:
        """The arguments of `compile` as plain values; empty if the model is not compiled.

        A subclass with a `compile` of its own overrides it, and may put objects into it, too. What
        cannot be described (a transformation of Optax) must not keep a model from being saved: then
        there is a warning, and the description is empty.
        """
        return self._described_compile()

    def _described_compile(self) -> dict:
        try:
            return registry.serialize(self._compile_arguments) if self.compiled else {}
        except TypeError as error:
            warnings.warn(
                f"The model '{self.name}' is described without how it was compiled, so that it has to "
                f"be compiled again when it is loaded: {error}",
                stacklevel=2,
            )
            return {}

    def compile_from_config(self, config: dict) -> None:
        """Compile from what `get_compile_config` returned.

        A `compile` that a subclass overrides is not called, with a warning, because it is not known what
        its arguments are: override this method as well.
        """
        if type(self).compile is not Compilable.compile:
            warnings.warn(
                f"The model '{self.name}' is not compiled, because its class has a `compile()` of its "
                "own. Override `get_compile_config()` and `compile_from_config(config)` as well, or "
                "call `compile()` after loading.",
                stacklevel=2,
            )
            return
        self.compile(**registry.deserialize(config))
        if self.built and self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list:
        """The loss' mean, the metrics given to `compile` (as one), those of single outputs' losses, and
        metrics kept as attributes of the model and its layers.

        A model within this one has trackers for its own training, which do not count here.
        """
        compiled = [self._compiled_metrics] if self._compiled_metrics is not None else []
        first, *others = [*self._loss_trackers(), None]
        kept = self._structure().metrics
        if kept:
            known = {id(m) for metric in compiled for m in metric.metrics}
            for layer in self._flatten_layers():
                if isinstance(layer, Compilable) and layer is not self:
                    known.update(map(id, layer._own_metrics()))
            kept = [metric for metric in kept if id(metric) not in known]
        found = [first, *compiled, *others, *kept]
        return list({id(metric): metric for metric in found if metric is not None}.values())

    def _loss_trackers(self) -> list:
        """The mean of the loss, and of each output's own loss."""
        own = [self._loss_tracker] if self._loss_tracker is not None else []
        return own + (self._compiled_loss.metrics if self._compiled_loss is not None else [])

    @property
    def metrics_names(self) -> list[str]:
        """The metrics' names."""
        return [metric.name for metric in self.metrics]

    def reset_metrics(self) -> None:
        """Reset all metrics."""
        for metric in self.metrics:
            metric.reset_state()

    def get_metrics_result(self) -> dict:
        """The metrics' values by name. A name that is taken gets a number appended."""
        results: dict = {}
        losses = {id(metric) for metric in self._loss_trackers()}
        for metric in sorted(self.metrics, key=lambda metric: id(metric) not in losses):
            if isinstance(metric, CompiledMetrics) and not metric.built:
                continue
            value = metric.result()
            for name, number in (
                value if isinstance(value, dict) else {metric.name: value}
            ).items():
                results[unused(name, results)] = number
        return results

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The scalar that training minimizes; override it for your own loss."""
        losses = []
        if self._compiled_loss is not None:
            loss = self._compiled_loss(y, y_pred, sample_weight)
            if loss is not None:
                losses.append(loss)
        losses.extend(jnp.sum(jnp.asarray(v, jnp.float32)) for v in self.losses)
        if not losses:
            if not training and self._compiled_metrics is not None:
                # Metrics alone can be evaluated.
                return jnp.zeros(())
            if self._compile_arguments.get("loss") is None:
                raise ValueError(
                    "No loss to compute. Provide a `loss` argument in `compile()`, or add losses "
                    "with `add_loss()` in a layer."
                )
            raise ValueError("No loss to compute: every output's loss is None.")
        return sum(losses[1:], start=losses[0])

    def stateless_compute_loss(
        self,
        trainable_variables,
        non_trainable_variables,
        metrics_variables,
        x=None,
        y=None,
        y_pred=None,
        sample_weight=None,
        training=True,
    ):
        """`compute_loss` as a pure function of the variables' values, penalties of weights included.

        Returns:
            `(loss, (trainable_variables, non_trainable_variables, metrics_variables))`
        """
        groups = [*self._state_variables(), self.metrics_variables]
        given = [trainable_variables, non_trainable_variables, metrics_variables]
        pure = functional(functools.partial(loss_of, self), list(itertools.chain(*groups)))
        loss, new = pure(list(itertools.chain(*given)), x, y, y_pred, sample_weight, training)
        values = iter(new)
        return loss, tuple([next(values) for _ in group] for group in groups)

    def compute_metrics(self, x, y, y_pred, sample_weight=None) -> dict:
        """Update the metrics with a batch and return their values; may be overridden."""
        if self._compiled_metrics is not None and y is not None:
            self._compiled_metrics.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def _state_variables(self) -> tuple[list, list]:
        metrics = {id(v) for v in self.metrics_variables}
        return (
            self.trainable_variables,
            [v for v in self.non_trainable_variables if id(v) not in metrics],
        )

    # Defined by `Model`.
    _graph: Any = None
    output_names: Any
    output: Any


def _check_arguments(loss, loss_weights, run_eagerly, steps_per_execution, jit_compile) -> None:
    if steps_per_execution != "auto" and (
        not isinstance(steps_per_execution, int) or steps_per_execution < 1
    ):
        raise ValueError(
            "`steps_per_execution` must be a positive integer or 'auto'. Received: "
            f"steps_per_execution={steps_per_execution}"
        )
    if jit_compile not in (True, False, None, "auto"):
        raise ValueError(
            f"`jit_compile` must be True, False or 'auto'. Received: jit_compile={jit_compile!r}"
        )
    if run_eagerly and jit_compile is True:
        warnings.warn(
            "With `run_eagerly=True` nothing is compiled: `jit_compile=True` has no effect.",
            stacklevel=3,
        )
    if loss is None and loss_weights is not None:
        raise ValueError(
            "`loss_weights` needs a `loss` to weigh, and none is given. Pass `loss`, or weigh what "
            f"`add_loss` or a loss of your own computes there. Received: loss_weights={loss_weights}"
        )
