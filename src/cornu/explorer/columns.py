"""How the page lays a network out: layers as columns, columns in ranks, and stages that fold."""

from typing import Any

from cornu.core.layer import Layer
from cornu.layers import activation as activations
from cornu.layers import normalization as normalizations
from cornu.layers.augmentation.base import ImageLayer
from cornu.layers.batch_normalization import BatchNormalization
from cornu.layers.preprocessing.scaling import Normalization, Rescaling
from cornu.layers.regularization import ActivityRegularization, _RandomLayer
from cornu.visualize.layout import arrange

# They change each number of the maps they get and move none, so they share a column with what made them.
_CHIPS = (
    activations.Identity,
    activations.Activation,
    activations.ReLU,
    activations.LeakyReLU,
    activations.PReLU,
    activations.ELU,
    activations.Softmax,
    normalizations._Scaled,
    normalizations.RMSNormalization,
    normalizations.UnitNormalization,
    BatchNormalization,
    Normalization,
    Rescaling,
    _RandomLayer,
    ActivityRegularization,
    ImageLayer,
)
# Ranks that are shown without being folded.
MOST_RANKS = 15


def columns_of(layers: list[dict], found, shown: list[int]) -> dict[str, Any]:
    """Columns, and stages of several columns, of the layers that a page shows.

    Args:
        layers: as `Network.describe` gives them.
        found: the network's calls.
        shown: which of the calls the layers are.

    Returns:
        `columns`: for each the numbers of its `layers`, its `rank` from the left (the input has 0) and
        its `place` from the top among those of its rank; `stages`: the numbers of `columns` that can be
        folded to one, with a `name`, how often a block `repeats`, and whether they are `folded` at first.
    """
    columns = _grouped(layers, [found[n].operation for n in shown])
    home = {n: k for k, column in enumerate(columns) for n in column}
    edges = set()
    for k, column in enumerate(columns):
        for n in column:
            for source in layers[n]["sources"]:
                start = -1 if source == "input" else home.get(source)
                if start is not None and start != k:
                    edges.add((start + 1, k + 1))
    # Nodes: the input, then the columns; as wide as its maps are many, up to what a column shows.
    nodes, *_ = arrange([(1.0, 1.0)] * (len(columns) + 1), sorted(edges))
    heights = sorted({node.y for node in nodes})
    ranks = [heights.index(node.y) for node in nodes]
    stages = _nested(found, shown, home)
    is_long = len(heights) > MOST_RANKS
    if is_long:
        stages = _by_size(layers, columns, stages)
    return {
        "columns": [
            {"layers": column, "rank": ranks[k + 1], "place": nodes[k + 1].x}
            for k, column in enumerate(columns)
        ],
        "input": {"rank": ranks[0], "place": nodes[0].x},
        "stages": [
            {**stage, "repeats": _repeats(layers, columns, stage["columns"]), "folded": is_long}
            for stage in stages
        ],
    }


def _grouped(layers, operations) -> list[list[int]]:
    readers: dict[Any, int] = {}
    for layer in layers:
        for source in layer["sources"]:
            readers[source] = readers.get(source, 0) + 1
    columns: list[list[int]] = []
    home: dict[int, list[int]] = {}
    for n, layer in enumerate(layers):
        source = layer["sources"][0] if len(layer["sources"]) == 1 else None
        if (
            isinstance(operations[n], _CHIPS)
            and isinstance(source, int)
            and readers[source] == 1
            and layer["shape"] == layers[source]["shape"]
        ):
            column = home[source]
        else:
            column = []
            columns.append(column)
        column.append(n)
        home[n] = column
    return columns


def _nested(found, shown, home) -> list[dict]:
    """The columns of each model within the model, the outermost ones only."""
    position = {n: k for k, n in enumerate(shown)}
    groups: list[tuple[str, list[int]]] = []
    for number, call in enumerate(found[:-1]):
        if call.is_whole or not isinstance(call.operation, Layer):
            continue
        inner = {id(layer) for layer in call.operation._flatten_layers()}
        columns: set[int] = set()
        for n in range(number - 1, -1, -1):
            if id(found[n].operation) not in inner:
                break
            if n in position:
                columns.add(home[position[n]])
        groups = [group for group in groups if not set(group[1]) <= columns]
        if len(columns) > 1:
            groups.append((call.name, sorted(columns)))
    return [{"name": name, "columns": columns} for name, columns in groups]


def _by_size(layers, columns, stages) -> list[dict]:
    """Stages of columns in a row whose maps have one size, where they are in none yet."""
    taken = {k for stage in stages for k in stage["columns"]}
    found: list[dict] = list(stages)
    run: list[int] = []

    def size(k):
        return layers[columns[k][-1]]["shape"][:-1]

    # The last column is the answer, which is always seen.
    for k in range(len(columns)):
        if run and (k in taken or k == len(columns) - 1 or size(k) != size(run[-1])):
            if len(run) > 1:
                found.append(
                    {"name": " × ".join(map(str, size(run[0]))) or "units", "columns": run}
                )
            run = []
        if k not in taken:
            run.append(k)
    return sorted(found, key=lambda stage: stage["columns"])


def _repeats(layers, columns, stage) -> int:
    """How often a block of columns of the same kinds comes in a stage; 1 if none repeats."""
    kinds = [tuple(layers[n]["kind"] for n in columns[k]) for k in stage]
    best, covered = 1, 0
    for period in range(1, len(kinds) // 2 + 1):
        for start in range(len(kinds) - 2 * period + 1):
            count = 1
            block = kinds[start : start + period]
            while kinds[start + count * period : start + (count + 1) * period] == block:
                count += 1
            if count > 1 and count * period > covered:
                best, covered = count, count * period
    return best
