// Gradients through relu and max-pooling, which are zero nearly everywhere.
#pragma once

#include "kernels.h"
#include "vector.h"

CORNU_BEGIN

// Whether these are faster than the dense kernels.
bool is_sparse(const Window&, const Picks&);
// Whether the image has so few channels that its gradient is better found by adding rows of the
// window than by sums for each place, in which vectors would be half empty.
bool has_narrow_image(const Window&, const Picks&);
// False if what would be left out is not zero: then the dense kernels must do it.
bool sparse_input_gradient(const Pool&, const Window&, const float* gradient, const Picks&,
                           const float* kernel, float* result);
bool sparse_kernel_gradient(const Pool&, const Window&, const float* image, const float* gradient,
                            const Picks&, float* result);

CORNU_END
