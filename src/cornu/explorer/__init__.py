"""A model in the browser: draw or drop an input, watch it go through, ask how a number was made."""

import math

import numpy as np

from cornu.explorer.examples import Examples
from cornu.explorer.network import Network
from cornu.explorer.runs import Runs
from cornu.explorer.server import Server
from cornu.explorer.watch import Watch
from cornu.layers.preprocessing import Rescaling
from cornu.utils.image_folder import white_of

__all__ = ["Examples", "Network", "Runs", "Server", "Watch", "explore", "guess_white"]


def explore(
    model, x=None, y=None, class_names=None, white="auto", host="127.0.0.1", port=0, compare=None
) -> Server:
    """Show a model on a page that this process serves, in a thread of its own.

    Args:
        model: a built model with one input.
        x, y: examples to choose from, with channels last, and their classes, or the numbers that a model of
            one output should give; may be left out.
        class_names: names of the classes; default: their indices.
        white: the value of white in the model's images; None if its inputs are not images.
            Default: as in the examples; without these 255 if the model has a `Rescaling`, else 1.
        host: the address to listen on. The default is heard on this machine alone.
        port: 0 takes a free one.
        compare: trainings whose curves are shown in one chart, as a list or as a dict that names them: what
            `fit` returned, folders of `cornu train`, or files of `CSVLogger`.

    Returns:
        the `Server`: `print(server.link)`, and `server.stop()` in the end.

    Raises ValueError for a model with several inputs, examples that do not fit it, or what is no run, and
    OSError if the address cannot be had.

    >>> import cornu
    >>> model = cornu.Sequential([cornu.Input((8, 8, 1)), cornu.layers.Conv2D(2, 3)])
    >>> with cornu.explorer.explore(model) as server:
    ...     server.link.startswith("http://127.0.0.1:")
    True
    """
    shape, examples = None, None
    if x is not None:
        x = np.asarray(x)
        is_open = None in (getattr(model, "input_shape", None) or (None, None))[1:]
        shape = x.shape[1:] if is_open else None
    network = Network(model, shape, class_names)
    if x is not None:
        if not len(x) or not takes(network.shape, x.shape[1:]):
            raise ValueError(
                f"Examples of the shape (n, {', '.join(map(str, network.shape))}) are expected. Received: "
                f"shape {x.shape}"
            )
        examples = Examples(x.reshape(-1, *network.shape), y)
        if network.num_classes and examples.y is not None and len(examples.y):
            low, high = examples.y.min(), examples.y.max()
            if low < 0 or high >= network.num_classes or examples.y.dtype.kind != "i":
                kind = "" if examples.y.dtype.kind == "i" else "fractions, "
                raise ValueError(
                    f"Classes from 0 to {network.num_classes - 1} are expected. Received: "
                    f"{kind}{low} to {high}."
                )
    network.white = guess_white(network, examples) if white == "auto" else white
    return Server(network, examples, host=host, port=port, compare=compare).start()


def takes(shape: tuple, given: tuple) -> bool:
    """Whether arrays are inputs of a shape; a single channel may be missing, and a vector be folded."""
    is_alike = given in (shape, shape[:-1]) or len(shape) == 1
    return is_alike and math.prod(given) == math.prod(shape)


def guess_white(network: Network, examples: Examples | None) -> float | None:
    """The value of white where none is given: from the examples, or from the layers."""
    if examples is not None:
        return white_of(examples.x)
    scales = any(isinstance(layer, Rescaling) for layer in network.model._flatten_layers())
    return 255.0 if scales else 1.0
