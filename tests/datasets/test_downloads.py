"""The data sets that are downloaded, as small files of the same formats on a local server."""

import gzip
import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from cornu.core.dtype import set_image_data_format
from cornu.datasets import cifar10, cifar100, fashion_mnist, mnist


def random_bytes(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape).astype("uint8")


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def mnist_file():
    return npz(
        x_train=random_bytes(6, 28, 28),
        y_train=random_bytes(6),
        x_test=random_bytes(3, 28, 28),
        y_test=random_bytes(3),
    )


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes())


FASHION = {
    "train-images-idx3-ubyte.gz": idx(random_bytes(6, 28, 28)),
    "train-labels-idx1-ubyte.gz": idx(random_bytes(6)),
    "t10k-images-idx3-ubyte.gz": idx(random_bytes(3, 28, 28)),
    "t10k-labels-idx1-ubyte.gz": idx(random_bytes(3)),
}


def tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def batch(seed, count, *label_keys):
    """A batch as the published ones are: pickled with byte strings as keys and lists of labels."""
    random = np.random.default_rng(seed)
    content = {key.encode(): random.integers(0, 10, count).tolist() for key in label_keys}
    content[b"data"] = np.zeros((count, 3072), "uint8")
    content[b"data"][:, ::1000] = random.integers(0, 256, (count, 4))
    return pickle.dumps(content, protocol=4)


def cifar10_archive(count=10_000):
    # Keras' own loader, the oracle, takes batches of exactly 10,000.
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    return tar(
        {f"cifar-10-batches-py/{name}": batch(n, count, "labels") for n, name in enumerate(names)}
    )


def cifar100_archive():
    keys = ("fine_labels", "coarse_labels")
    return tar(
        {
            "cifar-100-python/train": batch(0, 6, *keys),
            "cifar-100-python/test": batch(1, 3, *keys),
        }
    )


def publish(server, monkeypatch, module, content, name):
    """Let a data set's address be the local server, with the hash of the file there."""
    monkeypatch.setattr(module, "_ORIGIN", server.url(name, content))
    monkeypatch.setattr(module, "_SHA256", hashlib.sha256(content).hexdigest())


def publish_fashion(server, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "_ADDRESS", f"{server.address}/")
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in FASHION.items()}
    monkeypatch.setattr(fashion_mnist, "_SHA256", hashes)
    server.files.update(FASHION)


def assert_same(ours, theirs):
    for our_set, their_set in zip(ours, theirs, strict=True):
        for our_array, their_array in zip(our_set, their_set, strict=True):
            assert our_array.dtype == their_array.dtype
            np.testing.assert_array_equal(our_array, their_array)


@pytest.fixture(params=["channels_last", "channels_first"])
def image_data_format(request):
    before = keras.config.image_data_format()
    set_image_data_format(request.param)
    keras.config.set_image_data_format(request.param)
    yield request.param
    set_image_data_format(before)
    keras.config.set_image_data_format(before)


def test_mnist_is_keras(server, cache, monkeypatch):
    publish(server, monkeypatch, mnist, mnist_file(), "mnist.npz")
    ours = mnist.load_data()
    path = str(cache / "datasets" / "mnist.npz")
    monkeypatch.setattr("keras.src.datasets.mnist.get_file", lambda **_: path)
    assert_same(ours, keras.datasets.mnist.load_data())
    assert_same(ours, mnist.load_data())
    assert server.asked == ["mnist.npz"]


def test_fashion_mnist_is_keras(server, cache, monkeypatch):
    publish_fashion(server, monkeypatch)
    ours = fashion_mnist.load_data()
    folder = cache / "datasets" / "fashion-mnist"
    monkeypatch.setattr(
        "keras.src.datasets.fashion_mnist.get_file", lambda name, **_: str(folder / name)
    )
    assert_same(ours, keras.datasets.fashion_mnist.load_data())
    assert_same(ours, fashion_mnist.load_data())
    assert sorted(server.asked) == sorted(FASHION)


def test_cifar10_is_keras(server, cache, monkeypatch, tmp_path):
    publish(server, monkeypatch, cifar10, cifar10_archive(), "cifar-10-python.tar.gz")
    ours = cifar10.load_data()
    with tarfile.open(cache / "datasets" / "cifar-10-python.tar.gz") as archive:
        archive.extractall(tmp_path / "theirs", filter="data")
    monkeypatch.setattr("keras.src.datasets.cifar10.get_file", lambda **_: str(tmp_path / "theirs"))
    assert_same(ours, keras.datasets.cifar10.load_data())


@pytest.mark.parametrize("label_mode", ["fine", "coarse"])
def test_cifar100_is_keras(server, cache, monkeypatch, image_data_format, tmp_path, label_mode):
    publish(server, monkeypatch, cifar100, cifar100_archive(), "cifar-100-python.tar.gz")
    ours = cifar100.load_data(label_mode=label_mode)
    with tarfile.open(cache / "datasets" / "cifar-100-python.tar.gz") as archive:
        archive.extractall(tmp_path / "theirs", filter="data")
    monkeypatch.setattr(
        "keras.src.datasets.cifar100.get_file", lambda **_: str(tmp_path / "theirs")
    )
    assert_same(ours, keras.datasets.cifar100.load_data(label_mode))


def test_the_users_own_folder_comes_first(server, cache, monkeypatch, tmp_path):
    monkeypatch.setenv("CORNU_DATA_DIR", str(tmp_path))
    publish(server, monkeypatch, mnist, b"never asked for", "mnist.npz")
    (tmp_path / "mnist.npz").write_bytes(mnist_file())
    (tmp_path / "fashion-mnist").mkdir()
    for name, content in FASHION.items():
        (tmp_path / "fashion-mnist" / name).write_bytes(content)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(cifar10_archive(4))
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(cifar100_archive())
    np.testing.assert_array_equal(mnist.load_data()[0][0], random_bytes(6, 28, 28))
    np.testing.assert_array_equal(fashion_mnist.load_data()[1][1], random_bytes(3))
    assert cifar10.load_data()[0][0].shape == (20, 32, 32, 3)
    assert cifar100.load_data()[1][0].shape == (3, 32, 32, 3)
    assert server.asked == [] and not cache.exists()


def test_another_name_of_the_file(server, cache, monkeypatch):
    publish(server, monkeypatch, mnist, mnist_file(), "mnist.npz")
    mnist.load_data(path="digits.npz")
    assert (cache / "datasets" / "digits.npz").is_file()
    with pytest.raises(ValueError, match="name without folders"):
        mnist.load_data(path="../digits.npz")


def test_a_download_with_a_wrong_hash(server, cache, monkeypatch):
    publish(server, monkeypatch, mnist, mnist_file(), "mnist.npz")
    server.files["mnist.npz"] += b"more"
    with pytest.raises(ValueError, match=r"corrupted file detected: mnist\.npz") as caught:
        mnist.load_data()
    assert mnist._SHA256 in str(caught.value)
    assert hashlib.sha256(server.files["mnist.npz"]).hexdigest() in str(caught.value)
    assert "CORNU_DATA_DIR to a folder that holds mnist.npz" in str(caught.value)
    assert os.listdir(cache / "datasets") == []
    server.files["mnist.npz"] = mnist_file()
    mnist.load_data()


@pytest.mark.parametrize("trouble", ["cut", "status"])
def test_a_download_that_fails(server, cache, monkeypatch, trouble):
    publish_fashion(server, monkeypatch)
    name = "t10k-labels-idx1-ubyte.gz"
    getattr(server, trouble)[name] = {"cut": 10, "status": 503}[trouble]
    with pytest.raises(ConnectionError, match=f"CORNU_DATA_DIR to a folder .*{name}"):
        fashion_mnist.load_data()
    assert name not in os.listdir(cache / "datasets" / "fashion-mnist")
    getattr(server, trouble).clear()
    fashion_mnist.load_data()
    assert server.asked.count(name) == 2 and len(server.asked) == 5


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def pickled_in_npz(path):
    np.savez(path, x_train=np.array([Harm()], object))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(mnist_file()[:5000]), "Cannot read the data file"),
        (
            lambda path: path.write_bytes(
                mnist_file().replace(random_bytes(6).tobytes(), b"012345")
            ),
            "CRC",
        ),
        (lambda path: path.write_bytes(b""), "Cannot read the data file"),
        (lambda path: path.write_bytes(b"some text"), "Cannot read the data file"),
        (lambda path: path.write_bytes(npz(x_train=random_bytes(3))), "no array 'y_train', only"),
        (lambda path: path.write_bytes(npy(np.zeros(3))), "Cannot read the data file"),
        (pickled_in_npz, "no array 'y_train'"),
    ],
    ids=["cut", "altered", "empty", "text", "one array", "npy", "pickle"],
)
def test_a_damaged_npz(cache, monkeypatch, tmp_path, write, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORNU_DATA_DIR", str(tmp_path))
    write(tmp_path / "mnist.npz")
    with pytest.raises(ValueError, match=message) as caught:
        mnist.load_data()
    assert str(tmp_path / "mnist.npz") in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_pickles_in_an_npz_are_not_loaded(cache, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORNU_DATA_DIR", str(tmp_path))
    harm = np.array([Harm()], object)
    np.savez(tmp_path / "mnist.npz", x_train=harm, y_train=harm, x_test=harm, y_test=harm)
    with pytest.raises(ValueError, match="Cannot read the data file"):
        mnist.load_data()
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"text",
        gzip.compress(b"text"),
        idx(random_bytes(6))[:20],
        gzip.compress(b"\0\0\x08\x01\0\0\0\x09abc"),
    ],
    ids=["text", "other", "cut", "short"],
)
def test_a_damaged_idx_file(cache, monkeypatch, tmp_path, content):
    monkeypatch.setenv("CORNU_DATA_DIR", str(tmp_path))
    (tmp_path / "fashion-mnist").mkdir()
    for name in FASHION:
        (tmp_path / "fashion-mnist" / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read the data file .*train-images"):
        fashion_mnist.load_data()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "Cannot read"),
        ({}, "not as expected"),
        ({"train": b"no pickle", "test": b""}, "Cannot read"),
        ({"train": pickle.dumps([1]), "test": b""}, "not as expected"),
        ({"train": pickle.dumps({b"data": random_bytes(6)}), "test": b""}, "not as expected"),
        ({"train": pickle.dumps(Harm()), "test": b""}, r"tries to load posix\.mkdir"),
        ({"train": pickle.dumps({b"data": Harm()}), "test": b""}, r"tries to load posix\.mkdir"),
    ],
)
def test_a_damaged_or_hostile_cifar_archive(cache, monkeypatch, tmp_path, files, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORNU_DATA_DIR", str(tmp_path))
    content = cifar100_archive()[:500]
    if files is not None:
        content = tar({f"cifar-100-python/{name}": data for name, data in files.items()})
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        cifar100.load_data()
    assert "cifar-100-python.tar.gz" in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_cifar100_label_mode():
    with pytest.raises(ValueError, match="`label_mode` must be one of"):
        cifar100.load_data("all")


def test_cifar10_as_jpeg_images(cache, monkeypatch, tmp_path, image_data_format):
    monkeypatch.setenv("CORNU_DATA_DIR", str(tmp_path))
    files, shades = {}, {}
    for subset, count in (("train", 3), ("test", 2)):
        for number in range(count):
            for kind in ("ship", "cat"):
                picture = io.BytesIO()
                shade = len(files) * 20
                image = Image.fromarray(np.full((32, 32, 3), shade, "uint8"))
                image.save(picture, "jpeg")
                files[f"{subset}/{kind}/{number:04}.jpg"] = picture.getvalue()
                shades[subset, number, kind] = shade
    (tmp_path / "cifar10-jpeg.tar.gz").write_bytes(tar(files))
    for subset, (x, y) in zip(("train", "test"), cifar10.load_data(), strict=True):
        count = {"train": 3, "test": 2}[subset]
        expected = [shades[subset, n, kind] for n in range(count) for kind in ("cat", "ship")]
        shape = (3, 32, 32) if image_data_format == "channels_first" else (32, 32, 3)
        assert x.shape == (2 * count, *shape) and x.dtype == y.dtype == np.uint8
        np.testing.assert_array_equal(y, [[0], [1]] * count)
        np.testing.assert_allclose(x.mean(axis=(1, 2, 3)), expected, atol=2)


@pytest.mark.parametrize(
    "files", [{}, {"train/cat/1.jpg": b"x"}, {"1.jpg": b"x"}, {"other/cat/1.jpg": b"x"}], ids=str
)
def test_a_damaged_archive_of_jpeg_images(cache, monkeypatch, tmp_path, files):
    monkeypatch.setenv("CORNU_DATA_DIR", str(tmp_path))
    (tmp_path / "cifar10-jpeg.tar.gz").write_bytes(tar(files))
    with pytest.raises(ValueError, match=r"Cannot read the data file .*cifar10-jpeg\.tar\.gz"):
        cifar10.load_data()


def real_file(name):
    path = Path(os.environ.get("CORNU_DATA_DIR", ""), name)
    return pytest.mark.skipif(
        "CORNU_DATA_DIR" not in os.environ or not path.is_file(),
        reason=f"the environment variable CORNU_DATA_DIR names no folder that holds {name}",
    )


@real_file("mnist.npz")
def test_the_real_mnist():
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    assert x_train.shape == (60000, 28, 28) and x_test.shape == (10000, 28, 28)
    assert {a.dtype for a in (x_train, y_train, x_test, y_test)} == {np.dtype("uint8")}
    # The mean and deviation that everybody normalizes MNIST with.
    assert round(x_train.mean() / 255, 4) == 0.1307 and round(x_train.std() / 255, 4) == 0.3081
    assert y_train[:5].tolist() == [5, 0, 4, 1, 9] and set(y_test) == set(range(10))


# Reads 60,000 pictures; smaller archives of such are read above.
@pytest.mark.slow
@real_file("cifar10-jpeg.tar.gz")
def test_the_real_cifar10_in_jpeg():
    (x_train, y_train), (x_test, y_test) = cifar10.load_data()
    assert x_train.shape == (50000, 32, 32, 3) and x_test.shape == (10000, 32, 32, 3)
    assert np.bincount(y_train[:, 0]).tolist() == [5000] * 10
    assert np.bincount(y_test[-1000:, 0]).tolist() == [100] * 10
    # The means of the original's channels; JPEG coding changes pixels, hardly their mean.
    np.testing.assert_allclose(x_train.mean((0, 1, 2)) / 255, [0.4914, 0.4822, 0.4465], atol=2e-3)
