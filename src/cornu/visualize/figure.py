"""What the pictures have in common: colours, and how they get into a file."""

from pathlib import Path

from cornu.saving.atomic import replacing

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
BLUE, VERMILION = "#0072B2", "#D55E00"


def new_figure(width: float, height: float):
    """An empty figure, in inches, that needs no screen."""
    # Without pyplot nothing is kept alive behind the user's back, and no window opens.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def save_figure(figure, path) -> None:
    """Write a figure as its file's ending says (PNG, PDF, SVG); the file appears when it is whole."""
    path = Path(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower() or "png")


def shortened(name: str, length: int) -> str:
    """A name in at most `length` characters: what is left out is taken from its middle.

    >>> from cornu.visualize.figure import shortened
    >>> shortened("computer_keyboard", 9)
    'compu…ard'
    """
    name = " ".join(name.split())
    return name if len(name) <= length else f"{name[: length - 4]}…{name[-3:]}"
