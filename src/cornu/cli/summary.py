"""`cornu summary`."""

from pathlib import Path

from cornu.cli.command import CommandError
from cornu.cli.networks import make_model
from cornu.cli.run_folder import load


def summary(
    model: str, input_shape: tuple[int, int, int] | None, num_classes: int | None, explain: bool
) -> None:
    """Print the table of a saved model, or of a network that has a name."""
    path = Path(model)
    if path.is_dir() or path.suffix == ".keras":
        if input_shape is not None or num_classes is not None:
            raise CommandError(
                f"--input-shape and --classes are for networks that have a name; {model} has its own."
            )
        found, _ = load(model)
    else:
        found = make_model(model, input_shape or (28, 28, 1), num_classes or 10)
    found.summary(expand_nested=True, explain=explain)
