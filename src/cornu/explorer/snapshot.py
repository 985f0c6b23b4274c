"""What is left of the page in a notebook that is read without its kernel: one picture of the network."""

import io

import numpy as np

from cornu.explorer.examples import Examples, small
from cornu.explorer.network import Network
from cornu.visualize.figure import hatch_negative, new_figure, shortened
from cornu.visualize.palette import INK, ORANGE, signed

# Of a network's columns, and of the maps of one.
_MOST_COLUMNS, _MOST_MAPS = 8, 6
_MOST_CLASSES = 12


def png_of(network: Network, examples: Examples) -> bytes:
    """The network as columns of maps for the first example (or zeros), in the page's colours, as PNG.

    >>> import cornu
    >>> from cornu.explorer import Examples, Network
    >>> model = cornu.Sequential([cornu.Input((8, 8, 1)), cornu.layers.Conv2D(2, 3)])
    >>> from cornu.explorer.snapshot import png_of
    >>> png_of(Network(model), Examples.none())[1:4]
    b'PNG'
    """
    described = network.describe()
    layers = sorted(column["layers"][-1] for column in described["columns"])
    kept = np.linspace(0, len(layers) - 1, min(_MOST_COLUMNS, len(layers))).round().astype(int)
    layers = [layers[n] for n in kept]
    x = examples.x[0] if len(examples) else np.zeros(network.shape, np.float32)
    told, images = network.run(x, tuple(layers), _MOST_MAPS)
    outputs = told["outputs"] or []
    figure = new_figure(1.15 * (len(layers) + 1), 4.6)
    grid = figure.add_gridspec(_MOST_MAPS, len(layers) + 1)
    axes = _bare(figure.add_subplot(grid[0, 0]), "input")
    axes.imshow(_pixels(x), cmap="gray", interpolation="nearest")
    for column, (n, maps) in enumerate(zip(layers, images, strict=True), 1):
        name = shortened(described["layers"][n]["name"], 14)
        is_last = n == len(described["layers"]) - 1
        if is_last and len(outputs) == network.num_classes and len(outputs) <= _MOST_CLASSES:
            axes = _bare(figure.add_subplot(grid[:, column]), name)
            names = [shortened(each, 12) for each in network.class_names]
            axes.barh(names, np.nan_to_num(outputs), color=ORANGE)
            axes.set_yticks(range(len(names)), names, fontsize=7)
            axes.invert_yaxis()
        elif maps.shape[1] == 1:
            # A vector, folded as on the page; or a signal, whose steps go down.
            is_vector = len(maps) == 1
            axes = _bare(figure.add_subplot(grid[:, column]), name)
            _draw(
                axes,
                _folded(maps[0, 0]) if is_vector else maps[:, 0].T,
                "equal" if is_vector else "auto",
            )
        else:
            for row, image in enumerate(maps):
                title = name if row == 0 else ""
                _draw(_bare(figure.add_subplot(grid[row, column]), title), image)
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor="white", dpi=80)
    return file.getvalue()


def _pixels(x: np.ndarray) -> np.ndarray:
    """An example as an image, from black to white."""
    image = small(x[None])[1][0]
    image = image - image.min()
    image = image / (image.max() or 1)
    return image if image.shape[-1] == 3 else image[..., 0]


def _bare(axes, title: str):
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=8, color=INK)
    return axes


def _folded(codes: np.ndarray) -> np.ndarray:
    """A vector as rows, three times as many as columns."""
    columns = max(round(np.sqrt(len(codes) / 3)), 1)
    return np.append(codes, np.full(-len(codes) % columns, -128, np.int8)).reshape(-1, columns)


def _draw(axes, codes: np.ndarray, aspect: str = "equal") -> None:
    # -128 is what is no finite number.
    values = np.where(codes == -128, np.nan, codes.astype(float))
    axes.imshow(values, cmap=signed(), vmin=-127, vmax=127, interpolation="nearest", aspect=aspect)
    hatch_negative(axes, values, 127)
