"""Optional packages, and the error where one is missing."""

import importlib


class MissingPackage(ImportError):
    """An optional package that is needed is not installed; the message says how to install it."""


def required(module: str, purpose: str, *, package: str | None = None):
    """Import a module of an optional package.

    Args:
        module: its dotted name.
        purpose: what needs it, as the beginning of a sentence.
        package: what `pip install` calls it; default: the first part of `module`.

    Raises MissingPackage if it is not installed.

    >>> from cornu.core.optional import required
    >>> required("json.decoder", "Reading JSON").JSONDecodeError.__name__
    'JSONDecodeError'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # One that the package itself misses is a defect of its installation, and has its own message.
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        package = package or module.split(".")[0]
        raise MissingPackage(
            f"{purpose} needs the package `{package}`, which is not installed. "
            f"Run: pip install {package}",
            name=error.name,
        ) from error
