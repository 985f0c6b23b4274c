"""Structures of lists, tuples and dicts, and what is in them.  Source: Keras: keras.tree.

Nested are `list`, `tuple`, `dict`, `OrderedDict`, `defaultdict`, `deque` and named tuples, not classes
derived from them. All else is a leaf, None too. What a dict holds comes in the order of its sorted
keys, what an `OrderedDict` holds in its own.

>>> from cornu import tree
>>> tree.map_structure(lambda n: 2 * n, {"a": [1, 2], "b": (3,)})
{'a': [2, 4], 'b': (6,)}
"""

import warnings
from collections import OrderedDict, defaultdict, deque

__all__ = [
    "MAP_TO_NONE",
    "assert_same_paths",
    "assert_same_structure",
    "flatten",
    "flatten_with_path",
    "is_nested",
    "lists_to_tuples",
    "map_shape_structure",
    "map_structure",
    "map_structure_up_to",
    "pack_sequence_as",
    "traverse",
]

_DICTS = (dict, OrderedDict, defaultdict)


class MAP_TO_NONE:
    """What a function that is given to `traverse` returns in order to put None in a part's place."""


def is_nested(structure) -> bool:
    """Whether a value is a structure, an empty one too, and no leaf.

    >>> from cornu import tree
    >>> tree.is_nested([]), tree.is_nested("ab")
    (True, False)
    """
    cls = type(structure)
    return cls in (list, tuple, deque, *_DICTS) or _is_named(structure)


def _is_named(structure) -> bool:
    return isinstance(structure, tuple) and hasattr(structure, "_fields")


def _keys(structure) -> list:
    if type(structure) is OrderedDict:
        return list(structure)
    return sorted(structure) if type(structure) in _DICTS else list(range(len(structure)))


def _like(structure, entries: dict):
    """A structure of the same kind with other entries, by key."""
    if type(structure) in _DICTS:
        ordered = ((key, entries[key]) for key in structure)
        if type(structure) is defaultdict:
            return defaultdict(structure.default_factory, ordered)
        return type(structure)(ordered)
    values = list(entries.values())
    if type(structure) is deque:
        return deque(values, structure.maxlen)
    return type(structure)(*values) if _is_named(structure) else type(structure)(values)


def _check_match(structure, other) -> None:
    """Raise ValueError unless two nested values have the same kind and keys."""
    if type(structure) in _DICTS and type(other) in _DICTS:
        same = structure.keys() == other.keys()
    else:
        same = type(structure) is type(other) and len(structure) == len(other)
    if not same:
        raise ValueError(
            "Structures don't have the same nested structure. Received: "
            f"{structure!r} and {other!r}"
        )


def flatten(structure) -> list:
    """The leaves.

    >>> from cornu import tree
    >>> tree.flatten({"b": [1, None], "a": 2})
    [2, 1, None]
    """
    return [leaf for _, leaf in flatten_with_path(structure)]


def flatten_with_path(structure) -> list:
    """Each leaf with the keys and indices that lead to it.

    >>> from cornu import tree
    >>> tree.flatten_with_path([{"a": 1}])
    [((0, 'a'), 1)]
    """
    if not is_nested(structure):
        return [((), structure)]
    return [
        ((key, *path), leaf)
        for key in _keys(structure)
        for path, leaf in flatten_with_path(structure[key])
    ]


def map_structure(func, *structures, none_is_leaf=True):
    """The structure of `func(leaf, …)` for the leaves at the same place of one structure or several.

    Args:
        func: function of as many leaves as there are structures.
        structures: of one kind, else ValueError.
        none_is_leaf: whether `func` gets None, too; else it stays None.
    """
    if not callable(func):
        raise TypeError(f"`func` must be callable. Received: {func!r}")
    if not structures:
        raise ValueError("Must provide at least one structure")
    first = structures[0]
    if not is_nested(first):
        for other in structures[1:]:
            if is_nested(other) or (not none_is_leaf and (first is None) != (other is None)):
                raise ValueError(
                    "Structures don't have the same nested structure. Received: "
                    f"{first!r} and {other!r}"
                )
        return None if first is None and not none_is_leaf else func(*structures)
    for other in structures[1:]:
        _check_match(first, other)
    return _like(
        first,
        {
            key: map_structure(func, *[s[key] for s in structures], none_is_leaf=none_is_leaf)
            for key in _keys(first)
        },
    )


def map_structure_up_to(shallow_structure, func, *structures):
    """`map_structure`, where what lies at a leaf of `shallow_structure` counts as one leaf.

    >>> from cornu import tree
    >>> tree.map_structure_up_to([None, None], len, [[1, 1], [2]])
    [2, 1]
    """
    if not structures:
        raise ValueError("Must provide at least one structure")
    if not is_nested(shallow_structure):
        return func(*structures)
    for other in structures:
        _check_match(shallow_structure, other)
    return _like(
        shallow_structure,
        {
            key: map_structure_up_to(shallow_structure[key], func, *[s[key] for s in structures])
            for key in _keys(shallow_structure)
        },
    )


def assert_same_structure(a, b, check_types=None) -> None:
    """Raise ValueError unless two structures differ in their leaves alone.

    Dicts of all kinds are alike; lists, tuples and deques are not. `check_types` does nothing.
    """
    if check_types is not None:
        warnings.warn(
            "The `check_types` argument is deprecated and no longer has any effect. For a looser check, "
            "use `assert_same_paths()`.",
            DeprecationWarning,
            stacklevel=2,
        )
    map_structure(lambda *leaves: None, a, b)


def assert_same_paths(a, b) -> None:
    """Raise ValueError unless the same keys and indices lead to leaves of both structures."""
    own, other = ({path for path, _ in flatten_with_path(s)} for s in (a, b))
    if own != other:
        raise ValueError(
            "`a` and `b` don't have the same paths.\n"
            f"Paths in `a` missing in `b`: {own - other}\nPaths in `b` missing in `a`: {other - own}"
        )


def pack_sequence_as(structure, flat_sequence):
    """The structure with the leaves of a sequence, which are as many.

    >>> from cornu import tree
    >>> tree.pack_sequence_as({"b": 0, "a": [0]}, [1, 2])
    {'b': 2, 'a': [1]}
    """
    leaves, size = list(flat_sequence), len(flatten(structure))
    if len(leaves) != size:
        raise ValueError(
            f"The structure has {size} leaves, but the sequence has {len(leaves)}. Received: "
            f"structure={structure!r}, flat_sequence={flat_sequence!r}"
        )
    rest = iter(leaves)
    return map_structure(lambda _: next(rest), structure)


def traverse(func, structure, top_down=True):
    """The structure with `func(part)` in the place of each part, nested or leaf, where that is not None.

    Args:
        func: called on each part; `MAP_TO_NONE` as its result puts None there.
        structure: any structure.
        top_down: whether it is called on a structure before the parts of it, which are then only looked at
            if its result is None; else after them.
    """
    if not callable(func):
        raise TypeError(f"`func` must be callable. Received: {func!r}")

    def within(part):
        if not is_nested(part):
            return part
        return _like(part, {key: traverse(func, part[key], top_down) for key in _keys(part)})

    part = structure if top_down else within(structure)
    result = func(part)
    if result is None:
        return within(structure) if top_down else part
    return None if result is MAP_TO_NONE else result


def lists_to_tuples(structure):
    """The structure with a tuple in the place of each list."""
    return traverse(lambda part: tuple(part) if type(part) is list else None, structure, False)


def map_shape_structure(func, structure):
    """`map_structure`, where a list or tuple of integers and None is one leaf: a shape."""
    is_shape = isinstance(structure, list | tuple) and all(
        size is None or isinstance(size, int) for size in structure
    )
    if is_shape or not is_nested(structure):
        return func(structure)
    return _like(
        structure, {key: map_shape_structure(func, structure[key]) for key in _keys(structure)}
    )
