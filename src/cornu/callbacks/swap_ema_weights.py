"""`SwapEMAWeights`: evaluate with averaged weights."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.training.callback import Callback


@registry.register("callback", module="keras.callbacks")
class SwapEMAWeights(Callback):
    """Evaluates with the moving average of the weights that the optimizer keeps.

    The average replaces the weights for evaluation and prediction, and they change back
    afterwards. The optimizer must have been made with `use_ema=True`.

    Args:
        swap_on_epoch: whether the average also stays in the model between the end of an epoch and
            the beginning of the next, so that a `ModelCheckpoint` behind this callback saves it.

    Raises ValueError if the optimizer keeps no average.

    Source: Keras: SwapEMAWeights; Polyak & Juditsky 1992.

    >>> import cornu
    >>> cornu.callbacks.SwapEMAWeights(swap_on_epoch=True).swap_on_epoch
    True
    """

    def __init__(self, swap_on_epoch=False):
        self.swap_on_epoch = swap_on_epoch
        self._average_is_in_model = False

    def _pairs(self):
        """Each weight that has an average, with its average."""
        optimizer = self.model.optimizer
        parts = getattr(optimizer, "_parts", [optimizer])
        averaging = [each for each in parts if getattr(each, "use_ema", False)]
        if not averaging:
            raise ValueError(
                "SwapEMAWeights must be used when `use_ema=True` is set on the optimizer, such as "
                "in optimizers.Adam(use_ema=True). Received: use_ema=False, in "
                f"{', '.join(type(each).__name__ for each in parts)}"
            )
        # Before the first step, the weights are their own average.
        return [
            (weight, average)
            for each in averaging
            if each.built
            for weight, average in zip(each._trainable_variables, each._averages, strict=True)
            if average is not None
        ]

    def _set(self, average_is_in_model: bool):
        if average_is_in_model == self._average_is_in_model:
            return
        for weight, average in self._pairs():
            own = weight.value
            weight.assign(average.value)
            average.assign(own)
        self._average_is_in_model = average_is_in_model

    def on_epoch_begin(self, epoch, logs=None):
        if self.swap_on_epoch:
            self._set(False)

    def on_epoch_end(self, epoch, logs=None):
        if not self.swap_on_epoch:
            return
        self._set(True)
        if epoch == (self.params or {})["epochs"] - 1:
            # At the end of training the average is copied into the model: it has to be one again.
            # It is a copy, because no two variables may share a buffer that a step is given.
            for weight, average in self._pairs():
                average.assign(jnp.array(weight.value))

    def on_test_begin(self, logs=None):
        self._set(True)

    def on_test_end(self, logs=None):
        self._set(False)

    def on_predict_begin(self, logs=None):
        self._set(True)

    def on_predict_end(self, logs=None):
        self._set(False)
