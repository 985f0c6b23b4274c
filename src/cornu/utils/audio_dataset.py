"""Sound files in a folder, a subfolder for each class, as a data set."""

import math
import wave

import numpy as np

from cornu.utils.folders import file_dataset


def audio_dataset_from_directory(
    directory,
    labels="inferred",
    label_mode="int",
    class_names=None,
    batch_size=32,
    sampling_rate=None,
    output_sequence_length=None,
    ragged=False,
    shuffle=True,
    seed=None,
    validation_split=None,
    subset=None,
    follow_links=False,
    verbose=True,
):
    """A data set of the sounds in a folder: `folder/class_a/1.wav`, `folder/class_b/1.wav`, …

    Files are WAV, of 8 to 32 bits or floats. They are read when a batch is made.

    Args:
        directory: the folder.
        labels: `"inferred"` from the subfolders, None for no labels, or a list of integers, one for
            each file in the order of the sorted paths.
        label_mode: `"int"`: int32 of shape `(batch,)`; `"binary"`: float32 0 or 1 of shape
            `(batch, 1)`; `"categorical"`: one-hot float32 of shape `(batch, classes)`; None: no labels.
        class_names: the subfolders to take, in the order of their labels; None takes all, sorted.
        batch_size: sounds in a batch; None gives single ones.
        sampling_rate: samples a second, to which all sounds are resampled (`scipy.signal.resample_poly`).
        output_sequence_length: how many samples to keep of each sound, after resampling (in Keras,
            before); shorter ones end with zeros. None fills each up to the longest of its batch.
        ragged: True is refused with a `batch_size`: there are no ragged arrays.
        shuffle: whether to mix the files, anew in each pass; False keeps the paths sorted.
        seed: makes the mixing the same in each run.
        validation_split: the part, between 0 and 1, to keep for validation.
        subset: `"training"` or `"validation"` for one part, `"both"` for a tuple of the two. The
            validation part of `"both"` is not mixed anew.
        follow_links: whether to enter folders that are symbolic links.
        verbose: whether to print how many files and classes were found.

    Returns:
        A `Dataset`, or a tuple of two, with the attributes `class_names` and `file_paths`. Sounds are
        float32 from -1 to 1, of shape `(batch, samples, channels)`.

    Raises ValueError if an argument is wrong, there are no files, or one cannot be read, then named.

    Source: Keras: Audio data loading.

    >>> import cornu, os, tempfile, wave
    >>> folder = tempfile.mkdtemp()
    >>> with wave.open(f"{folder}/1.wav", "wb") as file:
    ...     file.setparams((1, 2, 8000, 0, "NONE", ""))
    ...     file.writeframes(b"\\x00\\x40\\x00\\x80")
    >>> data = cornu.utils.audio_dataset_from_directory(folder, labels=None, verbose=False)
    >>> [x[0, :, 0].tolist() for x in data]
    [[0.5, -1.0]]
    """
    length = output_sequence_length
    if ragged and length is not None:
        raise ValueError("Cannot set both `ragged` and `output_sequence_length`")
    if ragged and batch_size is not None:
        raise ValueError(
            "`ragged=True` is not supported with a `batch_size`. Leave it out: sounds are filled up with "
            "zeros to the longest of a batch. Or pass `batch_size=None` for single sounds as they are."
        )
    if sampling_rate is not None and not isinstance(sampling_rate, int | np.integer):
        raise ValueError(
            f"`sampling_rate` should have an integer value. Received: sampling_rate={sampling_rate}"
        )
    if sampling_rate is not None and sampling_rate <= 0:
        raise ValueError(
            f"`sampling_rate` should be higher than 0. Received: sampling_rate={sampling_rate}"
        )

    def read(path):
        sound, rate = _read_wav(path)
        if sampling_rate not in (None, rate):
            from scipy import signal

            common = math.gcd(rate, sampling_rate)
            sound = signal.resample_poly(sound, sampling_rate // common, rate // common)
        if length is not None:
            sound = sound[:length]
            sound = np.pad(sound, ((0, length - len(sound)), (0, 0)))
        return sound.astype("float32")

    made = file_dataset(
        read,
        directory,
        labels,
        label_mode,
        class_names,
        batch_size,
        shuffle,
        seed,
        validation_split,
        subset,
        follow_links,
        verbose,
        endings=(".wav",),
        what="audio files",
        pad=length is None,
    )
    return tuple(made) if isinstance(made, list) else made


def _read_wav(path) -> tuple[np.ndarray, int]:
    """The samples of a file, of shape `(samples, channels)`, -1 to 1, and how many a second lasts."""
    try:
        try:
            with wave.open(path, "rb") as file:
                rate, width = file.getframerate(), file.getsampwidth()
                channels, frames = file.getnchannels(), file.readframes(file.getnframes())
        except wave.Error:
            # A format that Python does not read, as floats.
            return _read_other_wav(path)
        raw = np.frombuffer(frames, np.uint8).reshape(-1, width)
        if width == 1:
            samples = (raw[:, 0].astype("float32") - 128) / 128
        else:
            # The highest bytes of 32 bits, little-endian.
            words = np.zeros((len(raw), 4), np.uint8)
            words[:, 4 - width :] = raw
            samples = (words.view("<i4")[:, 0] / 2.0**31).astype("float32")
        return samples.reshape(-1, channels), rate
    except (EOFError, ValueError, OSError) as error:
        raise ValueError(f"Cannot read the sound {path}: {error or 'it ends too early'}") from error


def _read_other_wav(path) -> tuple[np.ndarray, int]:
    from scipy.io import wavfile

    rate, samples = wavfile.read(path)
    if samples.dtype.kind != "f":
        raise ValueError(f"its samples are {samples.dtype}, in a form that is not known")
    return samples.reshape(len(samples), -1).astype("float32"), rate
