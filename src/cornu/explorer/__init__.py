"""A model in the browser: draw or drop an input, watch it go through, ask how a number was made."""

from cornu.explorer.examples import Examples
from cornu.explorer.network import Network
from cornu.explorer.server import Server
from cornu.explorer.watch import Watch

__all__ = ["Examples", "Network", "Server", "Watch", "explore"]


def explore(model, x=None, y=None, class_names=None, white=1.0, host="127.0.0.1", port=0) -> Server:
    """Show a model on a page that this process serves, in a thread of its own.

    Args:
        model: a built model with one input.
        x, y: examples to choose from, with channels last, and their classes; may be left out.
        class_names: names of the classes; default: their numbers.
        white: the number that stands for white in the model's images; None if its inputs are no images.
        host: the address to listen on. The default is heard on this machine alone.
        port: 0 takes a free one.

    Returns:
        the `Server`: `print(server.link)`, and `server.stop()` in the end.

    Raises ValueError for a model with several inputs, OSError if the address cannot be had.

    >>> import cornu
    >>> model = cornu.Sequential([cornu.Input((8, 8, 1)), cornu.layers.Conv2D(2, 3)])
    >>> with cornu.explorer.explore(model) as server:
    ...     server.link.startswith("http://127.0.0.1:")
    True
    """
    shape = None if x is None else x.shape[1:]
    network = Network(model, shape, class_names, white)
    return Server(network, None if x is None else Examples(x, y), host=host, port=port).start()
