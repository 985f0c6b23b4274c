"""Layers that prepare data: numbers, categories, text, sound and images."""

from cornu.layers.preprocessing.images import CenterCrop, Resizing
from cornu.layers.preprocessing.scaling import Normalization, Rescaling

__all__ = ["CenterCrop", "Normalization", "Rescaling", "Resizing"]
