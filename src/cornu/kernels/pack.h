// Weights in the order in which tiles read them.
#pragma once

#include "image.h"
#include "plan.h"
#include "vector.h"

CORNU_BEGIN

// Of one phase: by group, block of channels, tap, and channel seen.
class PackedWeights {
 public:
  // If it is `lazy`, blocks are packed when they are needed, elsewhere.
  PackedWeights(const Pool&, const ImplicitGemm&, const Phase&, const float* weights, bool lazy);

  // A block as `block` says where it lies, packed to `to`.
  void pack(ix group, const Block& block, float* to) const {
    for (ix tap = 0; tap < taps(); ++tap) pack_tap(group, block, tap, to);
  }
  const float* of(ix group, const Block& block) const {
    return memory_.data() + group * per_group_ + block.offset * taps();
  }
  const std::vector<Block>& blocks() const { return blocks_; }  // of one group; each group has the same
  ix per_group() const { return per_group_; }                   // floats in all blocks

 private:
  ix taps() const { return phase_.taps.size(); }
  void pack_tap(ix group, const Block&, ix tap, float* to) const;

  const ImplicitGemm& gemm_;
  const Phase& phase_;
  const float* weights_;
  std::vector<Block> blocks_;
  ix per_group_;
  Scratch memory_;
};

// The weights of several pixels beside each other, as `packing.gemm` reads them.
std::vector<float> pack_pixel_weights(const PixelPacking& packing, const ImplicitGemm& given, const float* weights);

CORNU_END
