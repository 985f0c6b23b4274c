"""`TerminateOnNaN`: stop when the loss is NaN."""

import numpy as np

from cornu.core import registry
from cornu.training.callback import Callback
from cornu.utils.messages import print_message


@registry.register("callback", module="keras.callbacks")
class TerminateOnNaN(Callback):
    """Ends training when the loss is NaN or infinite.

    It reads the loss after every batch and so waits for the device each time. With it, `fit` takes data
    that hold NaN or infinity, and warns of them; without it, they are an error before the first step.

    Args:
        raise_error: whether to raise RuntimeError, which keeps other callbacks from ending their
            work as if all was well, instead of setting `model.stop_training`.

    Source: Keras: TerminateOnNaN.

    >>> import cornu
    >>> cornu.callbacks.TerminateOnNaN(raise_error=True).on_batch_end(0, {"loss": 0.5})
    """

    ends_at_nan = True

    def __init__(self, raise_error=False):
        self.raise_error = raise_error

    def on_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss")
        if loss is None or np.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"NaN or Inf loss encountered at batch {batch}. Loss value: {loss}. Terminating "
                "training immediately."
            )
        print_message(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
