// The transforms of Winograd's method: from numbers to points, and back (see winograd.cc).
#pragma once

#include "epilogue.h"
#include "image.h"

CORNU_BEGIN

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

CORNU_END
