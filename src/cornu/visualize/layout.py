"""Where the boxes of a drawn graph go: ranks, order within ranks, coordinates.

In ranks from top to bottom, each box below all boxes that lead to it; an edge over several ranks gets a
node of its own in each, so that it crosses no box. Source: Sugiyama, Tagawa and Toda 1981.
"""

from dataclasses import dataclass, field
from itertools import pairwise

GAP, RANK_GAP = 26.0, 34.0
# Width that an edge takes where it passes a rank.
_LANE = 14.0
_SWEEPS = 12


@dataclass
class Node:
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
        `(nodes, routes, width, height)`: a `Node` for each box, and for each edge the points between its
        ends, from top to bottom: two for each rank that it passes.

    >>> from cornu.visualize.layout import arrange
    >>> nodes, routes, width, height = arrange([(40, 20), (40, 20)], [(0, 1)])
    >>> nodes[0].x == nodes[1].x, nodes[0].y < nodes[1].y, routes
    (True, True, [[]])
    """
    nodes = [Node(*size) for size in sizes]
    rank = _ranks(len(sizes), edges)
    rows: list[list[Node]] = [[] for _ in range(max(rank, default=0) + 1)]
    for node, number in zip(nodes, rank, strict=True):
        rows[number].append(node)
    routes = []
    for start, end in edges:
        here, route = nodes[start], []
        for number in range(rank[start] + 1, rank[end]):
            lane = Node(_LANE, 0.0)
            rows[number].append(lane)
            route.append(lane)
            _join(here, lane)
            here = lane
        _join(here, nodes[end])
        routes.append(route)
    _order(rows)
    _set_coordinates(rows)
    left = min(p.x - p.width / 2 for row in rows for p in row)
    for row in rows:
        for node in row:
            node.x -= left
    width = max(p.x + p.width / 2 for row in rows for p in row)
    y = 0.0
    for row in rows:
        height = max(p.height for p in row)
        for node in row:
            node.y = y + height / 2
            if not node.height:
                # An edge goes straight through a rank.
                node.height = height
        y += height + RANK_GAP
    points = [
        [(lane.x, lane.y + end * lane.height / 2) for lane in route for end in (-1, 1)]
        for route in routes
    ]
    return nodes, points, width, y - RANK_GAP


def _join(upper: Node, lower: Node) -> None:
    upper.below.append(lower)
    lower.above.append(upper)


def _ranks(count: int, edges) -> list[int]:
    """The longest way to each box; boxes without inputs are right above what they lead to."""
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
    """Sort each rank by the mean position of the neighbours, downwards and upwards in turns."""
    best, fewest = [list(row) for row in rows], _crossings(rows)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for number in range(len(rows)) if down else range(len(rows) - 1, -1, -1):
            near = number - 1 if down else number + 1
            if not 0 <= near < len(rows):
                continue
            index = {id(p): i for i, p in enumerate(rows[near])}
            own = {id(p): i for i, p in enumerate(rows[number])}

            def mean(node, index=index, own=own, down=down):
                found = [index[id(p)] for p in (node.above if down else node.below)]
                return sum(found) / len(found) if found else own[id(node)]

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
        for node in row:
            node.x = x + node.width / 2
            x += node.width + GAP
    for sweep in range(2 * _SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            wanted = []
            for node in row:
                near = (node.above or node.below) if down else (node.below or node.above)
                wanted.append(sum(p.x for p in near) / len(near) if near else node.x)
            _put(row, wanted)


def _put(row, wanted: list[float]) -> None:
    """Put the boxes of a rank as near as possible to where they should be, without touching."""
    # Groups of boxes that touch move together, to the mean of what they want.
    groups: list[list] = []
    for node, x in zip(row, wanted, strict=True):
        groups.append([[node], [x], 0.0])
        _settle(groups[-1])
        while len(groups) > 1 and _end(groups[-2]) + GAP > _start(groups[-1]):
            last = groups.pop()
            groups[-1][0] += last[0]
            groups[-1][1] += last[1]
            _settle(groups[-1])
    for nodes, _, start in groups:
        x = start
        for node in nodes:
            node.x = x + node.width / 2
            x += node.width + GAP


def _settle(group) -> None:
    nodes, wanted, _ = group
    offset, total = 0.0, 0.0
    for node, x in zip(nodes, wanted, strict=True):
        total += x - (offset + node.width / 2)
        offset += node.width + GAP
    group[2] = total / len(nodes)


def _start(group) -> float:
    return group[2]


def _end(group) -> float:
    return group[2] + sum(p.width for p in group[0]) + GAP * (len(group[0]) - 1)
