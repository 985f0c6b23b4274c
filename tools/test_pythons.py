"""Run the tests with every Python that is found, each with the newest packages that it gets.

    python tools/test_pythons.py [--newest] [--jax VERSION] [--prepare] [TESTS …]      (`make test-pythons`)

It looks on the PATH and in ~/.pyenv/versions. Each Python gets an environment in build/, and the wheel
in dist/ (`make wheel`), which holds no Python and so serves all of them. With `--newest`, only the newest
Python; with `--jax`, that version of JAX, such as the oldest that Cornu supports; with `--prepare`, only
the environments are made, with everything but the wheel. TESTS are what pytest is given; default: all.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
OLDEST = (3, 11)


def version(python: str) -> tuple[int, int] | None:
    code = "import sys; print(*sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else None


def pythons() -> dict[tuple[int, int], str]:
    """One of each version that Cornu supports, by version."""
    found = [shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], OLDEST[1] + 9)]
    found += map(str, Path.home().glob(".pyenv/versions/3.*/bin/python"))
    versions = {version(path): path for path in filter(None, found)}
    return {v: versions[v] for v in sorted(filter(None, versions)) if v >= OLDEST}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--newest", action="store_true")
    parser.add_argument("--jax")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("tests", nargs="*")
    arguments = parser.parse_args()
    if arguments.prepare:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    elif wheels := list((ROOT / "dist").glob(f"*_{platform.machine()}.whl")):
        wanted = [f"cornu[test] @ {wheels[0].as_uri()}"]
    else:
        sys.exit("There is no wheel in dist/. Run: make wheel")
    if arguments.jax:
        wanted.append(f"jax=={arguments.jax}")
    found = pythons()
    if arguments.newest:
        found = dict([max(found.items())])
    failed = []
    for number, python in found.items():
        name = ".".join(map(str, number))
        environment = (
            ROOT / "build" / f"python-{name}{'-jax-' * bool(arguments.jax)}{arguments.jax or ''}"
        )
        own = environment / "bin" / "python"
        if not own.exists():
            subprocess.run([python, "-m", "venv", environment], check=True)
        subprocess.run([own, "-m", "pip", "install", "--quiet", *wanted], check=True)
        if arguments.prepare:
            continue
        frozen = subprocess.run(
            [own, "-m", "pip", "freeze"], capture_output=True, text=True, check=True
        )
        versions = re.findall(r"(?m)^(?:jax|numpy|pandas|matplotlib)==.*", frozen.stdout)
        print(f"Python {name}: {', '.join(versions)}", flush=True)
        workers = ("-n", "auto", "--dist", "loadfile")
        command = [own, "-m", "pytest", *workers, *arguments.tests]
        if subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": ""}).returncode:
            failed.append(name)
    done = "Prepared" if arguments.prepare else "Tested"
    print(f"{done} Python {', '.join('.'.join(map(str, v)) for v in found)}.")
    if failed:
        sys.exit(f"Failed with Python {', '.join(failed)}.")


if __name__ == "__main__":
    main()
