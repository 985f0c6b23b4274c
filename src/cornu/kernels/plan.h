// How a convolution and its gradients are computed: pure data, found out from shapes alone.
//
// Plans know nothing of pointers and instructions, so they are compiled once and tested by themselves
// (selftest_plans.cc). implicit_gemm.cc and weight_gradient.cc carry them out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels.h"

namespace cornu {

typedef int64_t ix;

inline ix product(const ix (&n)[3]) { return n[0] * n[1] * n[2]; }

// Call function(index) for all of an array of three axes, row by row.
template <class Function>
void for_each_index(const ix (&size)[3], const Function& function) {
  ix index[3];
  for (index[0] = 0; index[0] < size[0]; ++index[0])
    for (index[1] = 0; index[1] < size[1]; ++index[1])
      for (index[2] = 0; index[2] < size[2]; ++index[2]) function(index);
}

// A part of an image that may reach beyond it.
struct Region {
  ix from[3], to[3];
  ix length(int axis) const { return to[axis] - from[axis]; }
  ix row() const { return length(2); }
  ix pixels() const { return length(0) * length(1) * length(2); }
};

// How far a window reaches beyond the end of the image, at least zero.
ix reach_after(const Window&, int axis);
// The part of an image, with the padding around it, that a window ever sees.
Region seen_by(const Window&);
// A 1x1 convolution does the same to every pixel.
bool is_pointwise(const Window&);
// All pixels of a 1x1 convolution as one long row.
Window as_row(Window);
bool is_depthwise(ix groups, ix channels_in, ix channels_out);

// What a plan needs to know of an instruction set: the lanes of a vector, and the output positions of a tile.
struct TileLimits {
  ix lanes, positions;
};
constexpr int WIDE = 2;       // vectors of the widest tile
constexpr int MOST_ROWS = 3;  // of output positions in a tile

// Of so many channels, how many vectors the next block takes.
inline int next_vectors(ix channels_left, ix lanes) { return channels_left > lanes ? WIDE : 1; }
// How many rows of `length` positions a tile takes at once.
inline ix rows_at_once(ix length, ix positions) { return std::clamp<ix>(positions / length, 1, MOST_ROWS); }

// ---- a convolution, or its input gradient, as an implicit GEMM: each result is a sum over what it sees

struct Tap {
  ix position[3];  // in the region, from where the result's window begins
  ix weight;       // which of the kernel's taps
};

// Results that see the same taps: all of a convolution, and for the input gradient those that have the same
// remainder by the strides.
struct Phase {
  ix start[3], step[3], count[3];
  std::vector<Tap> taps;
};

struct ImplicitGemm {
  ix batch;
  ix size[3];  // of the results' array
  ix channels_in, channels_out, groups;
  ix in_step[3];
  ix before[3], after[3];  // how far windows reach beyond the source
  std::vector<Phase> phases;
  // Weight (tap, in, out) of a group is at tap * weight_tap + in * weight_in + out * weight_out.
  ix weight_tap, weight_in, weight_out, weight_group;

  ix in() const { return channels_in / groups; }
  ix out() const { return channels_out / groups; }
  bool is_depthwise() const { return cornu::is_depthwise(groups, channels_in, channels_out); }
};

// What no window of the pooling covers is not computed.
ImplicitGemm forward_gemm(const Window&);
ImplicitGemm input_gradient_gemm(const Window&);

// Few channels, of which several neighbouring pixels fill a vector, as one pixel with all their channels. Their
// windows are put beside each other, with zeros where one does not look:
//
//   pixel w       k0 k1 k2  0
//   pixel w + 1    0 k0 k1 k2
struct PixelPacking {
  ix pixels = 1;  // if it is one, there is nothing else
  ImplicitGemm gemm;
  std::vector<ix> taps;  // which tap of `gemm` each (pixel, tap) is
};
// `width`: of a row of all results, also of those that no window of the pooling covers.
PixelPacking pack_pixels(const ImplicitGemm&, ix width, ix lanes, bool has_winograd);

// Neighbouring floats of the source, seen by each position of a tile.
struct Segment {
  ix offset, count;
};
// Which floats of a region the taps read, as few runs of neighbours as possible.
std::vector<Segment> segments_of(const ImplicitGemm&, const Phase&, const Region&);

// Channels that a tile computes at once, and where their weights lie among those of a tap.
struct Block {
  ix first, vectors, offset;
};
std::vector<Block> blocks_of(const ImplicitGemm&, ix lanes);

// What comes after the products: nothing, relu alone, or relu and max-pooling, of a tile's own sums or of results
// in scratch memory.
enum class Pooling { NONE, RELU, IN_TILE, IN_SCRATCH };

// Weights that stay in the nearest cache.
constexpr ix FEW_WEIGHTS = 4096;

// How the work of an implicit GEMM is cut into items.
struct GemmPlan {
  Pooling pooling;
  ix pool[3];         // of a tile's own sums, else ones
  bool copies;        // the source is copied, with zeros around it
  bool by_blocks;     // blocks of channels are items of work
  ix blocks;          // how many, else one
  int axis;           // along which images are cut into parts
  ix parts, unit;     // which begin at multiples of the unit
  ix together;        // images per item
  ix chunks;          // of the batch, each of so many images

  struct Item {
    ix first_image, images;
    ix part_begin, part_end;  // along the axis
    ix block;
  };
  ix items() const { return chunks * parts * blocks; }
  Item item(const ImplicitGemm&, ix number) const;
  // What the results of an item see of a source.
  Region seen(const ImplicitGemm&, const ix (&source)[3], const Item&) const;
};

// `is_plain`: the source need not be unpooled. `pool` is one where there is none.
GemmPlan plan_gemm(const ImplicitGemm&, bool is_plain, bool is_pooled, const ix (&pool)[3], bool is_depthwise,
                   ix threads, TileLimits);

// ---- the weight gradient: a sum over all output positions for each tap

struct WeightGradientPlan {
  // Taps that neighbour each other in the image too.
  struct Run {
    ix offset, count;  // in the region, in floats
    ix weight;         // the first tap, times channels seen
  };
  // Some runs, or a part of one, by a block of channels.
  struct Job {
    ix run, runs, start, count, group, first, vectors;
  };

  Window w;
  Region region;          // of the image
  bool copies_image;
  bool unpools_in_tile;   // what was not the argmax is left out as it is read
  bool widens;            // the gradient's channels are filled up to whole vectors
  bool copies_gradient;
  ix wide_out;            // channels, with that
  ix image_floats, gradient_floats;  // of each image, of the copy if there is one
  bool far;               // each pixel that a tile reads is on a page of its own: the next taps are prefetched
  ix jump;                // how many taps ahead
  std::vector<Run> runs;
  std::vector<Job> jobs;
  ix parts;               // of the images, with sums of their own
  bool by_images;         // parts are items of work, not jobs
  std::vector<ix> pool_offsets;  // in the region, of each position of a pool

  ix in() const { return w.channels_in / w.groups; }
  ix out() const { return w.channels_out / w.groups; }
};

// `may_unpool_in_tile`: only if the pool leaves no outputs out, or if zero times the image is zero.
WeightGradientPlan plan_weight_gradient(const Window&, bool is_pooled, bool may_unpool_in_tile, TileLimits);

}  // namespace cornu
