// Gradients through relu and max-pooling, which are zero nearly everywhere.
#pragma once

#include "kernels.h"
#include "vector.h"

CORNU_BEGIN

// Whether these are faster than the dense kernels.
bool is_sparse(const Window&, const Argmax&);
// Whether the image has so few channels that its gradient is better found by adding rows of the
// window than by sums for each position, in which vectors would be half empty.
bool has_narrow_image(const Window&, const Argmax&);
// False if what would be left out is not zero: then the dense kernels must do it.
bool sparse_input_gradient(const Pool&, const Window&, const float* gradient, const Argmax&,
                           const float* weights, float* result);
bool sparse_weight_gradient(const Pool&, const Window&, const float* image, const float* gradient,
                            const Argmax&, float* result);

CORNU_END
