// Pooling with any window: a few instructions for each number read, so all vectors run along the
// channels, and several pixels of one channel at a time would gain nothing.

#include <algorithm>

#include "image.h"

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

// Call begin(result index), place(offset in the image, number of the place) for all places inside,
// and end(), for each window and each vector of its channels.
template <class Begin, class Place, class End>
CORNU_INLINE void for_each_window(const Window& w, const Begin& begin, const Place& place,
                                  const End& end) {
  ix result = 0;
  for (ix d = 0; d < w.output[0]; ++d)
    for (ix h = 0; h < w.output[1]; ++h)
      for (ix x = 0; x < w.output[2]; ++x, result += w.channels_in) {
        const Inside r = inside(w, d, h, x);
        for (ix c = 0; c < w.channels_in; c += LANES) {
          const ix count = w.channels_in - c;
          begin(result + c, count);
          for (ix i = r.first[0]; i < r.last[0]; ++i)
            for (ix j = r.first[1]; j < r.last[1]; ++j) {
              const ix row = ((r.at[0] + i) * w.size[1] + r.at[1] + j) * w.size[2] + r.at[2];
              for (ix k = r.first[2]; k < r.last[2]; ++k)
                place((row + k) * w.channels_in + c, (i * w.window[1] + j) * w.window[2] + k,
                      count);
            }
          end(result + c, count);
        }
      }
}

ix floats(const ix (&size)[3], ix channels) { return size[0] * size[1] * size[2] * channels; }

}  // namespace

void max_pool(const Pool& pool, const Window& w, const float* image, float* result,
              uint8_t* places) {
  const ix in = floats(w.size, w.channels_in), out = floats(w.output, w.channels_in);
  parallel_for(pool, w.batch, [&](ix n) {
    Vector best = {};
    Integers winner = {};
    bool first = true;
    for_each_window(
        w, [&](ix, ix) { first = true; },
        [&](ix offset, ix place, ix count) {
          const Vector here = load_first(image + n * in + offset, count);
          if (first) {
            best = here;
            winner = Integers{} + int32_t(place);
            first = false;
            return;
          }
          // NaN comes, and then stays, because nothing compares with it.
          const Integers better = ~(best >= here) & (best == best);
          best = better ? here : best;
          winner = better ? Integers{} + int32_t(place) : winner;
        },
        [&](ix at, ix count) {
          store_first(result + n * out + at, best, count);
          store_bytes(places + n * out + at, winner, count);
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
  parallel_for(pool, w.batch, [&](ix n) {
    float* to = result + n * in;
    if (side_by_side) {
      // Each number is written once.
      const Source source{gradient, {w.size[0], w.size[1], w.size[2]}, w.channels_in,
                          {places, {w.window[0], w.window[1], w.window[2]}}};
      copy_region(source, n, {{0, 0, 0}, {w.size[0], w.size[1], w.size[2]}}, to);
      return;
    }
    memset(to, 0, in * sizeof(float));
    Vector g = {};
    Integers winner = {};
    for_each_window(
        w,
        [&](ix at, ix count) {
          g = load_first(gradient + n * out + at, count);
          winner = load_bytes(places + n * out + at, count);
        },
        [&](ix offset, ix place, ix count) {
          const Vector share = winner == Integers{} + int32_t(place) ? g : Vector{};
          store_first(to + offset, load_first(to + offset, count) + share, count);
        },
        [](ix, ix) {});
  });
}

void sum_pool(const Pool& pool, const Window& w, const float* image, float* result) {
  const ix in = floats(w.size, w.channels_in), out = floats(w.output, w.channels_in);
  parallel_for(pool, w.batch, [&](ix n) {
    Vector sum = {};
    for_each_window(
        w, [&](ix, ix) { sum = Vector{}; },
        [&](ix offset, ix, ix count) { sum += load_first(image + n * in + offset, count); },
        [&](ix at, ix count) { store_first(result + n * out + at, sum, count); });
  });
}

void sum_pool_gradient(const Pool& pool, const Window& w, const float* gradient, float* result) {
  const ix in = floats(w.size, w.channels_in), out = floats(w.output, w.channels_in);
  parallel_for(pool, w.batch, [&](ix n) {
    float* to = result + n * in;
    memset(to, 0, in * sizeof(float));
    Vector g = {};
    for_each_window(
        w, [&](ix at, ix count) { g = load_first(gradient + n * out + at, count); },
        [&](ix offset, ix, ix count) {
          store_first(to + offset, load_first(to + offset, count) + g, count);
        },
        [](ix, ix) {});
  });
}

CORNU_END
