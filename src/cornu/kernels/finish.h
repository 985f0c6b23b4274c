// What comes after a convolution or a normalization: bias and activation, or relu and max-pooling.
#pragma once

#include "image.h"

CORNU_BEGIN

struct Finish {
  const float* bias = nullptr;
  const float* center = nullptr;  // of a normalization
  const float* factor = nullptr;
  Activation activation = LINEAR;
  int64_t pooling[3] = {1, 1, 1};
  uint8_t* picks = nullptr;  // max-pooling if not null

  // Relu that says where it has cut, without pooling.
  bool rectifies() const { return picks && product(pooling) == 1; }
};

// The larger of two results, and which it is.
CORNU_INLINE void compare(Vector here, Integers number, Vector& best, Integers& winner) {
  // NaN comes, and then stays, because nothing compares with it.
  const Integers better = ~(best >= here) & (best == best);
  best = better ? here : best;
  winner = better ? number : winner;
}
CORNU_INLINE void store_picked(Vector best, Integers winner, float* out, uint8_t* picks, ix count,
                               bool streams) {
  // At zero and at NaN the slope of relu is zero.
  winner = best > Vector{} ? winner : Integers{} + int32_t(DEAD);
  store_first(out, best < Vector{} ? Vector{} : best, count, streams);
  store_bytes(picks, winner, count);
}

// Relu and max-pooling of `count` results, which lie densely, of one image: of the result plus
// bias, or if it SCALES, of (result - center) * factor + bias.
template <bool SCALES>
inline void relu_and_pool(const float* results, const ix (&count)[3], ix channels,
                          const Finish& finish, float* out, uint8_t* picks, bool streams) {
  const ix* pooling = finish.pooling;
  const ix row = count[2] * channels, plane = count[1] * row;
  for (ix d = 0; d < count[0] / pooling[0]; ++d)
    for (ix h = 0; h < count[1] / pooling[1]; ++h)
      for (ix w = 0; w < count[2] / pooling[2]; ++w, out += channels, picks += channels) {
        const float* first = results + d * pooling[0] * plane + h * pooling[1] * row +
                             w * pooling[2] * channels;
        for (ix c = 0; c < channels; c += LANES) {
          const ix left = channels - c;
          const Vector bias = load_first(finish.bias + c, left);
          const Vector center = SCALES ? load_first(finish.center + c, left) : Vector{};
          const Vector factor = SCALES ? load_first(finish.factor + c, left) : Vector{};
          const auto at = [&](ix offset) {
            const Vector here = load_first(first + offset + c, left);
            prefetch(first + offset + c + AHEAD);
            return SCALES ? (here - center) * factor + bias : here + bias;
          };
          Vector best = at(0);
          Integers winner = {};
          int32_t number = 0;
          for (ix i = 0; i < pooling[0]; ++i)
            for (ix j = 0; j < pooling[1]; ++j)
              for (ix k = 0; k < pooling[2]; ++k, ++number)
                if (number != 0)
                  compare(at(i * plane + j * row + k * channels), Integers{} + number, best, winner);
          store_picked(best, winner, out + c, picks + c, left, streams);
        }
      }
}

CORNU_END
