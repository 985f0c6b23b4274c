// Convolutions in which every channel has a window of its own.
#pragma once

#include "image.h"

CORNU_BEGIN

inline bool is_depthwise(ix groups, ix channels_in, ix channels_out) {
  return groups > 1 && groups == channels_in && groups == channels_out;
}

// One row of results: the sum over taps of in[pixel * in_pixel + offset] * weights, channel by channel.
struct DepthwiseRow {
  const float* in;
  ix in_pixel;
  const ix* offsets;
  const float* weights;  // (taps, channels)
  ix taps, channels, pixels;
  const float* bias;
  Activation activation;
  float* out;
  ix out_pixel;
};
void depthwise_row(const DepthwiseRow&);
void depthwise_kernel_gradient(const Pool&, const Window&, const Source& image,
                               const Source& gradient, float* result);

CORNU_END
