"""Overlap of predicted and true regions: intersection over union."""

import warnings

import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.dtype import as_array, epsilon, is_float
from cornu.metrics.base import Metric


def _register(*names):
    return registry.register("metric", *names, module="keras.metrics")


@_register("IoU")
class IoU(Metric):
    """The mean over some classes of `intersection / union` of predicted and true positions.

    Args:
        num_classes: number of classes. Positions with labels or predictions that are none of them
            do not count.
        target_class_ids: the classes whose overlap is averaged; those that never occurred are left
            out.
        ignore_class: a label whose positions do not count.
        sparse_y_true, sparse_y_pred: whether targets and predictions are integers; otherwise they
            are one-hot, or probabilities, along `axis`.
        axis: the axis of the classes.
        dtype: dtype of the counts, integers by default.

    >>> import cornu
    >>> metric = cornu.metrics.IoU(num_classes=2, target_class_ids=[0])
    >>> metric.update_state([0, 0, 1, 1], [0, 1, 0, 1])
    >>> round(float(metric.result()), 4)
    0.3333
    """

    _direction = "up"

    def __init__(
        self,
        num_classes,
        target_class_ids,
        name=None,
        dtype=None,
        ignore_class=None,
        sparse_y_true=True,
        sparse_y_pred=True,
        axis=-1,
    ):
        super().__init__(name=name, dtype=dtype or "int")
        if max(target_class_ids) >= num_classes:
            raise ValueError(
                f"Target class id {max(target_class_ids)} is out of range, which is "
                f"[0, {num_classes})."
            )
        self.num_classes, self.target_class_ids = num_classes, list(target_class_ids)
        self.ignore_class, self.axis = ignore_class, axis
        self.sparse_y_true, self.sparse_y_pred = sparse_y_true, sparse_y_pred
        self.total_cm = self.add_variable(
            (num_classes, num_classes), "zeros", self.dtype, name="total_confusion_matrix"
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = self._labels(y_true, self.sparse_y_true)
        y_pred = self._labels(y_pred, self.sparse_y_pred)
        counts = (y_true >= 0) & (y_true < self.num_classes)
        counts = counts & (y_pred >= 0) & (y_pred < self.num_classes)
        if self.ignore_class is not None:
            counts = counts & (y_true != self.ignore_class)
        weights = jnp.where(counts, self._weights(sample_weight, counts.shape), 0)
        rows, columns = jnp.where(counts, y_true, 0), jnp.where(counts, y_pred, 0)
        self.total_cm.assign(self.total_cm.value.at[rows, columns].add(weights))

    def _labels(self, y, sparse: bool):
        y = as_array(y)
        y = y if sparse else jnp.argmax(y, axis=self.axis)
        return y.astype(jnp.int32).reshape(-1)

    def _weights(self, sample_weight, shape):
        sample_weight = as_array(1 if sample_weight is None else sample_weight)
        if is_float(sample_weight.dtype) and not is_float(self.dtype):
            warnings.warn(
                f"{self.name}: you are passing weight as `float`, but dtype is `int`: casting "
                "cuts weights to whole numbers. Pass dtype='float32' to the metric, or integer weights.",
                stacklevel=4,
            )
        sample_weight = sample_weight.astype(self.dtype)
        return jnp.broadcast_to(
            sample_weight.reshape(-1) if sample_weight.ndim > 1 else sample_weight, shape
        )

    def result(self):
        matrix = self.total_cm.value.astype(jnp.float32)
        both = jnp.diagonal(matrix)
        either = jnp.sum(matrix, axis=0) + jnp.sum(matrix, axis=1) - both
        both, either = (x[np.array(self.target_class_ids)] for x in (both, either))
        occurred = either > 1e-9
        overlaps = jnp.where(occurred, both / (either + epsilon()), 0)
        return jnp.sum(overlaps) / (jnp.sum(occurred) + epsilon())


@_register("BinaryIoU")
class BinaryIoU(IoU):
    """Intersection over union of yes-or-no predictions, which mean yes from `threshold` on.

    >>> import cornu
    >>> metric = cornu.metrics.BinaryIoU(threshold=0.3)
    >>> metric.update_state([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7])
    >>> round(float(metric.result()), 4)
    0.3333
    """

    def __init__(self, target_class_ids=(0, 1), threshold=0.5, name=None, dtype=None):
        super().__init__(2, target_class_ids, name=name, dtype=dtype)
        self.threshold = threshold

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_pred = as_array(y_pred).astype(jnp.float32) >= self.threshold
        super().update_state(y_true, y_pred, sample_weight)


@_register("MeanIoU")
class MeanIoU(IoU):
    """The mean over all classes of intersection over union.

    >>> import cornu
    >>> metric = cornu.metrics.MeanIoU(num_classes=2)
    >>> metric.update_state([0, 0, 1, 1], [0, 1, 0, 1])
    >>> round(float(metric.result()), 4)
    0.3333
    """

    def __init__(
        self,
        num_classes,
        name=None,
        dtype=None,
        ignore_class=None,
        sparse_y_true=True,
        sparse_y_pred=True,
        axis=-1,
    ):
        super().__init__(
            num_classes,
            range(num_classes),
            name,
            dtype,
            ignore_class,
            sparse_y_true,
            sparse_y_pred,
            axis,
        )


@_register("OneHotIoU")
class OneHotIoU(IoU):
    """Intersection over union for one-hot targets."""

    def __init__(
        self,
        num_classes,
        target_class_ids,
        name=None,
        dtype=None,
        ignore_class=None,
        sparse_y_pred=False,
        axis=-1,
    ):
        super().__init__(
            num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis
        )


@_register("OneHotMeanIoU")
class OneHotMeanIoU(MeanIoU):
    """The mean over all classes of intersection over union, for one-hot targets."""

    def __init__(
        self,
        num_classes,
        name=None,
        dtype=None,
        ignore_class=None,
        sparse_y_pred=False,
        axis=-1,
    ):
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)
