"""Optimizers under the names that Keras 2.11 gave to those of before.

They are today's, and know one argument more: with `decay`, the learning rate falls as
`learning_rate / (1 + decay * step)`.

>>> import cornu, warnings
>>> with warnings.catch_warnings():
...     warnings.simplefilter("ignore")
...     optimizer = cornu.optimizers.legacy.SGD(lr=0.5, decay=0.1)
>>> _ = optimizer.iterations.assign(10)
>>> float(optimizer.learning_rate)
0.25
"""

import warnings

from cornu.core.configurable import constructor_parameters
from cornu.optimizers import adaptive, base, gradient_descent
from cornu.optimizers.schedules import InverseTimeDecay


def _legacy(today: type) -> type:
    def make(cls, *args, **kwargs):
        warnings.warn(
            f"`optimizers.legacy.{today.__name__}` is an old spelling; use "
            f"`optimizers.{today.__name__}` instead.",
            stacklevel=2,
        )
        if "lr" in kwargs:
            kwargs["learning_rate"] = kwargs.pop("lr")
        decay = kwargs.pop("decay", 0.0)
        if decay:
            default = constructor_parameters(today)["learning_rate"].default
            rate = args[0] if args else kwargs.pop("learning_rate", default)
            args = (InverseTimeDecay(rate, 1, decay), *args[1:])
        return today(*args, **kwargs)

    # What is made is one of today's, which files can name.
    text = f"`optimizers.{today.__name__}`, as it is today."
    return type(
        today.__name__, (today,), {"__new__": make, "__doc__": text, "__module__": __name__}
    )


Adagrad = _legacy(adaptive.Adagrad)
Adam = _legacy(adaptive.Adam)
Ftrl = _legacy(gradient_descent.Ftrl)
Optimizer = _legacy(base.Optimizer)
RMSprop = _legacy(adaptive.RMSprop)
SGD = _legacy(gradient_descent.SGD)

__all__ = ["SGD", "Adagrad", "Adam", "Ftrl", "Optimizer", "RMSprop"]
