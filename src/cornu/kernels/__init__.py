"""C++ kernels for the CPU; `cornu.ops.kernels` loads what is built from them."""
