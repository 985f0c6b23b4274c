// Pooling with any window: a few instructions for each number read, so all vectors run along the
// channels.

#include <algorithm>
#include <cmath>

#include "epilogue.h"

CORNU_BEGIN
namespace {

// The part of a window, at one output position, that lies inside the image.
struct Inside {
  ix first[3], last[3];  // indices [first, last)
  ix at[3];              // where in the image index 0 would be
};

Inside inside(const Window& w, ix d, ix h, ix x) {
  const ix result[3] = {d, h, x};
  Inside r;
  for (int a = 0; a < 3; ++a) {
    r.at[a] = result[a] * w.strides[a] - w.before[a];
    r.first[a] = r.at[a] < 0 ? -r.at[a] : 0;
    r.last[a] = std::min(w.window[a], w.size[a] - r.at[a]);
  }
  return r;
}

// Neighbouring windows of one vector of channels, that go through their numbers together: what one of
// them does is so little that the loop would cost more.
template <int P>
struct Neighbours {
  static constexpr int WINDOWS = P;
  ix result, out_step;  // index of the first one's result, and from one to the next
  ix in_step;           // from one in the image to the next
  ix first, count;      // index of the first number inside the image; channels that are left

  // Call visit(window, offset in the image, index) for all numbers inside.
  template <class Visit>
  __attribute__((always_inline)) void for_each_inside(const Window& w, const Inside& r, ix c,
                                                      const Visit& visit) const {
    for (ix i = r.first[0]; i < r.last[0]; ++i)
      for (ix j = r.first[1]; j < r.last[1]; ++j) {
        const ix row = ((r.at[0] + i) * w.size[1] + r.at[1] + j) * w.size[2] + r.at[2];
        for (ix k = r.first[2]; k < r.last[2]; ++k) {
          const Integers index = Integers{} + int32_t((i * w.window[1] + j) * w.window[2] + k);
          const ix offset = (row + k) * w.channels_in + c;
          CORNU_UNROLL for (int p = 0; p < P; ++p) visit(p, offset + p * in_step, index);
        }
      }
  }
};

constexpr int TOGETHER = 4;

// Call windows(neighbours, for each number) for all windows of an image.
template <class Windows>
CORNU_INLINE void for_each_window(const Window& w, const Windows& windows) {
  const ix channels = w.channels_in;
  const auto some = [&](auto n, const Inside& r, ix result) {
    n.first = (r.first[0] * w.window[1] + r.first[1]) * w.window[2] + r.first[2];
    n.out_step = channels;
    n.in_step = w.strides[2] * channels;
    for (ix c = 0; c < channels; c += LANES) {
      n.result = result + c;
      n.count = channels - c;
      windows(n, [&](const auto& visit) { n.for_each_inside(w, r, c, visit); });
    }
  };
  ix result = 0;
  for (ix d = 0; d < w.output[0]; ++d)
    for (ix h = 0; h < w.output[1]; ++h)
      for (ix x = 0; x < w.output[2];) {
        const Inside r = inside(w, d, h, x);
        // All of them must be inside the row.
        const ix last = r.at[2] + (TOGETHER - 1) * w.strides[2] + w.window[2];
        const bool together = x + TOGETHER <= w.output[2] && r.at[2] >= 0 && last <= w.size[2];
        if (together) CORNU_PATH(pool_neighbours);
        else CORNU_PATH(pool_one);
        if (together) some(Neighbours<TOGETHER>{}, r, result);
        else some(Neighbours<1>{}, r, result);
        x += together ? TOGETHER : 1;
        result += (together ? TOGETHER : 1) * channels;
      }
}

ix floats(const ix (&size)[3], ix channels) { return size[0] * size[1] * size[2] * channels; }

}  // namespace

void max_pool(const Pool& pool, const Window& w, const float* image, float* result,
              uint8_t* argmax) {
  const ix in = floats(w.size, w.channels_in), out = floats(w.output, w.channels_in);
  parallel_for(pool, w.batch, [&](ix i) {
    for_each_window(w, [&](auto n, const auto& for_each) {
      Vector best[n.WINDOWS];
      Integers best_index[n.WINDOWS];
      CORNU_UNROLL for (int p = 0; p < n.WINDOWS; ++p) {
        best[p] = broadcast(-INFINITY);
        best_index[p] = Integers{} + int32_t(n.first);
      }
      for_each([&](int p, ix offset, Integers index) {
        compare(load_first(image + i * in + offset, n.count), index, best[p], best_index[p]);
      });
      CORNU_UNROLL for (int p = 0; p < n.WINDOWS; ++p) {
        const ix at = i * out + n.result + p * n.out_step;
        store_first(result + at, best[p], n.count);
        store_bytes(argmax + at, best_index[p], n.count);
      }
    });
  });
}

void max_pool_gradient(const Pool& pool, const Window& w, const float* gradient,
                       const uint8_t* argmax, float* result) {
  const ix in = floats(w.size, w.channels_in), out = floats(w.output, w.channels_in);
  bool side_by_side = true;
  for (int a = 0; a < 3; ++a)
    side_by_side = side_by_side && w.strides[a] == w.window[a] && w.before[a] == 0 &&
                   w.output[a] == w.size[a] / w.window[a];
  parallel_for(pool, w.batch, [&](ix i) {
    float* to = result + i * in;
    if (side_by_side) {
      CORNU_PATH(max_pool_gradient_side_by_side);
      // Each number is written once.
      const Source source{gradient, {w.size[0], w.size[1], w.size[2]}, w.channels_in,
                          {argmax, {w.window[0], w.window[1], w.window[2]}}};
      copy_region(source, i, {{0, 0, 0}, {w.size[0], w.size[1], w.size[2]}}, to);
      return;
    }
    CORNU_PATH(max_pool_gradient_overlaps);
    memset(to, 0, in * sizeof(float));
    for_each_window(w, [&](auto n, const auto& for_each) {
      Vector g[n.WINDOWS];
      Integers best_index[n.WINDOWS];
      CORNU_UNROLL for (int p = 0; p < n.WINDOWS; ++p) {
        const ix at = i * out + n.result + p * n.out_step;
        g[p] = load_first(gradient + at, n.count);
        best_index[p] = load_bytes(argmax + at, n.count);
      }
      for_each([&](int p, ix offset, Integers index) {
        const Vector share = best_index[p] == index ? g[p] : Vector{};
        store_first(to + offset, load_first(to + offset, n.count) + share, n.count);
      });
    });
  });
}

void sum_pool(const Pool& pool, const Window& w, const float* image, float* result) {
  const ix in = floats(w.size, w.channels_in), out = floats(w.output, w.channels_in);
  parallel_for(pool, w.batch, [&](ix i) {
    for_each_window(w, [&](auto n, const auto& for_each) {
      Vector sum[n.WINDOWS] = {};
      for_each([&](int p, ix offset, Integers) {
        sum[p] += load_first(image + i * in + offset, n.count);
      });
      CORNU_UNROLL for (int p = 0; p < n.WINDOWS; ++p)
        store_first(result + i * out + n.result + p * n.out_step, sum[p], n.count);
    });
  });
}

void sum_pool_gradient(const Pool& pool, const Window& w, const float* gradient, float* result) {
  const ix in = floats(w.size, w.channels_in), out = floats(w.output, w.channels_in);
  bool apart = true;  // no number belongs to two windows
  for (int a = 0; a < 3; ++a) apart = apart && w.strides[a] >= w.window[a];
  if (apart) CORNU_PATH(sum_pool_gradient_apart);
  else CORNU_PATH(sum_pool_gradient_overlaps);
  parallel_for(pool, w.batch, [&](ix i) {
    float* to = result + i * in;
    memset(to, 0, in * sizeof(float));
    for_each_window(w, [&](auto n, const auto& for_each) {
      Vector g[n.WINDOWS];
      CORNU_UNROLL for (int p = 0; p < n.WINDOWS; ++p)
        g[p] = load_first(gradient + i * out + n.result + p * n.out_step, n.count);
      for_each([&](int p, ix offset, Integers) {
        store_first(to + offset, apart ? g[p] : load_first(to + offset, n.count) + g[p], n.count);
      });
    });
  });
}

CORNU_END
