// Sums over what output positions see through the same tap: each number of a weight gradient is one of them.
#pragma once

#include "tiles.h"

CORNU_BEGIN

// Call function(image, gradient) for each row of output positions, with what its first pixel sees and where its
// gradients begin.
template <class Function>
CORNU_INLINE void for_each_row(const TransposedPanel& s, const Function& function) {
  CORNU_ASSERT(s.images > 0 && s.planes > 0 && s.rows > 0 && s.pixels > 0 && s.channels > 0);
  for (int64_t i = 0; i < s.images; ++i)
    for (int64_t d = 0; d < s.planes; ++d)
      for (int64_t h = 0; h < s.rows; ++h)
        function(s.image + i * s.image_step + d * s.plane_step + h * s.row_step,
                 i * s.gradient_image + d * s.gradient_plane + h * s.gradient_row);
}

// Sums by row, position and vector, of which not all lanes are results.
inline void store_first_sums(const TransposedPanel& s, const Vector* sum, int rows, int positions, int vectors) {
  for (int r = 0; r < rows; ++r)
    for (int p = 0; p < positions; ++p)
      for (int v = 0; v < vectors; ++v, ++sum) {
        const int64_t count = s.channels - v * LANES;
        if (count <= 0) continue;
        float* to = s.result + r * s.result_run + p * s.result_step + v * LANES;
        store_first(to, s.add ? *sum + load_first(to, count) : *sum, count);
      }
}

template <int R, int P, int V>
CORNU_INLINE void store_sums(const Tile<R, P, V>& tile, const TransposedPanel& s) {
  if (s.channels < V * LANES) {
    Vector sums[R * P * V];
    CORNU_UNROLL for (int i = 0; i < R * P * V; ++i) sums[i] = tile.sum[i / V][i % V];
    store_first_sums(s, sums, R, P, V);
    return;
  }
  CORNU_UNROLL for (int r = 0; r < R; ++r)
    CORNU_UNROLL for (int p = 0; p < P; ++p)
      CORNU_UNROLL for (int v = 0; v < V; ++v) {
        float* to = s.result + r * s.result_run + p * s.result_step + v * LANES;
        store(to, s.add ? tile.sum[r * P + p][v] + load(to) : tile.sum[r * P + p][v]);
      }
}

CORNU_END
