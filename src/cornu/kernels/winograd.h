// Convolutions with windows of 3x3 and 5x5 in fewer multiplications.
#pragma once

#include <memory>

#include "epilogue.h"
#include "image.h"

CORNU_BEGIN

// A convolution whose filter has been transformed; it can run often, by several threads at once.
class WinogradConvolution {
 public:
  virtual ~WinogradConvolution() = default;
  // False if a result is not finite: then the direct kernel must say which are not.
  virtual bool run(const Pool&, const Source& image, uint8_t* argmax, float* result) const = 0;
};

// Each is null if it cannot be used for a window, or is slower than the direct kernel; the gradients return false
// as the convolution does.
struct Winograd {
  // If it `keeps` the filter for many runs, the weights must stay where they are. So must the bias.
  std::unique_ptr<WinogradConvolution> (*convolution)(const Pool&, const Window&, const float* weights,
                                                      const Epilogue&, bool keeps) = nullptr;
  bool (*input_gradient)(const Pool&, const Window&, const Source& gradient,
                            const float* weights, float* result) = nullptr;
  bool (*weight_gradient)(const Pool&, const Window&, const Source& image,
                             const Source& gradient, float* result) = nullptr;
};

// `keeps`: the filter is transformed once for many convolutions, and so costs nothing.
Winograd winograd_for(const Window&, bool keeps = false);

CORNU_END
