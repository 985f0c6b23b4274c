"""`compile`, `fit`, `evaluate` and `predict`."""

import contextlib
import functools
import inspect
import itertools
import operator
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.callbacks import CallbackList
from cornu.core import registry
from cornu.core.layer import Layer, running_layer
from cornu.core.symbolic import infer_outputs, known_batch
from cornu.core.variable import Variable, functional, own_values, put_values, take_values
from cornu.data import adapters
from cornu.metrics import Mean
from cornu.ops.fixed_order import compiler_options, in_fixed_order, ordered
from cornu.ops.fusion import fuse
from cornu.optimizers import LossScaleOptimizer
from cornu.optimizers import get as get_optimizer
from cornu.training import buckets, checks, interrupts
from cornu.training.compiled import CompiledLoss, CompiledMetrics, align, unused
from cornu.training.loop import Logs, as_logs, run_steps
from cornu.training.probabilities import infer_with_origins, naming_outputs, warn_of_activations
from cornu.training.snapshot import Run, Snapshot
from cornu.utils.samples import unpack_x_y_sample_weight


class Trainer(Layer):
    """The part of a model that trains it.

    A step is a pure function of the model's state, four lists of arrays: trainable variables, other
    variables, the optimizer's and the metrics'. It is compiled once for each shape of a batch; its
    results are put back into the variables by reference after every step, so whoever looks at a
    weight between two steps sees the live one.
    """

    # Attributes that training keeps on a model and that are no part of it as a layer.
    _not_members = Layer._not_members | frozenset(
        {
            "loss",
            "_tensor_of",
            "_loss_tracker",
            "_compile_arguments",
            "_checked",
            "_functions",
            "_input_specs",
            "_output_specs",
            "_compiled_metrics",
        }
    )

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.optimizer: Any = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.compiled = False
        self.history: Any = None
        self.run_eagerly = False
        self.jit_compile = True
        self.steps_per_execution = 1
        self.loss = None
        self._loss_tracker: Any = None
        self._compiled_loss: Any = None
        self._compiled_metrics: Any = None
        self._compile_arguments: dict = {}
        # For which kinds of work a batch has been looked at since `compile`.
        self._checked: frozenset = frozenset()
        self._functions: dict = {}
        # Held by a step of training, and while weights and metrics are made.
        self._turn, self._making = _Turn(), _Turn()
        self._output_names_of_call = ["output"]
        # Symbolic outputs, once a batch was seen.
        self._input_specs: Any = None
        self._output_specs: Any = None

    def __getstate__(self):
        # Compiled steps are made again by whoever needs them.
        return {**self.__dict__, "_functions": {}}

    # ---- compile

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
        """Say how to train.

        Args:
            optimizer: name, `Optimizer`, or an Optax transformation.
            loss: name, `Loss`, or function `(y_true, y_pred)`; for several outputs a list, or a
                dict from the outputs' names.
            loss_weights: factor of each output's loss, a list or dict.
            metrics: list of names, `Metric`s or functions; for several outputs a list of such, or
                a dict.
            weighted_metrics: the same, but weighted by `sample_weight` and `class_weight`.
            run_eagerly: run steps operation by operation, for looking into them.
            steps_per_execution: number of steps between two calls of the batch callbacks. Where no
                callback needs each batch, as many steps run at once as take about a tenth of a second;
                the numbers do not depend on it. `"auto"` means 1.
            jit_compile: whether to compile steps; `"auto"` means yes.
            auto_scale_loss: under `mixed_float16`, wrap the optimizer in a `LossScaleOptimizer`.

        Source: Keras: Model training APIs.
        """
        optimizer = get_optimizer(optimizer)
        if (
            auto_scale_loss
            and self.dtype_policy.name == "mixed_float16"
            and not isinstance(optimizer, LossScaleOptimizer)
        ):
            optimizer = LossScaleOptimizer(optimizer, name="loss_scale_optimizer")
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
                stacklevel=2,
            )
        if loss is None and loss_weights is not None:
            raise ValueError(
                "`loss_weights` needs a `loss` to weigh, and none is given. Pass `loss`, or weigh what "
                f"`add_loss` or a loss of your own computes there. Received: loss_weights={loss_weights}"
            )
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
            self._resolve_outputs(self.output_names)

    def _resolve_outputs(self, names: list[str]) -> None:
        """Spread losses and metrics over the outputs, once these are known."""
        given = self._compile_arguments
        if self._compiled_loss is None and given["loss"] is not None:
            self._compiled_loss = CompiledLoss(given["loss"], given["loss_weights"], names)
        if self._compiled_metrics is not None:
            self._compiled_metrics.spread(names)

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
        """Compile as `get_compile_config` says.

        A `compile` that a subclass overrides is not called, with a warning, because nobody knows what
        its arguments are: override this method as well.
        """
        if type(self).compile is not Trainer.compile:
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

    # ---- metrics

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
                if isinstance(layer, Trainer) and layer is not self:
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
        """Start all metrics again."""
        for metric in self.metrics:
            metric.reset_state()

    def get_metrics_result(self) -> dict:
        """The metrics' values by name. A name that is taken already gets a number behind it."""
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

    # ---- one step

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The number that training minimizes; override it for a loss of your own."""
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

    def _compute_loss(self, x, y, y_pred, sample_weight, training):
        """`compute_loss`, which may be overridden without `training`."""
        if _takes(type(self).compute_loss, "training"):
            return self.compute_loss(x, y, y_pred, sample_weight, training=training)
        return self.compute_loss(x, y, y_pred, sample_weight)

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
        pure = functional(self._compute_loss, list(itertools.chain(*groups)))
        loss, new = pure(list(itertools.chain(*given)), x, y, y_pred, sample_weight, training)
        values = iter(new)
        return loss, tuple([next(values) for _ in group] for group in groups)

    def compute_metrics(self, x, y, y_pred, sample_weight=None) -> dict:
        """Count a batch into the metrics and return their values; may be overridden."""
        if self._compiled_metrics is not None and y is not None:
            self._compiled_metrics.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def compute_loss_and_updates(
        self,
        trainable_variables,
        non_trainable_variables,
        metrics_variables,
        x,
        y,
        sample_weight,
        training=False,
        optimizer_variables=None,
    ):
        """The loss of a batch as a pure function: what a step differentiates.

        Returns:
            `(loss, (unscaled_loss, y_pred, non_trainable_variables, metrics_variables))`
        """
        trainable, others = self._state_variables()
        metrics = self.metrics_variables

        def run():
            y_pred = self(x, training=training)
            return self._compute_loss(x, y, y_pred, sample_weight, training), y_pred

        # Counts of models within this one are no part of the state: they stay as they are.
        rest = self._unlisted_counts("predict", metrics, self._structure().metrics)
        values = [*trainable_variables, *non_trainable_variables, *metrics_variables]
        values += [v.value for v in rest]
        (loss, y_pred), new = self._pure(run, trainable + others + metrics + rest)(values)
        start = len(trainable)
        new_others = new[start : start + len(others)]
        new_metrics = new[start + len(others) : start + len(others) + len(metrics)]
        unscaled = loss
        if training and self.optimizer is not None:
            scale = functional(self.optimizer.scale_loss, self.optimizer.variables)
            loss, _ = scale(optimizer_variables, loss)
        return loss, (unscaled, y_pred, new_others, new_metrics)

    def _pure(self, run, variables: list):
        """`functional`, with operations fused; not if one wants to look at each of them."""
        pure = functional(run, variables)
        return pure if self.run_eagerly else fuse(pure)

    def stateless_call(self, trainable_variables, non_trainable_variables, *args, **kwargs):
        """Call the model as a pure function of its variables' values: see `Layer`."""
        values = list(trainable_variables), list(non_trainable_variables)
        call = super().stateless_call
        if self.run_eagerly:
            return call(*values, *args, **kwargs)
        return fuse(lambda trainable, others: call(trainable, others, *args, **kwargs))(*values)

    def _unlisted_counts(self, kind: str, listed: list, kept: list) -> list:
        """The variables of metrics that a step may count with though its state does not list them.

        Those of `kept`, all metrics in the model's layers, are among them.
        """
        own = self._loss_trackers() if kind != "predict" else []
        if own and self._compiled_metrics is not None:
            own.append(self._compiled_metrics)
        ids = set(map(id, listed))
        found = [v for metric in (*own, *kept) for v in metric.variables]
        return list({id(v): v for v in found if id(v) not in ids}.values())

    def train_step(self, state, data):
        """One step of training; override it for a procedure of your own.

        Args:
            state: `(trainable_variables, non_trainable_variables, optimizer_variables,
                metrics_variables)`, lists of arrays.
            data: a batch: `x`, `(x, y)` or `(x, y, sample_weight)`.

        Returns:
            `(logs, state)`.
        """
        trainable, others, optimizer_values, metric_values = state
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        gradient = jax.value_and_grad(self._loss_and_updates, has_aux=True)
        (_, (loss, y_pred, others, metric_values)), grads = gradient(
            trainable,
            others,
            metric_values,
            x,
            y,
            sample_weight,
            training=True,
            optimizer_variables=optimizer_values,
        )
        trainable, optimizer_values = self.optimizer.stateless_apply(
            optimizer_values, grads, trainable
        )
        logs, metric_values = self._count(metric_values, loss, x, y, y_pred, sample_weight)
        return logs, (trainable, others, optimizer_values, metric_values)

    def test_step(self, state, data):
        """One step of evaluation: `state` is `(trainable, non_trainable, metrics)`."""
        trainable, others, metric_values = state
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        _, (loss, y_pred, others, metric_values) = self._loss_and_updates(
            trainable, others, metric_values, x, y, sample_weight, training=False
        )
        logs, metric_values = self._count(metric_values, loss, x, y, y_pred, sample_weight)
        return logs, (trainable, others, metric_values)

    def predict_step(self, state, data):
        """One step of prediction: `state` is `(trainable, non_trainable)`.

        Returns:
            `(outputs, non_trainable)`.
        """
        x, _, _ = unpack_x_y_sample_weight(data)
        return self.stateless_call(*state, x, training=False)

    @property
    def _loss_and_updates(self):
        """`compute_loss_and_updates`, unless it was overridden with arguments for a step of the user's."""
        own = type(self).compute_loss_and_updates
        if all(_takes(own, name) for name in ("metrics_variables", "sample_weight")):
            return self.compute_loss_and_updates
        return functools.partial(Trainer.compute_loss_and_updates, self)

    def _count(self, metric_values, loss, x, y, y_pred, sample_weight):
        def count():
            self._loss_tracker.update_state(loss, sample_weight=_num_samples(x))
            return self.compute_metrics(x, y, y_pred, sample_weight)

        return functional(count, self.metrics_variables)(metric_values)

    # ---- the state and the compiled functions

    def _state_variables(self) -> tuple[list, list]:
        metrics = {id(v) for v in self.metrics_variables}
        return (
            self.trainable_variables,
            [v for v in self.non_trainable_variables if id(v) not in metrics],
        )

    def make_train_function(self, force=False):
        """The compiled form of `train_step`."""
        return self._function("train", force)

    def _function(self, kind: str, force=False):
        """The compiled step for one kind of work: made once, and again if the state changed."""
        structure = self._structure()
        known = None if force else self._functions.get(kind)
        # What the structure does not tell of.
        rest = []
        if kind == "train":
            rest.append(self.optimizer.variables if self.optimizer is not None else [])
        counts = self.metrics_variables if kind != "predict" else []
        if kind != "predict":
            rest.append(counts)
        rest.append(self._unlisted_counts(kind, counts, structure.metrics))
        trains = kind == "train" and self.optimizer is not None
        settings = [structure.settings, self.optimizer.settings if trains else []]
        if known is not None and not known.was_made_for(settings):
            known = None
        if known is not None and known.structure is structure and known.holds(rest, 2):
            return known
        groups = [*self._state_variables(), *rest]
        if known is not None and known.holds(groups):
            known.structure, known.examples_are_alone = structure, None
            return known
        made = _Function(self._step(kind), kind, groups, self._compiles, self)
        made.settings = settings
        self._functions[kind] = made
        # It is itself a part of the model by now.
        made.structure = self._structure()
        return made

    @property
    def _compiles(self) -> bool:
        return self.jit_compile and not self.run_eagerly

    def _prepare(self, data, training: bool) -> None:
        """Make whatever is still missing, from the shapes of one batch, before computing anything."""
        kind = "train" if training else "test"
        with self._making:
            if not self.built or kind not in self._checked:
                self._step(kind)
                parts = unpack_x_y_sample_weight(data.first_batch())
                with known_batch(_batch_size(parts[0])):
                    if self._has_own_step(kind):
                        self._prepare_own_step(*parts)
                        done = {kind}
                    else:
                        self._prepare_step(*parts)
                        done = {k for k in ("train", "test") if not self._has_own_step(k)}
                self._checked = self._checked | done
            if training and self.optimizer is not None and not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)

    def _prepare_step(self, x, y, sample_weight) -> None:
        if not self.built:
            self._build_from(x)
        origins = self._make_metrics(x, y)

        def count(x, y, sample_weight):
            y_pred = self(x)
            self._compute_loss(x, y, y_pred, sample_weight, training=False)
            return self.compute_metrics(x, y, y_pred, sample_weight)

        # Shows mistakes at once, and makes metrics that wait for their first batch.
        with naming_outputs(origins):
            infer_outputs(count, jax.tree.map(checks.symbol, (x, y, sample_weight)))

    def _prepare_own_step(self, x, y, sample_weight) -> None:
        """Less is known of a step of the user's: it may not even call the model."""
        has_build = not self._is_built_by_call()
        inner = self._sublayers()
        if not self.built and (has_build or not inner or not all(each.built for each in inner)):
            self._build_from(x)
        if self._compile_arguments["loss"] is None and self._compiled_metrics is None:
            return
        origins = self._make_metrics(x, y)
        if self._compiled_metrics is not None and y is not None:

            def count(x, y, sample_weight):
                self._compiled_metrics.update_state(y, self(x), sample_weight)

            with naming_outputs(origins):
                infer_outputs(count, jax.tree.map(checks.symbol, (x, y, sample_weight)))

    def _make_metrics(self, x, y) -> list:
        """Spread losses and metrics over the outputs, and see whether the targets fit them.

        Returns where the outputs come from.
        """
        y_pred, origins = infer_with_origins(self, x)
        if not jax.tree.leaves(y_pred):
            raise ValueError(
                f"The model '{self.name}' ({type(self).__name__}) returned {y_pred!r} and no tensor. Does "
                "its `call` end with `return …`?"
            )
        self._input_specs, self._output_specs = jax.tree.map(checks.symbol, x), y_pred
        if self._graph is None:
            self._output_names_of_call = _names_of(y_pred)
        self._resolve_outputs(self.output_names)
        with naming_outputs(origins):
            if y is not None and self._compiled_loss is not None:
                self._check_targets(y, y_pred)
                warn_of_activations(self._compiled_loss.losses, y_pred, origins)
            if self._compiled_metrics is not None and not self._compiled_metrics.built:
                self._compiled_metrics.build(y, y_pred)
        return origins

    def _check_validation(self, x, y=None, sample_weight=None) -> None:
        """Raise before training what evaluating would raise at the end of the first epoch."""
        if self._has_own_step("test") or not self._checked >= {"train", "test"}:
            return
        x, y, sample_weight = adapters.to_arrays(x, y, sample_weight)
        if y is None and self._compiled_loss is not None and checks.is_plain(self):
            raise ValueError(
                "`validation_data` holds no targets: pass it as a tuple, validation_data=(x_val, y_val)."
            )
        checks.check_label_values(self, y, "`validation_data`")
        specs = self._input_specs
        shapes = [leaf.shape[1:] for leaf in jax.tree.leaves(x)]
        if specs is not None and shapes != [spec.shape[1:] for spec in jax.tree.leaves(specs)]:
            infer_outputs(self, (jax.tree.map(checks.symbol, x),))

    def _has_own_step(self, kind: str) -> bool:
        """Whether the user has written the step."""
        name = f"{kind}_step"
        return name in self.__dict__ or getattr(type(self), name) is not getattr(Trainer, name)

    def _step(self, kind: str) -> Callable:
        """The step of one kind.

        Raises TypeError if it does not take a state: so they are written for TensorFlow and PyTorch.
        """
        step = getattr(self, f"{kind}_step")
        try:
            inspect.signature(step).bind(None, None)
        except TypeError:
            raise TypeError(
                _HOW_TO_STEP[kind].format(
                    cls=type(self).__name__, signature=inspect.signature(step)
                )
            ) from None
        return step

    def _check_targets(self, y, y_pred) -> None:
        outputs = jax.tree.leaves(y_pred)
        targets = align(y, y_pred, self.output_names)
        for loss, target, output in zip(self._compiled_loss.losses, targets, outputs, strict=True):
            if loss is not None and target is not None:
                checks.check_labels(loss, target, output)
                checks.warn_of_broadcasting(loss, target, output)

    def _build_from(self, x) -> None:
        with known_batch(_batch_size(x)):
            if not self._is_built_by_call():
                self.build(jax.tree.map(lambda a: a.shape, x))
            if not self.built or self._graph is None:
                self._build_by_call(jax.tree.map(checks.symbol, x))

    # ---- fit

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ):
        """Train for a number of passes over the data.

        Args:
            x: inputs: arrays (NumPy, JAX, pandas, scipy.sparse; a list or dict of them for several
                inputs), or a `PyDataset`, generator, `tf.data.Dataset`, torch `DataLoader` or other
                iterable of batches `(x, y)` or `(x, y, sample_weight)`.
            y: targets, if `x` does not bring them.
            batch_size: samples in a step, 32 if not given.
            epochs: number of the last epoch.
            verbose: 0 silent, 1 a progress bar, 2 one line an epoch, `"auto"` 1.
            callbacks: list of `Callback`s.
            validation_split: share of the arrays, from their end, to validate on.
            validation_data: `(x, y)`, `(x, y, sample_weight)` or a dataset to validate on.
            shuffle: whether to shuffle arrays before each epoch; `"batch"` shuffles within batches.
            class_weight: dict from a class to the weight of its samples' losses.
            sample_weight: weight of each sample's loss.
            initial_epoch: number of the first epoch.
            steps_per_epoch: steps in an epoch, if not as many as the data give.
            validation_steps, validation_batch_size: the same for validation.
            validation_freq: validate every so many epochs, or after the epochs in a list.

        Returns:
            a `History`, whose `history` maps each name to its values, one an epoch.

        Source: Keras: Model training APIs.
        """
        self._need_compiled("fit")
        for name, number in (("epochs", epochs), ("initial_epoch", initial_epoch)):
            if not isinstance(number, int | np.integer) or number < 0:
                least = " of at least 0" if isinstance(number, int) else ""
                raise ValueError(f"`{name}` must be an integer{least}. Received: {name}={number!r}")
        if shuffle not in (True, False, "batch"):
            raise ValueError(f"`shuffle` must be True, False or 'batch'. Received: {shuffle!r}")
        # Says what is wrong with it.
        _is_due(0, validation_freq)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = adapters.train_validation_split(
                (x, y, sample_weight), validation_split
            )
        if adapters.in_memory(x):
            x, y, sample_weight = adapters.to_arrays(x, y, sample_weight)
        data = adapters.adapt(
            x, y, sample_weight, batch_size, steps_per_epoch, shuffle, class_weight
        )
        self._prepare(data, training=True)
        check = None
        if isinstance(data, adapters.ArrayData):
            checks.check_label_values(self, y)
            checks.check_finite(self, x, y, sample_weight, data.batch_size)
        else:
            check = checks.BatchCheck(self)
        validation = None
        if validation_data is not None:
            parts = _validation_parts(validation_data)
            size = batch_size if adapters.in_memory(parts[0]) else None
            validation = adapters.adapt(
                *parts, validation_batch_size or size, validation_steps, repeat=False
            )
            if isinstance(validation, adapters.ArrayData):
                self._check_validation(*parts)
        elif validation_steps is not None or validation_batch_size is not None:
            warnings.warn(
                "`validation_steps` and `validation_batch_size` have no effect: there are no "
                "`validation_data`.",
                stacklevel=2,
            )
        if not isinstance(callbacks, CallbackList):
            callbacks = CallbackList(
                callbacks,
                add_history=True,
                add_progbar=verbose != 0,
                verbose=1 if verbose == "auto" else verbose,
                epochs=epochs,
                steps=data.num_batches,
                model=self,
            )
        self.stop_training = False
        self._run, self._snapshot = Run(self, data, callbacks), None
        try:
            with interrupts.heard():
                return self._fit(
                    data, validation, callbacks, initial_epoch, epochs, validation_freq, check
                )
        finally:
            self._run = self._snapshot = None

    def _fit(self, data, validation, callbacks, initial_epoch, epochs, validation_freq, check):
        callbacks.on_train_begin()
        snapshot, first_step = self._snapshot, 0
        if snapshot is not None:
            # Callbacks have just begun; now they are where they were.
            snapshot.resume_data()
            snapshot.apply()
            initial_epoch, first_step = snapshot.epoch, snapshot.step
        training_logs: dict = {}
        for epoch in range(initial_epoch, epochs):
            if snapshot is not None and self.stop_training:
                break
            if not first_step and data.is_used_up():
                _warn_used_up("data", "training ended", epoch, epochs)
                break
            self.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            if first_step:
                snapshot.apply()
            function = self._function("train")
            logs = run_steps(
                self, function, data, callbacks, "train", first_step=first_step, check=check
            )
            first_step = 0
            if logs is None:
                _warn_used_up("data", "training ended", epoch, epochs)
                break
            epoch_logs = dict(logs)
            if validation is not None and _is_due(epoch, validation_freq):
                result = {} if validation.is_used_up() else self._evaluate(validation, callbacks)
                if not result:
                    _warn_used_up("validation data", "nothing is validated any more", epoch, epochs)
                    validation = None
                epoch_logs.update({f"val_{name}": value for name, value in result.items()})
            callbacks.on_epoch_end(epoch, epoch_logs)
            training_logs = epoch_logs
            if self.stop_training:
                break
        if self.optimizer is not None and epochs > initial_epoch:
            self.optimizer.finalize_variable_values(self.trainable_weights)
        callbacks.on_train_end(logs=training_logs)
        return self.history

    # What `Model` says of itself.
    _graph: Any = None
    _is_built_by_call: Callable
    _build_by_call: Callable
    output_names: Any

    # The run of `fit` that goes on, and where a callback wants it to go on from (in `on_train_begin`).
    _run: Run | None = None
    _snapshot: Snapshot | None = None

    def _evaluate(self, data, callbacks) -> dict:
        data.rewind()
        self.stop_evaluating = False
        with self._own_counts():
            self.reset_metrics()
            callbacks.on_test_begin()
            logs = dict(run_steps(self, self._function("test"), data, callbacks, "test") or {})
            callbacks.on_test_end(logs)
        return logs

    @contextlib.contextmanager
    def _own_counts(self):
        """Within, this thread counts for itself; others that use the model do not see it.

        In the end the metrics get what was counted, unless another thread trains the model.
        """
        with own_values(self.metrics_variables) as counts:
            yield
        if self._run is None or self._run.thread == threading.get_ident():
            put_values(*counts())

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        callbacks=None,
        return_dict=False,
        **kwargs,
    ):
        """Loss and metrics on data, without changing the model.

        Args:
            x, y, sample_weight, batch_size: as for `fit`.
            verbose: 0 silent, 1 a progress bar, 2 one line.
            steps: number of batches, if not all.
            callbacks: list of `Callback`s.
            return_dict: whether to return a dict from names instead of a list.

        Returns:
            the loss, or a list of the loss and the metrics in the order of `metrics_names`.
        """
        if kwargs:
            raise ValueError(f"Arguments not recognized: {kwargs}")
        self._need_compiled("evaluate")
        data = adapters.adapt(x, y, sample_weight, batch_size, steps, repeat=False)
        self._prepare(data, training=False)
        if isinstance(data, adapters.ArrayData):
            checks.check_label_values(self, adapters.to_arrays(y)[0])
        if not isinstance(callbacks, CallbackList):
            callbacks = CallbackList(
                callbacks,
                add_progbar=verbose != 0,
                verbose=1 if verbose == "auto" else verbose,
                epochs=1,
                steps=data.num_batches,
                model=self,
            )
        logs = self._evaluate(data, callbacks)
        if return_dict:
            return logs
        return self._in_order(logs)

    def _in_order(self, logs: dict):
        """The logs as a list, as Keras orders them; one value alone is not put in a list.

        First come the losses, then the other metrics: those of a single output in the order in which they
        were given, all others by name.
        """
        names = [metric.name for metric in self._loss_trackers()]
        compiled = self._compiled_metrics
        if compiled is not None and len(compiled.names) == 1:
            names += compiled.result_names
        names += [metric.name for metric in self.metrics]
        names = [name for name in dict.fromkeys(names) if name in logs]
        values = [logs[name] for name in [*names, *sorted(set(logs) - set(names))]]
        return values[0] if len(values) == 1 else values

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """The model's outputs for data, batch by batch, as NumPy arrays.

        Args:
            x: inputs, as for `fit`.
            batch_size: samples in a step, 32 if not given.
            verbose: 0 silent, 1 a progress bar.
            steps: number of batches, if not all.
            callbacks: list of `Callback`s.
        """
        data = adapters.adapt(
            x, batch_size=batch_size, steps=steps, repeat=False, gather_in_step=False
        )
        with self._making:
            if not self.built:
                self._build_from(unpack_x_y_sample_weight(data.first_batch())[0])
        if not isinstance(callbacks, CallbackList):
            callbacks = CallbackList(
                callbacks,
                add_progbar=verbose != 0,
                verbose=1 if verbose == "auto" else verbose,
                epochs=1,
                steps=data.num_batches,
                model=self,
            )
        self.stop_predicting = False
        callbacks.on_predict_begin()
        outputs: list = []
        function = self._function("predict")
        step: Callable = function
        if function.examples_are_alone is None:
            function.examples_are_alone = buckets.examples_are_alone(self)
        if function.examples_are_alone:
            full = (None if steps else batch_size or 32) if adapters.in_memory(x) else None
            step = buckets.in_buckets(function, full)
        run_steps(self, step, data, callbacks, "predict", collect=outputs)
        callbacks.on_predict_end()
        return jax.tree.map(lambda *parts: np.concatenate(parts), *outputs)

    # ---- single batches

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """One step of training on one batch; returns the loss and the metrics of that batch."""
        self._need_compiled("train_on_batch")
        return self._on_batch("train", x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """The loss and the metrics on one batch."""
        self._need_compiled("test_on_batch")
        return self._on_batch("test", x, y, sample_weight, None, return_dict)

    def _on_batch(self, kind, x, y, sample_weight, class_weight, return_dict):
        data = adapters.ArrayData(x, y, sample_weight, None, False, 1, class_weight)
        self._prepare(data, training=kind == "train")
        batch = data.first_batch()
        x, y, sample_weight = unpack_x_y_sample_weight(batch)
        checks.check_label_values(self, y)
        if kind == "train":
            checks.check_finite(self, x, y, sample_weight)
        with self._turn if kind == "train" else self._own_counts():
            self.reset_metrics()
            logs = self._function(kind)(batch)
        logs = dict(sorted(Logs(logs).items()))
        return logs if return_dict else self._in_order(logs)

    def predict_on_batch(self, x):
        """The model's outputs for one batch, as NumPy arrays."""
        batch = x
        if not adapters.is_batch(x):
            data = adapters.ArrayData(x, None, None, None, False, steps=1, gather_in_step=False)
            batch = data.first_batch()
        with self._making:
            if not self.built:
                self._build_from(unpack_x_y_sample_weight(batch)[0])
        outputs = self._function("predict")(batch)
        return jax.tree.map(np.asarray, outputs)


# Steps in one call of a compiled function.
MOST_AT_ONCE = 16


class _Function:
    """A compiled step together with the variables whose values it takes and gives back.

    Args:
        groups: lists of variables: those of the state, and last those that the state does not list.
        model: whose step it is.
    """

    def __init__(self, step, kind: str, groups: list[list], compiles: bool, model):
        self._groups, self._model = groups, model
        self._variables = list(itertools.chain(*groups))
        # That of the model when this was last asked for, and what follows from it.
        self.structure: object = None
        self.settings: list = []
        self.examples_are_alone: bool | None = None
        self._compiled: dict = {}
        # Of the arguments that it was compiled for.
        self._sizes: set = set()
        # Steps in one call: the most, and what has proved to be a good number.
        self.most_at_once, self.at_once = MOST_AT_ONCE, 1
        # Whether a step has proved to be so short that the device should not wait for the next call.
        self.is_quick = False
        # Whether a step was tried on numbers that are not finite, and went well.
        self.survives = False
        self._step, self._kind, self._compiles = step, kind, compiles
        # Variables that are read and belong to no group, such as a loss network's.
        self._outside: list = []

    def was_made_for(self, settings: list) -> bool:
        """Whether attributes of layers and of the optimizer, which it has as constants, are the same."""
        return all(
            new is old or (len(new) == len(old) and all(map(operator.is_, new, old)))
            for new, old in zip(settings, self.settings, strict=True)
        )

    def holds(self, groups: list[list], first: int = 0) -> bool:
        """Whether its variables, in the groups from `first` on, are these."""
        own = self._groups[first:]
        return list(map(len, own)) == list(map(len, groups)) and all(
            map(operator.is_, itertools.chain(*own), itertools.chain(*groups))
        )

    def tried(self, batch):
        """The logs of a step, and the weights after it; nothing changes."""
        outside = self._outside
        run = functools.partial(self._run, outside)
        try:
            logs, new = (jax.jit(run) if self._compiles else run)(*self._take(outside), batch)
        except _Missed as missed:
            self._pass(missed.variables)
            return self.tried(batch)
        return logs, new[: len(self._groups[0])]

    def _run(self, others, values, outside, data):
        """The results of a step, and the new values of all variables; None where one stays as it is.

        Whatever the step reads and assigns besides its state has the values of this moment, too.
        """
        rest = iter(values)
        *state, _ = [list(itertools.islice(rest, len(group))) for group in self._groups]
        missed: dict = {}
        variables = [*self._variables, *others]
        pure = functional(self._step, variables, missed=functools.partial(self._miss, missed))
        returned, assigned = pure([*values, *outside], tuple(state), data)
        if missed and self._compiles:
            raise _Missed(missed.values())
        result, state = self._checked(returned)
        given = [*itertools.chain(*state), *[None] * (len(self._groups[-1]) + len(outside))]
        new = []
        for variable, before, value, own in zip(
            variables, [*values, *outside], given, assigned, strict=True
        ):
            if value is None or value is before:
                value = own
            changes = value is not before or (self._kind == "train" and len(new) < len(values))
            new.append(_like(variable, value) if changes else None)
        return result, new

    def _miss(self, missed: dict, variable) -> bool:
        """Hear of a variable that the step uses, and that no search of the model has found."""
        outermost = running_layer()
        layers = self._model._flatten_layers()
        if variable.trainable and outermost is not None and outermost in layers:
            raise RuntimeError(
                f"The weight {variable.path!r} (shape {variable.shape}) is used, but nothing that "
                f"'{outermost.name}' is made of leads to it: it would be neither trained nor saved. "
                "Keep the layer that made it as an attribute, `self.block = …` in `__init__`; lists, "
                "tuples, sets, dicts, dataclasses and plain objects are looked into. A function's "
                "closure, a global variable, and an attribute of a class are not. If it shall stay "
                "as it is, set `trainable = False` on its layer."
            )
        missed[id(variable)] = variable
        # It becomes an argument of the compiled step; without compiling it is simply assigned.
        return self._compiles

    def _checked(self, returned) -> tuple:
        """What a step returned, which may be the user's: results, and the lists of its state."""
        name, lists = f"`{self._kind}_step`", _STATE[self._kind]
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            what = "outputs" if self._kind == "predict" else "logs"
            raise TypeError(f"{name} must return `({what}, state)`. Received: {returned!r}")
        result, state = returned
        expected = [len(group) for group in self._groups[:-1]]
        if self._kind == "predict":
            # Only variables that are not trainable may change; as in Keras, they may come alone.
            pair = len(state) == 2 and all(isinstance(part, list | tuple) for part in state)
            state = [[None] * expected[0], state[1] if pair else state]
        found = [len(part) if isinstance(part, list | tuple) else None for part in state]
        if found != expected:
            raise ValueError(
                f"{name} must return the state as it came, ({', '.join(lists)}), lists of "
                f"{expected} values. Received lists of {found} values."
            )
        return result if self._kind == "predict" else as_logs(result, name), state

    def _run_rows(self, others, values, outside, source, rows, count):
        """`count` steps, each on the next `rows`: one program whatever their number."""

        def step(values, outside, rows):
            return self._run(others, values, outside, adapters.gather(source, rows))

        made = jax.make_jaxpr(step, return_shape=True)
        traced, (result, new) = made(values, outside, rows[0])
        traced = ordered(traced)
        first = [*values, *outside]
        changed = [i for i, value in enumerate(new) if value is not None]

        def again(i, state):
            before = list(first)
            for place, value in zip(changed, state[1], strict=True):
                before[place] = value
            found = jax.core.eval_jaxpr(traced.jaxpr, traced.consts, *before, rows[i])
            return found[: len(found) - len(changed)], found[len(found) - len(changed) :]

        nothing = [jnp.zeros(v.shape, v.dtype) for v in jax.tree.leaves(result)]
        state = nothing, [first[i] for i in changed]
        results, changes = jax.lax.fori_loop(0, count, again, state)
        for place, value in zip(changed, changes, strict=True):
            new[place] = value
        return jax.tree.unflatten(jax.tree.structure(result), results), new

    def _one_by_one(self, others, values, outside, source, rows, count):
        """The same, without compiling."""
        for i in range(int(count)):
            result, new = self._run(others, values, outside, adapters.gather(source, rows[i]))
            values = [v if n is None else n for v, n in zip(values, new, strict=True)]
        return result, values

    def _make(self, gathers: bool) -> tuple:
        """The step, and the variables that it takes besides its own."""
        outside = self._outside
        if not self._compiles:
            step = self._one_by_one if gathers else self._run
            return functools.partial(step, outside), outside
        # Only training gives weights away, so that evaluation and prediction may run in several threads.
        donated = 0 if self._kind == "train" else ()
        step = functools.partial(self._run_rows if gathers else self._run, outside)
        step = step if gathers else in_fixed_order(step)
        options = compiler_options()
        return jax.jit(step, donate_argnums=donated, compiler_options=options), outside

    def __call__(self, batch, source=None):
        """Run a step on a batch of an adapter and put the new state into the variables.

        With `source`, `batch` is a list of the rows of several batches of one size, of which each is a
        step; at most `most_at_once`.
        """
        try:
            return self._call(batch, source)
        except _Missed as missed:
            # It was only being traced.
            self._pass(missed.variables)
        return self(batch, source)

    def _pass(self, variables: list) -> None:
        """Make these variables arguments of the step, so that they are no constants in it."""
        self._outside = list({id(v): v for v in [*self._outside, *variables]}.values())
        self._compiled, self._sizes = {}, set()

    def _call(self, batch, source):
        gathers = source is not None
        compiled, known = self._compiled, self._sizes
        if gathers not in compiled:
            compiled[gathers] = self._make(gathers)
        step, outside = compiled[gathers]
        arguments: tuple = (batch,)
        if gathers:
            rows = np.zeros((MOST_AT_ONCE, len(batch[0])), np.int32)
            rows[: len(batch)] = batch
            arguments = source, rows, np.int32(len(batch))
        if self._compiles:
            sizes = (gathers, *[leaf.shape for leaf in jax.tree.leaves(arguments)])
            if sizes not in known:
                interrupts.compile_ahead(step, *self._take(outside), *arguments)
                known.add(sizes)
        if self._kind != "train":
            result, new = self._read(step, outside, arguments)
            put_values([*self._variables, *outside], new)
            return result
        # The step takes the old arrays' memory. An interrupt (Ctrl-C) between that and the assignment
        # would leave weights without numbers, so it waits; one that comes as an exception in another way
        # finds what the step returned stored by `extend(map(…))`, and `finally` assigns it.
        done: list = []
        with self._model._turn, interrupts.postponed():
            values = self._take(outside)
            try:
                done.extend(map(step, *([a] for a in (*values, *arguments))))
            finally:
                for _, new in done:
                    put_values([*self._variables, *outside], new)
        return done[0][0]

    def _take(self, outside: list) -> tuple[list, list]:
        """The values of the step's own variables, and of those outside."""
        values = take_values([*self._variables, *outside])
        own = len(self._variables)
        return values[:own], values[own:]

    def _read(self, step, outside: list, arguments: tuple):
        """A step that gives nothing away. Training in another thread may: its step is waited for."""
        values = self._take(outside)
        try:
            return step(*values, *arguments)
        except Exception:
            if not _are_gone(values):
                raise
        # One that trains this very model ends while the lock is waited for, one that trains another of the
        # same layers soon.
        for _ in range(1000):
            with self._model._turn:
                values = self._take(outside)
                if not _are_gone(values):
                    return step(*values, *arguments)
            time.sleep(0.01)
        return step(*values, *arguments)


def _are_gone(values: tuple[list, list]) -> bool:
    """Whether a step of training has taken some of these arrays."""
    return any(isinstance(v, jax.Array) and v.is_deleted() for v in itertools.chain(*values))


def _like(variable, value):
    """What a step returned for a variable, in the variable's format."""
    value = getattr(value, "value", value) if isinstance(value, Variable) else jnp.asarray(value)
    if value.shape != variable.shape:
        raise ValueError(
            f"The step returned a value of shape {value.shape} for the variable {variable.path!r} of shape "
            f"{variable.shape}. A variable keeps its shape."
        )
    if value.dtype != variable.dtype or value.weak_type:
        value = jax.lax.convert_element_type(value, jnp.dtype(variable.dtype))
    return value


class _Turn:
    """A lock that a copy of a model gets anew."""

    def __init__(self):
        self._lock = threading.RLock()

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *error):
        self._lock.release()

    def __reduce__(self):
        return type(self), ()


# The lists of a step's state.
_STATE = {
    "train": ["trainable", "non_trainable", "optimizer", "metrics"],
    "test": ["trainable", "non_trainable", "metrics"],
    "predict": ["trainable", "non_trainable"],
}

# What a step has to look like, for who has written another.
_HOW_TO_STEP = {
    kind: (
        f"`{{cls}}.{kind}_step{{signature}}` does not take a state. As with Keras on JAX, a step is a pure "
        "function: it gets the values of all variables, and returns the new ones. Write it so:\n\n"
        f"    def {kind}_step(self, state, data):\n        {names} = state\n{body}"
    )
    for kind, names, body in (
        (
            "train",
            "trainable, others, optimizer, metrics",
            """        x, y = data

        def loss_of(trainable, others):
            y_pred, others = self.stateless_call(trainable, others, x, training=True)
            return self.compute_loss(x, y, y_pred), others

        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, others), gradients = gradient(trainable, others)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return {{"loss": loss}}, (trainable, others, optimizer, metrics)""",
        ),
        (
            "test",
            "trainable, others, metrics",
            """        x, y = data
        y_pred, others = self.stateless_call(trainable, others, x, training=False)
        return {{"loss": self.compute_loss(x, y, y_pred)}}, (trainable, others, metrics)""",
        ),
        (
            "predict",
            "trainable, others",
            """        outputs, others = self.stateless_call(trainable, others, data, training=False)
        return outputs, others""",
        ),
    )
}


def _takes(method, name: str) -> bool:
    """Whether a method has a parameter of that name, or takes any."""
    parameters = inspect.signature(method).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


class _Missed(Exception):
    """Tells which variables a step, while it was traced, has read without having been given them."""

    def __init__(self, variables):
        super().__init__()
        self.variables = list(variables)


def _batch_size(x) -> int | None:
    return next((leaf.shape[0] for leaf in jax.tree.leaves(x) if np.ndim(leaf)), None)


def _num_samples(x) -> int:
    return jax.tree.leaves(x)[0].shape[0]


def _names_of(y_pred) -> list[str]:
    if isinstance(y_pred, dict):
        return sorted(y_pred)
    count = len(jax.tree.leaves(y_pred))
    return ["output"] if count == 1 else [f"output_{i + 1}" for i in range(count)]


def _warn_used_up(what: str, so: str, epoch: int, epochs: int) -> None:
    warnings.warn(
        f"Your input ran out of {what} before the end of epoch {epoch + 1} of {epochs}: not one batch was "
        f"left, and {so}. What can be read only once, as a generator, has to give enough batches for all "
        "epochs.",
        stacklevel=4,
    )


def _validation_parts(validation_data) -> tuple:
    if isinstance(validation_data, tuple | list):
        return unpack_x_y_sample_weight(validation_data)
    return validation_data, None, None


def _is_due(epoch: int, validation_freq) -> bool:
    if isinstance(validation_freq, int) and validation_freq > 0:
        return (epoch + 1) % validation_freq == 0
    if isinstance(validation_freq, list | tuple | set):
        return epoch + 1 in validation_freq
    raise ValueError(
        "Expected `validation_freq` to be a list or int, 1 or more. Received: "
        f"validation_freq={validation_freq} of type {type(validation_freq)}."
    )
