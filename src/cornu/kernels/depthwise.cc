// Convolutions in which every channel has a window of its own: nothing is shared between channels, so
// vectors run along them, and a tile is a few neighbouring pixels, which share the weights.

#include "depthwise.h"

#include <vector>

CORNU_BEGIN
namespace {

constexpr int PIXELS = 6;
constexpr int TAPS = 9;

template <int P>
void pixels_of(const DepthwiseRow& row, const float* in, float* out) {
  for (ix c = 0; c < row.channels; c += LANES) {
    const ix count = row.channels - c;
    Vector sum[P] = {};
    for (ix t = 0; t < row.taps; ++t) {
      const Vector weight = load_first(row.weights + t * row.channels + c, count);
      const float* from = in + row.offsets[t] + c;
      CORNU_UNROLL for (int p = 0; p < P; ++p)
        sum[p] += load_first(from + p * row.in_pixel, count) * weight;
    }
    CORNU_UNROLL for (int p = 0; p < P; ++p) {
      store_first(out + p * row.out_pixel + c, sum[p], count);
    }
  }
}

// `T` taps at once: for each pixel one number of the gradient and `T` of the image.
template <int T>
void taps_of(const float* image, ix pixel, const ix* offsets, const float* gradient, ix channels,
             ix pixels, ix count, float* sums) {
  Vector sum[T];
  CORNU_UNROLL for (int t = 0; t < T; ++t) sum[t] = load_first(sums + t * channels, count);
  for (ix p = 0; p < pixels; ++p, image += pixel, gradient += channels) {
    const Vector g = load_first(gradient, count);
    CORNU_UNROLL for (int t = 0; t < T; ++t) sum[t] += load_first(image + offsets[t], count) * g;
  }
  CORNU_UNROLL for (int t = 0; t < T; ++t) store_first(sums + t * channels, sum[t], count);
}

}  // namespace

void depthwise_row(const DepthwiseRow& row) {
  ix p = 0;
  for (; p + PIXELS <= row.pixels; p += PIXELS)
    pixels_of<PIXELS>(row, row.in + p * row.in_pixel, row.out + p * row.out_pixel);
  for (; p < row.pixels; ++p)
    pixels_of<1>(row, row.in + p * row.in_pixel, row.out + p * row.out_pixel);
}

void depthwise_weight_gradient(const Pool& pool, const Window& w, const Source& image,
                               const Source& gradient, float* result) {
  const Region region = seen_by(w);
  const ix channels = w.channels_in, taps = product(w.window), sums = taps * channels;
  std::vector<ix> offsets;
  for_each_index(w.window, [&](const ix (&tap)[3]) {
    const ix at = (tap[0] * w.dilation[0] * region.length(1) + tap[1] * w.dilation[1]) *
                      region.row() + tap[2] * w.dilation[2];
    offsets.push_back(at * channels);
  });
  const ix row = region.row() * channels, plane = region.length(1) * row;
  // Fixed parts, so that sums have the same order with any number of threads.
  const ix parts = std::clamp<ix>(16, 1, w.batch);
  Scratch partial(parts * sums);
  parallel_for(pool, parts, [&](ix part) {
    float* to = partial.data() + part * sums;
    memset(to, 0, sums * sizeof(float));
    Scratch padded(region.pixels() * channels), line(w.output[2] * channels);
    for (ix n = w.batch * part / parts; n < w.batch * (part + 1) / parts; ++n) {
      copy_region(image, n, region, padded.data());
      for (ix d = 0; d < w.output[0]; ++d)
        for (ix h = 0; h < w.output[1]; ++h) {
          gradient.copy_row(n, d, h, 0, w.output[2], line.data());
          const float* from = padded.data() + d * w.strides[0] * plane + h * w.strides[1] * row;
          for (ix c = 0; c < channels; c += LANES)
            for (ix t = 0; t < taps;) {
              const bool many = t + TAPS <= taps;
              (many ? taps_of<TAPS> : taps_of<1>)(from + c, w.strides[2] * channels, &offsets[t],
                                                  line.data() + c, channels, w.output[2],
                                                  channels - c, to + t * channels + c);
              t += many ? TAPS : 1;
            }
        }
    }
  });
  for (ix k = 0; k < sums; ++k) {
    float sum = 0;
    for (ix part = 0; part < parts; ++part) sum += partial.data()[part * sums + k];
    result[k] = sum;
  }
}

CORNU_END
