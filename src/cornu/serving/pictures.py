"""Pictures that are sent: one as it is, or several as the parts of a form."""

import io
from email.message import Message

import numpy as np

from cornu.utils.image_folder import FORMATS


class TooManyPixels(ValueError):
    """An image has more pixels than are taken."""


def decoded(content: bytes, read, most_pixels: int) -> np.ndarray:
    """An image file as a model takes images, as `cornu predict` reads it.

    Raises ValueError if it is none, or damaged, and `TooManyPixels` before these are decoded.
    """
    from PIL import Image

    damaged = "This is not an image, or damaged. Expected PNG, JPEG, WebP, GIF or BMP."
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError, ValueError, SyntaxError):
        raise ValueError(damaged) from None
    if width * height > most_pixels:
        raise TooManyPixels(
            f"The image has {width:,} x {height:,} pixels. At most {most_pixels:,} are taken."
        )
    try:
        return read(io.BytesIO(content))
    except OSError:
        raise ValueError(damaged) from None


def files_of(body: bytes, content_type: str, most: int) -> list[tuple[str | None, bytes]]:
    """The names and contents of the files in a body: the parts of a form, or the body itself.

    Raises ValueError for a form that is damaged, has no file, or more than `most`.
    """
    header = _header("content-type", content_type)
    if header.get_content_maintype() != "multipart":
        if not body:
            raise ValueError("The body is empty. Expected an image file, or a form with files.")
        return [(None, body)]
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= 200:
        raise ValueError("The form's content type names no boundary.")
    mark = b"--" + boundary.encode("latin-1", "replace")
    # Each boundary begins a line.
    _, *parts = (b"\r\n" + body).split(b"\r\n" + mark, most + 1)
    if not parts or not parts[-1].startswith(b"--"):
        many = len(parts) > most
        raise ValueError(
            f"At most {most} files are taken at once."
            if many
            else "The form is cut off, or damaged."
        )
    found: list[tuple[str | None, bytes]] = []
    for part in parts[:-1]:
        head, separator, content = part.partition(b"\r\n\r\n")
        if not separator:
            raise ValueError("The form is damaged: a part of it has no end of its header.")
        lines = head.decode("utf-8", "replace").split("\r\n")
        disposition = next(
            (x.partition(":")[2] for x in lines if x.lower().startswith("content-disposition:")), ""
        )
        name = _header("content-disposition", disposition.strip()).get_filename()
        if name is None:
            raise ValueError(
                "A part of the form is no file. With curl: -F image=@cat.jpg, and options as ?top=1."
            )
        found.append((name, content))
    if not found:
        raise ValueError("The form holds no file.")
    return found


def _header(name: str, value: str) -> Message:
    message = Message()
    message[name] = value.replace("\r", " ").replace("\n", " ")
    return message
