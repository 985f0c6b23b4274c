// Softmax of a result and its bias, and the gradient through it, row by row.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "vector.h"

CORNU_BEGIN
namespace {

typedef uint32_t Bits __attribute__((vector_size(LANES * 4)));

// 2^n * e^r, n being an integer and |r| at most ln(2) / 2, of numbers that are not positive. What is smaller than
// the smallest normal number is zero. NaN stays.
CORNU_INLINE Vector exponential(Vector x) {
  const float ROUND = 12582912.0f;  // 1.5 * 2^23: a sum with it has no bits left for fractions
  const Vector least = broadcast(-87.33f);
  const Vector inside = x < least ? least : x;
  const Vector shifted = inside * 1.44269504f + ROUND, n = shifted - ROUND;
  // ln(2) in two parts, the first of so few bits that its product is exact.
  const Vector r = (inside - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector power = broadcast(1.0f / 5040);
  const float taylor[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1, 1};
  for (float term : taylor) power = power * r + term;
  const Bits exponent = ((Bits)shifted - 0x4b400000u + 127u) << 23;
  const Vector result = power * (Vector)exponent;
  return x < least ? Vector{} : x == x ? result : x;
}

// Half of the lanes, combined with the other half, until all have the same.
template <int STEP = LANES / 2, class Combine, int... LANE>
CORNU_INLINE Vector over_lanes(Vector v, const Combine& combine, std::integer_sequence<int, LANE...> each) {
  v = combine(v, shuffle<(LANE ^ STEP)...>(v, v));
  if constexpr (STEP > 1) return over_lanes<STEP / 2>(v, combine, each);
  else return v;
}
CORNU_INLINE Vector total_of(Vector v) {
  return over_lanes(v, [](Vector a, Vector b) { return a + b; }, EachLane{});
}
CORNU_INLINE Vector largest_of(Vector v) {
  return over_lanes(v, [](Vector a, Vector b) { return a > b ? a : b; }, EachLane{});
}

// The lanes beyond `count` get another number.
CORNU_INLINE Vector fill(Vector v, int64_t count, float filling) {
  Integers lanes;
  CORNU_UNROLL for (int lane = 0; lane < LANES; ++lane) lanes[lane] = lane;
  return lanes < int32_t(std::min<int64_t>(count, LANES)) ? v : broadcast(filling);
}

constexpr int64_t AT_ONCE = 64;  // of a part

}  // namespace

void biased_softmax(const Pool& pool, const Rows& shape, const float* image, const float* bias,
                    float* result) {
  const int64_t rows = shape.rows, channels = shape.channels;
  parallel_for(pool, (rows + AT_ONCE - 1) / AT_ONCE, [&](int64_t part) {
    for (int64_t p = part * AT_ONCE; p < std::min(rows, (part + 1) * AT_ONCE); ++p) {
      const float* from = image + p * channels;
      float* to = result + p * channels;
      Vector most = broadcast(-INFINITY);
      const auto logits = [&](int64_t c) {
        return load_first(from + c, channels - c) + load_first(bias + c, channels - c);
      };
      for (int64_t c = 0; c < channels; c += LANES) {
        const Vector x = fill(logits(c), channels - c, -INFINITY);
        most = most > x ? most : x;
      }
      most = largest_of(most);
      Vector sum = {};
      for (int64_t c = 0; c < channels; c += LANES) {
        const Vector power = exponential(logits(c) - most);
        sum += fill(power, channels - c, 0);
        store_first(to + c, power, channels - c);
      }
      sum = total_of(sum);
      for (int64_t c = 0; c < channels; c += LANES)
        store_first(to + c, load_first(to + c, channels - c) / sum, channels - c);
    }
  });
}

void softmax_gradient(const Pool& pool, const Rows& shape, const float* gradient, const float* result,
                      float* back, float* total) {
  const int64_t rows = shape.rows, channels = shape.channels;
  const int64_t parts = std::clamp<int64_t>(rows / AT_ONCE, 1, 32);
  Scratch partial(parts * channels);
  parallel_for(pool, parts, [&](int64_t part) {
    float* sums = partial.data() + part * channels;
    memset(sums, 0, channels * sizeof(float));
    for (int64_t p = rows * part / parts; p < rows * (part + 1) / parts; ++p) {
      const int64_t row = p * channels;
      Vector dot = {};
      for (int64_t c = 0; c < channels; c += LANES)
        dot += load_first(gradient + row + c, channels - c) * load_first(result + row + c, channels - c);
      dot = total_of(dot);
      for (int64_t c = 0; c < channels; c += LANES) {
        const int64_t left = channels - c;
        const Vector y = load_first(result + row + c, left);
        const Vector g = load_first(gradient + row + c, left) * y - y * dot;
        store_first(back + row + c, g, left);
        store_first(sums + c, load_first(sums + c, left) + g, left);
      }
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    float sum = 0;
    for (int64_t part = 0; part < parts; ++part) sum += partial.data()[part * channels + c];
    total[c] = sum;
  }
}

CORNU_END
