"""What is given for a structure of outputs, brought into the order in which they are flattened."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax


class Outputs:
    """What is known of a model's outputs before there are numbers.

    Args:
        structure: of tensors, or of what stands for them.
        names: one for each, in the order in which they are flattened.
        are_layers: whether the names are those of layers. Else they only stand for positions.
    """

    def __init__(self, structure, names: list[str], are_layers: bool):
        self.structure, self.names, self.are_layers = structure, names, are_layers
        self.is_flat_dict = isinstance(structure, dict) and len(structure) == len(names)

    def __len__(self) -> int:
        return len(self.names)

    def name_of_loss(self, index: int, loss) -> str:
        """The name of an output's loss in logs, without `_loss`: its path, such as `0/a`.

        A position at the end of the path is replaced by the layer's name or, where there is none, by
        that of the loss.
        """
        path, _ = jax.tree_util.tree_leaves_with_path(self.structure)[index]
        parts = [str(getattr(part, "key", getattr(part, "idx", part))) for part in path]
        if not path or not isinstance(path[-1], jax.tree_util.DictKey):
            own = self.names[index] if self.are_layers else getattr(loss, "name", "loss")
            parts = [*parts[:-1], own]
        return "/".join(parts)

    def prefix_of_metrics(self, index: int) -> str:
        """What stands before the names of an output's metrics in logs."""
        if len(self) == 1:
            return ""
        if self.is_flat_dict:
            return f"{[key for key, _ in entries(self.structure)][index]}_"
        return f"{self.names[index]}_" if self.are_layers else ""

    def describe(self):
        """The names in the structure, for messages."""
        if is_container(self.structure) and (
            isinstance(self.structure, dict) or any(map(is_container, self.structure))
        ):
            return jax.tree.unflatten(jax.tree.structure(self.structure), self.names)
        return self.names


def is_container(value) -> bool:
    """Whether it's a list, tuple or dict, and not the configuration of an object."""
    return isinstance(value, list | tuple) or (
        isinstance(value, dict) and "class_name" not in value
    )


def entries(structure) -> list[tuple]:
    """The keys and values of a dict, or numbers and values of a list, as they are flattened."""
    if not isinstance(structure, dict):
        return list(enumerate(structure))
    is_ordered = isinstance(structure, OrderedDict)
    return [(key, structure[key]) for key in (structure if is_ordered else sorted(structure))]


def per_output(given, outputs: Outputs, what: str) -> list:
    """Spread an argument of `compile` over the outputs: by structure, name, position, or the same for all.

    What is given for one output may be a list itself.
    """
    structure, names = outputs.structure, outputs.names
    if not is_container(given):
        return [given] * len(outputs)
    found = along(given, structure, lambda entry: entry)
    if found is not None:
        if len(outputs) == 1 and found[0] is given and isinstance(given, dict):
            return [_named(given, outputs, what).get(names[0])]
        return found
    if isinstance(given, dict):
        by_name = _named(given, outputs, what)
        return [by_name.get(name) for name in names]
    if len(outputs) == 1 or not given:
        return [given or None] * len(outputs)
    if len(given) == len(outputs) and (outputs.is_flat_dict or not any(map(is_container, given))):
        return list(given)
    raise ValueError(
        f"For a model with multiple outputs, when providing the `{what}` argument as a "
        f"list, it should have as many entries as the model has outputs, or their structure. "
        f"Received:\n{what}={given}\nof length {len(given)} whereas the model has {len(outputs)} "
        f"outputs: {outputs.describe()}."
    )


def order_given(given, outputs: Outputs) -> list[int]:
    """The numbers of the outputs, in the order in which dicts name them; else as they are flattened."""

    def walk(given, part):
        if isinstance(given, dict) and isinstance(part, dict):
            for key in [*given, *part]:
                yield from walk(given.get(key), part[key]) if key in part else ()
        elif is_container(given) and is_container(part) and len(given) == len(part):
            for entry, of_it in zip(given, part, strict=True):
                yield from walk(entry, of_it)
        else:
            yield from jax.tree.leaves(part)

    numbers = jax.tree.unflatten(jax.tree.structure(outputs.structure), range(len(outputs)))
    return list(dict.fromkeys(walk(given, numbers)))


def _named(given: dict, outputs: Outputs, what: str) -> dict:
    unknown = [key for key in given if key not in outputs.names]
    if unknown:
        raise ValueError(
            f"In the dict argument `{what}`, key '{unknown[0]}' does not correspond to any "
            f"model output. Received: {what}={given}. The outputs are {outputs.describe()}."
        )
    return given


def along(given, structure, leaf: Callable, spreads: bool = True) -> list | None:
    """What is given for each leaf of a structure that has the same containers; None if it has others.

    Args:
        given: what a dict lacks counts as None, which stands for a whole part, too.
        structure: of the outputs.
        leaf: makes the result of what is given for one output, or raises LookupError if that can't be.
        spreads: whether one value counts for all outputs in its part of the structure.
    """
    try:
        return _along(given, structure, leaf, spreads)
    except LookupError:
        return None


def _along(given, structure, leaf, spreads) -> list:
    if not is_container(structure):
        return [leaf(given)]
    if given is None or (spreads and not is_container(given)):
        return [given] * len(jax.tree.leaves(structure))
    parts: list[Any]
    if isinstance(given, dict) and isinstance(structure, dict):
        if any(key not in structure for key in given):
            raise LookupError
        parts = [(given.get(key), part) for key, part in entries(structure)]
    elif isinstance(given, list | tuple) and isinstance(structure, list | tuple):
        if len(given) != len(structure):
            raise LookupError
        parts = list(zip(given, structure, strict=True))
    else:
        raise LookupError
    return [found for one, part in parts for found in _along(one, part, leaf, spreads)]


def align(targets, structure, names: list[str], what: str = "y", trained=()) -> list:
    """The targets in the order of the flattened outputs; None where there is none.

    Args:
        targets: for all outputs, or for those alone that have a loss.
        structure: of the outputs.
        names: of the outputs.
        what: the argument that the targets come from.
        trained: the numbers of the outputs that have a loss.
    """
    count = len(jax.tree.leaves(structure))
    if targets is None:
        return [None] * count
    if 0 < len(trained) < count and not isinstance(targets, dict):
        few = list(targets) if isinstance(targets, list | tuple) else [targets]
        is_few = len(few) == len(trained) and not any(map(is_container, few))
        if is_few and (what == "y" or isinstance(targets, list | tuple)):
            filled: list[Any] = [None] * count
            for index, target in zip(trained, few, strict=True):
                filled[index] = target
            return filled
    if not isinstance(targets, list | tuple | dict):
        if count > 1 and what == "y":
            raise ValueError(
                f"The model has {count} outputs ({', '.join(names)}), but `y` is one array. Pass a "
                "list of arrays, or a dict from the outputs' names."
            )
        return [targets] * count
    found = along(targets, structure, _one_array, spreads=what != "y")
    if found is not None:
        return found
    if isinstance(targets, dict):
        missing = [name for name in targets if name not in names]
        if not missing:
            return [targets.get(name) for name in names]
        if isinstance(structure, dict) or not jax.tree.leaves(targets):
            raise ValueError(
                f"`{what}` is a dict with the key '{missing[0]}', but the model has no output of "
                f"that name. The outputs are {Outputs(structure, names, True).describe()}."
            )
    leaves = list(targets) if isinstance(targets, list | tuple) else []
    if len(leaves) != count or any(isinstance(part, list | tuple | dict) for part in leaves):
        leaves = jax.tree.leaves(targets)
    if len(leaves) != count:
        raise ValueError(
            f"The model has {count} outputs ({', '.join(names)}), but `{what}` has "
            f"{len(leaves)} entries."
        )
    return leaves


def _one_array(targets):
    if not isinstance(targets, list | tuple | dict):
        return targets
    leaves = jax.tree.leaves(targets)
    if isinstance(targets, dict) or len(leaves) != 1:
        raise LookupError
    return leaves[0]
