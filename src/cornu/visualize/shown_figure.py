"""A figure that notebooks show, in which no letter is a box."""

import io
import warnings

from matplotlib.figure import Figure
from matplotlib.text import Text

from cornu.visualize import fonts


class ShownFigure(Figure):
    """A figure that is shown as the last line of a cell, without pyplot."""

    def draw(self, renderer):
        # Now all texts are there.
        fonts.complete(self.findobj(Text))
        with warnings.catch_warnings():
            # Said in our own words, and once.
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
