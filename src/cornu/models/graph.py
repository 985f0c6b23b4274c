"""The graph between some symbolic tensors and others, in the order in which it runs."""

import jax

from cornu.core.symbolic import KerasTensor, Node, any_symbolic, node_of


def key_of(tensor: KerasTensor) -> tuple[int, int, int]:
    """What identifies a symbolic tensor: two objects may be the same output."""
    node_of(tensor)  # One that was made by hand comes from nowhere.
    operation, node_index, tensor_index = tensor._keras_history
    return id(operation), node_index, tensor_index


class Graph:
    """The nodes that compute `outputs` from `inputs` (structures of symbolic tensors).

    Raises ValueError if an output depends on an input that is not listed, or on nothing at all.
    """

    def __init__(self, inputs, outputs):
        self.inputs, self.outputs = inputs, outputs
        self.flat_inputs = _symbolic_leaves(inputs, "inputs")
        self.flat_outputs = _symbolic_leaves(outputs, "outputs")
        self._starts = {key_of(t) for t in self.flat_inputs}
        if len(self._starts) != len(self.flat_inputs):
            raise ValueError(
                "The list of inputs passed to the model contains the same input multiple times. "
                f"All inputs should only appear once. Received inputs={inputs}"
            )
        order, ranks = self._visit()
        self.nodes = self._with_unused_inputs(order, ranks)
        self.operations = self._by_depth(order, ranks)
        self.steps = [node for node in order if not self._is_start(node)]

    @property
    def is_chain(self) -> bool:
        """Whether each operation passes its one output to the next one."""
        parents = [id(parent) for node in self.steps for parent in node.parent_nodes]
        return (
            len(self.nodes) - len(self.steps) == 1
            and len(parents) == len(self.steps) == len(set(parents))
            and len(self.operations) == len(self.nodes)
        )

    def _is_start(self, node: Node) -> bool:
        return node.is_input or all(key_of(t) in self._starts for t in node.output_tensors)

    def _visit(self) -> tuple[list[Node], dict[int, int]]:
        """Nodes with those that they need first, and the order in which operations were met."""
        finished: dict[int, Node] = {}
        ranks: dict[int, int] = {}
        # Depth first with a stack of our own: networks are deeper than Python's recursion limit.
        for output in self.flat_outputs:
            stack = [(output, False)]
            while stack:
                tensor, expanded = stack.pop()
                node = node_of(tensor)
                if id(node) in finished:
                    continue
                if expanded:
                    finished[id(node)] = node
                    continue
                ranks.setdefault(id(node.operation), len(ranks))
                stack.append((tensor, True))
                if key_of(tensor) in self._starts:
                    continue
                if node.is_input:
                    raise ValueError(
                        f"Output with path `{self._path_of(output)}` is not connected to `inputs` "
                        f"alone: it depends on the input '{node.operation.name}', which is not among the "
                        f"model's inputs: {[t.name for t in self.flat_inputs]}. Add it to `inputs`."
                    )
                stack.extend((t, False) for t in reversed(node.input_tensors))
        return list(finished.values()), ranks

    def _path_of(self, output: KerasTensor) -> str:
        """Where a tensor is in the structure of outputs."""
        for path, tensor in jax.tree_util.tree_leaves_with_path(self.outputs):
            if tensor is output:
                return ".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)
        return ""

    def _with_unused_inputs(self, order, ranks) -> list[Node]:
        """An input that nothing uses still belongs to the model."""
        present = {id(node) for node in order}
        unused = [node_of(t) for t in self.flat_inputs if id(node_of(t)) not in present]
        ranks.update({id(node.operation): -1 for node in unused})
        return [*unused, *order]

    def _by_depth(self, order, ranks) -> list:
        """The operations as Keras lists them: farthest from the outputs first."""
        depth: dict[int, int] = {}
        operation_depth: dict[int, int] = {}
        for node in reversed(order):
            own = max(depth.get(id(node), 0), operation_depth.get(id(node.operation), 0))
            depth[id(node)] = operation_depth[id(node.operation)] = own
            if not self._is_start(node):
                for parent in node.parent_nodes:
                    depth[id(parent)] = max(own + 1, depth.get(id(parent), 0))
        operations = {id(node.operation): node.operation for node in self.nodes}
        return sorted(
            operations.values(), key=lambda o: (-operation_depth.get(id(o), 0), ranks[id(o)])
        )

    def run(self, flat_values: list, call=None):
        """The values of the outputs for values of the inputs.

        `call(operation, args, kwargs)` may replace how an operation is called.
        """
        return self._filled(self.computed(flat_values, self.steps, call), self.outputs)

    def run_from(self, known: dict, call=None):
        """The values of the outputs for values of tensors within the graph, by their keys."""
        steps, wanted = [], {key_of(t) for t in self.flat_outputs}
        for node in reversed(self.steps):
            made = {key_of(t) for t in node.output_tensors}
            if made & wanted - known.keys():
                steps.append(node)
                wanted |= {key_of(t) for t in node.input_tensors}
        return self._filled(self._continued(known, steps[::-1], call), self.outputs)

    def computed(self, flat_values: list, steps: list[Node], call=None) -> dict:
        """The values of all tensors that some steps make, by their keys, and those of the inputs."""
        known = {key_of(t): value for t, value in zip(self.flat_inputs, flat_values, strict=True)}
        return self._continued(known, steps, call)

    @staticmethod
    def _filled(known: dict, structure):
        return jax.tree.map(
            lambda leaf: known[key_of(leaf)] if isinstance(leaf, KerasTensor) else leaf, structure
        )

    def _continued(self, known: dict, steps: list[Node], call) -> dict:
        known = dict(known)
        for node in steps:
            args, kwargs = self._filled(known, node.args), self._filled(known, node.kwargs)
            if call is None:
                result = node.operation(*args, **kwargs)
            else:
                result = call(node.operation, args, kwargs)
            # A layer may hand on that an optional input is not there.
            values = [None] if result is None else jax.tree.leaves(result)
            for tensor, value in zip(node.output_tensors, values, strict=True):
                known[key_of(tensor)] = value
        return known


def _symbolic_leaves(structure, what: str) -> list[KerasTensor]:
    leaves = jax.tree.leaves(structure)
    for leaf in leaves:
        if not isinstance(leaf, KerasTensor):
            raise ValueError(
                f"All `{what}` values must be KerasTensors (start from `Input(shape)` and call "
                f"layers on it). Received: {what}={structure} including invalid value {leaf!r} of "
                f"type {type(leaf)}"
            )
    if not leaves or not any_symbolic(structure):
        raise ValueError(f"A model needs `{what}`. Received: {what}={structure}")
    return leaves
