"""Files that are either written completely or left unchanged."""

import contextlib
import errno
import glob
import os
import tempfile
import time
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """A temporary file beside `path`; at the end of the block it is synced and replaces it.

    If the block fails, `path` is as it was, and the temporary file is gone. An OSError tells why. What
    a process that was killed has left beside it goes after a day, when `path` is written again.

    >>> from cornu.saving.atomic import replacing
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(pathlib.Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (pathlib.Path(folder) / "a.txt").read_text()
    'whole'
    """
    path = Path(path)
    temporary = None
    try:
        if not path.parent.is_dir():
            raise FileNotFoundError(
                errno.ENOENT, f"the folder {path.parent} does not exist. Create it first"
            )
        _forget_old(path)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # For writing, or Windows would not sync it.
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        # mkstemp makes files for the owner only; a model is an ordinary file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # Of the right kind: PermissionError, FileNotFoundError …
            raise OSError(error.errno, _words(path, error)) from error
        raise


def _words(path: Path, error: OSError) -> str:
    kept = " The file that was there is as it was." if path.exists() else ""
    return f"Cannot write {path}: {error.strerror or error}.{kept}"


@contextlib.contextmanager
def scratch(path):
    """The name of a temporary file beside `path`, which is gone at the end of the block."""
    handle, name = tempfile.mkstemp(
        prefix=f".{Path(path).name}.", suffix=".part", dir=Path(path).parent
    )
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _forget_old(path: Path) -> None:
    """Delete what killed processes have left; what is younger than a day may still be written."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            if part.stat().st_mtime < time.time() - 86_400:
                part.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power failure, where the system can.

    Windows opens no folders, and some network file systems sync none; the file itself is already renamed.
    """
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
