"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import cornu

LIBRARY = "cornu.kernels.libcornu_kernels"  # no module, though its name ends in .so
MODULES = ["cornu", *(m.name for m in pkgutil.walk_packages(cornu.__path__, "cornu."))]


@pytest.mark.parametrize(
    "name", [m for m in MODULES if m != LIBRARY and not m.startswith("cornu.cli")]
)
def test_examples(name, tmp_path, monkeypatch):
    # An example may write files.
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_public_classes_have_docstrings():
    for namespace in (cornu, cornu.layers, cornu.losses, cornu.optimizers, cornu.callbacks):
        for name in namespace.__all__:
            assert getattr(namespace, name).__doc__, name
