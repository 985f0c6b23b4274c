// Convolutions in fewer bits: bytes that are added up as integers, or bfloat16 whose sums are float32.
#pragma once

#include "kernels.h"

namespace cornu {

// What such a convolution is made of.
struct Reduced {
  Window window;
  // Bytes, or else bfloat16.
  bool of_bytes;
  // A number x of an image is the byte round(x * per_step) + zero, or the nearest that there is. An image that was
  // written by another such convolution holds bytes already.
  float per_step;
  int32_t zero;
  bool takes_bytes;
  // int8 or bfloat16: (window..., channels_in / groups, channels_out).
  const void* weights;
  // For each output channel. Of bytes: an integer that is added to the sum of the products of weights and bytes, and
  // what the result counts. Of bfloat16: a float32 that is added, and nothing.
  const void* bias;
  const float* scale;
  // Bounds of the result.
  float low, high;
  // Whether the results are bytes for another such convolution, round(result) + zero_of_results.
  bool gives_bytes;
  int32_t zero_of_results;

  // After the bytes of an image, a byte for each example says whether NaN was among the numbers that it came from.
  int64_t bytes_of_image() const { return takes_bytes ? window.image() + window.batch : 4 * window.image(); }
  int64_t bytes_of_results() const { return gives_bytes ? window.pooled() + window.batch : 4 * window.pooled(); }
  int64_t bytes_of_weights() const { return window.weights() * (of_bytes ? 1 : 2); }
};

// Products of a byte and a weight that are added up, at most: their sum has to stay below 2^30.
constexpr int64_t MOST_PRODUCTS = 1 << 15;

// One whose weights have been brought into the order in which they are read. It can run often, by several threads at
// once. Of bytes, results that depend on NaN are NaN, and perhaps others of the same example.
class ReducedConvolution {
 public:
  virtual ~ReducedConvolution() = default;
  virtual void run(const Pool&, const void* image, void* result) const = 0;
};

}  // namespace cornu
