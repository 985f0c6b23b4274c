// Convolution, by whichever method suits its shape.

#include <mutex>

#include "implicit_gemm.h"
#include "winograd.h"

CORNU_BEGIN
namespace {

// At one position there is nothing to share: each row of the weights is read once, where it lies.
template <int V>
void row_times(const float* row, const float* weights, ix in, ix out, ix first, const Epilogue& epilogue,
               uint8_t* argmax, float* result) {
  Vector sum[V] = {};
  for (ix i = 0; i < in; ++i)
    CORNU_UNROLL for (int v = 0; v < V; ++v)
      sum[v] += broadcast(row[i]) * load_first(weights + i * out + first + v * LANES,
                                               V > 1 ? LANES : out - first);
  CORNU_UNROLL for (int v = 0; v < V; ++v) {
    const ix to = first + v * LANES, count = out - to;
    if (epilogue.kind == Epilogue::POOL)
      store_pooled(sum[v] + load_first(epilogue.bias + to, count), Integers{}, result + to, argmax + to, count, false);
    else if (epilogue.kind == Epilogue::CLAMP)
      store_first(result + to, clamp(sum[v] + load_first(epilogue.bias + to, count), broadcast(epilogue.low),
                                     broadcast(epilogue.high)), count);
    else
      store_first(result + to, sum[v], count);
  }
}
void row_times_weights(const Pool& pool, const float* row, const float* weights, ix in, ix out,
                       const Epilogue& epilogue, uint8_t* argmax, float* result) {
  constexpr int MANY = 8, SOME = 4;
  constexpr ix PIECE = MANY * LANES;
  parallel_for(pool, (out + PIECE - 1) / PIECE, [&](ix piece) {
    const ix end = std::min(out, (piece + 1) * PIECE);
    for (ix first = piece * PIECE; first < end;) {
      const ix left = end - first;
      const int vectors = left >= MANY * LANES ? MANY : left >= SOME * LANES ? SOME : 1;
      (vectors == MANY ? row_times<MANY> : vectors == SOME ? row_times<SOME> : row_times<1>)(
          row, weights, in, out, first, epilogue, argmax, result);
      first += vectors * LANES;
    }
  });
}

// What of a convolution depends on shapes and weights alone.
class Convolution : public PreparedConvolution {
 public:
  Convolution(const Pool& pool, const Window& given, const float* weights, const Epilogue& epilogue, Format format,
              bool single, bool keeps)
      : w_(is_row(given) ? as_row(given) : given), weights_(weights), epilogue_(epilogue), format_(format),
        single_(single), keeps_(keeps),
        multiplies_row_(format == SINGLES && is_row(given) && w_.size[2] == 1 && w_.groups == 1) {
    if (multiplies_row_) return;
    gemm_ = forward_gemm(w_);
    if (format != SINGLES) return;
    const auto winograd = winograd_for(w_, keeps).convolution;
    packing_ = pack_pixels(gemm_, w_.output[2], LANES, winograd);
    const bool pools = product(w_.pool) != 1;
    // Where pixels would be packed if nothing were pooled, the implicit GEMM gives the same bits.
    if (packing_.pixels > 1 && pools) packing_.pixels = 1;
    else if (winograd && packing_.pixels == 1) winograd_ = winograd(pool, w_, weights, epilogue_, keeps);
  }

  void run(const Pool& pool, const float* image, uint8_t* argmax, void* result) const override {
    float* const singles = static_cast<float*>(result);
    if (multiplies_row_) {
      CORNU_PATH(forward_row);
      row_times_weights(pool, image, weights_, w_.channels_in, w_.channels_out, epilogue_, argmax, singles);
      return;
    }
    const Source source{image, {w_.size[0], w_.size[1], w_.size[2]}, w_.channels_in, {}};
    if (packing_.pixels > 1 && PixelGemm::takes(pool, w_.batch, source)) {
      std::call_once(pixels_once_, [&] {
        pixels_ = std::make_unique<PixelGemm>(pool, packing_, gemm_, true, weights_, epilogue_, keeps_);
      });
      pixels_->run(pool, source, argmax, singles);
      return;
    }
    if (winograd_ && winograd_->run(pool, source, argmax, singles)) return;
    std::call_once(direct_once_, [&] {
      direct_ = std::make_unique<Gemm>(pool, gemm_, true, weights_, epilogue_, format_, single_, keeps_);
    });
    direct_->run(pool, source, argmax, result);
  }

 private:
  static bool is_row(const Window& w) { return is_pointwise(w) && product(w.pool) == 1; }

  const Window w_;
  const float* const weights_;
  const Epilogue epilogue_;
  const Format format_;
  const bool single_, keeps_, multiplies_row_;
  ImplicitGemm gemm_;
  PixelPacking packing_;
  std::unique_ptr<WinogradConvolution> winograd_;
  // What is needed only for some images, or instead of the others.
  mutable std::once_flag pixels_once_, direct_once_;
  mutable std::unique_ptr<PixelGemm> pixels_;
  mutable std::unique_ptr<Gemm> direct_;
};

void convolve(const Pool& pool, const Window& w, const float* image, const float* weights, const Epilogue& epilogue,
              Format format, bool single, uint8_t* argmax, void* result) {
  Convolution(pool, w, weights, epilogue, format, single, false).run(pool, image, argmax, result);
}

Epilogue relu_pool(const Window& w, const float* bias) {
  Epilogue epilogue;
  epilogue.kind = Epilogue::POOL;
  epilogue.bias = bias;
  std::copy(w.pool, w.pool + 3, epilogue.pool);
  return epilogue;
}

}  // namespace

void convolution(const Pool& pool, const Window& w, const float* image, const float* weights, float* result) {
  convolve(pool, w, image, weights, Epilogue{}, SINGLES, true, nullptr, result);
}

void convolution_relu_pool(const Pool& pool, const Window& w, const float* image, const float* weights,
                           const float* bias, float* result, uint8_t* argmax) {
  convolve(pool, w, image, weights, relu_pool(w, bias), SINGLES, true, argmax, result);
}

PreparedConvolution* prepare_convolution(const Pool& pool, const Window& w, const float* weights, const float* bias,
                                         After after, float low, float high) {
  Epilogue epilogue;
  if (after == After::POOL) epilogue = relu_pool(w, bias);
  if (after == After::CLAMP) {
    epilogue.kind = Epilogue::CLAMP;
    epilogue.bias = bias;
    epilogue.low = low;
    epilogue.high = high;
  }
  return new Convolution(pool, w, weights, epilogue, SINGLES, true, true);
}

#ifdef CORNU_PAIRS

// Two neighbouring bfloat16 of an image are as one float is; of the weights, the two that meet them are put beside
// each other.
static void convolve_pairs(const Pool& pool, Window w, const bfloat16* image, const bfloat16* weights,
                           const Epilogue& epilogue, bool single, uint8_t* argmax, void* result) {
  if (w.channels_in / w.groups % 2) refuse("an odd number of channels in each group: ", w.channels_in / w.groups);
  const ix out = w.channels_out, pairs = product(w.window) * (w.channels_in / w.groups) / 2;
  Scratch interleaved(pairs * out);
  bfloat16* to = reinterpret_cast<bfloat16*>(interleaved.data());
  for (ix pair = 0; pair < pairs; ++pair, weights += 2 * out)
    for (ix o = 0; o < out; ++o, to += 2) to[0] = weights[o], to[1] = weights[out + o];
  w.channels_in /= 2;
  convolve(pool, w, reinterpret_cast<const float*>(image), interleaved.data(), epilogue, PAIRS, single, argmax, result);
}

void convolution_of_pairs(const Pool& pool, const Window& w, const bfloat16* image, const bfloat16* weights,
                          bfloat16* result) {
  convolve_pairs(pool, w, image, weights, Epilogue{}, false, nullptr, result);
}

void convolution_relu_pool_of_pairs(const Pool& pool, const Window& w, const bfloat16* image,
                                    const bfloat16* weights, const float* bias, float* result, uint8_t* argmax) {
  convolve_pairs(pool, w, image, weights, relu_pool(w, bias), true, argmax, result);
}

#endif

CORNU_END
