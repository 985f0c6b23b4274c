"""Ctrl-C and SIGTERM: handled at once where nothing can be lost, and after the step where weights could be.

Python runs handlers of signals in the main thread alone, between two of its own instructions. So a
compilation, which is one long call, runs beside the main thread, and that waits for it, with open ears.
"""

import atexit
import contextvars
import logging
import os
import signal
import sys
import threading
from typing import Any

import jax

# Some systems lack SIGTERM.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)]


class Terminated(KeyboardInterrupt, SystemExit):
    """SIGTERM, as job schedulers and containers send it. Whoever catches Ctrl-C catches it, too.

    If nobody does, the process ends with the exit status 143.
    """

    code: int

    def __init__(self):
        super().__init__("SIGTERM")
        self.code = 128 + signal.SIGTERM


class _Ears:
    """Signal handlers that replace the host's until `close`."""

    def __init__(self):
        self.is_busy = False
        self._pending: tuple | None = None
        self._hosts: dict[int, Any] = {}
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            # What is ignored stays so, and a handler that was not set by Python cannot be called.
            if callable(handler) or (handler is signal.SIG_DFL and number != signal.SIGINT):
                try:
                    signal.signal(number, self._hear)
                except ValueError:
                    # Not the main interpreter.
                    continue
                self._hosts[number] = handler
        self._gave_up = False
        # What `_hear` raised last, and for which signal.
        self._raised: tuple | None = None
        self._hosts_hook = sys.unraisablehook
        self._hook = self._hear_of_unraisable
        sys.unraisablehook = self._hook

    def close(self) -> None:
        self._raised = None
        if sys.unraisablehook is self._hook:
            sys.unraisablehook = self._hosts_hook
        for number, handler in self._hosts.items():
            # Somebody else's handler, set meanwhile, stays.
            if signal.getsignal(number) in (self._hear, signal.SIG_DFL):
                signal.signal(number, handler)

    def begin(self) -> None:
        """From now on signals wait."""
        if self._gave_up:
            # Whoever caught the last one goes on.
            self._listen_again()
        self.is_busy = True

    def end(self) -> tuple | None:
        """The signals that came since `begin`."""
        self.is_busy = False
        pending, self._pending = self._pending, None
        return pending

    def _hear(self, number, frame) -> None:
        if self._is_default(number):
            # The next one ends the process, whatever it is doing then.
            for each in filter(self._is_default, self._hosts):
                signal.signal(each, signal.SIG_DFL)
            self._gave_up = True
        if self.is_busy:
            self._pending = number, frame
            return
        try:
            self.pass_on(number, frame)
        except BaseException as error:
            self._raised = error, number
            raise

    def _listen_again(self) -> None:
        self._gave_up = False
        self._raised = None
        for number in self._hosts:
            signal.signal(number, self._hear)

    def _hear_of_unraisable(self, unraisable) -> None:
        """Called by Python with an exception that it cannot raise where it came up."""
        if self._raised is None or unraisable.exc_value is not self._raised[0]:
            self._hosts_hook(unraisable)
            return
        number = self._raised[1]
        self._listen_again()
        # Not now: raised from here, it would be lost again.
        again = threading.Timer(0.01, _send, (number,))
        again.daemon = True
        again.start()

    def _is_default(self, number: int) -> bool:
        return self._hosts[number] in (signal.default_int_handler, signal.SIG_DFL)

    def pass_on(self, number: int, frame) -> None:
        """Call the host's handler; SIGTERM ends Python as Ctrl-C does."""
        if self._hosts[number] is signal.SIG_DFL:
            error = Terminated()
            ends_with(error.code)
            raise error
        self._hosts[number](number, frame)


def _send(number: int) -> None:
    if hasattr(signal, "pthread_kill"):
        # A main thread that waits is woken.
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


_ears: _Ears | None = None


class heard:
    """Within, the first Ctrl-C or SIGTERM raises an exception, and the next ends the process at once.

    A handler of the host's own is called instead, each time. Only the main thread hears signals.
    """

    def __enter__(self):
        global _ears
        self._own = None
        if _ears is None and threading.current_thread() is threading.main_thread():
            self._own = _ears = _Ears()

    def __exit__(self, *error):
        global _ears
        if self._own is not None:
            _ears = None
            self._own.close()


class postponed:
    """Within, signals wait for the end of the block."""

    def __enter__(self):
        self._heard: heard | None = None
        if threading.current_thread() is not threading.main_thread():
            self._ears = None
            return
        if _ears is None:
            self._heard = heard()
            self._heard.__enter__()
        self._ears = _ears
        if _ears is not None:
            _ears.begin()

    def __exit__(self, *error):
        ears = self._ears
        if ears is None:
            return
        pending = ears.end()
        if self._heard is not None:
            self._heard.__exit__()
        if pending is not None:
            ears.pass_on(*pending)


# Compilations that are no longer waited for, and the process's exit status, if that is known.
_left: list[threading.Event] = []
_status: int | None = None


def compile_ahead(function, *arguments, look=None):
    """Trace and compile a jitted function, so that its next call with such arguments only runs it.

    A signal ends it: what was being compiled is then finished in vain. `look` is called with what was
    traced, and may raise. Returns what was compiled, or None outside of the main thread, where the next
    call compiles.
    """
    if threading.current_thread() is not threading.main_thread() or jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        return None
    lowered = function.lower(*arguments)
    if look is not None:
        look(lowered)
    errors: list[BaseException] = []
    made: list = []
    # Not `Thread.join`: interrupted, it takes the thread for ended (before Python 3.13).
    done = threading.Event()

    def work():
        try:
            made.append(lowered.compile())
        except BaseException as error:
            errors.append(error)
        done.set()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
    try:
        thread.start()
        # With a limit, as some systems hear no signal in a wait without one.
        while not done.wait(0.5):
            pass
    except BaseException:
        _left.append(done)
        raise
    if errors:
        raise errors[0]
    return made[0]


def name_of(error: BaseException) -> str:
    """What stopped the work, from `error` or what it was raised from."""
    return "SIGTERM" if _is_of_sigterm(error) else "Ctrl-C"


def status_of(error: BaseException) -> int:
    """The exit status of a process that was stopped by it."""
    return 128 + (signal.SIGTERM if _is_of_sigterm(error) else signal.SIGINT)


def _is_of_sigterm(error: BaseException) -> bool:
    return isinstance(error, Terminated) or isinstance(error.__cause__, Terminated)


def ends_with(status: int) -> None:
    """Set the status that the process is about to exit with."""
    global _status
    _status = status


@atexit.register
def _end() -> None:
    """A compilation that still runs when Python exits would crash the process, and cannot be stopped."""
    running = [done for done in _left if not done.is_set()]
    if not running:
        return
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    # As Python does for an uncaught interrupt.
    by_signal = type(getattr(sys, "last_value", None)) is KeyboardInterrupt
    if _status is None and not by_signal:
        for done in running:
            done.wait()
        return
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    if by_signal:
        signal.raise_signal(signal.SIGINT)
    os._exit(128 + signal.SIGINT if _status is None else _status)
