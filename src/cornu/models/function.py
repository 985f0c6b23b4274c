"""`Function`: what lies between symbolic tensors, as a function of arrays."""

from typing import Any

import jax

from cornu.core.dtype import as_array
from cornu.core.symbolic import KerasTensor, Operation, any_symbolic, infer_outputs
from cornu.layers.input import InputLayer
from cornu.models.graph import Graph


class Function(Operation):
    """The operations between some symbolic tensors and others, to call on arrays or in a model.

    Unlike a `Model` it has no weights of its own and is not trained; its inputs may lie within a graph.

    Args:
        inputs, outputs: a symbolic tensor, or a list or dict of them; a `KerasTensor` made by hand, too.
        name: default `function`.

    Raises ValueError if an output depends on an input that is not given.

    Source: Keras: Function.

    >>> import cornu
    >>> x = cornu.Input((3,))
    >>> doubled = cornu.Function(x, 2 * x)
    >>> doubled([[1.0, 2.0, 3.0]]).tolist()
    [[2.0, 4.0, 6.0]]
    """

    def __init__(self, inputs, outputs, name=None):
        super().__init__(name)
        for tensor in jax.tree.leaves(inputs):
            if isinstance(tensor, KerasTensor) and tensor._keras_history is None:
                # What was made by hand is a beginning here; a model starts with layers.
                InputLayer(input_tensor=tensor, name=tensor.name)
        self._graph = Graph(inputs, outputs)
        self.inputs, self.outputs = self._graph.flat_inputs, self._graph.flat_outputs

    @property
    def operations(self) -> list:
        """The layers and functions, those farthest from the outputs first."""
        computed = {id(node.operation) for node in self._graph.steps}
        return [o for o in self._graph.operations if id(o) in computed or isinstance(o, InputLayer)]

    def call(self, inputs):
        """The outputs, in the structure that they were given in."""
        structure: Any = jax.tree.structure(self._graph.inputs)
        single = not isinstance(self._graph.inputs, list | tuple | dict)
        # A list of numbers for one input is an array.
        given = [inputs] if single else jax.tree.leaves(inputs)
        if len(given) != len(self.inputs) or not (
            single or structure == jax.tree.structure(inputs)
        ):
            raise ValueError(
                f"Function {self.name!r} takes {len(self.inputs)} inputs, as {self._graph.inputs}. "
                f"Received: {inputs}"
            )
        arrays = [x if any_symbolic(x) else as_array(x) for x in given]
        for tensor, array in zip(self.inputs, arrays, strict=True):
            fits = len(array.shape) == len(tensor.shape) and all(
                None in (size, wanted) or size == wanted
                for size, wanted in zip(array.shape, tensor.shape, strict=True)
            )
            if not fits:
                raise ValueError(
                    f"Function {self.name!r} takes {tensor.name!r} of shape {tensor.shape}. Received: "
                    f"shape {tuple(array.shape)}"
                )
        return self._graph.run(arrays)

    def compute_output_spec(self, inputs):
        """The symbolic outputs for symbolic inputs."""
        return infer_outputs(self.call, (inputs,))

    def compute_output_shape(self, input_shape):
        """The shapes of the outputs for shapes of the inputs."""
        from_shape = self._graph.inputs
        leaves = jax.tree.leaves(from_shape)
        shapes = [input_shape] if len(leaves) == 1 else list(input_shape)
        tensors = [type(t)(s, t.dtype) for t, s in zip(leaves, shapes, strict=True)]
        outputs = self.compute_output_spec(
            jax.tree.unflatten(jax.tree.structure(from_shape), tensors)
        )
        return jax.tree.map(lambda t: t.shape, outputs)

    def get_config(self) -> dict:
        """Refused: a `Model` of the same tensors can be written to a file."""
        raise NotImplementedError(
            "A Function has no configuration. Make a `Model` of its inputs and outputs to write it to "
            "a file."
        )
