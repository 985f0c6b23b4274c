"""What is said of a step that takes more memory than there is."""

import types

import jax
import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.training import device_memory

X, Y = np.ones((8, 12, 12, 1), "float32"), np.zeros(8, "int32")


@pytest.fixture
def model():
    made = cornu.Sequential(
        [
            cornu.Input((12, 12, 1)),
            layers.Conv2D(32, 3, name="wide"),
            layers.Conv2D(4, 3, name="narrow"),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    made.compile("adam", "sparse_categorical_crossentropy")
    return made


WHAT = r"wide \(8, 10, 10, 32\) float32: 0\.1 MiB.*smaller batch size.*mixed_bfloat16.*RematScope"


def test_a_step_that_cannot_fit_is_refused_before_it_runs(model, monkeypatch):
    monkeypatch.setattr(device_memory, "memory_of_this_machine", lambda: (20000, 20000))
    before = model.get_weights()
    with pytest.raises(MemoryError, match="cannot run.*" + WHAT):
        model.fit(X, Y, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    monkeypatch.setenv("CORNU_MEMORY_CHECK", "0")
    model.fit(X, Y, verbose=0)


def test_a_step_that_may_not_fit_is_warned_of(model, monkeypatch):
    monkeypatch.setattr(device_memory, "memory_of_this_machine", lambda: (2**40, 20000))
    with pytest.warns(ResourceWarning, match="may run out.*" + WHAT):
        model.train_on_batch(X, Y)


def test_what_xla_says_during_a_step_is_explained(model, monkeypatch):
    model.train_on_batch(X, Y)
    function = model.make_train_function()

    def exhausted(error):
        def step(*arguments):
            raise error

        monkeypatch.setattr(function, "_compiled", {function._run: (step, [])})

    exhausted(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4 bytes."))
    with pytest.raises(MemoryError, match="ran out of memory.*" + WHAT + ".*allocating 4 bytes"):
        model.train_on_batch(X, Y)
    exhausted(RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        model.train_on_batch(X, Y)


@pytest.mark.parametrize(("limit", "fits"), [(1000, True), (999, False)])
def test_memory_of_an_accelerator(limit, fits):
    analysis = types.SimpleNamespace(
        argument_size_in_bytes=600,
        output_size_in_bytes=700,
        alias_size_in_bytes=600,
        temp_size_in_bytes=300,
    )
    compiled = types.SimpleNamespace(memory_analysis=lambda: analysis)
    device = types.SimpleNamespace(
        platform="gpu", device_kind="A GPU", memory_stats=lambda: {"bytes_limit": limit}
    )
    arguments = (np.zeros(3, "float32"),)
    if fits:
        device_memory.check(compiled, device, np.sum, arguments)
    else:
        with pytest.raises(MemoryError, match="A GPU"):
            device_memory.check(compiled, device, np.sum, arguments)


def test_this_machine_has_memory():
    total, free = device_memory.memory_of_this_machine()
    assert total >= free > 2**20
