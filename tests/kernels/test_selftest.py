"""The kernels' own test, a C++ program: beside plain loops, for every instruction set and number of
threads, and under sanitizers."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "cornu" / "kernels"
INSTRUCTION_SETS = ["avx512", "avx2", "baseline"]
# The objects that the installed library was made of, if it was made here.
SHARED = SOURCE.parents[2] / "build" / "kernels"


def best_instruction_set():
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "avx512" if "avx512dq" in flags else "avx2" if "avx2" in flags else "baseline"


pytestmark = [
    pytest.mark.skipif(
        not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="there is no C++ compiler"
    ),
    pytest.mark.skipif(not SOURCE.joinpath("selftest.cc").exists(), reason="no sources here"),
]


def build(folder, *options):
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    commands = [[cmake, "--build", folder, "-j2", "--target", "selftest"]]
    if folder != SHARED:
        commands.insert(0, [cmake, "-S", SOURCE, "-B", folder, *options])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "selftest"


def build_checked(folder, sanitizers, *instruction_sets):
    """With assertions, counts of internal paths, and scratch memory of exactly the size asked for.

    All results go past the cache, not only the large ones.
    """
    flags = f"-O1 -g1 -fsanitize={sanitizers} -fno-sanitize-recover=all -DCORNU_STREAMED=0"
    return build(
        folder,
        "-DCORNU_CHECKED=ON",
        "-DCMAKE_BUILD_TYPE=None",
        f"-DCMAKE_CXX_FLAGS={flags}",
        f"-DCORNU_INSTRUCTION_SETS={';'.join(instruction_sets)}",
    )


def run(program, *arguments, before=(), **environment):
    done = subprocess.run(
        [*before, program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def selftest(tmp_path_factory):
    if SHARED.joinpath("CMakeCache.txt").exists():
        return build(SHARED)
    # Half of the time that an optimized build takes.
    folder = tmp_path_factory.mktemp("kernels")
    return build(folder, "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1")


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_kernels(selftest, instruction_set):
    printed = run(selftest, 100, 1, CORNU_ISA=instruction_set)
    assert "100 windows, 0 failures" in printed


@pytest.mark.slow
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_kernels_with_many_windows(selftest, instruction_set):
    assert "0 failures" in run(selftest, 1000, 7, CORNU_ISA=instruction_set)


def test_every_path_under_sanitizers(tmp_path):
    program = build_checked(tmp_path, "address,undefined", best_instruction_set())
    assert "0 failures" in run(program, 60, 2)


@pytest.mark.slow
def test_under_sanitizers(tmp_path):
    program = build_checked(tmp_path, "address,undefined", *reversed(INSTRUCTION_SETS))
    for instruction_set in INSTRUCTION_SETS:
        assert "0 failures" in run(program, 200, 3, CORNU_ISA=instruction_set)


@pytest.mark.slow
def test_under_thread_sanitizer(tmp_path):
    program = build_checked(tmp_path, "thread", best_instruction_set())
    assert "0 failures" in run(program, 100, 8)


def check_that_no_instruction_leaks_out_of_its_set(program):
    """A function of the standard library must not come from the objects for newer processors."""
    if not shutil.which("objdump") or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("there is no objdump, or this is no x86-64")
    text = run("objdump", "-d", "--no-show-raw-insn", "-C", program)
    function, wide = "", set()
    for line in text.splitlines():
        if line.endswith(">:"):
            function = line
        elif "%zmm" in line or "%k1" in line:
            wide.add(function)
    assert wide
    # Some names are too long for objdump to read: _ZN5cornu6avx512…
    assert all("cornu::avx512::" in name or "6avx512" in name for name in wide), wide


def test_no_instruction_leaks_out_of_its_set(selftest):
    check_that_no_instruction_leaks_out_of_its_set(selftest)


@pytest.mark.slow
def test_compiled_by_clang(tmp_path):
    if not shutil.which("clang++"):
        pytest.skip("there is no clang++")
    program = build(tmp_path, "-DCMAKE_CXX_COMPILER=clang++", "-DCMAKE_CXX_FLAGS=-Werror")
    for instruction_set in INSTRUCTION_SETS:
        assert "0 failures" in run(program, 100, 6, CORNU_ISA=instruction_set)
    check_that_no_instruction_leaks_out_of_its_set(program)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["aarch64-linux-gnu-g++", "clang++"])
def test_on_arm(tmp_path, compiler):
    """NEON: cross-compiled, and run by an emulator."""
    # Clang takes the headers and libraries of the other.
    for tool in (compiler, "aarch64-linux-gnu-g++", "qemu-aarch64"):
        if not shutil.which(tool):
            pytest.skip(f"there is no {tool}")
    program = build(
        tmp_path,
        f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DCMAKE_CXX_COMPILER_TARGET=aarch64-linux-gnu",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
    )
    printed = run(program, 100, 4, before=["qemu-aarch64"])
    assert "baseline: 100 windows, 0 failures" in printed


@pytest.mark.slow
def test_under_valgrind(selftest):
    if not shutil.which("valgrind"):
        pytest.skip("there is no valgrind")
    before = ["valgrind", "--error-exitcode=1", "--leak-check=no"]
    # It knows AVX2, but not AVX-512.
    assert "0 failures" in run(selftest, 10, 5, before=before, CORNU_ISA="avx2")
