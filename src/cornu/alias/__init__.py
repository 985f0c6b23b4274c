"""Scripts that say `import keras` or `tf.keras`, on Cornu and as they are.

`paths` says what is found under which name, `finder` hooks that into Python's imports, `tensorflow` is what
a script finds as TensorFlow where that is not installed.
"""

import contextlib
import importlib
import sys
from typing import Any

import numpy as np

from cornu.alias.finder import Alias, Finder


def install_as_keras() -> None:
    """From here on, `import keras`, `from tensorflow import keras` and the like give Cornu.

    So do the paths of older versions, such as `keras.layers.convolutional` and `keras.utils.np_utils`.
    Where TensorFlow is installed, `tf` is TensorFlow with `tf.keras` replaced. Where it is not, `tf` has
    what scripts use beside Keras, such as `tf.random.set_seed` and `tf.data`; everything else says what to
    use instead. Arrays of JAX get the method `numpy()`, as TensorFlow's tensors have.

    So do the processes that `multiprocessing` and `concurrent.futures` start from here.

    `cornu run script.py` does this and then runs the script.

    Raises RuntimeError if Keras itself has been imported in this process.

        import cornu

        cornu.install_as_keras()
        from keras.layers import Conv2D  # is cornu.layers.Conv2D
    """
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    if not isinstance(sys.modules.get("keras", Alias("", [])), Alias):
        raise RuntimeError(
            "Keras itself has been imported in this process already. Call `install_as_keras()` "
            "before anything imports Keras."
        )
    # JAX has no public name for the class of its arrays.
    with contextlib.suppress(ImportError):
        importlib.import_module("jax._src.array").ArrayImpl.numpy = lambda array: np.asarray(array)
    finder = Finder()
    sys.meta_path.insert(0, finder)
    _install_in_new_processes()
    if "tensorflow" in sys.modules:
        finder.replace_keras(sys.modules["tensorflow"])


class _Installed:
    """What is unpickled as a call of `install_as_keras`."""

    def __reduce__(self):
        return install_as_keras, ()


def _install_in_new_processes() -> None:
    """A process that is spawned unpickles a dict of settings before it imports the script."""
    spawn: Any = importlib.import_module("multiprocessing.spawn")
    settings_of = spawn.get_preparation_data

    def get_preparation_data(name):
        return {**settings_of(name), "cornu": _Installed()}

    spawn.get_preparation_data = get_preparation_data


__all__ = ["install_as_keras"]
