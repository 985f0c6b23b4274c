// Convolutions in fewer bits. An item of work rounds the part of an image that it needs into scratch memory, with its
// padding, and multiplies it there: with channels last, a row of a window is contiguous.
//
// Neighbouring numbers of that row are one lane of 32 bits: four bytes, two int16 that hold bytes, or two bfloat16. All
// instruction sets give the same sums of bytes, because integers are exact, and what is done to them before and after
// is rounded once in each step: no product is followed by a sum.

#include "reduced.h"

#include <cstdlib>
#include <limits>

#include "epilogue.h"
#include "kept.h"

#if defined(__x86_64__) && defined(CORNU_VNNI)
#include <cpuid.h>
#endif

CORNU_BEGIN
namespace {

typedef uint32_t Words __attribute__((vector_size(LANES * 4)));
typedef uint32_t UnalignedWords __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint32_t UnalignedWord __attribute__((aligned(1), may_alias));
typedef uint8_t BytesOfLine __attribute__((vector_size(16)));
typedef uint8_t UnalignedBytes __attribute__((vector_size(16), aligned(1), may_alias));
typedef int16_t UnalignedShorts __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

constexpr ix MOST_POSITIONS = REGISTERS == 32 && LANES == 16 ? 12 : 6;
constexpr ix MOST_SUMS = 2 * MOST_POSITIONS;
// Of an item: multiplications, weights, and numbers of the image, in bytes.
constexpr ix PRODUCTS = 1 << 20, WEIGHTS = 1 << 19, NUMBERS = 1 << 18;

// For tests, and to measure what they bring.
bool may_use_dot_products() {
  const char* wanted = std::getenv("CORNU_DOT_PRODUCTS");
  return !wanted || strcmp(wanted, "0") != 0;
}

bool adds_quads() {
#if defined(__AVX512F__)
  return __builtin_cpu_supports("avx512vnni");
#elif defined(__AVX2__) && defined(CORNU_VNNI)
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
#else
  return false;
#endif
}

CORNU_INLINE Integers nearest(Vector v) {
#if defined(__AVX512F__)
  return (Integers)_mm512_maskz_cvtps_epi32(0xffff, (__m512)v);
#elif defined(__AVX2__)
  return (Integers)_mm256_cvtps_epi32((__m256)v);
#elif defined(__SSE2__)
  return (Integers)_mm_cvtps_epi32((__m128)v);
#else
  Integers result;
  for (int lane = 0; lane < LANES; ++lane) result[lane] = int32_t(__builtin_nearbyintf(v[lane]));
  return result;
#endif
}
CORNU_INLINE Vector floats(Integers v) {
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_cvtepi32_ps(0xffff, (__m512i)v);
#elif defined(__AVX2__)
  return (Vector)_mm256_cvtepi32_ps((__m256i)v);
#else
  return __builtin_convertvector(v, Vector);
#endif
}
// The nearest bytes, in lanes. NaN becomes the lowest.
CORNU_INLINE Integers bytes_of(Vector v, float low, float high, int32_t zero) {
  v = v > low ? v : broadcast(low);
  v = v < high ? v : broadcast(high);
  return nearest(v) + zero;
}
CORNU_INLINE bool any(Integers v) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)v, (__m512i)v);
#else
  int32_t all = 0;
  for (int lane = 0; lane < LANES; ++lane) all |= v[lane];
  return all;
#endif
}

// ---- formats

// Four bytes of an image by four weights.
struct Quads {
  typedef uint8_t Number;
  typedef int8_t Weight, Packed;
  typedef Integers Sum;
  static constexpr int GROUP = 4;
  CORNU_INLINE Sum add(Sum sum, [[maybe_unused]] Words image, [[maybe_unused]] Words weights) {
    // Written so because the file is compiled for processors without it, too.
#if defined(__AVX512F__)
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(image), "v"(weights));
#elif defined(__AVX2__) && defined(CORNU_VNNI)
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(image), "x"(weights));
#endif
    return sum;
  }
  CORNU_INLINE void put(Number* to, Integers v, ix count) { store_bytes(to, v, count); }
};

// Two bytes, of 16 bits each. (An instruction for bytes of older processors would cut sums off.)
struct Shorts {
  typedef int16_t Number;
  typedef int8_t Weight;
  typedef int16_t Packed;
  typedef Integers Sum;
  static constexpr int GROUP = 2;
  CORNU_INLINE Sum add(Sum sum, Words image, Words weights) {
#if defined(__AVX512F__)
    return sum + (Integers)_mm512_madd_epi16((__m512i)image, (__m512i)weights);
#elif defined(__AVX2__)
    return sum + (Integers)_mm256_madd_epi16((__m256i)image, (__m256i)weights);
#elif defined(__SSE2__)
    return sum + (Integers)_mm_madd_epi16((__m128i)image, (__m128i)weights);
#else
    const Integers a = (Integers)image, b = (Integers)weights;
    return sum + (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
  }
  CORNU_INLINE void put(Number* to, Integers v, ix count) {
#if defined(__AVX512F__)
    _mm256_mask_storeu_epi16(to, count >= LANES ? __mmask16(0xffff) : __mmask16((1u << count) - 1),
                             _mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)v));
#else
#if defined(__AVX2__)
    const auto shorts = (UnalignedShorts)_mm_packs_epi32(_mm256_castsi256_si128((__m256i)v),
                                                         _mm256_extracti128_si256((__m256i)v, 1));
#elif defined(__SSE2__)
    const auto shorts = (UnalignedShorts)_mm_cvtsi128_si64(_mm_packs_epi32((__m128i)v, (__m128i)v));
#else
    const auto shorts = __builtin_convertvector(v, UnalignedShorts);
#endif
    if (count >= LANES) *(UnalignedShorts*)to = shorts;
    else for (ix lane = 0; lane < count; ++lane) to[lane] = shorts[lane];
#endif
  }
};

struct Halves {
  typedef uint16_t Number, Weight, Packed;
  typedef Vector Sum;
  static constexpr int GROUP = 2;
};
// Two bfloat16, by the instruction for them.
struct FastHalves : Halves {
  CORNU_INLINE Sum add(Sum sum, [[maybe_unused]] Words image, [[maybe_unused]] Words weights) {
#ifdef CORNU_PAIRS
    sum = multiply_add<PAIRS>(sum, (Vector)image, (Vector)weights);
#endif
    return sum;
  }
};
// The same as float32.
struct WideHalves : Halves {
  CORNU_INLINE Sum add(Sum sum, Words image, Words weights) {
    sum += (Vector)(image << 16) * (Vector)(weights << 16);
    return sum + (Vector)(image & 0xffff0000u) * (Vector)(weights & 0xffff0000u);
  }
};

template <class Format>
constexpr bool IS_OF_BYTES = std::is_same_v<typename Format::Sum, Integers>;

// ---- tiles

// What a tile reads: rows of windows, each `groups` lanes long, from `segments` on.
struct Rows32 {
  const ix* segments;
  ix num_segments, groups, step;  // from position to position
};

// Sums of M neighbouring positions by V vectors of channels, whose weights lie `block` lanes apart.
template <class Format, int M, int V>
void tile(const typename Format::Number* image, const Rows32& rows, const uint32_t* weights, ix block, void* result) {
  typename Format::Sum sum[M][V] = {};
  const ix step = rows.step;
  for (ix s = 0; s < rows.num_segments; ++s) {
    const typename Format::Number* from = image + rows.segments[s];
    for (ix g = 0; g < rows.groups; ++g, from += Format::GROUP, weights += LANES) {
      Words row[V];
      CORNU_UNROLL for (int v = 0; v < V; ++v) row[v] = *(const UnalignedWords*)(weights + v * block);
      CORNU_UNROLL for (int m = 0; m < M; ++m) {
        const Words numbers = *(const UnalignedWord*)(from + m * step) - Words{};
        CORNU_UNROLL for (int v = 0; v < V; ++v) sum[m][v] = Format::add(sum[m][v], numbers, row[v]);
      }
    }
  }
  auto* to = static_cast<typename Format::Sum*>(result);
  CORNU_UNROLL for (int m = 0; m < M; ++m)
    CORNU_UNROLL for (int v = 0; v < V; ++v) to[m * V + v] = sum[m][v];
}

template <class Format, int V, int... M>
void tile_of(ix positions, const typename Format::Number* image, const Rows32& rows, const uint32_t* weights, ix block,
             void* result, std::integer_sequence<int, M...>) {
  static constexpr decltype(&tile<Format, 1, V>) each[] = {tile<Format, M + 1, V>...};
  each[positions - 1](image, rows, weights, block, result);
}

// ---- convolutions

template <class Format>
class Of : public ReducedConvolution {
  typedef typename Format::Number Number;

 public:
  Of(const Pool& pool, const Reduced& given)
      : given_(given), flat_(is_flat(given.window)), w_(flat_ ? flattened(given.window) : given.window),
        out_(w_.channels_out / w_.groups), blocks_((out_ + LANES - 1) / LANES),
        // In bfloat16, a zero would meet what may be NaN.
        channels_(IS_OF_BYTES<Format> ? w_.channels_in : (w_.channels_in / w_.groups + 1) / 2 * 2 * w_.groups) {
    const ix in = channels_ / w_.groups;
    const bool whole = w_.groups == 1 && w_.dilation[2] == 1;
    const ix taps = product(w_.window);
    length_ = whole ? w_.window[2] * in : in;
    rows_.groups = (length_ + Format::GROUP - 1) / Format::GROUP;
    rows_.num_segments = whole ? taps / w_.window[2] : taps;
    rows_.step = w_.strides[2] * channels_;
    block_ = rows_.num_segments * rows_.groups * LANES;
    split();
    for (ix s = 0; s < rows_.num_segments; ++s) {
      const ix t = whole ? s * w_.window[2] : s, kw = t % w_.window[2], kh = t / w_.window[2] % w_.window[1];
      const ix kd = t / w_.window[2] / w_.window[1];
      segments_.push_back(
          ((kd * w_.dilation[0] * height_ + kh * w_.dilation[1]) * width_ + kw * w_.dilation[2]) * channels_);
    }
    rows_.segments = segments_.data();
    const std::vector<int64_t> key{-LANES, Format::GROUP, IS_OF_BYTES<Format>, int64_t(given.weights), taps, whole,
                                   w_.channels_in, w_.channels_out, w_.groups, w_.window[2]};
    packed_ = kept(key, w_.groups * blocks_ * block_, [&](float* to) { pack(pool, reinterpret_cast<uint32_t*>(to)); });
  }

  void run(const Pool& pool, const void* image, void* result) const override {
    if (given_.gives_bytes) memset(static_cast<uint8_t*>(result) + w_.pooled(), 0, given_.window.batch);
    parallel_for(pool, w_.batch * depths_ * bands_ * columns_ * parts_, [&](ix item) {
      const ix part = item % parts_;
      item /= parts_;
      Item here;
      const ix column = item % columns_, band = item / columns_ % bands_;
      here.depth = item / columns_ / bands_ % depths_;
      here.example = item / columns_ / bands_ / depths_;
      here.row = band * rows_of_band_, here.rows = std::min(rows_of_band_, pooled(1) - here.row);
      here.column = column * width_of_column_;
      here.width = std::min(width_of_column_, pooled(2) * w_.pool[2] - here.column);
      here.first_block = part * blocks_ * w_.groups / parts_;
      here.last_block = (part + 1) * blocks_ * w_.groups / parts_;
      run_item(image, result, here);
    });
  }

 private:
  // Rows and columns of pooled results of one example, and blocks of channels.
  struct Item {
    ix example, depth, row, rows, column, width, first_block, last_block;
  };

  // All positions are one row.
  static bool is_flat(const Window& w) {
    for (int a = 0; a < 3; ++a)
      if (w.window[a] != 1 || w.strides[a] != 1 || w.before[a] != 0 || w.pool[a] != 1 || w.size[a] != w.output[a])
        return false;
    return true;
  }
  static Window flattened(Window w) {
    w.size[2] = w.output[2] = w.positions();
    w.batch = w.size[0] = w.size[1] = w.output[0] = w.output[1] = 1;
    return w;
  }

  ix pooled(int axis) const { return w_.output[axis] / w_.pool[axis]; }
  // What so many windows see.
  ix extent(int axis, ix windows) const {
    return (windows - 1) * w_.strides[axis] + (w_.window[axis] - 1) * w_.dilation[axis] + 1;
  }

  // Into items, by sizes alone.
  void split() {
    depths_ = pooled(0);
    const ix products = w_.window[0] * w_.window[1] * w_.window[2] * (w_.channels_in / w_.groups) * w_.channels_out;
    width_of_column_ = pooled(2) * w_.pool[2], rows_of_band_ = pooled(1), columns_ = bands_ = 1;
    if (flat_) {
      const ix most = std::max(MOST_POSITIONS, std::min(PRODUCTS / products, NUMBERS / (channels_ * ix(sizeof(Number)))));
      columns_ = (width_of_column_ + most - 1) / most;
      width_of_column_ = (width_of_column_ + columns_ - 1) / columns_;
      columns_ = (width_of_column_ - 1 + pooled(2)) / width_of_column_;
    } else {
      const ix of_row = std::max<ix>(1, w_.pool[0] * w_.pool[1] * width_of_column_ * products);
      const ix numbers = extent(0, w_.pool[0]) * extent(2, width_of_column_) * channels_ * ix(sizeof(Number)) *
                         w_.pool[1] * w_.strides[1];
      const ix most = std::max<ix>(1, std::min(PRODUCTS / of_row, NUMBERS / numbers));
      bands_ = (pooled(1) + most - 1) / most;
      rows_of_band_ = (pooled(1) + bands_ - 1) / bands_;
      bands_ = (pooled(1) + rows_of_band_ - 1) / rows_of_band_;
    }
    height_ = extent(1, rows_of_band_ * w_.pool[1]), width_ = extent(2, width_of_column_);
    const ix work = w_.pool[0] * rows_of_band_ * w_.pool[1] * width_of_column_ * products;
    const ix bytes = w_.groups * blocks_ * block_ * 4;
    parts_ = std::clamp(std::max(work / PRODUCTS, bytes / WEIGHTS), ix{1}, std::max<ix>(1, blocks_ * w_.groups / 2));
  }

  void pack(const Pool& pool, uint32_t* to) const {
    const auto* weights = static_cast<const typename Format::Weight*>(given_.weights);
    const ix given_in = w_.channels_in / w_.groups, in = channels_ / w_.groups, of_segment = length_ / in;
    parallel_for(pool, w_.groups * blocks_, [&](ix number) {
      const ix group = number / blocks_, first = number % blocks_ * LANES, count = std::min<ix>(LANES, out_ - first);
      auto* packed = reinterpret_cast<typename Format::Packed*>(to + number * block_);
      for (ix s = 0; s < rows_.num_segments; ++s)
        for (ix k = 0; k < of_segment; ++k)
          for (ix i = 0; i < given_in; ++i) {
            const auto* from = weights + ((s * of_segment + k) * given_in + i) * w_.channels_out + group * out_ + first;
            const ix at = k * in + i;
            auto* row = packed + ((s * rows_.groups + at / Format::GROUP) * LANES) * Format::GROUP + at % Format::GROUP;
            for (ix c = 0; c < count; ++c) row[c * Format::GROUP] = from[c];
          }
    });
  }

  // Numbers of a row of an image in scratch memory; returns whether NaN is among them.
  bool round(const void* image, ix at, ix pixels, Number* to) const {
    const ix given = w_.channels_in, count = pixels * given;
    if constexpr (IS_OF_BYTES<Format>) {
      if (given_.takes_bytes) {
        const uint8_t* from = static_cast<const uint8_t*>(image) + at * given;
        if constexpr (sizeof(Number) == 1) memcpy(to, from, count);
        else for (ix i = 0; i < count; ++i) to[i] = from[i];
        return false;
      }
      const float* from = static_cast<const float*>(image) + at * given;
      const float low = float(-given_.zero), high = float(255 - given_.zero);
      Integers odd = {};
      for (ix i = 0; i < count; i += LANES) {
        const Vector v = load_first(from + i, count - i);
        odd |= v != v;
        Format::put(to + i, bytes_of(v * given_.per_step, low, high, given_.zero), count - i);
      }
      return any(odd);
    } else {
      const float* from = static_cast<const float*>(image) + at * given;
      const ix in = given / w_.groups, wide = channels_ / w_.groups;
      if (in == wide) {
        for (ix i = 0; i < count; i += LANES) store_first(to + i, load_first(from + i, count - i), count - i);
      } else {
        for (ix row = 0; row < pixels * w_.groups; ++row, from += in, to += wide) {
          for (ix i = 0; i < in; i += LANES) store_first(to + i, load_first(from + i, in - i), in - i);
          to[in] = 0;
        }
      }
      return false;
    }
  }
  void fill(Number* to, ix count) const {
    std::fill(to, to + count, IS_OF_BYTES<Format> ? Number(given_.zero) : Number(0));
  }

  // All that the item's windows see.
  bool round_region(const void* image, const Item& here, Number* to) const {
    bool odd = false;
    const ix depth = extent(0, w_.pool[0]), height = extent(1, here.rows * w_.pool[1]), width = extent(2, here.width);
    const ix first_d = here.depth * w_.pool[0] * w_.strides[0] - w_.before[0];
    const ix first_h = here.row * w_.pool[1] * w_.strides[1] - w_.before[1];
    const ix first_w = here.column * w_.strides[2] - w_.before[2];
    const ix from = std::clamp<ix>(first_w, 0, w_.size[2]), end = std::clamp<ix>(first_w + width, from, w_.size[2]);
    for (ix d = 0; d < depth; ++d)
      for (ix h = 0; h < height; ++h) {
        Number* row = to + (d * height_ + h) * width_ * channels_;
        const ix real_d = first_d + d, real_h = first_h + h;
        if (real_d < 0 || real_d >= w_.size[0] || real_h < 0 || real_h >= w_.size[1] || from == end) {
          fill(row, width * channels_);
          continue;
        }
        const ix before = from - first_w, after = first_w + width - end;
        fill(row, before * channels_);
        const ix at = ((here.example * w_.size[0] + real_d) * w_.size[1] + real_h) * w_.size[2] + from;
        odd |= round(image, at, end - from, row + before * channels_);
        fill(row + (width - after) * channels_, after * channels_);
      }
    return odd;
  }

  void run_item(const void* image, void* result, const Item& here) const {
    const ix depth = extent(0, w_.pool[0]);
    // The last lane may reach beyond the last pixel.
    const ix numbers = depth * height_ * width_ * channels_ + Format::GROUP;
    const Scratch scratch((numbers * ix(sizeof(Number)) + 3) / 4);
    Number* region = reinterpret_cast<Number*>(scratch.data());
    fill(region + numbers - Format::GROUP, Format::GROUP);
    const bool odd = round_region(image, here, region);
    const bool pools = product(w_.pool) > 1;
    const ix wide = 4 * LANES, of_row = here.width * wide;
    const Scratch unpooled(pools ? w_.pool[0] * w_.pool[1] * of_row : 1);
    for (ix block = here.first_block; block < here.last_block;) {
      const ix group = block / blocks_, left = std::min(here.last_block, (group + 1) * blocks_) - block;
      const ix vectors = left >= 4 && 4 * here.width <= MOST_SUMS - 8 ? 4 : left >= 2 ? 2 : 1;
      const ix first = (block - group * blocks_) * LANES, channel = group * out_ + first;
      const ix channels = std::min(vectors * LANES, out_ - first);
      const uint32_t* weights = reinterpret_cast<const uint32_t*>(packed_->data()) + block * block_;
      const Number* source = region + group * (channels_ / w_.groups);
      for (ix r = 0; r < here.rows; ++r) {
        const ix row = (here.example * pooled(0) + here.depth) * pooled(1) + here.row + r;
        const ix at = (row * pooled(2) + here.column / w_.pool[2]) * w_.channels_out + channel;
        for (ix d = 0; d < w_.pool[0]; ++d)
          for (ix h = 0; h < w_.pool[1]; ++h) {
            const ix line = d * w_.strides[0] * height_ + (r * w_.pool[1] + h) * w_.strides[1];
            const Number* from = source + line * width_ * channels_;
            if (pools) row_of_tiles(from, here.width, weights, vectors, channel, channels,
                                    unpooled.data(), (d * w_.pool[1] + h) * of_row, wide);
            else row_of_tiles(from, here.width, weights, vectors, channel, channels, result, at, w_.channels_out);
          }
        if (!pools) continue;
        if (given_.gives_bytes)
          pool_row<uint8_t>(unpooled.data(), here.width / w_.pool[2], of_row, channels,
                            static_cast<uint8_t*>(result) + at);
        else
          pool_row<float>(unpooled.data(), here.width / w_.pool[2], of_row, channels, static_cast<float*>(result) + at);
      }
      block += vectors;
    }
    if constexpr (IS_OF_BYTES<Format>) mark(image, result, here, odd);
  }

  void row_of_tiles(const Number* from, ix count, const uint32_t* weights, ix vectors, ix channel, ix channels,
                    void* result, ix at, ix result_step) const {
    const ix most = vectors == 4 ? MOST_SUMS / 4 - 2 : MOST_POSITIONS, tiles = (count + most - 1) / most;
    typename Format::Sum sums[MOST_SUMS];
    for (ix t = 0; t < tiles; ++t) {
      const ix first = count * t / tiles, positions = count * (t + 1) / tiles - first;
      const Number* image = from + first * rows_.step;
      if (vectors == 4)
        tile_of<Format, 4>(positions, image, rows_, weights, block_, sums,
                           std::make_integer_sequence<int, MOST_SUMS / 4 - 2>{});
      else if (vectors == 2)
        tile_of<Format, 2>(positions, image, rows_, weights, block_, sums,
                           std::make_integer_sequence<int, MOST_POSITIONS>{});
      else
        tile_of<Format, 1>(positions, image, rows_, weights, block_, sums,
                           std::make_integer_sequence<int, MOST_POSITIONS>{});
      finish(sums, positions, vectors, channel, channels, result, at + first * result_step, result_step);
    }
  }

  // From sums to results.
  void finish(const typename Format::Sum* sums, ix positions, ix vectors, ix channel, ix channels, void* result, ix at,
              ix step) const {
    const Vector low = broadcast(given_.low), high = broadcast(given_.high);
    for (ix v = 0; v < vectors && v * LANES < channels; ++v) {
      const ix c = v * LANES, count = channels - c;
      const Vector bias = load_first(static_cast<const float*>(given_.bias) + channel + c, count);
      if constexpr (IS_OF_BYTES<Format>) {
        const Vector scale = load_first(given_.scale + channel + c, count);
        if (given_.gives_bytes) {
          const float zero = float(given_.zero_of_results);
          const float least = given_.low > -zero ? given_.low : -zero;
          const float most = given_.high < 255 - zero ? given_.high : 255 - zero;
          for (ix m = 0; m < positions; ++m)
            store_bytes(static_cast<uint8_t*>(result) + at + m * step + c,
                        bytes_of(floats(sums[m * vectors + v] + (Integers)bias) * scale, least, most,
                                 given_.zero_of_results), count);
          continue;
        }
        for (ix m = 0; m < positions; ++m)
          store_first(static_cast<float*>(result) + at + m * step + c,
                      clamp(floats(sums[m * vectors + v] + (Integers)bias) * scale, low, high), count);
      } else {
        for (ix m = 0; m < positions; ++m)
          store_first(static_cast<float*>(result) + at + m * step + c,
                      clamp(sums[m * vectors + v] + bias, low, high), count);
      }
    }
  }

  // The largest results of windows side by side. The rows of a window lie `step` apart.
  template <class T>
  void pool_row(const void* unpooled, ix windows, ix step, ix channels, T* to) const {
    const ix wide = 4 * LANES, lines = w_.pool[0] * w_.pool[1];
    for (ix n = 0; n < windows; ++n, to += w_.channels_out) {
      const T* from = static_cast<const T*>(unpooled) + n * w_.pool[2] * wide;
      for (ix c = 0; c < channels; c += std::is_same_v<T, float> ? LANES : ix(sizeof(BytesOfLine))) {
        if constexpr (std::is_same_v<T, float>) {
          Vector best = load_first(from + c, channels - c);
          for (ix line = 0; line < lines; ++line)
            for (ix k = 0; k < w_.pool[2]; ++k) {
              const Vector v = load_first(from + line * step + k * wide + c, channels - c);
              // NaN comes, and then stays.
              best = ~(best >= v) & (best == best) ? v : best;
            }
          store_first(to + c, best, channels - c);
        } else {
          BytesOfLine best = {};
          for (ix line = 0; line < lines; ++line)
            for (ix k = 0; k < w_.pool[2]; ++k) {
              const BytesOfLine v = *(const UnalignedBytes*)(from + line * step + k * wide + c);
              best = v > best ? v : best;
            }
          memcpy(to + c, &best, std::min<ix>(sizeof best, channels - c));
        }
      }
    }
  }

  // A byte cannot be NaN: what an example's results are is kept beside them, or they become NaN here.
  void mark(const void* image, void* result, const Item& here, bool odd) const {
    const uint8_t* marks = given_.takes_bytes ? static_cast<const uint8_t*>(image) + w_.image() : nullptr;
    if (!odd && !marks) return;
    const ix rows = flat_ ? here.width : 1, each = w_.positions() / given_.window.batch;
    for (ix r = 0; r < rows; ++r) {
      const ix example = flat_ ? (here.column + r) / each : here.example;
      bool spoilt = marks ? marks[example] : odd;
      if (flat_ && !marks) {
        const float* from = static_cast<const float*>(image) + (here.column + r) * w_.channels_in;
        spoilt = std::any_of(from, from + w_.channels_in, [](float x) { return x != x; });
      }
      if (!spoilt) continue;
      if (given_.gives_bytes) {
        __atomic_store_n(static_cast<uint8_t*>(result) + w_.pooled() + example, 1, __ATOMIC_RELAXED);
        continue;
      }
      const ix width = here.width / w_.pool[2];
      for (ix line = 0; line < here.rows; ++line) {
        const ix row = (here.example * pooled(0) + here.depth) * pooled(1) + here.row + line;
        const ix first = row * pooled(2) + here.column / w_.pool[2] + r;
        for (ix n = 0; n < (flat_ ? 1 : width); ++n)
          for (ix block = here.first_block; block < here.last_block; ++block) {
            const ix channel = block / blocks_ * out_ + block % blocks_ * LANES;
            float* to = static_cast<float*>(result) + (first + n) * w_.channels_out + channel;
            std::fill(to, to + std::min<ix>(LANES, out_ - block % blocks_ * LANES),
                      std::numeric_limits<float>::quiet_NaN());
          }
      }
    }
  }

  const Reduced given_;
  const bool flat_;
  const Window w_;
  const ix out_, blocks_, channels_;  // channels out and blocks of a group; channels of a pixel in scratch memory
  ix length_, block_;                 // numbers of a segment; lanes of a block of weights
  Rows32 rows_;
  std::vector<ix> segments_;
  ix depths_, bands_, rows_of_band_, columns_, width_of_column_, parts_, height_, width_;
  std::shared_ptr<const Memory> packed_;
};

}  // namespace

ReducedConvolution* prepare_reduced(const Pool& pool, const Reduced& given) {
  if (given.of_bytes) {
    if (adds_quads() && may_use_dot_products()) return new Of<Quads>(pool, given);
    return new Of<Shorts>(pool, given);
  }
#ifdef CORNU_PAIRS
  if (multiplies_pairs() && may_use_dot_products()) return new Of<FastHalves>(pool, given);
#endif
  return new Of<WideHalves>(pool, given);
}

CORNU_END
