// The heart of every convolution: a tile of sums that stays in registers.
//
// It holds `rows * positions` of an array with `vectors * LANES` channels each, and adds a
// product of matrices:
//
//   sum[r][p][channel] += sum over j of a[r * a_row + p * a_pixel + j * a_step] * b[j * b_step + channel]
//
// Forward, j runs over what a window sees and p over neighbouring output positions, so `a_step` is one. For
// the weight gradient it is the other way round: j runs over output positions, p over what a window sees. All sums have the same order whatever the size of the tile, and so the same bits.
#pragma once

#include "plan.h"
#include "vector.h"

CORNU_BEGIN

// As many as leave registers for a row of `b` and one number of `a`.
constexpr int MOST_POSITIONS = REGISTERS == 32 ? 12 : 6;
constexpr TileLimits LIMITS{LANES, MOST_POSITIONS};

template <int R, int P, int V>
struct Tile {
  Vector sum[R * P][V];

  CORNU_INLINE void clear(Tile& tile) {
    CORNU_UNROLL for (int position = 0; position < R * P; ++position)
      CORNU_UNROLL for (int v = 0; v < V; ++v) tile.sum[position][v] = Vector{};
  }

  // UNIT: which step of `a` is one, that of pixels ('p') or that of the sum ('j').
  template <char UNIT, Format FORMAT = SINGLES>
  CORNU_INLINE void multiply(Tile& tile, const float* a, int64_t a_row, int64_t a_pixel,
                             int64_t a_step, const float* b, int64_t b_step, int64_t count) {
    // Three neighbours share a pointer, as the processor adds once or twice the step for nothing.
    constexpr int POINTERS = (P + 2) / 3;
    CORNU_ASSERT(count >= 0 && (count == 0 || (a && b)) && b_step >= 0);
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

// The functions of a kind of tile, one for each number of rows, of positions of each, and of vectors of
// channels.
template <class Arguments>
struct Tiles {
  typedef void (*Run)(const Arguments&);
  Run runs[MOST_ROWS][MOST_POSITIONS][WIDE];
  Run of(int64_t rows, int64_t positions, int64_t vectors) const {
    CORNU_ASSERT(rows >= 1 && rows <= MOST_ROWS && positions >= 1 && positions <= MOST_POSITIONS);
    CORNU_ASSERT(vectors >= 1 && vectors <= WIDE && runs[rows - 1][positions - 1][vectors - 1]);
    return runs[rows - 1][positions - 1][vectors - 1];
  }
};

// Those of a `Kind`: `Kind::run<rows, positions, vectors>`.
template <class Kind, int ROWS, int POSITIONS>
constexpr void add_tiles(Tiles<typename Kind::Arguments>& all) {
  if constexpr (ROWS * POSITIONS <= MOST_POSITIONS) {
    all.runs[ROWS - 1][POSITIONS - 1][0] = Kind::template run<ROWS, POSITIONS, 1>;
    all.runs[ROWS - 1][POSITIONS - 1][1] = Kind::template run<ROWS, POSITIONS, WIDE>;
  }
  if constexpr (POSITIONS < MOST_POSITIONS) add_tiles<Kind, ROWS, POSITIONS + 1>(all);
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

CORNU_END
