// Convolution, by whichever method suits its shape.

#include "implicit_gemm.h"
#include "winograd.h"

CORNU_BEGIN
namespace {

// At one position there is nothing to share: each row of the weights is read once, where it lies.
template <int V>
void row_times(const float* row, const float* weights, ix in, ix out, ix first, const Epilogue& epilogue,
               float* result) {
  Vector sum[V] = {};
  for (ix i = 0; i < in; ++i)
    CORNU_UNROLL for (int v = 0; v < V; ++v)
      sum[v] += broadcast(row[i]) * load_first(weights + i * out + first + v * LANES,
                                               V > 1 ? LANES : out - first);
  CORNU_UNROLL for (int v = 0; v < V; ++v) {
    const ix to = first + v * LANES, count = out - to;
    if (epilogue.argmax)
      store_pooled(sum[v] + load_first(epilogue.bias + to, count), Integers{}, result + to, epilogue.argmax + to,
                   count, false);
    else
      store_first(result + to, sum[v], count);
  }
}
void row_times_weights(const Pool& pool, const float* row, const float* weights, ix in, ix out,
                       const Epilogue& epilogue, float* result) {
  constexpr int MANY = 8, SOME = 4;
  constexpr ix PIECE = MANY * LANES;
  parallel_for(pool, (out + PIECE - 1) / PIECE, [&](ix piece) {
    const ix end = std::min(out, (piece + 1) * PIECE);
    for (ix first = piece * PIECE; first < end;) {
      const ix left = end - first;
      const int vectors = left >= MANY * LANES ? MANY : left >= SOME * LANES ? SOME : 1;
      (vectors == MANY ? row_times<MANY> : vectors == SOME ? row_times<SOME> : row_times<1>)(
          row, weights, in, out, first, epilogue, result);
      first += vectors * LANES;
    }
  });
}

void convolve(const Pool& pool, const Window& given, const float* image, const float* weights,
              const Epilogue& epilogue, Format format, bool single, void* result) {
  float* const singles = static_cast<float*>(result);
  const bool row = is_pointwise(given) && product(given.pool) == 1;
  const Window w = row ? as_row(given) : given;
  if (format == SINGLES && row && w.size[2] == 1 && w.groups == 1) {
    CORNU_PATH(forward_row);
    row_times_weights(pool, image, weights, w.channels_in, w.channels_out, epilogue, singles);
    return;
  }
  const Source source{image, {w.size[0], w.size[1], w.size[2]}, w.channels_in, {}};
  const ImplicitGemm gemm = forward_gemm(w);
  if (format == SINGLES) {
    const auto winograd = winograd_for(w).convolve;
    const PixelPacking packing = pack_pixels(gemm, w.output[2], LANES, winograd);
    const bool pools = product(w.pool) != 1;
    if (!pools && run_packed(pool, packing, gemm, source, weights, epilogue, singles)) return;
    // Where pixels would be packed if nothing were pooled, the implicit GEMM gives the same bits.
    const bool direct = pools && packing.pixels > 1;
    if (winograd && !direct && winograd(pool, w, source, weights, epilogue, singles)) return;
  }
  run_gemm(pool, gemm, source, weights, epilogue, format, single, result);
}

Epilogue relu_pool(const Window& w, const float* bias, uint8_t* argmax) {
  return {bias, nullptr, nullptr, {w.pool[0], w.pool[1], w.pool[2]}, argmax};
}

}  // namespace

void convolution(const Pool& pool, const Window& w, const float* image, const float* weights, float* result) {
  convolve(pool, w, image, weights, Epilogue{}, SINGLES, true, result);
}

void convolution_relu_pool(const Pool& pool, const Window& w, const float* image, const float* weights,
                           const float* bias, float* result, uint8_t* argmax) {
  convolve(pool, w, image, weights, relu_pool(w, bias, argmax), SINGLES, true, result);
}

#ifdef CORNU_PAIRS

// Two neighbouring bfloat16 of an image are as one float is; of the weights, the two that meet them are put beside
// each other.
static void convolve_pairs(const Pool& pool, Window w, const bfloat16* image, const bfloat16* weights,
                           const Epilogue& epilogue, bool single, void* result) {
  if (w.channels_in / w.groups % 2) refuse("an odd number of channels in each group: ", w.channels_in / w.groups);
  const ix out = w.channels_out, pairs = product(w.window) * (w.channels_in / w.groups) / 2;
  Scratch interleaved(pairs * out);
  bfloat16* to = reinterpret_cast<bfloat16*>(interleaved.data());
  for (ix pair = 0; pair < pairs; ++pair, weights += 2 * out)
    for (ix o = 0; o < out; ++o, to += 2) to[0] = weights[o], to[1] = weights[out + o];
  w.channels_in /= 2;
  convolve(pool, w, reinterpret_cast<const float*>(image), interleaved.data(), epilogue, PAIRS, single, result);
}

void convolution_of_pairs(const Pool& pool, const Window& w, const bfloat16* image, const bfloat16* weights,
                          bfloat16* result) {
  convolve_pairs(pool, w, image, weights, Epilogue{}, false, result);
}

void convolution_relu_pool_of_pairs(const Pool& pool, const Window& w, const bfloat16* image,
                                    const bfloat16* weights, const float* bias, float* result, uint8_t* argmax) {
  convolve_pairs(pool, w, image, weights, relu_pool(w, bias, argmax), true, result);
}

#endif

CORNU_END
