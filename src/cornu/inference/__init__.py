"""Predictions of few examples without XLA: what JAX has traced, as a program of native kernels."""

from cornu.inference.compiled import CompiledInference

__all__ = ["CompiledInference"]
