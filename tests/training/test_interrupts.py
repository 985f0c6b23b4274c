"""Ctrl-C at any moment of `fit` leaves a model that works, with the weights of the last step."""

import os
import random
import signal
import threading
from contextlib import contextmanager

import numpy as np
import pytest

import cornu
from cornu import layers


@contextmanager
def interrupts():
    """Ctrl-C after a while, and again until the block ends: Python may lose one in a `__del__`."""
    over = threading.Event()

    def press():
        while not over.wait(random.uniform(0.01, 0.2)):
            os.kill(os.getpid(), signal.SIGINT)
            if over.wait(1):
                return

    # A test run that was started in the background may ignore Ctrl-C.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGINT, handler)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_loses_nothing():
    x = np.random.RandomState(0).rand(600, 12, 12, 1).astype("float32")
    y = (x.mean((1, 2, 3)) > 0.5).astype("int32")
    model = cornu.Sequential(
        [
            cornu.Input((12, 12, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, verbose=0)
    steps = 0
    for _ in range(25):
        with pytest.raises(KeyboardInterrupt), interrupts():
            model.fit(x, y, epochs=10_000, verbose=0)
        steps, before = int(model.optimizer.iterations), steps
        assert steps >= before
        assert np.isfinite(model.predict(x[:5], verbose=0)).all()
    assert steps > 25
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()
