"""`DataLayer`: what layers that prepare data share."""

from cornu.core.layer import Layer
from cornu.core.variable import Variable


class DataLayer(Layer):
    """A layer that prepares data: in a data pipeline as in a model."""

    def convert_weight(self, weight):
        """The array that a weight holds; in Keras, one of the engine that the data pipeline runs on."""
        return weight.value if isinstance(weight, Variable) else weight
