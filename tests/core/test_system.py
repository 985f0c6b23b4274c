"""What depends on the operating system, or on what is installed, has a way round."""

import os
import subprocess
import sys
import types

import numpy as np
import pytest

import cornu as keras
from cornu.core import kernels, memory
from cornu.core.optional import MissingPackage, required


class Glibc:
    """A C library that remembers what it was told."""

    gnu_get_libc_version = None

    def __init__(self):
        self.options, self.trimmed = {}, 0

    def mallopt(self, option, value):
        self.options[option] = value

    def malloc_trim(self, pad):
        self.trimmed += 1


@pytest.fixture
def glibc(monkeypatch):
    # What the first layer of the process asks of the real one.
    memory.share_an_arena()
    monkeypatch.setattr(memory, "_for_good", False)
    for name in (
        "CORNU_KEEP_MEMORY",
        "GLIBC_TUNABLES",
        "MALLOC_TRIM_THRESHOLD_",
        "MALLOC_MMAP_MAX_",
    ):
        monkeypatch.delenv(name, raising=False)
    library = Glibc()
    monkeypatch.setattr(memory, "_c_library", lambda: library)
    return library


@pytest.mark.parametrize("library", [None, types.SimpleNamespace(), Glibc()])
def test_freed_memory_is_kept_where_the_c_library_can(glibc, monkeypatch, library):
    monkeypatch.setattr(memory, "_c_library", lambda: library)
    is_glibc = isinstance(library, Glibc)
    assert memory.keep_freed_memory() is is_glibc
    with memory.kept():
        pass
    assert not is_glibc or (len(library.options) == 3 and not library.trimmed)


def test_fit_keeps_memory_while_it_runs(glibc, monkeypatch):
    seen = []
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    see = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(dict(glibc.options)))
    x = np.ones((4, 2))
    model.fit(x, x[:, :1], verbose=0, callbacks=[see])
    assert seen == [memory._KEEP] and glibc.options == memory._DEFAULTS and glibc.trimmed == 1
    # Also where it fails; and the outermost of several gives back.
    with pytest.raises(OSError), memory.kept(), memory.kept():
        raise OSError
    assert glibc.options == memory._DEFAULTS and glibc.trimmed == 2
    # Not against what somebody has said.
    for name, said in (
        ("CORNU_KEEP_MEMORY", "0"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=9"),
    ):
        with monkeypatch.context() as there:
            there.setenv(name, said)
            with memory.kept():
                assert glibc.options == memory._DEFAULTS


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.parametrize(("asked", "begins", "ends"), [("", 0, 1), ("1", 1, 1), ("0", 0, 0)])
def test_importing_leaves_the_process_alone_and_the_command_line_does_not(asked, begins, ends):
    code = """
import ctypes
calls = []
class Library(ctypes.CDLL):
    def __getattr__(self, name):
        return calls.append if name == "x" else (
            (lambda *a: calls.append(a)) if name == "mallopt" else super().__getattr__(name))
ctypes.CDLL = Library
import cornu
before = len(calls)
from cornu.cli.app import app
from typer.testing import CliRunner
assert CliRunner().invoke(app, ["summary", "no.keras"]).exit_code == 1
print(int(before > 0), int(len(calls) > 0))
"""
    environment = {**os.environ, "CORNU_KEEP_MEMORY": asked}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.stdout.split() == [str(begins), str(ends)], done.stderr


def test_the_error_for_a_missing_package_tells_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "onnx.helper", raising=False)
    with pytest.raises(MissingPackage, match=r"^Writing it needs .*`onnx`.*Run: pip install onnx$"):
        required("onnx.helper", "Writing it")


def test_a_package_that_misses_another_speaks_for_itself(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import no_such_package_either")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_package_either'"):
        required("broken_package", "Nothing")


@pytest.mark.skipif(not kernels.native().in_use, reason="the native kernels are not in use")
@pytest.mark.parametrize("older", [(0, 0), (-1, 99)])
def test_kernels_for_a_newer_xla_are_left_alone(monkeypatch, older):
    """Registered, they would keep XLA from starting."""
    monkeypatch.setattr(kernels, "_interface", lambda: older)
    found = kernels.native.__wrapped__()
    assert not found.in_use and "built for a newer XLA" in found.reason
