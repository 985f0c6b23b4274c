"""How a model computes its values, and what it looks at. Models are read from outside, and not changed."""

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
from cornu.explain.backward import backpropagation, gradient, update, weight_gradient
from cornu.explain.maps import feature_maps, filters
from cornu.explain.receptive_field import receptive_field
from cornu.explain.training import dead_relus, gradients, learning_rate_range, mistakes
from cornu.explain.window import window

__all__ = [
    "activation_maximization",
    "arithmetic",
    "backpropagation",
    "dead_relus",
    "feature_maps",
    "filters",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradient",
    "gradients",
    "integrated_gradients",
    "learning_rate_range",
    "mistakes",
    "occlusion",
    "receptive_field",
    "saliency",
    "smooth_grad",
    "update",
    "weight_gradient",
    "window",
]
