"""Unpacking of archives that may be hostile.

Every entry is checked before the first byte is written, by its text alone: no entry may be named
outside the folder, be below a link, or be a link to outside. Nothing then depends on how the
operating system resolves a path, which is what attacks on `tarfile`'s own filters abuse.
"""

import contextlib
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
)


def extract_archive(path, target, archive_format: str | list[str] | None = "auto") -> None:
    """Unpack a tar or zip archive into the folder `target`, completely or not at all.

    The archive is unpacked beside `target` and moved there at the end; files that are already in
    `target` stay, or are overwritten by those of the same name.

    Args:
        path: the archive.
        target: the folder, made if need be.
        archive_format: `"tar"` (also compressed), `"zip"`, a list of these, or `"auto"` for both.

    Raises:
        ValueError: if it is no such archive, is damaged, does not fit on the disk, or holds an entry
            that would be written outside the folder, a link that leads outside, or a device.
    """
    path, target = Path(path), Path(target)
    formats = ["tar", "zip"] if archive_format == "auto" else archive_format or []
    formats = [formats] if isinstance(formats, str) else list(formats)
    if unknown := set(formats) - {"tar", "zip"}:
        raise ValueError(
            f"`archive_format` must be 'auto', 'tar', 'zip' or a list of these. Received: {unknown}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    unpacked = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        with contextlib.ExitStack() as opened:
            try:
                if "tar" in formats and tarfile.is_tarfile(path):
                    _unpack_tar(opened.enter_context(tarfile.open(path)), unpacked)
                elif "zip" in formats and zipfile.is_zipfile(path):
                    _unpack_zip(opened.enter_context(zipfile.ZipFile(path)), unpacked)
                else:
                    raise ValueError(
                        f"Could not extract archive {path}: it is not in the format "
                        f"{' or '.join(formats) or '(none was allowed)'}."
                    )
            except _DAMAGED as error:
                raise ValueError(
                    f"Could not extract archive {path}: {error}. If the file is damaged, delete it "
                    "and fetch it again."
                ) from error
        unpacked.chmod(0o755)
        if target.exists():
            shutil.copytree(unpacked, target, dirs_exist_ok=True, ignore_dangling_symlinks=True)
        else:
            unpacked.rename(target)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _unpack_tar(archive: tarfile.TarFile, folder: Path) -> None:
    members = archive.getmembers()
    _check_space(archive.name, folder, sum(member.size for member in members if member.isreg()))
    links = {_parts(member.name) for member in members if member.issym()}
    for member in members:
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise _refusal(member.name, "it is a device or another special file")
        parts = _parts(member.name)
        for depth in range(1, len(parts)):
            if parts[:depth] in links:
                raise _refusal(member.name, "it is below a link")
        if member.issym():
            _link_target(member, list(parts[:-1]), links)
        elif member.islnk() and _link_target(member, [], links) in links:
            raise _refusal(member.name, "it is a second name of a link")
    archive.extractall(folder, members=members, filter="data")


def _unpack_zip(archive: zipfile.ZipFile, folder: Path) -> None:
    members = archive.infolist()
    _check_space(archive.filename, folder, sum(member.file_size for member in members))
    for member in members:
        _parts(member.filename)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(member.filename, "it is a link, a device or another special file")
    archive.extractall(folder, members=members)


def _parts(entry: str) -> tuple[str, ...]:
    """The steps of a path inside the archive, folded as a file system without case compares them."""
    name = entry.replace("\\", "/")
    if name.startswith("/") or re.match("[A-Za-z]:", name) or "\0" in name:
        raise _refusal(entry, "its path is absolute")
    parts = tuple(part.casefold() for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise _refusal(entry, "its path leads outside the folder")
    return parts


def _link_target(member: tarfile.TarInfo, here: list[str], links) -> tuple[str, ...]:
    """Where a link leads, walking from the folder `here` inside the archive."""
    entry, linkname = member.name, member.linkname
    if linkname.startswith(("/", "\\")) or re.match("[A-Za-z]:", linkname):
        raise _refusal(entry, f"it is a link to the absolute path {linkname!r}")
    for step in linkname.replace("\\", "/").casefold().split("/"):
        if tuple(here) in links:
            raise _refusal(entry, f"it is a link through another link, to {linkname!r}")
        if step == ".." and not here:
            raise _refusal(entry, f"it is a link to {linkname!r}, outside the folder")
        if step == "..":
            here.pop()
        elif step not in ("", "."):
            here.append(step)
    return tuple(here)


def _check_space(name, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ValueError(
            f"Could not extract archive {os.fspath(name)}: its contents take {size:,} bytes, and "
            f"{free:,} are free in {folder.parent}."
        )


def _refusal(entry: str, why: str) -> ValueError:
    return ValueError(
        f"Refused to extract the archive: its entry {entry!r} is unsafe, {why}. Nothing was "
        "written. Fetch the archive from a source that you trust."
    )
