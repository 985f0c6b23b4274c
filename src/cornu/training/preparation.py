"""What a model needs before its first step, made from the shapes of one batch."""

import jax
import numpy as np

from cornu.core.symbolic import infer_outputs, known_batch
from cornu.training import checks
from cornu.training.compiled import align
from cornu.training.model_steps import has_own_step, step_method
from cornu.training.probabilities import infer_with_origins, naming_outputs, warn_of_activations
from cornu.training.step import loss_of
from cornu.utils.samples import unpack_x_y_sample_weight


def prepare(model, data, training: bool) -> None:
    """Make whatever is still missing, from the shapes of one batch, before computing anything."""
    kind = "train" if training else "test"
    with model._making:
        if not model.built or kind not in model._checked:
            step_method(model, kind)
            parts = unpack_x_y_sample_weight(data.first_batch())
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
            _build_from(model, unpack_x_y_sample_weight(batch())[0])


def _build_from(model, x) -> None:
    with known_batch(_batch_size(x)):
        if not model._is_built_by_call():
            model.build(jax.tree.map(lambda a: a.shape, x))
        if not model.built or model._graph is None:
            model._build_by_call(jax.tree.map(checks.symbol, x))


def _prepare_step(model, x, y, sample_weight) -> None:
    if not model.built:
        _build_from(model, x)
    origins = _make_metrics(model, x, y)

    def count(x, y, sample_weight):
        y_pred = model(x)
        loss_of(model, x, y, y_pred, sample_weight, training=False)
        return model.compute_metrics(x, y, y_pred, sample_weight)

    # Shows mistakes at once, and makes metrics that wait for their first batch.
    with naming_outputs(origins):
        infer_outputs(count, jax.tree.map(checks.symbol, (x, y, sample_weight)))


def _prepare_own_step(model, x, y, sample_weight) -> None:
    """Less is known of a step of the user's: it may not even call the model."""
    has_build = not model._is_built_by_call()
    inner = model._sublayers()
    if not model.built and (has_build or not inner or not all(each.built for each in inner)):
        _build_from(model, x)
    if model._compile_arguments["loss"] is None and model._compiled_metrics is None:
        return
    origins = _make_metrics(model, x, y)
    if model._compiled_metrics is not None and y is not None:

        def count(x, y, sample_weight):
            model._compiled_metrics.update_state(y, model(x), sample_weight)

        with naming_outputs(origins):
            infer_outputs(count, jax.tree.map(checks.symbol, (x, y, sample_weight)))


def _make_metrics(model, x, y) -> list:
    """Spread losses and metrics over the outputs, and see whether the targets fit them.

    Returns where the outputs come from.
    """
    y_pred, origins = infer_with_origins(model, x)
    if not jax.tree.leaves(y_pred):
        raise ValueError(
            f"The model '{model.name}' ({type(model).__name__}) returned {y_pred!r} and no tensor. Does "
            "its `call` end with `return …`?"
        )
    model._input_specs, model._output_specs = jax.tree.map(checks.symbol, x), y_pred
    if model._graph is None:
        model._output_names_of_call = _names_of(y_pred)
    model._resolve_outputs(model.output_names)
    with naming_outputs(origins):
        if y is not None and model._compiled_loss is not None:
            _check_targets(model, y, y_pred)
            warn_of_activations(model._compiled_loss.losses, y_pred, origins)
        if model._compiled_metrics is not None and not model._compiled_metrics.built:
            model._compiled_metrics.build(y, y_pred)
    return origins


def _check_targets(model, y, y_pred) -> None:
    outputs = jax.tree.leaves(y_pred)
    targets = align(y, y_pred, model.output_names)
    for loss, target, output in zip(model._compiled_loss.losses, targets, outputs, strict=True):
        if loss is not None and target is not None:
            checks.check_labels(loss, target, output)
            checks.warn_of_broadcasting(loss, target, output)


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


def _batch_size(x) -> int | None:
    return next((leaf.shape[0] for leaf in jax.tree.leaves(x) if np.ndim(leaf)), None)


def _names_of(y_pred) -> list[str]:
    if isinstance(y_pred, dict):
        return sorted(y_pred)
    count = len(jax.tree.leaves(y_pred))
    return ["output"] if count == 1 else [f"output_{i + 1}" for i in range(count)]
