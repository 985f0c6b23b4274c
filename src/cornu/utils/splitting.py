"""A data set in two parts."""

import random

import numpy as np

from cornu.data.dataset import Dataset
from cornu.data.elements import as_element, map_structure, stack
from cornu.data.nodes import Ahead, Batched


def split_dataset(
    dataset, left_size=None, right_size=None, shuffle=False, seed=None, preferred_backend=None
):
    """Two data sets: the first elements of one, and its last.

    Args:
        dataset: an array, a list or tuple of arrays of one length, or a data set: a
            `cornu.data.Dataset`, one of PyTorch's with `len` and `[]`, or anything that yields elements.
            All of it is read into memory.
        left_size: how many elements the first part gets, or, between 0.0 and 1.0, which part of all.
        right_size: the same for the last part. One of both may be None: the rest.
        shuffle: whether to mix the elements before.
        seed: makes the mixing the same in each run.
        preferred_backend: accepted for Keras' sake; the parts are always `Dataset`s.

    Returns:
        a tuple of two `Dataset`s of single elements; of batches of the same size, if `dataset` is a
        `Dataset` that `batch` made.

    Raises ValueError for sizes that do not fit, TypeError for what is no data set.

    Source: Keras: split_dataset.

    >>> import cornu, numpy as np
    >>> left, right = cornu.utils.split_dataset(np.arange(10), left_size=0.8)
    >>> len(left), [int(x) for x in right]
    (8, [8, 9])
    """
    if left_size is None and right_size is None:
        raise ValueError(
            "At least one of the `left_size` or `right_size` must be specified. Received: "
            "left_size=None and right_size=None"
        )
    elements, batch_size = _elements_of(dataset)
    if not elements:
        raise ValueError("Received an empty dataset: there is nothing to split.")
    shapes = [repr(map_structure(np.shape, element)) for element in elements]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"All `dataset` samples must have same shape. Expected: {shapes[0]}, received: {shape} at "
                f"index {i}."
            )
    if shuffle:
        # The order that Keras gives for the seed; Python's own generator stays where it is.
        random.Random(random.randint(0, 1_000_000) if seed is None else seed).shuffle(elements)
    left, right = _sizes(left_size, right_size, len(elements))

    def part(chosen):
        made = Dataset.from_tensor_slices(stack(chosen))
        return made if batch_size is None else made.batch(batch_size)

    return part(elements[:left]), part(elements[-right:])


def _elements_of(dataset) -> tuple[list, int | None]:
    """The elements in a list, and the size of the batches that they came in, or None."""
    if isinstance(dataset, np.ndarray):
        return list(dataset), None
    if isinstance(dataset, list | tuple):
        if not dataset:
            raise ValueError("Received an empty list. Expected a list of arrays of one length.")
        for i, array in enumerate(dataset):
            if not isinstance(array, np.ndarray):
                raise ValueError(
                    f"Expected a list of `numpy.ndarray` objects. Received: {type(array)} at index {i}."
                )
            if len(array) != len(dataset[0]):
                raise ValueError(
                    "Received a list of NumPy arrays with different lengths: "
                    f"{[len(a) for a in dataset]}."
                )
        return list(zip(*dataset, strict=True)), None
    if isinstance(dataset, Dataset):
        node = dataset._node
        while isinstance(node, Ahead):
            node = node.parents[0]
        if isinstance(node, Batched):
            return list(dataset.unbatch().as_numpy_iterator()), node.size
        return list(dataset.as_numpy_iterator()), None
    if hasattr(dataset, "as_numpy_iterator"):
        # TensorFlow's.
        is_batched = hasattr(dataset, "_batch_size")
        size = int(dataset._batch_size) if is_batched else None
        single = dataset.unbatch() if is_batched else dataset
        return list(single.as_numpy_iterator()), size
    if isinstance(dataset, str | bytes | dict):
        pass
    elif hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return [as_element(dataset[i]) for i in range(len(dataset))], None
    elif hasattr(dataset, "__iter__"):
        return [as_element(element) for element in dataset], None
    raise TypeError(
        "The `dataset` argument must be a data set, an array, or a list or tuple of arrays. Received: "
        f"dataset={dataset!r} of type {type(dataset)}"
    )


def _sizes(left, right, total: int) -> tuple[int, int]:
    counts: list[int | None] = []
    for name, size in (("left_size", left), ("right_size", right)):
        is_part = isinstance(size, float)
        if size is not None and (isinstance(size, bool) or not isinstance(size, int | float)):
            raise TypeError(
                f"Invalid `{name}` Type. Expected: int or float or None, received: {type(size)}."
            )
        if size is not None and not 0 < size < (1 if is_part else total):
            raise ValueError(
                f"`{name}` should be either a positive integer smaller than {total}, or a float between 0 "
                f"and 1. Received: {name}={size}"
            )
        counts.append(round(size * total) if isinstance(size, float) else size)
    if isinstance(left, float) and isinstance(right, float) and left + right > 1:
        raise ValueError(
            "The sum of `left_size` and `right_size` is greater than 1. It must be less than or equal to 1."
        )
    first, last = counts
    first = total - last if first is None and last is not None else first
    last = total - first if last is None and first is not None else last
    if first is None or last is None or first + last > total:
        raise ValueError(
            f"The sum of `left_size` and `right_size` should be at most {total}. Received: "
            f"left_size={left} and right_size={right}"
        )
    for count, side in ((first, "left"), (last, "right")):
        if not count:
            raise ValueError(
                f"With `dataset` of length={total}, `left_size`={left} and `right_size`={right}, the "
                f"resulting {side} side dataset split will be empty."
            )
    return first, last
