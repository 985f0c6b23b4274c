// The heart of every convolution: a tile of sums that stays in registers.
//
// It holds `rows * pixels` places of an array with `vectors * LANES` channels each, and adds a
// product of matrices:
//
//   sum[r][p][channel] += sum over j of a[r * a_row + p * a_pixel + j * a_step] * b[j * b_step + channel]
//
// Forward, j runs over what a window sees and p over neighbouring results, so `a_step` is one. For
// the gradient of the kernel it is the other way round: j runs over results, p over what a window
// sees. All sums have the same order whatever the size of the tile, and so the same bits.
#pragma once

#include "vector.h"

CORNU_BEGIN

// As many as leave registers for a row of `b` and one number of `a`.
constexpr int MOST_PLACES = REGISTERS == 32 ? 12 : 6;
constexpr int WIDE = 2;
constexpr int MOST_ROWS = 3;

template <int R, int P, int V>
struct Tile {
  Vector sum[R * P][V];

  CORNU_INLINE void clear(Tile& tile) {
    CORNU_UNROLL for (int place = 0; place < R * P; ++place)
      CORNU_UNROLL for (int v = 0; v < V; ++v) tile.sum[place][v] = Vector{};
  }

  // UNIT: which step of `a` is one, that of pixels ('p') or that of the sum ('j').
  template <char UNIT, Format FORMAT = SINGLES>
  CORNU_INLINE void multiply(Tile& tile, const float* a, int64_t a_row, int64_t a_pixel,
                             int64_t a_step, const float* b, int64_t b_step, int64_t count) {
    // Three neighbours share a pointer, as the processor adds once or twice the step for nothing.
    constexpr int POINTERS = (P + 2) / 3;
    const int64_t pixel = UNIT == 'p' ? 1 : a_pixel, step = UNIT == 'j' ? 1 : a_step;
    const float* pointer[R * POINTERS];
    CORNU_UNROLL for (int r = 0; r < R; ++r)
      CORNU_UNROLL for (int g = 0; g < POINTERS; ++g) {
        pointer[r * POINTERS + g] = a + r * a_row + 3 * g * pixel;
        // Without this the compiler would compute all of them from one, in every turn.
        asm("" : "+r"(pointer[r * POINTERS + g]));
      }
    for (; count > 0; --count) {
      Vector row[V];
      CORNU_UNROLL for (int v = 0; v < V; ++v) row[v] = load(b + v * LANES);
      CORNU_UNROLL for (int r = 0; r < R; ++r)
        CORNU_UNROLL for (int p = 0; p < P; ++p) {
          const Vector factor = broadcast(pointer[r * POINTERS + p / 3][(p % 3) * pixel]);
          CORNU_UNROLL for (int v = 0; v < V; ++v)
            tile.sum[r * P + p][v] = multiply_add<FORMAT>(tile.sum[r * P + p][v], factor, row[v]);
        }
      CORNU_UNROLL for (int g = 0; g < R * POINTERS; ++g) pointer[g] += step;
      b += b_step;
    }
  }
};

// The functions of a kind of tile, one for each number of rows, of places of each, and of vectors of
// channels.
template <class Arguments>
struct Tiles {
  typedef void (*Run)(const Arguments&);
  Run runs[MOST_ROWS][MOST_PLACES][WIDE];
  Run of(int64_t rows, int64_t places, int64_t vectors) const {
    return runs[rows - 1][places - 1][vectors - 1];
  }
};

// Those of a `Kind`: `Kind::run<rows, places, vectors>`.
template <class Kind, int ROWS, int PLACES>
constexpr void add_tiles(Tiles<typename Kind::Arguments>& all) {
  if constexpr (ROWS * PLACES <= MOST_PLACES) {
    all.runs[ROWS - 1][PLACES - 1][0] = Kind::template run<ROWS, PLACES, 1>;
    all.runs[ROWS - 1][PLACES - 1][1] = Kind::template run<ROWS, PLACES, WIDE>;
  }
  if constexpr (PLACES < MOST_PLACES) add_tiles<Kind, ROWS, PLACES + 1>(all);
  else if constexpr (ROWS < MOST_ROWS) add_tiles<Kind, ROWS + 1, 1>(all);
}
template <class Kind>
constexpr Tiles<typename Kind::Arguments> tiles_of() {
  Tiles<typename Kind::Arguments> all{};
  add_tiles<Kind, 1, 1>(all);
  return all;
}

// How many pieces of at most `most` a length has, and how long the piece is that comes next: nearly
// equal ones, so that none is too small to be fast.
CORNU_INLINE int64_t next_piece(int64_t left, int64_t most) {
  const int64_t pieces = (left + most - 1) / most;
  return (left + pieces - 1) / pieces;
}

// Of so many channels, how many vectors the next block takes.
CORNU_INLINE int next_vectors(int64_t channels_left) { return channels_left > LANES ? WIDE : 1; }

// How many rows of `length` places a tile takes at once.
CORNU_INLINE int64_t rows_at_once(int64_t length) {
  const int64_t rows = MOST_PLACES / length;
  return rows < 1 ? 1 : rows > MOST_ROWS ? MOST_ROWS : rows;
}

CORNU_END
