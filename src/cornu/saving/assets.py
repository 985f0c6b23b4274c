"""What layers keep as files of their own (`save_assets`, `load_assets`), in a model's file or folder."""

import errno
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from cornu.saving.errors import FileFormatError
from cornu.saving.reading import explained, limits
from cornu.saving.weights import parts_of

# The folder's name, in an archive as well.
FOLDER = "assets"


@contextmanager
def written(model) -> Iterator[Path | None]:
    """A temporary folder in which each part has written its files; None if no part has any to write."""
    writers = [(path, part) for path, part in parts_of(model) if hasattr(part, "save_assets")]
    if not writers:
        yield None
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, part in writers:
            (folder / path).mkdir(parents=True, exist_ok=True)
            part.save_assets(str(folder / path))
        yield folder


def files_in(folder: Path | None) -> Iterator[tuple[Path, str]]:
    """All files below a folder, with their names in an archive."""
    if folder is None:
        return
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file, f"{FOLDER}/{file.relative_to(folder).as_posix()}"


def read(model, folder: Path, filename) -> None:
    """Let each part that keeps files read its own from a folder."""
    readers = [(path, part) for path, part in parts_of(model) if hasattr(part, "load_assets")]
    if not readers or not folder.is_dir():
        return
    with tempfile.TemporaryDirectory() as empty:
        for path, part in readers:
            what = f"holds files that '{getattr(part, 'name', path)}' cannot load"
            with explained(filename, what):
                part.load_assets(str(folder / path if (folder / path).is_dir() else empty))


def read_archive(model, archive: zipfile.ZipFile, filename) -> None:
    """Unpack what parts keep as files to a temporary folder, and let them read it.

    Nothing is unpacked for a model that loads none, and nothing outside that folder.
    """
    members = [info for info in archive.infolist() if info.filename.startswith(f"{FOLDER}/")]
    if not members or not any(hasattr(part, "load_assets") for _, part in parts_of(model)):
        return
    if len(members) > limits.objects:
        raise FileFormatError(
            f"{filename} holds {len(members)} files, more than cornu.saving.limits.objects = "
            f"{limits.objects}."
        )
    with tempfile.TemporaryDirectory() as name:
        folder, left = Path(name).resolve(), limits.bytes
        for info in members:
            left -= _unpack(archive, info, folder, left, filename)
        read(model, folder, filename)


def _unpack(archive, info: zipfile.ZipInfo, folder: Path, most: int, filename) -> int:
    """Unpack one member, of `most` bytes; returns how many it has."""
    parts = PurePosixPath(info.filename).parts[1:]
    kind = stat.S_IFMT(info.external_attr >> 16)
    target = folder.joinpath(*parts)
    if (
        kind not in (0, stat.S_IFREG, stat.S_IFDIR)
        or any(part == ".." or set(part) & set("\\:\0") for part in parts)
        or not target.resolve().is_relative_to(folder)
    ):
        raise FileFormatError(f"{filename} holds {info.filename!r}, which is no plain file in it.")
    if info.file_size > most:
        raise FileFormatError(
            f"{filename}: its files unpack to more than cornu.saving.limits.bytes = {limits.bytes}."
        )
    with explained(filename, f"is damaged: {info.filename}"):
        try:
            (target if info.is_dir() else target.parent).mkdir(parents=True, exist_ok=True)
            if info.is_dir():
                return 0
            # No more is read than the header's size. A name that is there already is an error.
            with archive.open(info) as source, target.open("xb") as copy:
                shutil.copyfileobj(source, copy)
        except OSError as error:
            if error.errno in _NO_PLACE:
                raise ValueError(error.strerror) from error
            raise
    return info.file_size


# A name that is too long, or there twice, as a file and as a folder, perhaps.
_NO_PLACE = (errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR)
