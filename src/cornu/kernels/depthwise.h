// Convolutions in which every channel has a window of its own.
#pragma once

#include "image.h"

CORNU_BEGIN

// One row of results: the sum over taps of in[pixel * in_pixel + offset] * weights, channel by channel.
struct DepthwiseRow {
  const float* in;
  ix in_pixel;
  const ix* offsets;
  const float* weights;  // (taps, channels)
  ix taps, channels, pixels;
  float* out;
  ix out_pixel;
};
void depthwise_row(const DepthwiseRow&);
void depthwise_weight_gradient(const Pool&, const Window&, const Source& image,
                               const Source& gradient, float* result);

CORNU_END
