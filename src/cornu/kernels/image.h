// Images with zeros around them, and gradients that are unpooled.
#pragma once

#include "plan.h"
#include "vector.h"

CORNU_BEGIN

constexpr ix AHEAD = 512;  // floats that are read ahead

// Where numbers come from: an image, or a gradient that is unpooled first: each of its numbers goes to its argmax.
struct Source {
  const float* data;
  ix size[3];
  ix channels;
  Argmax argmax;

  ix pooled(int axis) const { return size[axis] / argmax.pool[axis]; }
  ix floats() const { return pooled(0) * pooled(1) * pooled(2) * channels; }
  bool plain() const { return argmax.bytes == nullptr; }

  // The numbers `from` to `to` of a row of an image.
  void copy_row(ix image, ix depth, ix height, ix from, ix to, float* out) const {
    CORNU_ASSERT(image >= 0 && depth >= 0 && depth < size[0] && height >= 0 && height < size[1]);
    CORNU_ASSERT(from >= 0 && from <= to && to <= size[2]);
    if (plain()) {
      const float* row = data + image * floats() + (depth * size[1] + height) * size[2] * channels;
      memcpy(out, row + from * channels, (to - from) * channels * sizeof(float));
      return;
    }
    const ix(&pool)[3] = argmax.pool;
    if (product(pool) == 1) {  // only relu
      CORNU_PATH(unpool_relu);
      const ix start = (image * size[0] * size[1] + depth * size[1] + height) * size[2] + from;
      for (ix i = start * channels; i < (start + to - from) * channels; i += LANES, out += LANES) {
        const ix count = (start + to - from) * channels - i;
        prefetch(data + i + AHEAD);
        const Vector g = load_first(data + i, count);
        store_first(out, load_bytes(argmax.bytes + i, count) == Integers{} ? g : Vector{}, count);
      }
      return;
    }
    CORNU_PATH(unpool);
    const ix plane = depth / pool[0], line = height / pool[1];
    const bool outside = plane >= pooled(0) || line >= pooled(1);
    const ix start = image * floats() + (plane * pooled(1) + line) * pooled(2) * channels;
    const ix first = ((depth % pool[0]) * pool[1] + height % pool[1]) * pool[2];
    const ix covered = outside ? from : std::clamp(pooled(2) * pool[2], from, to);
    // Window by window, each of which is read once for all of its positions in this row.
    for (ix w = from; w < covered;) {
      const ix window = w / pool[2], next = std::min((window + 1) * pool[2], covered);
      const ix at = start + window * channels;
      const Integers here_first = Integers{} + int32_t(first + w - window * pool[2]);
      for (ix c = 0; c < channels; c += LANES) {
        const ix count = channels - c;
        const Vector g = load_first(data + at + c, count);
        const Integers index = load_bytes(argmax.bytes + at + c, count);
        float* to_here = out + c;
        Integers here = here_first;
        for (ix k = w; k < next; ++k, to_here += channels, here += 1)
          store_first(to_here, here == index ? g : Vector{}, count);
      }
      out += (next - w) * channels;
      w = next;
    }
    memset(out, 0, (to - covered) * channels * sizeof(float));
  }
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

CORNU_END
