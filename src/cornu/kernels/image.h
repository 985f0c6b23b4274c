// Images with zeros around them, and gradients put back to where they were picked.
#pragma once

#include <algorithm>

#include "kernels.h"
#include "vector.h"

CORNU_BEGIN

typedef int64_t ix;

inline ix product(const ix (&n)[3]) { return n[0] * n[1] * n[2]; }

constexpr ix AHEAD = 512;  // floats that are read ahead

// ---- images with zeros around them

// Where numbers come from: an image, or a gradient that is first put back to where relu and
// max-pooling had picked its numbers.
struct Source {
  const float* data;
  ix size[3];
  ix channels;
  Picks picks;

  ix pooled(int axis) const { return size[axis] / picks.pool[axis]; }
  ix floats() const { return pooled(0) * pooled(1) * pooled(2) * channels; }
  bool plain() const { return picks.bytes == nullptr; }

  // The numbers `from` to `to` of a row of an image.
  void copy_row(ix image, ix depth, ix height, ix from, ix to, float* out) const {
    if (plain()) {
      const float* row = data + image * floats() + (depth * size[1] + height) * size[2] * channels;
      memcpy(out, row + from * channels, (to - from) * channels * sizeof(float));
      return;
    }
    const ix(&pool)[3] = picks.pool;
    if (product(pool) == 1) {  // only relu
      const ix start = (image * size[0] * size[1] + depth * size[1] + height) * size[2] + from;
      for (ix i = start * channels; i < (start + to - from) * channels; i += LANES, out += LANES) {
        const ix count = (start + to - from) * channels - i;
        prefetch(data + i + AHEAD);
        const Vector g = load_first(data + i, count);
        store_first(out, load_bytes(picks.bytes + i, count) == Integers{} ? g : Vector{}, count);
      }
      return;
    }
    const ix plane = depth / pool[0], line = height / pool[1];
    const bool outside = plane >= pooled(0) || line >= pooled(1);
    const ix start = image * floats() + (plane * pooled(1) + line) * pooled(2) * channels;
    const ix first = ((depth % pool[0]) * pool[1] + height % pool[1]) * pool[2];
    const ix covered = outside ? from : std::clamp(pooled(2) * pool[2], from, to);
    // Window by window, each of which is read once for all of its places in this row.
    for (ix w = from; w < covered;) {
      const ix window = w / pool[2], next = std::min((window + 1) * pool[2], covered);
      const ix at = start + window * channels;
      const Integers here_first = Integers{} + int32_t(first + w - window * pool[2]);
      for (ix c = 0; c < channels; c += LANES) {
        const ix count = channels - c;
        const Vector g = load_first(data + at + c, count);
        const Integers place = load_bytes(picks.bytes + at + c, count);
        float* to_here = out + c;
        Integers here = here_first;
        for (ix k = w; k < next; ++k, to_here += channels, here += 1)
          store_first(to_here, here == place ? g : Vector{}, count);
      }
      out += (next - w) * channels;
      w = next;
    }
    memset(out, 0, (to - covered) * channels * sizeof(float));
  }
};

// A part of an image that may reach beyond it.
struct Region {
  ix from[3], to[3];
  ix length(int axis) const { return to[axis] - from[axis]; }
  ix row() const { return length(2); }
  ix places() const { return length(0) * length(1) * length(2); }
};

inline void copy_region(const Source& source, ix image, const Region& region, float* out) {
  const ix channels = source.channels, row = region.row() * channels;
  const ix from = std::clamp<ix>(region.from[2], 0, source.size[2]);
  const ix to = std::clamp<ix>(region.to[2], from, source.size[2]);
  for (ix d = region.from[0]; d < region.to[0]; ++d)
    for (ix h = region.from[1]; h < region.to[1]; ++h, out += row) {
      if (d < 0 || d >= source.size[0] || h < 0 || h >= source.size[1] || from == to) {
        memset(out, 0, row * sizeof(float));
        continue;
      }
      const ix before = (from - region.from[2]) * channels, inside = (to - from) * channels;
      memset(out, 0, before * sizeof(float));
      source.copy_row(image, d, h, from, to, out + before);
      memset(out + before + inside, 0, (row - before - inside) * sizeof(float));
    }
}

// Whether none of the numbers is NaN or infinite.
inline bool all_finite(const float* numbers, ix count) {
  Vector odd[4] = {};
  ix i = 0;
  for (; i + 4 * LANES <= count; i += 4 * LANES)
    CORNU_UNROLL for (int k = 0; k < 4; ++k) {
      const Vector v = load(numbers + i + k * LANES);
      odd[k] += v - v;
    }
  for (; i < count; i += LANES) {
    const Vector v = load_first(numbers + i, count - i);
    odd[0] += v - v;
  }
  return is_zero(odd[0] + odd[1] + odd[2] + odd[3]);
}

// How far a window reaches beyond the end of the image, at least zero.
inline ix reach_after(const Window& w, int a) {
  const ix last = (w.output[a] - 1) * w.strides[a] + (w.window[a] - 1) * w.dilation[a];
  return std::max<ix>(0, last - w.before[a] - (w.size[a] - 1));
}

template <class Function>
void for_each_place(const ix (&size)[3], const Function& function) {
  ix place[3];
  for (place[0] = 0; place[0] < size[0]; ++place[0])
    for (place[1] = 0; place[1] < size[1]; ++place[1])
      for (place[2] = 0; place[2] < size[2]; ++place[2]) function(place);
}

// The part of an image, with the padding around it, that a window ever sees.
inline Region seen_by(const Window& w) {
  Region region;
  for (int a = 0; a < 3; ++a) {
    region.from[a] = -w.before[a];
    region.to[a] = w.size[a] + reach_after(w, a);
  }
  return region;
}

// A 1x1 convolution does the same to every pixel.
inline bool is_pointwise(const Window& w) {
  bool yes = true;
  for (int a = 0; a < 3; ++a)
    yes = yes && w.window[a] == 1 && w.strides[a] == 1 && w.before[a] == 0 &&
          w.output[a] == w.size[a];
  return yes;
}

CORNU_END
