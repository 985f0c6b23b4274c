"""A figure that notebooks show."""

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure that is shown as the last line of a cell, without pyplot."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
