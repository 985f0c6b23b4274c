// What comes after a convolution or a normalization: bias, relu or other bounds, and max-pooling.
#pragma once

#include "image.h"

CORNU_BEGIN

struct Epilogue {
  enum Kind {
    NONE,
    CLAMP,  // result + bias, and that between two bounds
    POOL,   // bias, relu and max-pooling, with the argmax
  };
  Kind kind = NONE;
  const float* bias = nullptr;
  float low = 0, high = 0;         // of CLAMP
  const float* center = nullptr;   // of a normalization
  const float* factor = nullptr;
  int64_t pool[3] = {1, 1, 1};
};

// NaN stays, because nothing compares with it.
CORNU_INLINE Vector clamp(Vector v, Vector low, Vector high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}

// The larger of two results, and which it is.
CORNU_INLINE void compare(Vector here, Integers index, Vector& best, Integers& argmax) {
  // NaN comes, and then stays, because nothing compares with it.
  const Integers better = ~(best >= here) & (best == best);
  best = better ? here : best;
  argmax = better ? index : argmax;
}
CORNU_INLINE void store_pooled(Vector best, Integers index, float* out, uint8_t* argmax, ix count,
                               bool streams) {
  // At zero and at NaN the slope of relu is zero.
  index = best > Vector{} ? index : Integers{} + int32_t(DEAD);
  store_first(out, best < Vector{} ? Vector{} : best, count, streams);
  store_bytes(argmax, index, count);
}

// Relu and max-pooling of `count` results, which lie densely, of one image: of the result plus
// bias, or if it SCALES, of (result - center) * factor + bias.
template <bool SCALES>
inline void relu_and_pool(const float* results, const ix (&count)[3], ix channels,
                          const Epilogue& epilogue, float* out, uint8_t* argmax, bool streams) {
  const ix* pool = epilogue.pool;
  const ix row = count[2] * channels, plane = count[1] * row;
  for (ix d = 0; d < count[0] / pool[0]; ++d)
    for (ix h = 0; h < count[1] / pool[1]; ++h)
      for (ix w = 0; w < count[2] / pool[2]; ++w, out += channels, argmax += channels) {
        const float* first = results + d * pool[0] * plane + h * pool[1] * row +
                             w * pool[2] * channels;
        for (ix c = 0; c < channels; c += LANES) {
          const ix left = channels - c;
          const Vector bias = load_first(epilogue.bias + c, left);
          const Vector center = SCALES ? load_first(epilogue.center + c, left) : Vector{};
          const Vector factor = SCALES ? load_first(epilogue.factor + c, left) : Vector{};
          const auto at = [&](ix offset) {
            const Vector here = load_first(first + offset + c, left);
            prefetch(first + offset + c + AHEAD);
            return SCALES ? (here - center) * factor + bias : here + bias;
          };
          Vector best = at(0);
          Integers best_index = {};
          int32_t index = 0;
          for (ix i = 0; i < pool[0]; ++i)
            for (ix j = 0; j < pool[1]; ++j)
              for (ix k = 0; k < pool[2]; ++k, ++index)
                if (index != 0)
                  compare(at(i * plane + j * row + k * channels), Integers{} + index, best, best_index);
          store_pooled(best, best_index, out + c, argmax + c, left, streams);
        }
      }
}

CORNU_END
