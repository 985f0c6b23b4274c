"""The states of the global random generators, in plain values."""

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
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, normal = random.getstate()
    return {
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, gauss],
        "python": [version, list(words), normal],
    }


def set_random_state(state: dict) -> None:
    """Put both generators back to where `random_state` found them."""
    version, words, normal = state["python"]
    random.setstate((version, tuple(words), normal))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))
