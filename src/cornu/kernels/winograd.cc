// Convolutions with windows of 3x3 and 5x5 in fewer multiplications: F(2x2, 3x3), F(4x4, 3x3) and
// F(2x2, 5x5).
//
// In F(MxM, RxR), a tile of MxM results sees NxN numbers of the image, N = M + R - 1. The input
// transform of those and the filter transform of the window are NxN points each; the output transform of
// their products is the results: N * N multiplications for each pair of channels instead of M * M * R * R. Over all tiles and channels these
// are N * N products of matrices, (tiles, in) by (in, out).
//
// The weight gradient is F(RxR, MxM), with the same points: (in, tiles) by (tiles, out).
//
// A product of polynomials can be found from its values at N points: 0, infinity (the highest
// coefficient), and pairs of a number and its negative. Source: Lavin and Gray 2016, "Fast algorithms
// for convolutional neural networks". Sums are nearly as accurate as direct ones, but their last bits
// differ. NaN or infinity would spread over a tile; where a result is not finite, they return false.

#include "winograd.h"

#include <atomic>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "tiles.h"

CORNU_BEGIN
namespace {

// Floats that a band of tiles may take, so that they stay in the cache.
constexpr ix BAND = ix{1} << 17;
// The same where all threads share it.
constexpr ix SHARED_BAND = ix{1} << 21;
// So few tiles that it is shared.
constexpr ix FEW_TILES = 16;
// So many that the method pays.
constexpr ix MANY_TILES = 24;

// ---- one axis: N numbers of the image, R of the window or M of the result to N points, and back

CORNU_INLINE Vector times(float factor, Vector v) { return broadcast(factor) * v; }

// The points other than 0 and infinity come in pairs, one and its negative. Of each pair: the point,
// its square, and its weight, which makes the output transform of products a sum of products.
struct Pair {
  float point, square, weight;
  constexpr float power(int k) const { return k == 0 ? 1 : k == 1 ? point : square * power(k - 2); }
};
template <int N>
struct Points;
template <>
struct Points<4> {
  static constexpr int PAIRS = 1;
  static constexpr Pair pairs[] = {{1, 1, 0.5f}};
};
// Those of least error: the powers of their absolute values stay as near to one as possible.
template <>
struct Points<6> {
  static constexpr int PAIRS = 2;
  static constexpr Pair pairs[] = {{0.70710678f, 0.5f, -2 / 3.f}, {1.41421356f, 2, 1 / 6.f}};
};

CORNU_INLINE void input_transform(const Vector (&d)[4], Vector (&t)[4]) {
  t[0] = d[0] - d[2];
  t[1] = d[2] + d[1];
  t[2] = d[2] - d[1];
  t[3] = d[3] - d[1];
}
CORNU_INLINE void input_transform(const Vector (&d)[6], Vector (&t)[6]) {
  constexpr Pair near = Points<6>::pairs[0], far = Points<6>::pairs[1];
  const Vector even = d[4] - times(far.square, d[2]), odd = d[3] - times(far.square, d[1]);
  const Vector far_even = d[4] - times(near.square, d[2]), far_odd = d[3] - times(near.square, d[1]);
  t[0] = d[0] - times(near.square + far.square, d[2]) + d[4];
  t[1] = even + times(near.point, odd);
  t[2] = even - times(near.point, odd);
  t[3] = far_even + times(far.point, far_odd);
  t[4] = far_even - times(far.point, far_odd);
  t[5] = d[1] - times(near.square + far.square, d[3]) + d[5];
}

// The polynomial with the K coefficients c at all points.
template <int K, int N>
CORNU_INLINE void evaluate(const Vector (&c)[K], Vector (&t)[N]) {
  t[0] = c[0];
  CORNU_UNROLL for (int i = 0; i < Points<N>::PAIRS; ++i) {
    const Pair pair = Points<N>::pairs[i];
    Vector even = c[0], odd = c[1];
    CORNU_UNROLL for (int k = 2; k < K; ++k)
      (k % 2 ? odd : even) += times(pair.power(k - k % 2), c[k]);
    t[1 + 2 * i] = even + times(pair.point, odd);
    t[2 + 2 * i] = even - times(pair.point, odd);
  }
  t[N - 1] = c[K - 1];
}
// Its transpose.
template <int N, int K>
CORNU_INLINE void gather_powers(const Vector (&t)[N], Vector (&c)[K]) {
  CORNU_UNROLL for (int k = 0; k < K; ++k) c[k] = k == 0 ? t[0] : Vector{};
  CORNU_UNROLL for (int i = 0; i < Points<N>::PAIRS; ++i) {
    const Vector even = t[1 + 2 * i] + t[2 + 2 * i], odd = t[1 + 2 * i] - t[2 + 2 * i];
    CORNU_UNROLL for (int k = 0; k < K; ++k)
      c[k] += times(Points<N>::pairs[i].power(k), k % 2 ? odd : even);
  }
  c[K - 1] += t[N - 1];
}
template <int N>
CORNU_INLINE void weigh(Vector (&t)[N]) {
  CORNU_UNROLL for (int i = 1; i < N - 1; ++i)
    t[i] = times(Points<N>::pairs[(i - 1) / 2].weight, t[i]);
}

template <int R, int N>
CORNU_INLINE void filter_transform(const Vector (&g)[R], Vector (&t)[N]) {
  evaluate(g, t);
  weigh(t);
}
template <int N, int R>
CORNU_INLINE void filter_transform_back(const Vector (&t)[N], Vector (&g)[R]) {
  Vector weighed[N];
  CORNU_UNROLL for (int i = 0; i < N; ++i) weighed[i] = t[i];
  weigh(weighed);
  gather_powers(weighed, g);
}

// As arguments of what follows.
constexpr auto of_image = [](const auto& d, auto& t) { input_transform(d, t); };
constexpr auto of_window = [](const auto& g, auto& t) { filter_transform(g, t); };
constexpr auto of_gradient = [](const auto& y, auto& m) { evaluate(y, m); };
constexpr auto to_result = [](const auto& m, auto& y) { gather_powers(m, y); };
constexpr auto to_window = [](const auto& t, auto& g) { filter_transform_back(t, g); };

// Both axes: rows first, then columns.
template <int N, int M, class Transform>
CORNU_INLINE void transform_both(const Transform& transform, const Vector (&in)[N][N], Vector (&out)[M][M]) {
  Vector half[M][N];
  CORNU_UNROLL for (int c = 0; c < N; ++c) {
    Vector column[N], transformed[M];
    CORNU_UNROLL for (int r = 0; r < N; ++r) column[r] = in[r][c];
    transform(column, transformed);
    CORNU_UNROLL for (int r = 0; r < M; ++r) half[r][c] = transformed[r];
  }
  CORNU_UNROLL for (int r = 0; r < M; ++r) transform(half[r], out[r]);
}

// Channels of points are filled up to whole vectors, with whatever follows: no sum that is kept
// reads those.
constexpr ix whole(ix channels) { return (channels + LANES - 1) / LANES * LANES; }

// Tiles of SIDE x SIDE numbers to their points, for `rows` rows of tiles, the next of which begins
// STEP numbers later. `numbers` is padded; points of one kind are `point_step` floats from the next.
template <int SIDE, int N, int STEP, const auto& TRANSFORM>
void transform_tiles(const float* numbers, ix row, ix channels, ix rows, ix columns, float* transformed,
                ix point_step) {
  for (ix r = 0; r < rows; ++r)
    for (ix t = 0; t < columns; ++t, transformed += whole(channels)) {
      const float* from = numbers + STEP * (r * row + t * channels);
      for (ix c = 0; c < channels; c += LANES) {
        Vector in[SIDE][SIDE], out[N][N];
        CORNU_UNROLL for (int y = 0; y < SIDE; ++y)
          CORNU_UNROLL for (int x = 0; x < SIDE; ++x)
            in[y][x] = load(from + y * row + x * channels + c);
        transform_both(TRANSFORM, in, out);
        CORNU_UNROLL for (int p = 0; p < N * N; ++p)
          store(transformed + p * point_step + c, out[p / N][p % N]);
      }
    }
}

// NxN vectors, which lie `step` floats from each other, to MxM.
template <int N, int M, const auto& TRANSFORM>
void transform_one(const float* from, ix step, Vector* to) {
  Vector in[N][N], out[M][M];
  CORNU_UNROLL for (int p = 0; p < N * N; ++p) in[p / N][p % N] = load(from + p * step);
  transform_both(TRANSFORM, in, out);
  CORNU_UNROLL for (int p = 0; p < M * M; ++p) to[p] = out[p / M][p % M];
}

// Relu and max-pooling of 2x2 of MxM results, those that are there; `odd` shows what is not finite.
template <int M>
void pool_tile(const Vector* y, Vector bias, ix rows, ix columns, ix out_row, ix out_pixel, float* out,
               uint8_t* argmax, ix count, bool streams, Vector& odd) {
  CORNU_UNROLL for (int a = 0; a < M; a += 2)
    CORNU_UNROLL for (int b = 0; b < M; b += 2) {
      if (a + 2 > rows || b + 2 > columns) continue;
      Vector best = y[a * M + b] + bias;
      Integers argmax_index = {};
      odd += best - best;
      CORNU_UNROLL for (int k = 1; k < 4; ++k) {
        const Vector here = y[(a + k / 2) * M + b + k % 2] + bias;
        odd += here - here;
        compare(here, Integers{} + k, best, argmax_index);
      }
      const ix to = a / 2 * out_row + b / 2 * out_pixel;
      store_pooled(best, argmax_index, out + to, argmax + to, count, streams);
    }
}

// F(MxM, RxR): how many points there are in a row, N, and how numbers become points and points numbers.
struct Method {
  typedef void (*TransformTiles)(const float* numbers, ix row, ix channels, ix rows, ix columns, float* transformed,
                            ix point_step);
  typedef void (*TransformOne)(const float* from, ix step, Vector* to);
  ix m, r, n;
  TransformTiles image, gradient;
  TransformOne window, result, window_back;
  void (*pool)(const Vector* y, Vector bias, ix rows, ix columns, ix out_row, ix out_pixel, float* out,
               uint8_t* argmax, ix count, bool streams, Vector& odd);

  ix points() const { return n * n; }
};
constexpr int MOST_POINTS = 36;
template <int M, int R, int N = M + R - 1>
constexpr Method METHOD = {M,
                           R,
                           N,
                           transform_tiles<N, N, M, of_image>,
                           transform_tiles<M, N, M, of_gradient>,
                           transform_one<R, N, of_window>,
                           transform_one<N, M, to_result>,
                           transform_one<N, R, to_window>,
                           pool_tile<M>};

// Products of matrices: result(i, n) = sum of a(i, j) * b(j, n) over j, or sum of a(j, i) * b(j, n), for so
// many vectors of n. The rows of `a` and of the result are `width` floats long.
void multiply(const float* a, ix width, const float* b, ix count, float* result, ix result_width, ix rows,
              ix vectors) {
  const Segment all{0, count};
  Panel panel{};
  panel.in_pixel = width;
  panel.segments = &all;
  panel.num_segments = 1;
  panel.weights = b;
  panel.out_pixel = result_width;
  for (ix i = 0; i < rows;) {
    const ix piece = next_piece(rows - i, MOST_POSITIONS);
    panel.in = a + i * width;
    panel.out = result + i * result_width;
    gemm_tiles.of(1, piece, vectors)(panel);
    i += piece;
  }
}
void multiply_transposed(const float* a, ix a_width, const float* b, ix b_width, ix count, float* result,
                         ix rows, ix vectors, bool add) {
  TransposedPanel sum{};
  sum.gradient = b;
  sum.images = sum.planes = sum.rows = 1;
  sum.pixels = count;
  sum.pixel_step = a_width;
  sum.gradient_step = sum.result_step = b_width;
  sum.channels = vectors * LANES;
  sum.add = add;
  for (ix i = 0; i < rows;) {
    const ix piece = next_piece(rows - i, MOST_POSITIONS);
    sum.image = a + i;
    sum.result = result + i * b_width;
    transposed_gemm_tiles.of(1, piece, vectors)(sum);
    i += piece;
  }
}

// The filter transform: (points, blocks of channels out, in, channels of a block), the blocks being
// WIDE vectors wide but perhaps the last.
struct TransformedFilter {
  Scratch memory;
  ix point_floats;

  // Weight (tap, i, o) is at (tap * in + i) * out + o; with `flips`, taps run backwards.
  TransformedFilter(const Pool& pool, const Method& method, const float* weights, ix in, ix out, bool flips)
      : memory(method.points() * in * whole(out)), point_floats(in * whole(out)) {
    const ix vectors = whole(out) / LANES, taps = method.r * method.r;
    parallel_for(in * out < 1024 ? Pool{1, {}} : pool, vectors, [&](ix v) {
      const ix first = v / WIDE * WIDE, wide = std::min<ix>(WIDE, vectors - first) * LANES;
      for (ix i = 0; i < in; ++i) {
        Vector window[MOST_POINTS], transformed[MOST_POINTS];
        for (ix p = 0; p < taps; ++p)
          window[p] = load_first(weights + ((flips ? taps - 1 - p : p) * in + i) * out + v * LANES,
                                 out - v * LANES);
        method.window(reinterpret_cast<const float*>(window), LANES, transformed);
        for (ix p = 0; p < method.points(); ++p)
          store(memory.data() + p * point_floats + first * LANES * in + i * wide +
                    (v - first) * LANES,
                transformed[p]);
      }
    });
  }
};

// From one point to the next, with so many floats of each: not a power of two, or all points of a
// tile would want the same few lines of the cache.
ix step_between_points(ix floats) { return floats + LANES; }

// How tiles of several images, or of a part of one, make a band whose points stay in the cache.
struct Bands {
  ix images, rows;  // at once
  Bands(ix rows_of_image, ix columns, ix floats_of_tile, ix most_images) {
    const ix tiles = std::max<ix>(1, BAND / floats_of_tile);
    rows = std::clamp<ix>(tiles / columns, 1, rows_of_image);
    images = rows < rows_of_image
                 ? 1 : std::clamp<ix>(tiles / (rows_of_image * columns), 1, most_images);
  }
};

bool run(const Pool& pool, const Method& method, const Window& w, const Source& source,
         const TransformedFilter& transformed, const Epilogue& epilogue, float* result) {
  const ix M = method.m, R = method.r, POINTS = method.points();
  const ix in = w.channels_in, out = w.channels_out, wide_in = whole(in), wide_out = whole(out);
  const ix* pool_size = epilogue.pool;
  // Small windows are pooled in registers, others from scratch memory.
  const bool rectifies = epilogue.argmax && product(epilogue.pool) == 1;
  const bool pools_at_once = epilogue.argmax && pool_size[0] == 1 && pool_size[1] == 2 && pool_size[2] == 2;
  const bool pools = epilogue.argmax && !rectifies && !pools_at_once;
  const ix height = w.output[1] / pool_size[1] * pool_size[1], width = w.output[2];
  const bool streams_out = streams(result, w.batch * height * width * out / product(epilogue.pool), out);
  const ix columns = (width + M - 1) / M, all_rows = (height + M - 1) / M;
  const Bands bands(all_rows, columns, POINTS * (wide_in + wide_out), std::max<ix>(1, w.batch / (4 * pool.threads)));
  // Items are some images, or with few of those, parts of them, which begin where tiles and windows
  // of the pooling do.
  const ix unit = std::lcm<ix>(M, pool_size[1]);
  const ix units = (height + unit - 1) / unit;
  const ix parts = w.batch >= 4 * pool.threads
                       ? 1 : std::clamp<ix>((4 * pool.threads + w.batch - 1) / w.batch, 1, units);
  const ix together = parts > 1 ? 1 : bands.images, groups = (w.batch + together - 1) / together;
  const ix row_floats = (M * columns + R - 1) * in, result_row = width * out;

  if (rectifies) CORNU_PATH(winograd_relu);
  if (pools_at_once) CORNU_PATH(winograd_pools_in_tile);
  if (pools) CORNU_PATH(winograd_pools_in_scratch);
  if (parts > 1) CORNU_PATH(winograd_parts);
  if (together > 1) CORNU_PATH(winograd_several_images);
  if (M == 4) CORNU_PATH(winograd_4_3);
  else if (R == 3) CORNU_PATH(winograd_2_3);
  else CORNU_PATH(winograd_2_5);

  std::atomic<bool> finite{true};
  parallel_for(pool, groups * parts, [&](ix item) {
    const ix first = item / parts * together, images = std::min(together, w.batch - first);
    const ix part = item % parts;
    const ix low = units * part / parts * unit;
    const ix high = std::min(height, units * (part + 1) / parts * unit);
    if (low >= high) return;
    const ix rows_once = std::min(bands.rows, (high - low + M - 1) / M);
    const ix most_tiles = images * rows_once * columns;
    Scratch padded((M * rows_once + R - 1) * row_floats + LANES);
    Scratch image_points(POINTS * step_between_points(most_tiles * wide_in));
    Scratch products(POINTS * step_between_points(most_tiles * wide_out));
    Scratch unpooled(pools ? images * (high - low) * result_row : 0);
    const ix image_step = pools ? (high - low) * result_row : w.output[1] * result_row;
    float* results = pools ? unpooled.data()
                           : result + (first * w.output[1] + low) * result_row;
    Vector odd{};
    for (ix top = low; top < high; top += M * rows_once) {
      const ix rows = std::min(rows_once, (high - top + M - 1) / M), tiles = images * rows * columns;
      const ix in_step = step_between_points(tiles * wide_in);
      const ix out_step = step_between_points(tiles * wide_out);
      for (ix i = 0; i < images; ++i) {
        copy_region(source, first + i,
                    {{0, top - w.before[1], -w.before[2]},
                     {1, top - w.before[1] + M * rows + R - 1, M * columns + R - 1 - w.before[2]}},
                    padded.data());
        method.image(padded.data(), row_floats, in, rows, columns,
                     image_points.data() + i * rows * columns * wide_in, in_step);
      }
      for (ix p = 0; p < POINTS; ++p)
        for (ix o = 0; o < wide_out;) {
          const ix vectors = std::min<ix>(WIDE, (wide_out - o) / LANES);
          multiply(image_points.data() + p * in_step, wide_in,
                   transformed.memory.data() + p * transformed.point_floats + o * in, in,
                   products.data() + p * out_step + o, wide_out, tiles, vectors);
          o += vectors * LANES;
        }
      for (ix tile = 0; tile < tiles; ++tile) {
        const ix i = tile / (rows * columns), r = tile / columns % rows, t = tile % columns;
        float* corner = results + i * image_step + (top - low + M * r) * result_row + M * t * out;
        const ix pooled = (((first + i) * height + top + M * r) / 2 * (width / 2) + M * t / 2) * out;
        const ix rows_here = std::min<ix>(M, high - top - M * r);
        const ix columns_here = std::min<ix>(M, width - M * t);
        for (ix c = 0; c < out; c += LANES) {
          const float* from = products.data() + tile * wide_out + c;
          Vector y[MOST_POINTS];
          method.result(from, out_step, y);
          const Vector bias =
              epilogue.bias && !pools ? load_first(epilogue.bias + c, out - c) : Vector{};
          if (pools_at_once) {
            method.pool(y, bias, rows_here, columns_here, width / 2 * out, out, result + pooled + c,
                        epilogue.argmax + pooled + c, out - c, streams_out, odd);
            continue;
          }
          for (ix a = 0; a < rows_here; ++a)
            for (ix b = 0; b < columns_here; ++b) {
              Vector sum = y[a * M + b] + bias;
              odd += sum - sum;
              float* to = corner + a * result_row + b * out + c;
              if (rectifies) {
                store_pooled(sum, Integers{}, to, epilogue.argmax + (to - result), out - c, streams_out);
                continue;
              }
              store_first(to, sum, out - c, !pools && streams_out);
            }
        }
      }
    }
    if (!is_zero(odd)) finite = false;
    if (!pools) return;
    const ix count[3] = {1, high - low, width};
    for (ix i = 0; i < images; ++i) {
      const ix to = ((first + i) * (w.output[1] / pool_size[1]) + low / pool_size[1]) *
                    (width / pool_size[2]) * out;
      relu_and_pool<false>(results + i * image_step, count, out, epilogue, result + to,
                           epilogue.argmax + to, streams_out);
    }
  });
  if (!finite) CORNU_PATH(winograd_not_finite);
  return finite;
}

bool convolve(const Pool& pool, const Method& method, const Window& w, const Source& source,
              const float* weights, const Epilogue& epilogue, float* result) {
  const TransformedFilter transformed(pool, method, weights, w.channels_in, w.channels_out, false);
  return run(pool, method, w, source, transformed, epilogue, result);
}

bool input_gradient(const Pool& pool, const Method& method, const Window& w, const Source& gradient,
                       const float* weights, float* result) {
  CORNU_PATH(winograd_input_gradient);
  // The weights with their channels exchanged; taps run backwards.
  const ix in = w.channels_in, out = w.channels_out, R = method.r;
  Scratch exchanged(R * R * in * out);
  parallel_for(in * out < 1024 ? Pool{1, {}} : pool, R * R, [&](ix p) {
    const ix at = p * in * out;
    transpose(weights + at, out, in, out, exchanged.data() + at, in, in);
  });
  Window back = w;
  for (int a = 1; a < 3; ++a) {
    back.size[a] = w.output[a];
    back.output[a] = w.size[a];
    back.before[a] = R - 1 - w.before[a];
  }
  back.channels_in = out;
  back.channels_out = in;
  const TransformedFilter transformed(pool, method, exchanged.data(), out, in, true);
  return run(pool, method, back, gradient, transformed, Epilogue{}, result);
}

// A band of tiles of the image and of the gradient in their points, as `weight_gradient` needs them.
class TransformedBand {
 public:
  TransformedBand(const Method& method, const Window& w, ix most_tiles)
      : method_(method), in_(w.channels_in), out_(w.channels_out),
        columns_((w.output[2] + method.m - 1) / method.m),
        image_(method.points() * step_between_points(most_tiles * whole(in_))),
        gradient_(method.points() * step_between_points(most_tiles * whole(out_))) {}

  // The band now has so many tiles.
  void resize(ix tiles) { tiles_ = tiles; }

  // Fill the tiles from `tile` on with `rows` rows of tiles of an image, beginning with row `top`.
  void transform(const Window& w, const Source& image, const Source& gradient, ix n, ix top, ix rows,
            ix tile) {
    const ix M = method_.m, R = method_.r;
    const ix image_row = (M * columns_ + R - 1) * in_, gradient_row = M * columns_ * out_;
    Scratch padded_image((M * rows + R - 1) * image_row + LANES);
    Scratch padded_gradient(M * rows * gradient_row + LANES);
    copy_region(image, n,
                {{0, M * top - w.before[1], -w.before[2]},
                 {1, M * (top + rows) + R - 1 - w.before[1], M * columns_ + R - 1 - w.before[2]}},
                padded_image.data());
    copy_region(gradient, n, {{0, M * top, 0}, {1, M * (top + rows), M * columns_}},
                padded_gradient.data());
    method_.image(padded_image.data(), image_row, in_, rows, columns_, image_.data() + tile * whole(in_),
                  step_between_points(tiles_ * whole(in_)));
    method_.gradient(padded_gradient.data(), gradient_row, out_, rows, columns_,
                     gradient_.data() + tile * whole(out_), step_between_points(tiles_ * whole(out_)));
  }

  // The product of a point for the block of channels out that begins with `first`.
  void multiply_point(ix point, ix first, float* sums, bool add) const {
    const ix vectors = std::min<ix>(WIDE, (whole(out_) - first) / LANES);
    multiply_transposed(image_.data() + point * step_between_points(tiles_ * whole(in_)), whole(in_),
                        gradient_.data() + point * step_between_points(tiles_ * whole(out_)) + first,
                        whole(out_), tiles_, sums + point * in_ * whole(out_) + first, in_, vectors, add);
  }

 private:
  const Method& method_;
  ix in_, out_, columns_, tiles_ = 0;
  Scratch image_, gradient_;
};

bool weight_gradient(const Pool& pool, const Method& method, const Window& w, const Source& image,
                        const Source& gradient, float* result) {
  const ix M = method.m, R = method.r, POINTS = method.points();
  const ix in = w.channels_in, out = w.channels_out, wide_in = whole(in), wide_out = whole(out);
  const ix rows = (w.output[1] + M - 1) / M, columns = (w.output[2] + M - 1) / M;
  const ix sums = POINTS * in * wide_out;
  // Fixed parts, as in weight_gradient.cc, so that sums have the same order with any threads.
  ix parts = std::clamp<ix>(std::min<ix>(16, (ix{4} << 20) / sums), 1, w.batch);
  const ix tiles_of_image = rows * columns;
  // Where a part would have few tiles, its sums would be read and written for little: then points are
  // shared out instead, each of many images.
  const bool by_points = (w.batch + parts - 1) / parts * tiles_of_image < FEW_TILES;
  if (by_points) parts = 1;
  if (by_points) CORNU_PATH(winograd_weight_gradient_by_points);
  else CORNU_PATH(winograd_weight_gradient_by_images);
  Scratch partial(parts * sums);
  if (by_points) {
    const ix at_once = std::clamp<ix>(SHARED_BAND / (POINTS * (wide_in + wide_out) * tiles_of_image), 1, w.batch);
    const ix blocks = (wide_out + WIDE * LANES - 1) / (WIDE * LANES);
    TransformedBand band(method, w, at_once * tiles_of_image);
    for (ix first = 0; first < w.batch; first += at_once) {
      const ix images = std::min(at_once, w.batch - first);
      band.resize(images * tiles_of_image);
      parallel_for(pool, images, [&](ix i) {
        band.transform(w, image, gradient, first + i, 0, rows, i * tiles_of_image);
      });
      parallel_for(pool, POINTS * blocks, [&](ix job) {
        band.multiply_point(job / blocks, job % blocks * WIDE * LANES, partial.data(), first > 0);
      });
    }
  } else {
    const Bands bands(rows, columns, POINTS * (wide_in + wide_out), (w.batch + parts - 1) / parts);
    parallel_for(pool, parts, [&](ix part) {
      float* to = partial.data() + part * sums;
      const ix begin = w.batch * part / parts, end = w.batch * (part + 1) / parts;
      TransformedBand band(method, w, bands.images * bands.rows * columns);
      for (ix n = begin; n < end; n += bands.images)
        for (ix top = 0; top < rows; top += bands.rows) {
          const ix here = std::min(bands.rows, rows - top), images = std::min(bands.images, end - n);
          band.resize(images * here * columns);
          for (ix i = 0; i < images; ++i)
            band.transform(w, image, gradient, n + i, top, here, i * here * columns);
          for (ix p = 0; p < POINTS; ++p)
            for (ix o = 0; o < wide_out; o += WIDE * LANES)
              band.multiply_point(p, o, to, n > begin || top > 0);
        }
    });
  }
  std::atomic<bool> finite{true};
  parallel_for(sums < (1 << 15) ? Pool{1, {}} : pool, in, [&](ix i) {
    Vector odd{};
    for (ix o = 0; o < out; o += LANES) {
      Vector points[MOST_POINTS], window[MOST_POINTS];
      for (ix p = 0; p < POINTS; ++p) {
        const float* from = partial.data() + (p * in + i) * wide_out + o;
        Vector sum = load(from);
        for (ix part = 1; part < parts; ++part) sum += load(from + part * sums);
        points[p] = sum;
      }
      method.window_back(reinterpret_cast<const float*>(points), LANES, window);
      for (ix p = 0; p < R * R; ++p) {
        float* to = result + (p * in + i) * out + o;
        store_first(to, window[p], out - o);
        const Vector kept = load_first(to, out - o);
        odd += kept - kept;
      }
    }
    if (!is_zero(odd)) finite = false;
  });
  if (!finite) CORNU_PATH(winograd_not_finite);
  return finite;
}

template <int M, int R>
Winograd forms_of() {
  return {[](const Pool& pool, const Window& w, const Source& image, const float* weights,
             const Epilogue& epilogue, float* result) {
            return convolve(pool, METHOD<M, R>, w, image, weights, epilogue, result);
          },
          [](const Pool& pool, const Window& w, const Source& gradient, const float* weights,
             float* result) {
            return input_gradient(pool, METHOD<M, R>, w, gradient, weights, result);
          },
          [](const Pool& pool, const Window& w, const Source& image, const Source& gradient,
             float* result) {
            return weight_gradient(pool, METHOD<M, R>, w, image, gradient, result);
          }};
}

}  // namespace

Winograd winograd_for(const Window& w) {
  static const bool wanted = [] {
    const char* value = std::getenv("CORNU_WINOGRAD");
    return !value || strcmp(value, "0") != 0;
  }();
  const ix side = w.window[1];
  bool suits = wanted && w.window[0] == 1 && w.size[0] == 1 && w.output[0] == 1 && w.groups == 1 &&
               w.before[0] == 0 && (side == 3 || side == 5);
  for (int a = 1; a < 3; ++a)
    suits = suits && w.window[a] == side && w.strides[a] == 1 && w.dilation[a] == 1 &&
            w.output[a] >= 4 && w.before[a] < side;
  // The transformed filter must not be too large for the cache.
  suits = suits && w.channels_in * w.channels_out <= (ix{1} << 16);
  if (!suits) return {};
  // Tiles that are partly beyond the results are computed too.
  const auto tiles = [&](ix m) { return (w.output[1] + m - 1) / m * ((w.output[2] + m - 1) / m); };
  // With few of them, the filter transform takes longer than what it saves.
  if (w.batch * tiles(side == 5 ? 2 : 4) < MANY_TILES) return {};
  Winograd found;
  if (side == 5) found = forms_of<2, 5>();
  else if (tiles(4) * 36 < tiles(2) * 16) found = forms_of<4, 3>();
  else found = forms_of<2, 3>();
  // The transforms are worth while for many channels only; above all of what is read.
  const ix in = w.channels_in, out = w.channels_out;
  if (in < 16 || out < 8) found.convolve = nullptr;
  if (out < 16 || in < 8) found.input_gradient = nullptr;
  if (in < 16 || out < 16) found.weight_gradient = nullptr;
  return found;
}

CORNU_END
