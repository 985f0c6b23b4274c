// The sum of a gradient over all but its channels: what a bias gets.

#include <algorithm>

#include "kernels.h"
#include "vector.h"

CORNU_BEGIN

void channel_sum(const Pool& pool, const float* gradient, const uint8_t* picks, int64_t places,
                 int64_t channels, float* result) {
  // Fixed parts, so that sums have the same order with any number of threads.
  const int64_t parts = std::clamp<int64_t>(places / 256, 1, 32);
  Scratch partial(parts * channels);
  parallel_for(parts * channels < 64 ? Pool{1, {}} : pool, parts, [&](int64_t part) {
    const int64_t begin = places * part / parts, end = places * (part + 1) / parts;
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
          const Integers place = load_bytes(picks + at, count);
          sums[k] += place == Integers{} + int32_t(DEAD) ? Vector{} : g;
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
