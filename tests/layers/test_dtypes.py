"""Inputs of every format: a cheap part of the grid that `make dtypes` computes."""

import pytest
from grid import ALL, check_eager, check_fit, check_predict, names_of
from test_contract import IMAGE, ROW

# Keras' MixUp.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64:UserWarning")


@pytest.mark.parametrize("name", ALL)
def test_arrays(name):
    for dtype in ("bool", "uint8"):
        check_eager(name, dtype)


@pytest.mark.parametrize("shape, dtype", [(ROW, "bool"), (IMAGE, "uint8")])
def test_models(shape, dtype, tmp_path):
    check_predict(names_of(shape), dtype, tmp_path)
    check_fit(names_of(shape, trained=True), dtype)
