"""A model as an ONNX graph: the operations of its traced prediction, one after the other.

The prediction is traced for two batch sizes. Both programs have the same operations; sizes that
differ between the two depend on the number of examples, and are worked out by the graph when it runs. What
does not depend on the input is computed now and becomes a constant.

Source: ONNX Operators, version 18 of the default set.
"""

# Each of these converts one family of operations.
from cornu.saving.onnx import (  # noqa: F401
    dense,
    elementwise,
    normalization,
    reductions,
    shapes,
    windows,
)
from cornu.saving.onnx.builder import Unsupported
from cornu.saving.onnx.program import onnx_model

__all__ = ["Unsupported", "onnx_model"]
