"""What a command compiles is kept for the next."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cornu.cli import programs as cli_programs


def train(home, cache="1"):
    output = home / f"run{len(list(home.glob('run*')))}"
    code = (
        "import sys, cornu.cli; sys.argv = ['cornu', 'train', 'digits', '--epochs', '1', '--seed', "
        f"'0', '--output', {str(output)!r}]; cornu.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "CORNU_HOME": str(home), "CORNU_COMPILATION_CACHE": cache},
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower()
    return [line for line in done.stdout.splitlines() if "accuracy" in line.lower()][-1]


def programs(home):
    return {p.name for p in home.glob("programs/*/*") if p.name.endswith("-cache")}


def test_the_second_run_compiles_nothing(tmp_path):
    first = train(tmp_path)
    kept = programs(tmp_path)
    assert len(kept) > 5
    assert train(tmp_path) == first
    assert programs(tmp_path) == kept


def test_switched_off(tmp_path):
    train(tmp_path, cache="0")
    assert not programs(tmp_path)


def test_an_entry_is_whole_or_absent(tmp_path, monkeypatch):
    from jax._src.lru_cache import LRUCache

    cli_programs._write_whole_entries()
    cache = LRUCache(str(tmp_path), max_size=-1)
    cache.put("first", b"whole")
    assert cache.get("first") == b"whole"

    def fail(self, target):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        cache.put("second", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["first-cache"]
