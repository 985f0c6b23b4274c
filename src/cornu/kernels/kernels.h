// What the kernels compute, and the table through which they are called.
#pragma once

#include <cstdint>

#include "parallel.h"

namespace cornu {

// A window that slides over three spatial axes. Images and signals have ones in front.
//
// Arrays are dense, float32: images (batch, size..., channels_in), results
// (batch, output..., channels_out), kernels (window..., channels_in / groups, channels_out).
struct Window {
  int64_t batch;
  int64_t size[3], output[3], window[3], strides[3], dilation[3], before[3];
  int64_t channels_in, channels_out, groups;
};

// What stands between a convolution and the gradient that arrives: relu and max-pooling.
//
// With `picks`, a gradient belongs to a window of `pool` outputs, and the byte says to which of
// them, counted row by row; DEAD means to none.
struct Picks {
  const uint8_t* bytes = nullptr;
  int64_t pool[3] = {1, 1, 1};
};
constexpr uint8_t DEAD = 255;

// What Adam does to all numbers of a weight: shares of the gradient in the averages of it and of its square,
// the rate of learning with their corrections, and what keeps the division finite.
struct Step {
  float first, second, rate, epsilon;
};

enum Activation { LINEAR = 0, RELU = 1 };

typedef void (*Curve)(const Pool&, const float* image, const float* bias, int64_t places, int64_t channels,
                      float* result);
typedef void (*Reduction)(const Pool&, const float* x, int64_t outer, int64_t places, int64_t inner,
                          float* result);
typedef void (*CurveGradient)(const Pool&, const float* gradient, const float* result, int64_t places,
                              int64_t channels, float* back, float* total);

struct Kernels {
  const char* name;
  int lanes;

  // image, kernel (and bias, which may be null) -> result
  void (*convolution)(const Pool&, const Window&, const float* image, const float* kernel,
                      const float* bias, Activation, float* result);
  // The same with relu and then max-pooling by non-overlapping windows, that of a result smaller
  // than the pool left out; `picks` gets a byte for each result.
  void (*convolution_relu_pool)(const Pool&, const Window&, const int64_t (&pooling)[3],
                                const float* image, const float* kernel, const float* bias,
                                float* result, uint8_t* picks);
  // Of bfloat16, of which any two channels of a group that a product sums over are one lane: an even
  // number of channels_in for the first two, of channels_out for the last. Sums, and what is pooled, are
  // float32; other results are bfloat16.
  // Null if the instruction set has no such product.
  void (*convolution_of_pairs)(const Pool&, const Window&, const uint16_t* image,
                               const uint16_t* kernel, uint16_t* result);
  void (*convolution_relu_pool_of_pairs)(const Pool&, const Window&, const int64_t (&pooling)[3],
                                         const uint16_t* image, const uint16_t* kernel,
                                         const float* bias, float* result, uint8_t* picks);
  void (*input_gradient_of_pairs)(const Pool&, const Window&, const uint16_t* gradient,
                                  const uint16_t* kernel, uint16_t* result);
  // gradient of the result, kernel -> gradient of the image
  void (*input_gradient)(const Pool&, const Window&, const float* gradient, const Picks&,
                         const float* kernel, float* result);
  // image, gradient of the result -> gradient of the kernel
  void (*kernel_gradient)(const Pool&, const Window&, const float* image, const float* gradient,
                          const Picks&, float* result);
  // the sum over the axis in the middle of (outer, places, inner), or the largest along it
  Reduction sum, largest;
  // the sum for each channel of what relu has not cut
  void (*channel_sum)(const Pool&, const float* gradient, const uint8_t* picks, int64_t places,
                      int64_t channels, float* result);
  // the largest number of each window, and in which place of it, counted row by row
  void (*max_pool)(const Pool&, const Window&, const float* image, float* result, uint8_t* places);
  void (*max_pool_gradient)(const Pool&, const Window&, const float* gradient,
                            const uint8_t* places, float* result);
  // the sum of each window
  void (*sum_pool)(const Pool&, const Window&, const float* image, float* result);
  void (*sum_pool_gradient)(const Pool&, const Window&, const float* gradient, float* result);
  // the mean of each channel, and the mean of squared distances from it
  void (*moments)(const Pool&, const float* image, int64_t places, int64_t channels, float* mean,
                  float* variance);
  // for each channel, the sum of gradient * (image - center), and that of the gradient
  void (*totals)(const Pool&, const float* gradient, const float* image, const float* center,
                 int64_t places, int64_t channels, float* dot, float* sum);
  // the same where relu and max-pooling, by windows side by side, have picked numbers of the image
  void (*picked_totals)(const Pool&, const Window&, const float* gradient, const float* image,
                        const float* center, const uint8_t* picks, float* dot, float* sum);
  // (image - center) * factor + offset, by channel, then relu and such a max-pooling
  void (*affine_relu_pool)(const Pool&, const Window&, const float* image, const float* center,
                           const float* factor, const float* offset, float* result,
                           uint8_t* picks);
  // the hyperbolic tangent of image + bias, or its softmax over the channels, which may lie where the image was
  Curve biased_tanh, biased_softmax;
  // gradient of that, result -> gradient of the image, where that of the result may have been, and of the bias
  CurveGradient tanh_gradient, softmax_gradient;
  // a weight, its averages and its gradient, `count` numbers each -> the weight and its averages after a step,
  // which may lie where they were before
  void (*adam)(const Pool&, const Step&, int64_t count, const float* value, const float* momentum,
               const float* velocity, const float* gradient, float* new_value, float* new_momentum,
               float* new_velocity);
  // `count` rows of an array whose rows have a length
  void (*take_rows)(const Pool&, const float* source, const int32_t* rows, int64_t count, int64_t length,
                    float* result);
  // `count` bytes, each one with the given probability and else zero
  void (*bernoulli)(const Pool&, const uint32_t* key, float probability, int64_t count,
                    uint8_t* result);
};

// Those of this processor.
const Kernels* kernels();

// Whether they include those of pairs of bfloat16, and the processor has what these need.
bool multiplies_pairs();

}  // namespace cornu
