// Convolutions with windows of 3x3 in fewer multiplications.
#pragma once

#include "finish.h"
#include "image.h"

CORNU_BEGIN

// Whether these can be used for a window, and are faster than the direct kernels.
bool suits_winograd(const Window&);
// False if a result is not finite: then the direct kernels must say which are not.
bool winograd(const Pool&, const Window&, const Source& image, const float* kernel, const Finish&,
              float* result);
bool winograd_input_gradient(const Pool&, const Window&, const Source& gradient,
                             const float* kernel, float* result);
bool winograd_kernel_gradient(const Pool&, const Window&, const Source& image,
                              const Source& gradient, float* result);

CORNU_END
