"""What a model holds as nested dicts of arrays, by the paths of its variables."""

from typing import Any

import numpy as np

_FORMATS = ("backend_tensor", "numpy_array")


def _variables(model) -> dict[str, list]:
    """All variables by what they are for."""
    return {
        "trainable_variables": model.trainable_variables,
        "non_trainable_variables": model.non_trainable_variables,
        "optimizer_variables": [] if model.optimizer is None else model.optimizer.variables,
        "metrics_variables": model.metrics_variables,
    }


def get_state_tree(model, value_format: str) -> dict[str, dict]:
    """The values of all variables: see `Model.get_state_tree`."""
    if value_format not in _FORMATS:
        raise ValueError(
            f"Invalid `value_format` argument. Expected one of {_FORMATS}. "
            f"Received: value_format={value_format!r}"
        )
    return {kind: _nested(variables, value_format) for kind, variables in _variables(model).items()}


def _nested(variables, value_format: str) -> dict:
    tree: dict[str, Any] = {}
    known: set[str] = set()
    for variable in variables:
        if variable.path in known:
            raise ValueError(
                f"The following variable path is found twice in the model: {variable.path!r}. A tree "
                "cannot hold both: give the layers (and other objects) unique names."
            )
        known.add(variable.path)
        *folders, name = variable.path.split("/")
        inner = tree
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[name] = variable.value if value_format == "backend_tensor" else variable.numpy()
    return tree


def set_state_tree(model, state_tree: dict[str, dict]) -> None:
    """Assign what such a tree holds: see `Model.set_state_tree`."""
    variables = _variables(model)
    assigned = []
    for kind, tree in state_tree.items():
        if kind not in variables:
            raise ValueError(f"Unknown variable name: {kind}. Known: {', '.join(variables)}.")
        by_path = {variable.path: variable for variable in variables[kind]}
        for path, value in _flat(tree, "").items():
            if path not in by_path:
                raise ValueError(
                    f"Model '{model.name}' has none among its `{kind}` with the path {path!r}. It has: "
                    f"{', '.join(by_path) or 'none'}."
                )
            if by_path[path].shape != np.shape(value):
                raise ValueError(
                    f"The value for the variable {path!r} of shape {by_path[path].shape} has the shape "
                    f"{np.shape(value)}."
                )
            assigned.append((by_path[path], value))
    # What does not fit leaves the model as it was.
    for variable, value in assigned:
        variable.assign(value)


def _flat(tree: dict, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        more = (
            _flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
        )
        found.update(more)
    return found
