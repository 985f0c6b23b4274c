// Convolutions with windows of 3x3 in fewer multiplications: F(2x2, 3x3).
//
// A tile of 2x2 results sees 4x4 numbers of the image. Both the 4x4 numbers and the 3x3 window are
// turned into 16 others, the products of which, turned back, are the four results: 16
// multiplications for each pair of channels instead of 36. Over all tiles and channels these are 16
// products of matrices, (tiles, in) by (in, out).
//
// The gradient of the kernel is F(3x3, 2x2), with the same 16 points: (in, tiles) by (tiles, out).
//
// Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks". Sums are as
// accurate as direct ones to within a small factor, but their last bits differ. NaN or infinity would
// spread over a tile; where a result is not finite, they return false.

#include "winograd.h"

#include <atomic>
#include <cstdlib>
#include <vector>

#include "tile.h"

CORNU_BEGIN
namespace {

constexpr ix POINTS = 16;
// Floats that a band of tiles may take, so that they stay in the cache.
constexpr ix BAND = ix{1} << 17;

// 4 numbers of the image to the 4 points; the step of Bᵀ.
CORNU_INLINE void turn_image(const Vector (&d)[4], Vector (&t)[4]) {
  t[0] = d[0] - d[2];
  t[1] = d[1] + d[2];
  t[2] = d[2] - d[1];
  t[3] = d[1] - d[3];
}
// 3 numbers of the window to the 4 points: G.
CORNU_INLINE void turn_window(const Vector (&g)[3], Vector (&t)[4]) {
  const Vector half = broadcast(0.5f);
  t[0] = g[0];
  t[1] = (g[0] + g[1] + g[2]) * half;
  t[2] = (g[0] - g[1] + g[2]) * half;
  t[3] = g[2];
}
// 4 products to 2 results: Aᵀ.
CORNU_INLINE void turn_back(const Vector (&m)[4], Vector (&y)[2]) {
  y[0] = m[0] + m[1] + m[2];
  y[1] = m[1] - m[2] - m[3];
}
// The transposes, for the gradient of the kernel: A, and then Gᵀ.
CORNU_INLINE void turn_gradient(const Vector (&y)[2], Vector (&m)[4]) {
  m[0] = y[0];
  m[1] = y[0] + y[1];
  m[2] = y[0] - y[1];
  m[3] = Vector{} - y[1];
}
CORNU_INLINE void turn_window_back(const Vector (&t)[4], Vector (&g)[3]) {
  const Vector half = broadcast(0.5f);
  g[0] = t[0] + (t[1] + t[2]) * half;
  g[1] = (t[1] - t[2]) * half;
  g[2] = (t[1] + t[2]) * half + t[3];
}

constexpr auto of_image = [](const Vector(&d)[4], Vector(&t)[4]) { turn_image(d, t); };
constexpr auto of_gradient = [](const Vector(&y)[2], Vector(&m)[4]) { turn_gradient(y, m); };

// Both axes: rows first, then columns.
template <int N, int M, class Turn>
CORNU_INLINE void turn_both(const Turn& turn, const Vector (&in)[N][N], Vector (&out)[M][M]) {
  Vector half[M][N];
  CORNU_UNROLL for (int c = 0; c < N; ++c) {
    Vector column[N], turned[M];
    CORNU_UNROLL for (int r = 0; r < N; ++r) column[r] = in[r][c];
    turn(column, turned);
    CORNU_UNROLL for (int r = 0; r < M; ++r) half[r][c] = turned[r];
  }
  CORNU_UNROLL for (int r = 0; r < M; ++r) turn(half[r], out[r]);
}

// Tiles of NxN numbers to their points, (points, tiles, channels), for `rows` rows of tiles, the
// next of which begins two numbers later. `numbers` is padded.
template <int N, class Turn>
void turn_tiles(const Turn& turn, const float* numbers, ix row, ix channels, ix rows, ix columns,
                float* turned) {
  const ix step = rows * columns * channels;
  for (ix r = 0; r < rows; ++r)
    for (ix t = 0; t < columns; ++t, turned += channels) {
      const float* from = numbers + 2 * r * row + 2 * t * channels;
      for (ix c = 0; c < channels; c += LANES) {
        Vector in[N][N], out[4][4];
        CORNU_UNROLL for (int y = 0; y < N; ++y)
          CORNU_UNROLL for (int x = 0; x < N; ++x) in[y][x] = load(from + y * row + x * channels + c);
        turn_both(turn, in, out);
        CORNU_UNROLL for (int p = 0; p < POINTS; ++p) store(turned + p * step + c, out[p / 4][p % 4]);
      }
    }
}

// One product of matrices: result(i, n) = sum of a(i, j) * b(j, n) over j, or sum of a(j, i) * b(j, n).
struct Product {
  const float* a;
  ix a_place, a_step;  // from one i to the next, and from one j
  const float* b;
  ix b_step, count;
  float* result;
  ix result_step;
  bool add;
};
template <char UNIT>
struct ProductTile {
  typedef Product Arguments;
  static constexpr int ROWS = 1;
  template <int R, int P, int V>
  static void run(const Product& m) {
    Tile<1, P, V> tile;
    tile.clear(tile);
    tile.template multiply<UNIT>(tile, m.a, 0, m.a_place, m.a_step, m.b, m.b_step, m.count);
    CORNU_UNROLL for (int p = 0; p < P; ++p)
      CORNU_UNROLL for (int v = 0; v < V; ++v) {
        float* to = m.result + p * m.result_step + v * LANES;
        store(to, m.add ? load(to) + tile.sum[p][v] : tile.sum[p][v]);
      }
  }
};
template <char UNIT>
void multiply(Product m, ix places, ix vectors) {
  const float* a = m.a;
  float* result = m.result;
  for (ix i = 0; i < places;) {
    const ix piece = next_piece(places - i, MOST_PLACES);
    m.a = a + i * m.a_place;
    m.result = result + i * m.result_step;
    Tiles<ProductTile<UNIT>>::of(1, piece, vectors)(m);
    i += piece;
  }
}

// The window turned: (points, blocks of channels out, in, channels of a block), the blocks being
// WIDE vectors wide but perhaps the last.
struct TurnedKernel {
  Scratch memory;
  ix point_floats;

  // Weight (place, i, o) is at place * in * out + i * step_in + o; with `flips`, places run backwards.
  TurnedKernel(const Pool& pool, const float* kernel, ix in, ix out, bool flips)
      : memory(POINTS * in * out), point_floats(in * out) {
    const ix vectors = out / LANES;
    parallel_for(in * out < 1024 ? Pool{1, {}} : pool, vectors, [&](ix v) {
      const ix first = v / WIDE * WIDE, wide = std::min<ix>(WIDE, vectors - first) * LANES;
      for (ix i = 0; i < in; ++i) {
        Vector window[3][3], turned[4][4];
        for (int p = 0; p < 9; ++p)
          window[p / 3][p % 3] = load(kernel + ((flips ? 8 - p : p) * in + i) * out + v * LANES);
        turn_both([](const Vector(&g)[3], Vector(&t)[4]) { turn_window(g, t); }, window, turned);
        for (int p = 0; p < POINTS; ++p)
          store(memory.data() + p * point_floats + first * LANES * in + i * wide +
                    (v - first) * LANES,
                turned[p / 4][p % 4]);
      }
    });
  }
};

bool run(const Pool& pool, const Window& w, const Source& source, const TurnedKernel& turned,
         const Finish& finish, float* result) {
  const ix in = w.channels_in, out = w.channels_out;
  const bool pools = finish.picks != nullptr;
  const ix* pooling = finish.pooling;
  // Items are images, or with few of those, parts of them.
  const ix unit = pooling[1] % 2 ? 2 * pooling[1] : pooling[1];
  const ix height = w.output[1] / pooling[1] * pooling[1], width = w.output[2];
  const ix units = (height + unit - 1) / unit;
  ix parts = std::clamp<ix>((4 * pool.threads + w.batch - 1) / w.batch, 1, units);
  if (w.batch >= 4 * pool.threads) parts = 1;
  const ix columns = (width + 1) / 2;
  const ix row_floats = (2 * columns + 2) * in;
  const ix band_rows = std::max<ix>(1, BAND / (columns * POINTS * (in + out)));

  std::atomic<bool> finite{true};
  parallel_for(pool, w.batch * parts, [&](ix item) {
    const ix n = item / parts, part = item % parts;
    const ix low = units * part / parts * unit;
    const ix high = std::min(height, units * (part + 1) / parts * unit);
    if (low >= high) return;
    const ix rows_once = std::min(band_rows, (high - low + 1) / 2);
    const ix tiles_once = rows_once * columns;
    Scratch padded((2 * rows_once + 2) * row_floats);
    Scratch image_points(POINTS * tiles_once * in), products(POINTS * tiles_once * out);
    const ix result_row = width * out;
    Scratch unpooled(pools ? (high - low) * result_row : 0);
    float* results = pools ? unpooled.data() : result + (n * w.output[1] + low) * result_row;
    Vector odd{};
    for (ix top = low; top < high; top += 2 * rows_once) {
      const ix rows = std::min(rows_once, (high - top + 1) / 2), tiles = rows * columns;
      Region region{{0, top - w.before[1], -w.before[2]},
                    {1, top - w.before[1] + 2 * rows + 2, 2 * columns + 2 - w.before[2]}};
      copy_region(source, n, region, padded.data());
      turn_tiles<4>(of_image, padded.data(), row_floats, in, rows, columns, image_points.data());
      for (ix p = 0; p < POINTS; ++p)
        for (ix first = 0; first < out;) {
          const ix vectors = std::min<ix>(WIDE, (out - first) / LANES);
          Product m{image_points.data() + p * tiles * in, in, 1,
                    turned.memory.data() + p * turned.point_floats + first * in, vectors * LANES, in,
                    products.data() + p * tiles * out + first, out, false};
          multiply<'j'>(m, tiles, vectors);
          first += vectors * LANES;
        }
      for (ix r = 0; r < rows; ++r)
        for (ix t = 0; t < columns; ++t)
          for (ix c = 0; c < out; c += LANES) {
            const float* from = products.data() + (r * columns + t) * out + c;
            Vector m[4][4], y[2][2];
            CORNU_UNROLL for (int p = 0; p < POINTS; ++p) m[p / 4][p % 4] = load(from + p * tiles * out);
            turn_both([](const Vector(&a)[4], Vector(&b)[2]) { turn_back(a, b); }, m, y);
            for (int i = 0; i < 2; ++i)
              for (int j = 0; j < 2; ++j) {
                const ix at_row = top - low + 2 * r + i, at = 2 * t + j;
                if (at_row >= high - low || at >= width) continue;
                Vector sum = y[i][j];
                odd += sum - sum;
                if (!pools) {
                  if (finish.bias) sum += load(finish.bias + c);
                  if (finish.activation == RELU) sum = sum < Vector{} ? Vector{} : sum;
                }
                store(results + at_row * result_row + at * out + c, sum);
              }
          }
    }
    if (!is_zero(odd)) finite = false;
    if (!pools) return;
    const ix count[3] = {1, high - low, width};
    const ix to = (n * (w.output[1] / pooling[1]) + low / pooling[1]) * (width / pooling[2]) * out;
    relu_and_pool<false>(results, count, out, finish, result + to, finish.picks + to);
  });
  return finite;
}

}  // namespace

bool suits_winograd(const Window& w) {
  static const bool wanted = [] {
    const char* value = std::getenv("CORNU_WINOGRAD");
    return !value || strcmp(value, "0") != 0;
  }();
  const bool shape = w.window[0] == 1 && w.size[0] == 1 && w.output[0] == 1 && w.groups == 1 &&
                     w.before[0] == 0;
  bool plain = true;
  for (int a = 1; a < 3; ++a)
    plain = plain && w.window[a] == 3 && w.strides[a] == 1 && w.dilation[a] == 1 &&
            w.output[a] >= 4 && w.before[a] <= 2;
  return wanted && shape && plain && w.channels_in % LANES == 0 && w.channels_out % LANES == 0 &&
         w.channels_in >= 16 && w.channels_out >= 16 &&
         // The kernel in 16 points must not be too large for the cache.
         w.channels_in * w.channels_out <= (ix{1} << 16);
}

bool winograd(const Pool& pool, const Window& w, const Source& source, const float* kernel,
              const Finish& finish, float* result) {
  const TurnedKernel turned(pool, kernel, w.channels_in, w.channels_out, false);
  return run(pool, w, source, turned, finish, result);
}

bool winograd_input_gradient(const Pool& pool, const Window& w, const Source& gradient,
                             const float* kernel, float* result) {
  // The kernel with its channels exchanged; the places run backwards.
  const ix in = w.channels_in, out = w.channels_out;
  Scratch exchanged(9 * in * out);
  parallel_for(in * out < 1024 ? Pool{1, {}} : pool, 9, [&](ix p) {
    for (ix start = 0; start < out; start += 16)
      for (ix i = 0; i < in; ++i)
        for (ix o = start; o < std::min(out, start + 16); ++o)
          exchanged.data()[(p * out + o) * in + i] = kernel[(p * in + i) * out + o];
  });
  Window back = w;
  for (int a = 1; a < 3; ++a) {
    back.size[a] = w.output[a];
    back.output[a] = w.size[a];
    back.before[a] = 2 - w.before[a];
  }
  back.channels_in = out;
  back.channels_out = in;
  const TurnedKernel turned(pool, exchanged.data(), out, in, true);
  return run(pool, back, gradient, turned, Finish{}, result);
}

bool winograd_kernel_gradient(const Pool& pool, const Window& w, const Source& image,
                              const Source& gradient, float* result) {
  const ix in = w.channels_in, out = w.channels_out;
  const ix rows = (w.output[1] + 1) / 2, columns = (w.output[2] + 1) / 2;
  const ix image_row = (2 * columns + 2) * in, gradient_row = 2 * columns * out;
  const ix band_rows = std::max<ix>(1, BAND / (columns * POINTS * (in + out)));
  const ix sums = POINTS * in * out;
  // Fixed parts, as for the direct kernels, so that sums have the same order with any threads.
  const ix parts = std::clamp<ix>(std::min<ix>(16, (ix{4} << 20) / sums), 1, w.batch);
  Scratch partial(parts * sums);
  parallel_for(pool, parts, [&](ix part) {
    float* to = partial.data() + part * sums;
    const ix rows_once = std::min(band_rows, rows);
    // Small images are taken together.
    const ix begin = w.batch * part / parts, end = w.batch * (part + 1) / parts;
    const ix tiles_once = rows_once * columns;
    Scratch padded_image((2 * rows_once + 2) * image_row), padded_gradient(2 * rows_once * gradient_row);
    Scratch image_points(POINTS * tiles_once * in), gradient_points(POINTS * tiles_once * out);
    bool first_band = true;
    for (ix n = begin; n < end; ++n)
      for (ix top = 0; top < rows; top += rows_once) {
        const ix here = std::min(rows_once, rows - top), tiles = here * columns;
        copy_region(image, n,
                    {{0, 2 * top - w.before[1], -w.before[2]},
                     {1, 2 * (top + here) + 2 - w.before[1], 2 * columns + 2 - w.before[2]}},
                    padded_image.data());
        copy_region(gradient, n, {{0, 2 * top, 0}, {1, 2 * (top + here), 2 * columns}},
                    padded_gradient.data());
        turn_tiles<4>(of_image, padded_image.data(), image_row, in, here, columns, image_points.data());
        turn_tiles<2>(of_gradient, padded_gradient.data(), gradient_row, out, here, columns,
                      gradient_points.data());
        for (ix p = 0; p < POINTS; ++p)
          for (ix first = 0; first < out;) {
            const ix vectors = std::min<ix>(WIDE, (out - first) / LANES);
            Product m{image_points.data() + p * tiles * in, 1, in,
                      gradient_points.data() + p * tiles * out + first, out, tiles,
                      to + p * in * out + first, out, !first_band};
            multiply<'p'>(m, in, vectors);
            first += vectors * LANES;
          }
        first_band = false;
      }
  });
  std::atomic<bool> finite{true};
  parallel_for(sums < (1 << 15) ? Pool{1, {}} : pool, in, [&](ix i) {
    Vector odd{};
    for (ix o = 0; o < out; o += LANES) {
      Vector points[4][4], window[3][3];
      for (ix p = 0; p < POINTS; ++p) {
        const float* from = partial.data() + (p * in + i) * out + o;
        Vector sum = load(from);
        for (ix part = 1; part < parts; ++part) sum += load(from + part * sums);
        points[p / 4][p % 4] = sum;
      }
      turn_both([](const Vector(&t)[4], Vector(&g)[3]) { turn_window_back(t, g); }, points, window);
      for (int p = 0; p < 9; ++p) {
        odd += window[p / 3][p % 3] - window[p / 3][p % 3];
        store(result + (p * in + i) * out + o, window[p / 3][p % 3]);
      }
    }
    if (!is_zero(odd)) finite = false;
  });
  return finite;
}

CORNU_END
