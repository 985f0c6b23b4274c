#include "implicit_gemm.h"

#include <atomic>
#include <memory>

#include "depthwise.h"
#include "pack.h"

CORNU_BEGIN
namespace {

// ---- what becomes of a tile's sums

// For each vector of sums: function(sum, which vector of channels, where it goes, how many of its lanes are
// results).
template <int V, class Function>
CORNU_INLINE void for_each_whole_sum(const Panel& panel, const Vector* sum, int rows, int positions,
                                     const Function& function) {
  for (int r = 0; r < rows; ++r)
    for (int p = 0; p < positions; ++p, sum += V)
      CORNU_UNROLL for (int v = 0; v < V; ++v)
        function(sum[v], v, r * panel.out_row + p * panel.out_pixel + v * LANES, LANES);
}
template <class Function>
CORNU_INLINE void for_each_sum(const Panel& panel, const Vector* sum, int rows, int positions, int vectors,
                               const Function& function) {
  if (panel.channels >= WIDE * LANES && vectors == WIDE)
    return for_each_whole_sum<WIDE>(panel, sum, rows, positions, function);
  for (int r = 0; r < rows; ++r)
    for (int p = 0; p < positions; ++p)
      for (int v = 0; v < vectors; ++v, ++sum) {
        const ix count = panel.channels - v * LANES;
        if (count > 0)
          function(*sum, v, r * panel.out_row + p * panel.out_pixel + v * LANES, count);
      }
}

template <class Result>
void store_sums(const Panel& panel, const Vector* sums, int rows, int positions, int vectors) {
  Result* out = static_cast<Result*>(panel.out);
  for_each_sum(panel, sums, rows, positions, vectors, [&](Vector sum, int, ix to, ix count) {
    if constexpr (std::is_same_v<Result, float>) store_first(out + to, sum, count, panel.streams);
    else store_first(out + to, sum, count);
  });
}

void clamp_sums(const Panel& panel, const Vector* sums, int rows, int positions, int vectors) {
  float* out = static_cast<float*>(panel.out);
  const Vector low = broadcast(panel.low), high = broadcast(panel.high);
  Vector bias[WIDE] = {};
  for (int v = 0; v < vectors; ++v) bias[v] = load(panel.bias + v * LANES);
  for_each_sum(panel, sums, rows, positions, vectors, [&](Vector sum, int v, ix to, ix count) {
    store_first(out + to, clamp(sum + bias[v], low, high), count, panel.streams);
  });
}

void rectify_sums(const Panel& panel, const Vector* sums, int rows, int positions, int vectors) {
  float* out = static_cast<float*>(panel.out);
  Vector bias[WIDE] = {};
  for (int v = 0; v < vectors; ++v) bias[v] = load(panel.bias + v * LANES);
  for_each_sum(panel, sums, rows, positions, vectors, [&](Vector sum, int v, ix to, ix count) {
    store_pooled(sum + bias[v], Integers{}, out + to, panel.argmax + to, count, panel.streams);
  });
}

// With relu and max-pooling of pairs of pixels, of all rows at once.
template <int R>
void pool_sums(const Panel& panel, const Vector* sums, int, int positions, int vectors) {
  float* out = static_cast<float*>(panel.out);
  for (int v = 0; v < vectors; ++v) {
    const ix count = panel.channels - v * LANES;
    if (count <= 0) break;
    const Vector bias = load(panel.bias + v * LANES);
    for (int p = 0; p + 1 < positions; p += 2) {
      Vector best = sums[p * vectors + v] + bias;
      Integers argmax = {};
      CORNU_UNROLL for (int k = 1; k < 2 * R; ++k)
        compare(sums[(k / 2 * positions + p + k % 2) * vectors + v] + bias, Integers{} + k, best, argmax);
      const ix to = p / 2 * panel.out_pixel + v * LANES;
      store_pooled(best, argmax, out + to, panel.argmax + to, count, panel.streams);
    }
  }
}

}  // namespace

// ---- what is found out once

Gemm::Gemm(const Pool& pool, const ImplicitGemm& gemm, bool is_plain, const float* weights, const Epilogue& epilogue,
           Format format, bool single, bool keeps)
    : gemm_(gemm), weights_(weights), epilogue_(epilogue), format_(format), single_(single),
      depthwise_(format == SINGLES && gemm.is_depthwise()),
      plan_(plan_gemm(gemm_, is_plain, epilogue.kind == Epilogue::POOL, epilogue.pool, depthwise_, pool.threads, LIMITS)),
      // A whole vector may be read from the end of a bias.
      bias_(ends_tiles() ? gemm.channels_out + WIDE * LANES : 0) {
  count_paths();
  if (ends_tiles()) memcpy(bias_.data(), epilogue.bias, gemm.channels_out * sizeof(float));
  const auto life = keeps ? PackedWeights::KEPT : plan_.by_blocks ? PackedWeights::LAZY : PackedWeights::ONCE;
  for (const Phase& phase : gemm_.phases)
    if (!depthwise_) packed_.push_back(std::make_unique<PackedWeights>(pool, gemm_, phase, weights, life));
}

void Gemm::count_paths() const {
  if (format_ == PAIRS) CORNU_PATH(gemm_pairs);
  if (depthwise_) CORNU_PATH(gemm_depthwise);
  if (plan_.by_blocks) CORNU_PATH(gemm_by_blocks);
  if (plan_.parts > 1 && plan_.copies) CORNU_PATH(gemm_copied_parts);
  if (plan_.parts > 1 && !plan_.copies) CORNU_PATH(gemm_parts);
  if (plan_.together > 1) CORNU_PATH(gemm_several_images);
  if (gemm_.groups > 1 && !depthwise_) CORNU_PATH(gemm_groups);
  if (gemm_.phases.size() > 1) CORNU_PATH(gemm_phases);
  if (plan_.pooling == Pooling::RELU) CORNU_PATH(gemm_relu);
  if (plan_.pooling == Pooling::IN_TILE) CORNU_PATH(gemm_pools_in_tile);
  if (plan_.pooling == Pooling::IN_SCRATCH) CORNU_PATH(gemm_pools_in_scratch);
}

// ---- execution

class GemmRun {
 public:
  GemmRun(const Gemm& all, const Source& source, uint8_t* argmax, void* result)
      : all_(all), gemm_(all.gemm_), plan_(all.plan_), source_(source), argmax_(argmax),
        tiles_(all.format_ == PAIRS ? gemm_tiles_of_pairs : gemm_tiles), result_(static_cast<char*>(result)),
        result_bytes_(all.single_ ? sizeof(float) : sizeof(bfloat16)),
        streams_(all.single_ && streams(static_cast<float*>(result),
                                        gemm_.batch * product(gemm_.size) * gemm_.channels_out /
                                            product(all.epilogue_.pool),
                                        gemm_.out())) {
    if (all.pools_in_scratch()) epilogue_of_tile_ = nullptr;
    else if (plan_.pooling == Pooling::IN_TILE) epilogue_of_tile_ = plan_.pool[1] == 1 ? pool_sums<1> : pool_sums<2>;
    else if (plan_.pooling == Pooling::RELU) epilogue_of_tile_ = rectify_sums;
    else if (all.epilogue_.kind == Epilogue::CLAMP) epilogue_of_tile_ = clamp_sums;
    else epilogue_of_tile_ = !all.single_ ? store_sums<bfloat16> : streams_ ? store_sums<float> : nullptr;
    if (streams_) CORNU_PATH(gemm_streams);
  }

  void run(const Pool& pool) const {
    parallel_for(pool, plan_.items(), [&](ix item) { run_item(plan_.item(gemm_, item)); });
  }

 private:
  // What an item of work reads and writes.
  struct Frame {
    GemmPlan::Item item;
    Region region;  // of each image, as it lies at `data`
    const float* data;
    ix image_floats;
    ix size[3];     // of the results; of what is pooled, if tiles do that
    ix first;       // which number of the whole result is the first at `results`
    char* results;
  };
  // A phase, as far as it belongs to the item.
  struct Part {
    ix start[3], count[3], step[3];
    ix in_plane, out_row, out_plane;
    ix number;  // of the phase
    std::vector<Segment> segments;
    const float* own_weights;  // of the one block, if it is packed only now
    Panel panel;
  };

  void run_item(const GemmPlan::Item& item) const {
    Frame frame{item, plan_.seen(gemm_, source_.size, item), source_.data + item.first_image * source_.floats(),
                source_.floats(), {gemm_.size[0], gemm_.size[1], gemm_.size[2]}, 0, result_};
    if (plan_.copies) frame.image_floats = frame.region.pixels() * gemm_.channels_in;
    Scratch copy(plan_.copies ? item.images * frame.image_floats : 0);
    read(copy.data(), frame);
    if (all_.pools_in_scratch()) frame.size[plan_.axis] = item.part_end - item.part_begin;
    Scratch unpooled(all_.pools_in_scratch() ? item.images * product(frame.size) * gemm_.channels_out : 0);
    for (int a = 0; a < 3; ++a) frame.size[a] /= plan_.pool[a];
    if (all_.pools_in_scratch()) frame.results = reinterpret_cast<char*>(unpooled.data());
    else {
      frame.first = item.first_image * product(frame.size) * gemm_.channels_out;
      frame.results += frame.first * result_bytes_;
    }
    for (size_t phase = 0; phase < gemm_.phases.size(); ++phase) run_phase(frame, phase);
    if (all_.pools_in_scratch()) pool(frame, unpooled.data());
  }

  void read(float* copy, Frame& frame) const {
    if (plan_.copies) {
      for (ix i = 0; i < frame.item.images; ++i)
        copy_region(source_, frame.item.first_image + i, frame.region, copy + i * frame.image_floats);
      frame.data = copy;
    } else if (plan_.parts > 1) {
      // The whole image is there; its part begins later.
      const ix per[3] = {source_.size[1] * source_.size[2], source_.size[2], 1};
      frame.data += frame.region.from[plan_.axis] * per[plan_.axis] * gemm_.channels_in;
      for (int a = 0; a < 3; ++a) frame.region.from[a] = 0, frame.region.to[a] = source_.size[a];
    }
  }

  void run_phase(const Frame& frame, ix number) const {
    const Phase& phase = gemm_.phases[number];
    const int axis = plan_.axis;
    Part part;
    part.number = number;
    for (int a = 0; a < 3; ++a)
      part.start[a] = phase.start[a], part.count[a] = phase.count[a], part.step[a] = phase.step[a];
    if (all_.pools_in_scratch() || plan_.parts > 1) part.count[axis] = frame.item.part_end - frame.item.part_begin;
    if (!all_.pools_in_scratch() && plan_.parts > 1) part.start[axis] = frame.item.part_begin;
    if (product(part.count) <= 0) return;
    part.segments = segments_of(gemm_, phase, frame.region);
    const ix in_row = frame.region.row() * gemm_.channels_in;
    part.in_plane = gemm_.in_step[0] * frame.region.length(1) * in_row;
    part.out_row = frame.size[2] * gemm_.channels_out;
    part.out_plane = frame.size[1] * part.out_row;
    Panel& panel = part.panel;
    panel.segments = part.segments.data();
    panel.num_segments = part.segments.size();
    panel.streams = streams_ && !all_.pools_in_scratch();
    panel.in_row = gemm_.in_step[1] * in_row;
    panel.in_pixel = gemm_.in_step[2] * gemm_.channels_in;
    panel.out_row = phase.step[1] * part.out_row;
    panel.out_pixel = phase.step[2] * gemm_.channels_out;
    if (all_.depthwise_) run_depthwise(frame, part);
    else run_blocks(frame, part);
  }

  void run_depthwise(const Frame& frame, const Part& part) const {
    const Phase& phase = gemm_.phases[part.number];
    const ix channels = gemm_.channels_in, taps = phase.taps.size();
    Scratch weights(taps * channels);
    std::vector<ix> offsets;
    for (ix t = 0; t < taps; ++t) {
      memcpy(weights.data() + t * channels, all_.weights_ + phase.taps[t].weight * channels, channels * sizeof(float));
      offsets.push_back(part.segments[t].offset);
    }
    const auto row = [&](ix i, ix d, ix h) {
      return reinterpret_cast<float*>(frame.results) +
             (i * frame.size[0] + part.start[0] + d * part.step[0]) * part.out_plane +
             (part.start[1] + h * part.step[1]) * part.out_row + part.start[2] * channels;
    };
    for (ix i = 0; i < frame.item.images; ++i)
      for (ix d = 0; d < part.count[0]; ++d)
        for (ix h = 0; h < part.count[1]; ++h) {
          depthwise_row({frame.data + i * frame.image_floats + d * part.in_plane + h * part.panel.in_row,
                         part.panel.in_pixel, offsets.data(), weights.data(), taps, channels, part.count[2],
                         row(i, d, h), part.panel.out_pixel});
          if (all_.epilogue_.kind == Epilogue::CLAMP) clamp_row(row(i, d, h), part.count[2], part.panel.out_pixel);
        }
  }

  void run_blocks(const Frame& frame, Part& part) const {
    const PackedWeights& weights = *all_.packed_[part.number];
    const ix blocks = weights.blocks().size(), taps = gemm_.phases[part.number].taps.size();
    Scratch own_weights(weights.is_lazy() ? taps * gemm_.in() * WIDE * LANES : 0);
    part.own_weights = weights.is_lazy() ? own_weights.data() : nullptr;
    if (plan_.by_blocks) {
      if (weights.is_lazy()) weights.pack(0, weights.blocks()[frame.item.block], own_weights.data());
      run_planes(frame, part, 0, frame.item.block, 1);
      return;
    }
    // If the weights stay in the cache, the results are written in their order: all blocks of a few pixels. Else
    // a block is done with before the next is read.
    const ix together = weights.per_group() <= FEW_WEIGHTS ? blocks : 1;
    if (together > 1) CORNU_PATH(gemm_all_blocks);
    else if (blocks > 1) CORNU_PATH(gemm_each_block);
    for (ix group = 0; group < gemm_.groups; ++group)
      for (ix first = 0; first < blocks; first += together) run_planes(frame, part, group, first, together);
  }

  void run_planes(const Frame& frame, Part& part, ix group, ix first_block, ix blocks) const {
    for (ix i = 0; i < frame.item.images; ++i)
      for (ix d = 0; d < part.count[0]; ++d) {
        const ix plane = i * frame.size[0] + part.start[0] + d * part.step[0];
        run_rows(part, frame, frame.data + i * frame.image_floats + d * part.in_plane + group * gemm_.in(),
                 plane * part.out_plane + part.start[2] / plan_.pool[2] * gemm_.channels_out + group * gemm_.out(),
                 group, first_block, blocks);
      }
  }

  // The rows of a plane of the source at `in`, whose results begin with number `out`.
  void run_rows(Part& part, const Frame& frame, const float* in, ix out, ix group, ix first_block, ix blocks) const {
    const bool pools = plan_.pooling == Pooling::IN_TILE;
    const ix together = pools ? plan_.pool[1] : rows_at_once(part.count[2], MOST_POSITIONS);
    Panel& panel = part.panel;
    for (ix h = 0; h < part.count[1];) {
      const ix rows = std::min(together, part.count[1] - h);
      const ix out_row = out + (part.start[1] + h * part.step[1]) / plan_.pool[1] * part.out_row;
      for (ix w = 0; w < part.count[2];) {
        const ix pixels = pools ? 2 * next_piece((part.count[2] - w) / 2, MOST_POSITIONS / (2 * rows))
                                : next_piece(part.count[2] - w, MOST_POSITIONS);
        panel.in = in + h * panel.in_row + w * panel.in_pixel;
        for (ix b = first_block; b < first_block + blocks; ++b)
          run_tile(part, frame, out_row + w / plan_.pool[2] * panel.out_pixel, group, b, rows, pixels);
        w += pixels;
      }
      h += rows;
    }
  }

  void run_tile(Part& part, const Frame& frame, ix out, ix group, ix b, ix rows, ix pixels) const {
    const PackedWeights& weights = *all_.packed_[part.number];
    const Block& block = weights.blocks()[b];
    Panel& panel = part.panel;
    panel.weights = part.own_weights ? part.own_weights : weights.of(group, block);
    panel.channels = gemm_.out() - block.first;
    const ix to = out + block.first;
    panel.out = frame.results + to * result_bytes_;
    if (all_.ends_tiles()) {
      panel.bias = all_.bias_.data() + group * gemm_.out() + block.first;
      panel.low = all_.epilogue_.low;
      panel.high = all_.epilogue_.high;
      if (argmax_) panel.argmax = argmax_ + frame.first + to;
    }
    // Whole vectors without an epilogue are stored directly.
    const bool whole = panel.channels >= block.vectors * LANES;
    panel.epilogue = epilogue_of_tile_ || whole ? epilogue_of_tile_ : store_sums<float>;
    tiles_.of(rows, pixels, block.vectors)(panel);
  }

  // Relu and max-pooling of what lies in scratch memory.
  void pool(const Frame& frame, const float* unpooled) const {
    ix first = frame.item.part_begin / plan_.unit, all = 1;
    for (int a = plan_.axis + 1; a < 3; ++a) first *= gemm_.size[a] / all_.epilogue_.pool[a];
    for (int a = 0; a < 3; ++a) all *= gemm_.size[a] / all_.epilogue_.pool[a];
    for (ix i = 0; i < frame.item.images; ++i) {
      const ix to = ((frame.item.first_image + i) * all + first) * gemm_.channels_out;
      relu_and_pool<false>(unpooled + i * product(frame.size) * gemm_.channels_out, frame.size, gemm_.channels_out,
                           all_.epilogue_, reinterpret_cast<float*>(result_) + to, argmax_ + to, streams_);
    }
  }

  // The row of results of a depthwise convolution, which has no tiles, with its bias and between its bounds.
  void clamp_row(float* row, ix pixels, ix step) const {
    const Vector low = broadcast(all_.epilogue_.low), high = broadcast(all_.epilogue_.high);
    for (ix p = 0; p < pixels; ++p, row += step)
      for (ix c = 0; c < gemm_.channels_out; c += LANES) {
        const ix left = gemm_.channels_out - c;
        store_first(row + c, clamp(load_first(row + c, left) + load(all_.bias_.data() + c), low, high), left);
      }
  }

  const Gemm& all_;
  const ImplicitGemm& gemm_;
  const GemmPlan& plan_;
  const Source& source_;
  uint8_t* const argmax_;
  const Tiles<Panel>& tiles_;
  char* const result_;
  const ix result_bytes_;
  const bool streams_;
  decltype(Panel::epilogue) epilogue_of_tile_;
};

void Gemm::run(const Pool& pool, const Source& source, uint8_t* argmax, void* result) const {
  GemmRun(*this, source, argmax, result).run(pool);
}

// ---- several pixels as one

Epilogue PixelGemm::repeated(const Epilogue& given, std::vector<float>& bias, ix channels, ix pixels) {
  Epilogue epilogue = given;
  for (ix pixel = 0; given.bias && pixel < pixels; ++pixel) bias.insert(bias.end(), given.bias, given.bias + channels);
  if (given.bias) epilogue.bias = bias.data();
  return epilogue;
}

PixelGemm::PixelGemm(const Pool& pool, const PixelPacking& packing, const ImplicitGemm& given, bool is_plain,
                     const float* weights, const Epilogue& epilogue, bool keeps)
    : weights_(pack_pixel_weights(packing, given, weights)),
      gemm_(pool, packing.gemm, is_plain, weights_.data(),
            repeated(epilogue, bias_, given.channels_out, packing.pixels), SINGLES, true, keeps) {}

void PixelGemm::run(const Pool& pool, const Source& source, uint8_t* argmax, float* result) const {
  CORNU_PATH(pixel_packing);
  gemm_.run(pool, source, argmax, result);
}

bool PixelGemm::takes(const Pool& pool, ix batch, const Source& source) {
  std::atomic<bool> finite{true};
  parallel_for(pool, batch, [&](ix n) {
    if (!all_finite(source.data + n * source.floats(), source.floats())) finite = false;
  });
  if (!finite) CORNU_PATH(pixel_packing_not_finite);
  return finite;
}

CORNU_END
