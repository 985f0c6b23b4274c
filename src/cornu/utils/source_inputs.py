"""Which inputs a symbolic tensor is computed from."""

from cornu.core.symbolic import KerasTensor, node_of


def get_source_inputs(tensor) -> list[KerasTensor]:
    """The inputs that a symbolic tensor is computed from, each once.

    Source: Keras: get_source_inputs.

    >>> import cornu
    >>> a, b = cornu.Input((2,), name="a"), cornu.Input((2,), name="b")
    >>> [x.name for x in cornu.utils.get_source_inputs(2 * (a + b) + a)]
    ['a', 'b']
    """
    found: dict[int, list[KerasTensor]] = {}
    seen: set[int] = set()
    pending = [tensor]
    while pending:
        tensor = pending.pop()
        if tensor._keras_history is None:
            # It was made by hand: nothing is before it.
            found[id(tensor)] = [tensor]
            continue
        node = node_of(tensor)
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.is_input:
            found[id(node)] = node.output_tensors
        pending += reversed(node.input_tensors)
    return [each for tensors in found.values() for each in tensors]
