#include "gemm_tile.h"

CORNU_BEGIN

#ifdef CORNU_PAIRS
const Tiles<Panel> gemm_tiles_of_pairs = tiles_of<GemmTile<PAIRS>>();
#else
const Tiles<Panel> gemm_tiles_of_pairs{};
#endif

CORNU_END
