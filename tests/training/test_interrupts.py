"""Ctrl-C and SIGTERM are heard at once, and leave a model that works, with the weights of the last step."""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import jax
import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.training import interrupts

posix = pytest.mark.skipif(os.name != "posix", reason="a process cannot send itself signals there")


@contextmanager
def handlers(**of):
    """Within it these are the host's handlers; afterwards they must still be."""
    numbers = {getattr(signal, name): handler for name, handler in of.items()}
    before = {number: signal.signal(number, handler) for number, handler in numbers.items()}
    try:
        yield
        assert {number: signal.getsignal(number) for number in numbers} == numbers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


DEFAULT = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL}


def kill(number):
    os.kill(os.getpid(), number)


X, Y = np.ones((4, 3), "float32"), np.ones(4, "float32")


def model_of(*layer):
    model = cornu.Sequential([cornu.Input((3,)), layers.Dense(1), *layer])
    model.compile("sgd", "mse")
    return model


@contextmanager
def presses():
    """Ctrl-C after a while."""
    over = threading.Event()

    def press():
        if not over.wait(random.uniform(0.01, 0.2)):
            os.kill(os.getpid(), signal.SIGINT)

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
        with pytest.raises(KeyboardInterrupt), presses():
            model.fit(x, y, epochs=10_000, verbose=0)
        steps, before = int(model.optimizer.iterations), steps
        assert steps >= before
        assert np.isfinite(model.predict(x[:5], verbose=0)).all()
    assert steps > 25
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_tracing_is_ended_at_once(name):
    events = []

    class Layer(layers.Layer):
        def call(self, x):
            # The shapes are known; this is the step.
            if x.shape == (4, 1) and isinstance(x, jax.core.Tracer) and events.count("asked") > 2:
                kill(getattr(signal, name))
                events.append("not reached")
            events.append("asked")
            return x

    model = model_of(Layer())
    with handlers(**DEFAULT), pytest.raises(KeyboardInterrupt) as caught:
        model.fit(X, Y, epochs=3, verbose=0)
    assert "not reached" not in events and "asked" in events
    assert isinstance(caught.value, SystemExit) == (name == "SIGTERM")
    assert interrupts.name_of(caught.value) == {"SIGINT": "Ctrl-C"}.get(name, name)
    assert interrupts.status_of(caught.value) == 128 + getattr(signal, name)


class Slow:
    """Stands in for a function that takes long to compile."""

    def __init__(self, number=None):
        self.number, self.go_on, self.ended = number, threading.Event(), threading.Event()

    def lower(self):
        return self

    def compile(self):
        if self.number is not None:
            kill(self.number)
        self.go_on.wait(60)
        self.ended.set()


@posix
def test_compiling_is_ended_at_once(monkeypatch):
    monkeypatch.setattr(interrupts, "_status", None)
    for number, kind in (
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, interrupts.Terminated),
    ):
        slow = Slow(number)
        with handlers(**DEFAULT), pytest.raises(kind), interrupts.heard():
            interrupts.compile_ahead(slow)
        assert not slow.ended.is_set()
        slow.go_on.set()
        assert slow.ended.wait(60)


def test_what_is_compiled_ahead_is_compiled_once():
    compiled = []

    def listen(name, seconds, **about):
        if name.endswith("backend_compile_duration"):
            compiled.append(name)

    model = model_of()
    model.fit(X, Y, verbose=0)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        function = jax.jit(lambda x: x * 3 + 1, donate_argnums=0)
        interrupts.compile_ahead(function, np.ones(7))
        assert function(np.ones(7)).tolist() == [4] * 7
        assert len(compiled) == 1
        model.fit(X, Y, epochs=3, verbose=0)
        assert len(compiled) == 1
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


SCRIPT = """
import os, signal, sys, threading, time
from cornu.training import interrupts

class Slow:
    def lower(self): return self
    def compile(self):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with interrupts.heard():
        interrupts.compile_ahead(Slow())
except KeyboardInterrupt:
    print("heard", flush=True)
    if sys.argv[2] == "raise":
        raise

    def press():
        while True:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)

    # It ends with the compilation, unless there is another Ctrl-C.
    threading.Thread(target=press, daemon=True).start()
"""


@posix
def test_a_process_ends_although_it_compiles():
    expected = {
        ("SIGINT", "raise"): -signal.SIGINT,
        ("SIGTERM", "raise"): 143,
        ("SIGINT", "catch"): -signal.SIGINT,
    }
    running = {
        arguments: subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for arguments in expected
    }
    for arguments, process in running.items():
        out, _ = process.communicate(timeout=50)
        assert (process.returncode, out) == (expected[arguments], b"heard\n"), arguments


@posix
def test_the_second_one_ends_the_process():
    with handlers(**DEFAULT), interrupts.heard():
        with pytest.raises(KeyboardInterrupt):
            kill(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        # Who has caught it and trains on is heard again.
        with pytest.raises(interrupts.Terminated), interrupts.postponed():
            kill(signal.SIGTERM)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


@posix
@pytest.mark.parametrize("place", ["__del__", "garbage collection"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_one_that_comes_where_nothing_can_be_raised_is_not_lost(name, place, monkeypatch):
    number = getattr(signal, name)
    others = []
    monkeypatch.setattr(
        sys, "unraisablehook", lambda unraisable: others.append(unraisable.exc_type)
    )
    error = KeyboardInterrupt if name == "SIGINT" else interrupts.Terminated

    class Dying:
        def __del__(self):
            kill(number)
            raise ValueError

    def collect(phase, info):
        gc.callbacks.remove(collect)
        kill(number)

    def lose():
        if place == "__del__":
            Dying()
        else:
            gc.callbacks.insert(0, collect)
            gc.collect()

    with handlers(**DEFAULT):
        with pytest.raises(error), interrupts.heard():
            lose()
            # Nothing was raised yet.
            threading.Event().wait(20)
        with pytest.raises(error), interrupts.postponed():
            lose()
            others.append("end of the block")
    lost = [ValueError] if place == "__del__" else []
    assert others == [*lost, "end of the block"]


@posix
def test_handlers_of_the_host_are_called_each_time():
    heard = []

    def handler(number, frame):
        heard.append(number)

    class Press(cornu.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kill(signal.SIGINT)
            kill(signal.SIGTERM)

    with handlers(SIGINT=handler, SIGTERM=handler):
        model_of().fit(X, Y, batch_size=2, callbacks=[Press()], verbose=0)
        assert heard == [signal.SIGINT, signal.SIGTERM] * 2
    with handlers(SIGINT=signal.SIG_IGN, SIGTERM=signal.SIG_IGN):
        model_of().fit(X, Y, callbacks=[Press()], verbose=0)


def test_where_there_are_no_signals(monkeypatch):
    """In a thread that is not the main one, or on a system without them."""
    model = model_of()
    threads = [threading.Thread(target=model.fit, args=(X, Y), kwargs={"verbose": 0})]
    threads[0].start()
    threads[0].join()
    monkeypatch.setattr(interrupts, "_SIGNALS", [])
    model.fit(X, Y, verbose=0)
    assert int(model.optimizer.iterations) == 2

    def refuse(number, handler):
        raise ValueError("signal only works in main thread of the main interpreter")

    monkeypatch.setattr(interrupts, "_SIGNALS", [signal.SIGINT])
    monkeypatch.setattr(signal, "signal", refuse)
    model.fit(X, Y, verbose=0)
    assert int(model.optimizer.iterations) == 3
