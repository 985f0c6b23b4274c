#include "gather_tile.h"

CORNU_BEGIN

#ifdef CORNU_PAIRS
const Tiles<Panel> gather_tiles_of_pairs = tiles_of<GatherTile<PAIRS>>();
#else
const Tiles<Panel> gather_tiles_of_pairs{};
#endif

CORNU_END
