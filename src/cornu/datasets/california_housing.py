"""Houses in California, 1990."""

from cornu.datasets.houses import check_split, load_parts
from cornu.datasets.source import KERAS_ADDRESS

_ORIGIN = KERAS_ADDRESS + "california_housing.npz"
_SHA256 = "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f"


def load_data(version="large", path="california_housing.npz", test_split=0.2, seed=113):
    """20,640 block groups with 8 numbers each, and the median price of a house in dollars.

    The numbers are median income, median age of houses, rooms and bedrooms a household, people, people a
    household, latitude, longitude.

    Args:
        version: `"large"` for all, `"small"` for 600.
        path: the file's name in `CORNU_DATA_DIR` or in the cache.
        test_split: the part for testing.
        seed: of the order.

    Returns:
        `(x_train, y_train), (x_test, y_test)`. `x`: float32 of shape `(groups, 8)`; `y`: float32.

    Source: Pace, Barry 1997, "Sparse spatial autoregressions"; Keras: California Housing price
    regression dataset.

    >>> import cornu
    >>> (x_train, y_train), _ = cornu.datasets.california_housing.load_data()  # doctest: +SKIP
    """
    check_split(test_split)
    if version not in ("small", "large"):
        raise ValueError(
            f"`version` must be one of 'small', 'large'. Received: version={version!r}"
        )
    return load_parts(path, _ORIGIN, _SHA256, test_split, seed, 600 if version == "small" else None)
