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
#include "tile.h"
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

struct Segment {
  ix offset, count;
};

template <class Result>
struct Panel {
  const float* in;
  ix in_row, in_pixel;
  const Segment* segments;
  ix num_segments;
  const float* weights;
  const float* bias;
  Activation activation;
  Result* out;
  ix out_row, out_pixel, channels;
  uint8_t* picks;
  bool streams;
};

template <Format FORMAT, class Result, int R, int P, int V>
CORNU_INLINE void gather(Tile<R, P, V>& tile, const Panel<Result>& panel) {
  tile.clear(tile);
  const float* weights = panel.weights;
  for (ix s = 0; s < panel.num_segments; ++s) {
    const Segment segment = panel.segments[s];
    tile.template multiply<'j', FORMAT>(tile, panel.in + segment.offset, panel.in_row,
                                        panel.in_pixel, 1, weights, V * LANES, segment.count);
    weights += segment.count * V * LANES;
  }
}

template <Format FORMAT, class Result>
struct GatherTile {
  typedef Panel<Result> Arguments;
  static constexpr int ROWS = MOST_ROWS;
  template <int R, int P, int V>
  static void run(const Panel<Result>& panel) {
    Tile<R, P, V> tile;
    gather<FORMAT>(tile, panel);
    CORNU_UNROLL for (int r = 0; r < R; ++r)
      CORNU_UNROLL for (int p = 0; p < P; ++p)
        CORNU_UNROLL for (int v = 0; v < V; ++v) {
          Vector sum = tile.sum[r * P + p][v];
          if (panel.bias) sum += load(panel.bias + v * LANES);
          const ix count = panel.channels - v * LANES;
          const ix to = r * panel.out_row + p * panel.out_pixel + v * LANES;
          if (count <= 0) continue;
          if constexpr (std::is_same_v<Result, float>)
            if (panel.picks) {
              store_picked(sum, Integers{}, panel.out + to, panel.picks + to, count, panel.streams);
              continue;
            }
          // NaN is not below zero, and so stays.
          if (panel.activation == RELU) sum = sum < Vector{} ? Vector{} : sum;
          if constexpr (std::is_same_v<Result, float>)
            store_first(panel.out + to, sum, count, panel.streams);
          else
            store_first(panel.out + to, sum, count);
        }
  }
};

// With relu and max-pooling of pairs of pixels, of all rows at once.
template <Format FORMAT>
struct PooledTile {
  typedef Panel<float> Arguments;
  static constexpr int ROWS = 2;
  template <int R, int P, int V>
  static void run(const Panel<float>& panel) {
    Tile<R, P, V> tile;
    gather<FORMAT>(tile, panel);
    CORNU_UNROLL for (int v = 0; v < V; ++v) {
      const ix count = panel.channels - v * LANES;
      if (count <= 0) break;
      const Vector bias = load(panel.bias + v * LANES);
      CORNU_UNROLL for (int p = 0; p + 1 < P; p += 2) {
        Vector best = tile.sum[p][v] + bias;
        Integers winner = {};
        CORNU_UNROLL for (int k = 1; k < 2 * R; ++k)
          compare(tile.sum[k / 2 * P + p + k % 2][v] + bias, Integers{} + k, best, winner);
        const ix to = p / 2 * panel.out_pixel + v * LANES;
        store_picked(best, winner, panel.out + to, panel.picks + to, count, panel.streams);
      }
    }
  }
};

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

template <Format FORMAT, class Result>
void run_gather(const Pool& pool, const Gather& gather, const Source& source, const float* kernel,
                const Finish& finish, Result* result) {
  constexpr bool single = std::is_same_v<Result, float>;
  const bool depthwise = FORMAT == SINGLES && single &&
                         is_depthwise(gather.groups, gather.channels_in, gather.channels_out);
  // Small windows are pooled in registers, others from scratch memory.
  const bool rectifies = finish.rectifies() && !depthwise;
  const bool pools_at_once = finish.picks && finish.pooling[0] == 1 && finish.pooling[1] <= 2 &&
                             finish.pooling[2] == 2 && !depthwise;
  const bool pools = finish.picks && !rectifies && !pools_at_once;
  const ix pooling[3] = {1, pools_at_once ? finish.pooling[1] : 1, pools_at_once ? 2 : 1};
  bool streams_out = false;
  if constexpr (single)
    streams_out = streams(
        result, gather.batch * product(gather.size) * gather.channels_out / product(finish.pooling),
        gather.channels_out / gather.groups);
  const float* bias = pools ? nullptr : finish.bias;
  const Activation activation = finish.activation;
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
    Result* results = result + first_image * product(dense) * gather.channels_out;
    if constexpr (single)
      if (pools) results = unpooled.data();
    const ix out_row = dense[2] * gather.channels_out, out_plane = dense[1] * out_row;
    for (size_t f = 0; f < gather.phases.size(); ++f) {
      const Phase& phase = gather.phases[f];
      const std::vector<Segment> segments = segments_of(gather, phase, region);
      ix start[3], count[3];
      for (int a = 0; a < 3; ++a) start[a] = phase.start[a], count[a] = phase.count[a];
      if (pools) count[axis] = high - low;
      else if (parts > 1) start[axis] = low, count[axis] = high - low;
      if (product(count) <= 0) continue;
      Panel<Result> panel;
      panel.segments = segments.data();
      panel.num_segments = segments.size();
      panel.activation = activation;
      panel.streams = streams_out && !pools;
      panel.in_row = gather.in_step[1] * in_row;
      panel.in_pixel = gather.in_step[2] * gather.channels_in;
      panel.out_row = phase.step[1] * out_row;
      panel.out_pixel = phase.step[2] * gather.channels_out;
      if constexpr (single) if (depthwise) {
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
                             results + i * dense[0] * out_plane +
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
                Result* out_here = results + i * dense[0] * out_plane +
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
                    panel.out = out_here + w / pooling[2] * panel.out_pixel + block.first;
                    panel.picks = rectifies || pools_at_once ? finish.picks + (panel.out - result) : nullptr;
                    if constexpr (single)
                      if (pools_at_once) {
                        Tiles<PooledTile<FORMAT>>::of(rows, pixels, block.vectors)(panel);
                        continue;
                      }
                    Tiles<GatherTile<FORMAT, Result>>::of(rows, pixels, block.vectors)(panel);
                  }
                  w += pixels;
                }
                h += rows;
              }
    }
    if constexpr (single) {
      if (!pools) return;
      ix first_pooled = low / unit;
      for (int a = axis + 1; a < 3; ++a) first_pooled *= gather.size[a] / finish.pooling[a];
      ix all_pooled = 1;
      for (int a = 0; a < 3; ++a) all_pooled *= gather.size[a] / finish.pooling[a];
      for (ix i = 0; i < images; ++i) {
        const ix to = ((first_image + i) * all_pooled + first_pooled) * gather.channels_out;
        relu_and_pool<false>(results + i * dense[0] * out_plane, dense, gather.channels_out, finish,
                             result + to, finish.picks + to, streams_out);
      }
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
  run_gather<SINGLES>(pool, beside.gather, source, beside.kernel.data(), finish, result);
  return true;
}

// A 1x1 convolution does the same to every pixel: all of them are one long row.
bool is_pointwise(const Window& w) {
  bool yes = true;
  for (int a = 0; a < 3; ++a)
    yes = yes && w.window[a] == 1 && w.strides[a] == 1 && w.before[a] == 0 &&
          w.output[a] == w.size[a];
  return yes;
}
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

template <Format FORMAT, class Result>
void convolve(const Pool& pool, const Window& given, const float* image, const float* kernel,
              const Finish& finish, Result* result) {
  const bool row = is_pointwise(given) && product(finish.pooling) == 1;
  const Window w = row ? as_row(given) : given;
  if constexpr (FORMAT == SINGLES && std::is_same_v<Result, float>)
    if (row && w.size[2] == 1 && w.groups == 1) {
      row_times_kernel(pool, image, kernel, w.channels_in, w.channels_out, finish, result);
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
  if constexpr (FORMAT == SINGLES && std::is_same_v<Result, float>) {
    const auto winograd = winograd_for(w).convolve;
    const bool pools = product(finish.pooling) != 1;
    const Beside beside(gather, w.output[2], pools ? nullptr : kernel, finish, winograd);
    if (!pools && run_beside(pool, beside, source, finish, result)) return;
    // Where pixels would be put beside each other if nothing were pooled, the direct kernels give the
    // same bits.
    const bool direct = pools && beside.pixels > 1;
    if (winograd && !direct && winograd(pool, w, source, kernel, finish, result)) return;
  }
  run_gather<FORMAT>(pool, gather, source, kernel, finish, result);
}

// A convolution with its finish. Two neighbouring bfloat16 of an image are as one float is; of a kernel,
// the two that meet them are put beside each other.
template <class Result>
void convolve_pairs(const Pool& pool, Window w, const uint16_t* image, const uint16_t* kernel,
                    const Finish& finish, Result* result) {
  const ix out = w.channels_out, pairs = product(w.window) * (w.channels_in / w.groups) / 2;
  Scratch interleaved(pairs * out);
  uint16_t* to = reinterpret_cast<uint16_t*>(interleaved.data());
  for (ix pair = 0; pair < pairs; ++pair, kernel += 2 * out)
    for (ix o = 0; o < out; ++o, to += 2) to[0] = kernel[o], to[1] = kernel[out + o];
  w.channels_in /= 2;
  convolve<PAIRS>(pool, w, reinterpret_cast<const float*>(image), interleaved.data(), finish,
                  result);
}

}  // namespace

void convolution(const Pool& pool, const Window& w, const float* image, const float* kernel,
                 const float* bias, Activation activation, float* result) {
  Finish finish;
  finish.bias = bias;
  finish.activation = activation;
  convolve<SINGLES>(pool, w, image, kernel, finish, result);
}

void convolution_of_pairs(const Pool& pool, const Window& w, const uint16_t* image,
                          const uint16_t* kernel, uint16_t* result) {
  convolve_pairs(pool, w, image, kernel, Finish{}, result);
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
  convolve<SINGLES>(pool, w, image, kernel, pooled_finish(bias, pooling, picks), result);
}

void convolution_relu_pool_of_pairs(const Pool& pool, const Window& w, const ix (&pooling)[3],
                                    const uint16_t* image, const uint16_t* kernel,
                                    const float* bias, float* result, uint8_t* picks) {
  convolve_pairs(pool, w, image, kernel, pooled_finish(bias, pooling, picks), result);
}

// A number of the image was seen by the results whose window covered it. Numbers with the same
// remainder by the strides were seen through the same places of the kernel.
template <Format FORMAT, class Result>
static void gather_input_gradient(const Pool& pool, const Window& given, const float* gradient,
                                  const Picks& picks, const float* kernel, Result* result) {
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
  if constexpr (FORMAT == SINGLES) {
    const auto winograd = winograd_for(w).gradient_of_input;
    const Beside beside(gather, gather.size[2], kernel, Finish{}, winograd);
    if (run_beside(pool, beside, source, Finish{}, result)) return;
    if (winograd && winograd(pool, w, source, kernel, result)) return;
  }
  run_gather<FORMAT>(pool, gather, source, kernel, Finish{}, result);
}

void input_gradient(const Pool& pool, const Window& w, const float* gradient, const Picks& picks,
                    const float* kernel, float* result) {
  if ((is_sparse(w, picks) || (has_narrow_image(w, picks) && !winograd_for(w).gradient_of_input)) &&
      sparse_input_gradient(pool, w, gradient, picks, kernel, result))
    return;
  gather_input_gradient<SINGLES>(pool, w, gradient, picks, kernel, result);
}

// In a kernel, too, what meets two neighbours of a gradient are two neighbours.
void input_gradient_of_pairs(const Pool& pool, const Window& given, const uint16_t* gradient,
                             const uint16_t* kernel, uint16_t* result) {
  Window w = given;
  w.channels_out /= 2;
  gather_input_gradient<PAIRS>(pool, w, reinterpret_cast<const float*>(gradient), Picks{},
                               reinterpret_cast<const float*>(kernel), result);
}

// ---- the gradient of the kernel

namespace {

// A run of the kernel's places that neighbour each other in the image too.
struct Run {
  ix offset, count;  // in the region
  ix weight;         // first place of the kernel, times channels seen
};

struct Sum {
  const float* image;
  const float* gradient;
  ix images, planes, rows, pixels;
  ix image_step, plane_step, row_step, pixel_step;      // of the image, in floats
  ix gradient_image, gradient_plane, gradient_row, gradient_step;  // of the gradient
  ix run_step;                                          // from one run to the next
  float* result;
  ix result_step, result_run, channels;
  bool add;
};

// Call function(image, gradient) for each row of results, with what its first pixel sees and where its
// gradients begin.
template <class Function>
CORNU_INLINE void for_each_row(const Sum& s, const Function& function) {
  for (ix i = 0; i < s.images; ++i)
    for (ix d = 0; d < s.planes; ++d)
      for (ix h = 0; h < s.rows; ++h)
        function(s.image + i * s.image_step + d * s.plane_step + h * s.row_step,
                 i * s.gradient_image + d * s.gradient_plane + h * s.gradient_row);
}

template <int R, int P, int V>
CORNU_INLINE void store_sums(const Tile<R, P, V>& tile, const Sum& s) {
  CORNU_UNROLL for (int r = 0; r < R; ++r)
    CORNU_UNROLL for (int p = 0; p < P; ++p)
      CORNU_UNROLL for (int v = 0; v < V; ++v) {
        const ix count = s.channels - v * LANES;
        if (count <= 0) continue;
        float* to = s.result + r * s.result_run + p * s.result_step + v * LANES;
        Vector sum = tile.sum[r * P + p][v];
        if (s.add) sum += load_first(to, count);
        store_first(to, sum, count);
      }
}

// The same of a gradient that relu and pooling have picked: `gradient` and the steps are of pooled
// windows, `places` says where in the image the places of one begin.
struct PickedSum : Sum {
  const uint8_t* picks;
  const ix* places;
  ix num_places;
};

struct PickedSumTile {
  typedef PickedSum Arguments;
  static constexpr int ROWS = MOST_ROWS;
  template <int R, int P, int V>
  static void run(const PickedSum& s) {
    Tile<R, P, V> tile;
    tile.clear(tile);
    for_each_row(s, [&](const float* image, ix from) {
      for (ix w = 0; w < s.pixels; ++w, image += s.pixel_step, from += s.gradient_step) {
        Vector gradient[V];
        Integers picked[V];
        CORNU_UNROLL for (int v = 0; v < V; ++v) {
          const ix at = from + v * LANES, count = s.channels - v * LANES;
          gradient[v] = load_first(s.gradient + at, count);
          picked[v] = load_bytes(s.picks + at, count);
        }
        for (ix k = 0; k < s.num_places; ++k) {
          const float* window = image + s.places[k];
          Vector here[V];
          CORNU_UNROLL for (int v = 0; v < V; ++v)
            here[v] = picked[v] == Integers{} + int32_t(k) ? gradient[v] : Vector{};
          CORNU_UNROLL for (int r = 0; r < R; ++r)
            CORNU_UNROLL for (int p = 0; p < P; ++p) {
              const Vector factor = broadcast(window[r * s.run_step + p]);
              CORNU_UNROLL for (int v = 0; v < V; ++v)
                tile.sum[r * P + p][v] += factor * here[v];
            }
        }
      }
    });
    store_sums(tile, s);
  }
};

struct SumTile {
  typedef Sum Arguments;
  static constexpr int ROWS = MOST_ROWS;
  template <int R, int P, int V>
  static void run(const Sum& s) {
    Tile<R, P, V> tile;
    tile.clear(tile);
    // A kernel of many units is far away by the time that it is written.
    for (int r = 0; r < R; ++r)
      for (int p = 0; p < P; ++p) {
        const float* to = s.result + r * s.result_run + p * s.result_step;
        for (int v = 0; v < V; ++v) prefetch_to_write(to + v * LANES);
        prefetch_to_write(to + V * LANES - 1);
      }
    for_each_row(s, [&](const float* image, ix from) {
      tile.template multiply<'p'>(tile, image, s.run_step, 1, s.pixel_step, s.gradient + from,
                                  s.gradient_step, s.pixels);
    });
    store_sums(tile, s);
  }
};

// Sums over images are split in so many parts, whatever the number of threads, that each part
// always holds the same images: so the same bits come out.
constexpr ix MOST_PARTS = 16;
constexpr ix MOST_PART_FLOATS = ix{2} << 20;   // all partial sums together
constexpr ix COPIED_AT_ONCE = ix{1} << 19;     // floats of copies, for large kernels
constexpr ix MANY_PIXELS = 128;                // for which a partial sum is worth while
constexpr ix MOST_PICKED = 36;                 // places of a kernel times channels seen
constexpr ix STRIP = 4 * MOST_PLACES;           // places of the kernel
constexpr ix FAR = 1024, MOST_CACHED = 1 << 18; // floats

}  // namespace

void kernel_gradient(const Pool& pool, const Window& given, const float* image,
                     const float* gradient, const Picks& picks, float* result) {
  if (is_sparse(given, picks) &&
      sparse_kernel_gradient(pool, given, image, gradient, picks, result))
    return;
  Source images{image, {given.size[0], given.size[1], given.size[2]}, given.channels_in, {}};
  Source gradients{gradient, {given.output[0], given.output[1], given.output[2]},
                   given.channels_out, picks};
  if (is_depthwise(given.groups, given.channels_in, given.channels_out)) {
    depthwise_kernel_gradient(pool, given, images, gradients, result);
    return;
  }
  const auto winograd = winograd_for(given).gradient_of_kernel;
  if (winograd && winograd(pool, given, images, gradients, result)) return;
  Window w = given;
  ix pool_size[3] = {picks.pool[0], picks.pool[1], picks.pool[2]};
  if (is_pointwise(given) && product(pool_size) == 1) {
    // One long row again, cut in pieces that stand for images.
    const ix length = given.batch * product(given.size);
    ix pieces = std::clamp<ix>(length / 16, 1, 64);
    while (length % pieces) --pieces;
    w.batch = pieces;
    w.size[0] = w.size[1] = w.output[0] = w.output[1] = 1;
    w.size[2] = w.output[2] = length / pieces;
    for (int a = 0; a < 3; ++a) images.size[a] = gradients.size[a] = w.size[a];
  }
  const ix in = w.channels_in / w.groups, out = w.channels_out / w.groups;
  const Region region = seen_by(w);
  Region all;
  bool copies = false;
  for (int a = 0; a < 3; ++a) {
    all.from[a] = 0;
    all.to[a] = w.output[a];
    copies = copies || region.from[a] < 0 || region.to[a] > w.size[a];
  }
  // With few places of the kernel, what was not picked is left out as it is read. Else the gradient
  // is put back to where it was picked, once for all places.
  bool picks_here = !gradients.plain() && w.groups == 1 && product(w.window) * in <= MOST_PICKED;
  // Beyond the last window of the pool is a zero for each number, unless that is not finite.
  for (int a = 0; a < 3 && picks_here; ++a)
    if (w.output[a] % picks.pool[a] != 0)
      picks_here = all_finite(image, w.batch * product(w.size) * w.channels_in);
  // Whole vectors are read from the gradient, also of the last channels.
  const bool widens = !picks_here && out % LANES != 0;
  const bool rewrites = !picks_here && (widens || !gradients.plain());
  const ix wide_out = (out + LANES - 1) / LANES * LANES;
  // A block of WIDE vectors may read beyond the last.
  const ix slack = WIDE * LANES;
  const ix image_floats = region.places() * w.channels_in;
  const ix gradient_floats = picks_here ? gradients.floats()
                             : all.places() * (widens ? wide_out * w.groups : w.channels_out);

  std::vector<Run> runs;
  ix weight = 0;
  for_each_place(w.window, [&](const ix (&place)[3]) {
    const ix row = place[0] * w.dilation[0] * region.length(1) + place[1] * w.dilation[1];
    const ix offset = (row * region.row() + place[2] * w.dilation[2]) * w.channels_in;
    if (w.groups == 1 && !runs.empty() && place[2] > 0 && w.dilation[2] == 1)
      runs.back().count += in;
    else
      runs.push_back({offset, in, weight});
    weight += in;
  });

  // Of wide pixels a tile reads a line each, and each from a page of its own, where the processor does not
  // guess the next: the next strip is asked for.
  const bool far = is_pointwise(given) && in >= FAR && w.batch * w.output[2] * in > MOST_CACHED;

  // Jobs: a few runs, or a part of one, by a block of channels.
  struct Job {
    ix run, runs, start, count, group, first, vectors;
  };
  std::vector<Job> jobs;
  ix rows = in * (w.groups == 1 && w.dilation[2] == 1 ? w.window[2] : 1);
  const ix runs_together = rows_at_once(std::min(rows, ix{MOST_PLACES}));
  for (ix group = 0; group < w.groups; ++group)
    for (ix first = 0; first < out;) {
      const ix vectors = next_vectors(out - first);
      for (ix run = 0; run < ix(runs.size());) {
        // Only runs at equal distances, those of one plane, can be taken together.
        const ix in_plane = runs.size() / w.window[0];
        const ix many = std::min(runs_together, in_plane - run % in_plane);
        const auto step = [&](ix r) { return runs[r + 1].offset - runs[r].offset; };
        const bool even = many < 3 || step(run + 1) == step(run);
        const ix count = runs[run].count, once = (far ? 4 : 1) * STRIP;
        for (ix start = 0; start < count; start += once)
          jobs.push_back({run, even ? many : 1, start, std::min(once, count - start), group, first,
                          vectors});
        run += even ? many : 1;
      }
      first += vectors * LANES;
    }

  // Fixed chunks of images. With a large kernel, or few pixels, there are few, and its parts are
  // shared out instead.
  const ix kernel_floats = product(w.window) * in * w.channels_out;
  const ix pixels = w.batch * product(w.output);
  const ix parts = std::clamp<ix>(
      std::min({MOST_PARTS, MOST_PART_FLOATS / kernel_floats, pixels / MANY_PIXELS}), 1, w.batch);
  const bool by_images = jobs.size() == 1 || (parts > 1 && parts >= std::min<ix>(8, w.batch));

  std::vector<ix> places;
  for_each_place(pool_size, [&](const ix (&place)[3]) {
    const ix row = place[0] * w.strides[0] * region.length(1) + place[1] * w.strides[1];
    places.push_back((row * region.row() + place[2] * w.strides[2]) * w.channels_in);
  });

  auto sum_job = [&](const Job& job, const float* image_data, ix image_step,
                     const float* gradient_data, ix gradient_step, ix images, float* to, bool add) {
    PickedSum s;
    s.images = images;
    s.planes = w.output[0];
    s.rows = w.output[1];
    s.pixels = w.output[2];
    s.image_step = image_step;
    s.row_step = w.strides[1] * region.row() * w.channels_in;
    s.plane_step = w.strides[0] * region.length(1) * region.row() * w.channels_in;
    s.pixel_step = w.strides[2] * w.channels_in;
    s.gradient_step = widens ? wide_out * w.groups : w.channels_out;
    s.gradient_row = w.output[2] * s.gradient_step;
    s.gradient_plane = w.output[1] * s.gradient_row;
    s.gradient_image = gradient_step;
    s.run_step = job.runs > 1 ? runs[job.run + 1].offset - runs[job.run].offset : 0;
    s.result_step = w.channels_out;
    s.result_run = job.runs > 1 ? (runs[job.run + 1].weight - runs[job.run].weight) * w.channels_out : 0;
    s.channels = out - job.first;
    s.add = add;
    if (picks_here) {
      s.picks = picks.bytes + (gradient_data - gradient) + job.first;
      s.places = places.data();
      s.num_places = places.size();
      s.planes = gradients.pooled(0);
      s.rows = gradients.pooled(1);
      s.pixels = gradients.pooled(2);
      s.plane_step *= pool_size[0];
      s.row_step *= pool_size[1];
      s.pixel_step *= pool_size[2];
      s.gradient_row = s.pixels * s.gradient_step;
      s.gradient_plane = s.rows * s.gradient_row;
    }
    const Run& run = runs[job.run];
    const float* g = gradient_data + (widens ? job.group * wide_out : job.group * out) + job.first;
    s.gradient = g;
    for (ix start = job.start, end = start + job.count; start < end;) {
      const ix count = next_piece(end - start, MOST_PLACES);
      s.image = image_data + run.offset + job.group * in + start;
      s.result = to + (run.weight + start) * w.channels_out + job.group * out + job.first;
      if (far && start + STRIP < end)
        for (ix i = 0; i < s.images; ++i)
          for (ix p = 0; p < s.pixels; ++p)
            prefetch(s.image + i * s.image_step + p * s.pixel_step + STRIP);
      if (picks_here) Tiles<PickedSumTile>::of(job.runs, count, job.vectors)(s);
      else Tiles<SumTile>::of(job.runs, count, job.vectors)(s);
      start += count;
    }
  };
  auto prepare = [&](ix n, float* image_copy, float* gradient_copy) {
    if (copies) copy_region(images, n, region, image_copy);
    if (!rewrites) return;
    if (!widens) {
      copy_region(gradients, n, all, gradient_copy);
      return;
    }
    Scratch rows_of(w.output[2] * w.channels_out);
    for (ix d = 0; d < w.output[0]; ++d)
      for (ix h = 0; h < w.output[1]; ++h) {
        gradients.copy_row(n, d, h, 0, w.output[2], rows_of.data());
        for (ix p = 0; p < w.output[2] * w.groups; ++p, gradient_copy += wide_out) {
          for (ix c = 0; c < wide_out; c += LANES)
            store(gradient_copy + c, load_first(rows_of.data() + p * out + c, out - c));
        }
      }
  };

  if (by_images) {
    Scratch partial(parts > 1 ? parts * kernel_floats : 0);
    parallel_for(pool, parts, [&](ix part) {
      const ix begin = w.batch * part / parts, end = w.batch * (part + 1) / parts;
      float* to = parts > 1 ? partial.data() + part * kernel_floats : result;
      // As many images at once as stay in the cache.
      const ix once = std::clamp<ix>((ix{1} << 16) / (image_floats + gradient_floats), 1, end - begin);
      Scratch image_copies(copies ? once * image_floats : 0);
      Scratch gradient_copies(rewrites ? once * gradient_floats + slack : 0);
      for (ix n = begin; n < end; n += once) {
        const ix count = std::min(once, end - n);
        for (ix i = 0; i < count; ++i)
          prepare(n + i, image_copies.data() + i * image_floats, gradient_copies.data() + i * gradient_floats);
        for (const Job& job : jobs)
          sum_job(job, copies ? image_copies.data() : image + n * image_floats, image_floats,
                  rewrites ? gradient_copies.data() : gradient + n * gradient_floats,
                  gradient_floats, count, to, n > begin);
      }
    });
    if (parts == 1) return;
    const ix piece = 4096, pieces = (kernel_floats + piece - 1) / piece;
    parallel_for(kernel_floats < (1 << 15) ? Pool{1, {}} : pool, pieces, [&](ix p) {
      for (ix k = p * piece; k < std::min(kernel_floats, (p + 1) * piece); k += LANES) {
        const ix count = kernel_floats - k;
        const float* from = partial.data() + k;
        Vector sum = load_first(from, count);
        for (ix part = 1; part < parts; ++part) sum += load_first(from + part * kernel_floats, count);
        store_first(result + k, sum, count);
      }
    });
    return;
  }
  const ix once = std::clamp<ix>(COPIED_AT_ONCE / (image_floats + gradient_floats), 1, w.batch);
  Scratch image_copies(copies ? once * image_floats : 0);
  Scratch gradient_copies(rewrites ? once * gradient_floats + slack : 0);
  for (ix n = 0; n < w.batch; n += once) {
    const ix count = std::min(once, w.batch - n);
    if (copies || rewrites)
      parallel_for(pool, count, [&](ix i) {
        prepare(n + i, image_copies.data() + i * image_floats, gradient_copies.data() + i * gradient_floats);
      });
    parallel_for(pool, jobs.size(), [&](ix job) {
      sum_job(jobs[job], copies ? image_copies.data() : image + n * image_floats, image_floats,
              rewrites ? gradient_copies.data() : gradient + n * gradient_floats, gradient_floats,
              count, result, n > 0);
    });
  }
}

CORNU_END
