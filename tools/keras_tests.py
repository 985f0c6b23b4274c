"""How many of Keras' own tests pass: `python tools/keras_tests.py KERAS ADAPTER [PART …]`.

It writes docs/keras_tests.md. KERAS is the folder of Keras' source; ADAPTER one with `conftest.py`, which
lets `keras.src` mean Cornu's public names, and `files.txt`, which lists what is counted. A PART is a
file or folder within `keras/src`; default: all of `files.txt`. What each gave is kept in build/keras-tests,
so that parts can be run one at a time, and the page has all of them. With the PART `page`, nothing is run.
"""

import collections
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "build" / "keras-tests"
PAGE = ROOT / "docs" / "keras_tests.md"
ANOTHER_ENGINE = "needs TensorFlow or another engine"
INTERNAL = "takes an internal name of Keras"
OTHER_WORDS = "an error has other words, or is none here"
REFUSED = "refused with a message"
SPARSE = "sparse tensors of JAX"
# Of a failed test's message: what it contains, and why the test fails. The first that fits counts.
REASONS = (
    (r"adapter: keras\.src\.\S+ is not provided", INTERNAL),
    (r"object has no attribute '_|has no attribute '\w+__", INTERNAL),
    (r"KeyError: <|Expected '\w+' to be called|isinstance\(\) arg 2 must be a type", INTERNAL),
    (r"No module named '?(tensorflow|tf2onnx|torch|openvino|litert)|tensorflow", ANOTHER_ENGINE),
    (r"BCOO|sparse", SPARSE),
    (r"does not match|did not match|not raised|DID NOT RAISE", OTHER_WORDS),
    (r"not implemented|holds no|holds infinity|There is no file|has no name", REFUSED),
    (r"not supported|cannot|must|Invalid|expected|needs|Unrecognized|refus", REFUSED),
    (r"Not equal to tolerance|!=|not equal|Mismatch", "has another result"),
    (r"has no attribute|unexpected keyword|no argument", "a name or argument that Cornu lacks"),
)


def run(source: Path, adapter: Path, part: str) -> None:
    """Run one file or folder of tests, and keep each test's outcome."""
    report = KEPT / f"{part.replace('/', '.')}.xml"
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
    subprocess.run(
        [*command, str(source / "keras/src" / part)], cwd=adapter, env=environment, check=False
    )
    outcomes = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        problem = next(
            (case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None
        )
        state = "passed" if problem is None else "failed"
        message = "" if problem is None else f"{problem.get('message')}\n{problem.text}"
        if case.find("skipped") is not None:
            state = "skipped"
        file = re.sub(r".*keras\.src\.", "", case.get("classname") or "").rpartition(".")[0]
        name = f"{file.replace('.', '/')}.py::{case.get('name')}"
        outcomes[f"{case.get('classname')}::{name}"] = [
            file.replace(".", "/"),
            case.get("name"),
            state,
            message,
        ]
    (KEPT / f"{part.replace('/', '.')}.json").write_text(json.dumps(list(outcomes.values())))
    report.unlink()


def reason(message: str) -> str:
    """Why a test fails, from its message."""
    return next((why for pattern, why in REASONS if re.search(pattern, message)), "another error")


def write_page(parts: list[str]) -> None:
    """Write the table of all that was kept, of the parts that count first."""
    wanted = sorted((part.removesuffix(".py") for part in parts), key=len, reverse=True)
    # The latest run of a file counts.
    latest: dict[str, list] = {}
    for kept in sorted(KEPT.glob("*.json"), key=lambda path: path.stat().st_mtime):
        run_now: dict[str, list] = collections.defaultdict(list)
        for file, name, state, message in json.loads(kept.read_text()):
            # One that cannot be imported has its file as a name.
            file = file or re.sub(r".*keras\.src\.", "", name).replace(".", "/")
            run_now[file].append((name, state, message))
        latest.update(run_now)
    counted: dict = collections.defaultdict(collections.Counter)
    others: dict = collections.defaultdict(collections.Counter)
    reasons: dict = collections.defaultdict(collections.Counter)
    for file, tests in latest.items():
        part = next((p for p in wanted if file == p or file.startswith(f"{p}/")), None)
        table = others if part is None else counted
        part = part or file.rpartition("/")[0]
        for name, state, message in tests:
            table[part][state] += 1
            if state == "failed":
                reasons[part][reason(f"{name} {message}")] += 1
    lines = [
        "# Keras' own tests",
        "",
        "Keras' unit tests run on Cornu through an adapter that has its public names only. A test that",
        "takes an internal name, or another engine, says nothing of Cornu. Written by",
        "`tools/keras_tests.py`.",
    ]
    for title, table in (("The parts that count", counted), ("More parts", others)):
        if not table:
            continue
        total = sum(table.values(), collections.Counter())
        lines += [
            "",
            f"## {title}",
            "",
            f"{total['passed']} of {total['passed'] + total['failed']} pass.",
            "",
            "| Part | Pass | Fail | Why the others fail |",
            "|---|--:|--:|---|",
        ]
        for part, outcome in sorted(table.items()):
            why = "; ".join(f"{count} {text}" for text, count in reasons[part].most_common())
            lines.append(f"| `{part}` | {outcome['passed']} | {outcome['failed']} | {why} |")
    PAGE.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Run what is asked for, and write the page."""
    source, adapter, *parts = sys.argv[1:]
    KEPT.mkdir(parents=True, exist_ok=True)
    listed = (Path(adapter) / "files.txt").read_text().split()
    for part in [] if parts == ["page"] else parts or listed:
        run(Path(source).resolve(), Path(adapter).resolve(), part)
    write_page(listed)


if __name__ == "__main__":
    main()
