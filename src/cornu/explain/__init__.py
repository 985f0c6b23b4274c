"""How a model makes its numbers, and what it looks at. Models are read from outside, and not changed."""

from cornu.explain.arithmetic import arithmetic
from cornu.explain.receptive_field import receptive_field
from cornu.explain.window import window

__all__ = ["arithmetic", "receptive_field", "window"]
