"""Functions on arrays, variables and symbolic tensors, under Keras' names.

They are what custom losses, layers and training steps are written with. Called on a symbolic tensor
they become part of the graph. `ops.numpy`, `ops.nn`, `ops.linalg`, `ops.image`, `ops.signal` and `ops.core`
hold them by subject; all are in `ops` itself, too. Source: Keras: Ops API.

>>> from cornu import ops
>>> float(ops.sum(ops.square([3.0, 4.0]), axis=0))
25.0
"""

import importlib

from cornu.core import registry

_SUBJECTS = ("core", "numpy", "nn", "linalg", "image", "signal")
_INNER = (
    "adaptive_pooling",
    "attention",
    "convolution",
    "cross_entropy",
    "ctc",
    "hashes",
    "pooling",
    "rearrangement",
    "windows",
    "public",
)
# Those that do not compute, and so are not part of graphs; and second names.
_PLAIN = (
    "convert_to_numpy convert_to_tensor custom_gradient dtype is_tensor jvp ndim shape size vectorize "
    "hard_swish swish"
).split()


def __getattr__(name):
    # Loaded on use: `import cornu` needs convolutions, but not three hundred functions' wrappers.
    if name in _SUBJECTS:
        return importlib.import_module(f"cornu.ops.{name}")
    if not name.startswith("_") and name not in _INNER:
        for subject in _SUBJECTS:
            function = getattr(importlib.import_module(f"cornu.ops.{subject}"), name, None)
            if function is not None and name in __dir__():
                globals()[name] = function
                return function
    raise AttributeError(f"module 'cornu.ops' has no attribute {name!r}")


def _load():
    for subject in _SUBJECTS:
        importlib.import_module(f"cornu.ops.{subject}")


registry.load_on_use("op", _load)


def __dir__():
    _load()
    here = {
        n for subject in _SUBJECTS for n in dir(importlib.import_module(f"cornu.ops.{subject}"))
    }
    # `keras.ops` does not have all activations, which are registered as well.
    return sorted({*_SUBJECTS, *here.intersection(registry.registered("op")), *_PLAIN})
