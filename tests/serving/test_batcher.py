"""Requests that go through a model together get the answers that each alone would get."""

import asyncio
import dataclasses
import threading

import numpy as np
import pytest
from serving_tools import doubling, in_loop

import cornu
from cornu.core.kernels import native
from cornu.serving import Servable, Spec, of_model
from cornu.serving.batcher import Batcher, Closed


def rows(count, start=0.0):
    return np.arange(2 * count, dtype="float32").reshape(count, 2) + start


@pytest.fixture
def made():
    """Batchers that are closed in the end."""
    batchers = []

    def make(servable, *args, **kwargs):
        batchers.append(Batcher(servable, *args, **kwargs))
        batchers[-1].warm_up()
        return batchers[-1]

    yield make
    for batcher in batchers:
        batcher.close()


def test_what_comes_together_goes_together(made):
    calls, gate = [], threading.Event()
    gate.set()
    batcher = made(doubling(calls, gate=gate), max_batch=6)
    assert [len(x) for x in calls] == batcher.sizes() == [1, 2, 4, 6]
    calls.clear()
    gate.clear()

    async def ask():
        first = asyncio.create_task(batcher.run([rows(1)]))
        while not calls:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(batcher.run([rows(n, 10.0 * n)])) for n in (1, 2, 2, 3, 1)]
        while batcher.waiting_rows < 9:
            await asyncio.sleep(0.001)
        gate.set()
        return [await each for each in (first, *rest)]

    found = asyncio.run(ask())
    for (y,), n, start in zip(found, (1, 1, 2, 2, 3, 1), (0, 10, 20, 20, 30, 10), strict=True):
        np.testing.assert_array_equal(y, 2 * rows(n, start))
    # Six at most; the batch is full with 1 + 2 + 2 + 1, and what did not fit comes next, filled up.
    assert [len(x) for x in calls] == [1, 6, 4]
    np.testing.assert_array_equal(calls[2], rows(3, 30.0)[[0, 1, 2, 2]])
    assert batcher.seconds_per_row > 0


@pytest.mark.skipif(not native().in_use, reason="there are no kernels")
def test_native_programs_predict_where_they_can(made, monkeypatch):
    model = cornu.Sequential([cornu.Input((9,)), cornu.layers.Dense(4, activation="tanh")])
    calls = []

    def counted(servable):
        def run(arrays):
            calls.append(arrays)
            return servable.run(arrays)

        return dataclasses.replace(servable, run=run)

    batcher = made(counted(of_model(model)), max_batch=6)
    x = np.random.default_rng(0).normal(size=(7, 9)).astype("float32")
    for count in range(1, 8):
        ((y,),) = in_loop(batcher.run([x[:count]]))
        np.testing.assert_allclose(y, model.predict(x[:count], verbose=0), atol=1e-6)
    assert not calls
    # What they do not take as it is goes the other way.
    ((y,),) = in_loop(batcher.run([x.astype("float64")]))
    np.testing.assert_allclose(y, model.predict(x, verbose=0), atol=1e-6)
    assert [len(each[0]) for each in calls] == [6, 1]
    monkeypatch.setenv("CORNU_PROGRAMS", "0")
    calls.clear()
    made(counted(of_model(model)), max_batch=6)
    assert [len(each[0]) for each in calls] == [1, 2, 4, 6]


def test_the_first_waits_for_others_no_longer_than_it_may(made):
    calls = []
    batcher = made(doubling(calls), max_batch=4, max_wait=30.0)
    calls.clear()

    async def ask():
        tasks = [asyncio.create_task(batcher.run([rows(2)])) for _ in range(2)]
        await asyncio.gather(*tasks)

    asyncio.run(asyncio.wait_for(ask(), 20))
    # A full batch waits for nobody.
    assert [len(x) for x in calls] == [4]
    quick = made(doubling(calls), max_batch=4, max_wait=0.01)
    assert len(in_loop(quick.run([rows(1)]))[0][0]) == 1


def test_examples_that_see_each_other_are_left_alone(made):
    calls = []
    batcher = made(doubling(calls, seconds=0.01, is_alone=False), max_batch=4)
    calls.clear()
    found = in_loop(*(batcher.run([rows(n)]) for n in (3, 1, 7)))
    assert [len(y) for (y,) in found] == [3, 1, 7]
    assert [len(x) for x in calls] == [3, 1, 7]


def test_large_and_empty_requests(made):
    calls = []
    batcher = made(doubling(calls), max_batch=4)
    calls.clear()
    large, empty = in_loop(batcher.run([rows(11)]), batcher.run([rows(0)]))
    np.testing.assert_array_equal(large[0], 2 * rows(11))
    assert empty[0].shape == (0, 2) and max(map(len, calls)) == 4


def test_a_number_of_examples_that_is_fixed(made):
    calls = []
    batcher = made(doubling(calls, batch_size=3))
    found = in_loop(batcher.run([rows(1)]), batcher.run([rows(5)]))
    assert [len(y) for (y,) in found] == [1, 5] and {len(x) for x in calls} == {3}
    alone = made(doubling(is_alone=False, batch_size=3))
    right, wrong = in_loop(alone.run([rows(3)]), alone.run([rows(2)]))
    assert len(right[0]) == 3 and "takes 3 examples at once" in str(wrong)


def test_an_error_is_its_own_request_s(made):
    def run(arrays):
        if (arrays[0] < 0).any():
            raise ValueError("below zero")
        return [arrays[0]]

    spec = Spec("x", (2,), "float32")
    batcher = made(Servable([spec], [spec], run, True), max_batch=8, max_wait=0.05)
    good, bad, other = in_loop(*(batcher.run([rows(2, s)]) for s in (0.0, -9.0, 5.0)))
    np.testing.assert_array_equal(good[0], rows(2))
    np.testing.assert_array_equal(other[0], rows(2, 5.0))
    assert str(bad) == "below zero"


def test_who_no_longer_waits_is_not_computed(made):
    calls, gate = [], threading.Event()
    gate.set()
    batcher = made(doubling(calls, gate=gate), max_batch=1)
    calls.clear()
    gate.clear()

    async def ask():
        first = asyncio.create_task(batcher.run([rows(1)]))
        while not calls:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(batcher.run([rows(1, 50.0)]))
        third = asyncio.create_task(batcher.run([rows(1, 70.0)]))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.sleep(0.01)
        gate.set()
        await first
        return await third

    np.testing.assert_array_equal(asyncio.run(ask())[0], 2 * rows(1, 70.0))
    assert [x[0, 0] for x in calls] == [0.0, 70.0]


def test_sizes_and_dtypes_are_kept_apart(made):
    calls = []
    spec = Spec("x", (None,), "float32")
    servable = Servable([spec], [spec], lambda a: calls.append(a[0]) or [a[0] + 1], True)
    batcher = made(servable, max_batch=4, max_wait=0.02, most_shapes=3)
    assert not calls
    wide, narrow = in_loop(
        batcher.run([np.zeros((2, 3), "f4")]), batcher.run([np.zeros((2, 5), "f4")])
    )
    assert wide[0].shape == (2, 3) and narrow[0].shape == (2, 5)
    _, refused, again = in_loop(
        batcher.run([np.zeros((1, 3), "f4")]),
        batcher.run([np.zeros((1, 7), "f4")]),
        batcher.run([np.zeros((2, 5), "f4")]),
    )
    assert "compiled for 3 sizes" in str(refused) and again[0].shape == (2, 5)


def test_sizes_that_a_model_cannot_compute_take_no_place(made):
    def run(arrays):
        if arrays[0].shape[1] < 3:
            raise ValueError("too small")
        return arrays

    spec = Spec("x", (None,), "float32")
    batcher = made(Servable([spec], [spec], run, True), most_shapes=1)
    for width in (1, 2, 3):
        (found,) = in_loop(batcher.run([np.zeros((1, width), "f4")]))
    assert found[0].shape == (1, 3)


def test_closing_answers_what_waits(made):
    batcher = made(doubling(seconds=0.05), max_batch=1)

    async def ask():
        tasks = [asyncio.create_task(batcher.run([rows(1)])) for _ in range(4)]
        await asyncio.sleep(0.01)
        await asyncio.get_running_loop().run_in_executor(None, batcher.close)
        with pytest.raises(Closed):
            await batcher.run([rows(1)])
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(ask())) == 4


def test_an_output_that_is_no_batch_is_an_error():
    spec = Spec("x", (2,), "float32")
    batcher = Batcher(Servable([spec], [spec], lambda a: [a[0].sum(0)], True))
    with pytest.raises(ValueError, match=r"The output x has the shape \(2,\) for 1 examples"):
        batcher.warm_up()
