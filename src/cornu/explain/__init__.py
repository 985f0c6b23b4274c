"""How a model makes its numbers, and what it looks at. Models are read from outside, and not changed."""

from cornu.explain.arithmetic import arithmetic
from cornu.explain.attribution import (
    activation_maximization,
    grad_cam,
    grad_cam_plus_plus,
    integrated_gradients,
    occlusion,
    saliency,
    smooth_grad,
)
from cornu.explain.receptive_field import receptive_field
from cornu.explain.window import window

__all__ = [
    "activation_maximization",
    "arithmetic",
    "grad_cam",
    "grad_cam_plus_plus",
    "integrated_gradients",
    "occlusion",
    "receptive_field",
    "saliency",
    "smooth_grad",
    "window",
]
