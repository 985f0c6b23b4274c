"""Houses around Boston, 1978; for old scripts."""

from cornu.datasets.houses import check_split, load_parts
from cornu.datasets.source import KERAS_ADDRESS

_ORIGIN = KERAS_ADDRESS + "boston_housing.npz"
_SHA256 = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"


def load_data(path="boston_housing.npz", test_split=0.2, seed=113):
    """506 places with 13 numbers each, and the median price of a house in thousands of dollars.

    One of the numbers is made from the share of Black residents, on the assumption that segregation
    raises prices. Use `california_housing` instead.

    Args:
        path: the file's name in `CORNU_DATA_DIR` or in the cache.
        test_split: the part for testing.
        seed: of the order.

    Returns:
        `(x_train, y_train), (x_test, y_test)`. `x`: float64 of shape `(places, 13)`; `y`: float64.

    Source: Harrison, Rubinfeld 1978, "Hedonic prices and the demand for clean air"; Keras: Boston
    Housing price regression dataset.

    >>> import cornu
    >>> (x_train, y_train), (x_test, y_test) = cornu.datasets.boston_housing.load_data()  # doctest: +SKIP
    """
    check_split(test_split)
    return load_parts(path, _ORIGIN, _SHA256, test_split, seed)
