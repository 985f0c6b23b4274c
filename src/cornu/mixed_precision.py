"""Older names for dtype policies.  Source: Keras: keras.mixed_precision.

>>> from cornu import mixed_precision
>>> mixed_precision.global_policy().name
'float32'
"""

from cornu.core.policies import DTypePolicy, dtype_policy, set_dtype_policy
from cornu.optimizers import LossScaleOptimizer

Policy = DTypePolicy
global_policy = dtype_policy
set_global_policy = set_dtype_policy

__all__ = [
    "DTypePolicy",
    "LossScaleOptimizer",
    "Policy",
    "dtype_policy",
    "global_policy",
    "set_dtype_policy",
    "set_global_policy",
]
