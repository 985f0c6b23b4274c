"""Numbers about predictions."""

from cornu.core import registry
from cornu.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from cornu.metrics.base import Metric
from cornu.metrics.reduction import Mean, MeanMetricWrapper, Sum


def get(identifier):
    """The metric that a name, configuration or callable means; None stays None.

    >>> import cornu
    >>> cornu.metrics.get("binary_accuracy").__name__
    'binary_accuracy'
    """
    return registry.get("metric", identifier)


def serialize(metric):
    """The name, or configuration, of a metric."""
    return registry.serialize(metric)


def deserialize(config, custom_objects=None):
    """The metric that `serialize` described."""
    return registry.deserialize(config, custom_objects, kind="metric")


__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "Mean",
    "MeanMetricWrapper",
    "Metric",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "Sum",
    "TopKCategoricalAccuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "deserialize",
    "get",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]
