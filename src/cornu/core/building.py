"""Building: which shapes a layer's `build` is given, and what of them a file keeps."""

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

from cornu.core import naming
from cornu.core.call_arguments import call_parameters, is_mask, shapes_of, tuples
from cornu.core.context import within


def in_scope(build):
    """Wrap a `build` method: weights made in it get the layer's path, and it marks itself done."""
    signature = inspect.signature(build)

    @functools.wraps(build)
    def wrapped(self, *args, **kwargs):
        self._check_initialized()
        with (
            naming.name_scope(self.name, owner=self),
            within(computing=None),
            _making_weights_once(self),
        ):
            if self.path is None:
                self._path = naming.current_path()
            result = build(self, *args, **kwargs)
        self.built = True
        given = signature.bind(self, *args, **kwargs).arguments
        self._build_arguments = {n: v for n, v in list(given.items())[1:] if v is not None}
        if args and not self.__dict__.get("_built_shapes"):
            self._built_shapes = {"input": args[0]}
        return result

    return wrapped


@contextmanager
def _making_weights_once(layer) -> Iterator[None]:
    """Within is a `build`. If it fails, or makes weights a second time, the layer stays as it was."""
    if "_is_building" in layer.__dict__:
        # That of a base class.
        yield
        return
    before, own = dict(layer.__dict__), list(layer._variables)
    weights = layer.weights if "_build_arguments" in before else []
    layer._is_building = True
    try:
        yield
        if weights and (
            len(layer._variables) > len(own) or {*map(id, weights)} - {*map(id, layer.weights)}
        ):
            raise ValueError(
                f"Layer '{layer.name}' ({type(layer).__name__}) is built already: a second `build` would "
                "make new weights beside or instead of those that it has. Make a new layer, or ask "
                "`layer.built` first."
            )
    except BaseException:
        layer.__dict__.clear()
        layer.__dict__.update(before)
        layer._variables[:] = own
        raise
    finally:
        layer.__dict__.pop("_is_building", None)


def build_for(layer, arguments: dict, is_overridden: bool) -> None:
    """Build a layer for the arguments of its first call: `build` names those whose shapes it takes."""
    if layer.built and "_built_shapes" in layer.__dict__:
        return
    shapes = shapes_of(arguments)
    if layer.built or not is_overridden:
        # Nothing to build, but a summary needs the shapes.
        layer._built_shapes = shapes
        return
    wanted = list(inspect.signature(layer.build).parameters)
    _check_given(layer, arguments)
    if not wanted:
        layer.build()
    elif len(wanted) == 1 and wanted[0].removesuffix("_shape") not in shapes:
        layer.build(next(iter(shapes.values())) if shapes else None)
    else:
        names = [w.removesuffix("_shape") for w in wanted]
        if len(wanted) > 1 and not any(n in shapes for n in names):
            layer.build(*list(shapes.values())[: len(wanted)])
        else:
            layer.build(**_shapes_by_name(layer, shapes))
    layer._built_shapes = shapes


def _shapes_by_name(layer, shapes: dict) -> dict:
    """What a `build` of several arguments is given: each takes the shape of an argument of `call`."""
    given = {}
    for name, parameter in inspect.signature(layer.build).parameters.items():
        of = name.removesuffix("_shape")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if of in shapes and (name != of or parameter.default is not parameter.empty):
            given[name] = shapes[of]
        elif parameter.default is parameter.empty:
            taken = call_parameters(type(layer))
            if name == of or of not in taken:
                why = (
                    f"has the argument `{name}`, which does not end in `_shape`"
                    if name == of
                    else f"takes `{name}`, but `call()` does not have argument `{of}`"
                )
                raise ValueError(
                    f"Layer '{layer.name}' ({type(layer).__name__}): `build` {why}. A `build` of several "
                    "arguments names each after the argument of `call` whose shape it takes: "
                    f"{', '.join(f'{n}_shape' for n in taken)}."
                )
            # The call leaves it out, and may.
            given[name] = None
    return given


def with_masks(layer, arguments: dict, kwargs: dict) -> dict:
    """The arguments of a call with those masks whose shapes `build` asks for by name."""
    if layer.built or not any(is_mask(name) for name in kwargs):
        return arguments
    wanted = [name.removesuffix("_shape") for name in inspect.signature(layer.build).parameters]
    return {**arguments, **{n: kwargs[n] for n in wanted if is_mask(n) and n in kwargs}}


def _check_given(layer, arguments: dict) -> None:
    """Say which argument of `call` is missing, before `build` misses its shape."""
    missing = [
        name
        for name, parameter in call_parameters(type(layer)).items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and not is_mask(name)
        and name not in arguments
    ]
    if missing:
        raise TypeError(
            f"Layer '{layer.name}' ({type(layer).__name__}) was called without its argument "
            f"{missing[0]!r}. `call` takes {', '.join(call_parameters(type(layer)))}."
        )


def config_of(layer) -> dict | None:
    """The shapes that a layer was built for."""
    shapes = layer.__dict__.get("_build_arguments")
    if shapes is not None and not inspect.signature(layer.build).parameters:
        return {"shapes_dict": {}}
    if not shapes:
        called = layer.__dict__.get("_built_shapes")
        if not called:
            return None
        shapes = {f"{name}_shape": shape for name, shape in called.items()}
    if len(shapes) == 1:
        return {"input_shape": next(iter(shapes.values()))}
    return {"shapes_dict": shapes}


def build_from(layer, config: dict) -> None:
    """Build a layer for the shapes in such a configuration."""
    if layer.built or not config:
        return
    if "input_shape" in config:
        layer.build(tuples(config["input_shape"]))
    else:
        shapes = config.get("shapes_dict", config)
        layer.build(**{name: tuples(shape) for name, shape in shapes.items()})
