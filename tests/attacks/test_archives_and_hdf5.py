"""Containers: zip archives and HDF5 files that reach for other files, or for all the memory."""

import struct
import tempfile
import zipfile

import h5py
import numpy as np
import pytest
from forged import small_model

import cornu

KERNEL = "layers/conv2d/vars/0"


def replaced(file, make):
    del file[KERNEL]
    make(file)


def external_storage(file):
    file.create_dataset(KERNEL, (3, 3, 1, 2), "float32", external=[("/etc/passwd", 0, 72)])


def virtual(file):
    layout = h5py.VirtualLayout((3, 3, 1, 2), "float32")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3, 3, 1, 2))
    file.create_virtual_dataset(KERNEL, layout)


def set_item(value):
    return lambda file: file.__setitem__(KERNEL, value)


ELSEWHERE = {
    "external link": (set_item(h5py.ExternalLink("/etc/passwd", "/x")), "link"),
    "soft link": (set_item(h5py.SoftLink("/layers/dense/vars/0")), "link"),
    "outside storage": (external_storage, "another file"),
    "virtual": (virtual, "virtually"),
    "a cycle": (lambda file: file.__setitem__(KERNEL, file["layers"]), "linked several times"),
    "an alias": (
        lambda file: file.__setitem__(KERNEL, file["layers/dense/vars/0"]),
        "linked several times|Shape",
    ),
    "terabytes": (
        lambda file: file.create_dataset(KERNEL, (2**40,), "float32", chunks=None),
        "Shape mismatch|but holds 0",
    ),
    "never written": (
        lambda file: file.create_dataset(KERNEL, (3, 3, 1, 2), "float32"),
        "but holds 0",
    ),
    "compressed": (
        lambda file: file.create_dataset(
            KERNEL, data=np.zeros((3, 3, 1, 2), "f4"), compression="gzip"
        ),
        "compressed",
    ),
    "strings": (set_item(np.full((3, 3, 1, 2), b"x")), "not numeric"),
    "strings of any length": (
        lambda file: file.create_dataset(KERNEL, (3, 3, 1, 2), h5py.string_dtype()),
        "plainly numeric",
    ),
    "references": (
        lambda file: file.create_dataset(KERNEL, (3, 3, 1, 2), h5py.ref_dtype),
        "plainly numeric",
    ),
    "records": (set_item(np.zeros((3, 3, 1, 2), [("a", "f4")])), "plainly numeric"),
    "a group": (lambda file: file.create_group(KERNEL), "conv"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_hdf5(parts, refused, tmp_path, name):
    """CVE-2026-1669 and CVE-2026-0897: links, virtual and outside arrays, and claims of any size."""
    make, match = ELSEWHERE[name]
    parts.change_weights(lambda file: replaced(file, make))
    refused(parts.write(tmp_path / "m.keras"), match=match)
    weights = tmp_path / "w.weights.h5"
    weights.write_bytes(parts["model.weights.h5"])
    model = small_model()
    before = model.get_weights()
    refused(weights, function=model.load_weights)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_members_that_lead_elsewhere(parts, tmp_path, guard):
    """CVE-2025-12060 and CVE-2025-12638: nothing is unpacked to a path that a file names."""
    path = parts.write(tmp_path / "m.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../canary", "x")
        archive.writestr("/tmp/canary", "x")
        link = zipfile.ZipInfo("assets")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    with guard.watching(path):
        cornu.saving.load_model(path)
    assert not guard.seen
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


@cornu.saving.register_keras_serializable(package="attacks")
class Reader(cornu.layers.Layer):
    """A layer that reads a file of its own, which is unpacked for it."""

    def call(self, x):
        return x

    def save_assets(self, folder):
        with open(f"{folder}/own.txt", "w") as file:
            file.write("own")

    def load_assets(self, folder):
        with open(f"{folder}/own.txt") as file:
            assert file.read() == "own"


def linked(name):
    link = zipfile.ZipInfo(name)
    link.external_attr = 0o120777 << 16
    return link


@pytest.mark.parametrize(
    "member, data",
    [
        ("assets/../../canary", "x"),
        ("assets/layers/reader/../../../canary", "x"),
        ("assets/layers\\..\\canary", "x"),
        ("assets/C:/canary", "x"),
        (linked("assets/layers/link"), "/etc"),
        (linked("assets/layers/reader/own.txt"), "/etc/passwd"),
        ("assets/layers/reader/own.txt", "twice"),
        ("assets/layers/reader/own.txt/canary", "in a file"),
        ("assets/layers/reader/", ""),
        ("assets/layers/reader", "a file instead of a folder"),
        ("assets/" + 300 * "x", "long"),
        ("assets/large", bytes(10**7)),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate")
def test_files_of_layers_stay_in_their_folder(member, data, tmp_path, monkeypatch):
    """CVE-2025-12060 and CVE-2025-12638, where something is indeed unpacked."""
    folder = tmp_path / "here" / "temporary"
    folder.mkdir(parents=True)
    path = tmp_path / "m.keras"
    cornu.Sequential([cornu.Input((3,)), Reader()]).save(path)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(cornu.saving.limits, "bytes", 10**6)
    cornu.saving.load_model(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, data)
    if member == "assets/layers/reader/":
        cornu.saving.load_model(path)
    else:
        with pytest.raises(cornu.saving.FileFormatError, match=r"m\.keras"):
            cornu.saving.load_model(path)
    assert sorted(tmp_path.rglob("*")) == [folder.parent, folder, path]


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_member_twice(parts, refused, tmp_path, member):
    path = parts.write(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, parts[member])
    refused(path, match="2 times")


def test_bombs(parts, refused, tmp_path, monkeypatch):
    """A few bytes that unpack to many."""
    good = dict(parts)
    monkeypatch.setattr(cornu.saving.limits, "bytes", 10**6)
    parts["model.weights.h5"] += bytes(10**7)
    path = parts.write(tmp_path / "m.keras", zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    refused(path, match="limits.bytes")
    parts.update(good)
    parts["config.json"] += b" " * 65 * 1024**2
    refused(parts.write(path, zipfile.ZIP_DEFLATED), match="limits.config_bytes")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_archives_are_read(parts, tmp_path, compression):
    path = parts.write(tmp_path / "m.keras", compression)
    assert cornu.saving.load_model(path).count_params() == 47


def test_encrypted(parts, refused, tmp_path):
    path = parts.write(tmp_path / "m.keras")
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(signature)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(signature, at + 1)
    path.write_bytes(data)
    refused(path)


def test_sizes_that_are_not_true(parts, refused, tmp_path):
    path = parts.write(tmp_path / "m.keras")
    data = path.read_bytes()
    size = struct.pack("<I", len(parts["model.weights.h5"]))
    path.write_bytes(data.replace(size, struct.pack("<I", 2**31 - 1)))
    refused(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_cut_off(good, refused, tmp_path, share):
    path = tmp_path / "m.keras"
    path.write_bytes(good[: int(share * len(good))])
    refused(path)


def test_folder_and_device(refused, tmp_path):
    (tmp_path / "m.keras").mkdir()
    refused(tmp_path / "m.keras")
