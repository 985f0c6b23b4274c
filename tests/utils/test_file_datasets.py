"""Texts and sounds in folders."""

import os
import wave
from pathlib import Path

import numpy as np
import pytest
from keras.src.utils import dataset_utils
from scipy.io import wavfile

from cornu.data import Dataset, TensorSpec
from cornu.utils import audio_dataset_from_directory, text_dataset_from_directory


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for name, count in (("bad", 5), ("good", 4)):
        (folder / name / "below").mkdir(parents=True)
        for i in range(count):
            path = folder / name / ("below" if i == 2 else "") / f"{i}.txt"
            path.write_bytes(f"{name} ä{i}\r\nline".encode())
    (folder / "good" / "notes.md").write_text("no text")
    return folder


def flat(data, labelled=True):
    parts = zip(*data, strict=True) if labelled else [list(data)]
    return [np.concatenate(part) for part in parts]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("labels", ["inferred", None, list(range(9))], ids=str)
def test_files_labels_and_order_are_keras(texts, labels, shuffle):
    paths, theirs, names = dataset_utils.index_directory(
        str(texts), labels and labels[:], (".txt",), None, shuffle, seed=5, verbose=False
    )
    arguments = {"labels": labels, "shuffle": shuffle, "seed": 5, "verbose": False}
    data = text_dataset_from_directory(texts, batch_size=4, **arguments)
    assert isinstance(data, Dataset) and len(data) == 3
    assert [os.path.normpath(p) for p in data.file_paths] == [os.path.normpath(p) for p in paths]
    assert data.class_names == names
    read = [Path(path).read_bytes().decode() for path in paths]
    got = flat(data, labels is not None)
    assert sorted(got[0]) == sorted(read)
    if labels is None:
        assert data.element_spec == TensorSpec((None,), "string")
    else:
        assert dict(zip(*got, strict=True)) == dict(zip(read, theirs, strict=True))
        assert got[1].dtype == np.int32
    if shuffle:
        again = text_dataset_from_directory(texts, batch_size=None, **arguments)
        single = [x if labels is None else x[0] for x in again]
        assert single == got[0].tolist() != flat(data, labels is not None)[0].tolist()
    else:
        assert got[0].tolist() == read


def test_parts_lengths_and_forms_of_labels(texts, capsys):
    arguments = {"validation_split": 0.4, "seed": 1, "max_length": 6, "label_mode": "categorical"}
    both = text_dataset_from_directory(texts, subset="both", **arguments)
    assert capsys.readouterr().out == (
        "Found 9 files belonging to 2 classes.\n"
        "Using 6 files for training.\nUsing 3 files for validation.\n"
    )
    assert [len(data.file_paths) for data in both] == [6, 3]
    for data, subset in zip(both, ("training", "validation"), strict=True):
        alone = text_dataset_from_directory(texts, subset=subset, verbose=False, **arguments)
        assert alone.file_paths == data.file_paths
        x, y = flat(data)
        assert all(len(text) <= 6 for text in x) and y.dtype == np.float32
        np.testing.assert_array_equal(y[:, 1], [text[:4] == "good" for text in x])
    binary = text_dataset_from_directory(texts, label_mode="binary", verbose=False)
    assert binary.element_spec[1] == TensorSpec((None, 1), "float32")


def test_a_file_that_is_no_text_is_named(texts, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8"):
        list(text_dataset_from_directory(tmp_path, labels=None, verbose=False))
    for read, what in (
        (text_dataset_from_directory, "text"),
        (audio_dataset_from_directory, "audio"),
    ):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=f"No {what} files found"):
            read(tmp_path / "x", labels=None)
        with pytest.raises(ValueError, match="`labels` argument should be"):
            read(texts, labels="other")
        with pytest.raises(ValueError, match="must provide a `seed`"):
            read(texts, validation_split=0.2, subset="both")
        with pytest.raises(ValueError, match="`label_mode` argument must be"):
            read(texts, label_mode="other")
    with pytest.raises(ValueError, match="`format` should be"):
        text_dataset_from_directory(texts, format="other")


FORMS = {
    "uint8": lambda x: np.round(x * 127 + 128).astype("uint8"),
    "int16": lambda x: np.round(x * 32767).astype("int16"),
    "int32": lambda x: np.round(x * 2147483000).astype("int32"),
    "float32": lambda x: x.astype("float32"),
    "float64": lambda x: x,
}


@pytest.mark.parametrize("form", [*FORMS, "int24"])
def test_sounds_of_all_kinds_of_files(tmp_path, form):
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    x[0], x[1] = -1, 0
    if form == "int24":
        words = np.round(x * 8388607).astype("<i4").reshape(-1, 1).view("uint8")[:, :3]
        with wave.open(str(tmp_path / "a.wav"), "wb") as file:
            file.setparams((2, 3, 8000, 0, "NONE", ""))
            file.writeframes(words.tobytes())
    else:
        wavfile.write(tmp_path / "a.wav", 8000, FORMS[form](x))
    (data,) = audio_dataset_from_directory(tmp_path, labels=None, verbose=False)
    assert data.dtype == np.float32 and data.shape == (1, 50, 2)
    steps = {"uint8": 2 / 128, "int16": 2 / 32768}
    np.testing.assert_allclose(data[0], x, atol=steps.get(form, 1e-6))
    assert data[0, 1, 0] == 0
    if form == "int16":
        # As TensorFlow decodes them.
        np.testing.assert_array_equal(data[0], FORMS[form](x) / np.float32(32768))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for i, name in enumerate(("a", "b")):
        (folder / name).mkdir()
        for j in range(2):
            seconds = np.arange(400 + 100 * i + 10 * j) / 8000
            tone = np.sin(2 * np.pi * 200 * seconds)
            wavfile.write(folder / name / f"{j}.wav", 8000, (32767 * tone).astype("int16"))
    return folder


def test_lengths_of_sounds(sounds):
    def read(**arguments):
        return audio_dataset_from_directory(sounds, shuffle=False, verbose=False, **arguments)

    ((x, y),) = read()
    assert x.shape == (4, 510, 1) and y.tolist() == [0, 0, 1, 1]
    assert (x[0, 400:] == 0).all() and (x[3, 500:] != 0).any()
    ((cut, _),) = read(output_sequence_length=450)
    np.testing.assert_array_equal(cut, x[:, :450])
    assert read(output_sequence_length=450).element_spec[0] == TensorSpec((None, 450, 1), "float32")
    assert [len(x) for x, _ in read(batch_size=None)] == [400, 410, 500, 510]
    # Half as many samples of the same tone.
    for length in (None, 150):
        ((slow, _),) = read(sampling_rate=4000, output_sequence_length=length)
        assert slow.shape[1] == (length or 255)
        np.testing.assert_allclose(slow[3, 20:140], x[3, 40:280:2], atol=0.01)
    both = read(validation_split=0.5, subset="both")
    assert isinstance(both, tuple) and [len(data.file_paths) for data in both] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ragged": True, "output_sequence_length": 3}, "Cannot set both"),
        ({"ragged": True}, "not supported with a `batch_size`"),
        ({"sampling_rate": 1.5}, "integer value"),
        ({"sampling_rate": -1}, "higher than 0"),
    ],
    ids=str,
)
def test_wrong_arguments(sounds, arguments, message):
    with pytest.raises(ValueError, match=message):
        audio_dataset_from_directory(sounds, **arguments)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no sound at all, but long enough to be one."])
def test_a_file_that_is_no_sound_is_named(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read the sound .*a\.wav: "):
        list(audio_dataset_from_directory(tmp_path, labels=None, verbose=False))
