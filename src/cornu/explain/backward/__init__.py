"""The way back: how the loss changes with each number, and how a weight is moved."""

from cornu.explain.backward.both_ways import backpropagation
from cornu.explain.backward.chain import gradient
from cornu.explain.backward.update import update
from cornu.explain.backward.weights import weight_gradient

__all__ = ["backpropagation", "gradient", "update", "weight_gradient"]
