"""`cornu compare`."""

import csv
import json
from pathlib import Path

from cornu.cli import quality, run_folder, run_settings
from cornu.cli.command import CommandError, say

# What of `settings.json` is a result, or follows from the data.
_NO_SETTING = (
    *("form", "classes", "image", "versions", "seed"),
    *("config_sha256", "split_sha256", "model_sha256", "judged_sha256"),
    *("best_epoch", "judged_on", "images", "wrong", "accuracy", "loss", "temperature"),
    *("mean_average_precision", "f1_macro", "f1_micro", "thresholds"),
)


def compare(folders: list[Path], as_json: bool) -> None:
    """Print a table of runs, the best first.

    Where an image may be of several classes, that is by F1, the mean of the classes; the accuracy is then
    the share of images all of whose classes are right.
    """
    runs = [found for folder in folders if (found := _read(folder)) is not None]
    if not runs:
        raise CommandError("None of these folders holds a run.")
    finished = [run for run in runs if run["accuracy"] is not None]
    if len({run["judged_sha256"] for run in finished}) > 1:
        say(
            "warning: not all runs were judged by the same images, so their accuracies may differ for that."
        )

    def place(run: dict) -> tuple:
        measured = run["f1_macro"] if run["is_multi_label"] else run["accuracy"]
        return run["is_multi_label"], run["accuracy"] is None, -(measured or 0), run["run"]

    runs.sort(key=place)
    names = list(dict.fromkeys(name for run in runs for name in run["settings"]))
    differing = [n for n in names if len({str(run["settings"].get(n)) for run in runs}) > 1]
    if as_json:
        print(json.dumps({"runs": runs, "differing": differing}, ensure_ascii=False, indent=2))
        return
    # Of each kind, a table: their measures say nothing about each other.
    for number, is_several in enumerate(sorted({run["is_multi_label"] for run in runs})):
        kind = [run for run in runs if run["is_multi_label"] is is_several]
        measures = ["F1", "average precision", "all classes right"] if is_several else ["accuracy"]
        head = ["run", *measures, "95 %", "judged on", "epochs done", "seconds", *differing]
        rows = [[*_cells(run), *(_word(run["settings"].get(n)) for n in differing)] for run in kind]
        if number:
            print()
        for line in _aligned([head, *rows]):
            print(line)


def _read(folder: Path) -> dict | None:
    """What is compared of a run; None, with a remark, for what is no run."""
    file = folder / run_settings.SETTINGS
    if not file.is_file():
        say(f"{folder} holds no {run_settings.SETTINGS}, and is left out.")
        return None
    settings = run_settings.read(file)
    history = folder / run_folder.HISTORY
    images = settings.get("images")
    interval = quality.interval(images - settings["wrong"], images) if images else None
    try:
        rows = list(csv.DictReader(history.read_text().splitlines())) if history.is_file() else []
        seconds = sum(float(row["seconds"]) for row in rows)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise CommandError(
            f"{history} is damaged, or not written by cornu train: it must be a table with a column "
            "seconds."
        ) from error
    return {
        "run": str(folder),
        "is_multi_label": (settings.get("image") or {}).get("is_multi_label", False),
        "accuracy": settings.get("accuracy"),
        "f1_macro": settings.get("f1_macro"),
        "mean_average_precision": settings.get("mean_average_precision"),
        "accuracy_interval": interval,
        "judged_on": settings.get("judged_on"),
        "judged_sha256": settings.get("judged_sha256"),
        "images": images,
        "best_epoch": settings.get("best_epoch"),
        "epochs": len(rows),
        "seconds": round(seconds, 3),
        "settings": {n: v for n, v in settings.items() if n not in _NO_SETTING},
    }


def _cells(run: dict) -> list[str]:
    of_several = [run["f1_macro"], run["mean_average_precision"]] if run["is_multi_label"] else []
    if run["accuracy"] is None:
        measured = ["not finished", "", "", *("" for _ in of_several)]
    else:
        low, high = run["accuracy_interval"]
        measured = [
            *("none" if value is None else f"{value:.4f}" for value in of_several),
            f"{100 * run['accuracy']:.2f} %",
            f"{100 * low:.1f}-{100 * high:.1f} %",
            f"{run['images']:,}",
        ]
    return [run["run"], *measured, f"{run['epochs']}", f"{run['seconds']:,.1f}"]


def _word(value) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value))
    return "-" if value is None else str(value)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
