"""Few shapes of batches, so that prediction compiles few programs.

A batch that is smaller than the others is filled up with copies of its last example, and their
outputs are cut off again. This is done only for models in which no example can see another.
"""

import inspect
import os
import sys
from typing import Any

import jax
import numpy as np

from cornu.core.layer import Layer
from cornu.core.tracking import aside

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
# What a class of a model may have of its own without a say in prediction.
_OF_TRAINING = frozenset(
    "__init__ compile fit evaluate train_step test_step compute_loss compute_metrics metrics "
    "compute_loss_and_updates reset_metrics get_metrics_result get_config from_config "
    "get_compile_config compile_from_config __module__ __doc__ __qualname__ __annotations__ __dict__ "
    "__weakref__ __firstlineno__ __static_attributes__".split()
)
_HOOKS = (
    "call __call__ predict_step stateless_call compute_mask make_predict_function convolution_op"
).split()
# Layers that may mix examples whatever their axes are, or that may do anything.
_MIXING = frozenset({"AdditiveAttention", "Attention", "Dot", "EinsumDense", "Lambda", "Layer"})
# Layers that take a batch for one example if it has a rank less.
_OF_IMAGES = frozenset(
    "AutoContrast CenterCrop ContrastLimitedAdaptiveHistogramEqualization RandomCrop Resizing".split()
)
# What is called while a layer is built, or for the loss, and never sees a batch.
_OF_WEIGHTS = ("_initializer", "_regularizer", "_constraint")


def examples_are_alone(model) -> bool:
    """Whether each output of a model surely depends on one example only, and is one of the batch.

    It is so for models made of Cornu's own layers that leave the batch axis alone, with nothing of the
    user's among them that would see the batch: no method, function or array.
    """
    graph = getattr(model, "_graph", None)
    if graph is None or not _is_own_model(model):
        return False
    for operation in graph.operations:
        if not isinstance(operation, Layer):
            return False
        if hasattr(operation, "_graph"):
            if not examples_are_alone(operation):
                return False
        elif not _is_own_layer(operation):
            return False
    for tensor in graph.flat_inputs:
        if not tensor.shape or tensor.shape[0] is not None:
            return False
    return all(_leaves_batch_alone(node) for node in graph.nodes)


def _is_own_model(model) -> bool:
    classes = type(model).__mro__
    own = next(cls for cls in classes if _is_own_class(cls))
    overridden = {
        name for cls in classes[: classes.index(own)] for name in vars(cls) if hasattr(own, name)
    }
    return overridden <= _OF_TRAINING and _has_own_hooks(model)


def _is_own_layer(layer) -> bool:
    """Whether a layer and those in it are Cornu's, and hold no user's function."""
    return (
        _is_own_class(type(layer))
        and type(layer).__name__ not in _MIXING
        and _has_own_hooks(layer)
        and all(
            _is_own(value)
            for name, value in vars(layer).items()
            if name == "activity_regularizer"
            or not (name in aside(type(layer)) or name.endswith(_OF_WEIGHTS))
        )
        # Of those within it the rank of the inputs is not known.
        and all(
            _is_own_layer(inner) and not hasattr(inner, "axis") and not hasattr(inner, "_graph")
            for inner in layer._flatten_layers()[1:]
        )
    )


def _is_own_class(cls) -> bool:
    module = sys.modules.get(cls.__module__)
    return cls.__module__.startswith("cornu.") and getattr(module, cls.__qualname__, None) is cls


def _has_own_hooks(obj) -> bool:
    """Whether only Cornu's own code runs in a call."""
    found = [getattr(type(obj), name, None) for name in _HOOKS]
    found += [vars(obj)[name] for name in _HOOKS if name in vars(obj)]
    return all(map(_is_own, found))


def _is_own(value: Any) -> bool:
    """Whether a value is not the user's code: a function of Cornu's, or not callable."""
    if isinstance(value, list | tuple | set | dict):
        return all(map(_is_own, value.values() if isinstance(value, dict) else value))
    if not callable(value):
        return True
    if inspect.isroutine(value):
        code = getattr(value, "__code__", None)
        return code is not None and code.co_filename.startswith(_PACKAGE)
    return _is_own_class(type(value)) and _is_own(type(value).__call__)


def _leaves_batch_alone(node) -> bool:
    """Whether a call of a layer has no array of its own, and does nothing along the first axis."""
    layer, leaves = node.operation, jax.tree.leaves((node.args, node.kwargs))
    tensors = [leaf for leaf in leaves if hasattr(leaf, "_keras_history")]
    if any(np.ndim(leaf) for leaf in leaves if not hasattr(leaf, "_keras_history")):
        return False
    ranks = {len(tensor.shape) for tensor in tensors}
    if 0 in ranks or (type(layer).__name__ in _OF_IMAGES and ranks != {4}):
        return False
    if not hasattr(layer, "axis"):
        return True
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if None in axes:
        return type(layer).__name__ == "Normalization"
    return all(axis % rank != 0 for axis in axes for rank in ranks)


def in_buckets(function, batch_size: int | None):
    """The compiled step of prediction, `function`, for batches of any number of rows.

    No batch runs with fewer rows than those before it.

    Args:
        batch_size: how many rows a full batch has, if that is known. If not even the first is full,
            it gets the next power of two: a few examples should not wait for many.
    """
    size = 0

    def run(batch):
        nonlocal size
        count = len(jax.tree.leaves(batch)[0])
        if not size and batch_size is not None and count < batch_size:
            size = min(1 << (count - 1).bit_length(), batch_size)
        size = max(size, count)
        if size == count:
            return function(batch)
        try:
            outputs = function(jax.tree.map(lambda a: _repeat_last(a, size - count), batch))
        except (TypeError, ValueError):
            # The message shall say the size that was passed.
            return function(batch)
        return jax.tree.map(lambda a: np.asarray(a)[:count], outputs)

    # Who waits for the outputs asks the step what an error means.
    run.explaining = function.explaining  # type: ignore[attr-defined]
    return run


def _repeat_last(array, times: int) -> np.ndarray:
    array = np.asarray(array)
    return np.concatenate([array, np.repeat(array[-1:], times, 0)])
