// Sums over what windows see: each result is one of them.
#pragma once

#include "tiles.h"

CORNU_BEGIN

template <Format FORMAT>
struct GemmTile {
  typedef Panel Arguments;
  template <int R, int P, int V>
  static void run(const Panel& panel) {
    Tile<R, P, V> tile;
    tile.clear(tile);
    CORNU_ASSERT(!panel.epilogue || panel.channels > (V - 1) * LANES);
    const float* weights = panel.weights;
    for (int64_t s = 0; s < panel.num_segments; ++s) {
      const Segment segment = panel.segments[s];
      tile.template multiply<'j', FORMAT>(tile, panel.in + segment.offset, panel.in_row,
                                          panel.in_pixel, 1, weights, V * LANES, segment.count);
      weights += segment.count * V * LANES;
    }
    if (panel.epilogue) {
      // They leave their registers, so that one function serves tiles of all sizes.
      Vector sums[R * P * V];
      CORNU_UNROLL for (int i = 0; i < R * P * V; ++i) sums[i] = tile.sum[i / V][i % V];
      panel.epilogue(panel, sums, R, P, V);
      return;
    }
    float* out = static_cast<float*>(panel.out);
    CORNU_UNROLL for (int r = 0; r < R; ++r)
      CORNU_UNROLL for (int p = 0; p < P; ++p)
        CORNU_UNROLL for (int v = 0; v < V; ++v)
          store(out + r * panel.out_row + p * panel.out_pixel + v * LANES, tile.sum[r * P + p][v]);
  }
};

CORNU_END
