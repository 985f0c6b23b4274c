import jax
import numpy as np
import pytest

import cornu


@pytest.mark.parametrize("name", ["cpu", "CPU:0", jax.devices("cpu")[-1]], ids=str)
def test_arrays_are_made_there(name):
    with cornu.device(name):
        x = cornu.ops.ones((2, 2)) + cornu.ops.convert_to_tensor(np.ones((2, 2)))
    wanted = jax.devices("cpu")[-1] if isinstance(name, jax.Device) else jax.devices("cpu")[0]
    assert x.devices() == {wanted}


@pytest.mark.parametrize("name", ["tpu:99", "cpu:999", "cpu:one", "abacus", 3, None])
def test_no_such_device(name):
    with pytest.raises(ValueError, match=r"There is no device|Invalid value"):
        cornu.device(name)
