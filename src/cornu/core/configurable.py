"""Configuration from the constructor's signature, written once for every public object."""

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

from cornu.core import old_arguments, registry
from cornu.core.arguments import check_arguments

_F = TypeVar("_F", bound=Callable)


def once_per_class(function: _F) -> _F:
    """Decorator: remember a function's result for each class that it is called with."""
    return functools.cache(function)  # type: ignore[return-value]


@once_per_class
def constructor_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Every named constructor argument of `cls`, its own first, then those `**kwargs` passes on."""
    parameters: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None or base is object:
            continue
        open_ended = False
        for parameter in list(inspect.signature(init).parameters.values())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                open_ended = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                parameters.setdefault(parameter.name, parameter)
        if not open_ended:
            break
    return parameters


def arguments_for(cls: type, given: dict) -> dict:
    """Of a constructor's arguments, `locals()` as it begins, those that the constructor of `cls` takes."""
    return {name: given[name] for name in constructor_parameters(cls) if name in given}


def is_ours(cls: type) -> bool:
    """Whether a class is one of this library's."""
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


@once_per_class
def described_class(cls: type) -> type:
    """The class whose constructor the inherited `get_config` describes.

    It is `cls` itself, unless a class outside this library has a `get_config` of its own: what its
    constructor takes is then its own business, and what it inherits describes this library's class.
    """
    owner = next((b for b in cls.__mro__ if "get_config" in b.__dict__), cls)
    return cls if is_ours(owner) else next(b for b in cls.__mro__ if is_ours(b))


class Configurable:
    """An object that its constructor's arguments describe completely.

    A subclass keeps each argument (normalized as it likes) as an attribute of the same name;
    `get_config()` reads them back, and `from_config()` calls the constructor with them. An argument
    that is not kept as an attribute is remembered as it was passed. A subclass elsewhere that overrides
    `get_config()` adds its own arguments to those of the class that it is made from, as in Keras.
    """

    _constructor_arguments: dict

    def __new__(cls, *args, **kwargs):
        if kwargs and old_arguments.may_be_old(kwargs) and is_ours(cls):
            today = old_arguments.renamed(cls.__name__, args, kwargs, constructor_parameters(cls))
            if today.keys() != kwargs.keys():
                name = cls.__name__
                old_arguments.warn((name, args, kwargs), (name, args, today))
                return _made(cls, args, today)
        obj = super().__new__(cls)
        bound = _bind(cls, args, kwargs)
        check_arguments(cls, bound)
        # object.__setattr__, because a subclass may watch its attributes from __init__ on.
        object.__setattr__(obj, "_constructor_arguments", bound)
        return obj

    def _config_names(self) -> list[str]:
        return list(constructor_parameters(described_class(type(self))))

    def get_config(self) -> dict:
        """The constructor's arguments as plain values: `from_config` of them is an equal object.

        Raises NotImplementedError if there were positional arguments that have no name, TypeError if
        one cannot be described.
        """
        cls = type(self)
        if _UNNAMED in self._constructor_arguments and described_class(cls) is cls:
            raise NotImplementedError(
                f"{cls.__name__} was made with positional arguments that have no name (`*args`), so "
                "no configuration can hold them. Give them names, or override `get_config()` and "
                "`from_config()`."
            )
        config = {}
        for name in self._config_names():
            if hasattr(self, name):
                value = getattr(self, name)
            elif name in self._constructor_arguments:
                value = self._constructor_arguments[name]
            else:
                continue
            try:
                config[name] = registry.serialize(value)
            except TypeError as error:
                # A class with its own get_config() may replace this entry.
                if described_class(cls) is cls:
                    raise TypeError(f"{cls.__name__}: argument `{name}`: {error}") from None
                config[name] = value
        return config

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        """Make an object from what `get_config()` returned.

        Args:
            config: the constructor's arguments by name.
            custom_objects: classes and functions by the names that they have in the configuration.
        """
        unknown = [k for k in config if k not in constructor_parameters(cls)]
        if unknown and not takes_anything(cls):
            raise TypeError(
                f"{cls.__name__} has no argument named {', '.join(map(repr, unknown))}; the "
                f"configuration was {config}. Known: {', '.join(constructor_parameters(cls))}."
            )
        with registry.custom_object_scope(custom_objects):
            return cls(**{k: _restore(v) for k, v in config.items()})


def _made(cls: type, args: tuple, kwargs: dict):
    """An object for `__new__` to return that takes other arguments than it was called with.

    Python calls `__init__` on what `__new__` returns, with the arguments of the call. So this is an object
    of a subclass, whose `__init__` makes it one of `cls` and does nothing else.
    """
    made = cls(*args, **kwargs)
    if not isinstance(made, cls):
        return made
    object.__setattr__(made, "__class__", _finished(type(made)))
    return made


@once_per_class
def _finished(cls: type) -> type:
    def __init__(self, *args, **kwargs):
        object.__setattr__(self, "__class__", cls)

    return type(cls.__name__, (cls,), {"__init__": __init__})


def _restore(value):
    """Objects described inside a configuration are made; names stay for the constructor."""
    return registry.deserialize(value) if isinstance(value, (dict, list, tuple)) else value


# Where positional arguments are kept that no parameter has a name for.
_UNNAMED = "*"


def _bind(cls, args, kwargs) -> dict:
    names = [n for n, p in constructor_parameters(cls).items() if p.kind is not p.KEYWORD_ONLY]
    bound = {**dict(zip(names, args, strict=False)), **kwargs}
    return {**bound, _UNNAMED: args[len(names) :]} if len(args) > len(names) else bound


def takes_anything(cls) -> bool:
    """Whether the constructor of `cls` takes arguments of any name."""
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None or base is object:
            continue
        kinds = [p.kind for p in inspect.signature(init).parameters.values()]
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            return False
        if "_hands_arguments_on" in base.__dict__:
            break
    return True
