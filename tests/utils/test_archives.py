import io
import os
import shutil
import stat
import tarfile
import types
import zipfile

import pytest

from cornu.utils.archives import extract_archive

LINK, HARD, FIFO, DEVICE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE


def make_tar(path, *entries, mode="w"):
    """Entries are `(name, content)` or `(name, type, target)`; a name that ends in / is a folder."""
    with tarfile.open(path, mode) as archive:
        for name, *rest in entries:
            member = tarfile.TarInfo(name)
            if len(rest) == 2:
                member.type, member.linkname = rest
                archive.addfile(member)
            elif name.endswith("/"):
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            else:
                member.size = len(rest[0])
                archive.addfile(member, io.BytesIO(rest[0].encode()))
    return path


def make_zip(path, *entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content, *mode in entries:
            member = zipfile.ZipInfo("placeholder")
            member.filename = name
            member.external_attr = (mode[0] << 16) if mode else 0
            archive.writestr(member, content)
    return path


@pytest.fixture
def untouched(tmp_path):
    """Fails the test if anything but the archive and the target appears around them."""
    (tmp_path / "work").mkdir()
    (tmp_path / "victim").write_text("unharmed")
    yield tmp_path / "work"
    assert sorted(os.listdir(tmp_path)) == ["victim", "work"]
    assert (tmp_path / "victim").read_text() == "unharmed"
    assert set(os.listdir(tmp_path / "work")) <= {"archive", "target"}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar(untouched, mode):
    entries = [
        ("./",),
        ("sub/",),
        ("./sub/a", "aa"),
        ("b", "bb"),
        ("to_b", LINK, "b"),
        ("sub/up", LINK, "../b"),
        ("folder", LINK, "sub"),
        ("same", HARD, "sub/a"),
    ]
    make_tar(untouched / "archive", *entries, mode=mode)
    extract_archive(untouched / "archive", untouched / "target")
    read = {
        name: (untouched / "target" / name).read_text() for name in ("sub/a", "same", "folder/a")
    }
    assert set(read.values()) == {"aa"}
    for name in ("b", "to_b", "sub/up"):
        assert (untouched / "target" / name).read_text() == "bb"
    assert stat.S_IMODE((untouched / "target").stat().st_mode) == 0o755


def test_zip(untouched):
    make_zip(untouched / "archive", ("sub/", ""), ("sub/a", "aa"), ("b..c/...", "bb"))
    extract_archive(untouched / "archive", untouched / "target")
    assert (untouched / "target/sub/a").read_text() == "aa"
    assert (untouched / "target/b..c/...").read_text() == "bb"


BAD_NAMES = [
    "../victim",
    "a/../../victim",
    "/victim",
    "\\victim",
    "..\\victim",
    "C:\\a",
    "C:a",
    "a/..",
]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_names_that_lead_outside_are_refused(untouched, make, name):
    make(untouched / "archive", ("good", "x"), (name, "harm"))
    with pytest.raises(ValueError, match="Refused to extract the archive") as caught:
        extract_archive(untouched / "archive", untouched / "target")
    assert repr(name) in str(caught.value)
    assert not (untouched / "target").exists()


@pytest.mark.parametrize(
    "entries",
    [
        [("l", LINK, "/victim")],
        [("l", LINK, "../victim")],
        [("l", LINK, "C:\\victim")],
        [("a/l", LINK, "../../victim")],
        [("l", LINK, "a/../../victim")],
        [("l", LINK, "..\\victim")],
        [("l", HARD, "/etc/passwd")],
        [("l", HARD, "../../victim")],
        [("a/l", HARD, "../victim")],
        # A link within the folder, through which the next entry would be written.
        [("l", LINK, "sub"), ("l/x", "harm")],
        [("l/x", "harm"), ("l", LINK, "sub")],
        [("Link", LINK, "sub"), ("link/x", "harm")],
        # Each step looks harmless; together they climb out.
        [("a/b/l", LINK, "."), ("m", LINK, "a/b/l/../../../victim")],
        [("d/e/up", LINK, "../.."), ("l", LINK, "d/e/up/../victim")],
        # The second name of a relative link leads elsewhere.
        [("a/l", LINK, "../x"), ("l", HARD, "a/l")],
        # A chain that outgrows the longest path which the operating system resolves.
        [
            *[
                ("/".join(["d" * 247] * n + ["abcdefghijklmnop"[n]]), LINK, "d" * 247)
                for n in range(16)
            ],
            ("/".join("abcdefghijklmnop") + "/" + "l" * 254, LINK, "../" * 16),
            ("escape", LINK, "/".join("abcdefghijklmnop") + "/" + "l" * 254 + "/../victim"),
            ("escape", "harm"),
        ],
        [("f", FIFO, "")],
        [("d", DEVICE, "")],
        [("d", tarfile.BLKTYPE, "")],
    ],
)
def test_tar_entries_that_are_unsafe_are_refused(untouched, entries):
    make_tar(untouched / "archive", ("good", "x"), *entries)
    with pytest.raises(ValueError, match="Refused to extract the archive"):
        extract_archive(untouched / "archive", untouched / "target")
    assert not (untouched / "target").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_zip_entries_that_are_unsafe_are_refused(untouched, kind):
    make_zip(untouched / "archive", ("good", "x"), ("l", "../victim", kind | 0o777))
    with pytest.raises(ValueError, match="Refused to extract the archive"):
        extract_archive(untouched / "archive", untouched / "target")
    assert not (untouched / "target").exists()


@pytest.mark.parametrize("part", [0.3, 0.7])
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_a_cut_archive_is_refused(untouched, make, part):
    if make is make_tar:
        make_tar(
            untouched / "archive",
            *[(str(n), os.urandom(3000).hex()) for n in range(3)],
            mode="w:gz",
        )
    else:
        make_zip(untouched / "archive", *[(str(n), "x" * 3000) for n in range(3)])
    whole = (untouched / "archive").read_bytes()
    (untouched / "archive").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ValueError, match="Could not extract archive"):
        extract_archive(untouched / "archive", untouched / "target")
    assert not (untouched / "target").exists()


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_contents_that_do_not_fit_on_the_disk_are_refused(untouched, make, monkeypatch):
    make(untouched / "archive", ("a", "x" * 1000))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=999))
    with pytest.raises(ValueError, match="take 1,000 bytes, and 999 are free"):
        extract_archive(untouched / "archive", untouched / "target")
    assert not (untouched / "target").exists()


def test_an_unknown_format(untouched):
    make_zip(untouched / "archive", ("a", "x"))
    with pytest.raises(ValueError, match="archive_format"):
        extract_archive(untouched / "archive", untouched / "target", "rar")
