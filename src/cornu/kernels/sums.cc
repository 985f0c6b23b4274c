// Sums of many numbers, in the same order with any number of threads.

#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "vector.h"

CORNU_BEGIN

namespace {

struct Add {
  static constexpr float START = 0;
  template <class T>
  static T combine(T a, T b) { return a + b; }
};
// Of which one is NaN, this.
struct Largest {
  static constexpr float START = -INFINITY;
  template <class T>
  static T combine(T a, T b) { return (b > a) | (b != b) ? b : a; }
};

template <class Way>
void reduce(const Pool& pool, const Reduction& shape, const float* x, float* result) {
  const int64_t outer = shape.outer, reduced = shape.reduced, inner = shape.inner;
  // Where few numbers lie side by side, several of them are a row.
  constexpr int64_t AT_ONCE = 4, WIDTH = AT_ONCE * LANES;
  const int64_t together = inner < LANES ? std::max<int64_t>(1, std::min(WIDTH / inner, reduced)) : 1;
  const int64_t width = together * inner, rows = reduced / together;
  const int64_t most = std::max<int64_t>(1, 32 / outer);
  const int64_t parts = std::clamp<int64_t>(reduced * inner / 4096, 1, std::min(most, rows));
  if (together > 1) CORNU_PATH(reduce_several);
  if (parts > 1) CORNU_PATH(reduce_parts);
  Scratch several(parts > 1 ? outer * parts * inner : 1);
  float* partial = parts > 1 ? several.data() : result;
  parallel_for(pool, outer * parts, [&](int64_t item) {
    const int64_t part = item % parts, begin = rows * part / parts, end = rows * (part + 1) / parts;
    const float* from = x + item / parts * reduced * inner;
    float* to = partial + item * inner;
    float row[WIDTH];
    for (int64_t c = 0; c < width; c += LANES) {
      const int64_t count = width - c;
      Vector found[AT_ONCE];
      CORNU_UNROLL for (int k = 0; k < AT_ONCE; ++k) found[k] = broadcast(Way::START);
      int64_t r = begin;
      // Four at once, as each waits for the one before.
      for (; r + AT_ONCE <= end; r += AT_ONCE)
        CORNU_UNROLL for (int k = 0; k < AT_ONCE; ++k) {
          prefetch(from + (r + k + 8) * width + c);
          found[k] = Way::combine(found[k], load_first(from + (r + k) * width + c, count));
        }
      for (; r < end; ++r) found[0] = Way::combine(found[0], load_first(from + r * width + c, count));
      store_first((together > 1 ? row : to) + c,
                  Way::combine(Way::combine(found[0], found[1]), Way::combine(found[2], found[3])), count);
    }
    if (together == 1) return;
    const int64_t rest = part == parts - 1 ? reduced - rows * together : 0;
    for (int64_t i = 0; i < inner; ++i) {
      float all = Way::START;
      for (int64_t k = 0; k < together; ++k) all = Way::combine(all, row[k * inner + i]);
      for (int64_t p = reduced - rest; p < reduced; ++p) all = Way::combine(all, from[p * inner + i]);
      to[i] = all;
    }
  });
  for (int64_t o = 0; parts > 1 && o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      float all = Way::START;
      for (int64_t part = 0; part < parts; ++part)
        all = Way::combine(all, partial[(o * parts + part) * inner + i]);
      result[o * inner + i] = all;
    }
}

}  // namespace

void sum(const Pool& pool, const Reduction& shape, const float* x, float* result) {
  reduce<Add>(pool, shape, x, result);
}
void largest(const Pool& pool, const Reduction& shape, const float* x, float* result) {
  reduce<Largest>(pool, shape, x, result);
}

void bias_gradient(const Pool& pool, const Rows& shape, const float* gradient, const uint8_t* argmax,
                   float* result) {
  const int64_t rows = shape.rows, channels = shape.channels;
  // Fixed parts, so that sums have the same order with any number of threads.
  const int64_t parts = std::clamp<int64_t>(rows / 256, 1, 32);
  Scratch partial(parts * channels);
  parallel_for(parts * channels < 64 ? Pool{1, {}} : pool, parts, [&](int64_t part) {
    const int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;
    // Four sums at once, as each addition waits for the one before.
    constexpr int AT_ONCE = 4;
    for (int64_t c = 0; c < channels; c += LANES) {
      const int64_t count = channels - c;
      Vector sums[AT_ONCE] = {};
      for (int64_t p = begin; p < end; p += AT_ONCE)
        for (int k = 0; k < AT_ONCE && p + k < end; ++k) {
          const int64_t at = (p + k) * channels + c;
          prefetch(gradient + at + 8 * channels);
          const Vector g = load_first(gradient + at, count);
          const Integers index = load_bytes(argmax + at, count);
          sums[k] += index == Integers{} + int32_t(DEAD) ? Vector{} : g;
        }
      store_first(partial.data() + part * channels + c, (sums[0] + sums[1]) + (sums[2] + sums[3]),
                  count);
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    float sum = 0;
    for (int64_t part = 0; part < parts; ++part) sum += partial.data()[part * channels + c];
    result[c] = sum;
  }
}

CORNU_END
