// Convolution and its two gradients, as products of matrices that are never written down.
//
// See docs/kernels.md for pictures of the blocking.

#include <algorithm>
#include <atomic>
#include <type_traits>
#include <vector>

#include "depthwise.h"
#include "finish.h"
#include "image.h"
#include "kernels.h"
#include "sparse.h"
#include "tiles.h"
#include "winograd.h"

CORNU_BEGIN
namespace {

// ---- gathering: each result is a sum over what its window sees

struct Tap {
  ix position[3];  // in the region, from where the result's window begins
  ix weight;       // which place of the kernel
};

// Results that see the same taps: all of a convolution, and for the gradient of the image those that
// have the same remainder by the strides.
struct Phase {
  ix start[3], step[3], count[3];
  std::vector<Tap> taps;
};

struct Gather {
  ix batch;
  ix size[3];  // of the results' array
  ix channels_in, channels_out, groups;
  ix in_step[3];
  ix before[3], after[3];  // how far windows reach beyond the source
  std::vector<Phase> phases;
  // Weight (tap, in, out) of a group is at tap * tap_step + in * in_step + out * out_step.
  ix weight_tap, weight_in, weight_out, weight_group;
};

// ---- what becomes of a tile's sums

// For each vector of sums: function(sum, which vector of channels, where it goes, how many of its lanes are
// results).
template <int V, class Function>
CORNU_INLINE void for_each_whole_sum(const Panel& panel, const Vector* sum, int rows, int places,
                                     const Function& function) {
  for (int r = 0; r < rows; ++r)
    for (int p = 0; p < places; ++p, sum += V)
      CORNU_UNROLL for (int v = 0; v < V; ++v)
        function(sum[v], v, r * panel.out_row + p * panel.out_pixel + v * LANES, LANES);
}
template <class Function>
CORNU_INLINE void for_each_sum(const Panel& panel, const Vector* sum, int rows, int places, int vectors,
                               const Function& function) {
  if (panel.channels >= WIDE * LANES && vectors == WIDE)
    return for_each_whole_sum<WIDE>(panel, sum, rows, places, function);
  for (int r = 0; r < rows; ++r)
    for (int p = 0; p < places; ++p)
      for (int v = 0; v < vectors; ++v, ++sum) {
        const ix count = panel.channels - v * LANES;
        if (count > 0)
          function(*sum, v, r * panel.out_row + p * panel.out_pixel + v * LANES, count);
      }
}

// The bias of each vector; minus zero changes nothing.
struct Biases {
  Vector of[WIDE];
  Biases(const Panel& panel, int vectors) {
    for (int v = 0; v < WIDE; ++v)
      of[v] = panel.bias && v < vectors ? load(panel.bias + v * LANES) : broadcast(-0.f);
  }
};

template <class Result>
void finish_sums(const Panel& panel, const Vector* sums, int rows, int places, int vectors) {
  Result* out = static_cast<Result*>(panel.out);
  const Biases bias(panel, vectors);
  const Vector least = broadcast(panel.activation == RELU ? 0 : -__builtin_inff());
  for_each_sum(panel, sums, rows, places, vectors, [&](Vector sum, int v, ix to, ix count) {
    sum += bias.of[v];
    // NaN is not below anything, and so stays.
    sum = sum < least ? least : sum;
    if constexpr (std::is_same_v<Result, float>) store_first(out + to, sum, count, panel.streams);
    else store_first(out + to, sum, count);
  });
}

void pick_sums(const Panel& panel, const Vector* sums, int rows, int places, int vectors) {
  float* out = static_cast<float*>(panel.out);
  const Biases bias(panel, vectors);
  for_each_sum(panel, sums, rows, places, vectors, [&](Vector sum, int v, ix to, ix count) {
    store_picked(sum + bias.of[v], Integers{}, out + to, panel.picks + to, count, panel.streams);
  });
}

// With relu and max-pooling of pairs of pixels, of all rows at once.
template <int R>
void pool_sums(const Panel& panel, const Vector* sums, int, int places, int vectors) {
  float* out = static_cast<float*>(panel.out);
  for (int v = 0; v < vectors; ++v) {
    const ix count = panel.channels - v * LANES;
    if (count <= 0) break;
    const Vector bias = load(panel.bias + v * LANES);
    for (int p = 0; p + 1 < places; p += 2) {
      Vector best = sums[p * vectors + v] + bias;
      Integers winner = {};
      CORNU_UNROLL for (int k = 1; k < 2 * R; ++k)
        compare(sums[(k / 2 * places + p + k % 2) * vectors + v] + bias, Integers{} + k, best, winner);
      const ix to = p / 2 * panel.out_pixel + v * LANES;
      store_picked(best, winner, out + to, panel.picks + to, count, panel.streams);
    }
  }
}

// The weights in the order in which tiles read them: by block of channels, tap, and channel seen.
struct PackedWeights {
  struct Block {
    ix first, vectors, offset;
  };
  const Gather& gather;
  const Phase& phase;
  const float* kernel;
  std::vector<Block> blocks;  // of one group; each group has the same
  ix per_group;               // floats in all blocks
  Scratch memory;

  // If it is `lazy`, blocks are packed when they are needed, elsewhere.
  PackedWeights(const Pool& pool, const Gather& gather, const Phase& phase, const float* kernel,
                bool lazy)
      : gather(gather), phase(phase), kernel(kernel), blocks(blocks_of(gather)),
        per_group(floats_per_tap() * ix(phase.taps.size())),
        memory(lazy ? 0 : per_group * gather.groups) {
    if (lazy) return;
    const ix num_blocks = blocks.size(), taps = phase.taps.size();
    const ix jobs = gather.groups * num_blocks * taps;
    parallel_for(per_group * gather.groups < (1 << 15) ? Pool{1, {}} : pool, jobs, [&](ix job) {
      const ix tap = job % taps, b = job / taps % num_blocks, group = job / taps / num_blocks;
      pack(group, blocks[b], tap, memory.data() + group * per_group + blocks[b].offset * taps);
    });
  }

  // What one tap of a block reads, in its place after the taps before it.
  void pack(ix group, const Block& block, ix tap, float* to) const {
    const ix in = gather.channels_in / gather.groups, out = gather.channels_out / gather.groups;
    const ix width = block.vectors * LANES, filled = std::min(width, out - block.first);
    const float* from = kernel + group * gather.weight_group +
                        phase.taps[tap].weight * gather.weight_tap +
                        block.first * gather.weight_out;
    to += tap * in * width;
    if (gather.weight_out != 1) {
      transpose(from, gather.weight_out, filled, in, to, width, width);
      return;
    }
    for (ix i = 0; i < in; ++i, to += width, from += gather.weight_in)
      for (ix o = 0; o < width; o += LANES) store(to + o, load_first(from + o, filled - o));
  }

  ix floats_per_tap() const {
    const Block& last = blocks.back();
    return last.offset + gather.channels_in / gather.groups * last.vectors * LANES;
  }
  static std::vector<Block> blocks_of(const Gather& gather) {
    std::vector<Block> blocks;
    const ix in = gather.channels_in / gather.groups, out = gather.channels_out / gather.groups;
    for (ix first = 0, offset = 0; first < out;) {
      const ix vectors = next_vectors(out - first);
      blocks.push_back({first, vectors, offset});
      offset += in * vectors * LANES;
      first += vectors * LANES;
    }
    return blocks;
  }
};

// Which floats of the source the taps read, as few runs of neighbours as possible.
std::vector<Segment> segments_of(const Gather& gather, const Phase& phase, const Region& region) {
  std::vector<Segment> segments;
  const ix in = gather.channels_in / gather.groups;
  for (const Tap& tap : phase.taps) {
    const ix place = (tap.position[0] * region.length(1) + tap.position[1]) * region.row();
    const ix offset = (place + tap.position[2]) * gather.channels_in;
    if (gather.groups == 1 && !segments.empty() &&
        segments.back().offset + segments.back().count == offset)
      segments.back().count += in;
    else
      segments.push_back({offset, in});
  }
  return segments;
}

// Where Winograd's method is a choice, it is the better one for more channels to read than these,
// though it leaves vectors half empty.
constexpr ix FEW_READ = 32;

// A gather of few channels, of which several neighbouring pixels fill a vector, as one of pixels with
// all their channels. Their windows are put beside each other, with zeros where one does not look:
//
//   pixel w       k0 k1 k2  0
//   pixel w + 1    0 k0 k1 k2
struct Beside {
  ix pixels = 1;
  Gather gather;
  std::vector<float> kernel, bias;

  // `width`: of all results, also of those that no window of the pooling covers. Without `weights`, only
  // `pixels` is found out.
  Beside(const Gather& given, ix width, const float* weights, const Finish& finish, bool has_winograd)
      : gather(given) {
    const ix in = given.channels_in, out = given.channels_out;
    if (given.groups != 1 || given.phases.size() != 1 || (has_winograd && in > FEW_READ)) return;
    ix most = LANES / out;
    while (most > 1 && width % most != 0) --most;
    if (most < 2 || is_depthwise(given.groups, in, out)) return;
    const std::vector<Tap>& taps = given.phases[0].taps;
    std::vector<Tap> all;
    for (ix pixel = 0; pixel < most; ++pixel)
      for (Tap tap : taps) {
        tap.position[2] += pixel * given.in_step[2];
        all.push_back(tap);
      }
    const auto before = [](const Tap& a, const Tap& b) {
      return std::lexicographical_compare(a.position, a.position + 3, b.position, b.position + 3);
    };
    const auto same = [](const Tap& a, const Tap& b) {
      return std::equal(a.position, a.position + 3, b.position);
    };
    std::sort(all.begin(), all.end(), before);
    all.erase(std::unique(all.begin(), all.end(), same), all.end());
    // With narrow windows, the zeros cost what the full vectors gain.
    if (4 * ix(all.size()) > 3 * most * ix(taps.size())) return;
    pixels = most;
    if (!weights) return;
    const ix wide = most * out;
    kernel.resize(all.size() * in * wide);
    for (ix pixel = 0; pixel < most; ++pixel)
      for (Tap tap : taps) {
        tap.position[2] += pixel * given.in_step[2];
        const ix place = std::lower_bound(all.begin(), all.end(), tap, before) - all.begin();
        const float* from = weights + tap.weight * given.weight_tap;
        for (ix i = 0; i < in; ++i)
          for (ix o = 0; o < out; ++o)
            kernel[(place * in + i) * wide + pixel * out + o] =
                from[i * given.weight_in + o * given.weight_out];
      }
    for (size_t t = 0; t < all.size(); ++t) all[t].weight = t;
    for (ix pixel = 0; finish.bias && pixel < most; ++pixel)
      bias.insert(bias.end(), finish.bias, finish.bias + out);
    gather.phases[0].taps = std::move(all);
    gather.phases[0].count[2] /= most;
    gather.size[2] /= most;
    gather.in_step[2] *= most;
    gather.channels_out = gather.weight_in = wide;
    gather.weight_tap = in * wide;
    gather.weight_out = 1;
  }
};

constexpr ix FEW_WEIGHTS = 4096;  // that stay in the nearest cache

// `format` is that of the source and the kernel; results are float32 if they are `single`, or bfloat16.
void run_gather(const Pool& pool, const Gather& gather, const Source& source, const float* kernel,
                const Finish& finish, Format format, bool single, void* result) {
  const bool depthwise = format == SINGLES &&
                         is_depthwise(gather.groups, gather.channels_in, gather.channels_out);
  // Small windows are pooled in registers, others from scratch memory.
  const bool rectifies = finish.rectifies() && !depthwise;
  const bool pools_at_once = finish.picks && finish.pooling[0] == 1 && finish.pooling[1] <= 2 &&
                             finish.pooling[2] == 2 && !depthwise;
  const bool pools = finish.picks && !rectifies && !pools_at_once;
  const Tiles<Panel>& tiles = format == PAIRS ? gather_tiles_of_pairs : gather_tiles;
  const ix pooling[3] = {1, pools_at_once ? finish.pooling[1] : 1, pools_at_once ? 2 : 1};
  const ix result_bytes = single ? sizeof(float) : sizeof(uint16_t);
  const bool streams_out =
      single && streams(static_cast<float*>(result),
                        gather.batch * product(gather.size) * gather.channels_out / product(finish.pooling),
                        gather.channels_out / gather.groups);
  const float* bias = pools ? nullptr : finish.bias;
  const Activation activation = finish.activation;
  const auto finish_tile = pools_at_once ? (pooling[1] == 1 ? pool_sums<1> : pool_sums<2>)
                           : rectifies ? pick_sums
                           : single ? finish_sums<float> : finish_sums<uint16_t>;
  const bool finishes = !single || pools_at_once || rectifies || bias || activation != LINEAR ||
                        (streams_out && !pools);
  const ix out = gather.channels_out / gather.groups, in = gather.channels_in / gather.groups;
  // A whole vector may be read from the end of a bias.
  Scratch padded_bias(bias ? gather.channels_out + WIDE * LANES : 0);
  if (bias) memcpy(padded_bias.data(), bias, gather.channels_out * sizeof(float));

  int axis = 0;
  while (axis < 2 && gather.size[axis] == 1) ++axis;
  const auto some = [](const ix (&n)[3]) { return n[0] > 0 || n[1] > 0 || n[2] > 0; };
  const bool copies = !source.plain() || some(gather.before) || some(gather.after);
  // Where a large kernel meets few pixels, its blocks are items of work, and packed by who needs them.
  const bool by_blocks = !depthwise && gather.phases.size() == 1 && gather.groups == 1 &&
                         gather.batch == 1 && axis == 2 && !copies && !pools &&
                         in * out > std::max(FEW_WEIGHTS, gather.size[2] * in);
  std::vector<std::unique_ptr<PackedWeights>> packed;
  for (const Phase& phase : gather.phases)
    if (!depthwise)
      packed.push_back(std::make_unique<PackedWeights>(pool, gather, phase, kernel, by_blocks));
  const ix shares = by_blocks ? packed[0]->blocks.size() : 1;

  // With few images, a part of each is an item of work too.
  ix parts = 1;
  if (gather.phases.size() == 1 && gather.batch < 4 * pool.threads && !by_blocks)
    parts = std::min((4 * pool.threads + gather.batch - 1) / gather.batch,
                     axis == 2 ? (gather.size[2] + 4 * MOST_PLACES - 1) / (4 * MOST_PLACES)
                               : gather.size[axis]);
  // As many for each thread: of three, one thread would do two.
  if (parts > pool.threads && parts < 4 * pool.threads) parts -= parts % pool.threads;
  // What is pooled must still be in the cache.
  const ix pooled_floats = pools ? product(gather.size) * gather.channels_out : 0;
  parts = std::max(parts, std::min(gather.size[axis], pooled_floats >> 17));
  // Parts begin where windows of the pooling do.
  const ix unit = finish.pooling[axis];
  parts = std::clamp<ix>(parts, 1, gather.size[axis] / unit);
  // And with small images, several are one item, so that weights are read once for all of them.
  const ix together = product(gather.size) <= 64 && parts == 1
                          ? std::clamp<ix>(gather.batch / (4 * pool.threads), 1, 8) : 1;
  const ix chunks = (gather.batch + together - 1) / together;

  parallel_for(pool, chunks * parts * shares, [&](ix job) {
    const ix share = job % shares, item = job / shares;
    const ix first_image = item / parts * together;
    const ix images = std::min(together, gather.batch - first_image);
    const ix part = item % parts;
    const ix units = gather.size[axis] / unit;
    const ix low = units * part / parts * unit, high = units * (part + 1) / parts * unit;
    Region region;
    for (int a = 0; a < 3; ++a) {
      region.from[a] = -gather.before[a];
      region.to[a] = source.size[a] + gather.after[a];
    }
    if (parts > 1) {
      ix reach = 0;
      for (const Tap& tap : gather.phases[0].taps) reach = std::max(reach, tap.position[axis]);
      region.to[axis] = region.from[axis] + (high - 1) * gather.in_step[axis] + reach + 1;
      region.from[axis] += low * gather.in_step[axis];
    }
    const ix image_floats = copies ? region.places() * gather.channels_in : source.floats();
    Scratch copy(copies ? images * image_floats : 0);
    const float* data = source.data + first_image * source.floats();
    if (copies) {
      for (ix i = 0; i < images; ++i)
        copy_region(source, first_image + i, region, copy.data() + i * image_floats);
      data = copy.data();
    } else if (parts > 1) {
      // The whole image is there; its part begins later.
      const ix per[3] = {source.size[1] * source.size[2], source.size[2], 1};
      data += region.from[axis] * per[axis] * gather.channels_in;
      for (int a = 0; a < 3; ++a) region.from[a] = 0, region.to[a] = source.size[a];
    }
    const ix in_row = region.row() * gather.channels_in, in_plane = region.length(1) * in_row;
    ix dense[3] = {gather.size[0], gather.size[1], gather.size[2]};
    if (pools) dense[axis] = high - low;
    Scratch unpooled(pools ? images * product(dense) * gather.channels_out : 0);
    for (int a = 0; a < 3; ++a) dense[a] /= pooling[a];
    // Results are counted from here.
    const ix first_result = pools ? 0 : first_image * product(dense) * gather.channels_out;
    char* const results = pools ? reinterpret_cast<char*>(unpooled.data())
                                : static_cast<char*>(result) + first_result * result_bytes;
    const ix out_row = dense[2] * gather.channels_out, out_plane = dense[1] * out_row;
    for (size_t f = 0; f < gather.phases.size(); ++f) {
      const Phase& phase = gather.phases[f];
      const std::vector<Segment> segments = segments_of(gather, phase, region);
      ix start[3], count[3];
      for (int a = 0; a < 3; ++a) start[a] = phase.start[a], count[a] = phase.count[a];
      if (pools) count[axis] = high - low;
      else if (parts > 1) start[axis] = low, count[axis] = high - low;
      if (product(count) <= 0) continue;
      Panel panel;
      panel.segments = segments.data();
      panel.num_segments = segments.size();
      panel.activation = activation;
      panel.streams = streams_out && !pools;
      panel.in_row = gather.in_step[1] * in_row;
      panel.in_pixel = gather.in_step[2] * gather.channels_in;
      panel.out_row = phase.step[1] * out_row;
      panel.out_pixel = phase.step[2] * gather.channels_out;
      if (depthwise) {
        const ix channels = gather.channels_in, taps = phase.taps.size();
        Scratch weights(taps * channels);
        std::vector<ix> offsets;
        for (ix t = 0; t < taps; ++t) {
          memcpy(weights.data() + t * channels, kernel + phase.taps[t].weight * channels,
                 channels * sizeof(float));
          offsets.push_back(segments[t].offset);
        }
        for (ix i = 0; i < images; ++i)
          for (ix d = 0; d < count[0]; ++d)
            for (ix h = 0; h < count[1]; ++h)
              depthwise_row({data + i * image_floats + d * gather.in_step[0] * in_plane +
                                 h * panel.in_row,
                             panel.in_pixel, offsets.data(), weights.data(), taps, channels,
                             count[2], bias, activation,
                             reinterpret_cast<float*>(results) + i * dense[0] * out_plane +
                                 (start[0] + d * phase.step[0]) * out_plane +
                                 (start[1] + h * phase.step[1]) * out_row + start[2] * channels,
                             panel.out_pixel});
        continue;
      }
      const PackedWeights& weights = *packed[f];
      const ix rows_together = pools_at_once ? pooling[1] : rows_at_once(count[2]);
      // If the weights stay in the cache, the results are written in their order: all blocks of a
      // few pixels. Else a block is done with before the next is read.
      const ix blocks = weights.blocks.size(), taps = phase.taps.size();
      const ix blocks_together = weights.per_group <= FEW_WEIGHTS ? blocks : 1;
      const ix begin = by_blocks ? share : 0, end = by_blocks ? share + 1 : blocks;
      Scratch own_weights(by_blocks ? taps * in * WIDE * LANES : 0);
      for (ix tap = 0; by_blocks && tap < taps; ++tap)
        weights.pack(0, weights.blocks[share], tap, own_weights.data());
      for (ix group = 0; group < gather.groups; ++group)
        for (ix first = begin; first < end; first += blocks_together)
          for (ix i = 0; i < images; ++i)
            for (ix d = 0; d < count[0]; ++d)
              for (ix h = 0; h < count[1];) {
                const ix rows = std::min(rows_together, count[1] - h);
                const float* in_here = data + i * image_floats + d * gather.in_step[0] * in_plane +
                                       h * panel.in_row + group * in;
                const ix out_here = i * dense[0] * out_plane +
                                    (start[0] + d * phase.step[0]) * out_plane +
                                    (start[1] + h * phase.step[1]) / pooling[1] * out_row +
                                    start[2] / pooling[2] * gather.channels_out + group * out;
                for (ix w = 0; w < count[2];) {
                  const ix pixels = pools_at_once
                                        ? 2 * next_piece((count[2] - w) / 2, MOST_PLACES / (2 * rows))
                                        : next_piece(count[2] - w, MOST_PLACES);
                  panel.in = in_here + w * panel.in_pixel;
                  for (ix b = first; b < first + blocks_together; ++b) {
                    const PackedWeights::Block& block = weights.blocks[b];
                    panel.weights = by_blocks ? own_weights.data()
                                              : weights.memory.data() + group * weights.per_group +
                                                    block.offset * taps;
                    panel.bias = bias ? padded_bias.data() + group * out + block.first : nullptr;
                    panel.channels = out - block.first;
                    const ix to = out_here + w / pooling[2] * panel.out_pixel + block.first;
                    panel.out = results + to * result_bytes;
                    panel.picks = rectifies || pools_at_once ? finish.picks + first_result + to : nullptr;
                    // What is stored as it is needs no second look.
                    const bool whole = panel.channels >= block.vectors * LANES;
                    panel.finish = finishes || !whole ? finish_tile : nullptr;
                    tiles.of(rows, pixels, block.vectors)(panel);
                  }
                  w += pixels;
                }
                h += rows;
              }
    }
    if (!pools) return;
    ix first_pooled = low / unit;
    for (int a = axis + 1; a < 3; ++a) first_pooled *= gather.size[a] / finish.pooling[a];
    ix all_pooled = 1;
    for (int a = 0; a < 3; ++a) all_pooled *= gather.size[a] / finish.pooling[a];
    for (ix i = 0; i < images; ++i) {
      const ix to = ((first_image + i) * all_pooled + first_pooled) * gather.channels_out;
      relu_and_pool<false>(unpooled.data() + i * dense[0] * out_plane, dense, gather.channels_out, finish,
                           static_cast<float*>(result) + to, finish.picks + to, streams_out);
    }
  });
}

// Zero times what is not finite is no zero, so false is returned and nothing done then, too.
bool run_beside(const Pool& pool, const Beside& beside, const Source& source, Finish finish, float* result) {
  if (beside.pixels == 1) return false;
  std::atomic<bool> finite{true};
  parallel_for(pool, beside.gather.batch, [&](ix n) {
    if (!all_finite(source.data + n * source.floats(), source.floats())) finite = false;
  });
  if (!finite) return false;
  if (finish.bias) finish.bias = beside.bias.data();
  run_gather(pool, beside.gather, source, beside.kernel.data(), finish, SINGLES, true, result);
  return true;
}

// All pixels of a 1x1 convolution as one long row.
Window as_row(Window w) {
  w.size[2] = w.output[2] = w.batch * product(w.size);
  w.size[0] = w.size[1] = w.output[0] = w.output[1] = w.batch = 1;
  return w;
}

// Of one place there is nothing to share: each row of the kernel is read once, where it lies.
template <int V>
void row_times(const float* row, const float* kernel, ix in, ix out, ix first, const Finish& finish,
               float* result) {
  Vector sum[V] = {};
  for (ix i = 0; i < in; ++i)
    CORNU_UNROLL for (int v = 0; v < V; ++v)
      sum[v] += broadcast(row[i]) * load_first(kernel + i * out + first + v * LANES,
                                               V > 1 ? LANES : out - first);
  CORNU_UNROLL for (int v = 0; v < V; ++v) {
    const ix to = first + v * LANES, count = out - to;
    if (finish.bias) sum[v] += load_first(finish.bias + to, count);
    if (finish.picks) {
      store_picked(sum[v], Integers{}, result + to, finish.picks + to, count, false);
      continue;
    }
    if (finish.activation == RELU) sum[v] = sum[v] < Vector{} ? Vector{} : sum[v];
    store_first(result + to, sum[v], count);
  }
}
void row_times_kernel(const Pool& pool, const float* row, const float* kernel, ix in, ix out,
                      const Finish& finish, float* result) {
  constexpr int MANY = 8, SOME = 4;
  constexpr ix PIECE = MANY * LANES;
  parallel_for(pool, (out + PIECE - 1) / PIECE, [&](ix piece) {
    const ix end = std::min(out, (piece + 1) * PIECE);
    for (ix first = piece * PIECE; first < end;) {
      const ix left = end - first;
      const int vectors = left >= MANY * LANES ? MANY : left >= SOME * LANES ? SOME : 1;
      (vectors == MANY ? row_times<MANY> : vectors == SOME ? row_times<SOME> : row_times<1>)(
          row, kernel, in, out, first, finish, result);
      first += vectors * LANES;
    }
  });
}

void convolve(const Pool& pool, const Window& given, const float* image, const float* kernel,
              const Finish& finish, Format format, bool single, void* result) {
  float* const singles = static_cast<float*>(result);
  const bool row = is_pointwise(given) && product(finish.pooling) == 1;
  const Window w = row ? as_row(given) : given;
  if (format == SINGLES && row && w.size[2] == 1 && w.groups == 1) {
    row_times_kernel(pool, image, kernel, w.channels_in, w.channels_out, finish, singles);
    return;
  }
  const Source source{image, {w.size[0], w.size[1], w.size[2]}, w.channels_in, {}};
  Gather gather;
  gather.batch = w.batch;
  gather.channels_in = w.channels_in;
  gather.channels_out = w.channels_out;
  gather.groups = w.groups;
  gather.weight_tap = w.channels_in / w.groups * w.channels_out;
  gather.weight_in = w.channels_out;
  gather.weight_out = 1;
  gather.weight_group = w.channels_out / w.groups;
  Phase phase;
  for (int a = 0; a < 3; ++a) {
    // What no window of the pooling covers is not computed.
    gather.size[a] = phase.count[a] = w.output[a] / finish.pooling[a] * finish.pooling[a];
    gather.in_step[a] = w.strides[a];
    gather.before[a] = w.before[a];
    gather.after[a] = reach_after(w, a);
    phase.start[a] = 0;
    phase.step[a] = 1;
  }
  ix weight = 0;
  for_each_place(w.window, [&](const ix (&place)[3]) {
    Tap tap;
    for (int a = 0; a < 3; ++a) tap.position[a] = place[a] * w.dilation[a];
    tap.weight = weight++;
    phase.taps.push_back(tap);
  });
  gather.phases.push_back(std::move(phase));
  if (format == SINGLES) {
    const auto winograd = winograd_for(w).convolve;
    const bool pools = product(finish.pooling) != 1;
    const Beside beside(gather, w.output[2], pools ? nullptr : kernel, finish, winograd);
    if (!pools && run_beside(pool, beside, source, finish, singles)) return;
    // Where pixels would be put beside each other if nothing were pooled, the direct kernels give the
    // same bits.
    const bool direct = pools && beside.pixels > 1;
    if (winograd && !direct && winograd(pool, w, source, kernel, finish, singles)) return;
  }
  run_gather(pool, gather, source, kernel, finish, format, single, result);
}

}  // namespace

void convolution(const Pool& pool, const Window& w, const float* image, const float* kernel,
                 const float* bias, Activation activation, float* result) {
  Finish finish;
  finish.bias = bias;
  finish.activation = activation;
  convolve(pool, w, image, kernel, finish, SINGLES, true, result);
}

static Finish pooled_finish(const float* bias, const ix (&pooling)[3], uint8_t* picks) {
  Finish finish;
  finish.bias = bias;
  finish.picks = picks;
  std::copy(pooling, pooling + 3, finish.pooling);
  return finish;
}

void convolution_relu_pool(const Pool& pool, const Window& w, const ix (&pooling)[3],
                           const float* image, const float* kernel, const float* bias,
                           float* result, uint8_t* picks) {
  convolve(pool, w, image, kernel, pooled_finish(bias, pooling, picks), SINGLES, true, result);
}

// A number of the image was seen by the results whose window covered it. Numbers with the same
// remainder by the strides were seen through the same places of the kernel.
static void gather_input_gradient(const Pool& pool, const Window& given, const float* gradient,
                                  const Picks& picks, const float* kernel, Format format,
                                  void* result) {
  const bool row = is_pointwise(given) && product(picks.pool) == 1;
  const Window w = row ? as_row(given) : given;
  Source source{gradient, {w.output[0], w.output[1], w.output[2]}, w.channels_out, picks};
  Gather gather;
  gather.batch = w.batch;
  gather.channels_in = w.channels_out;
  gather.channels_out = w.channels_in;
  gather.groups = w.groups;
  gather.weight_tap = w.channels_in / w.groups * w.channels_out;
  gather.weight_in = 1;
  gather.weight_out = w.channels_out;
  gather.weight_group = w.channels_out / w.groups;
  for (int a = 0; a < 3; ++a) {
    gather.size[a] = w.size[a];
    gather.in_step[a] = 1;
    gather.before[a] = gather.after[a] = 0;
  }
  for_each_place(w.strides, [&](const ix (&remainder)[3]) {
    Phase phase;
    for (int a = 0; a < 3; ++a) {
      phase.start[a] = remainder[a];
      phase.step[a] = w.strides[a];
      phase.count[a] = (w.size[a] - remainder[a] + w.strides[a] - 1) / w.strides[a];
    }
    ix weight = 0;
    for_each_place(w.window, [&](const ix (&place)[3]) {
      Tap tap;
      tap.weight = weight++;
      for (int a = 0; a < 3; ++a) {
        const ix from = remainder[a] + w.before[a] - place[a] * w.dilation[a];
        if (from % w.strides[a] != 0) return;
        tap.position[a] = from / w.strides[a];
      }
      phase.taps.push_back(tap);
    });
    if (product(phase.count) <= 0) return;
    for (const Tap& tap : phase.taps)
      for (int a = 0; a < 3; ++a) {
        gather.before[a] = std::max(gather.before[a], -tap.position[a]);
        gather.after[a] =
            std::max(gather.after[a], tap.position[a] + phase.count[a] - w.output[a]);
      }
    // Places run backwards through the gradient.
    std::reverse(phase.taps.begin(), phase.taps.end());
    gather.phases.push_back(std::move(phase));
  });
  for (Phase& phase : gather.phases)
    for (Tap& tap : phase.taps)
      for (int a = 0; a < 3; ++a) tap.position[a] += gather.before[a];
  if (format == SINGLES) {
    float* const singles = static_cast<float*>(result);
    const auto winograd = winograd_for(w).gradient_of_input;
    const Beside beside(gather, gather.size[2], kernel, Finish{}, winograd);
    if (run_beside(pool, beside, source, Finish{}, singles)) return;
    if (winograd && winograd(pool, w, source, kernel, singles)) return;
  }
  run_gather(pool, gather, source, kernel, Finish{}, format, format == SINGLES, result);
}

void input_gradient(const Pool& pool, const Window& w, const float* gradient, const Picks& picks,
                    const float* kernel, float* result) {
  if ((is_sparse(w, picks) || (has_narrow_image(w, picks) && !winograd_for(w).gradient_of_input)) &&
      sparse_input_gradient(pool, w, gradient, picks, kernel, result))
    return;
  gather_input_gradient(pool, w, gradient, picks, kernel, SINGLES, result);
}

// ---- pairs of bfloat16

#ifdef CORNU_PAIRS

// A convolution with its finish. Two neighbouring bfloat16 of an image are as one float is; of a kernel,
// the two that meet them are put beside each other.
static void convolve_pairs(const Pool& pool, Window w, const uint16_t* image, const uint16_t* kernel,
                           const Finish& finish, bool single, void* result) {
  const ix out = w.channels_out, pairs = product(w.window) * (w.channels_in / w.groups) / 2;
  Scratch interleaved(pairs * out);
  uint16_t* to = reinterpret_cast<uint16_t*>(interleaved.data());
  for (ix pair = 0; pair < pairs; ++pair, kernel += 2 * out)
    for (ix o = 0; o < out; ++o, to += 2) to[0] = kernel[o], to[1] = kernel[out + o];
  w.channels_in /= 2;
  convolve(pool, w, reinterpret_cast<const float*>(image), interleaved.data(), finish, PAIRS, single,
           result);
}

void convolution_of_pairs(const Pool& pool, const Window& w, const uint16_t* image,
                          const uint16_t* kernel, uint16_t* result) {
  convolve_pairs(pool, w, image, kernel, Finish{}, false, result);
}

void convolution_relu_pool_of_pairs(const Pool& pool, const Window& w, const ix (&pooling)[3],
                                    const uint16_t* image, const uint16_t* kernel,
                                    const float* bias, float* result, uint8_t* picks) {
  convolve_pairs(pool, w, image, kernel, pooled_finish(bias, pooling, picks), true, result);
}

// In a kernel, too, what meets two neighbours of a gradient are two neighbours.
void input_gradient_of_pairs(const Pool& pool, const Window& given, const uint16_t* gradient,
                             const uint16_t* kernel, uint16_t* result) {
  Window w = given;
  w.channels_out /= 2;
  gather_input_gradient(pool, w, reinterpret_cast<const float*>(gradient), Picks{},
                        reinterpret_cast<const float*>(kernel), PAIRS, result);
}

#endif

CORNU_END
