"""Means of the losses for probabilities."""

from cornu.core import registry
from cornu.losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    kl_divergence,
    poisson,
    sparse_categorical_crossentropy,
)
from cornu.metrics.reduction import MeanMetricWrapper, mean_metric


def _register(*names):
    return registry.register("metric", *names, module="keras.metrics")


_register("binary_crossentropy", "bce", "BCE")(binary_crossentropy)
_register("kl_divergence", "kld", "KLD")(kl_divergence)
for _function in (
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    poisson,
    sparse_categorical_crossentropy,
):
    _register(_function.__name__)(_function)

KLDivergence = mean_metric("KLDivergence", kl_divergence, "down", __name__)
Poisson = mean_metric("Poisson", poisson, "down", __name__)


@_register("BinaryCrossentropy")
class BinaryCrossentropy(MeanMetricWrapper):
    """The mean cross-entropy of yes-or-no labels.

    Args:
        from_logits: whether a sigmoid has still to be applied to predictions.
        label_smoothing: share of the label that is drawn towards one half.

    >>> import cornu
    >>> metric = cornu.metrics.BinaryCrossentropy()
    >>> round(float(metric([[0.0, 1.0]], [[0.25, 0.5]])), 4)
    0.4904
    """

    _direction = "down"

    def __init__(
        self, name="binary_crossentropy", dtype=None, from_logits=False, label_smoothing=0
    ):
        super().__init__(
            binary_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )
        self.from_logits, self.label_smoothing = from_logits, label_smoothing


@_register("CategoricalCrossentropy")
class CategoricalCrossentropy(MeanMetricWrapper):
    """The mean cross-entropy of one-hot labels.

    Args:
        from_logits: whether a softmax has still to be applied to predictions.
        label_smoothing: share of the label that is spread over all classes.
        axis: the axis of the classes.

    >>> import cornu
    >>> metric = cornu.metrics.CategoricalCrossentropy()
    >>> round(float(metric([[0.0, 1.0]], [[0.25, 0.75]])), 4)
    0.2877
    """

    _direction = "down"

    def __init__(
        self,
        name="categorical_crossentropy",
        dtype=None,
        from_logits=False,
        label_smoothing=0,
        axis=-1,
    ):
        super().__init__(
            categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis


@_register("SparseCategoricalCrossentropy")
class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """The mean cross-entropy of integer labels.

    Args:
        from_logits: whether a softmax has still to be applied to predictions.
        ignore_class: a label whose positions have no loss. As in Keras, they leave the mean only
            if there is a `sample_weight`; without one they count as 0.
        axis: the axis of the classes.

    >>> import cornu
    >>> metric = cornu.metrics.SparseCategoricalCrossentropy()
    >>> round(float(metric([1], [[0.25, 0.75]])), 4)
    0.2877
    """

    _direction = "down"

    def __init__(
        self,
        name="sparse_categorical_crossentropy",
        dtype=None,
        from_logits=False,
        ignore_class=None,
        axis=-1,
    ):
        super().__init__(
            sparse_categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis
