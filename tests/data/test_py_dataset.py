import itertools
import threading
import time

import pytest

from cornu.data.ahead import iterate
from cornu.data.py_dataset import PyDataset


class Counting(PyDataset):
    """Batch `i` is `i`; early batches are slow, so that threads finish them out of order."""

    def __init__(self, fail_at=None, **kwargs):
        super().__init__(**kwargs)
        self.fail_at = fail_at
        self.made = []
        self.threads = set()

    def __len__(self):
        return 12

    def __getitem__(self, index):
        time.sleep(0.01 if index % 3 == 0 else 0)
        if index == self.fail_at:
            raise RuntimeError(f"batch {index} is broken")
        self.made.append(index)
        self.threads.add(threading.current_thread())
        return index


def our_threads():
    return [t for t in threading.enumerate() if t.name.startswith("cornu-data")]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_the_requested_order(workers):
    order = [5, 0, 11, 3, 3, 7]
    dataset = Counting(workers=workers)
    assert list(iterate(dataset, order)) == order
    assert (threading.main_thread() in dataset.threads) == (workers < 2)
    assert not our_threads()


def test_several_threads_work_at_once():
    met = threading.Barrier(3, timeout=10)

    class Meeting(Counting):
        def __getitem__(self, index):
            met.wait()
            return index

    assert list(iterate(Meeting(workers=3), range(6))) == list(range(6))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_no_more_batches_are_made_ahead_than_the_queue_holds(size):
    dataset = Counting(workers=2, max_queue_size=size)
    batches = iterate(dataset, itertools.count())
    for taken in range(1, 5):
        next(batches)
        time.sleep(0.05)
        assert len(dataset.made) <= taken + size
    assert len(dataset.made) == 4 + size
    batches.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_is_raised_in_place_of_its_batch_and_stops_the_threads(workers):
    batches = iterate(Counting(fail_at=2, workers=workers, max_queue_size=4), itertools.count())
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(RuntimeError, match="batch 2 is broken"):
        next(batches)
    assert not our_threads()


def test_closing_stops_the_threads():
    dataset = Counting(workers=3)
    batches = iterate(dataset, itertools.count())
    next(batches)
    assert our_threads()
    batches.close()
    assert not our_threads()
    made = len(dataset.made)
    time.sleep(0.05)
    assert len(dataset.made) == made


def test_plain_iteration_and_number_of_batches():
    dataset = Counting()
    assert dataset.num_batches == 12
    assert list(dataset) == list(range(12))


def test_data_without_end():
    class Endless(PyDataset):
        num_batches = None

        def __getitem__(self, index):
            return index

    assert list(itertools.islice(Endless(), 3)) == [0, 1, 2]


def test_a_subclass_need_not_call_the_constructor():
    class Careless(PyDataset):
        def __init__(self):
            pass

    dataset = Careless()
    assert (dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size) == (1, False, 10)
    with pytest.raises(NotImplementedError, match="Careless must define `__getitem__"):
        dataset[0]
    with pytest.raises(NotImplementedError, match="Careless must define `__len__"):
        _ = dataset.num_batches


def test_processes_are_threads():
    with pytest.warns(UserWarning, match="`use_multiprocessing=True` has no effect"):
        Counting(workers=2, use_multiprocessing=True)


@pytest.mark.parametrize(
    "wrong", [{"workers": -1}, {"max_queue_size": 0, "workers": 2}, {"max_queue_size": -1}], ids=str
)
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PyDataset(**wrong)


def test_a_queue_of_none_where_nothing_is_made_ahead():
    data = Counting(workers=0, max_queue_size=0)
    assert len(list(iterate(data, range(3)))) == 3
