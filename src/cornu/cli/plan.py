"""`cornu plan`."""

import dataclasses
import difflib
import json
from pathlib import Path

from cornu import applications
from cornu.cli.command import CommandError
from cornu.cli.networks import NETWORKS, make_model
from cornu.cli.run_folder import MODEL
from cornu.explain.plan import Plan, read_hardware
from cornu.explain.plan import plan as make_plan
from cornu.saving import load_model


def plan(
    model: str,
    devices: int,
    batch: int,
    hardware: str | None,
    dtype: str | None,
    input_shape: tuple[int, int, int] | None,
    num_classes: int | None,
    as_json: bool,
) -> None:
    """Print what a step of training needs on so many devices."""
    figures = None if hardware is None else read_hardware(hardware)
    if dtype is not None and (figures is None or not figures.tflops):
        raise CommandError(
            "--dtype is for --hardware that has 'tflops': without them the model is measured, in its own "
            "dtype."
        )
    if batch % devices == 0:
        found = find_model(model, input_shape, num_classes)
    else:
        # It is refused; nothing has to be made for that.
        found = None
    made = make_plan(found, devices, batch, figures, dtype or "float32")
    if as_json:
        print(json.dumps(dataclasses.asdict(made), indent=2))
    else:
        _print(made)


def find_model(name: str, input_shape, num_classes):
    """A saved model, a network of the command line or of a file, or one of the applications."""
    path = Path(name)
    if path.is_dir() or path.suffix == ".keras":
        if input_shape is not None or num_classes is not None:
            raise CommandError(
                f"--input-shape and --classes are for networks that have a name; {name} has its own."
            )
        return load_model(path / MODEL if path.is_dir() else path)
    if ":" in name or name in NETWORKS:
        return make_model(name, input_shape or (28, 28, 1), num_classes or 10)
    constructors = [n for n in applications.__all__ if n[0].isupper()]
    if name not in constructors:
        near = difflib.get_close_matches(name, [*NETWORKS, *constructors], 1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise CommandError(
            f"There is no network {name!r}.{guess} Networks: {', '.join(NETWORKS)}; those of "
            "cornu.applications, such as ResNet50; a .keras file; or your own as file.py:function."
        )
    make = getattr(applications, name)
    return make(weights=None, input_shape=input_shape, classes=num_classes or 1000)


def _print(made: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    asked = made.asked
    how = "measured here" if made.is_measured else "predicted"
    lines = [
        f"{made.model}, {made.dtype}, on {made.hardware}.",
        f"{made.devices:,} devices, {made.batch_per_device:,} examples each. For each device:",
        f"  memory      {_size(made.memory_bytes)}"
        + ("" if made.fits in (True, None) else ", more than it has"),
        f"  sent        {_size(asked.sent_bytes)} a step, for {_size(made.gradient_bytes)} of gradients "
        f"and {_size(made.normalization_bytes)} of sums of batch normalization",
        f"  computing   {_time(made.compute_seconds)}, {how}",
        f"  step        {_time(asked.seconds)}",
    ]
    if made.source:
        lines.append(f"Figures: {made.source}")
    table = Table()
    for name in ("Devices", "Batch", "Step", "Communication", "Efficiency", "Examples/s"):
        table.add_column(name, justify="right")
    for row in made.rows:
        table.add_row(
            f"{row.devices:,}",
            f"{row.batch:,}",
            _time(row.seconds),
            _time(row.communication_seconds),
            f"{100 * row.efficiency:.1f} %",
            f"{row.examples_per_second:,.0f}",
        )
    print("\n".join(lines))
    Console(highlight=False).print(table)


def _time(seconds: float) -> str:
    return f"{seconds:,.2f} s" if seconds >= 1 else f"{1000 * seconds:,.2f} ms"


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:,.4g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.4g} GB"
