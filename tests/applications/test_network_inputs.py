import keras
import numpy as np
import pytest

import cornu
from cornu.applications.imagenet_utils import preprocess_input

MODULES = [name for name in dir(keras.applications) if name[0].islower()]
MODES = ["caffe", "tf", "torch"]


def images(dtype, shape=(2, 5, 4, 3)):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


@pytest.mark.parametrize("module", MODULES)
def test_each_module_is_keras(module):
    x = images("float32")
    ours = getattr(cornu.applications, module).preprocess_input(x)
    theirs = getattr(keras.applications, module).preprocess_input(x.copy())
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(x, images("float32"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool", "float16", "float32", "float64"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_arrays(mode, dtype, data_format):
    for shape in [(2, 5, 4, 3), (5, 4, 3)]:
        x = images(dtype, shape)
        if data_format == "channels_first":
            x = np.moveaxis(x, -1, -3)
        ours = preprocess_input(x, data_format, mode)
        theirs = keras.applications.imagenet_utils.preprocess_input(x.copy(), data_format, mode)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_jax_arrays_and_symbolic_tensors(mode, data_format, dtype):
    x = images("float32")
    x = np.moveaxis(x, -1, 1) if data_format == "channels_first" else x
    tensor = cornu.ops.cast(x, dtype)
    eager = preprocess_input(tensor, data_format, mode)
    assert eager.dtype == ("float32" if dtype == "uint8" else dtype)
    tolerance = 0.05 if dtype == "bfloat16" else 1e-6
    expected = preprocess_input(x, data_format, mode)
    np.testing.assert_allclose(
        np.asarray(eager, "float32"), expected, rtol=tolerance, atol=tolerance * 20
    )
    if dtype == "bfloat16":
        # A model would compute in its own dtype.
        return
    inputs = cornu.Input(x.shape[1:], dtype=dtype)
    model = cornu.Model(inputs, preprocess_input(inputs, data_format, mode))
    np.testing.assert_allclose(
        np.asarray(model(tensor), "float32"), np.asarray(eager, "float32"), rtol=1e-5, atol=1e-5
    )


def test_wrong_arguments():
    with pytest.raises(ValueError, match="Expected mode"):
        preprocess_input(images("uint8"), mode="other")
    with pytest.raises(ValueError, match="data_format"):
        preprocess_input(images("uint8"), data_format="other")
    for mode in ("caffe", "torch"):
        with pytest.raises(ValueError, match="three channels"):
            preprocess_input(images("uint8", (2, 5, 4, 1)), mode=mode)
        with pytest.raises(ValueError, match="three channels"):
            preprocess_input(images("uint8", (4, 3)), mode=mode)
