"""What depends on the operating system, or on what is installed, has a way round."""

import os
import subprocess
import sys
import types

import pytest

from cornu.core import kernels, memory
from cornu.core.optional import MissingPackage, required


def test_freed_memory_is_kept_where_the_c_library_can(monkeypatch):
    set_to = {}
    glibc = types.SimpleNamespace(gnu_get_libc_version=None, mallopt=set_to.__setitem__)
    for library, expected in ((None, False), (types.SimpleNamespace(), False), (glibc, True)):
        monkeypatch.setattr(memory, "_c_library", lambda library=library: library)
        assert memory.keep_freed_memory() is expected
    assert len(set_to) == 3


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
