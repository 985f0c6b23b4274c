"""Files from the network, kept in a cache folder."""

import hashlib
import os
import re
import urllib.parse
from pathlib import Path

from cornu.utils.archives import extract_archive
from cornu.utils.downloads import download


def cache_folder() -> Path:
    """Where downloads are kept: `CORNU_HOME`, or else `cornu` in the user's cache folder."""
    if home := os.environ.get("CORNU_HOME"):
        return Path(home).expanduser()
    import pooch

    return Path(pooch.os_cache("cornu"))


def get_file(
    fname=None,
    origin=None,
    untar=False,
    md5_hash=None,
    file_hash=None,
    cache_subdir="datasets",
    hash_algorithm="auto",
    extract=False,
    archive_format="auto",
    cache_dir=None,
    force_download=False,
) -> str:
    """Download a file unless the cache holds it, and return its path.

    The file appears in the cache only when it is complete and its hash is right. If a download breaks
    off, the next call asks for the rest, where the server tells versions of the file apart (`ETag` or
    `Last-Modified`). A cached file whose hash is wrong is downloaded again.

    Args:
        fname: the name in the cache, without folders; None takes the last part of `origin`.
        origin: the address: http, https or file.
        untar: the old spelling of `extract` for tar archives.
        md5_hash: the old spelling of `file_hash` for MD5.
        file_hash: the hash that the file must have, SHA-256 or MD5, in hexadecimal digits.
        cache_subdir: a folder inside the cache, or an absolute path to use instead.
        hash_algorithm: `"sha256"`, `"md5"`, or `"auto"`, which chooses by the hash's length.
        extract: whether to unpack the file, an archive, and return the folder's path. The folder is
            `fname`; if `fname` has an ending, as `a.tar.gz`, it is `a_extracted`.
        archive_format: `"tar"`, `"zip"`, a list of these, or `"auto"` for both.
        cache_dir: the cache; None means `CORNU_HOME` or else the user's cache folder.
        force_download: whether to download the file even though the cache holds it.

    Raises:
        ValueError: if `fname` or `cache_subdir` leads out of the cache, if the hash is not the
            expected one, or if an archive is damaged or unsafe.
        ConnectionError: if the download fails.

    Source: Keras: get_file.

    >>> import cornu, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("hello")
    >>> path = cornu.utils.get_file(origin=(folder / "a.txt").as_uri(), cache_dir=folder / "cache")
    >>> pathlib.Path(path).read_text()
    'hello'
    """
    if origin is None:
        raise ValueError('Please specify the "origin" argument (URL of the file to download).')
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    algorithm = _hash_algorithm(file_hash, hash_algorithm)
    folder = _cache_subfolder(cache_dir, cache_subdir)
    name = _file_name(fname, origin)

    unpacked = None
    target = folder / name
    if extract or untar:
        if fname and "." in name:
            unpacked = folder / f"{name.partition('.')[0]}_extracted"
        else:
            unpacked, target = folder / name, folder / f"{name}_archive"

    is_new = False
    if (
        force_download
        or not target.exists()
        or (file_hash is not None and hash_file(target, algorithm) != file_hash.lower())
    ):
        download(
            origin, target, lambda path: _wrong(path, target.name, origin, file_hash, algorithm)
        )
        is_new = True
    if unpacked is None:
        return str(target)
    if is_new or not unpacked.exists():
        extract_archive(target, unpacked, "tar" if untar else archive_format)
    return str(unpacked)


def hash_file(path, algorithm: str = "sha256") -> str:
    """The hash of a file's bytes, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _hash_algorithm(file_hash, algorithm) -> str:
    if algorithm not in ("auto", "sha256", "md5"):
        raise ValueError(
            "`hash_algorithm` must be 'auto', 'sha256' or 'md5'. "
            f"Received: hash_algorithm={algorithm!r}"
        )
    if algorithm == "auto":
        algorithm = "md5" if file_hash is not None and len(file_hash) == 32 else "sha256"
    if file_hash is not None and len(file_hash) != {"md5": 32, "sha256": 64}[algorithm]:
        raise ValueError(
            f"`file_hash` is not a hash of {algorithm}: it has {len(file_hash)} digits. "
            f"Received: file_hash={file_hash!r}"
        )
    return algorithm


def _cache_subfolder(cache_dir, cache_subdir) -> Path:
    cache = Path(cache_dir).expanduser() if cache_dir is not None else cache_folder()
    cache = Path(os.path.abspath(cache))
    folder = Path(os.path.normpath(cache / cache_subdir))
    if not os.path.isabs(cache_subdir) and not folder.is_relative_to(cache):
        raise ValueError(
            f"`cache_subdir` must be a folder inside the cache, {cache}. "
            f"Received: cache_subdir={os.fspath(cache_subdir)!r}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"Cannot make the cache folder {folder}: {error.strerror}. Set the environment variable "
            "CORNU_HOME to a folder that you can write to."
        ) from error
    return folder


def _file_name(fname, origin: str) -> str:
    name = os.fspath(fname) if fname else os.path.basename(urllib.parse.urlsplit(origin).path)
    if not name:
        raise ValueError(
            f"Can't parse the file name from the origin provided: '{origin}'. "
            "Please specify the `fname` argument."
        )
    if name in (".", "..") or re.search(r"[/\\\0]|^[A-Za-z]:", name):
        raise ValueError(
            "Paths are no longer accepted as the `fname` argument. To specify the file's parent "
            f"directory, use the `cache_dir` argument. Received: fname={name!r}"
        )
    return name


def _wrong(path, name: str, origin: str, file_hash: str | None, algorithm: str) -> str | None:
    """What is wrong with a downloaded file, or None."""
    if file_hash is None or (found := hash_file(path, algorithm)) == file_hash.lower():
        return None
    return (
        f"Incomplete or corrupted file detected: {name}, downloaded from {origin}. "
        f"The {algorithm} file hash does not match the provided value of {file_hash}; it is "
        f"{found}. The download was deleted. Try again, or put a good copy in its place."
    )
