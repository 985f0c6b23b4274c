// The hyperbolic tangent of a result and its bias, and the gradient through it.

#include <algorithm>
#include <cstring>
#include <numeric>

#include "curves.h"
#include "kernels.h"

CORNU_BEGIN
namespace {

// Numbers of channels lie densely, so that vectors of them begin again with the first channel only after
// some rows: bias and sums are held for as many rows, `span` numbers.
int64_t span_of(int64_t channels) {
  constexpr int64_t ENOUGH = 16 * LANES;  // a sum should not wait for the one before
  const int64_t least = std::lcm<int64_t>(channels, LANES);
  return (ENOUGH + least - 1) / least * least;
}

// Parts of whole spans; always the same, so that sums have the same order with any number of threads.
struct Parts {
  int64_t span, spans, count;
  Parts(int64_t numbers, int64_t channels) : span(span_of(channels)), spans((numbers + span - 1) / span) {
    count = std::clamp<int64_t>(std::min(spans, numbers / 8192), 1, 32);
  }
  int64_t begin(int64_t part) const { return spans * part / count * span; }
};

}  // namespace

void biased_tanh(const Pool& pool, const Rows& rows, const float* image, const float* bias, float* result) {
  const int64_t numbers = rows.numbers(), channels = rows.channels;
  const Parts parts(numbers, channels);
  Scratch spread(parts.span);
  for (int64_t i = 0; i < parts.span; ++i) spread.data()[i] = bias[i % channels];
  parallel_for(pool, parts.count, [&](int64_t part) {
    const int64_t end = std::min(numbers, parts.begin(part + 1));
    for (int64_t from = parts.begin(part); from < end; from += parts.span)
      for (int64_t j = 0; j < parts.span && from + j < end; j += LANES) {
        const int64_t at = from + j, left = end - at;
        store_first(result + at, tanh_of(load_first(image + at, left) + load(spread.data() + j)), left);
      }
  });
}

void tanh_gradient(const Pool& pool, const Rows& rows, const float* gradient, const float* result,
                   float* back, float* total) {
  const int64_t numbers = rows.numbers(), channels = rows.channels;
  const Parts parts(numbers, channels);
  Scratch partial(parts.count * parts.span);
  parallel_for(pool, parts.count, [&](int64_t part) {
    float* sums = partial.data() + part * parts.span;
    memset(sums, 0, parts.span * sizeof(float));
    const int64_t end = std::min(numbers, parts.begin(part + 1));
    for (int64_t from = parts.begin(part); from < end; from += parts.span)
      for (int64_t j = 0; j < parts.span && from + j < end; j += LANES) {
        const int64_t at = from + j, left = end - at;
        const Vector y = load_first(result + at, left);
        const Vector g = load_first(gradient + at, left) * (1 - y * y);
        store_first(back + at, g, left);
        store(sums + j, load(sums + j) + g);
      }
  });
  for (int64_t c = 0; c < channels; ++c) {
    float sum = 0;
    for (int64_t i = c; i < parts.count * parts.span; i += channels) sum += partial.data()[i];
    total[c] = sum;
  }
}

CORNU_END
