"""The error of files that cannot be read."""


class FileFormatError(ValueError):
    """A file is damaged, of another file format, or requires what a model's file must not require.

    All loaders raise this, and nothing else, whatever bytes they are given; only a file that is not there
    is a `MissingFileError`.
    """


class MissingFileError(FileNotFoundError, ValueError):
    """A file is not there. Keras raises a ValueError for that, everybody else a FileNotFoundError."""


def mismatch(name: str, expected, shape, filename) -> str:
    """The message for weights of another shape."""
    return (
        f"Shapes must match. In '{name}', the model expects shape {tuple(expected)}, but {filename} holds "
        f"{shape}. Layers that do not fit are left out with `skip_mismatch=True`."
    )


def learning_rate_was_read(read: float, compiled: float, filename) -> str:
    """The warning for a learning rate in a file that is not the one of `compile`."""
    return (
        f"The learning rate is {read:.6g} now, as {filename} holds it, and not {compiled:.6g}, as the "
        "model was compiled with. To have another one, set `model.optimizer.learning_rate` after loading."
    )
