// Batch normalization: the statistics of channels, and what comes after them in one pass.

#include <algorithm>
#include <vector>

#include "finish.h"
#include "image.h"

CORNU_BEGIN
namespace {

// Sums have the same order with any number of threads: the places are split in so many parts.
ix parts_of(ix places) { return std::clamp<ix>(places / 64, 1, 32); }

// Call work(part, first place, end) for each part.
template <class Work>
void for_each_part(const Pool& pool, ix places, ix channels, const Work& work) {
  const ix parts = parts_of(places);
  parallel_for(places * channels < (1 << 14) ? Pool{1, {}} : pool, parts, [&](ix part) {
    work(part, places * part / parts, places * (part + 1) / parts);
  });
}

// How many, their mean, and the sum of their squared distances from it.
struct Statistics {
  float count;
  Vector mean, squares;

  // Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for sample variances".
  void add(const Statistics& other) {
    const float all = count + other.count;
    const Vector step = other.mean - mean;
    mean += step * (other.count / all);
    squares += other.squares + step * step * (count * other.count / all);
    count = all;
  }
};

// Of a block of places that is still in the cache when it is read again.
Statistics statistics(const float* x, ix places, ix channels, ix left) {
  constexpr int AT_ONCE = 4;
  Vector sums[AT_ONCE] = {};
  for (ix p = 0; p < places; p += AT_ONCE)
    for (int k = 0; k < AT_ONCE && p + k < places; ++k)
      sums[k] += load_first(x + (p + k) * channels, left);
  const Vector mean = ((sums[0] + sums[1]) + (sums[2] + sums[3])) / float(places);
  Vector squares[AT_ONCE] = {};
  for (ix p = 0; p < places; p += AT_ONCE)
    for (int k = 0; k < AT_ONCE && p + k < places; ++k) {
      const Vector distance = load_first(x + (p + k) * channels, left) - mean;
      squares[k] += distance * distance;
    }
  return {float(places), mean, (squares[0] + squares[1]) + (squares[2] + squares[3])};
}

// Two sums for each channel. `add(first place, end, dots, sums)` adds those of some places to what
// is there.
template <class Add>
void sum_channels(const Pool& pool, ix places, ix channels, const Add& add, float* dot,
                  float* sum) {
  const ix parts = parts_of(places);
  Scratch partial(2 * parts * channels);
  for_each_part(pool, places, channels, [&](ix part, ix begin, ix end) {
    float* dots = partial.data() + 2 * part * channels;
    memset(dots, 0, 2 * channels * sizeof(float));
    add(begin, end, dots, dots + channels);
  });
  for (ix c = 0; c < channels; ++c) {
    dot[c] = sum[c] = 0;
    for (ix part = 0; part < parts; ++part) {
      dot[c] += partial.data()[2 * part * channels + c];
      sum[c] += partial.data()[(2 * part + 1) * channels + c];
    }
  }
}

CORNU_INLINE void add_first(float* to, Vector v, ix count) {
  store_first(to, load_first(to, count) + v, count);
}

}  // namespace

void moments(const Pool& pool, const float* x, ix places, ix channels, float* mean,
             float* variance) {
  const ix vectors = (channels + LANES - 1) / LANES;
  std::vector<Statistics> found(parts_of(places) * vectors);
  const ix block = std::max<ix>(16, 8192 / channels);
  for_each_part(pool, places, channels, [&](ix part, ix begin, ix end) {
    for (ix first = begin; first < end; first += block) {
      const ix count = std::min(block, end - first);
      for (ix v = 0; v < vectors; ++v) {
        const ix c = v * LANES;
        const Statistics here = statistics(x + first * channels + c, count, channels, channels - c);
        Statistics& sofar = found[part * vectors + v];
        if (first == begin) sofar = here;
        else sofar.add(here);
      }
    }
  });
  for (ix v = 0; v < vectors; ++v) {
    Statistics all = found[v];
    for (ix part = 1; part < parts_of(places); ++part) all.add(found[part * vectors + v]);
    store_first(mean + v * LANES, all.mean, channels - v * LANES);
    store_first(variance + v * LANES, all.squares / all.count, channels - v * LANES);
  }
}

void totals(const Pool& pool, const float* gradient, const float* x, const float* center, ix places,
            ix channels, float* dot, float* sum) {
  sum_channels(pool, places, channels, [&](ix begin, ix end, float* dots, float* sums) {
    for (ix p = begin; p < end; ++p)
      for (ix c = 0; c < channels; c += LANES) {
        const ix left = channels - c;
        const Vector g = load_first(gradient + p * channels + c, left);
        const Vector here = load_first(x + p * channels + c, left);
        add_first(dots + c, g * (here - load_first(center + c, left)), left);
        add_first(sums + c, g, left);
      }
  }, dot, sum);
}

void picked_totals(const Pool& pool, const Window& w, const float* gradient, const float* x,
                   const float* center, const uint8_t* picks, float* dot, float* sum) {
  const ix channels = w.channels_in, row = w.size[2] * channels, plane = w.size[1] * row;
  std::vector<ix> offsets;
  for_each_place(w.window, [&](const ix (&at)[3]) {
    offsets.push_back(at[0] * plane + at[1] * row + at[2] * channels);
  });
  const int32_t most = offsets.size();
  // Places are rows of the result here.
  const ix length = w.output[2] * channels, rows = w.batch * w.output[0] * w.output[1];
  const auto add_row = [&](ix r, float* dots, float* sums) {
    const ix n = r / (w.output[0] * w.output[1]), d = r / w.output[1] % w.output[0];
    const float* from = x + (n * w.size[0] + d * w.window[0]) * plane +
                        r % w.output[1] * w.window[1] * row;
    for (ix at = r * length; at < (r + 1) * length; at += channels, from += w.window[2] * channels)
      for (ix c = 0; c < channels; c += LANES) {
        const ix left = channels - c;
        const Integers pick = load_bytes(picks + at + c, left);
        const Integers alive = pick < Integers{} + most;
        Vector here{};
        for (int32_t k = 0; k < most; ++k)
          here = pick == Integers{} + k ? load_first(from + offsets[k] + c, left) : here;
        const Vector g = alive ? load_first(gradient + at + c, left) : Vector{};
        const Vector product = g * (here - load_first(center + c, left));
        add_first(dots + c, alive ? product : Vector{}, left);
        add_first(sums + c, g, left);
      }
  };
  sum_channels(pool, rows, channels, [&](ix begin, ix end, float* dots, float* sums) {
    for (ix r = begin; r < end; ++r) add_row(r, dots, sums);
  }, dot, sum);
}

void affine_relu_pool(const Pool& pool, const Window& w, const float* x, const float* center,
                      const float* factor, const float* offset, float* result, uint8_t* picks) {
  Finish finish;
  finish.center = center;
  finish.factor = factor;
  finish.bias = offset;
  std::copy(w.window, w.window + 3, finish.pooling);
  const ix in = product(w.size) * w.channels_in, out = product(w.output) * w.channels_in;
  const bool streams_out = streams(result, w.batch * out, w.channels_in);
  parallel_for(pool, w.batch, [&](ix n) {
    relu_and_pool<true>(x + n * in, w.size, w.channels_in, finish, result + n * out,
                        picks + n * out, streams_out);
  });
}

CORNU_END
