"""Which of Keras' public names Cornu has: `python tools/compatibility.py`; writes docs/compatibility.md.

It compares with the installed Keras, which is a dependency of the tests.
"""

import importlib
import inspect
import os
import types
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
PAGE = Path(__file__).parents[1] / "docs" / "compatibility.md"
# Copies of the same names under other paths.
COPIES = ("keras.src", "keras.api", "keras._tf_keras")


def modules_of(module: types.ModuleType, path: str, seen: dict) -> dict:
    """Keras' public modules by path."""
    if path in COPIES or id(module) in {id(m) for m in seen.values()}:
        return seen
    seen[path] = module
    for name, value in sorted(vars(module).items()):
        is_part = isinstance(value, types.ModuleType) and value.__name__.startswith("keras.")
        if is_part and not name.startswith("_"):
            modules_of(value, f"{path}.{name}", seen)
    return seen


def parameters(value) -> list | None:
    """What a call takes: names, kinds and defaults; None for what cannot be told."""
    try:
        found = inspect.signature(value.__init__ if isinstance(value, type) else value)
    except (TypeError, ValueError):
        return None
    return [(p.name, p.kind, repr(p.default)) for p in found.parameters.values()]


def compare(path: str, module) -> tuple[int, int, dict[str, str]]:
    """How many of a module's names are here, and with the same signature; why the others are not."""
    present, same, absent = 0, 0, {}
    here = path.replace("keras", "cornu", 1)
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") or isinstance(value, types.ModuleType):
            continue
        try:
            parts = importlib.import_module("cornu")
            for part in here.split(".")[1:]:
                parts = getattr(parts, part)
            ours = getattr(parts, name)
        except AttributeError as error:
            said = str(error)
            absent[name] = said.partition("`. ")[2] or said
            continue
        present += 1
        same += parameters(ours) == parameters(value)
    return present, same, absent


def main() -> None:
    """Write the page."""
    keras = importlib.import_module("keras")
    rows, reasons, totals = [], [], [0, 0, 0]
    for path, module in sorted(modules_of(keras, "keras", {}).items()):
        present, same, absent = compare(path, module)
        count = present + len(absent)
        if not count:
            continue
        totals = [a + b for a, b in zip(totals, (count, present, same), strict=True)]
        rows.append(f"| `{path}` | {count} | {present} | {same} |")
        reasons += [f"| `{path}.{name}` | {why} |" for name, why in absent.items()]
    lines = [
        "# Keras' names",
        "",
        f"Of the {totals[0]} public names of Keras {keras.__version__}, Cornu has {totals[1]}, "
        f"{totals[2]} of them",
        "with the same signature: the same arguments, in the same order, with the same defaults. Most of",
        "the others take more. Written by `make compatibility`.",
        "",
        "| Module | Names | In Cornu | Same signature |",
        "|---|--:|--:|--:|",
        *rows,
        "",
        "## What is missing",
        "",
        "Its error says what to use:",
        "",
        "| Name | Instead |",
        "|---|---|",
        *reasons,
    ]
    PAGE.write_text("\n".join(lines) + "\n")
    print(lines[2])


if __name__ == "__main__":
    main()
