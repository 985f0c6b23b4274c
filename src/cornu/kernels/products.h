// Products of matrices that lie in memory, by the tiles of convolutions.
#pragma once

#include "tiles.h"

CORNU_BEGIN

// result(i, n) = sum of a(i, j) * b(j, n) over `count` j, for so many vectors of n, at most `WIDE`; the rows of `b`
// are as long. Whole vectors of the result are written.
inline void multiply(const float* a, ix width, const float* b, ix count, float* result, ix result_width, ix rows,
                     ix vectors) {
  const Segment all{0, count};
  Panel panel{};
  panel.in_pixel = width;
  panel.segments = &all;
  panel.num_segments = 1;
  panel.weights = b;
  panel.out_pixel = result_width;
  for (ix i = 0; i < rows;) {
    const ix piece = next_piece(rows - i, MOST_POSITIONS);
    panel.in = a + i * width;
    panel.out = result + i * result_width;
    gemm_tiles.of(1, piece, vectors)(panel);
    i += piece;
  }
}

// result(i, n) = sum of a(j, i) * b(j, n) over `count` j, or that is added. The rows of the result are as long as
// those of `b`.
inline void multiply_transposed(const float* a, ix a_width, const float* b, ix b_width, ix count, float* result,
                                ix rows, ix vectors, bool add) {
  TransposedPanel sum{};
  sum.gradient = b;
  sum.images = sum.planes = sum.rows = 1;
  sum.pixels = count;
  sum.pixel_step = a_width;
  sum.gradient_step = sum.result_step = b_width;
  sum.channels = vectors * LANES;
  sum.add = add;
  for (ix i = 0; i < rows;) {
    const ix piece = next_piece(rows - i, MOST_POSITIONS);
    sum.image = a + i;
    sum.result = result + i * b_width;
    transposed_gemm_tiles.of(1, piece, vectors)(sum);
    i += piece;
  }
}

CORNU_END
