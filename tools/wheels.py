"""Build the wheels for Linux: for this machine, and for ARM where there is a cross compiler.

    python tools/wheels.py          (`make wheel`)

The library in a wheel is built for the oldest JAX that Cornu supports, which newer ones run. It holds no
Python, and no C++ library but its own; so a wheel serves every Python, and every system whose C library
is as new as the functions that it calls: its tag says which, as `manylinux_2_34` for glibc 2.34. On an
older system wheels for older ones are built (.github/workflows/wheels.yml). Leaves the wheels in dist/ and
says what was tried.
"""

import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
CROSS = "aarch64-linux-gnu-g++"
# What `manylinux` promises to be on every system.
EVERYWHERE = re.compile(r"(libc|libm|libpthread|libdl|librt|ld-linux-[\w-]+)\.so\.\d+")


def run(*command, **more) -> str:
    done = subprocess.run([*map(str, command)], text=True, capture_output=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(folder: Path, machine: str, *definitions: str) -> Path:
    """A wheel in `folder`, whose tag still names this machine."""
    objects = (
        ROOT / "build" / ("kernels" if machine == platform.machine() else f"kernels-{machine}")
    )
    definitions = ("CORNU_PORTABLE=ON", f"XLA_INCLUDE={oldest_headers()}", *definitions)
    run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder),
        f"--config-setting=build-dir={objects}",
        *(f"--config-setting=cmake.define.{d}" for d in definitions),
        ROOT,
    )
    return next(folder.glob("*.whl"))


def oldest_headers() -> Path:
    """XLA's headers of the oldest JAX that Cornu supports: a newer one runs what is built with them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = next(d for d in project["dependencies"] if d.startswith("jax>=")).removeprefix("jax>=")
    folder = ROOT / "build" / f"jaxlib-{oldest}"
    include = folder / "jaxlib" / "include"
    if not include.exists():
        where = ("--no-deps", "--only-binary=:all:", "--dest", folder)
        run(sys.executable, "-m", "pip", "download", "--quiet", *where, f"jaxlib=={oldest}.0")
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
            archive.extractall(
                folder, [n for n in archive.namelist() if n.startswith("jaxlib/include/")]
            )
    return include


def needed(library: Path) -> tuple[int, int]:
    """Which glibc a library needs; it must need nothing else."""
    dynamic = run("readelf", "--dynamic", "--wide", library)
    others = [n for n in re.findall(r"NEEDED.*\[(.*)\]", dynamic) if not EVERYWHERE.fullmatch(n)]
    if others:
        sys.exit(f"{library.name} needs {', '.join(others)}, which not every system has.")
    versions = re.findall(
        r"GLIBC_(\d+)\.(\d+)", run("readelf", "--version-info", "--wide", library)
    )
    return max((int(major), int(minor)) for major, minor in versions)


def finish(wheel: Path, machine: str) -> Path:
    """Tag a wheel as what it is, look into it, and put it into dist/."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if "libcornu_kernels" in n]
        if len(names) != 1:
            sys.exit(f"{wheel.name} has no kernels: their build has failed.")
        library = Path(archive.extract(names[0], folder))
        header = run("readelf", "--file-header", library)
        expected = {"x86_64": "X86-64", "aarch64": "AArch64"}[machine]
        if expected not in header:
            sys.exit(f"{wheel.name} is not for {machine}:\n{header}")
        exported = set(re.findall(r" (cornu_\w+)", run("readelf", "--dyn-syms", "--wide", library)))
        glibc = needed(library)
    tag = f"manylinux_{glibc[0]}_{glibc[1]}_{machine}"
    name = run(
        sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", tag, wheel
    ).strip()
    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    target = dist / Path(name.splitlines()[-1]).name
    shutil.move(wheel.parent / target.name, target)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size:,} bytes, {len(exported)} functions")
    return target


def main() -> None:
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    here = platform.machine()
    with tempfile.TemporaryDirectory() as folder:
        finish(build(Path(folder), here), here)
    if here == "aarch64":
        return
    if not shutil.which(CROSS):
        print(f"There is no {CROSS}, so no wheel for aarch64 (Debian: g++-aarch64-linux-gnu).")
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(
            Path(folder),
            "aarch64",
            "CMAKE_SYSTEM_NAME=Linux",
            "CMAKE_SYSTEM_PROCESSOR=aarch64",
            f"CMAKE_CXX_COMPILER={CROSS}",
        )
        finish(wheel, "aarch64")
    print(
        "Tried: the wheel for aarch64 was compiled and looked into, not run. (`make test-slow` runs its "
        "kernels in an emulator, where there is one.)"
    )


if __name__ == "__main__":
    main()
