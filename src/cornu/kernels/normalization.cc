// Batch normalization: the statistics of channels, and what comes after them in one pass.

#include <algorithm>
#include <vector>

#include "epilogue.h"
#include "image.h"

CORNU_BEGIN
namespace {

// Sums have the same order with any number of threads: the rows are split in so many parts.
ix parts_of(ix rows) { return std::clamp<ix>(rows / 64, 1, 32); }

// Call work(part, first row, end) for each part.
template <class Work>
void for_each_part(const Pool& pool, ix rows, ix channels, const Work& work) {
  const ix parts = parts_of(rows);
  parallel_for(rows * channels < (1 << 14) ? Pool{1, {}} : pool, parts, [&](ix part) {
    work(part, rows * part / parts, rows * (part + 1) / parts);
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

// Of a block of rows that is still in the cache when it is read again.
Statistics statistics(const float* x, ix rows, ix channels, ix left) {
  constexpr int AT_ONCE = 4;
  Vector sums[AT_ONCE] = {};
  for (ix p = 0; p < rows; p += AT_ONCE)
    for (int k = 0; k < AT_ONCE && p + k < rows; ++k) {
      sums[k] += load_first(x + (p + k) * channels, left);
      prefetch(x + (p + k + rows) * channels);
    }
  const Vector mean = ((sums[0] + sums[1]) + (sums[2] + sums[3])) / float(rows);
  Vector squares[AT_ONCE] = {};
  for (ix p = 0; p < rows; p += AT_ONCE)
    for (int k = 0; k < AT_ONCE && p + k < rows; ++k) {
      const Vector distance = load_first(x + (p + k) * channels, left) - mean;
      squares[k] += distance * distance;
    }
  return {float(rows), mean, (squares[0] + squares[1]) + (squares[2] + squares[3])};
}

// Two sums for each channel. `add(first row, end, dots, sums)` adds those of some rows to what
// is there.
template <class Add>
void sum_channels(const Pool& pool, ix rows, ix channels, const Add& add, float* dot,
                  float* sum) {
  const ix parts = parts_of(rows);
  Scratch partial(2 * parts * channels);
  for_each_part(pool, rows, channels, [&](ix part, ix begin, ix end) {
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

// Add what rows of one vector of channels have: `at(row, gradient)` gives the gradient and its
// product. Several sums at once, as each addition waits for the one before.
template <class At>
CORNU_INLINE void add_rows(ix rows, float* dots, float* sums, ix left, const At& at) {
  constexpr int AT_ONCE = 4;
  Vector dot[AT_ONCE] = {}, sum[AT_ONCE] = {};
  ix p = 0;
  for (; p + AT_ONCE <= rows; p += AT_ONCE)
    CORNU_UNROLL for (int k = 0; k < AT_ONCE; ++k) {
      Vector gradient;
      dot[k] += at(p + k, gradient);
      sum[k] += gradient;
    }
  for (; p < rows; ++p) {
    Vector gradient;
    dot[0] += at(p, gradient);
    sum[0] += gradient;
  }
  add_first(dots, (dot[0] + dot[1]) + (dot[2] + dot[3]), left);
  add_first(sums, (sum[0] + sum[1]) + (sum[2] + sum[3]), left);
}

constexpr ix TOGETHER = 8;  // rows, before the next vector of channels: memory is read in its order

}  // namespace

void batch_norm_statistics(const Pool& pool, const Rows& shape, const float* x, float* mean, float* variance) {
  const ix rows = shape.rows, channels = shape.channels;
  const ix vectors = (channels + LANES - 1) / LANES;
  std::vector<Statistics> found(parts_of(rows) * vectors);
  const ix block = std::max<ix>(16, 8192 / channels);
  for_each_part(pool, rows, channels, [&](ix part, ix begin, ix end) {
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
    for (ix part = 1; part < parts_of(rows); ++part) all.add(found[part * vectors + v]);
    store_first(mean + v * LANES, all.mean, channels - v * LANES);
    store_first(variance + v * LANES, all.squares / all.count, channels - v * LANES);
  }
}

void batch_norm_sums(const Pool& pool, const Rows& shape, const float* gradient, const float* x,
                     const float* center, float* dot, float* sum) {
  const ix rows = shape.rows, channels = shape.channels;
  sum_channels(pool, rows, channels, [&](ix begin, ix end, float* dots, float* sums) {
    for (ix first = begin; first < end; first += TOGETHER)
      for (ix c = 0; c < channels; c += LANES) {
        const ix left = channels - c;
        const Vector middle = load_first(center + c, left);
        add_rows(std::min(TOGETHER, end - first), dots + c, sums + c, left, [&](ix p, Vector& g) {
          const ix at = (first + p) * channels + c;
          prefetch(gradient + at + TOGETHER * channels);
          prefetch(x + at + TOGETHER * channels);
          g = load_first(gradient + at, left);
          return g * (load_first(x + at, left) - middle);
        });
      }
  }, dot, sum);
}

void relu_pool_batch_norm_sums(const Pool& pool, const Window& w, const float* gradient, const float* x,
                               const float* center, const uint8_t* argmax, float* dot, float* sum) {
  const ix channels = w.channels_in, row = w.size[2] * channels, plane = w.size[1] * row;
  std::vector<ix> offsets;
  for_each_index(w.window, [&](const ix (&at)[3]) {
    offsets.push_back(at[0] * plane + at[1] * row + at[2] * channels);
  });
  const int32_t most = offsets.size();
  const ix rows = w.batch * w.output[0] * w.output[1], step = w.window[2] * channels;
  const auto add_row = [&](ix r, float* dots, float* sums) {
    const ix n = r / (w.output[0] * w.output[1]), d = r / w.output[1] % w.output[0];
    const float* from = x + (n * w.size[0] + d * w.window[0]) * plane +
                        r % w.output[1] * w.window[1] * row;
    for (ix first = 0; first < w.output[2]; first += TOGETHER)
      for (ix c = 0; c < channels; c += LANES) {
        const ix left = channels - c, count = std::min(TOGETHER, w.output[2] - first);
        const Vector middle = load_first(center + c, left);
        add_rows(count, dots + c, sums + c, left, [&](ix p, Vector& g) {
          const ix at = (r * w.output[2] + first + p) * channels + c;
          const float* window = from + (first + p) * step + c;
          for (int32_t k = 0; k < most; ++k) prefetch(window + offsets[k] + TOGETHER * step);
          prefetch(gradient + at + TOGETHER * channels);
          const Integers index = load_bytes(argmax + at, left);
          const Integers alive = index < Integers{} + most;
          Vector here = load_first(window, left);
          for (int32_t k = 1; k < most; ++k)
            here = index == Integers{} + k ? load_first(window + offsets[k], left) : here;
          g = alive ? load_first(gradient + at, left) : Vector{};
          return alive ? g * (here - middle) : Vector{};
        });
      }
  };
  sum_channels(pool, rows, channels, [&](ix begin, ix end, float* dots, float* sums) {
    for (ix r = begin; r < end; ++r) add_row(r, dots, sums);
  }, dot, sum);
}

void affine_relu_pool(const Pool& pool, const Window& w, const float* x, const float* center,
                      const float* factor, const float* offset, float* result, uint8_t* argmax) {
  Epilogue epilogue;
  epilogue.center = center;
  epilogue.factor = factor;
  epilogue.bias = offset;
  std::copy(w.window, w.window + 3, epilogue.pool);
  const ix in = product(w.size) * w.channels_in, out = product(w.output) * w.channels_in;
  const bool streams_out = streams(result, w.batch * out, w.channels_in);
  parallel_for(pool, w.batch, [&](ix n) {
    relu_and_pool<true>(x + n * in, w.size, w.channels_in, epilogue, result + n * out,
                        argmax + n * out, streams_out);
  });
}

CORNU_END
