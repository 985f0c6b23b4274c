"""`Dataset` beside the same steps written with plain Python, and in `fit`."""

import itertools
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Stop, X, Y, check_same, history, network

import cornu
from cornu.data import AUTOTUNE, INFINITE, UNKNOWN, Dataset, TensorSpec

L = list(range(10))


def read(data):
    """The elements in plain values; data sets within become lists."""

    def plain(x):
        if isinstance(x, Dataset):
            return read(x)
        if isinstance(x, tuple):
            return tuple(map(plain, x))
        return (
            {k: plain(v) for k, v in x.items()} if isinstance(x, dict) else np.asarray(x).tolist()
        )

    return [plain(x) for x in data.as_numpy_iterator()]


def ten(by_number):
    return Dataset.range(10) if by_number else Dataset.from_generator(lambda: iter(L), "int64")


def batches(items, size):
    return [items[i : i + size] for i in range(0, len(items), size)]


# The step, what it gives, its length where elements can be had by number, and where they cannot.
STEPS = {
    "map": (lambda d: d.map(lambda i: i * 2), [2 * i for i in L], 10, UNKNOWN),
    "map in threads": (lambda d: d.map(lambda i: -i, 3), [-i for i in L], 10, UNKNOWN),
    "batch": (lambda d: d.batch(4), batches(L, 4), 3, UNKNOWN),
    "batch, full": (lambda d: d.batch(4, drop_remainder=True), batches(L, 4)[:2], 2, UNKNOWN),
    "batch, unbatch": (lambda d: d.batch(3, True).unbatch(), L[:9], 9, UNKNOWN),
    "rebatch": (lambda d: d.batch(3).rebatch(4), batches(L, 4), 3, UNKNOWN),
    "take": (lambda d: d.take(3), L[:3], 3, UNKNOWN),
    "take all": (lambda d: d.take(-1), L, 10, UNKNOWN),
    "skip": (lambda d: d.skip(8), L[8:], 2, UNKNOWN),
    "skip all": (lambda d: d.skip(-1), [], 0, 0),
    "shard": (lambda d: d.shard(3, 1), L[1::3], 3, UNKNOWN),
    "repeat": (lambda d: d.repeat(2), L * 2, 20, UNKNOWN),
    "repeat 0": (lambda d: d.repeat(0), [], 0, 0),
    "repeat, batch": (lambda d: d.repeat(2).batch(15), batches(L * 2, 15), 2, UNKNOWN),
    "concatenate": (lambda d: d.concatenate(d.take(2)), L + L[:2], 12, UNKNOWN),
    "zip": (lambda d: Dataset.zip((d, d.skip(7))), list(zip(L, L[7:], strict=False)), 3, UNKNOWN),
    "zip of a dict": (
        lambda d: Dataset.zip({"a": d, "b": d}).take(1),
        [{"a": 0, "b": 0}],
        1,
        UNKNOWN,
    ),
    "enumerate": (lambda d: d.skip(8).enumerate(5), [(5, 8), (6, 9)], 2, UNKNOWN),
    "cache": (lambda d: d.cache(), L, 10, UNKNOWN),
    "prefetch": (lambda d: d.prefetch(AUTOTUNE), L, 10, UNKNOWN),
    "filter": (lambda d: d.filter(lambda i: i % 3 == 0), L[::3], UNKNOWN, UNKNOWN),
    "take_while": (lambda d: d.take_while(lambda i: i < 4), L[:4], UNKNOWN, UNKNOWN),
    "flat_map": (
        lambda d: d.flat_map(lambda i: Dataset.from_tensors(i).repeat(2)),
        [i for i in L for _ in "ab"],
        UNKNOWN,
        UNKNOWN,
    ),
    "interleave": (
        lambda d: d.take(3).interleave(lambda i: Dataset.from_tensors(i).repeat(3), 2, 2),
        [0, 0, 1, 1, 0, 1, 2, 2, 2],
        UNKNOWN,
        UNKNOWN,
    ),
    "window": (lambda d: d.window(4, 3, 2), [L[0:7:2], L[3::2], L[6::2], L[9:]], 4, UNKNOWN),
    "window, full": (
        lambda d: d.window(3, 4, drop_remainder=True),
        [L[0:3], L[4:7]],
        2,
        UNKNOWN,
    ),
    "padded_batch": (
        lambda d: d.take(3).map(lambda i: np.full(i, 7)).padded_batch(2, padding_values=9),
        [[[9], [7]], [[7, 7]]],
        2,
        UNKNOWN,
    ),
    "apply": (lambda d: d.apply(lambda e: e.take(1)), [0], 1, UNKNOWN),
    "several": (
        lambda d: (
            d.map(lambda i: (i, -i), 2).batch(4).prefetch(2).map(lambda a, b: a + b).unbatch()
        ),
        [0] * 10,
        UNKNOWN,
        UNKNOWN,
    ),
}


@pytest.mark.parametrize("by_number", [True, False])
@pytest.mark.parametrize("step", STEPS)
def test_steps(step, by_number):
    make, expected, *lengths = STEPS[step]
    data = make(ten(by_number))
    assert read(data) == expected == read(data)
    length = lengths[not by_number]
    assert data.cardinality().numpy() == length
    if length >= 0:
        assert len(data) == length
    else:
        with pytest.raises(TypeError, match="unknown length"):
            len(data)
    if by_number and length > 0 and "window" not in step and "unbatch" not in step:
        assert np.asarray(data[-1]).tolist() == np.asarray(expected[-1]).tolist()
    elif not by_number and length and step != "cache":
        with pytest.raises(TypeError, match="one after another"):
            data[0]


def test_data_without_end():
    for data in (Dataset.counter(), ten(True).repeat(), ten(False).repeat().map(lambda i: i)):
        assert int(data.cardinality()) == INFINITE
        assert read(data.batch(4).take(2)) == batches(L[:8], 4)
        with pytest.raises(TypeError, match="infinite"):
            len(data)
    assert read(Dataset.from_generator(lambda: iter(()), "int32").repeat()) == []


@pytest.mark.parametrize("by_number", [True, False])
@pytest.mark.parametrize("size", [1, 3, 10, 50])
def test_shuffle(size, by_number):
    def passes(seed, **arguments):
        data = ten(by_number).shuffle(size, seed, **arguments)
        return [read(data) for _ in range(3)]

    first = passes(1)
    assert first == passes(1) and all(sorted(order) == L for order in first)
    # An element cannot come before it is in the buffer.
    assert all(i < place + size for order in first for place, i in enumerate(order))
    fixed = passes(1, reshuffle_each_iteration=False)
    assert fixed == [first[0]] * 3
    if size == 1:
        assert first == [L] * 3
    else:
        assert len({tuple(order) for order in (*first, *passes(2))}) == 6
    np.random.seed(0)
    unseeded = passes(None)
    np.random.seed(0)
    assert unseeded == passes(None) != passes(None) or size == 1
    repeated = read(ten(by_number).shuffle(size, 1).repeat(3))
    assert batches(repeated, 10) == first


def test_shuffled_batches_of_a_repeated_set_reach_over_passes():
    data = Dataset.range(3).shuffle(3, seed=0).repeat().batch(4).take(3)
    flat = [i for batch in read(data) for i in batch]
    assert [sorted(part) for part in batches(flat, 3)] == [[0, 1, 2]] * 4


def test_elements_and_their_specs():
    rows = {"a": np.zeros((4, 2), "uint8"), "t": (["x", "yy", "", "z"], [1, 2, 3, 4])}
    data = Dataset.from_tensor_slices(rows)
    spec = {
        "a": TensorSpec((2,), "uint8"),
        "t": (TensorSpec((), "string"), TensorSpec((), "int32")),
    }
    assert data.element_spec == data.shuffle(2).take(3).cache().element_spec == spec
    batch = next(data.batch(3).as_numpy_iterator())
    assert batch["t"][0].tolist() == ["x", "yy", ""] and type(batch["a"]) is np.ndarray
    assert data.batch(3).element_spec["a"] == TensorSpec((None, 2), "uint8")
    assert data.batch(2, drop_remainder=True).element_spec["a"].shape == (2, 2)
    mapped = data.batch(3).map(lambda row: (row["a"] / 2, row["a"].sum(), len(row["a"])))
    assert mapped.element_spec == (
        TensorSpec((None, 2), "float64"),
        TensorSpec((), "uint64"),
        TensorSpec((), "int32"),
    )
    for x in Dataset.from_tensor_slices(np.float32([[1, 2]])):
        assert x[1].numpy() == 2 and [v.numpy() for v in x] == [1, 2]
        assert [10, 20, 30][x[0].astype(int)] == 20
    texts = Dataset.from_tensor_slices(["ä", "b"])
    assert [x.numpy() for x in texts] == ["ä".encode(), b"b"] and [*texts] == ["ä", "b"]
    assert next(iter(texts.batch(2))).numpy().tolist() == ["ä".encode(), b"b"]
    # As in TensorFlow: Python's numbers have 32 bits, NumPy's keep their dtype.
    given = Dataset.range(1).map(lambda i: (1, 2.0, True, "s", [1, 2], np.float64(3), 2**40))
    names = [spec.dtype for spec in given.element_spec]
    assert names == ["int32", "float32", "bool", "string", "int32", "float64", "int64"]


@pytest.mark.parametrize(
    "said",
    [
        {"output_types": ("int32", str), "output_shapes": ((None,), ())},
        {"output_signature": (TensorSpec((None,), "int32"), TensorSpec((), "string"))},
    ],
)
def test_what_is_said_of_a_generator_holds(said):
    def elements(stop):
        for i in range(stop):
            yield [i] * i, "a" * i

    data = Dataset.from_generator(elements, args=[3], **said)
    assert read(data) == [([], ""), ([1], "a"), ([2, 2], "aa")]
    assert data.element_spec == (TensorSpec((None,), "int32"), TensorSpec((), "string"))
    assert next(iter(data))[0].dtype == np.int32
    for wrong in (([[1]], "a"), ([0.5], "a"), ([1], 2), ([1],), ["a", [1]]):
        with pytest.raises(ValueError, match="is not as `output_signature`"):
            read(Dataset.from_generator(lambda wrong=wrong: iter([wrong]), **said))


def test_a_cache_is_read_once_and_keeps_its_order(tmp_path):
    made = []
    for by_number, file in itertools.product((True, False), (False, True)):
        made.clear()
        path = str(tmp_path / f"{by_number}") if file else ""
        source = ten(by_number).shuffle(10, seed=0).map(lambda i: (made.append(int(i)), i)[1])
        cached = source.cache(path)
        read(cached.take(2))
        if by_number and not file:
            assert read(cached.take(2)) == read(cached)[:2]
        first = read(cached)
        made.clear()
        assert read(cached) == read(cached.batch(5).unbatch()) == first
        assert read(cached.shuffle(9, seed=1)) != first and not made
        if file:
            assert read(source.cache(path)) == first and not made


def test_a_file_that_keeps_elements(tmp_path):
    half = np.asarray(jnp.ones(3, "bfloat16"))
    element = {
        "a": np.float32([1, 2]),
        "h": half,
        "b": ("ä", b"\x00\xff\x00"),
        "c": np.array([["x", ""]], object),
    }
    data = Dataset.from_generator(lambda: iter([element] * 2)).cache(tmp_path / "kept")
    for _ in range(2):
        got = list(data.as_numpy_iterator())
        assert len(got) == 2 and got[1]["b"] == ("ä", b"\x00\xff\x00")
        assert got[1]["h"].dtype == half.dtype and got[0]["h"].tolist() == [1, 1, 1]
        assert got[1]["a"].tolist() == [1, 2] and got[1]["c"].tolist() == [["x", ""]]
    assert [path.name for path in tmp_path.iterdir()] == ["kept.cache"]
    whole = (tmp_path / "kept.cache").read_bytes()
    (tmp_path / "kept.cache").write_bytes(whole[:-3])
    with pytest.raises(ValueError, match=r"kept\.cache, cannot be read.*Delete it"):
        read(data)


def augmented(threads=None, ahead=0, by_number=True):
    layer = cornu.layers.RandomFlip(seed=3)
    x = np.arange(8 * 4 * 3, dtype="float32").reshape(8, 4, 3, 1)
    rows = Dataset.from_tensor_slices(x)
    rows = rows if by_number else rows.filter(lambda row: True)
    return layer, rows.batch(2).map(lambda x: layer(x, training=True), threads).prefetch(ahead)


@pytest.mark.parametrize("by_number", [True, False])
@pytest.mark.parametrize(("threads", "ahead"), [(None, 2), (3, 0), (AUTOTUNE, 3)])
def test_seeds_advance_with_the_elements_that_are_used(threads, ahead, by_number):
    """Also where threads run ahead, and where a pass is left early."""
    (layer, plain), (other, data) = augmented(), augmented(threads, ahead, by_number)
    assert plain.element_spec == data.element_spec
    expected = cornu.layers.RandomFlip(seed=3)
    for stop in (3, 9, 1, 9):
        pairs = zip(plain.take(stop), data, strict=False)
        for i, (x, y) in enumerate(pairs):
            np.testing.assert_array_equal(x, y)
            np.testing.assert_array_equal(
                x,
                expected(
                    np.arange(24.0, dtype="float32").reshape(2, 4, 3, 1) + 24 * i, training=True
                ),
            )
        del pairs
        assert layer.generator.state.numpy().tolist() == other.generator.state.numpy().tolist()


def test_global_random_numbers_are_drawn_in_order():
    def noise(threads, ahead):
        np.random.seed(1)
        return read(Dataset.range(6).map(lambda i: np.random.rand(), threads).prefetch(ahead))

    assert noise(None, 0) == noise(4, 0) == noise(4, 3)


def test_threads_make_elements_ahead_in_order_and_end():
    running = []

    def slow(i):
        running.append(threading.current_thread().name)
        time.sleep(0.01 * (3 - i % 3))
        return i

    for data in (ten(True).map(slow, 3), ten(False).map(slow, 3), ten(True).map(slow).prefetch(2)):
        running.clear()
        assert read(data) == L
        assert {name for name in running if name.startswith("cornu-data")}
        iterator = data.as_numpy_iterator()
        next(iterator)
        iterator.close()
        assert not [t for t in threading.enumerate() if t.name.startswith("cornu-data")]


@pytest.mark.parametrize("by_number", [True, False])
@pytest.mark.parametrize(
    "step",
    [
        lambda d, f: d.map(f),
        lambda d, f: d.map(f, num_parallel_calls=3),
        lambda d, f: d.map(f).shuffle(10).batch(3),
        lambda d, f: d.filter(f),
        lambda d, f: d.flat_map(lambda i: Dataset.from_tensors(f(i))),
    ],
)
def test_a_function_is_called_once_for_each_element(step, by_number):
    calls = []
    data = step(ten(by_number), lambda i: calls.append(int(i)) or i)
    for _ in range(2):
        assert len(list(data)) > 0
        assert sorted(calls) == L
        calls.clear()


def test_the_lengths_of_nothing():
    empty = Dataset.range(0).map(lambda i: (i, i))
    for data in (
        empty,
        empty.unbatch(),
        empty.batch(3),
        empty.batch(3).map(lambda i, j: i).unbatch(),
    ):
        assert data.cardinality() == 0 and list(data) == []


def refilled():
    buffer = np.zeros(2, "float32")
    for i in range(4):
        buffer[:] = i
        yield buffer


@pytest.mark.parametrize("kept", ["arrays", "generator", "cache", "cached generator", "table"])
def test_what_is_changed_in_place_is_changed_once(kept):
    rows = np.repeat(np.arange(4, dtype="float32"), 2).reshape(4, 2)
    expected = rows.tolist()
    data = {
        "arrays": Dataset.from_tensor_slices(rows),
        "generator": Dataset.from_generator(refilled),
        "cache": Dataset.from_tensor_slices(rows).cache(),
        "cached generator": Dataset.from_generator(refilled).cache(),
        "table": Dataset.range(4).map(lambda i: rows[i]),
    }[kept]

    def doubled(x):
        x *= 2
        return x

    for _ in range(2):
        for x in data:
            x += 1
        assert read(data) == expected and read(data.batch(4)) == [expected]
        assert read(data.map(doubled)) == (2 * rows).tolist()
        assert data.reduce(np.float32([0, 0]), lambda s, x: s + doubled(x)).tolist() == [12, 12]
    assert rows.tolist() == expected


@pytest.mark.parametrize("threads", [None, 2])
def test_an_error_in_a_function_is_raised_where_it_happened(threads):
    def fails(i):
        if i == 2:
            raise KeyError("a hole")
        return i

    with pytest.raises(KeyError, match="a hole"):
        read(ten(True).map(fails, threads).prefetch(2))


def test_it_trains_as_arrays_do():
    plain = history(cornu, X, Y, shuffle=False, validation_data=(X, Y))
    data = Dataset.from_tensor_slices((X, Y)).batch(8)
    for each in (data, data.prefetch(2), data.cache(), data.map(lambda x, y: (x, y), 2)):
        model = network(cornu)
        check_same(history(cornu, each, model=model, batch_size=None, validation_data=each), plain)
        assert model.evaluate(each, verbose=0) == pytest.approx(plain["val_loss"][-1], rel=1e-5)
        np.testing.assert_allclose(
            model.predict(each, verbose=0), model.predict(X, verbose=0), rtol=1e-6
        )
    endless = data.repeat()
    check_same(
        history(cornu, endless, batch_size=None, steps_per_epoch=3),
        history(cornu, X, Y, shuffle=False),
    )


def test_elements_of_several():
    parts = [Dataset.range(100), Dataset.range(100, 200)]
    drawn = Dataset.sample_from_datasets(parts, [0.9, 0.1], seed=1)
    first, second = read(drawn), read(drawn)
    assert sorted(first) == [*range(200)] and first != second
    assert [i for i in first if i < 100] == [*range(100)]
    assert 75 < sum(i < 100 for i in first[:100]) < 99
    again = Dataset.sample_from_datasets(parts, [0.9, 0.1], 1, rerandomize_each_iteration=False)
    assert read(again) == read(again) == first
    stopped = read(Dataset.sample_from_datasets(parts, [0.9, 0.1], 1, stop_on_empty_dataset=True))
    assert stopped == first[: len(stopped)] and 100 <= len(stopped) < 200
    assert read(Dataset.sample_from_datasets(parts, [1, 0])) == [*range(100)]
    small = [Dataset.range(2), Dataset.range(5, 9)]
    for stop, expected in ((True, [0, 5, 1]), (False, [0, 5, 1, 6])):
        choice = Dataset.from_tensor_slices([0, 1, 0, 0, 1])
        assert read(Dataset.choose_from_datasets(small, choice, stop)) == expected


PIPELINES = {
    "drawn": lambda d: Dataset.sample_from_datasets([d, d.shuffle(9, 3)], seed=5).batch(8),
    "by number": lambda d: d.shuffle(22, seed=1).batch(4),
    "a stream": lambda d: d.filter(lambda x, y: True).shuffle(9, seed=1).batch(4).prefetch(2),
    "cached": lambda d: d.shuffle(22, seed=1).cache().shuffle(7, seed=2).batch(4),
    "a cached stream": lambda d: noisy(d.shuffle(22, seed=1)).cache().shuffle(7, seed=2).batch(4),
    "noise": lambda d: noisy(d.shuffle(22, seed=1).batch(4)).prefetch(2),
    "global noise": lambda d: d.batch(4).map(lambda x, y: (x + np.random.rand(), y)).prefetch(2),
}


def noisy(data):
    layer = cornu.layers.GaussianNoise(0.5, seed=4)
    return data.map(lambda x, y: (layer(x, training=True), y), num_parallel_calls=2)


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("name", PIPELINES)
def test_an_interrupted_run_goes_on_to_the_bit(name, steps, tmp_path):
    class Interrupt(cornu.callbacks.Callback):
        comes_last = True

        def __init__(self, at):
            # What has changed is part of the backup.
            self.at, self.seen = at, 0

        def on_train_batch_end(self, batch, logs=None):
            self.seen += 1
            if self.seen == self.at:
                raise InterruptedError

    def run(folder=None, at=None):
        data = PIPELINES[name](Dataset.from_tensor_slices((X, Y)))
        model = network(cornu)
        cornu.utils.set_random_seed(1)
        callbacks = [Interrupt(at)] if at else []
        if folder:
            callbacks.append(cornu.callbacks.BackupAndRestore(folder, save_freq=1))
        arguments = {"epochs": 3, "steps_per_epoch": steps, "verbose": 0, "callbacks": callbacks}
        return model.fit(data, **arguments).history, model.get_weights()

    losses, weights = run()
    # Within a pass, at its end and at its beginning; the backup is of the batch before.
    for at in (3, 8, 9) if steps else (4, 7, 12):
        with pytest.raises(InterruptedError):
            run(tmp_path, at)
    resumed = run(tmp_path)
    assert resumed[0] == losses
    for one, other in zip(resumed[1], weights, strict=True):
        np.testing.assert_array_equal(one, other)


def mixed(*elements):
    return Dataset.from_generator(lambda: iter(elements))


def test_a_padded_batch_keeps_fractions():
    assert read(mixed([1], [1.5, 2.5]).padded_batch(2)) == [[[1, 0], [1.5, 2.5]]]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: Dataset.from_tensor_slices(3), ValueError, "equally many rows"),
        (lambda: Dataset.from_tensor_slices(([1, 2], [1])), ValueError, r"\(2,\), \(1,\)"),
        (lambda: Dataset.from_generator([1]), TypeError, "must be callable"),
        (lambda: Dataset.from_generator(iter, "int32", output_signature=1), TypeError, "not both"),
        (lambda: Dataset.zip(), TypeError, "takes data sets"),
        (lambda: Dataset.zip((Dataset.range(1), [1])), TypeError, "Expected a `Dataset`"),
        (
            lambda: Dataset.range(1).batch(0),
            ValueError,
            "`batch_size` must be an integer of at least 1",
        ),
        (lambda: Dataset.range(1).batch(2.0), ValueError, "Received: batch_size=2.0"),
        (lambda: Dataset.range(1).map(3), TypeError, "Expected a function"),
        (lambda: Dataset.range(1).map(int, 0), ValueError, "`num_parallel_calls`"),
        (lambda: Dataset.range(1).shuffle(0), ValueError, "`buffer_size`"),
        (lambda: Dataset.range(1).shuffle(-2), ValueError, "length is unknown"),
        (lambda: Dataset.range(1).repeat(-2), ValueError, "`count` must be"),
        (lambda: Dataset.range(1).shard(2, 2), ValueError, "from 0 to 1"),
        (lambda: Dataset.range(1).prefetch(-2), ValueError, "`buffer_size` must be"),
        (lambda: Dataset.range(1).prefetch(None), TypeError, "`buffer_size` must be an integer"),
        (lambda: Dataset.range(1).take(2.7), TypeError, "`count` must be an integer"),
        (lambda: Dataset.range(1).skip("3"), TypeError, "`count` must be an integer"),
        (lambda: Dataset.range(1).repeat(0.5), TypeError, "`count` must be an integer"),
        (lambda: Dataset.range(2.5), TypeError, "must be an integer"),
        (lambda: Dataset.range(1)[1], IndexError, "element 1 of 1"),
        (lambda: Dataset.range(5)[1:3], TypeError, "`index` must be an integer"),
        (
            lambda: read(mixed({"a": 1}, 2).batch(2)),
            ValueError,
            "several structures cannot be batched",
        ),
        (
            lambda: read(mixed({"a": 1}, {"a": 1, "b": 2}).batch(2)),
            ValueError,
            "several structures cannot be batched",
        ),
        (lambda: read(mixed("a", 1).batch(2)), ValueError, "several structures cannot be batched"),
        (
            lambda: read(mixed([1], [2, 3]).padded_batch(2, padding_values=0.5)),
            ValueError,
            "0.5 does not fit an array of int32",
        ),
        (lambda: read(mixed(1).map(lambda i: [[1], [2, 3]])), ValueError, "several lengths"),
        (lambda: Dataset.range(1).concatenate([1]), TypeError, "Expected a `Dataset`"),
        (lambda: Dataset.range(1).apply(len), TypeError, "Expected a `Dataset`"),
        (
            lambda: read(Dataset.range(1).flat_map(lambda i: i)),
            TypeError,
            "must return a `Dataset`",
        ),
        (
            lambda: read(Dataset.range(4).batch(2).filter(lambda i: i > 0)),
            ValueError,
            r"one truth value.*\(2,\)",
        ),
        (lambda: read(Dataset.range(2).unbatch()), ValueError, "can be taken apart"),
        (
            lambda: read(Dataset.range(2).map(np.zeros).batch(2)),
            ValueError,
            r"\(0,\), \(1,\).*padded_batch",
        ),
        (
            lambda: read(Dataset.range(2).map(np.ones).padded_batch(2, [0])),
            ValueError,
            "more than the 0 of",
        ),
        (lambda: Dataset.range(0).map(abs).element_spec, ValueError, "no elements"),
        (lambda: Dataset.range(2).get_single_element(), ValueError, "has more"),
        (lambda: Dataset.sample_from_datasets([Dataset.range(1)], [0]), ValueError, "one above"),
        (
            lambda: read(Dataset.choose_from_datasets([Dataset.range(1)], Dataset.range(3))),
            ValueError,
            "Data set 1 was chosen of 1",
        ),
        (lambda: Dataset.range(1).ragged_batch(2), AttributeError, "Use `padded_batch`"),
        (lambda: Dataset.range(1).nothing, AttributeError, "no attribute 'nothing'"),
        (lambda: Dataset.list_files("/nowhere/*.png"), FileNotFoundError, "No files match"),
    ],
)
def test_mistakes(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()


def test_files_of_a_pattern(tmp_path):
    for name in ("b.txt", "a.txt", "c.png"):
        (tmp_path / name).touch()
    listed = Dataset.list_files(str(tmp_path / "*.txt"), shuffle=False)
    assert read(listed) == [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]


def test_training_that_stops_leaves_no_thread():
    data = Dataset.from_tensor_slices((X, Y)).batch(2).map(lambda x, y: (x, y), 3).prefetch(2)
    history(cornu, data, batch_size=None, steps_per_epoch=2, callbacks=[Stop()])
    assert not [t for t in threading.enumerate() if t.name.startswith("cornu-data")]
