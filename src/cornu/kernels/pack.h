// Weights in the order in which tiles read them.
#pragma once

#include <memory>
#include <vector>

#include "image.h"
#include "kept.h"
#include "plan.h"
#include "vector.h"

CORNU_BEGIN

// Of one phase: by group, block of channels, tap, and channel seen.
class PackedWeights {
 public:
  enum Life {
    LAZY,  // blocks are packed when they are needed, elsewhere
    ONCE,  // all are packed, for a short time
    KEPT,  // the same, for all who keep them of the same weights
  };
  PackedWeights(const Pool&, const ImplicitGemm&, const Phase&, const float* weights, Life);

  // A block as `block` says where it lies, packed to `to`.
  void pack(ix group, const Block& block, float* to) const {
    for (ix tap = 0; tap < taps(); ++tap) pack_tap(group, block, tap, to);
  }
  const float* of(ix group, const Block& block) const {
    return (kept_ ? kept_->data() : once_.data()) + group * per_group_ + block.offset * taps();
  }
  bool is_lazy() const { return life_ == LAZY; }
  const std::vector<Block>& blocks() const { return blocks_; }  // of one group; each group has the same
  ix per_group() const { return per_group_; }                   // floats in all blocks

 private:
  ix taps() const { return phase_.taps.size(); }
  void pack_tap(ix group, const Block&, ix tap, float* to) const;
  void pack_all(const Pool&, float* to) const;

  const ImplicitGemm& gemm_;
  const Phase& phase_;
  const float* weights_;
  const Life life_;
  std::vector<Block> blocks_;
  ix per_group_;
  Scratch once_;
  std::shared_ptr<const Memory> kept_;
};

// The weights of several pixels beside each other, as `packing.gemm` reads them.
std::vector<float> pack_pixel_weights(const PixelPacking& packing, const ImplicitGemm& given, const float* weights);

CORNU_END
