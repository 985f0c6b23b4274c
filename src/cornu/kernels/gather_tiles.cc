#include "gather_tile.h"

CORNU_BEGIN

const Tiles<Panel> gather_tiles = tiles_of<GatherTile<SINGLES>>();

CORNU_END
