"""What is said of names that Keras has and Cornu has not."""

import importlib
import types

import keras
import pytest

import cornu
from cornu.core import absent


def public(module, path, seen):
    """`(path of the module, name)` of everything public in Keras."""
    if id(module) in seen:
        return
    seen.add(id(module))
    for name, value in vars(module).items():
        if name.startswith("_") or f"{path}.{name}" in ("keras.src", "keras.api"):
            continue
        if isinstance(value, types.ModuleType):
            if value.__name__.startswith("keras."):
                yield path, name
                yield from public(value, f"{path}.{name}", seen)
        else:
            yield path, name


def test_each_of_keras_names_is_there_or_is_refused_by_name():
    names = list(public(keras, "keras", set()))
    assert len(names) > 1400
    missing = set()
    for path, name in names:
        here = path.replace("keras", "cornu", 1)
        module = cornu
        for part in here.split(".")[1:]:
            module = getattr(module, part, None)
        if module is None:
            # It was refused where it is looked for first.
            assert any(f"cornu.{each}" in missing for each in here.split(".")[1:]), here
            missing.add(f"{here}.{name}")
            continue
        try:
            getattr(module, name)
        except AttributeError as error:
            assert str(error).startswith(f"Cornu has no `{here}.{name}`. ") or name in str(error)
            missing.add(f"{here}.{name}")
    assert len(missing) < 300


@pytest.mark.parametrize(
    "module, name, said",
    [
        ("cornu.layers", "Conv2d", "Did you mean `Conv2D`?"),
        ("cornu.losses", "MeanSquareError", "Did you mean `MeanSquaredError`"),
        ("cornu.layers", "Highway", "Write it with `Dense`"),
        ("cornu.utils", "multi_gpu_model", "DataParallel` spreads"),
        ("cornu.metrics", "Qqqqqq", "If Keras has it, Cornu lacks it"),
    ],
)
def test_what_to_use_is_said_of_attributes_and_of_imports(module, name, said):
    with pytest.raises(AttributeError, match=f"no `{module}.{name}`") as attribute:
        getattr(importlib.import_module(module), name)
    with pytest.raises(ImportError) as imported:
        exec(f"from {module} import {name}")
    assert said in str(attribute.value) and str(attribute.value) == str(imported.value)


def test_modules_keep_what_they_load_on_use_and_what_they_say():
    def late(name):
        if name == "late":
            return 3
        raise AttributeError("use another" if name == "other" else f"module 'x' has no {name}")

    module = types.ModuleType("cornu.mine")
    module.__getattr__ = late
    absent.explain_in(module)
    assert module.late == 3
    for name, said in {"other": "use another", "more": "Cornu has no `cornu.mine.more`"}.items():
        with pytest.raises(AttributeError, match=said):
            getattr(module, name)
