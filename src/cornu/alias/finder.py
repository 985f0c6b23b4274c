"""What Python's imports find under the names of Keras and TensorFlow."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

from cornu.alias import old_names, paths
from cornu.alias.tensorflow import refuse_module, stand_in
from cornu.core import absent

# Where TensorFlow has a copy of Keras 2 for its own use. A script that names it means Keras.
_OLD_KERAS = "tensorflow.python.keras"


class Alias(types.ModuleType):
    """A module of Keras: its names are those of one or more of Cornu's modules."""

    def __init__(self, name: str, homes):
        super().__init__(name, f"{name}, by Cornu.")
        self._homes = homes
        # So that it may have modules of its own.
        self.__path__: list[str] = []
        if homes and "" in homes:
            self.__version__ = paths.VERSION

    def __getattr__(self, name: str):
        # What Python asks of a module while it imports it.
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        homes = [importlib.import_module(_here(home)) for home in self._homes]
        if name == "__all__":
            return sorted({each for home in homes for each in _public(home)})
        for home in homes:
            try:
                value = getattr(home, name)
            except AttributeError:
                continue
            return self._module(name) if isinstance(value, types.ModuleType) else value
        if paths.homes_of(f"{self.__name__}.{name}", _exists):
            return self._module(name)
        for home in self._homes:
            value = old_names.find(self.__name__, home, name)
            if value is not None:
                # The statement `from … import` asks twice.
                setattr(self, name, value)
                return value
        raise absent.error(self.__name__, name, self.__getattr__("__all__"))

    def __call__(self, *args, **kwargs):
        """`keras.layers.merge` was a function before it was a module."""
        if not self.__name__.endswith("layers.merge"):
            # Any name in small letters within Keras' own folders may be that of a file.
            raise TypeError(
                f"'module' object is not callable. `{self.__name__}` stands for a file of Keras; if it is "
                "a function, Cornu lacks it: write it with `cornu.ops` or `jax.numpy`."
            )
        return old_names.merge(*args, **kwargs)

    def _module(self, name: str):
        return importlib.import_module(f"{self.__name__}.{name}")

    def __dir__(self):
        return sorted({*super().__dir__(), *self.__getattr__("__all__")})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds Keras' modules, and TensorFlow's where they have to do with it."""

    def __init__(self):
        # An old Keras is part of TensorFlow, which uses it itself: its modules, by name.
        self._of_tensorflow: dict[str, types.ModuleType] = {}

    def find_spec(self, fullname, path=None, target=None):
        if _is_within(fullname, _OLD_KERAS) and _asked_by_tensorflow():
            if fullname in self._of_tensorflow:
                return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
            return None
        if paths.split(fullname):
            if paths.homes_of(fullname, _exists) is None:
                # With `name=fullname`, `from package import name` would say Python's own words instead.
                raise ModuleNotFoundError(_absent(fullname))
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        if fullname == "tensorflow":
            real = self._real(fullname)
            if real is None:
                return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
            loader = real.loader
            execute = loader.exec_module

            def exec_module(module):
                execute(module)
                self.replace_keras(module)

            loader.exec_module = exec_module
            return real
        if fullname.startswith("tensorflow.") and self._is_stand_in():
            module = refuse_module(fullname)
            if isinstance(module, types.ModuleType):
                return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        if spec.name in self._of_tensorflow and _asked_by_tensorflow():
            return self._of_tensorflow[spec.name]
        homes = paths.homes_of(spec.name, _exists)
        if homes is not None:
            return Alias(spec.name, homes)
        return stand_in() if spec.name == "tensorflow" else refuse_module(spec.name)

    def exec_module(self, module):
        """Nothing is left to do."""

    def replace_keras(self, tensorflow) -> None:
        """Let `tf.keras` of TensorFlow itself be Cornu."""
        for name in [each for each in sys.modules if _is_within(each, _OLD_KERAS)]:
            self._of_tensorflow[name] = sys.modules.pop(name)
        tensorflow.keras = importlib.import_module("tensorflow.keras")

    def _real(self, name: str):
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, None)
                if spec is not None and spec.loader is not None:
                    return spec
        return None

    def _is_stand_in(self) -> bool:
        found = sys.modules.get("tensorflow")
        return found is not None and getattr(found.__spec__, "loader", None) is self


def _is_within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def _asked_by_tensorflow() -> bool:
    """Whether the import that is going on stands in a module of TensorFlow."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name != __name__ and not _is_within(name, "importlib"):
            return _is_within(name, "tensorflow")
        frame = frame.f_back
    return False


def _public(module: types.ModuleType) -> list[str]:
    """What `from module import *` gives."""
    names = getattr(module, "__all__", None)
    if names is not None:
        return list(names)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]


def _here(home: str) -> str:
    return f"cornu.{home}" if home else "cornu"


def _exists(name: str) -> bool:
    """Whether Cornu has a public module of a name."""
    top, _, below = name.partition(".")
    cornu = importlib.import_module("cornu")
    try:
        module = getattr(cornu, top)
    except AttributeError:
        return False
    if not isinstance(module, types.ModuleType) or any(p.startswith("_") for p in name.split(".")):
        return False
    try:
        return not below or importlib.util.find_spec(f"cornu.{name}") is not None
    except ModuleNotFoundError:
        return False


def _absent(name: str) -> str:
    above, _, last = name.rpartition(".")
    _, rest = paths.split(name) or ("", "")
    top = rest.partition(".")[0]
    home = f"cornu.{top}" if top != rest and _exists(top) else "cornu"
    said = absent.message(above, last, _public(importlib.import_module(home)))
    if home == "cornu" or last != last.lower():
        return said
    inside = f"What Keras has in the modules of `{top}` is in `{top}` itself"
    return f"{said} {inside}: `from keras import {top}`."
