"""Means of the losses that ask for a margin."""

from cornu.core import registry
from cornu.losses import categorical_hinge, hinge, squared_hinge
from cornu.metrics.reduction import mean_metric

for _function in (hinge, squared_hinge, categorical_hinge):
    registry.register("metric", _function.__name__, module="keras.metrics")(_function)

Hinge = mean_metric("Hinge", hinge, "down", __name__)
SquaredHinge = mean_metric("SquaredHinge", squared_hinge, "down", __name__)
CategoricalHinge = mean_metric("CategoricalHinge", categorical_hinge, "down", __name__)
