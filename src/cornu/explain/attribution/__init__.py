"""Which pixels a prediction depends on: gradients, Grad-CAM, and occlusion."""

from cornu.explain.attribution.grad_cam import (
    grad_cam,
    grad_cam_of,
    grad_cam_plus_plus,
    grad_cam_plus_plus_of,
    maps_on_inputs,
)
from cornu.explain.attribution.gradients import (
    integrated_gradients,
    saliency,
    saliency_of,
    smooth_grad,
)
from cornu.explain.attribution.maximization import activation_maximization
from cornu.explain.attribution.occlusion import occlusion
from cornu.explain.attribution.scores import Scores

__all__ = [
    "Scores",
    "activation_maximization",
    "grad_cam",
    "grad_cam_of",
    "grad_cam_plus_plus",
    "grad_cam_plus_plus_of",
    "integrated_gradients",
    "maps_on_inputs",
    "occlusion",
    "saliency",
    "saliency_of",
    "smooth_grad",
]
