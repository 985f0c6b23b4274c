"""`cornu.tree` beside `keras.tree`."""

from collections import Counter, OrderedDict, defaultdict, deque, namedtuple

import keras
import numpy as np
import pytest

from cornu import tree

Pair = namedtuple("Pair", "a b")
Other = namedtuple("Pair", "a b")

STRUCTURES = [
    1,
    None,
    "ab",
    [],
    (),
    {},
    [1, [2, (3, None)], {"b": 4, "a": [5]}],
    {"z": 1, "a": {"y": 2, "b": 3}},
    OrderedDict(z=1, a=[2]),
    defaultdict(list, {"z": 1, "a": 2}),
    deque([1, [2]]),
    Pair(1, [2, Pair(3, 4)]),
    Counter("ab"),
    [(2, 3), (None, 4)],
]
each = pytest.mark.parametrize("structure", STRUCTURES, ids=repr)


def kinds(structure):
    """A structure with the types and orders that `==` leaves out."""
    if isinstance(structure, dict):
        return type(structure), [(key, kinds(value)) for key, value in structure.items()]
    if isinstance(structure, list | tuple | deque):
        return type(structure), [kinds(value) for value in structure]
    return structure


def outcome(function, *arguments, **more):
    try:
        return kinds(function(*arguments, **more))
    except (TypeError, ValueError) as error:
        return type(error)


def same(name, *arguments, **more):
    mine, theirs = (outcome(getattr(m, name), *arguments, **more) for m in (tree, keras.tree))
    assert mine == theirs


@each
def test_one_structure(structure):
    same("is_nested", structure)
    same("flatten", structure)
    same("flatten_with_path", structure)
    same("lists_to_tuples", structure)
    same("map_shape_structure", lambda shape: ("shape", shape), structure)
    for none_is_leaf in (True, False):
        same("map_structure", lambda leaf: ("leaf", leaf), structure, none_is_leaf=none_is_leaf)


@each
def test_packing(structure):
    size = len(tree.flatten(structure))
    for count in (size, size + 1, size - 1):
        same("pack_sequence_as", structure, list(range(max(count, 0))))
    same("pack_sequence_as", structure, 7)


@each
@pytest.mark.parametrize("top_down", [True, False])
def test_traversal(structure, top_down):
    visited = [], []
    for module, seen in zip((tree, keras.tree), visited, strict=True):
        assert (
            module.traverse(lambda part, seen=seen: seen.append(kinds(part)), structure)
            == structure
        )
    assert visited[0] == visited[1]

    def change(module):
        def function(part):
            if type(part) is tuple:
                return module.MAP_TO_NONE
            return -part if isinstance(part, int) else None

        return function

    changed = [kinds(m.traverse(change(m), structure, top_down)) for m in (tree, keras.tree)]
    assert changed[0] == changed[1]


@each
def test_two_structures(structure):
    for other in [*STRUCTURES, Other(1, [2, Pair(3, 4)])]:
        same("map_structure", lambda a, b: (a, b), structure, other)
        same("assert_same_structure", structure, other)
        same("assert_same_paths", structure, other)
        # Keras' own example has None for a leaf here, and fails.
        if None not in tree.flatten(structure):
            same("map_structure_up_to", structure, lambda a: ("leaf", kinds(a)), other)


def test_none_is_a_leaf_of_a_shallow_structure():
    assert tree.map_structure_up_to([None, [None, None]], str, [[1, 1], [2, 2]]) == [
        "[1, 1]",
        ["2", "2"],
    ]


def test_misuse():
    for name, arguments in {
        "map_structure": (len,),
        "map_structure_up_to": ([1], len),
        "traverse": (1, [2]),
    }.items():
        with pytest.raises((TypeError, ValueError)):
            getattr(tree, name)(*arguments)
    with pytest.raises(TypeError):
        tree.map_structure(1, [2])
    with pytest.warns(DeprecationWarning, match="check_types"):
        tree.assert_same_structure([1], [2], check_types=False)


def test_arrays_are_leaves():
    assert tree.map_structure(np.shape, {"a": np.ones(3), "b": [np.ones((2, 1))]}) == {
        "a": (3,),
        "b": [(2, 1)],
    }
