"""Texts and houses, as small files of the published formats."""

import hashlib
import io
import os
import pickle
import zipfile

import keras
import numpy as np
import pytest

from cornu.datasets import boston_housing, california_housing, imdb, reuters

random = np.random.RandomState(0)


def lists(count, length=9):
    array = np.empty(count, object)
    array[:] = [random.randint(1, 40, random.randint(1, length)).tolist() for _ in range(count)]
    return array


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


IMDB = npz(x_train=lists(20), y_train=np.arange(20) % 2, x_test=lists(12), y_test=np.arange(12) % 2)
REUTERS = npz(x=lists(30), y=random.randint(0, 46, 30))
HOUSES = npz(x=random.rand(610, 8), y=random.rand(610))


def publish(server, monkeypatch, module, content, name):
    monkeypatch.setattr(module, "_ORIGIN", server.url(name, content))
    monkeypatch.setattr(module, "_SHA256", hashlib.sha256(content).hexdigest())


def check_like_keras(monkeypatch, cache, module, name, **arguments):
    ours = module.load_data(**arguments)
    their_module = getattr(keras.datasets, module.__name__.rpartition(".")[2])
    path = str(cache / "datasets" / name)
    monkeypatch.setattr(f"{their_module.load_data.__module__}.get_file", lambda *_, **__: path)
    for our_set, their_set in zip(ours, their_module.load_data(**arguments), strict=True):
        for one, other in zip(our_set, their_set, strict=True):
            assert one.dtype == other.dtype and len(one) == len(other)
            assert [list(np.ravel(row)) for row in one] == [list(np.ravel(row)) for row in other]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_words": 20, "skip_top": 5},
        {"num_words": 30, "oov_char": None, "seed": 3},
        {"maxlen": 6, "start_char": None},
        {"start_char": None, "index_from": 0},
    ],
    ids=str,
)
def test_texts_are_keras(server, cache, monkeypatch, arguments):
    publish(server, monkeypatch, imdb, IMDB, "imdb.npz")
    publish(server, monkeypatch, reuters, REUTERS, "reuters.npz")
    check_like_keras(monkeypatch, cache, imdb, "imdb.npz", **arguments)
    check_like_keras(monkeypatch, cache, reuters, "reuters.npz", **arguments)
    check_like_keras(monkeypatch, cache, reuters, "reuters.npz", test_split=0.5, **arguments)
    assert server.asked == ["imdb.npz", "reuters.npz"]


@pytest.mark.parametrize(
    "arguments", [{}, {"test_split": 0, "seed": 1}, {"test_split": 0.7}], ids=str
)
def test_houses_are_keras(server, cache, monkeypatch, arguments):
    for module, name in (
        (boston_housing, "boston_housing.npz"),
        (california_housing, "california_housing.npz"),
    ):
        publish(server, monkeypatch, module, HOUSES, name)
        check_like_keras(monkeypatch, cache, module, name, **arguments)
    check_like_keras(
        monkeypatch,
        cache,
        california_housing,
        "california_housing.npz",
        version="small",
        **arguments,
    )


def test_words(server, cache, monkeypatch):
    content = '{"the": 1, "naïve": 2}'.encode()
    for module, name in ((imdb, "imdb_word_index.json"), (reuters, "reuters_word_index.json")):
        monkeypatch.setattr("cornu.datasets.texts.KERAS_ADDRESS", f"{server.address}/")
        monkeypatch.setattr(module, "_WORDS_MD5", hashlib.md5(content).hexdigest())
        server.url(name, content)
        assert module.get_word_index() == {"the": 1, "naïve": 2}
        (cache / "datasets" / name).unlink()
        server.files[name] = b"[]"
        with pytest.raises(ValueError, match="corrupted"):
            module.get_word_index()
    assert reuters.get_label_names() == keras.datasets.reuters.get_label_names()


@pytest.mark.parametrize("content", [b"no JSON", b"[1]", b'{"a": "b"}'])
def test_words_of_a_damaged_file(tmp_path, monkeypatch, content):
    monkeypatch.setenv("CORNU_DATA_DIR", str(tmp_path))
    (tmp_path / "imdb_word_index.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read the data file .*imdb_word_index\.json"):
        imdb.get_word_index()


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def objects(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def with_pickle(stream):
    """An `.npz` whose array is any pickle, behind the header of an array of objects."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (2,)}
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + stream)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz(x=objects(Harm(), [1]), y=np.arange(2)), r"tries to load posix\.mkdir"),
        (npz(x=objects([Harm()], [1]), y=np.arange(2)), r"tries to load posix\.mkdir"),
        (npz(x=np.arange(2), y=objects(Harm(), 1)), r"tries to load posix\.mkdir"),
        (with_pickle(pickle.dumps(Harm())), r"tries to load posix\.mkdir"),
        (with_pickle(b"cbuiltins\neval\n(S'1'\ntR."), r"tries to load builtins\.eval"),
        (with_pickle(b"cnumpy\nload\n(S'x'\ntR."), r"tries to load numpy\.load"),
        (with_pickle(b"garbage"), "Cannot read the data file"),
        (with_pickle(pickle.dumps([[1], [2]])), "does not hold lists of integers"),
        (npz(x=objects([1], ["a"]), y=np.arange(2)), "does not hold lists of integers"),
        (npz(x=objects([1], [True]), y=np.arange(2)), "does not hold lists of integers"),
        (npz(x=objects([1], [[1]]), y=np.arange(2)), "does not hold lists of integers"),
        (npz(y=np.arange(2)), r"x\.npy"),
        (REUTERS[:200], "Cannot read the data file"),
        (b"text", "Cannot read the data file"),
    ],
)
def test_a_damaged_or_hostile_file_runs_nothing(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORNU_DATA_DIR", str(tmp_path))
    (tmp_path / "reuters.npz").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        reuters.load_data()
    assert "reuters.npz" in str(caught.value) and not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: imdb.load_data(words=3), TypeError, "Unrecognized keyword"),
        (lambda: boston_housing.load_data(test_split=1), ValueError, "less than 1"),
        (lambda: california_housing.load_data("tiny"), ValueError, "must be one of"),
        (lambda: reuters.load_data(maxlen=1), ValueError, "Increase `maxlen`"),
    ],
)
def test_wrong_arguments(tmp_path, monkeypatch, wrong, error, message):
    monkeypatch.setenv("CORNU_DATA_DIR", str(tmp_path))
    (tmp_path / "reuters.npz").write_bytes(REUTERS)
    with pytest.raises(error, match=message):
        wrong()


def test_the_old_name_of_an_argument(tmp_path, monkeypatch):
    monkeypatch.setenv("CORNU_DATA_DIR", str(tmp_path))
    (tmp_path / "imdb.npz").write_bytes(IMDB)
    with pytest.warns(UserWarning, match="use `num_words` instead"):
        (x, _), _ = imdb.load_data(nb_words=10)
    assert max(map(max, x)) < 10
