"""C++ kernels for the CPU; `cornu.core.kernels` loads what is built from them."""
