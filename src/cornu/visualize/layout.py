"""Where the boxes of a drawn graph go: ranks, order within ranks, coordinates.

In ranks from top to bottom, each box below all boxes that lead to it; an edge over several ranks gets a
place of its own in each, so that it crosses no box. Source: Sugiyama, Tagawa and Toda 1981.
"""

from dataclasses import dataclass, field
from itertools import pairwise

GAP, RANK_GAP = 26.0, 34.0
# Width that an edge takes where it passes a rank.
_LANE = 14.0
_SWEEPS = 12


@dataclass
class Place:
    """A box, or a point where a long edge passes a rank; `x` and `y` are its middle."""

    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    above: list = field(default_factory=list)
    below: list = field(default_factory=list)


def arrange(sizes: list[tuple[float, float]], edges: list[tuple[int, int]]):
    """Coordinates for boxes of given sizes and edges between them (from, to), which have no cycle.

    Returns:
        `(places, routes, width, height)`: a `Place` for each box, and for each edge the points between its
        ends, from top to bottom: two for each rank that it passes.

    >>> from cornu.visualize.layout import arrange
    >>> places, routes, width, height = arrange([(40, 20), (40, 20)], [(0, 1)])
    >>> places[0].x == places[1].x, places[0].y < places[1].y, routes
    (True, True, [[]])
    """
    places = [Place(*size) for size in sizes]
    rank = _ranks(len(sizes), edges)
    rows: list[list[Place]] = [[] for _ in range(max(rank, default=0) + 1)]
    for place, number in zip(places, rank, strict=True):
        rows[number].append(place)
    routes = []
    for start, end in edges:
        here, route = places[start], []
        for number in range(rank[start] + 1, rank[end]):
            lane = Place(_LANE, 0.0)
            rows[number].append(lane)
            route.append(lane)
            _join(here, lane)
            here = lane
        _join(here, places[end])
        routes.append(route)
    _order(rows)
    _set_coordinates(rows)
    left = min(p.x - p.width / 2 for row in rows for p in row)
    for row in rows:
        for place in row:
            place.x -= left
    width = max(p.x + p.width / 2 for row in rows for p in row)
    y = 0.0
    for row in rows:
        height = max(p.height for p in row)
        for place in row:
            place.y = y + height / 2
            if not place.height:
                # An edge goes straight through a rank.
                place.height = height
        y += height + RANK_GAP
    points = [
        [(lane.x, lane.y + end * lane.height / 2) for lane in route for end in (-1, 1)]
        for route in routes
    ]
    return places, points, width, y - RANK_GAP


def _join(upper: Place, lower: Place) -> None:
    upper.below.append(lower)
    lower.above.append(upper)


def _ranks(count: int, edges) -> list[int]:
    """The longest way to each box; boxes that nothing leads to stand right above what they lead to."""
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for start, end in edges:
        before[end].append(start)
        after[start].append(end)
    rank, missing = [0] * count, [len(b) for b in before]
    ready = [n for n in range(count) if not missing[n]]
    order = []
    while ready:
        here = ready.pop()
        order.append(here)
        for end in after[here]:
            rank[end] = max(rank[end], rank[here] + 1)
            missing[end] -= 1
            if not missing[end]:
                ready.append(end)
    if len(order) < count:
        raise ValueError("The graph has a cycle.")
    for here in reversed(order):
        if not before[here] and after[here]:
            rank[here] = min(rank[end] for end in after[here]) - 1
    return rank


def _order(rows) -> None:
    """Sort each rank by the mean place of the neighbours, downwards and upwards in turns."""
    best, fewest = [list(row) for row in rows], _crossings(rows)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for number in range(len(rows)) if down else range(len(rows) - 1, -1, -1):
            near = number - 1 if down else number + 1
            if not 0 <= near < len(rows):
                continue
            index = {id(p): i for i, p in enumerate(rows[near])}
            own = {id(p): i for i, p in enumerate(rows[number])}

            def mean(place, index=index, own=own, down=down):
                found = [index[id(p)] for p in (place.above if down else place.below)]
                return sum(found) / len(found) if found else own[id(place)]

            rows[number].sort(key=mean)
        crossings = _crossings(rows)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    for row, ordered in zip(rows, best, strict=True):
        row[:] = ordered


def _crossings(rows) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        index = {id(p): i for i, p in enumerate(lower)}
        ends = [index[id(b)] for a in upper for b in sorted(a.below, key=lambda p: index[id(p)])]
        total += sum(1 for i, a in enumerate(ends) for b in ends[i + 1 :] if a > b)
    return total


def _set_coordinates(rows) -> None:
    for row in rows:
        x = 0.0
        for place in row:
            place.x = x + place.width / 2
            x += place.width + GAP
    for sweep in range(2 * _SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            wanted = []
            for place in row:
                near = (place.above or place.below) if down else (place.below or place.above)
                wanted.append(sum(p.x for p in near) / len(near) if near else place.x)
            _put(row, wanted)


def _put(row, wanted: list[float]) -> None:
    """Put the boxes of a rank as near as possible to where they should be, without touching."""
    # Groups of boxes that touch move together, to the mean of what they want.
    groups: list[list] = []
    for place, x in zip(row, wanted, strict=True):
        groups.append([[place], [x], 0.0])
        _settle(groups[-1])
        while len(groups) > 1 and _end(groups[-2]) + GAP > _start(groups[-1]):
            last = groups.pop()
            groups[-1][0] += last[0]
            groups[-1][1] += last[1]
            _settle(groups[-1])
    for places, _, start in groups:
        x = start
        for place in places:
            place.x = x + place.width / 2
            x += place.width + GAP


def _settle(group) -> None:
    places, wanted, _ = group
    offset, total = 0.0, 0.0
    for place, x in zip(places, wanted, strict=True):
        total += x - (offset + place.width / 2)
        offset += place.width + GAP
    group[2] = total / len(places)


def _start(group) -> float:
    return group[2]


def _end(group) -> float:
    return group[2] + sum(p.width for p in group[0]) + GAP * (len(group[0]) - 1)
