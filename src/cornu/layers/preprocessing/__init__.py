"""Layers that prepare data: numbers, categories, text and sound; those for images are in `augmentation`."""

from cornu.layers.preprocessing.scaling import Normalization, Rescaling

__all__ = ["Normalization", "Rescaling"]
