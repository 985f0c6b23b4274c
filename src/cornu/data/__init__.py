"""Data sets: elements one after another, mapped, shuffled, batched and read ahead."""

from cornu.data.ahead import AUTOTUNE
from cornu.data.dataset import Dataset
from cornu.data.elements import Tensor, TensorSpec
from cornu.data.nodes import INFINITE, UNKNOWN

__all__ = ["AUTOTUNE", "INFINITE", "UNKNOWN", "Dataset", "Tensor", "TensorSpec"]
