// The input gradient of a convolution, which is also a transposed convolution.

#include "implicit_gemm.h"
#include "sparse.h"
#include "winograd.h"

CORNU_BEGIN
namespace {

void run(const Pool& pool, const Window& given, const float* gradient, const Argmax& argmax, const float* weights,
         Format format, void* result) {
  const bool row = is_pointwise(given) && product(argmax.pool) == 1;
  const Window w = row ? as_row(given) : given;
  const Source source{gradient, {w.output[0], w.output[1], w.output[2]}, w.channels_out, argmax};
  const ImplicitGemm gemm = input_gradient_gemm(w);
  if (format == SINGLES) {
    float* const singles = static_cast<float*>(result);
    const auto winograd = winograd_for(w).input_gradient;
    const PixelPacking packing = pack_pixels(gemm, gemm.size[2], LANES, winograd);
    if (packing.pixels > 1 && PixelGemm::takes(pool, packing.gemm.batch, source)) {
      PixelGemm(pool, packing, gemm, source.plain(), weights, Epilogue{}, false).run(pool, source, nullptr, singles);
      return;
    }
    if (winograd && winograd(pool, w, source, weights, singles)) return;
  }
  Gemm(pool, gemm, source.plain(), weights, Epilogue{}, format, format == SINGLES, false)
      .run(pool, source, nullptr, result);
}

void run_singles(const Pool& pool, const Window& w, const float* gradient, const Argmax& argmax,
                 const float* weights, float* result) {
  const bool sparse = is_sparse(w, argmax) || (has_narrow_image(w, argmax) && !winograd_for(w).input_gradient);
  if (sparse && sparse_input_gradient(pool, w, gradient, argmax, weights, result)) return;
  run(pool, w, gradient, argmax, weights, SINGLES, result);
}

}  // namespace

void input_gradient(const Pool& pool, const Window& w, const float* gradient, const float* weights, float* result) {
  run_singles(pool, w, gradient, Argmax{}, weights, result);
}

void relu_pool_input_gradient(const Pool& pool, const Window& w, const float* gradient, const float* weights,
                              const uint8_t* argmax, float* result) {
  run_singles(pool, w, gradient, {argmax, {w.pool[0], w.pool[1], w.pool[2]}}, weights, result);
}

#ifdef CORNU_PAIRS

// Of the weights, too, what meets two neighbours of a gradient are two neighbours.
void input_gradient_of_pairs(const Pool& pool, const Window& given, const bfloat16* gradient,
                             const bfloat16* weights, bfloat16* result) {
  Window w = given;
  if (w.channels_out / w.groups % 2) refuse("an odd number of channels in each group: ", w.channels_out / w.groups);
  w.channels_out /= 2;
  run(pool, w, reinterpret_cast<const float*>(gradient), Argmax{}, reinterpret_cast<const float*>(weights), PAIRS,
      result);
}

#endif

CORNU_END
