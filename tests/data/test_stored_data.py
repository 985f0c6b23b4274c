"""Arrays in files, and in memory in a format of their own, reach the step batch by batch."""

import tracemalloc

import h5py
import jax
import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.data.array_source import ArraySource
from cornu.data.arrays import StoredRows, to_arrays


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same numbers in memory, in a memory-mapped file of big-endian float64, and in an HDF5 file."""
    folder = tmp_path_factory.mktemp("files")
    x = np.random.RandomState(0).rand(2000, 500)
    np.save(folder / "x.npy", x.astype(">f8"))
    mapped = np.load(folder / "x.npy", mmap_mode="r")
    with h5py.File(folder / "x.h5", "w") as file:
        file["x"] = x
    file = h5py.File(folder / "x.h5")
    yield {"memory": x, "mapped": mapped, "view": np.asarray(mapped)[:], "hdf5": file["x"]}
    file.close()


@pytest.mark.parametrize("kind", ["mapped", "view", "hdf5"])
def test_a_file_is_read_batch_by_batch(files, kind):
    x, expected = files[kind], files["memory"].astype("float32")
    y = np.arange(len(x))
    data = ArraySource(*to_arrays(x, y), 32, shuffle=True)
    assert data.on_device is None
    tracemalloc.start()
    for rows, numbers in data.batches():
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, expected[numbers])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < expected.nbytes / 4


def test_a_file_trains_as_an_array_does(files):
    def trained(x):
        cornu.utils.set_random_seed(0)
        model = cornu.Sequential([layers.Input((500,)), layers.Dense(1)])
        model.compile("sgd", "mean_squared_error")
        model.fit(x, y, batch_size=500, verbose=0, validation_split=0.25)
        loss = model.evaluate(x, y, batch_size=500, verbose=0)
        return [loss, *model.get_weights(), model.predict(x, batch_size=500, verbose=0)]

    y = (np.arange(2000) % 2).astype("?")
    expected = trained(files["memory"])
    for kind in ("mapped", "hdf5"):
        for mine, theirs in zip(trained(files[kind]), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_rows_of_a_file(files):
    stored = StoredRows(files["hdf5"])[100:200][50:]
    assert stored.shape == (50, 500) and len(stored) == 50
    np.testing.assert_array_equal(stored, files["memory"][150:200])
    np.testing.assert_array_equal(stored[np.array([3, 0, 3])], files["memory"][[153, 150, 153]])


def test_nan_in_a_file_is_found(files, monkeypatch):
    monkeypatch.setattr("cornu.training.checks._BLOCK_BYTES", 500 * 8 * 300)
    model = cornu.Sequential([layers.Input((500,)), layers.Dense(1)])
    model.compile("sgd", "mean_squared_error")
    with h5py.File("nan", "w", driver="core", backing_store=False) as file:
        file["x"] = files["memory"]
        file["x"][[700, 1999], 3] = np.nan, 1e300
        with pytest.raises(ValueError, match=r"NaN .* and infinity in 2 .* first at index 700"):
            model.fit(file["x"], np.zeros(2000), verbose=0)


def test_dtypes_in_memory():
    bytes_, flags = np.full((4, 3), 200, "uint8"), np.array([True, False, True, True])
    kept = ArraySource(*to_arrays(bytes_, flags, flags), 2, shuffle=False).on_device
    assert [a.dtype.name for a in kept] == ["uint8", "bool", "bool"]
    kept = ArraySource(
        *to_arrays(bytes_.astype(">f2"), flags.astype(">i8")), 2, shuffle=False
    ).on_device
    assert [a.dtype.name for a in kept] == ["float32", jax.dtypes.canonicalize_dtype("int64").name]
    with pytest.raises(ValueError, match="does not fit the 32 bits"):
        ArraySource(*to_arrays(np.array([2**40])), 2, shuffle=False)
