"""`LambdaCallback`: a callback made of functions."""

from cornu.core import registry
from cornu.training.callback import HOOKS, Callback


@registry.register("callback", module="keras.callbacks")
class LambdaCallback(Callback):
    """Calls your functions; each takes the arguments of the method of the same name.

    Args:
        on_epoch_begin, on_epoch_end: functions `(epoch, logs)`.
        on_train_begin, on_train_end: functions `(logs)`.
        on_train_batch_begin, on_train_batch_end: functions `(batch, logs)`.
        **kwargs: functions for other methods of `Callback`, and whatever else the callback should have
            as an attribute.

    Raises TypeError for a name that begins with `on_` and is no method of a callback's.

    Source: Keras: LambdaCallback.

    >>> import cornu
    >>> tell = cornu.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs))
    >>> tell.on_epoch_end(2, {"loss": 0.5})
    2 {'loss': 0.5}
    """

    def __init__(
        self,
        on_epoch_begin=None,
        on_epoch_end=None,
        on_train_begin=None,
        on_train_end=None,
        on_train_batch_begin=None,
        on_train_batch_end=None,
        **kwargs,
    ):
        functions = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        for name, function in functions.items():
            if name.startswith("on_") and name not in HOOKS:
                raise TypeError(
                    f"LambdaCallback has no argument {name!r}. The methods of a callback are: "
                    f"{', '.join(HOOKS)}."
                )
            if function is not None:
                setattr(self, name, function)
