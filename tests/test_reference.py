"""The reference has an entry, with a docstring, for everything that `cornu` exports."""

import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

import cornu

sys.path.insert(0, str(Path(__file__).parents[1] / "tools" / "site"))
import commands
import reference

NAMESPACES = [cornu, *(v for n in cornu.__all__ if isinstance(v := getattr(cornu, n), ModuleType))]


@pytest.fixture(scope="module")
def pages():
    return {page.path: reference.content(page) for page in reference.pages()}


@pytest.mark.parametrize("namespace", NAMESPACES, ids=lambda namespace: namespace.__name__)
def test_every_name_has_an_entry(namespace, pages):
    for name in getattr(namespace, "__all__", dir(namespace)):
        dotted, value = f"{namespace.__name__}.{name}", getattr(namespace, name)
        if isinstance(value, ModuleType) or name.startswith("_"):
            continue
        # Without `__all__`, what a module has only imported is not its own.
        imported = getattr(value, "__module__", "") != namespace.__name__
        if imported and not hasattr(namespace, "__all__") and namespace is not cornu.ops:
            continue
        assert inspect.getdoc(value), f"{dotted} has no docstring"
        path, anchor = reference.places()[dotted]
        assert f"#{anchor} }}" in pages[path] or f'id="{anchor}"' in pages[path], dotted


def test_completion_offers_what_is_public():
    assert {name for name in dir(cornu) if not name.startswith("__")} == set(cornu.__all__)


def test_arguments_of_a_base_class_are_described():
    entry = next(e for e in reference.entries() if e.names[0] == "cornu.callbacks.EarlyStopping")
    text = reference.described(entry, cornu.callbacks)
    assert "| `patience` | number of epochs" in text and "| `monitor` | name of" in text


def test_examples_are_code_and_results_are_described(pages):
    assert "```pycon\n>>> import cornu" in pages["reference/layers/convolution.md"]
    assert "## Window {" in pages["reference/explain/window.md"]
    # Made from a table when `cornu.ops` is loaded.
    assert "cornu.ops.sum(x, axis=None, keepdims=False)" in pages["reference/ops/numpy.md"]


def test_commands_and_their_options_have_entries():
    text = commands.content()
    assert (
        "## train" in text
        and "| `--epochs N` | Passes over the training images. Default: `10`. |" in text
    )
    assert "cornu predict MODEL IMAGE …" in text and "```bash\ncornu train digits" in text
