// Pooling with any window: a few instructions for each number read, so all vectors run along the
// channels.

#include <algorithm>
#include <cmath>

#include "finish.h"

CORNU_BEGIN
namespace {

// The places of a window, at one result, that lie inside the image.
struct Inside {
  ix first[3], last[3];  // places [first, last)
  ix at[3];              // where in the image the place 0 would be
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

// Neighbouring windows of one vector of channels, that go through their places together: what one of
// them does is so little that the loop would cost more.
template <int P>
struct Neighbours {
  static constexpr int WINDOWS = P;
  ix result, out_step;  // index of the first one's result, and from one to the next
  ix in_step;           // from one's place in the image to that of the next
  ix first, count;      // number of the first place inside the image; channels that are left

  // Call place(window, offset in the image, number of the place) for all places inside.
  template <class Place>
  __attribute__((always_inline)) void for_each_place(const Window& w, const Inside& r, ix c,
                                                     const Place& place) const {
    for (ix i = r.first[0]; i < r.last[0]; ++i)
      for (ix j = r.first[1]; j < r.last[1]; ++j) {
        const ix row = ((r.at[0] + i) * w.size[1] + r.at[1] + j) * w.size[2] + r.at[2];
        for (ix k = r.first[2]; k < r.last[2]; ++k) {
          const Integers number = Integers{} + int32_t((i * w.window[1] + j) * w.window[2] + k);
          const ix offset = (row + k) * w.channels_in + c;
          CORNU_UNROLL for (int p = 0; p < P; ++p) place(p, offset + p * in_step, number);
        }
      }
  }
};

constexpr int TOGETHER = 4;

// Call windows(neighbours, for each place) for all windows of an image.
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
      windows(n, [&](const auto& place) { n.for_each_place(w, r, c, place); });
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
        if (together) some(Neighbours<TOGETHER>{}, r, result);
        else some(Neighbours<1>{}, r, result);
        x += together ? TOGETHER : 1;
        result += (together ? TOGETHER : 1) * channels;
      }
}

ix floats(const ix (&size)[3], ix channels) { return size[0] * size[1] * size[2] * channels; }

}  // namespace

void max_pool(const Pool& pool, const Window& w, const float* image, float* result,
              uint8_t* places) {
  const ix in = floats(w.size, w.channels_in), out = floats(w.output, w.channels_in);
  parallel_for(pool, w.batch, [&](ix i) {
    for_each_window(w, [&](auto n, const auto& for_each) {
      Vector best[n.WINDOWS];
      Integers winner[n.WINDOWS];
      CORNU_UNROLL for (int p = 0; p < n.WINDOWS; ++p) {
        best[p] = broadcast(-INFINITY);
        winner[p] = Integers{} + int32_t(n.first);
      }
      for_each([&](int p, ix offset, Integers number) {
        compare(load_first(image + i * in + offset, n.count), number, best[p], winner[p]);
      });
      CORNU_UNROLL for (int p = 0; p < n.WINDOWS; ++p) {
        const ix at = i * out + n.result + p * n.out_step;
        store_first(result + at, best[p], n.count);
        store_bytes(places + at, winner[p], n.count);
      }
    });
  });
}

void max_pool_gradient(const Pool& pool, const Window& w, const float* gradient,
                       const uint8_t* places, float* result) {
  const ix in = floats(w.size, w.channels_in), out = floats(w.output, w.channels_in);
  bool side_by_side = true;
  for (int a = 0; a < 3; ++a)
    side_by_side = side_by_side && w.strides[a] == w.window[a] && w.before[a] == 0 &&
                   w.output[a] == w.size[a] / w.window[a];
  parallel_for(pool, w.batch, [&](ix i) {
    float* to = result + i * in;
    if (side_by_side) {
      // Each number is written once.
      const Source source{gradient, {w.size[0], w.size[1], w.size[2]}, w.channels_in,
                          {places, {w.window[0], w.window[1], w.window[2]}}};
      copy_region(source, i, {{0, 0, 0}, {w.size[0], w.size[1], w.size[2]}}, to);
      return;
    }
    memset(to, 0, in * sizeof(float));
    for_each_window(w, [&](auto n, const auto& for_each) {
      Vector g[n.WINDOWS];
      Integers winner[n.WINDOWS];
      CORNU_UNROLL for (int p = 0; p < n.WINDOWS; ++p) {
        const ix at = i * out + n.result + p * n.out_step;
        g[p] = load_first(gradient + at, n.count);
        winner[p] = load_bytes(places + at, n.count);
      }
      for_each([&](int p, ix offset, Integers number) {
        const Vector share = winner[p] == number ? g[p] : Vector{};
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
