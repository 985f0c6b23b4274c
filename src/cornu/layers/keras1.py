"""Convolutions under the names of Keras 1, which took the sides of a window one by one."""

import warnings

from cornu.layers.convolution import BaseConv, Conv1D, Conv2D, Conv3D


def _renamed(today: type[BaseConv]) -> type:
    rank = today.rank
    name = today.__name__.replace("Conv", "Convolution")

    def make(cls, *args, **kwargs):
        if cls is not made:  # A subclass of the user's.
            return today.__new__(cls, *args, **kwargs)
        sides = args[1 : rank + 1]
        # In Keras 3 this would mean strides, which nobody gives so.
        if rank > 1 and len(sides) == rank and all(isinstance(side, int) for side in sides):
            shown = f"{today.__name__}({args[0]}, {sides})"
            if len(args) > rank + 1:
                raise TypeError(
                    f"`{name}({', '.join(map(repr, args))})` is Keras 1's spelling: write `{shown}`, and "
                    "what follows by its name."
                )
            warnings.warn(
                f"`{name}({args[0]}, {', '.join(map(str, sides))})` is Keras 1's spelling; use `{shown}` "
                "instead.",
                stacklevel=2,
            )
            args = (args[0], sides)
        return today(*args, **kwargs)

    text = f"Another name of `{today.__name__}`, with which the sides of a window may be given one by one."
    made = type(name, (today,), {"__new__": make, "__doc__": text, "__module__": __name__})
    return made


Convolution1D, Convolution2D, Convolution3D = map(_renamed, (Conv1D, Conv2D, Conv3D))
