#include "transposed_gemm_tile.h"

CORNU_BEGIN
namespace {

struct TransposedGemmTile {
  typedef TransposedPanel Arguments;
  template <int R, int P, int V>
  static void run(const TransposedPanel& s) {
    Tile<R, P, V> tile;
    tile.clear(tile);
    // The weights of many units are far away by the time that they are written.
    for (int r = 0; r < R; ++r)
      for (int p = 0; p < P; ++p) {
        const float* to = s.result + r * s.result_run + p * s.result_step;
        for (int v = 0; v < V; ++v) prefetch_to_write(to + v * LANES);
        prefetch_to_write(to + V * LANES - 1);
      }
    for_each_row(s, [&](const float* image, int64_t from) {
      tile.template multiply<'p'>(tile, image, s.run_step, 1, s.pixel_step, s.gradient + from,
                                  s.gradient_step, s.pixels);
    });
    store_sums(tile, s);
  }
};

}  // namespace

const Tiles<TransposedPanel> transposed_gemm_tiles = tiles_of<TransposedGemmTile>();

CORNU_END
