"""Training step by step: a copy of a compiled model learns from the examples, batch by batch."""

import copy
import threading
from typing import Any

import jax.numpy as jnp
import numpy as np

from cornu.core.layer import Layer
from cornu.explain.backward.update import update
from cornu.explain.terms import channels_last
from cornu.explorer.examples import Examples, small
from cornu.explorer.images import image_of
from cornu.explorer.network import Network
from cornu.training.step import is_overridden

# Of a model that is copied.
MOST_BYTES = 2**29


class Batches:
    """What each batch does to a copy: `train_on_batch`, and what goes on within it.

    The examples come in their order, again from the first one after the last. The model stays as it is.

    Args:
        network: the network that is shown.
        examples: what is learned from.
        is_watched: whether the model itself is trained meanwhile; then there are no steps on a copy.
    """

    def __init__(self, network: Network, examples: Examples, is_watched: bool = False):
        self._network, self._examples, self._is_watched = network, examples, is_watched
        self._y = np.zeros(0) if examples.y is None else examples.y
        self._lock = threading.RLock()
        self._model: Any = None
        self._base: list = []
        self._at = 0, 0
        self._done: dict[str, Any] = {}
        self.refusal = self._why_not()

    def _why_not(self) -> str:
        model, examples = self._network.model, self._examples
        if self._is_watched:
            return "The model itself is trained here."
        if self._network.no_way_back:
            return self._network.no_way_back
        if not getattr(model, "compiled", False) or not self._network.has_own_loss:
            return "The model is not compiled with a loss of classes or numbers."
        if not len(examples) or examples.y is None:
            return "There are no examples with their classes to learn from."
        if is_overridden(type(model), "train_step"):
            return "The model has a `train_step` of its own."
        if sum(v.value.nbytes for v in model.variables) > MOST_BYTES:
            return "The model is too large to be copied."
        return ""

    def values(self, number: int, size: int) -> list:
        """The weights after so many batches, as `Network.values`."""
        with self._lock:
            self._go_to(number, size)
            # Copies, as the next batch gives the arrays themselves away.
            return [jnp.array(v.value, copy=True) for v in self._model.variables]

    def _rows(self, number: int, size: int) -> np.ndarray:
        count = len(self._examples)
        return ((number - 1) * size + np.arange(min(size, count))) % count

    def _batch(self, number: int, size: int):
        rows = self._rows(number, size)
        x, y = (
            self._network.batch(self._examples.x[rows]),
            self._network.targets(self._y[rows]),
        )
        return rows, x, y

    def _go_to(self, number: int, size: int) -> None:
        """The copy is what it is after so many batches."""
        if self.refusal:
            raise ValueError(self.refusal)
        if self._model is None:
            self._model = model = copy.deepcopy(self._network.model)
            model.optimizer.build(model.trainable_variables)
            self._base = [np.array(v.value) for v in self._state()]
            self._at = 0, size
        at, of = self._at
        if of != size or at > number:
            for variable, value in zip(self._state(), self._base, strict=True):
                variable.assign(value)
            at, self._done = 0, {}
        for each in range(at + 1, number + 1):
            _, x, y = self._batch(each, size)
            logs = self._model.train_on_batch(x, y, return_dict=True)
            self._done = {"number": each, "logs": {name: float(v) for name, v in logs.items()}}
        self._at = number, size

    def _state(self) -> list:
        return [*self._model.variables, *self._model.optimizer.variables]

    def told(self, number: int, size: int, example: int) -> tuple[dict[str, Any], list[np.ndarray]]:
        """What happens in a batch: a description, and thumbnails, maps and gradients of one example.

        Args:
            number: which batch, from 1 on.
            size: examples of one.
            example: which of them the maps and gradients are of.
        """
        rows, x, y = self._batch(number, size)
        if not 0 <= example < len(rows):
            raise ValueError(f"The batch has {len(rows)} examples.")
        with self._lock:
            before = self.values(number - 1, size)
            after = self.values(number, size)
            logs, optimizer = self._done["logs"], self._model.optimizer
            rate = float(np.asarray(getattr(optimizer, "learning_rate", np.nan)))
        network = self._network
        run, losses = network.trained_on(before, x, y)
        tests = [network.loss_on(values, x, y) for values in (before, after)]
        outputs = np.asarray(run.whole.outputs, np.float32).reshape(len(rows), -1)
        shape, thumbnails = small(self._examples.x[rows])
        maps, slopes, images = [], [], []
        for n in network.shown_calls:
            call, found = run.found[n], run.gradients.get(n)
            made, coded = image_of(channels_last(call.operation, call.outputs)[example])
            maps.append(made)
            images.append(coded)
            none = np.zeros((1, 0))
            found = none if found is None else channels_last(call.operation, found)[example]
            slopes.append(image_of(found))
        has_classes = network.num_classes is not None
        labels = self._y[rows]
        return {
            "number": number,
            "rows": rows.tolist(),
            "labels": labels.tolist(),
            "answers": (outputs.argmax(1) if has_classes else outputs[:, 0]).tolist(),
            "shares": outputs[np.arange(len(rows)), labels].tolist() if has_classes else None,
            "losses": losses,
            "loss": run.loss,
            "logs": logs,
            "tests": tests,
            "optimizer": type(optimizer).__name__,
            "rate": rate,
            "weights": network.moves(run.by_weights, before, after),
            "thumbnails": shape,
            "layers": maps,
            "slopes": [told for told, _ in slopes],
        }, [thumbnails, *images, *(coded for _, coded in slopes)]  # fmt: skip

    def update(self, number: int, size: int, layer: int, weight: str, index) -> dict[str, Any]:
        """How a batch moves one weight: `explain.update`."""
        _, x, y = self._batch(number, size)
        own = self._network._layer(layer)
        if not isinstance(own, Layer):
            raise ValueError(f"What is number {layer} has no weights.")
        with self._lock:
            self._go_to(number - 1, size)
            place = list(self._network.model._flatten_layers()).index(own)
            twin = list(self._model._flatten_layers())[place]
            try:
                return update(self._model, x, y, twin, index, weight=weight).to_dict()
            except (NotImplementedError, ArithmeticError) as error:
                return {"refused": str(error)}
