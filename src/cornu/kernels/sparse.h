// Gradients through relu and max-pooling, which are zero nearly everywhere.
#pragma once

#include "kernels.h"
#include "vector.h"

CORNU_BEGIN

// Whether these are faster than the dense kernels.
bool is_sparse(const Window&, const Picks&);
void sparse_input_gradient(const Pool&, const Window&, const float* gradient, const Picks&,
                           const float* kernel, float* result);
void sparse_kernel_gradient(const Pool&, const Window&, const float* image, const float* gradient,
                            const Picks&, float* result);

CORNU_END
