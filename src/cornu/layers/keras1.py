"""Convolutions under the names of Keras 1, which took the sides of a window one by one."""

from cornu.core import old_arguments
from cornu.core.configurable import constructor_parameters
from cornu.layers.convolution import Conv1D, Conv2D, Conv3D
from cornu.layers.convolution import Windowed as _Windowed
from cornu.layers.separable import SeparableConv1D, SeparableConv2D


def _renamed(today: type[_Windowed]) -> type:
    rank = today.rank
    name = today.__name__.replace("Conv", "Convolution")

    def translated(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        given, sides = args, args[1 : rank + 1]
        # In Keras 3 this would mean strides, which nobody gives so.
        if rank > 1 and len(sides) == rank and all(isinstance(side, int) for side in sides):
            if len(args) > rank + 1:
                raise TypeError(
                    f"`{name}({', '.join(map(repr, args))})` is Keras 1's spelling: write "
                    f"`{today.__name__}({args[0]}, {sides})`, and what follows by its name."
                )
            args = (args[0], sides)
        known = constructor_parameters(today)
        new = old_arguments.renamed(today.__name__, args, kwargs, known)
        if args is not given or new.keys() != kwargs.keys():
            old_arguments.warn((name, given, kwargs), (today.__name__, args, new))
        return args, new

    def make(cls, *args, **kwargs):
        if cls is not made:  # A subclass of the user's, whose constructor may be another.
            return today.__new__(cls)
        args, kwargs = translated(args, kwargs)
        return today(*args, **kwargs)

    def __init__(self, *args, **kwargs):
        args, kwargs = translated(args, kwargs)
        today.__init__(self, *args, **kwargs)

    text = f"Another name of `{today.__name__}`, with which the sides of a window may be given one by one."
    names = {"__new__": make, "__init__": __init__, "__doc__": text, "__module__": __name__}
    made = type(name, (today,), names)
    return made


Convolution1D, Convolution2D, Convolution3D = map(_renamed, (Conv1D, Conv2D, Conv3D))
SeparableConvolution1D, SeparableConvolution2D = map(_renamed, (SeparableConv1D, SeparableConv2D))
