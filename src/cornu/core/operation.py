"""Makes a function callable on arrays, variables and symbolic tensors."""

import functools
from collections.abc import Callable

from cornu.core import registry
from cornu.core.symbolic import FunctionOperation, any_symbolic, plain, record

registry.register("operation", "FunctionOperation", module="cornu.ops")(FunctionOperation)


def operation(function: Callable) -> Callable:
    """Decorator: take variables for their values, and record calls on symbolic tensors.

    >>> import cornu
    >>> x = cornu.Input((3,))
    >>> cornu.ops.exp(x).shape
    (None, 3)
    """
    name = function.__name__
    registry.register("op", name, module="keras.ops")(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        if any_symbolic(args, kwargs):
            return record(name, function, args, kwargs)
        return function(*plain(args), **plain(kwargs))

    return call
