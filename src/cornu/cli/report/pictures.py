"""Images for the report: small, in the page itself, and not too many."""

import base64
import io

import numpy as np

# Bytes of all pictures of a page.
MOST_BYTES = 1_300_000
# Smaller images are kept pixel by pixel.
_SMALL = 40


class Pictures:
    """Makes pictures for a page, until they take as many bytes as they may.

    Args:
        white: the value of a white pixel; None where numbers are none, and each image's range is shown.
    """

    def __init__(self, white: float | None):
        self.white, self.bytes_left = white, MOST_BYTES

    def picture(self, image, side: int, heat=None) -> str | None:
        """The address of a picture, `data:…`; None if there is no room left, or if it is none.

        Args:
            image: (rows, columns, channels), of one or three channels.
            side: the most pixels of rows and columns.
            heat: (rows, columns) from 0 to 1, which is laid over it in colours; None for nothing.
        """
        from PIL import Image

        if image.shape[2] not in (1, 3):
            return None
        pixels = self._bytes(np.asarray(image, "float32"))
        if heat is not None:
            # So that soft colours do not become squares.
            grow = max(1, -(-96 // max(pixels.shape[:2])))
            pixels = _heated(pixels.repeat(grow, 0).repeat(grow, 1), heat)
        shown = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        if max(shown.size) > side:
            shown.thumbnail((side, side))
        file = io.BytesIO()
        if max(shown.size) <= _SMALL:
            kind = "png"
            shown.save(file, "PNG", optimize=True)
        else:
            kind = "jpeg"
            shown.save(file, "JPEG", quality=80)
        text = base64.b64encode(file.getvalue()).decode()
        if len(text) > self.bytes_left:
            return None
        self.bytes_left -= len(text)
        return f"data:image/{kind};base64,{text}"

    def _bytes(self, image) -> np.ndarray:
        if self.white is None:
            low, high = float(image.min()), float(image.max())
            image, white = image - low, (high - low) or 1.0
        else:
            white = self.white
        return np.clip(np.round(image * (255 / white)), 0, 255).astype("uint8")


def _heated(pixels: np.ndarray, heat) -> np.ndarray:
    """A picture in gray under colours, which are the denser the more heat there is."""
    import matplotlib
    from PIL import Image

    rows, columns = pixels.shape[:2]
    heat = Image.fromarray(np.asarray(heat, "float32")).resize(
        (columns, rows), Image.Resampling.BILINEAR
    )
    depth = np.clip(np.asarray(heat), 0, 1)[..., None]
    gray = pixels.mean(-1, keepdims=True)
    colours = 255 * matplotlib.colormaps["plasma"](depth[..., 0])[..., :3]
    share = 0.75 * depth
    return ((1 - share) * gray + share * colours).astype("uint8")
