"""What a model needs before its first step, made from the shapes of one batch."""

import contextlib
from collections.abc import Callable, Iterator

import jax
import numpy as np

from cornu.core.symbolic import KerasTensor, infer_outputs, known_batch
from cornu.data.samples import unpack_x_y_sample_weight
from cornu.training import checks
from cornu.training.model_steps import has_own_step, step_method
from cornu.training.per_output import entries
from cornu.training.probabilities import call_with_origins, naming_outputs, warn_of_activations
from cornu.training.step import loss_of


def prepare(model, data, training: bool) -> None:
    """Make whatever is still missing, from the shapes of one batch, before computing anything."""
    kind = "train" if training else "test"
    with model._making:
        if not model.built or kind not in model._checked:
            step_method(model, kind)
            # Keras looks at the data only if there is something to make from their shapes.
            given = ("loss", "metrics", "weighted_metrics")
            draws = not model.built or any(model._compile_arguments.get(each) for each in given)
            parts = unpack_x_y_sample_weight(data.first_batch(draws))
            with known_batch(_batch_size(parts[0])):
                if has_own_step(model, kind):
                    _prepare_own_step(model, *parts)
                    done = {kind}
                else:
                    _prepare_step(model, *parts)
                    done = {k for k in ("train", "test") if not has_own_step(model, k)}
            model._checked = model._checked | done
        if training and model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)


def build(model, batch) -> None:
    """Make the weights, if there are none, from the shapes of a batch; `batch` is called for it."""
    with model._making:
        if not model.built:
            x, _, _ = unpack_x_y_sample_weight(batch())
            with known_batch(_batch_size(x)):
                _build_from(model, x)


def _build_from(model, x) -> None:
    if _is_made_by_call(model, x):
        model._build_by_call(jax.tree.map(checks.symbol, x))


def _is_made_by_call(model, x) -> bool:
    """Build a model as far as its shapes allow. Returns whether the rest is built by a call."""
    if model.built:
        return False
    if not model._is_built_by_call():
        model.build(jax.tree.map(lambda a: a.shape, x))
    return not model.built or model._graph is None


def _prepare_step(model, x, y, sample_weight) -> None:
    def count(x, y, y_pred, sample_weight):
        loss_of(model, x, y, y_pred, sample_weight, training=False)
        model.compute_metrics(x, y, y_pred, sample_weight)

    _look(model, x, y, sample_weight, _is_made_by_call(model, x), count)


def _prepare_own_step(model, x, y, sample_weight) -> None:
    """Prepare for a user's step, of which less is known: it may not even call the model."""
    has_build = not model._is_built_by_call()
    inner = model._sublayers()
    builds = has_build or not inner or not all(each.built for each in inner)
    if model._compile_arguments["loss"] is None and model._compiled_metrics is None:
        if builds:
            _build_from(model, x)
        return

    def count(x, y, y_pred, sample_weight):
        if model._compiled_metrics is not None and y is not None:
            model._compiled_metrics.update_state(y, y_pred, sample_weight)

    _look(model, x, y, sample_weight, builds and _is_made_by_call(model, x), count)


def _look(model, x, y, sample_weight, is_made: bool, count: Callable) -> None:
    """Trace the model on a batch once. This finds mistakes, and creates what needs a first batch.

    Losses and metrics are spread over the outputs, and targets have to fit them.

    Args:
        is_made: whether the call makes weights.
        count: called with `(x, y, y_pred, sample_weight)` within the trace.
    """
    symbols = jax.tree.map(checks.symbol, (x, y, sample_weight))
    size = _batch_size(x)
    origins: list = []

    def run(traced_x, traced_y, traced_weight):
        with model._made_by_call(symbols[0]) if is_made else contextlib.nullcontext():
            y_pred, origins[:] = call_with_origins(model, traced_x)
        if not jax.tree.leaves(y_pred):
            raise ValueError(
                f"The model '{model.name}' ({type(model).__name__}) returned {y_pred!r} and no tensor. "
                "Does its `call` end with `return …`?"
            )
        specs = jax.tree.map(lambda a: _of_any_batch(a, size), y_pred)
        if model._graph is None:
            model._output_names_of_call = _names_of(y_pred)
        model._resolve_outputs(specs)
        with naming_outputs(origins):
            for loss, target, output in _pairs(model, y, specs):
                checks.check_labels(loss, target, output)
            if model._compiled_metrics is not None and not model._compiled_metrics.built:
                model._compiled_metrics.build(y, specs)
            count(traced_x, traced_y, y_pred, traced_weight)
        return y_pred

    outputs = infer_outputs(run, symbols)
    model._input_specs, model._output_specs = symbols[0], outputs
    for loss, target, output in _pairs(model, y, outputs):
        checks.warn_of_broadcasting(loss, target, output)
    if y is not None and model._compiled_loss is not None:
        warn_of_activations(model._compiled_loss.terms, outputs, origins)


def _pairs(model, y, outputs) -> Iterator[tuple]:
    """Each loss with its targets and the output that it compares with them."""
    if y is None or model._compiled_loss is None:
        return
    for loss, _, target, output in model._compiled_loss.pairs(y, outputs):
        if target is not None:
            yield loss, target, output


def check_validation(model, x, y, sample_weight) -> None:
    """Raise before training what evaluating these arrays would raise at the end of the first epoch."""
    if has_own_step(model, "test") or not model._checked >= {"train", "test"}:
        return
    if y is None and model._compiled_loss is not None and checks.is_plain(model):
        raise ValueError(
            "`validation_data` holds no targets: pass it as a tuple, validation_data=(x_val, y_val)."
        )
    checks.check_label_values(model, y, "`validation_data`")
    specs = model._input_specs
    shapes = [leaf.shape[1:] for leaf in jax.tree.leaves(x)]
    if specs is not None and shapes != [spec.shape[1:] for spec in jax.tree.leaves(specs)]:
        infer_outputs(model, (jax.tree.map(checks.symbol, x),))


def _of_any_batch(array, size: int | None) -> KerasTensor:
    first = () if not array.shape else (None if array.shape[0] == size else array.shape[0],)
    return KerasTensor((*first, *array.shape[1:]), dtype=array.dtype)


def _batch_size(x) -> int | None:
    return next((leaf.shape[0] for leaf in jax.tree.leaves(x) if np.ndim(leaf)), None)


def _names_of(y_pred) -> list[str]:
    count = len(jax.tree.leaves(y_pred))
    if isinstance(y_pred, dict) and len(y_pred) == count:
        return [key for key, _ in entries(y_pred)]
    return ["output"] if count == 1 else [f"output_{i + 1}" for i in range(count)]
