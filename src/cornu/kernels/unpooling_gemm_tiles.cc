#include "transposed_gemm_tile.h"

CORNU_BEGIN
namespace {

struct UnpoolingGemmTile {
  typedef UnpoolingPanel Arguments;
  template <int R, int P, int V>
  static void run(const UnpoolingPanel& s) {
    Tile<R, P, V> tile;
    tile.clear(tile);
    CORNU_ASSERT(s.argmax && s.pool_size > 0);
    for_each_row(s, [&](const float* image, int64_t from) {
      for (int64_t w = 0; w < s.pixels; ++w, image += s.pixel_step, from += s.gradient_step) {
        Vector gradient[V];
        Integers argmax[V];
        CORNU_UNROLL for (int v = 0; v < V; ++v) {
          const int64_t at = from + v * LANES, count = s.channels - v * LANES;
          gradient[v] = load_first(s.gradient + at, count);
          argmax[v] = load_bytes(s.argmax + at, count);
        }
        for (int64_t k = 0; k < s.pool_size; ++k) {
          const float* window = image + s.pool_offsets[k];
          Vector here[V];
          CORNU_UNROLL for (int v = 0; v < V; ++v)
            here[v] = argmax[v] == Integers{} + int32_t(k) ? gradient[v] : Vector{};
          CORNU_UNROLL for (int r = 0; r < R; ++r)
            CORNU_UNROLL for (int p = 0; p < P; ++p) {
              const Vector factor = broadcast(window[r * s.run_step + p]);
              CORNU_UNROLL for (int v = 0; v < V; ++v)
                tile.sum[r * P + p][v] += factor * here[v];
            }
        }
      }
    });
    store_sums(tile, s);
  }
};

}  // namespace

const Tiles<UnpoolingPanel> unpooling_gemm_tiles = tiles_of<UnpoolingGemmTile>();

CORNU_END
