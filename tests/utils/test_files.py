import hashlib
import io
import random
import socket
import tarfile
import zipfile
from pathlib import Path

import pytest

from cornu.utils.files import cache_folder, get_file, hash_file

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(**files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "hashes",
    [
        {},
        {"file_hash": SHA256},
        {"file_hash": MD5},
        {"md5_hash": MD5},
        {"file_hash": SHA256.upper(), "hash_algorithm": "sha256"},
    ],
    ids=str,
)
def test_a_file_is_downloaded_once(server, cache, hashes):
    origin = server.url("a.bin", CONTENT)
    paths = {get_file(origin=origin, **hashes) for _ in range(2)}
    assert paths == {str(cache / "datasets" / "a.bin")}
    assert Path(paths.pop()).read_bytes() == CONTENT
    assert server.asked == ["a.bin"]
    assert files_in(cache) == ["datasets/a.bin"]


def test_name_and_folders_can_be_chosen(server, cache, tmp_path):
    origin = server.url("a.bin?x=1", CONTENT)
    assert get_file("b.txt", origin, cache_subdir="some/where") == str(cache / "some/where/b.txt")
    assert get_file(origin=origin, cache_dir=tmp_path / "c") == str(tmp_path / "c/datasets/a.bin")
    assert get_file(origin=origin, cache_subdir=str(tmp_path / "d")) == str(tmp_path / "d/a.bin")
    assert len(server.asked) == 3


def test_downloads_again_if_forced(server, cache):
    origin = server.url("a.bin", b"old")
    get_file(origin=origin)
    server.url("a.bin", b"new")
    assert Path(get_file(origin=origin)).read_bytes() == b"old"
    assert Path(get_file(origin=origin, force_download=True)).read_bytes() == b"new"


def test_a_damaged_file_in_the_cache_is_replaced(server, cache):
    origin = server.url("a.bin", CONTENT)
    path = Path(get_file(origin=origin, file_hash=SHA256))
    path.write_bytes(CONTENT[:1000])
    assert get_file(origin=origin, file_hash=SHA256) == str(path)
    assert path.read_bytes() == CONTENT


def test_wrong_hash_leaves_no_file_and_names_both(server, cache):
    origin = server.url("a.bin", b"something else")
    with pytest.raises(ValueError, match=r"corrupted file detected: a\.bin") as caught:
        get_file(origin=origin, file_hash=SHA256)
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(b"something else").hexdigest() in str(caught.value)
    assert files_in(cache) == []
    server.url("a.bin", CONTENT)
    assert Path(get_file(origin=origin, file_hash=SHA256)).read_bytes() == CONTENT


def test_a_failed_new_download_keeps_the_old_file(server, cache):
    origin = server.url("a.bin", CONTENT)
    get_file(origin=origin)
    server.url("a.bin", b"something else")
    with pytest.raises(ValueError, match="corrupted"):
        get_file(origin=origin, file_hash=SHA256, force_download=True)
    assert (cache / "datasets" / "a.bin").read_bytes() == CONTENT
    assert files_in(cache) == ["datasets/a.bin"]


@pytest.mark.parametrize("file_hash", [None, SHA256])
def test_a_connection_that_breaks_leaves_nothing(server, cache, file_hash):
    origin = server.url("a.bin", CONTENT)
    server.cut["a.bin"] = 100_000
    with pytest.raises(ConnectionError, match=r"URL fetch failure on http.*a\.bin.*put it at"):
        get_file(origin=origin, file_hash=file_hash)
    assert files_in(cache) == []
    del server.cut["a.bin"]
    assert Path(get_file(origin=origin, file_hash=file_hash)).read_bytes() == CONTENT


def broken_off(server, after=131_072):
    """A download that breaks off, with a file that its server knows by a tag."""
    origin = server.url("a.bin", CONTENT)
    server.tags["a.bin"], server.cut["a.bin"] = '"first"', after
    with pytest.raises(ConnectionError, match=rf"first {after} bytes are kept"):
        get_file(origin=origin)
    server.cut.clear()
    return origin


def test_the_rest_of_a_broken_download_is_fetched(server, cache, capsys):
    origin = broken_off(server)
    assert files_in(cache) == ["datasets/.a.bin-part"]
    # What comes is the rest: here, it breaks off once more.
    server.cut["a.bin"] = 65_536
    with pytest.raises(ConnectionError, match="first 196608 bytes are kept"):
        get_file(origin=origin)
    server.cut.clear()
    assert Path(get_file(origin=origin, file_hash=SHA256)).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=131072-", "bytes=196608-"]
    assert files_in(cache) == ["datasets/a.bin"]
    assert "a.bin, from byte 196608" in capsys.readouterr().out


OTHER = CONTENT[::-1]


@pytest.mark.parametrize(
    ("change", "content", "asked"),
    [
        (lambda s: setattr(s, "whole", True), CONTENT, 2),
        (lambda s: s.tags.update({"a.bin": '"second"'}) or s.url("a.bin", OTHER), OTHER, 2),
        # Under the same tag, the whole has another hash, or no such range.
        (lambda s: s.url("a.bin", OTHER), OTHER, 3),
        (lambda s: s.url("a.bin", b"short"), b"short", 3),
    ],
    ids=["no ranges", "another version", "a false tag", "shorter"],
)
def test_a_part_that_is_of_no_use_is_fetched_again(server, cache, change, content, asked):
    origin = broken_off(server)
    change(server)
    file_hash = hashlib.sha256(content).hexdigest()
    assert Path(get_file(origin=origin, file_hash=file_hash)).read_bytes() == content
    assert len(server.ranges) == asked and server.ranges[1] == "bytes=131072-"
    assert files_in(cache) == ["datasets/a.bin"]


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-3], lambda b: b"", lambda b: b[:30], lambda b: b[-21:]]
)
def test_a_damaged_part_or_that_of_another_address_is_left(server, cache, spoil):
    origin = broken_off(server)
    part = cache / "datasets" / ".a.bin-part"
    kept = part.read_bytes()
    part.write_bytes(spoil(kept))
    assert Path(get_file(origin=origin)).read_bytes() == CONTENT
    part.write_bytes(kept)
    other = server.url("other", b"other")
    assert Path(get_file("a.bin", other, force_download=True)).read_bytes() == b"other"
    assert server.ranges == [None, None, None]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses(server, cache, status):
    server.status["a.bin"] = status
    with pytest.raises(ConnectionError, match=rf"URL fetch failure on .* {status} "):
        get_file(origin=server.url("a.bin", CONTENT))
    assert files_in(cache) == []


def test_no_server(cache):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{unused.getsockname()[1]}/a.bin"
        with pytest.raises(ConnectionError, match="URL fetch failure"):
            get_file(origin=origin)
    assert files_in(cache) == []


def test_an_interrupt_leaves_nothing(server, cache, monkeypatch):
    def interrupt(part):
        part.file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("cornu.utils.downloads._Part.fetch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        get_file(origin=server.url("a.bin", CONTENT))
    assert files_in(cache) == []


def test_file_addresses(tmp_path, cache):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    origin = (tmp_path / "a.bin").as_uri()
    assert Path(get_file(origin=origin, file_hash=SHA256)).read_bytes() == CONTENT
    with pytest.raises(ConnectionError, match="URL fetch failure"):
        get_file(origin=(tmp_path / "none.bin").as_uri())


@pytest.mark.parametrize(
    "fname",
    ["../a", "a/b", "/etc/a", "..", ".", "a\\b", "C:a", "a\0b", "~/a", Path("x/y")],
    ids=str,
)
def test_a_name_must_not_be_a_path(cache, fname):
    with pytest.raises(ValueError, match="Paths are no longer accepted as the `fname` argument"):
        get_file(fname, origin="file:///a.bin")


@pytest.mark.parametrize("origin", ["http://127.0.0.1/x/..", "file:///a/%2e%2e/.."])
def test_nor_may_the_address_make_one(cache, origin):
    with pytest.raises(ValueError, match="Paths are no longer accepted"):
        get_file(origin=origin)


@pytest.mark.parametrize("folder", ["..", "../other", "a/../../b"])
def test_a_relative_subfolder_must_stay_in_the_cache(cache, folder):
    with pytest.raises(ValueError, match="inside the cache"):
        get_file("a", origin="file:///a.bin", cache_subdir=folder)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, '"origin" argument'),
        ({"origin": "http://127.0.0.1/"}, "Can't parse the file name"),
        ({"origin": "file:///a", "hash_algorithm": "crc"}, "hash_algorithm"),
        ({"origin": "file:///a", "file_hash": "abc"}, "it has 3 digits"),
        ({"origin": "file:///a", "md5_hash": SHA256}, "not a hash of md5"),
        ({"origin": "gopher://a/b"}, "gopher"),
    ],
    ids=str,
)
def test_wrong_arguments(cache, arguments, message):
    with pytest.raises(ValueError, match=message):
        get_file(**arguments)


@pytest.mark.parametrize(("ending", "pack"), [("zip", zipped), ("tar.gz", tarred)])
@pytest.mark.parametrize(
    ("fname", "folder", "kept"),
    [
        (None, "a.{}", "a.{}_archive"),
        ("name", "name", "name_archive"),
        ("name.{}", "name_extracted", "name.{}"),
    ],
)
def test_archives_are_unpacked(server, cache, ending, pack, fname, folder, kept):
    origin = server.url(f"a.{ending}", pack(**{"x.txt": "x", "sub/y.txt": "y"}))
    fname = fname and fname.format(ending)
    path = Path(get_file(fname, origin, extract=True))
    assert path == cache / "datasets" / folder.format(ending)
    assert files_in(path) == ["sub/y.txt", "x.txt"]
    assert (cache / "datasets" / kept.format(ending)).is_file()
    (path / "x.txt").write_text("mine")
    assert get_file(fname, origin, extract=True) == str(path)
    assert (path / "x.txt").read_text() == "mine"
    assert len(server.asked) == 1


def test_an_archive_fetched_again_is_unpacked_again(server, cache):
    origin = server.url("a.tar", tarred(x="old"))
    path = Path(get_file("name", origin, untar=True))
    (path / "notes").write_text("mine")
    server.url("a.tar", tarred(x="new"))
    get_file("name", origin, untar=True, force_download=True)
    assert (path / "x").read_text() == "new"
    assert (path / "notes").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "arguments"),
    [
        (b"no archive", {"extract": True}),
        (zipped(x="x"), {"untar": True}),
        (tarred(x="x"), {"extract": True, "archive_format": "zip"}),
        (tarred(x="x"), {"extract": True, "archive_format": None}),
    ],
    ids=["none", "untar", "zip", "no format"],
)
def test_what_is_no_archive_is_refused(server, cache, content, arguments):
    with pytest.raises(ValueError, match="Could not extract archive"):
        get_file("name", server.url("a", content), **arguments)
    assert files_in(cache) == ["datasets/name_archive"]


def test_the_cache_is_the_users_by_default(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv("CORNU_HOME")
    assert cache_folder().name == "cornu"


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Cannot make the cache folder .*CORNU_HOME"):
        get_file(origin="file:///a", cache_dir=tmp_path / "file")


def test_hash_file(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    assert hash_file(tmp_path / "a") == SHA256
    assert hash_file(tmp_path / "a", "md5") == MD5
