"""The README says what is true: its code runs, its files and targets exist."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cornu

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def test_the_code_runs(monkeypatch, tmp_path, capsys):
    random = np.random.RandomState(0)
    x, y = random.randint(0, 256, (300, 28, 28), "uint8"), random.randint(0, 10, 300)
    monkeypatch.setattr(cornu.datasets.mnist, "load_data", lambda: ((x, y), (x[:50], y[:50])))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(compile("\n".join(blocks), "README.md", "exec"), {})
    assert (tmp_path / "digits.keras").exists() and (tmp_path / "window.png").exists()
    printed = capsys.readouterr().out
    assert "Total params: 34,826" in printed and "sum of products" in printed


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if target.startswith("https://"):
            continue
        assert (path.parent / target).exists(), target


def test_targets_exist():
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {
        target
        for path in DOCUMENTS
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text(), re.MULTILINE)
    }
    assert {"demo", "test"} <= named <= set(known)


def test_commands_of_the_readme_are_known():
    commands = set(re.findall(r"^cornu (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    for command in sorted(commands):
        done = subprocess.run(
            [sys.executable, "-m", "cornu", command, "--help"], capture_output=True
        )
        assert done.returncode == 0, command
