"""How many of Keras' own tests pass: `python tools/keras_tests.py KERAS ADAPTER [PART …]`.

It writes docs/keras_tests.md. KERAS is the folder of Keras' source; ADAPTER one with `conftest.py`, which
lets `keras.src` mean Cornu's public names, and `files.txt`, which lists what is counted. A PART is a
file or folder within `keras/src`; default: all of `files.txt`. What each file gave is kept in
build/keras-tests, so that parts can be run one at a time, and the page has all of them. With the PART
`page`, nothing is run. Some tests need TensorFlow or PyTorch: the page says which of them there were.

Why a test fails is looked up in tools/keras_tests_reasons.tsv.
"""

import collections
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "build" / "keras-tests"
PAGE = ROOT / "docs" / "keras_tests.md"
REASONS = Path(__file__).with_name("keras_tests_reasons.tsv")
NOT_DONE = ("not done", "")
# Other engines, whose arrays and data sets some tests need.
ENGINES = {"tensorflow": "TensorFlow", "torch": "PyTorch"}
FOUND = KEPT / "engines.txt"


def run(source: Path, adapter: Path, parts: list[str]) -> None:
    """Run files or folders of tests, and keep each test's outcome, by file."""
    report = KEPT / "report.xml"
    environment = {
        **os.environ,
        "TARGET": "cornu",
        "ADAPTER_MODE": "public",
        "KERAS_TESTS": str(source),
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(adapter),
    }
    if (adapter / "shim.py").exists():
        environment["ADAPTER_SHIM"] = str(adapter / "shim.py")
    options = "-p conftest --noconftest -p no:cacheprovider -q --tb=line -o addopts="
    command = [sys.executable, "-m", "pytest", *options.split(), f"--junitxml={report}"]
    command.append("--continue-on-collection-errors")
    paths = [str(source / "keras/src" / part) for part in parts]
    subprocess.run([*command, *paths], cwd=adapter, env=environment, check=False)
    outcomes: dict[str, list] = collections.defaultdict(list)
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        problem = next(
            (case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None
        )
        state = "passed" if problem is None else "failed"
        message = "" if problem is None else f"{problem.get('message')}\n{problem.text}"
        if case.find("skipped") is not None:
            state = "skipped"
        # A file that cannot be imported is one test, and has its name.
        place = case.get("classname") or f"{case.get('name')}."
        file = re.sub(r".*keras\.src\.", "", place).rpartition(".")[0]
        outcomes[file].append((case.get("name"), state, message))
    for file, tests in outcomes.items():
        (KEPT / f"{file}.json").write_text(json.dumps(tests))
    report.unlink()
    FOUND.write_text(", ".join(ENGINES[name] for name in ENGINES if find_spec(name)))


def read_reasons() -> list[tuple[re.Pattern, tuple[str, str]]]:
    """Patterns of a failed test's file, name and message, each with the kind of reason and the reason."""
    rows = [line.split("\t") for line in REASONS.read_text().splitlines() if line]
    return [(re.compile(pattern, re.DOTALL), (kind, why)) for kind, pattern, why in rows]


def write_page(parts: list[str]) -> None:
    """Write what was kept of the parts that count, and of others."""
    reasons = read_reasons()
    engines = FOUND.read_text() if FOUND.exists() else ""
    counted, others = {}, {}
    for kept in sorted(KEPT.glob("*.json")):
        file = kept.stem.replace(".", "/")
        wanted = any(f"{file}.py".startswith(part) for part in parts)
        (counted if wanted else others)[file] = json.loads(kept.read_text())
    lines = [
        "# Keras' own tests",
        "",
        "Keras' unit tests run on Cornu through an adapter that has its public names only. Installed",
        f"beside it, for the tests that need them: {engines or 'no other engine'}.",
        "Why a test fails:",
        "",
        "- **internal name**: it takes a name that Keras does not export. It says nothing of Cornu.",
        "- **other engine**: it needs TensorFlow or a package of another engine.",
        "- **other words**: Cornu raises an error too, and says it in its own words.",
        "- **on purpose**: Cornu does something else, for the reason given.",
        "- **not done**: Cornu lacks it.",
        "",
        "Written by `tools/keras_tests.py`; the reasons are kept in `tools/keras_tests_reasons.tsv`.",
    ]
    for title, files in (("The files that count", counted), ("More files", others)):
        if files:
            lines += ["", f"## {title}", "", *_table(files, reasons)]
    PAGE.write_text("\n".join(lines) + "\n")


def _table(files: dict[str, list], reasons: list) -> list[str]:
    total: collections.Counter = collections.Counter()
    kinds: collections.Counter = collections.Counter()
    rows, failing = [], []
    for file, tests in files.items():
        states = collections.Counter(state for _, state, _ in tests)
        total += states
        rows.append(f"| `{file}` | {states['passed']} | {states['failed']} |")
        why: dict = collections.defaultdict(collections.Counter)
        for name, state, message in tests:
            if state == "failed":
                said = f"{file}::{name} {message}"
                reason = next((r for pattern, r in reasons if pattern.search(said)), NOT_DONE)
                # The cases of a parametrized test are one line with their number.
                why[reason][_without_case(name)] += 1
                kinds[reason[0]] += 1
        for (kind, text), names in sorted(why.items()):
            shown = ", ".join(f"`{n}`" + (f" ({k})" if k > 1 else "") for n, k in names.items())
            failing.append(f"| `{file}` | {shown} | {kind}{text and ': '}{text} |")
    failed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return [
        f"{total['passed']} of {total['passed'] + total['failed']} pass. Of the others: {failed}.",
        "",
        "| File | Pass | Fail |",
        "|---|--:|--:|",
        *rows,
        "",
        "| File | Tests that fail | Why |",
        "|---|---|---|",
        *failing,
    ]


def _without_case(name: str) -> str:
    """The name of a test without the number of its case."""
    return re.sub(r"(?<=[a-z_])_?\d+$", "", name.removeprefix("test_"))


def main() -> None:
    """Run what is asked for, and write the page."""
    source, adapter, *parts = sys.argv[1:]
    KEPT.mkdir(parents=True, exist_ok=True)
    listed = (Path(adapter) / "files.txt").read_text().split()
    if parts != ["page"]:
        run(Path(source).resolve(), Path(adapter).resolve(), parts or listed)
    write_page(listed)


if __name__ == "__main__":
    main()
