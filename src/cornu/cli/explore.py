"""`cornu explore`, and the page of `cornu train --explore`."""

import webbrowser
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cornu.cli.class_names import CLASS_NAMES
from cornu.cli.command import CommandError, say
from cornu.cli.data import Data, Part, check_range, has_image_files, load_to_judge, read_npz
from cornu.cli.parts import FITS
from cornu.cli.run_folder import HISTORY, MODEL, is_described, load, settings_of
from cornu.cli.run_settings import SETTINGS
from cornu.explorer import Examples, Network, Runs, Server, Watch, guess_white, takes, tour
from cornu.explorer.watch import FOLLOWED, JUDGED
from cornu.serving.http import listen
from cornu.training.interrupts import Terminated

# Of the examples that can be chosen on the page.
_MOST_EXAMPLES, _MOST_BYTES = 1000, 64 * 2**20


def explore(
    models: list[str],
    data: str | None,
    shape: tuple | None,
    host: str,
    port: int,
    opens: bool,
    starts_tour: bool = False,
) -> None:
    """Serve the page of a trained model, or of the tour's, until Ctrl-C.

    Of several models it is the first, with the curves of all.
    """
    # Arguments are checked before the model and the data are loaded.
    if data is not None:
        has_image_files(data)
    runs = _runs(models)
    # Of a training that has saved no model yet there are curves alone.
    model = next((m for m in models if not _is_unfinished(m)), models[0] if models else None)
    if model is None and shape is not None:
        raise CommandError("--input-shape is for a MODEL of any size; none is given.")
    check_address(host, port)
    examples: Examples | None
    if model is None:
        network, examples = tour.shown()
        if data is not None:
            examples = load_examples(data, network)
    else:
        network, examples = _loaded(model, data, shape)
    view = f"&{'' if model is None else 'net=tour&'}view=tour" if starts_tour else ""
    with Server(network, examples, host=host, port=port, compare=runs) as server, _until_ctrl_c():
        _announce(server, view)
        if opens:
            webbrowser.open(server.link + view)
        server.wait()


def _loaded(model: str, data: str | None, shape: tuple | None) -> tuple[Network, Examples | None]:
    loaded, path = load(model)
    network = Network(loaded, shape)
    if network.num_classes is not None:
        known = settings_of(path, network.num_classes)
        network.white, network.aspect = known.white, FITS[known.fit]
        network.name_classes(known.class_names)
    examples = None if data is None else load_examples(data, network)
    is_known = is_described(path)
    if is_known and examples is not None and data is not None:
        check_range(examples.x, data, network.white, "the model was trained on")
    if not is_known and len(network.shape) == 3:
        network.white = guess_white(network, examples)
        say(
            f"there is no {SETTINGS} beside {path}: "
            + (
                f"white is taken to be {network.white:g}."
                if network.white
                else "these are no pixels."
            )
        )
    return network, examples


def _runs(models: list[str]) -> Runs:
    """The curves of those that have some."""
    found = {m: m for m in models if (Path(m) / HISTORY).is_file()}
    if len(models) > 1:
        for other in models:
            if other not in found:
                say(f"{other} holds no {HISTORY}, and is not among the curves.")
    try:
        return Runs(found)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _is_unfinished(model: str) -> bool:
    return (Path(model) / HISTORY).is_file() and not (Path(model) / MODEL).is_file()


def check_address(host: str, port: int) -> None:
    """Raise OSError if a server could not listen there, before anything is loaded for it."""
    listen(host, port).close()


@contextmanager
def training_page(model, data: Data, port: int):
    """Serve the page of a training, whose callbacks this gives; afterwards it stays until Ctrl-C."""
    if data.is_multi_label:
        raise CommandError("--explore is for images of one class each; these may be of several.")
    network = Network(model, class_names=data.class_names, white=data.white)
    network.aspect = FITS[data.fit or "stretch"]
    part = data.validation if data.test is None else data.test
    examples = spread(part, _most(network.shape), network.shape)
    count = len(examples)
    rows = np.linspace(0, count - 1, min(FOLLOWED, count)).astype(int)
    # Those that are followed come first; others are judged, too.
    more = np.linspace(0, count - 1, min(JUDGED, count)).astype(int)
    rows = np.concatenate([rows, np.setdiff1d(more, rows)])
    watch = Watch(network, examples.x[rows], np.asarray(examples.y)[rows])
    with Server(network, examples, watch, port=port) as server:
        _announce(server)
        yield [watch]
        network.refresh()
        with _until_ctrl_c():
            print("\nThe page shows the best model. Ctrl-C closes it.", flush=True)
            server.wait()


def _announce(server: Server, view: str = "") -> None:
    print(f"The page: {server.link}{view}")
    print(f"For others, to look and ask: {server.viewer_link}{view}", flush=True)
    if server.is_shared:
        say("everybody in the network who has a link can use it. It is not encrypted.")


@contextmanager
def _until_ctrl_c():
    try:
        yield
    except Terminated:
        raise
    except KeyboardInterrupt:
        print()
        say("the page is closed.")


def _most(shape) -> int:
    return max(1, min(_MOST_EXAMPLES, _MOST_BYTES // (4 * int(np.prod(shape)))))


def load_examples(data: str, network: Network) -> Examples:
    """The examples of DATA: of its test part, or all if it has no parts; of many the first."""
    shape, names = network.shape, network.class_names
    most = _most(shape)
    if data in CLASS_NAMES or has_image_files(data):
        if len(shape) != 3:
            raise CommandError(
                f"{data} holds images, and the model takes arrays of shape {shape}. Expected an .npz file."
            )
        fit = next(fit for fit, aspect in FITS.items() if aspect == network.aspect)
        part = load_to_judge(data, names, shape, network.white, 1, fit=fit)
        return spread(part, most, shape)
    arrays = read_npz(data)
    key = "_test" if "x_test" in arrays else "_train" if "x_train" in arrays else ""
    x, y = arrays[f"x{key}"], arrays[f"y{key}"]
    if x.dtype.kind not in "buif" or not len(x) or not takes(shape, x.shape[1:]):
        raise CommandError(
            f"{data}: x{key} must hold numbers of shape (n, {', '.join(map(str, shape))}). Received: dtype "
            f"{x.dtype}, shape {x.shape}."
        )
    labels = _labels(y, names) if len(y) == len(x) else None
    x = x[:most].astype(np.float32).reshape(-1, *shape)
    return Examples(x, None if labels is None else labels[:most])


def _labels(y, names: list[str]) -> np.ndarray | None:
    if y.ndim == 2 and y.shape[1] == len(names) > 1:
        return y.argmax(1)
    if not names:
        return y if y.dtype.kind in "buif" and y.size == len(y) else None
    index = {name: number for number, name in enumerate(names)}
    found = [index.get(str(label), -1) for label in y.reshape(-1)] if y.size == len(y) else [-1]
    return None if -1 in found else np.array(found)


def spread(part: Part, most: int, shape) -> Examples:
    """Some examples of a part: the first of arrays, of a folder's files every so many."""
    if part.is_in_memory:
        x, y = part.source
        if x.shape[1:] != tuple(shape):
            raise CommandError(f"The images have shape {x.shape[1:]}; the model takes {shape}.")
        return Examples(x[:most], y[:most])
    chosen = np.unique(np.linspace(0, len(part) - 1, min(most, len(part), 200)).astype(int))
    chosen = part.source.readable(chosen)
    return Examples(*part.some(chosen))
