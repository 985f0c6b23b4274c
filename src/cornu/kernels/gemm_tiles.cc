#include "gemm_tile.h"

CORNU_BEGIN

const Tiles<Panel> gemm_tiles = tiles_of<GemmTile<SINGLES>>();

CORNU_END
