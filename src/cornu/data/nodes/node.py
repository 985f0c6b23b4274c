"""A step of a data set: it opens a pass over its elements from passes over others'."""

from contextlib import contextmanager
from typing import Any

from cornu.data.passes import Pass, Stream
from cornu.data.position import random_state, set_random_state

# What `cardinality` says where there is no number.
INFINITE, UNKNOWN = -1, -2


class Node:
    """A step, with the steps that it takes its elements from.

    A subclass defines `open`, and what else is not as in its only parent.
    """

    def __init__(self, *parents: "Node"):
        self.parents = parents

    def open(self) -> Pass:
        """Begin a pass."""
        raise NotImplementedError

    def length(self) -> int:
        """How many elements a pass has, `INFINITE` or `UNKNOWN`."""
        return self.parents[0].length() if self.parents else UNKNOWN

    def spec(self):
        """The structure of `TensorSpec`s of an element; a shape of None is one of an unknown rank."""
        return self.parents[0].spec()

    def state(self) -> Any:
        """What differs between passes, in plain values."""

    def restore(self, state) -> None:
        """Put back what `state` returned, in this or another process."""

    def sample(self):
        """The first element; everything is then as it was."""
        with unchanged(self):
            opened = self.open()
            for element in opened.read():
                if isinstance(opened, Stream):
                    opened.close()
                return element
        raise ValueError("The data set has no elements, so there is none to see its shapes in.")


def walk(node: Node) -> list[Node]:
    """A node and all that it takes elements from, parents first, each once."""
    found: dict[int, Node] = {}

    def visit(one):
        if id(one) not in found:
            for parent in one.parents:
                visit(parent)
            found[id(one)] = one

    visit(node)
    return list(found.values())


def states(node: Node) -> list:
    """The states of a node and of all before it."""
    return [one.state() for one in walk(node)]


def restore_states(node: Node, kept: list) -> None:
    """Put back what `states` returned."""
    nodes = walk(node)
    if len(kept) != len(nodes):
        raise ValueError(
            f"The data set consisted of {len(kept)} steps when its position was kept, and has {len(nodes)} "
            "now. Delete the backup to start from the beginning."
        )
    for one, state in zip(nodes, kept, strict=True):
        one.restore(state)


@contextmanager
def unchanged(node: Node):
    """Within, a pass may be begun that leaves no trace."""
    kept, random = states(node), random_state()
    try:
        yield
    finally:
        restore_states(node, kept)
        set_random_state(random)
