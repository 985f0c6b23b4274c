"""Run public Keras programs as they are: `python tools/programs.py FOLDER`; writes docs/programs.md.

`tools/programs.json` lists them: where each is from, and its path in FOLDER, which holds copies that
nobody has changed. Each runs with `cornu run` in a copy of its author's folder, with the data sets of
FOLDER/data (or another folder that the list names), or those of CORNU_DATA_DIR where it says "whole". Of a
notebook the code runs, without the lines that are commands. What takes longer than the limit is stopped,
and counts. With `--peer python`, Keras runs it, too: FOLDER/peer/home is then the home folder with its data
sets, and FOLDER/peer is on its path.

FOLDER/outcomes.json keeps what came of each. `--only EXPRESSION` runs a part of them, `--new` those that
nothing is kept of, and `--page` only writes the page.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "programs.md"
LIST = Path(__file__).with_suffix(".json")
INTRODUCTION = """# Programs that were written for Keras

Public programs, run unchanged by `cornu run`. Written by `make programs PROGRAMS=folder`, which says how;
the programs themselves are not part of Cornu. The data sets are small stand-ins where a program does not
need the whole.

*Runs*: to its end, or, where the time says so, until it was stopped. *Says*: it stops with the error that
is shown, which names what Cornu does not have, or what the program or this machine lacks.

Times are of one run each, with imports, on two cores that had other work as well: they say what is quick
and what is slow, and no more. Where Keras 3 on TensorFlow was given a program too, that came right
afterwards: *fails* there mostly means that the program's paths and arguments are older than Keras 3. What
did not end here was not timed beside it, nor what needs JAX or another copy of the data.
"""
_ERROR = re.compile(r"[\w.]+(Error|Exception|Interrupt)\b")


def script_of(path: Path) -> Path:
    """A program as a file that Python runs: of a notebook, its code."""
    if path.suffix != ".ipynb":
        return path
    cells = json.loads(path.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    script = path.with_suffix(".py")
    # Commands begin with % or !.
    script.write_text(re.sub(r"^(\s*)[%!].*$", r"\1pass", "\n\n".join(code), flags=re.MULTILINE))
    return script


def run(program: dict, folder: Path, limit: float, peer: str | None = None) -> dict:
    """What comes of a program: whether it runs, or the last error, and the seconds.

    Args:
        program: its entry in the list.
        folder: that of all programs.
        limit: seconds after which it is stopped.
        peer: a Python with Keras to run it with; None for `cornu run`.
    """
    top, *below = program["path"].split("/")
    data = program.get("data", "data")
    with tempfile.TemporaryDirectory() as place:
        here = Path(place) / "program"
        shutil.copytree(folder / top, here)
        script = script_of(here.joinpath(*below))
        environment = {**os.environ, "MPLBACKEND": "Agg"}
        if peer:
            environment |= {
                "HOME": str(folder / "peer" / "home"),
                "PYTHONPATH": str(folder / "peer"),
            }
        elif data != "whole":
            environment["CORNU_DATA_DIR"] = str(folder / data)
        start = [peer] if peer else [sys.executable, "-m", "cornu", "run"]
        output = Path(place) / "output"
        with output.open("wb") as stream:
            begin = time.perf_counter()
            process = subprocess.Popen(
                [*start, str(script)],
                cwd=script.parent,
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                status = None
            seconds = time.perf_counter() - begin
        text = output.read_text(errors="replace").replace("\r", "\n").replace("\b", "")
        text = text.replace(f"{here}/", "")
    said = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in said if _ERROR.match(line)]
    kept = folder / ("outputs-peer" if peer else "outputs") / program["path"].replace("/", "+")
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(text)
    runs = status in (0, None)
    return {
        "runs": runs,
        "stopped": status is None,
        "seconds": round(seconds, 1),
        "said": "" if runs else (errors or said or ["nothing"])[-1].strip()[:300],
    }


def page(programs: list[dict], outcomes: dict) -> str:
    """The document: a table of all programs, by author."""
    rows = []
    done = [p for p in programs if p["path"] in outcomes]
    timed = [p for p in done if f"peer:{p['path']}" in outcomes]
    for program in done:
        outcome = outcomes[program["path"]]
        said = outcome["said"].replace("|", "\\|").replace("`", "'")
        cells = [program["author"], program["source"], program["keras"], program["needs"]]
        cells += ["runs", _seconds(outcome)] if outcome["runs"] else [f"says: `{said}`", ""]
        if timed:
            cells.append(_seconds(outcomes.get(f"peer:{program['path']}")))
        rows.append("| " + " | ".join(cells) + " |")
    running = sum(outcomes[p["path"]]["runs"] for p in done)
    whole = sum(outcomes[p["path"]]["runs"] and not outcomes[p["path"]]["stopped"] for p in done)
    authors = len({p["author"] for p in done})
    heads = ["Author", "Program", "Keras", "Needs", "Outcome", "Cornu, s"]
    heads += ["Keras on TensorFlow, s"] if timed else []
    return "\n".join(
        [
            INTRODUCTION,
            f"{len(done)} programs of {authors} authors: {running} run, {whole} of them to their end; "
            f"{len(done) - running} say what stops them.",
            "",
            "| " + " | ".join(heads) + " |",
            "|" + "---|" * 5 + "--:|" * (len(heads) - 5),
            *rows,
            "",
        ]
    )


def _seconds(outcome: dict | None) -> str:
    if outcome is None:
        return ""
    if not outcome["runs"]:
        return "fails"
    return f"{outcome['seconds']:.0f}" + (", stopped" if outcome["stopped"] else "")


def main() -> None:
    """Run the programs and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=float, default=120, help="seconds for each")
    parser.add_argument(
        "--only", default="", help="those in whose path this regular expression is found"
    )
    parser.add_argument(
        "--peer", help="a Python with Keras, to run each with as well, right afterwards"
    )
    parser.add_argument("--new", action="store_true", help="those that nothing is kept of")
    parser.add_argument("--page", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    programs = json.loads(LIST.read_text())
    kept = folder / "outcomes.json"
    outcomes = json.loads(kept.read_text()) if kept.exists() else {}
    for program in programs:
        if arguments.new and program["path"] in outcomes:
            continue
        if arguments.page or not re.search(arguments.only, program["path"]):
            continue
        outcomes[program["path"]] = outcome = run(program, folder, arguments.limit)
        print(f"{program['path']}: {outcome}", flush=True)
        if arguments.peer:
            theirs = run(program, folder, arguments.limit, arguments.peer)
            outcomes[f"peer:{program['path']}"] = theirs
            print(f"    with Keras: {theirs}", flush=True)
        kept.write_text(json.dumps(outcomes, indent=1))
    PAGE.write_text(page(programs, outcomes))


if __name__ == "__main__":
    main()
