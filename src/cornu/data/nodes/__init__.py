"""The steps that a data set is made of: each opens a pass over its elements from passes over others'."""

from cornu.data.nodes.batches import Batched, Padded, Unbatched, Windowed
from cornu.data.nodes.functions import Called, Filtered, Flattened, Mapped
from cornu.data.nodes.node import INFINITE, UNKNOWN, Node, restore_states, states, unchanged, walk
from cornu.data.nodes.selection import Ahead, Cached, Repeated, Shuffled, Some, Undamaged, Whole
from cornu.data.nodes.several import Chained, Chosen, Zipped
from cornu.data.nodes.sources import Draws, Generated, Numbers, RandomNumbers, Records, Slices

__all__ = [
    "INFINITE",
    "UNKNOWN",
    "Ahead",
    "Batched",
    "Cached",
    "Called",
    "Chained",
    "Chosen",
    "Draws",
    "Filtered",
    "Flattened",
    "Generated",
    "Mapped",
    "Node",
    "Numbers",
    "Padded",
    "RandomNumbers",
    "Records",
    "Repeated",
    "Shuffled",
    "Slices",
    "Some",
    "Unbatched",
    "Undamaged",
    "Whole",
    "Windowed",
    "Zipped",
    "restore_states",
    "states",
    "unchanged",
    "walk",
]
