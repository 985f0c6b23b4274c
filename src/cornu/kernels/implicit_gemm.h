// Convolutions and input gradients as products of matrices that are never written down.
//
// See docs/kernels.md for pictures of the blocking.
#pragma once

#include <memory>
#include <vector>

#include "epilogue.h"
#include "image.h"
#include "pack.h"
#include "plan.h"
#include "tiles.h"

CORNU_BEGIN

// What of such a product depends on shapes and weights alone: it can be run often, by several threads at once.
class Gemm {
 public:
  // `format` is that of sources and weights, results are float32 if they are `single`, or bfloat16. If it `keeps`,
  // all weights are packed for many runs. They and the bias must stay where they are.
  Gemm(const Pool&, const ImplicitGemm&, bool is_plain, const float* weights, const Epilogue&, Format format,
       bool single, bool keeps);
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  // Where the epilogue pools, its argmax is written, too.
  void run(const Pool&, const Source&, uint8_t* argmax, void* result) const;

 private:
  friend class GemmRun;

  bool pools_in_scratch() const { return plan_.pooling == Pooling::IN_SCRATCH; }
  // Whether tiles do what comes after their sums.
  bool ends_tiles() const { return epilogue_.kind != Epilogue::NONE && !pools_in_scratch(); }
  void count_paths() const;

  const ImplicitGemm gemm_;
  const float* const weights_;
  const Epilogue epilogue_;
  const Format format_;
  const bool single_, depthwise_;
  const GemmPlan plan_;
  Scratch bias_;
  std::vector<std::unique_ptr<PackedWeights>> packed_;
};

// The same with several pixels of few channels as one, `packing.pixels` being more than one. What is not finite must
// not meet the zeros between them: such sources are not for it.
class PixelGemm {
 public:
  PixelGemm(const Pool&, const PixelPacking&, const ImplicitGemm& given, bool is_plain, const float* weights,
            const Epilogue&, bool keeps);
  void run(const Pool&, const Source&, uint8_t* argmax, float* result) const;
  static bool takes(const Pool&, ix batch, const Source&);

 private:
  static Epilogue repeated(const Epilogue&, std::vector<float>&, ix channels, ix pixels);
  std::vector<float> bias_;
  const std::vector<float> weights_;
  const Gemm gemm_;
};

CORNU_END
