"""`cornu summary`."""

from pathlib import Path

from cornu.cli.networks import make_model
from cornu.cli.run_folder import MODEL
from cornu.saving import load_model


def summary(model: str, input_shape: tuple[int, int, int], num_classes: int, explain: bool) -> None:
    """Print the table of a saved model, or of a network that has a name."""
    path = Path(model)
    if path.is_dir() or path.suffix == ".keras":
        found = load_model(path / MODEL if path.is_dir() else path)
    else:
        found = make_model(model, input_shape, num_classes)
    found.summary(expand_nested=True, explain=explain)
