"""Names of classes and functions: which one a string or a configuration means.

A configuration read from a file is only ever *looked up* here. Nothing is imported, evaluated or
unpickled because a file says so: a name that nobody registered in this process is an error.
"""

import difflib
import inspect
import re
import types
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from cornu.core.context import context, within


class _Entry(NamedTuple):
    module: str
    name: str
    object: Any


class _Kind:
    """The objects of one kind by name, and what registers more of them, once one is asked for."""

    def __init__(self):
        self.entries: dict[str, _Entry] = {}
        self.loaders: list[Callable] = []

    def get(self, name: str, default=None):
        return self.entries[name].object if name in self.entries else default

    def load(self) -> bool:
        """Register what is loaded on use; whether there was anything."""
        loaders, self.loaders = self.loaders, []
        for load in loaders:
            load()
        return bool(loaders)


_kinds: dict[str, _Kind] = defaultdict(_Kind)
# The first name of each object.
_first: dict[Any, _Entry] = {}
# What users registered.
_custom: dict[str, Any] = {}
_custom_names: dict[Any, str] = {}


# Callbacks read and write files, and no model consists of them: a configuration cannot name one.
_NOT_IN_FILES = ("callback",)


def _fold(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def to_snake_case(name: str) -> str:
    """Turn a class name into the stem of an object's name: `MaxPooling2D` -> `max_pooling2d`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def register(kind: str, *names: str, module: str) -> Callable:
    """Decorator: register a class or function under `names`, the first of which is written to files.

    `module` is the public module that Keras keeps it in, because files name that one.
    """

    def decorate(obj):
        # Underscores go around, not into, Python's reserved words (`lambda`), so no name is derived.
        own = names or (obj.__name__,)
        entries = {name: _Entry(module, name, obj) for name in own}
        _kinds[kind].entries.update(entries)
        _first.setdefault(obj, entries[own[0]])
        return obj

    return decorate


def load_on_use(kind: str, load: Callable) -> None:
    """`load()` registers more objects of a kind, once one is looked up that is not known yet."""
    _kinds[kind].loaders.append(load)


def registered(kind: str) -> dict[str, Any]:
    """All names of one kind, with their objects."""
    _kinds[kind].load()
    return {name: entry.object for name, entry in _kinds[kind].entries.items()}


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable:
    """Decorator: let files name your own class or function as `package>name`.

    Source: Keras: register_keras_serializable.

    >>> import cornu
    >>> @cornu.saving.register_keras_serializable(package="my_package")
    ... def halve(x):
    ...     return x / 2
    >>> cornu.saving.get_registered_name(halve)
    'my_package>halve'
    """

    def decorate(obj):
        if inspect.isclass(obj) and not hasattr(obj, "get_config"):
            raise ValueError(
                f"Cannot register {obj.__name__}: a class needs a `get_config()` method to be "
                "written to a file."
            )
        registered_name = f"{package}>{name or obj.__name__}"
        _custom[registered_name] = obj
        _custom_names[obj] = registered_name
        return obj

    return decorate


def get_registered_name(obj) -> str:
    """The `package>name` that an object was registered under, else its own name."""
    return _custom_names.get(obj, getattr(obj, "__name__", type(obj).__name__))


def get_registered_object(
    name: str, custom_objects: dict | None = None, module_objects: dict | None = None
):
    """The object that is known as `name`, or None.

    It is looked for in `custom_objects`, the scopes that this thread is in, what was registered, and
    `module_objects`, in this order.
    """
    for table in (custom_objects or {}, context.custom_objects, _custom, module_objects or {}):
        if name in table:
            return table[name]
    return None


def get_custom_objects() -> dict[str, Any]:
    """The live table of registered names; entries added here are found by every loader.

    What `custom_object_scope` makes known is not in it.
    """
    return _custom


class custom_object_scope:
    """Within the `with` block, names in `custom_objects` are known to every loader in this thread.

    A scope within another adds to it. None is no object at all.

    Source: Keras: custom_object_scope.

    >>> import cornu
    >>> with cornu.utils.custom_object_scope({"double": lambda x: 2 * x}):
    ...     layer = cornu.layers.Activation("double")
    """

    def __init__(self, custom_objects: dict[str, Any] | None):
        self.custom_objects = custom_objects or {}
        self._before: list[dict[str, Any]] = []

    def __enter__(self):
        self._before.append(context.custom_objects)
        context.custom_objects = {**context.custom_objects, **self.custom_objects}
        return self

    def __exit__(self, *error):
        context.custom_objects = self._before.pop()


@contextmanager
def sharing():
    """Within, an object with weights that several configurations share is made once and stays shared."""
    with within(shared={}):
        yield


def find(kind: str, name: str, custom_objects: dict | None = None):
    """What `name` means among objects of one kind.

    Raises ValueError with the nearest known names if nothing is called that.
    """
    known = _kinds[kind]
    found = get_registered_object(name, custom_objects)
    if found is None:
        found = known.get(name)
    if found is not None:
        return found
    # The first that is written so, but for capitals and underscores.
    folded = {_fold(each): each for each in reversed(known.entries)}
    if _fold(name) in folded:
        return known.get(folded[_fold(name)])
    if known.load():
        return find(kind, name, custom_objects)
    close = difflib.get_close_matches(_fold(name), list(folded), n=3, cutoff=0.5)
    nearest = [folded[key] for key in close]
    article = "an" if kind[0] in "aeiou" else "a"
    hint = f" Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
    raise ValueError(
        f"Unknown {kind}: {name!r}.{hint} If it is {article} {kind} of your own, pass the object "
        "itself, or name it with `custom_objects` or `register_keras_serializable`."
    )


def get(kind: str, identifier):
    """Resolve what a user may pass for an object of one kind.

    None stays None. A string or a configuration is looked up, a class is made into an instance,
    and anything callable is taken as it is.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str):
        found = find(kind, identifier)
        return found() if inspect.isclass(found) else found
    if isinstance(identifier, dict):
        found = deserialize(identifier, kind=kind)
        if isinstance(found, dict):
            raise ValueError(
                f"Could not interpret {kind} identifier: {identifier!r}. A configuration has the keys "
                "'class_name' and 'config'."
            )
        return found
    if inspect.isclass(identifier):
        return identifier()
    if callable(identifier) or hasattr(identifier, "get_config"):
        return identifier
    if kind == "initializer" and hasattr(identifier, "__array__"):
        return find(kind, "constant").exactly(identifier)
    raise ValueError(
        f"Could not interpret {kind} identifier: {identifier!r}. Expected a name, a configuration "
        f"(dict) or a callable, but got an object of type {type(identifier).__name__}."
    )


def serialize(obj):
    """Describe `obj` with plain JSON-like values, so that `deserialize` makes an equal one.

    Numbers, strings, lists, tuples and dicts are kept; a registered function becomes its name; an
    object with `get_config()` becomes `{"module", "class_name", "config", "registered_name"}`.
    """
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    if isinstance(obj, bytes):
        return {"class_name": "__bytes__", "config": {"value": obj.decode("utf-8")}}
    if isinstance(obj, tuple) and type(obj) is tuple:
        return tuple(serialize(o) for o in obj)
    if isinstance(obj, list):
        return [serialize(o) for o in obj]
    if isinstance(obj, dict):
        return {key: serialize(value) for key, value in obj.items()}
    if isinstance(obj, slice):
        parts = {"start": obj.start, "stop": obj.stop, "step": obj.step}
        return {"class_name": "__slice__", "config": serialize(parts)}
    if obj is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(obj, np.generic):
        return obj.item()
    if isinstance(obj, np.dtype):
        return obj.name
    if inspect.isclass(obj) and issubclass(obj, np.generic):
        return np.dtype(obj).name
    if isinstance(obj, types.FunctionType) or (callable(obj) and not hasattr(obj, "get_config")):
        if _is_known(obj):
            return _first[obj].name
        if hasattr(obj, "__name__"):
            return _describe_function(obj)
    if hasattr(obj, "get_config"):
        if inspect.isclass(obj):
            return _describe_class(obj)
        return describe(obj)
    if hasattr(obj, "__array__"):
        array = np.asarray(obj)
        return {
            "class_name": "__numpy__",
            "config": {"value": array.tolist(), "dtype": array.dtype.name},
        }
    raise TypeError(
        f"Cannot describe {obj!r} (of type {type(obj).__name__}) in a configuration. Give its class "
        "a `get_config()` method, or override `get_config()` in the object that holds it."
    )


def _is_known(obj) -> bool:
    try:
        return obj in _first
    except TypeError:
        # It has no hash.
        return False


def _describe_function(function) -> dict:
    name = get_registered_name(function)
    return {
        "module": function.__module__,
        "class_name": "function",
        "config": name,
        "registered_name": name,
    }


def _describe_class(cls) -> dict:
    module, name, _ = _first.get(cls, (cls.__module__, cls.__name__, cls))
    registered_name = None if cls in _first else get_registered_name(cls)
    return {
        "module": module,
        "class_name": "type",
        "config": name,
        "registered_name": registered_name,
    }


def describe(obj, compiled=True) -> dict:
    """The description of one object; a model's includes how it was compiled, unless that is left out."""
    cls = type(obj)
    config = obj.get_config()
    if not isinstance(config, dict):
        raise TypeError(
            f"`get_config()` of {cls.__name__} must return a dict. It returned: {config!r}"
        )
    described = _describe_class(cls)
    description = {**described, "class_name": described["config"], "config": serialize(config)}
    for more in ("build_config", "compile_config") if compiled else ("build_config",):
        get = getattr(obj, f"get_{more}", None)
        value = None if get is None else get()
        if value:
            description[more] = serialize(value)
    if context.shared is not None and getattr(obj, "weights", None):
        # The object is kept, so that no other gets its id.
        number, _ = context.shared.setdefault(id(obj), (len(context.shared) + 1, obj))
        description["shared_object_id"] = number
    return description


def deserialize(config, custom_objects: dict | None = None, kind: str | None = None):
    """Make the object that `serialize` described. Names are looked up, never imported.

    Raises ValueError if a name is unknown, TypeError if a configuration names something other than a class.
    """
    if config is None or isinstance(config, (bool, int, float, bytes)):
        return config
    if isinstance(config, str):
        with custom_object_scope(custom_objects):
            return get(kind, config) if kind else config
    if isinstance(config, list):
        return [deserialize(c, custom_objects) for c in config]
    if isinstance(config, tuple):
        return tuple(deserialize(c, custom_objects) for c in config)
    if not isinstance(config, dict):
        return config
    if "class_name" not in config or "config" not in config:
        return {key: deserialize(value, custom_objects) for key, value in config.items()}
    name, inner = config["class_name"], config["config"]
    if name in ("__numpy__", "__tensor__"):
        return np.array(inner["value"], dtype=inner["dtype"])
    if name == "__bytes__":
        return inner["value"].encode("utf-8")
    if name == "__slice__":
        return slice(inner["start"], inner["stop"], inner["step"])
    if name == "__ellipsis__":
        return Ellipsis
    if name == "function":
        return _find_function(config, custom_objects, kind)
    number = config.get("shared_object_id")
    known = context.shared if isinstance(number, int) else None
    if known and number in known:
        return known[number]
    if name == "type":
        return _find_class({**config, "class_name": inner}, custom_objects, None)
    if not (inner is None or isinstance(inner, dict)):
        raise TypeError(
            f"Expected 'config' to be a dict: the arguments of {name!r}. It is: {inner!r}"
        )
    cls = _find_class(config, custom_objects, kind)
    if not inspect.isclass(cls) or not hasattr(cls, "from_config"):
        raise TypeError(
            f"The configuration names {name!r}, which is {cls!r} and not a Cornu class."
        )
    with custom_object_scope(custom_objects):
        obj = cls.from_config({} if inner is None else inner)
        if config.get("build_config") and not getattr(obj, "built", False):
            obj.build_from_config(config["build_config"])
        if config.get("compile_config") and hasattr(obj, "compile_from_config"):
            obj.compile_from_config(config["compile_config"])
    if known is not None:
        known[number] = obj
    return obj


def _is_of_keras(config: dict) -> bool:
    module = config.get("module")
    return isinstance(module, str) and module.partition(".")[0] == "keras"


def _is_users(config: dict) -> bool:
    """Whether a file marks a class or function as not one of Keras' own."""
    name = config.get("registered_name")
    # Keras says of its functions only that they are built in, and how they are called.
    builtin = (
        ("function", config["config"]) if config.get("module") == "builtins" else ("function",)
    )
    return isinstance(name, str) and name not in builtin and not _is_of_keras(config)


def _find_custom(config: dict, name: str, custom_objects):
    for key in (config.get("registered_name"), name, name.rpartition(">")[2]):
        found = get_registered_object(key, custom_objects) if isinstance(key, str) else None
        if found is not None:
            return found
    return None


def _find_function(config: dict, custom_objects, kind):
    name = config["config"]
    if not isinstance(name, str):
        raise TypeError(
            f"Expected 'config' to be a non-null string, the name of a function. It is: {name!r}"
        )
    found = _find_custom(config, name, custom_objects)
    if found is None and config.get("module") == "builtins":
        # Keras up to 3.6 wrote functions without their package.
        tables = (custom_objects or {}, context.custom_objects, _custom)
        found = next((t[key] for t in tables for key in t if key.endswith(f">{name}")), None)
    if found is None and not _is_users(config):
        for candidate in [_kinds[kind]] if kind else _kinds.values():
            found = candidate.get(name, found)
    if found is None or inspect.isclass(found):
        raise ValueError(
            f"The configuration names the function {name!r}, which is not registered. Pass it with "
            f"custom_objects={{{name!r}: ...}} or register it with `register_keras_serializable`."
        )
    return found


def _find_class(config: dict, custom_objects, kind):
    name = config["class_name"]
    if not isinstance(name, str):
        raise ValueError(f"A class must be named by a string, but the configuration has {name!r}.")
    # A class of one's own may have the name of one of Keras', and both be in a file.
    registered_name = config.get("registered_name")
    if not (_is_of_keras(config) and config.get("registered_name", name) is None):
        found = _find_custom(config, name, custom_objects)
        if found is not None:
            return found
    if _is_of_keras(config) and registered_name and registered_name != name:
        raise ValueError(
            f"The configuration names {name!r} of Keras, but says that it was registered as "
            f"{registered_name!r}, which nothing is here. If that is a class of your own, register it with "
            "`register_keras_serializable`, or name it in `custom_objects`."
        )
    module = config.get("module")
    if not _is_users(config):
        in_files = [known for each, known in list(_kinds.items()) if each not in _NOT_IN_FILES]
        named = [known.entries[name] for known in in_files if name in known.entries]
        for entry in named:
            if entry.module == module:
                return entry.object
        if kind:
            return find(kind, name, custom_objects)
        if named:
            return named[0].object
        if sum(known.load() for known in in_files):
            return _find_class(config, custom_objects, kind)
    raise ValueError(
        f"Unknown {kind or 'class'}: {name!r}"
        + (f" of module {module!r}" if module else "")
        + " is not registered. If it is your own, name it in `custom_objects`, as "
        f"custom_objects={{{name!r}: {name}}}, or register it with `register_keras_serializable`."
    )
