"""Data sets of tar, CSV, Parquet and ArrayRecord files: what they hold, their order, damage, and `fit`."""

import csv
import io
import pickle
import tarfile

import numpy as np
import pytest

import cornu
from cornu.data import Dataset, shards

COUNT = 23


def picture(i):
    return np.random.default_rng(i).integers(0, 255, (6, 6, 1), np.uint8)


def write_tar(path, numbers):
    with tarfile.open(path, "w") as file:
        for i in numbers:
            for ending, data in (("bin", picture(i).tobytes()), ("cls", str(i % 3).encode())):
                info = tarfile.TarInfo(f"some/{i:03}.{ending}")
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))


def write_csv(path, numbers):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["i", "half", "text"])
        writer.writerows([i, i / 2, f'ü, "{i}"\nnext'] for i in numbers)


def write_parquet(path, numbers):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"i": list(numbers), "half": [i / 2 for i in numbers]}
    columns["text"] = [str(i) for i in numbers]
    columns["list"] = [[i, i + 1] for i in numbers]
    parquet.write_table(pa.table(columns), path, row_group_size=4)


def write_array_record(path, numbers):
    module = pytest.importorskip("array_record.python.array_record_module")
    writer = module.ArrayRecordWriter(str(path), "group_size:1")
    for i in numbers:
        writer.write(b"%d" % i)
    writer.close()


# How files are written and read, and the number of an item.
KINDS = {
    "tar": (write_tar, Dataset.from_tar, lambda s: int(s["__key__"][-3:])),
    "csv": (write_csv, Dataset.from_csv, lambda s: s["i"]),
    "parquet": (write_parquet, Dataset.from_parquet, lambda s: s["i"]),
    "array_record": (write_array_record, Dataset.from_array_record, int),
}


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    write, read, number = KINDS[request.param]
    write(tmp_path / f"part-0.{request.param}", range(9))
    write(tmp_path / f"part-1.{request.param}", range(9, 9))
    write(tmp_path / f"part-2.{request.param}", range(9, COUNT))
    return tmp_path / f"part-*.{request.param}", read, number


def numbers(data):
    return [int(i) for i in data.as_numpy_iterator()]


def test_items_and_their_order(kind):
    files, read, number = kind
    data = read(files)
    assert len(data) == COUNT and numbers(data.map(number)) == list(range(COUNT))
    orders = []
    for workers in (None, 1, 2, 3):
        mixed = read(files).shuffle(COUNT, seed=3).map(number, num_parallel_calls=workers)
        # Two passes, the second within the first.
        first = mixed.as_numpy_iterator()
        start = [int(next(first)) for _ in range(5)]
        orders.append([numbers(mixed), start + [int(i) for i in first]])
        # What several processes see is what one sees.
        parts = [
            read(files).shuffle(COUNT, seed=3).shard(3, i, drop_remainder=True) for i in range(3)
        ]
        seen = [numbers(part.map(number)) for part in parts]
        assert [i for row in zip(*seen, strict=True) for i in row] == orders[-1][1][
            : COUNT // 3 * 3
        ]
    assert all(order == orders[0] for order in orders) and sorted(orders[0][0]) == list(
        range(COUNT)
    )


def test_contents(tmp_path):
    for name, (write, *_) in KINDS.items():
        write(tmp_path / name, range(5))
    sample = Dataset.from_tar(tmp_path / "tar")[2]
    assert sample == {"__key__": "some/002", "bin": picture(2).tobytes(), "cls": b"2"}
    row = Dataset.from_csv(tmp_path / "csv")[3]
    assert row == {"i": 3, "half": 1.5, "text": 'ü, "3"\nnext'}
    assert [type(value) for value in row.values()] == [np.int64, np.float32, str]
    row = Dataset.from_parquet(tmp_path / "parquet")[4]
    assert row.pop("list").tolist() == [4, 5] and row == {"i": 4, "half": 2.0, "text": "4"}
    assert Dataset.from_array_record(tmp_path / "array_record")[4] == b"4"
    chosen = Dataset.from_csv(tmp_path / "csv", ["half"], column_types={"half": "float64"})[1]
    assert chosen == {"half": 0.5} and chosen["half"].dtype == np.float64
    assert Dataset.from_parquet(tmp_path / "parquet", columns=["i"])[1] == {"i": 1}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a\n1\n2\n", [1, 2]),
        ("\ufeffa\r\n1\r\n\r\n2\r\n\r\n", [1, 2]),
        ("a\n\n1\n\n\n2", [1, 2]),
        ("a\n", []),
        ('a\n"1"\n"2"', [1, 2]),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_rows_of_csv(tmp_path, monkeypatch, text, rows, chunk):
    monkeypatch.setattr(shards, "_CHUNK", chunk)
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert [int(r["a"]) for r in Dataset.from_csv(tmp_path / "a.csv")] == rows


@pytest.mark.parametrize("part", [0, 0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off(kind, part):
    files, read, number = kind
    path = files.parent / files.name.replace("*", "2")
    whole = path.read_bytes()
    if not part:
        whole = b""
    elif files.suffix == ".csv":
        # Within a quoted value.
        cut = whole[: whole.index(b'"', int(len(whole) * part)) + 1]
        whole = cut if cut.count(b'"') % 2 else cut[:-1]
    elif files.suffix == ".tar":
        end = whole.rstrip(b"\0")
        whole = whole[: int(len(end) * part)]
    else:
        whole = whole[: int(len(whole) * part)]
    path.write_bytes(whole)
    with pytest.raises(OSError, match=r"part-2.*(cut off|damaged|is empty).*on_error"):
        read(files)
    with pytest.warns(UserWarning, match=r"part-2"):
        data = read(files, on_error="skip")
    found = numbers(data.map(number).ignore_errors(log_warning=False))
    assert 9 <= len(found) < COUNT and found == list(range(len(found)))


def decoded(sample):
    pixels = np.frombuffer(sample["bin"], np.uint8).reshape(6, 6, 1).astype("float32")
    return pixels / 255, np.int32(sample["cls"])


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_damaged_items_are_named(tmp_path, workers):
    write_tar(tmp_path / "a.tar", range(COUNT))
    data = bytearray((tmp_path / "a.tar").read_bytes())
    for i in (0, 7):
        place = data.index(b"some/%03d.cls" % i) + 512
        data[place : place + 1] = b"x"
    (tmp_path / "a.tar").write_bytes(data)
    made = Dataset.from_tar(tmp_path / "a.tar").shuffle(COUNT, seed=1)
    made = Dataset.zip(Dataset.random(seed=0), made.repeat(1)).take(COUNT)
    made = made.map(lambda seed, sample: decoded(sample), workers)
    with pytest.raises(ValueError, match="invalid literal") as caught:
        list(made)
    assert "a.tar, sample 'some/00" in caught.value.__notes__[0]
    with pytest.warns(UserWarning) as warned:
        good = list(made.ignore_errors().batch(4))
    texts = [str(w.message) for w in warned]
    assert sum(len(y) for _, y in good) == COUNT - 2
    assert texts[2] == f"Skipped 2 of {COUNT} elements." and "some/007" in "".join(texts)
    with pytest.raises(TypeError, match="by number"):
        list(made.filter(lambda x, y: True).ignore_errors())
    with pytest.raises(ValueError, match="None of the 1 elements"):
        list(Dataset.from_tensor_slices(["1", "a"]).map(int).skip(1).ignore_errors(False))


def test_it_goes_on_to_the_bit_with_other_workers(tmp_path):
    for part, (a, b) in enumerate(((0, 9), (9, COUNT))):
        write_tar(tmp_path / f"{part}.tar", range(a, b))

    def run(workers, folder, stop, skips=False):
        def augmented(sample, seed):
            x, y = decoded(sample)
            return x + np.random.default_rng(seed).normal(0, 0.1, x.shape).astype("float32"), y

        data = Dataset.from_tar(tmp_path / "*.tar").shuffle(COUNT, seed=5)
        data = Dataset.zip(data, Dataset.random(seed=2)).map(augmented, workers)
        data = (data.ignore_errors() if skips else data).batch(4).prefetch(2)
        cornu.utils.set_random_seed(0)
        model = cornu.Sequential([cornu.layers.Flatten(), cornu.layers.Dense(3)])
        model.compile("adam", cornu.losses.SparseCategoricalCrossentropy(from_logits=True))
        callbacks = [cornu.callbacks.BackupAndRestore(folder, save_freq=2)] if folder else []
        fitted = model.fit(data, epochs=3, verbose=0, callbacks=[*stop, *callbacks])
        return fitted.history, model.get_weights()

    whole = run(None, None, [])
    for workers, others, skips in ((2, 3, False), (0, 1, False), (3, 0, True)):
        folder = tmp_path / f"{workers}{skips}"
        with pytest.raises(Stopped):
            run(workers or None, folder, [StopAt(9)], skips)
        found = run(others or None, folder, [], skips)
        assert found[0] == whole[0]
        for a, b in zip(found[1], whole[1], strict=True):
            np.testing.assert_array_equal(a, b)


class Stopped(Exception):
    pass


class StopAt(cornu.callbacks.Callback):
    def __init__(self, step):
        self.left = step

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise Stopped


def test_parts_are_as_long_for_streams(tmp_path):
    for by_number in (True, False):
        data = Dataset.range(10)
        data = data if by_number else data.filter(lambda i: True)
        assert [numbers(data.shard(3, i, drop_remainder=True)) for i in range(3)] == [
            [0, 3, 6],
            [1, 4, 7],
            [2, 5, 8],
        ]
    assert len(Dataset.range(2).shard(3, 0, drop_remainder=True)) == 0


def test_random_numbers_are_the_same_by_number():
    data = Dataset.random(seed=4).take(6)
    first, second = numbers(data), numbers(data)
    assert first != second and len(set(first)) == 6
    assert numbers(Dataset.random(seed=4).map(lambda i: i, 3).take(6)) == first
    assert numbers(Dataset.random(4, rerandomize_each_iteration=False).repeat(2).take(0)) == []
    same = Dataset.random(4, rerandomize_each_iteration=False).take(6)
    assert numbers(same) == numbers(same) == first


def test_shards_can_be_pickled(kind):
    files, read, _ = kind
    shard = read(files)._node._shards[0]
    other = pickle.loads(pickle.dumps(shard))
    assert len(other) == 9 and str(other[3]) == str(shard[3])


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (Dataset.from_tar, b"\x1f\x8b8", "compressed"),
        (lambda f: Dataset.from_csv(f, ["b"]), b"a\n1\n", r"no columns \['b'\]"),
        (lambda f: list(Dataset.from_csv(f)), b"a,b\n1\n", "Expected 2 values"),
        (
            lambda f: list(Dataset.from_csv(f, column_types={"a": "int8"})),
            b"a\n300\n",
            "'300', which is no int8",
        ),
        (lambda f: Dataset.from_tar(f, on_error="warn"), b"", "on_error"),
    ],
)
def test_mistakes(tmp_path, read, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "file")


def test_no_file():
    with pytest.raises(FileNotFoundError, match="no-such"):
        Dataset.from_tar("no-such-*.tar", on_error="skip")


class Rows:
    """A source of Grain's."""

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return np.full(6, i / 20, "float32"), np.int32(i % 3)


def grain_data(kind):
    grain = pytest.importorskip("grain.python")
    if kind == "DataLoader":
        sampler = grain.IndexSampler(20, grain.NoSharding(), shuffle=True, num_epochs=1, seed=0)
        return grain.DataLoader(
            data_source=Rows(), sampler=sampler, operations=[grain.Batch(4)], worker_count=0
        )
    return grain.MapDataset.source(Rows()).seed(3).shuffle().batch(4)


@pytest.mark.parametrize("kind", ["MapDataset", "DataLoader"])
def test_grain(kind, tmp_path):
    def run(data, folder=None, stop=0):
        cornu.utils.set_random_seed(0)
        model = cornu.Sequential([cornu.layers.Dense(3)])
        model.compile("adam", cornu.losses.SparseCategoricalCrossentropy(from_logits=True))
        callbacks = [StopAt(stop)] if stop else []
        callbacks += [cornu.callbacks.BackupAndRestore(folder, save_freq=2)] if folder else []
        fitted = model.fit(data, epochs=2, verbose=0, callbacks=callbacks)
        return fitted.history["loss"], model.get_weights()[0].tolist()

    data = grain_data(kind)
    whole = run(data)
    assert run(Dataset.from_generator(lambda: iter(list(data)))) == whole
    with pytest.raises(Stopped):
        run(grain_data(kind), tmp_path, stop=7)
    assert run(grain_data(kind), tmp_path) == whole
