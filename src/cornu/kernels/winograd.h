// Convolutions with windows of 3x3 and 5x5 in fewer multiplications.
#pragma once

#include "epilogue.h"
#include "image.h"

CORNU_BEGIN

// Each is null if it cannot be used for a window, or is slower than the direct kernel; and returns
// false if a result is not finite: then the direct kernel must say which are not.
struct Winograd {
  bool (*convolve)(const Pool&, const Window&, const Source& image, const float* weights,
                   const Epilogue&, float* result) = nullptr;
  bool (*input_gradient)(const Pool&, const Window&, const Source& gradient,
                            const float* weights, float* result) = nullptr;
  bool (*weight_gradient)(const Pool&, const Window&, const Source& image,
                             const Source& gradient, float* result) = nullptr;
};

Winograd winograd_for(const Window&);

CORNU_END
