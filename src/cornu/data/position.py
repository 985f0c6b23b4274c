"""The states of the global random generators, in plain values."""

import base64
import random

import numpy as np


def random_state() -> dict:
    """The states of `random` and of `numpy.random`.

    >>> import numpy as np
    >>> from cornu.data.position import random_state, set_random_state
    >>> state = random_state()
    >>> first = np.random.random()
    >>> set_random_state(state)
    >>> first == np.random.random()
    True
    """
    name, keys, *rest = np.random.get_state(legacy=True)
    version, words, normal = random.getstate()
    return {
        "numpy": [name, _packed(keys), *rest],
        "python": [version, _packed(words), normal],
    }


def _packed(words) -> str:
    # A third of what numbers take in a file: there may be a state for each epoch.
    return base64.b64encode(np.asarray(words, "<u4").tobytes()).decode()


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<u4")


def set_random_state(state: dict) -> None:
    """Put both generators back to where `random_state` found them."""
    version, words, normal = state["python"]
    random.setstate((version, tuple(_unpacked(words).tolist()), normal))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, _unpacked(keys), *rest))
