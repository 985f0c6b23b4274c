// Softmax of a result and its bias, and the gradient through it, row by row.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "curves.h"
#include "kernels.h"

CORNU_BEGIN
namespace {

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
