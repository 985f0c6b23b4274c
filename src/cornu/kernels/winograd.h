// Convolutions with windows of 3x3 and 5x5 in fewer multiplications.
#pragma once

#include "finish.h"
#include "image.h"

CORNU_BEGIN

// Each is null if it cannot be used for a window, or is slower than the direct kernel; and returns
// false if a result is not finite: then the direct kernel must say which are not.
struct Winograd {
  bool (*convolve)(const Pool&, const Window&, const Source& image, const float* kernel,
                   const Finish&, float* result) = nullptr;
  bool (*gradient_of_input)(const Pool&, const Window&, const Source& gradient,
                            const float* kernel, float* result) = nullptr;
  bool (*gradient_of_kernel)(const Pool&, const Window&, const Source& image,
                             const Source& gradient, float* result) = nullptr;
};

Winograd winograd_for(const Window&);

CORNU_END
