"""Imports go one way, and `import cornu` loads nothing that it does not need."""

import ast
import functools
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "cornu"

# Each part may import, at the top of a file or within a function, only from parts on lines before its own,
# and from itself.
ORDER = [
    {"core", "kernels"},
    {"ops", "activations", "initializers", "regularizers", "constraints"},
    {"losses", "metrics", "optimizers", "data", "utils", "datasets"},
    {"config", "random", "alias", "dtype_policies", "mixed_precision", "quantizers", "tree"},
    {"backend", "preprocessing", "legacy", "distribution"},
    {"layers", "saving"},
    {"inference"},
    {"training"},
    {"callbacks"},
    {"visualization", "visualize", "explain"},
    {"models"},
    {"wrappers", "applications", "distillation"},
    {"serving"},
    {"explorer"},
    {"cli"},
    {"__main__"},
]
RANK = {part: rank for rank, parts in enumerate(ORDER) for part in parts}


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@functools.cache
def import_statements(path: Path):
    """Those of a file, as `(line, module or None, names, whether within a function)`."""
    tree = ast.parse(path.read_text())
    at_the_top = set(map(id, tree.body))
    return [
        (
            node.lineno,
            getattr(node, "module", None),
            [a.name for a in node.names],
            id(node) not in at_the_top,
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def imports_of(path: Path):
    """What a file imports of Cornu, as `(dotted names, whether within a function)`."""
    for _, module, names, is_late in import_statements(path):
        dotted = [f"{module}.{name}" for name in names] if module else names
        for name in dotted:
            if name.startswith("cornu."):
                yield name.split(".")[1:], is_late


def packages_of(path: Path):
    """What a file imports of any package, as `(line, the packages' names)`."""
    for line, module, names, _ in import_statements(path):
        yield line, {name.split(".")[0] for name in ([module] if module else names)}


def file_of(names: list[str]) -> Path:
    """The file that a name is imported from: a module, or the package or module that defines it."""
    folder = PACKAGE
    for name in names:
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py"
        if not (folder / name).is_dir():
            break
        folder = folder / name
    return folder / "__init__.py"


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    part = part_of(path)
    assert part in RANK, f"say in ORDER where {part} belongs"
    for imported in {names[0] for names, _ in imports_of(path)}:
        assert imported in RANK, f"{path} imports cornu.{imported}, which ORDER does not know"
        assert RANK[imported] <= RANK[part], f"{part} must not import {imported}"
        if RANK[imported] == RANK[part] and imported != part:
            assert (part, imported) in SIBLINGS, f"{part} imports its sibling {imported}"


# Parts on one line that know each other, in this direction only.
SIBLINGS = {
    ("core", "kernels"),
    ("initializers", "ops"),
    ("constraints", "ops"),
    ("regularizers", "ops"),
    ("ops", "activations"),
    ("utils", "data"),
    ("datasets", "utils"),
    ("metrics", "losses"),
    ("visualize", "explain"),
    ("visualization", "visualize"),
    # What is explained draws itself. Their files form no cycle, as the next test sees.
    ("explain", "visualize"),
}


def test_no_file_imports_itself_through_others():
    graph = {p: {file_of(names) for names, _ in imports_of(p)} - {p} for p in MODULES}
    cornered = set(MODULES)
    while free := {p for p in cornered if not graph[p] & cornered}:
        cornered -= free
    assert not cornered, sorted(str(p.relative_to(PACKAGE)) for p in cornered)


# Third-party packages may be imported within functions. Of Cornu itself, only these files import so.
LATE = {
    "cli": "`cornu --help` is quick",
    "explain/backward/chain.py": "who does not draw loads no drawings",
    "explain/backward/both_ways.py": "who does not draw loads no drawings",
    "explain/backward/weights.py": "who does not draw loads no drawings",
    "explain/receptive_field/fields.py": "who does not draw loads no drawings",
    "explain/window.py": "who does not draw loads no drawings",
    "models/model.py": "who does not draw loads no drawings",
    "models/summary.py": "who trains loads no explanations",
    "visualize/figure.py": "who does not draw loads no matplotlib",
    "saving/export.py": "it needs a package that may be missing",
}


def test_only_packages_of_others_are_imported_late():
    late = {p for p in MODULES if any(is_late for _, is_late in imports_of(p))}
    names = {"cli" if part_of(p) == "cli" else str(p.relative_to(PACKAGE)) for p in late}
    assert names == set(LATE)


HEAVY = (
    "matplotlib h5py PIL rich pooch typer pandas scipy safetensors starlette uvicorn optax keras "
    "tensorflow torch sklearn"
)


def test_import_is_light():
    code = "import json, sys, cornu; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "jax" in loaded
    assert not loaded & set(HEAVY.split())


def test_no_engine_but_jax():
    for path in MODULES:
        for line, packages in packages_of(path):
            assert not packages & {"keras", "tensorflow", "torch"}, f"{path}:{line}"


def test_only_ops_touch_convolutions():
    """So that `ops` alone decides about native kernels."""
    names = {"conv_general_dilated", "conv_transpose", "reduce_window", "ffi_call", "conv"}
    for path in MODULES:
        if part_of(path) == "ops":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in names:
                assert getattr(node.value, "id", None) != "lax", f"{path}:{node.lineno}"


# What `import` calls a package of another name.
MODULE_OF = {"pillow": "PIL"}


def test_optional_packages_are_asked_for():
    """What Cornu does not depend on is imported through `required`, which says how to install it."""
    project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w-]+", d)[0] for d in project["dependencies"]]
    ours = {MODULE_OF.get(n, n) for n in names} | {"cornu", *sys.stdlib_module_names}
    # JAX needs the first two. `export` has asked for onnx before `saving/onnx` imports it.
    ours |= {"ml_dtypes", "scipy"}
    for path in MODULES:
        allowed = ours | {"onnx"} if path.parent == PACKAGE / "saving" / "onnx" else ours
        # Which runs where there is no Cornu.
        allowed = ours | {"onnxruntime"} if path == PACKAGE / "cli" / "alone.py" else allowed
        for line, packages in packages_of(path):
            assert packages <= allowed, f"{path}:{line}"
