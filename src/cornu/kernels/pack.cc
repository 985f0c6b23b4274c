#include "pack.h"

CORNU_BEGIN

static ix floats_per_tap(const ImplicitGemm& gemm, const Block& last) {
  return last.offset + gemm.in() * last.vectors * LANES;
}

PackedWeights::PackedWeights(const Pool& pool, const ImplicitGemm& gemm, const Phase& phase, const float* weights,
                             Life life)
    : gemm_(gemm), phase_(phase), weights_(weights), life_(life), blocks_(blocks_of(gemm, LANES)),
      per_group_(floats_per_tap(gemm, blocks_.back()) * taps()), once_(life == ONCE ? per_group_ * gemm.groups : 0) {
  if (life == ONCE) pack_all(pool, once_.data());
  if (life != KEPT) return;
  std::vector<int64_t> key{LANES, reinterpret_cast<int64_t>(weights), gemm.in(), gemm.out(), gemm.groups,
                           gemm.weight_tap, gemm.weight_in, gemm.weight_out, gemm.weight_group};
  for (const Tap& tap : phase.taps) key.push_back(tap.weight);
  kept_ = kept(key, per_group_ * gemm.groups, [&](float* to) { pack_all(pool, to); });
}

void PackedWeights::pack_all(const Pool& pool, float* to) const {
  const ix num_blocks = blocks_.size(), jobs = gemm_.groups * num_blocks * taps();
  parallel_for(per_group_ * gemm_.groups < (1 << 15) ? Pool{1, {}} : pool, jobs, [&](ix job) {
    const Block& block = blocks_[job / taps() % num_blocks];
    const ix group = job / taps() / num_blocks;
    pack_tap(group, block, job % taps(), to + group * per_group_ + block.offset * taps());
  });
}

// What one tap of a block reads, after the taps before it.
void PackedWeights::pack_tap(ix group, const Block& block, ix tap, float* to) const {
  const ix in = gemm_.in(), width = block.vectors * LANES, filled = std::min(width, gemm_.out() - block.first);
  const float* from = weights_ + group * gemm_.weight_group + phase_.taps[tap].weight * gemm_.weight_tap +
                      block.first * gemm_.weight_out;
  to += tap * in * width;
  if (gemm_.weight_out != 1) {
    transpose(from, gemm_.weight_out, filled, in, to, width, width);
    return;
  }
  for (ix i = 0; i < in; ++i, to += width, from += gemm_.weight_in)
    for (ix o = 0; o < width; o += LANES) store(to + o, load_first(from + o, filled - o));
}

std::vector<float> pack_pixel_weights(const PixelPacking& packing, const ImplicitGemm& given, const float* weights) {
  const ix in = given.channels_in, out = given.channels_out, wide = packing.gemm.channels_out;
  const std::vector<Tap>& taps = given.phases[0].taps;
  std::vector<float> packed(packing.gemm.phases[0].taps.size() * in * wide);
  for (ix pixel = 0; pixel < packing.pixels; ++pixel)
    for (size_t t = 0; t < taps.size(); ++t) {
      const float* from = weights + taps[t].weight * given.weight_tap;
      float* to = packed.data() + packing.taps[pixel * taps.size() + t] * in * wide + pixel * out;
      for (ix i = 0; i < in; ++i)
        for (ix o = 0; o < out; ++o) to[i * wide + o] = from[i * given.weight_in + o * given.weight_out];
    }
  return packed;
}

CORNU_END
