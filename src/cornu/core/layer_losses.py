"""The losses of layers: those that calls add, and the regularization of weights."""

import jax

from cornu.core import variable as variables_module
from cornu.core.symbolic import KerasTensor
from cornu.core.weighted import Weighted


class WithLosses(Weighted):
    """What of a layer adds to the loss that training minimizes."""

    def add_loss(self, loss) -> None:
        """Add a scalar, or several, to what training minimizes. Call it from within `call`.

        Raises ValueError for symbolic tensors, which belong to no call.
        """
        scope = variables_module.current_scope()
        for value in jax.tree.leaves(loss):
            if isinstance(value, KerasTensor):
                raise ValueError(
                    f"`add_loss` of '{self.name}' takes numbers of a call, and was given the symbolic "
                    f"tensor {value}. Write the loss into a layer, and put that into the model:\n"
                    "    class AddLoss(Layer):\n"
                    "        def call(self, x):\n"
                    "            self.add_loss(…)\n"
                    "            return x"
                )
            if scope is not None:
                scope.losses.append((self, value))
            else:
                self._losses.append(value)

    def _clear_losses(self) -> None:
        for layer in self._flatten_layers():
            if layer._losses:
                layer._losses.clear()
        scope = variables_module.current_scope()
        if scope is not None:
            mine = {id(layer) for layer in self._flatten_layers()}
            scope.losses[:] = [entry for entry in scope.losses if id(entry[0]) not in mine]

    @property
    def losses(self) -> list:
        """The scalars added by `add_loss` in the last call, and the weights' regularization."""
        layers = self._flatten_layers()
        scope = variables_module.current_scope()
        if scope is not None:
            mine = {id(layer) for layer in layers}
            added = [value for layer, value in scope.losses if id(layer) in mine]
        else:
            added = [value for layer in layers for value in layer._losses]
        penalties = [
            w.regularizer(w.value) for w in self.trainable_weights if w.regularizer is not None
        ]
        return added + penalties
