"""The table that `model.summary()` prints."""

import math
import re
import shutil
from typing import Any

from cornu.utils.messages import is_interactive_logging_enabled, print_message

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def print_summary(
    model,
    line_length=None,
    positions=None,
    print_fn=None,
    expand_nested=False,
    show_trainable=False,
    layer_range=None,
    explain=False,
) -> None:
    """Print a table of a model's layers: output shapes, parameter counts, and their totals.

    Args:
        model: the model.
        line_length: width of the table in characters.
        positions: where columns end, as fractions of the width.
        print_fn: called once with the whole text instead of printing it.
        expand_nested: whether to list the layers of models within the model.
        show_trainable: whether to say which layers may change in training.
        layer_range: two names (or regular expressions): list only the layers between them.
        explain: whether to print `explain.arithmetic` below.

    Raises ValueError if the table does not fit the width, or `layer_range` names no layer.

    Source: Keras: summary.

    >>> import cornu
    >>> from cornu.models.summary import print_summary
    >>> model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(2, name="dense")])
    >>> lines = []
    >>> print_summary(model, print_fn=lines.append)
    >>> lines[0].splitlines()[-3]
    ' Total params: 8 (32.00 B)'
    """
    # Most programs never print a table.
    from rich.console import Console

    chain = model._is_chain
    headers = ["Layer (type)", "Output Shape", "Param #"]
    if chain:
        default_length, positions = 88, positions or [0.45, 0.80, 1.0]
    else:
        default_length, positions = 108, positions or [0.3, 0.56, 0.74, 1.0]
        headers.append("Connected to")
    if show_trainable:
        default_length += 12
        positions = [p * 0.9 for p in positions] + [1.0]
        headers.append("Trainable")
    line_length = line_length or min(default_length, shutil.get_terminal_size().columns - 4)
    table = _empty_table(headers, positions, line_length)

    layers = model._shown_layers
    nodes = None if chain else {id(node) for node in model._graph.nodes}
    start, end = _range(layers, layer_range)
    for layer in layers[start:end]:
        for row in _rows(layer, nodes, show_trainable, expand_nested):
            table.add_row(*row)

    # What was asked to be wider than the terminal is not cut off.
    width = max(line_length, shutil.get_terminal_size().columns)
    if print_fn is None and not is_interactive_logging_enabled():
        print_fn = lambda text: print_message(text, end="")
    if print_fn is None:
        _print(Console(highlight=False, width=width), model, table, explain)
        return
    console = Console(highlight=False, force_terminal=False, color_system=None, width=width)
    with console.capture() as capture:
        _print(console, model, table, explain)
    print_fn(capture.get())


def _print(console, model, table, explain: bool) -> None:
    from rich.markup import escape

    console.print(_bold(f'Model: "{escape(model.name)}"'))
    console.print(table)
    for title, weights in _totals(model).items():
        count = sum(weight.size for weight in weights)
        size = _readable(sum(_num_bytes(weight) for weight in weights))
        console.print(f"{_bold(f' {title} params: ')}{_number(f'{count:,}')} ({size})")
    if explain:
        from cornu.explain import arithmetic

        console.print(arithmetic(model).table())


def _totals(model) -> dict[str, list]:
    trainable, others = model.trainable_weights, model.non_trainable_weights
    optimizer = model.optimizer if model.compiled else None
    state = list(optimizer.variables) if optimizer is not None and optimizer.built else []
    totals = {
        "Total": [*trainable, *others, *state],
        "Trainable": trainable,
        "Non-trainable": others,
    }
    return {**totals, "Optimizer": state} if state else totals


def _num_bytes(weight) -> int:
    return weight.value.dtype.itemsize * weight.size


def _readable(num_bytes: float) -> str:
    power = min(int(math.log2(max(num_bytes, 1)) // 10), len(_UNITS) - 1)
    return f"{num_bytes / 1024**power:.2f} {_UNITS[power]}"


def _range(layers, layer_range) -> tuple[int, int]:
    """The indices of the first layer to show and of the one after the last."""
    if layer_range is None:
        return 0, len(layers)
    if len(layer_range) != 2:
        raise ValueError(
            "layer_range must be a list or tuple of length 2. Received: "
            f"layer_range = {layer_range} of length {len(layer_range)}"
        )
    if not all(isinstance(name, str) for name in layer_range):
        raise ValueError(f"layer_range should contain string type only. Received: {layer_range}")
    first, last = (
        [i for i, layer in enumerate(layers) if re.match(pattern, layer.name)]
        for pattern in layer_range
    )
    if not first or not last:
        raise ValueError(
            "Passed layer_names do not match the layer names in the model. Received: "
            f"{layer_range}; the layers are {[layer.name for layer in layers]}."
        )
    if min(first) > max(last):
        first, last = last, first
    return min(first), max(last) + 1


def _empty_table(headers, positions, line_length):
    from rich.table import Column, Table

    alignment: dict[str, Any] = {"Param #": "right", "Trainable": "center"}
    columns, used = [], 0
    for header, position in zip(headers, positions, strict=True):
        width = int(position * line_length) - used
        if width < 4:
            raise ValueError(
                f"Insufficient console width to print summary: the column {header!r} would be "
                f"{width} characters wide. Pass a larger `line_length` than {line_length}."
            )
        used += width
        columns.append(Column(header, justify=alignment.get(header, "left"), width=width))
    return Table(*columns, width=line_length, show_lines=True)


def _rows(layer, nodes, show_trainable, expand_nested, level=0):
    from rich.markup import escape

    prefix = "   " * level + "└ " if level else ""
    row = [
        f"{escape(prefix + layer.name)} ({_colored(escape(_type_name(layer)), 33)})",
        _output_shape(layer),
        _num_params(layer),
    ]
    if nodes is not None:
        row.append(_connections(layer, nodes))
    if show_trainable:
        if not getattr(layer, "weights", None):
            row.append(_bold("-"))
        else:
            row.append(_bold(_colored("Y", 34) if layer.trainable else _colored("N", 9)))
    yield row
    if expand_nested:
        for nested in getattr(layer, "layers", None) or []:
            yield from _rows(nested, nodes, show_trainable, expand_nested, level + 1)


def _type_name(layer) -> str:
    function_name = getattr(layer, "function_name", None)
    if function_name is None:
        return getattr(layer, "_shown_class", type(layer).__name__)
    return "".join(part.capitalize() for part in function_name.split("_"))


def _num_params(layer) -> str:
    if not hasattr(layer, "count_params"):
        return _number(0)
    return _number(f"{layer.count_params():,}") if layer.built else f"{_number(0)} (unbuilt)"


def _output_shape(layer) -> str:
    if layer._inbound_nodes:
        shapes = [_shape(t.shape) for t in layer._inbound_nodes[-1].output_tensors]
        return shapes[0] if len(shapes) == 1 else f"[{', '.join(shapes)}]"
    built_with = layer.get_build_config() if hasattr(layer, "get_build_config") else None
    if not built_with:
        return "?"
    try:
        output = layer.compute_output_shape(*built_with.values())
    except (NotImplementedError, ValueError, TypeError):
        # The layer needs more than shapes to infer its output.
        return "?"
    return _shapes(output)


def _shapes(structure) -> str:
    if isinstance(structure, dict):
        return f"{{{', '.join(f'{key}: {_shapes(s)}' for key, s in structure.items())}}}"
    if any(isinstance(size, list | tuple | dict) for size in structure):
        return f"[{', '.join(_shapes(s) for s in structure)}]"
    return _shape(structure)


def _connections(layer, nodes) -> str:
    sources = [
        tensor._keras_history
        for node in layer._inbound_nodes
        if id(node) in nodes
        for tensor in node.input_tensors
    ]
    return (
        ", ".join(
            f"{s.operation.name}[{_number(s.node_index)}][{_number(s.tensor_index)}]"
            for s in sources
        )
        or "-"
    )


def _shape(shape) -> str:
    return f"({', '.join(_number(size) for size in shape)})"


def _number(value) -> str:
    return _colored(value, 45 if value is None else 34)


def _colored(text, color: int) -> str:
    return f"[color({color})]{text}[/]"


def _bold(text) -> str:
    return f"[bold]{text}[/]"
