// Gradients through relu and max-pooling, which are zero nearly everywhere.
//
// Of a pooled window, one number has a gradient; of those that relu has cut, none. So each image gets lists
// of what is not zero, and the full gradient is never made. The weights are used in the order (channel out,
// rows of the window, row), a row being the taps side by side with their channels, as they are in the image,
// filled up to whole vectors:
//
//   weight gradient:  d[out][row] += g * image[offset + row]      summed over the list of a channel
//   input gradient:   d[offset + row] += g * weights[out][row]    summed over the list of a pixel
//
// The second is also the faster way for images with few channels, if nothing is left out.
//
// What is left out is zero only if the other factor is finite; if not, they return false.

#include "sparse.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>
#include <vector>

#include "image.h"
#include "tile.h"

CORNU_BEGIN
namespace {

// A rectangle of vectors: rows of the window by vectors of a row.
struct Piece {
  ix rows, vectors;
  ix image, weights;  // where it begins
};

constexpr int MOST_VECTORS = REGISTERS == 32 ? 24 : 12;
// How many times fewer multiplications make adding rows to an image the faster way.
constexpr ix NARROW = 2;
// Weights that stay in the nearest cache.
constexpr ix CACHE = 6144;

struct Layout {
  Region region;        // of the padded image
  ix row_floats;        // of a row of the window, in whole vectors
  ix rows;              // of the window, over all planes
  ix image_row;         // from one row of the window to the next, in the image
  ix out_floats;        // of one channel out
  std::vector<Piece> pieces;

  // With `most` floats, a piece of all channels out has no more, if that is possible.
  explicit Layout(const Window& w, ix most = ix{1} << 30) : region(seen_by(w)) {
    const ix row = w.window[2] * w.channels_in;
    const ix vectors = (row + LANES - 1) / LANES;
    row_floats = vectors * LANES;
    rows = w.window[0] * w.window[1];
    out_floats = rows * row_floats;
    image_row = w.dilation[1] * region.row() * w.channels_in;
    ix together = std::clamp<ix>(MOST_VECTORS / vectors, 1, MOST_ROWS);
    const ix fitting = most / (w.channels_out * row_floats);
    if (fitting > 0) together = std::min(together, fitting);
    for (ix d = 0; d < w.window[0]; ++d)
      for (ix h = 0; h < w.window[1]; h += together)
        for (ix v = 0; v < vectors;) {
          const ix count = next_piece(vectors - v, 12);
          const ix image = d * w.dilation[0] * region.length(1) * region.row() * w.channels_in +
                           h * image_row + v * LANES;
          pieces.push_back({std::min(together, w.window[1] - h), count, image,
                            (d * w.window[1] + h) * row_floats + v * LANES});
          v += count;
        }
  }
  // Whole vectors are read from the end of a row.
  ix image_floats(const Window& w) const {
    return region.pixels() * w.channels_in + row_floats;
  }
};

struct Entries {
  float* to;
  ix to_row;
  const float* from;
  ix from_row;
  const int32_t* offsets;
  const float* gradients;
  ix count;
};

template <int R, int V>
void add_entries(const Entries& s) {
  Vector sum[R][V];
  CORNU_UNROLL for (int r = 0; r < R; ++r)
    CORNU_UNROLL for (int v = 0; v < V; ++v) sum[r][v] = load(s.to + r * s.to_row + v * LANES);
  for (ix e = 0; e < s.count; ++e) {
    const float* from = s.from + s.offsets[e];
    const Vector gradient = broadcast(s.gradients[e]);
    CORNU_UNROLL for (int r = 0; r < R; ++r)
      CORNU_UNROLL for (int v = 0; v < V; ++v)
        sum[r][v] += gradient * load(from + r * s.from_row + v * LANES);
  }
  CORNU_UNROLL for (int r = 0; r < R; ++r)
    CORNU_UNROLL for (int v = 0; v < V; ++v) store(s.to + r * s.to_row + v * LANES, sum[r][v]);
}

typedef void (*AddEntries)(const Entries&);
template <int R, size_t... V>
constexpr std::array<AddEntries, sizeof...(V)> adders(std::index_sequence<V...>) {
  return {{(R * (int(V) + 1) <= MOST_VECTORS
                ? add_entries<R, R * (int(V) + 1) <= MOST_VECTORS ? int(V) + 1 : 1>
                : nullptr)...}};
}
AddEntries adder_for(ix rows, ix vectors) {
  constexpr std::make_index_sequence<12> all{};
  static const std::array<AddEntries, 12> table[MOST_ROWS] = {adders<1>(all), adders<2>(all),
                                                              adders<3>(all)};
  CORNU_ASSERT(rows >= 1 && rows <= MOST_ROWS && vectors >= 1 && vectors <= 12 && table[rows - 1][vectors - 1]);
  return table[rows - 1][vectors - 1];
}

// For each argmax, where the window of its position begins, beyond that of the first; that of DEAD is nowhere,
// and so is that of all others that name no position.
struct ArgmaxOffsets {
  int32_t of[256] = {};
  ArgmaxOffsets(const Window& w, const Argmax& argmax, const Region& region) {
    int32_t* next = of;
    for_each_index(argmax.pool, [&](const ix (&index)[3]) {
      const ix at = (index[0] * w.strides[0] * region.length(1) + index[1] * w.strides[1]) *
                        region.row() + index[2] * w.strides[2];
      *next++ = at * w.channels_in;
    });
  }
};

struct Pooled {
  ix size[3];
  Pooled(const Window& w, const Argmax& argmax) {
    for (int a = 0; a < 3; ++a) size[a] = w.output[a] / argmax.pool[a];
  }
  ix positions() const { return product(size); }
  // Where the window of its first position begins, in the padded image.
  ix offset(ix at, const Window& w, const Argmax& argmax, const Region& region) const {
    const ix position[3] = {at / (size[1] * size[2]), at / size[2] % size[1], at % size[2]};
    ix offset = 0;
    for (int a = 0; a < 3; ++a)
      offset = offset * region.length(a) + position[a] * argmax.pool[a] * w.strides[a];
    return offset * w.channels_in;
  }
};

}  // namespace

// Whether rows of the window lie side by side in the image, and are not too many for 32 bits.
static bool has_rows(const Window& w) {
  constexpr ix MOST = ix{1} << 30;
  return w.groups == 1 && w.dilation[2] == 1 && w.window[2] * w.channels_in >= LANES &&
         seen_by(w).pixels() * w.channels_in < MOST &&
         product(w.window) * (w.channels_in + LANES) * w.channels_out < MOST;
}

bool is_sparse(const Window& w, const Argmax& argmax) {
  return argmax.bytes && product(argmax.pool) >= 3 && has_rows(w);
}

bool has_narrow_image(const Window& w, const Argmax& argmax) {
  if (product(argmax.pool) != 1 || !has_rows(w)) return false;
  const auto vectors = [](ix floats) { return (floats + LANES - 1) / LANES; };
  const ix by_rows = product(w.output) * w.window[0] * w.window[1] * vectors(w.window[2] * w.channels_in);
  const ix by_positions = product(w.size) * product(w.window) * vectors(w.channels_in) / product(w.strides);
  return NARROW * by_rows < by_positions;
}

bool sparse_weight_gradient(const Pool& pool, const Window& w, const float* image,
                            const float* gradient, const Argmax& argmax, float* result) {
  CORNU_PATH(sparse_weight_gradient);
  const Layout layout(w);
  const Pooled pooled(w, argmax);
  const ix out = w.channels_out, positions = pooled.positions();
  const ArgmaxOffsets offsets(w, argmax, layout.region);
  std::vector<int32_t> base(positions);
  for (ix p = 0; p < positions; ++p) base[p] = pooled.offset(p, w, argmax, layout.region);
  const Source source{image, {w.size[0], w.size[1], w.size[2]}, w.channels_in, {}};
  const ix weight_floats = out * layout.out_floats;
  const ix parts = std::clamp<ix>(std::min<ix>(16, (ix{2} << 20) / weight_floats), 1, w.batch);
  Scratch partial(parts * weight_floats);
  std::atomic<bool> finite{true};

  parallel_for(pool, parts, [&](ix part) {
    float* sums = partial.data() + part * weight_floats;
    memset(sums, 0, weight_floats * sizeof(float));
    Scratch padded(layout.image_floats(w));
    Scratch gradients(out * positions + 1), offsets_memory(out * positions + 1);
    int32_t* at = reinterpret_cast<int32_t*>(offsets_memory.data());
    std::vector<ix> counts(out);
    memset(padded.data(), 0, layout.image_floats(w) * sizeof(float));
    for (ix n = w.batch * part / parts; n < w.batch * (part + 1) / parts; ++n) {
      copy_region(source, n, layout.region, padded.data());
      if (!all_finite(padded.data(), layout.image_floats(w))) finite = false;
      std::fill(counts.begin(), counts.end(), 0);
      const float* g = gradient + n * positions * out;
      const uint8_t* byte = argmax.bytes + n * positions * out;
      for (ix p = 0; p < positions; ++p)
        for (ix o = 0; o < out; ++o, ++g, ++byte) {
          // Always written, and kept if it is not zero: a branch would be guessed wrong too often.
          const ix entry = o * positions + counts[o];
          at[entry] = base[p] + offsets.of[*byte];
          gradients.data()[entry] = *g;
          counts[o] += *byte != DEAD;
        }
      for (ix o = 0; o < out; ++o)
        for (const Piece& piece : layout.pieces)
          adder_for(piece.rows, piece.vectors)({sums + o * layout.out_floats + piece.weights,
                                                layout.row_floats, padded.data() + piece.image,
                                                layout.image_row, at + o * positions,
                                                gradients.data() + o * positions, counts[o]});
    }
  });

  if (!finite) {
    CORNU_PATH(sparse_weight_gradient_not_finite);
    return false;
  }

  // Parts are added in their order, and brought to the order of the weights.
  const ix row = w.window[2] * w.channels_in;
  parallel_for(pool, layout.rows, [&](ix r) {
    for (ix k = 0; k < row; k += LANES)
      for (ix o = 0; o < out; ++o) {
        const float* from = partial.data() + o * layout.out_floats + r * layout.row_floats + k;
        Vector sum{};
        for (ix part = 0; part < parts; ++part) sum += load(from + part * weight_floats);
        for (ix i = 0; i < std::min<ix>(LANES, row - k); ++i) result[(r * row + k + i) * out + o] = sum[i];
      }
  });
  return true;
}

bool sparse_input_gradient(const Pool& pool, const Window& w, const float* gradient,
                           const Argmax& argmax, const float* weights, float* result) {
  if (argmax.bytes) CORNU_PATH(sparse_input_gradient);
  else CORNU_PATH(narrow_input_gradient);
  const Layout layout(w, CACHE);
  const Pooled pooled(w, argmax);
  const ix out = w.channels_out, positions = pooled.positions(), row = w.window[2] * w.channels_in;
  const ArgmaxOffsets offsets(w, argmax, layout.region);
  if (!all_finite(weights, product(w.window) * w.channels_in * out)) return false;
  Scratch transposed(out * layout.out_floats);
  parallel_for(pool, layout.rows, [&](ix r) {
    for (ix start = 0; start < layout.row_floats; start += 16)
      for (ix o = 0; o < out; ++o)
        for (ix k = start; k < start + 16 && k < layout.row_floats; ++k)
          transposed.data()[o * layout.out_floats + r * layout.row_floats + k] =
              k < row ? weights[(r * row + k) * out + o] : 0;
  });

  struct List {
    ix to, begin, count;  // where the window begins in the padded image; which entries
  };
  const ix pool_size = product(argmax.pool);
  std::vector<int32_t> all_channels(out);
  for (ix o = 0; o < out; ++o) all_channels[o] = o * layout.out_floats;
  Integers first;
  for (int lane = 0; lane < LANES; ++lane) first[lane] = lane;
  std::atomic<bool> finite{true};
  parallel_for(pool, w.batch, [&](ix n) {
    const float* g = gradient + n * positions * out;
    // What fills up a row is zero too.
    if (!all_finite(g, positions * out)) finite = false;
    if (!finite) return;
    Scratch padded(layout.image_floats(w));
    memset(padded.data(), 0, layout.image_floats(w) * sizeof(float));
    // For each window, a list for each argmax; all of one without a pool.
    Scratch gradients(positions * out + LANES), offsets_memory(positions * out + LANES);
    int32_t* channels = reinterpret_cast<int32_t*>(offsets_memory.data());
    std::vector<List> lists;
    lists.reserve(positions * pool_size);
    ix end = 0;
    for (ix p = 0; p < positions; ++p) {
      const ix to = pooled.offset(p, w, argmax, layout.region);
      if (!argmax.bytes) {
        lists.push_back({to, p * out, out});
        continue;
      }
      const uint8_t* byte = argmax.bytes + (n * positions + p) * out;
      for (ix k = 0; k < pool_size; ++k) {
        const ix begin = end;
        for (ix o = 0; o < out; o += LANES) {
          const Integers channel = first + int32_t(o);
          const Integers here = (load_bytes(byte + o, out - o) == Integers{} + int32_t(k)) &
                                (channel < Integers{} + int32_t(out));
          end += store_where(here, load_first(g + p * out + o, out - o), gradients.data() + end,
                             channel * int32_t(layout.out_floats), channels + end);
        }
        if (end > begin) lists.push_back({to + offsets.of[k], begin, end - begin});
      }
    }
    // Piece by piece, so that the weights of one stay in the nearest cache.
    const float* numbers = argmax.bytes ? gradients.data() : g;
    for (const Piece& piece : layout.pieces) {
      const AddEntries add = adder_for(piece.rows, piece.vectors);
      for (const List& list : lists)
        add({padded.data() + list.to + piece.image, layout.image_row, transposed.data() + piece.weights,
             layout.row_floats, argmax.bytes ? channels + list.begin : all_channels.data(),
             numbers + list.begin, list.count});
    }
    // Without the padding.
    const Region& region = layout.region;
    for (ix d = 0; d < w.size[0]; ++d)
      for (ix h = 0; h < w.size[1]; ++h) {
        const ix from = ((d + w.before[0]) * region.length(1) + h + w.before[1]) * region.row() +
                        w.before[2];
        memcpy(result + ((n * w.size[0] + d) * w.size[1] + h) * w.size[2] * w.channels_in,
               padded.data() + from * w.channels_in, w.size[2] * w.channels_in * sizeof(float));
      }
  });
  if (!finite) CORNU_PATH(sparse_input_gradient_not_finite);
  return finite;
}

CORNU_END
