"""`fit`, `evaluate` and `predict`."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cornu.core import memory
from cornu.core.tracking import Aside
from cornu.core.variable import functional
from cornu.data.adapt import adapt
from cornu.data.array_source import ArraySource
from cornu.data.arrays import converted, in_memory, is_batch, to_arrays
from cornu.data.samples import unpack_x_y_sample_weight
from cornu.ops.fusion import fuse
from cornu.training import agreement, buckets, checks, fitting, interrupts, step
from cornu.training.agreement import made_together
from cornu.training.callback_list import CallbackList
from cornu.training.compilable import Compilable
from cornu.training.compiled_step import Turn
from cornu.training.logs import Logs
from cornu.training.loop import run_steps
from cornu.training.model_steps import compiled_step
from cornu.training.old_spellings import OldMethods, takes_old_arguments
from cornu.training.preparation import build, prepare
from cornu.training.progbar_logger import check_verbose
from cornu.training.run import Run


class Trainer(Compilable, OldMethods):
    """The part of a model that trains it.

    A step is a pure function of the model's state, four lists of arrays: trainable variables, other
    variables, the optimizer's and the metrics'. It is compiled once for each shape of a batch; its
    results are put back into the variables by reference after every step, so whoever looks at a
    weight between two steps sees the live one.
    """

    # Symbolic inputs and outputs, once a batch was seen.
    _input_specs: Aside[Any]
    _output_specs: Aside[Any]

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stop_evaluating = self.stop_predicting = False
        self.history: Any = None
        # Held by a step of training, and while weights and metrics are made.
        self._turn, self._making = Turn(), Turn()
        self._output_names_of_call = ["output"]
        self._input_specs = self._output_specs = None

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
        return step.loss_and_updates(
            self,
            trainable_variables,
            non_trainable_variables,
            metrics_variables,
            x,
            y,
            sample_weight,
            training,
            optimizer_variables,
        )

    def _pure(self, run, variables: list):
        """`functional`, with operations fused; not if each of them is to be observed."""
        pure = functional(run, variables)
        return pure if self.run_eagerly else fuse(pure)

    def stateless_call(self, trainable_variables, non_trainable_variables, *args, **kwargs):
        """Call the model as a pure function of its variables' values: see `Layer`."""
        values = list(trainable_variables), list(non_trainable_variables)
        call = super().stateless_call
        if self.run_eagerly:
            return call(*values, *args, **kwargs)
        return fuse(lambda trainable, others: call(trainable, others, *args, **kwargs))(*values)

    def train_step(self, state, data):
        """One step of training; override it for your own training procedure.

        Args:
            state: `(trainable_variables, non_trainable_variables, optimizer_variables,
                metrics_variables)`, lists of arrays.
            data: a batch: `x`, `(x, y)` or `(x, y, sample_weight)`.

        Returns:
            `(logs, state)`.
        """
        return step.train(self, state, data)

    def test_step(self, state, data):
        """One step of evaluation: `state` is `(trainable, non_trainable, metrics)`."""
        return step.test(self, state, data)

    def predict_step(self, state, data):
        """One step of prediction: `state` is `(trainable, non_trainable)`.

        Returns:
            `(outputs, non_trainable)`.
        """
        x, _, _ = unpack_x_y_sample_weight(data)
        return self.stateless_call(*state, x, training=False)

    def make_train_function(self, force=False):
        """The compiled form of `train_step`; `fit` makes it by itself."""
        return compiled_step(self, "train", force)

    def make_test_function(self, force=False):
        """The compiled form of `test_step`; `evaluate` makes it by itself."""
        return compiled_step(self, "test", force)

    def make_predict_function(self, force=False):
        """The compiled form of `predict_step`; `predict` makes it by itself."""
        return compiled_step(self, "predict", force)

    def jax_state_sync(self):
        """Does nothing: after each step of training the variables have its values."""

    @takes_old_arguments(nb_epoch="epochs")
    @made_together
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
        check_verbose(verbose)
        fitting.check_arguments(epochs, initial_epoch, shuffle, validation_freq)
        epochs = fitting.within_limit(epochs)
        agreement.share_random_state()
        work = fitting.open_data(
            self,
            (self._on_host(x, trains=True), y, sample_weight),
            batch_size,
            steps_per_epoch,
            shuffle,
            class_weight,
            validation_split,
            validation_data,
            validation_steps,
            validation_batch_size,
            callbacks,
        )
        agreement.check_model(
            self,
            "fit",
            epochs=epochs,
            initial_epoch=initial_epoch,
            batch_size=batch_size,
            shuffle=shuffle,
            steps_per_epoch=steps_per_epoch,
            class_weight=class_weight,
            validation_freq=validation_freq,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
        )
        callbacks = self._as_list(callbacks, verbose, work.data, epochs, add_history=True)
        self.stop_training = False
        self._run = Run(self, work.data, work.validation, callbacks)
        try:
            callbacks.set_run(self._run)
            with interrupts.heard(), memory.kept():
                fitting.run_epochs(self, work, callbacks, initial_epoch, epochs, validation_freq)
        finally:
            self._run = None
            callbacks.set_run(None)
            work.close()
        return self.history

    def _as_list(self, callbacks, verbose, data, epochs=1, add_history=False):
        if isinstance(callbacks, CallbackList):
            return callbacks
        return CallbackList(
            callbacks,
            add_history=add_history,
            add_progbar=verbose != 0,
            verbose=1 if verbose == "auto" else verbose,
            epochs=epochs,
            steps=data.num_batches,
            model=self,
        )

    @takes_old_arguments()
    @made_together
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
        check_verbose(verbose)
        given = converted(self._on_host(x), y, sample_weight)
        agreement.check_data("evaluate", given)
        data = adapt(*given, batch_size, steps, repeat=False)
        prepare(self, data, training=False)
        agreement.check_model(self, "evaluate", batch_size=batch_size, steps=steps)
        if isinstance(data, ArraySource):
            checks.check_label_values(self, given[1])
        with contextlib.closing(data):
            logs = fitting.evaluate(self, data, self._as_list(callbacks, verbose, data))
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

    @takes_old_arguments()
    @made_together
    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """The model's outputs for data, batch by batch, as NumPy arrays.

        Args:
            x: inputs, as for `fit`.
            batch_size: samples in a step, 32 if not given.
            verbose: 0 silent, 1 a progress bar.
            steps: number of batches, if not all.
            callbacks: list of `Callback`s.
        """
        check_verbose(verbose)
        x = self._on_host(x)
        given = converted(x)
        agreement.check_data("predict", given)
        data = adapt(*given, batch_size=batch_size, steps=steps, repeat=False, gather_in_step=False)
        build(self, data.first_batch)
        agreement.check_model(self, "predict", batch_size=batch_size, steps=steps)
        callbacks = self._as_list(callbacks, verbose, data)
        self.stop_predicting = False
        callbacks.on_predict_begin()
        outputs: list = []
        function = compiled_step(self, "predict")
        predict: Callable = function
        if function.examples_are_alone is None:
            function.examples_are_alone = buckets.examples_are_alone(self)
        if function.examples_are_alone:
            full = (None if steps else batch_size or 32) if in_memory(x) else None
            predict = buckets.in_buckets(function, full)
        with contextlib.closing(data):
            run_steps(self, predict, data, callbacks, "predict", collect=outputs)
        callbacks.on_predict_end()
        return jax.tree.map(lambda *parts: np.concatenate(parts), *outputs)

    @made_together
    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """One step of training on one batch; returns the loss and the metrics of that batch."""
        self._need_compiled("train_on_batch")
        return self._on_batch("train", x, y, sample_weight, class_weight, return_dict)

    @made_together
    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """The loss and the metrics on one batch."""
        self._need_compiled("test_on_batch")
        return self._on_batch("test", x, y, sample_weight, None, return_dict)

    def _batch_of(self, kind, x, y, sample_weight, class_weight=None):
        """A batch as a step takes it; what is still missing is built."""
        given = to_arrays(self._on_host(x, kind == "train"), y, sample_weight)
        data = ArraySource(*given, None, False, 1, class_weight)
        prepare(self, data, training=kind == "train")
        return data.first_batch()

    def _on_batch(self, kind, x, y, sample_weight, class_weight, return_dict):
        batch = self._batch_of(kind, x, y, sample_weight, class_weight)
        x, y, sample_weight = unpack_x_y_sample_weight(batch)
        checks.check_label_values(self, y)
        if kind == "train":
            checks.check_finite(self, x, y, sample_weight)
        with self._turn if kind == "train" else fitting.own_counts(self):
            self.reset_metrics()
            logs = compiled_step(self, kind)(batch)
        logs = dict(sorted(Logs(logs).items()))
        return logs if return_dict else self._in_order(logs)

    @made_together
    def predict_on_batch(self, x):
        """The model's outputs for one batch, as NumPy arrays."""
        batch = x = self._on_host(x)
        if not is_batch(x):
            data = ArraySource(*to_arrays(x), None, False, steps=1, gather_in_step=False)
            batch = data.first_batch()
        build(self, lambda: batch)
        outputs = compiled_step(self, "predict")(batch)
        return jax.tree.map(np.asarray, outputs)

    def _on_host(self, x, trains=False):
        """The data with what a model computes from them before its compiled step, if there is any."""
        return x

    # Defined by `Model`.
    _is_built_by_call: Callable
    _build_by_call: Callable

    # The run of `fit` that goes on.
    _run: Run | None = None
