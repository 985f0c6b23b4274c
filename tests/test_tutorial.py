"""The commands of docs/from-pictures-to-onnx.md, on fewer pictures."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "from-pictures-to-onnx.md"
# Pictures of a class to learn from, and others, by the numbers in their names.
LEARNED, OTHERS = range(50), range(60, 68)


def transcript() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def commands() -> list[str]:
    """Those that do not set up an environment."""
    lines = [line[2:] for line in transcript() if line.startswith("$ ")]
    return [line for line in lines if not re.search("pip install|-m venv|bin/activate", line)]


def test_the_way_is_shown_to_its_end():
    words = [tuple(command.split()[:2]) for command in commands()]
    for name in ("train", "compare", "evaluate", "predict", "tune", "export", "deploy-check"):
        assert ("cornu", name) in words
    assert words[-1] == ("serving/.venv/bin/python", "serving/classify.py")


def take_pictures(folder: Path) -> None:
    archive = Path(os.environ.get("CORNU_DATA_DIR", ""), "cifar10-jpeg.tar.gz")
    if not archive.is_file():
        pytest.skip("CORNU_DATA_DIR has no CIFAR-10 pictures")
    with tarfile.open(archive) as tar:
        for member in tar:
            part, *rest = Path(member.name).parts
            if part != "test" or not member.isfile():
                continue
            number = int(Path(member.name).stem)
            if number in LEARNED or number in OTHERS:
                path = folder / ("photos" if number in LEARNED else "new_photos") / Path(*rest)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tar.extractfile(member).read())


@pytest.mark.slow
def test_the_commands_print_what_the_page_says(tmp_path):
    take_pictures(tmp_path)
    (tmp_path / "serving").mkdir()
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "serving" / "classify.py").write_text(code)
    # `cornu` and `python` are those of this test.
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, words in (("cornu", "-m cornu"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "CORNU_HOME": str(tmp_path / "cache"),
    }
    said = ""
    for command in commands():
        done = subprocess.run(
            command.replace("serving/.venv/bin/python", "python"),
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        said += done.stdout + done.stderr
    # Numbers are others, and so are the mistakes, which are indented.
    for line in transcript():
        words = re.split(r"\d|: |/", line)[0]
        if not line.startswith(("$ ", " ", "Success")) and len(words) > 12:
            assert words in said, line
