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

#include "kept.h"
#include "products.h"
#include "winograd_transforms.h"

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
// The same where the filter is transformed once for many convolutions.
constexpr ix MANY_TILES_OF_KEPT = 4;

// The filter transform: (points, blocks of channels out, in, channels of a block), the blocks being
// WIDE vectors wide but perhaps the last.
class TransformedFilter {
 public:
  const ix point_floats;

  // Weight (tap, i, o) is at (tap * in + i) * out + o; with `flips`, taps run backwards.
  TransformedFilter(const Pool& pool, const Method& method, const float* weights, ix in, ix out, bool flips,
                    bool keeps = false)
      : point_floats(in * whole(out)), once_(keeps ? 0 : method.points() * point_floats) {
    if (!keeps) transform(pool, method, weights, in, out, flips, once_.data());
    else kept_ = kept({LANES, reinterpret_cast<int64_t>(weights), in, out, flips, method.m, method.r},
                 method.points() * point_floats,
                 [&](float* to) { transform(pool, method, weights, in, out, flips, to); });
  }
  const float* data() const { return kept_ ? kept_->data() : once_.data(); }

 private:
  void transform(const Pool& pool, const Method& method, const float* weights, ix in, ix out, bool flips,
                 float* to) const {
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
          store(to + p * point_floats + first * LANES * in + i * wide + (v - first) * LANES, transformed[p]);
      }
    });
  }

  Scratch once_;
  std::shared_ptr<const Memory> kept_;
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

// A convolution, or an input gradient as one.
class Run {
 public:
  Run(const Pool& pool, const Method& method, const Window& w, const Source& source,
      const TransformedFilter& filter, const Epilogue& epilogue, uint8_t* argmax, float* result)
      : method_(method), w_(w), source_(source), filter_(filter), epilogue_(epilogue), argmax_(argmax), result_(result),
        m_(method.m), in_(w.channels_in), out_(w.channels_out), wide_in_(whole(in_)), wide_out_(whole(out_)),
        // Small windows are pooled in registers, others from scratch memory.
        rectifies_(epilogue.kind == Epilogue::POOL && product(epilogue.pool) == 1),
        pools_in_tile_(epilogue.kind == Epilogue::POOL && epilogue.pool[0] == 1 && epilogue.pool[1] == 2 && epilogue.pool[2] == 2),
        pools_in_scratch_(epilogue.kind == Epilogue::POOL && !rectifies_ && !pools_in_tile_),
        height_(w.output[1] / epilogue.pool[1] * epilogue.pool[1]), width_(w.output[2]),
        columns_((width_ + m_ - 1) / m_), row_floats_((m_ * columns_ + method.r - 1) * in_),
        result_row_(width_ * out_),
        bands_((height_ + m_ - 1) / m_, columns_, method.points() * (wide_in_ + wide_out_),
               std::max<ix>(1, w.batch / (4 * pool.threads))),
        // Items are some images, or with few of those, parts of them, which begin where tiles and windows of the
        // pooling do.
        unit_(std::lcm<ix>(m_, epilogue.pool[1])), units_((height_ + unit_ - 1) / unit_),
        parts_(w.batch >= 4 * pool.threads
                   ? 1 : std::clamp<ix>((4 * pool.threads + w.batch - 1) / w.batch, 1, units_)),
        together_(parts_ > 1 ? 1 : bands_.images),
        streams_(streams(result, w.batch * height_ * width_ * out_ / product(epilogue.pool), out_)) {
    if (rectifies_) CORNU_PATH(winograd_relu);
    if (pools_in_tile_) CORNU_PATH(winograd_pools_in_tile);
    if (pools_in_scratch_) CORNU_PATH(winograd_pools_in_scratch);
    if (parts_ > 1) CORNU_PATH(winograd_parts);
    if (together_ > 1) CORNU_PATH(winograd_several_images);
    if (m_ == 4) CORNU_PATH(winograd_4_3);
    else if (method.r == 3) CORNU_PATH(winograd_2_3);
    else CORNU_PATH(winograd_2_5);
  }

  // Whether all results are finite.
  bool run(const Pool& pool) const {
    std::atomic<bool> finite{true};
    parallel_for(pool, (w_.batch + together_ - 1) / together_ * parts_, [&](ix number) {
      const ix first = number / parts_ * together_, part = number % parts_;
      const Item item{first, std::min(together_, w_.batch - first), units_ * part / parts_ * unit_,
                      std::min(height_, units_ * (part + 1) / parts_ * unit_)};
      if (item.low < item.high && !run_item(item)) finite = false;
    });
    if (!finite) CORNU_PATH(winograd_not_finite);
    return finite;
  }

 private:
  struct Item {
    ix first, images;  // which
    ix low, high;      // rows of each
  };
  // Rows of tiles of the images of an item, and where their results go.
  struct Band {
    ix top, rows, tiles, in_step, out_step;
    float* results;
    ix image_step;
  };

  bool run_item(const Item& item) const {
    const ix rows_once = std::min(bands_.rows, (item.high - item.low + m_ - 1) / m_);
    const ix most_tiles = item.images * rows_once * columns_, points = method_.points();
    Scratch padded((m_ * rows_once + method_.r - 1) * row_floats_ + LANES);
    Scratch image_points(points * step_between_points(most_tiles * wide_in_));
    Scratch products(points * step_between_points(most_tiles * wide_out_));
    Scratch unpooled(pools_in_scratch_ ? item.images * (item.high - item.low) * result_row_ : 0);
    Vector odd{};  // what is not finite is not zero here
    for (ix top = item.low; top < item.high; top += m_ * rows_once) {
      const ix rows = std::min(rows_once, (item.high - top + m_ - 1) / m_), tiles = item.images * rows * columns_;
      Band band{top, rows, tiles, step_between_points(tiles * wide_in_), step_between_points(tiles * wide_out_),
                result_ + (item.first * w_.output[1] + item.low) * result_row_, w_.output[1] * result_row_};
      if (pools_in_scratch_) {
        band.results = unpooled.data();
        band.image_step = (item.high - item.low) * result_row_;
      }
      transform(item, band, padded.data(), image_points.data());
      multiply_points(band, image_points.data(), products.data());
      for (ix tile = 0; tile < tiles; ++tile) store_tile(item, band, tile, products.data(), odd);
    }
    if (pools_in_scratch_) pool(item, unpooled.data());
    return is_zero(odd);
  }

  void transform(const Item& item, const Band& band, float* padded, float* points) const {
    const ix from = band.top - w_.before[1], reach = method_.r - 1;
    for (ix i = 0; i < item.images; ++i) {
      copy_region(source_, item.first + i,
                  {{0, from, -w_.before[2]}, {1, from + m_ * band.rows + reach, m_ * columns_ + reach - w_.before[2]}},
                  padded);
      method_.image(padded, row_floats_, in_, band.rows, columns_, points + i * band.rows * columns_ * wide_in_,
                    band.in_step);
    }
  }

  void multiply_points(const Band& band, const float* points, float* products) const {
    for (ix p = 0; p < method_.points(); ++p)
      for (ix o = 0; o < wide_out_;) {
        const ix vectors = std::min<ix>(WIDE, (wide_out_ - o) / LANES);
        multiply(points + p * band.in_step, wide_in_, filter_.data() + p * filter_.point_floats + o * in_,
                 in_, products + p * band.out_step + o, wide_out_, band.tiles, vectors);
        o += vectors * LANES;
      }
  }

  // The output transform of a tile, and its epilogue.
  void store_tile(const Item& item, const Band& band, ix tile, const float* products, Vector& odd) const {
    const ix i = tile / (band.rows * columns_), r = tile / columns_ % band.rows, t = tile % columns_;
    float* corner = band.results + i * band.image_step + (band.top - item.low + m_ * r) * result_row_ + m_ * t * out_;
    const ix pooled = (((item.first + i) * height_ + band.top + m_ * r) / 2 * (width_ / 2) + m_ * t / 2) * out_;
    const ix rows = std::min<ix>(m_, item.high - band.top - m_ * r), columns = std::min<ix>(m_, width_ - m_ * t);
    for (ix c = 0; c < out_; c += LANES) {
      Vector y[MOST_POINTS];
      method_.result(products + tile * wide_out_ + c, band.out_step, y);
      const Vector bias = epilogue_.bias && !pools_in_scratch_ ? load_first(epilogue_.bias + c, out_ - c) : Vector{};
      if (pools_in_tile_) {
        method_.pool(y, bias, rows, columns, width_ / 2 * out_, out_, result_ + pooled + c,
                     argmax_ + pooled + c, out_ - c, streams_, odd);
        continue;
      }
      for (ix a = 0; a < rows; ++a)
        for (ix b = 0; b < columns; ++b) {
          const Vector sum = y[a * m_ + b] + bias;
          odd += sum - sum;
          float* to = corner + a * result_row_ + b * out_ + c;
          if (epilogue_.kind == Epilogue::CLAMP)
            store_first(to, clamp(sum, broadcast(epilogue_.low), broadcast(epilogue_.high)), out_ - c, streams_);
          else if (rectifies_)
            store_pooled(sum, Integers{}, to, argmax_ + (to - result_), out_ - c, streams_);
          else
            store_first(to, sum, out_ - c, !pools_in_scratch_ && streams_);
        }
    }
  }

  void pool(const Item& item, const float* unpooled) const {
    const ix* pool = epilogue_.pool;
    const ix count[3] = {1, item.high - item.low, width_};
    for (ix i = 0; i < item.images; ++i) {
      const ix row = (item.first + i) * (w_.output[1] / pool[1]) + item.low / pool[1];
      const ix to = row * (width_ / pool[2]) * out_;
      relu_and_pool<false>(unpooled + i * product(count) * out_, count, out_, epilogue_, result_ + to,
                           argmax_ + to, streams_);
    }
  }

  const Method& method_;
  const Window& w_;
  const Source& source_;
  const TransformedFilter& filter_;
  const Epilogue& epilogue_;
  uint8_t* const argmax_;
  float* const result_;
  const ix m_, in_, out_, wide_in_, wide_out_;
  const bool rectifies_, pools_in_tile_, pools_in_scratch_;
  const ix height_, width_, columns_, row_floats_, result_row_;
  const Bands bands_;
  const ix unit_, units_, parts_, together_;
  const bool streams_;
};

class Convolution : public WinogradConvolution {
 public:
  Convolution(const Pool& pool, const Method& method, const Window& w, const float* weights, const Epilogue& epilogue,
              bool keeps)
      : method_(method), w_(w), epilogue_(epilogue),
        filter_(pool, method, weights, w.channels_in, w.channels_out, false, keeps) {}
  bool run(const Pool& pool, const Source& source, uint8_t* argmax, float* result) const override {
    return Run(pool, method_, w_, source, filter_, epilogue_, argmax, result).run(pool);
  }

 private:
  const Method& method_;
  const Window w_;
  const Epilogue epilogue_;
  const TransformedFilter filter_;
};

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
  const TransformedFilter filter(pool, method, exchanged.data(), out, in, true);
  const Epilogue none;
  return Run(pool, method, back, gradient, filter, none, nullptr, result).run(pool);
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
  return {[](const Pool& pool, const Window& w, const float* weights, const Epilogue& epilogue,
             bool keeps) -> std::unique_ptr<WinogradConvolution> {
            return std::make_unique<Convolution>(pool, METHOD<M, R>, w, weights, epilogue, keeps);
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

Winograd winograd_for(const Window& w, bool keeps) {
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
  if (w.batch * tiles(side == 5 ? 2 : 4) < (keeps ? MANY_TILES_OF_KEPT : MANY_TILES)) return {};
  Winograd found;
  if (side == 5) found = forms_of<2, 5>();
  else if (tiles(4) * 36 < tiles(2) * 16) found = forms_of<4, 3>();
  else found = forms_of<2, 3>();
  // The transforms are worth while for many channels only; above all of what is read.
  const ix in = w.channels_in, out = w.channels_out;
  if (in < 16 || out < 8) found.convolution = nullptr;
  if (out < 16 || in < 8) found.input_gradient = nullptr;
  if (in < 16 || out < 16) found.weight_gradient = nullptr;
  return found;
}

CORNU_END
