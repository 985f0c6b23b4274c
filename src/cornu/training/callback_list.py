"""`CallbackList`: several callbacks as one."""

import functools
from collections.abc import Callable
from numbers import Real

import jax
import numpy as np

from cornu.core import processes, registry
from cornu.core.context import within
from cornu.training.callback import HOOKS, Callback
from cornu.training.history import History
from cornu.training.progbar_logger import ProgbarLogger

# An older name runs through the method that replaced it.
_OLDER_NAMES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}


@registry.register("callback", module="keras.callbacks")
class CallbackList(Callback):
    """Callbacks that are called together.

    Args:
        callbacks: a callback, or a list of them.
        add_history: whether to add a `History` if there is none.
        add_progbar: whether to add a `ProgbarLogger` if there is none.
        model: the model.
        **params: parameters of the run for `Callback.set_params`: `verbose`, `epochs`, `steps`.

    A batch method that no callback overrides costs nothing; `has_train_batch_hooks`,
    `has_test_batch_hooks` and `has_predict_batch_hooks` tell a loop whether to call them at all.

    Source: Keras: CallbackList.

    >>> import cornu
    >>> callbacks = cornu.callbacks.CallbackList([], add_history=True)
    >>> [type(c).__name__ for c in callbacks.callbacks], callbacks.has_train_batch_hooks
    (['History'], False)
    """

    def __init__(self, callbacks=None, add_history=False, add_progbar=False, model=None, **params):
        self.callbacks = jax.tree.leaves(callbacks)
        for callback in self.callbacks:
            if isinstance(callback, type) or not hasattr(callback, "set_model"):
                made = f"{callback.__name__}()" if isinstance(callback, type) else "a Callback"
                raise TypeError(
                    f"`callbacks` must hold Callback objects. Received: {callback!r} (of type "
                    f"{type(callback).__name__}); expected {made}."
                )
        self._history = self._find(History)
        if self._history is None and add_history:
            self._history = History()
            self.callbacks.append(self._history)
        if self._find(ProgbarLogger) is None and add_progbar:
            self.callbacks.append(ProgbarLogger())
        self._find_listeners()
        self.set_model(model)
        self.set_params(params)

    def _find(self, cls):
        return next((c for c in self.callbacks if isinstance(c, cls)), None)

    def _find_listeners(self) -> None:
        ordered = sorted(
            self.callbacks, key=lambda callback: getattr(callback, "comes_last", False)
        )
        # In every process the same, so that all make the same steps at once.
        self._wanted: dict[str, list[Callable]] = {
            hook: [getattr(c, hook) for c in ordered if _listens(c, hook)] for hook in HOOKS
        }
        self._listeners = self._wanted
        if processes.group() is not None:
            first = processes.is_first()
            self._listeners = {
                hook: [
                    _alone(each) if _is_of_first(each) else each
                    for each in found
                    if first or not _is_of_first(each)
                ]
                for hook, found in self._wanted.items()
            }

    def append(self, callback) -> None:
        """Add a callback at the end."""
        self.callbacks.append(callback)
        self._find_listeners()

    def set_params(self, params):
        self.params = params
        if params:
            for callback in self.callbacks:
                callback.set_params(params)

    def set_model(self, model):
        if model is None:
            return
        super().set_model(model)
        if self._history is not None:
            model.history = self._history
        for callback in self.callbacks:
            callback.set_model(model)

    def set_run(self, run) -> None:
        """Pass the run to callbacks that keep it, before `on_train_begin`; None when it has ended."""
        for callback in self.callbacks:
            if isinstance(callback, Callback):
                callback._set_run(run)

    def keep(self, step: int) -> None:
        """Let callbacks keep the state of a run that ends after so many steps of an epoch."""
        for callback in self.callbacks:
            if isinstance(callback, Callback):
                callback._keep(step)

    @property
    def has_train_batch_hooks(self) -> bool:
        """Whether a callback has a hook for training batches."""
        return self._hears("train")

    @property
    def has_test_batch_hooks(self) -> bool:
        """Whether a callback has a hook for evaluation batches."""
        return self._hears("test")

    @property
    def has_predict_batch_hooks(self) -> bool:
        """Whether a callback has a hook for prediction batches."""
        return self._hears("predict")

    def _hears(self, kind: str) -> bool:
        return bool(self._batch_listeners(kind))

    def _batch_listeners(self, kind: str) -> list[Callable]:
        return [
            listener
            for moment in ("begin", "end")
            for listener in self._wanted[f"on_{kind}_batch_{moment}"]
        ]

    def needs_every_batch(self, kind: str) -> bool:  # type: ignore[override]
        """Whether a callback must be called for each batch of `"train"`, `"test"` or `"predict"`."""
        return any(
            getattr(getattr(listener, "__self__", None), "needs_every_batch", True)
            for listener in self._batch_listeners(kind)
        )


def _is_of_first(listener: Callable) -> bool:
    return getattr(getattr(listener, "__self__", None), "in_first_process_only", False)


def _alone(listener: Callable) -> Callable:
    """A method of a callback that only this process calls: it cannot ask the others for anything."""

    @functools.wraps(listener)
    def call(*args, **kwargs):
        with within(alone=type(listener.__self__).__name__):  # type: ignore[attr-defined]
            return listener(*args, **kwargs)

    return call


def _listens(callback, hook: str) -> bool:
    own = getattr(callback, hook)
    if getattr(own, "__func__", own) is not getattr(Callback, hook):
        return True
    older = _OLDER_NAMES.get(hook)
    return older is not None and _listens(callback, older)


def _plain(logs) -> dict:
    """Logs as Python floats, sorted by name; nested dicts are flattened."""
    plain = {}
    for name, value in sorted((logs or {}).items()):
        if isinstance(value, dict):
            plain.update(_plain(value))
        elif isinstance(value, Real) or getattr(value, "size", 0) == 1:
            plain[name] = float(np.asarray(value).item())
        else:
            plain[name] = value
    return plain


def _for_batches(hook: str) -> Callable:
    def call(self, batch, logs=None):
        for listener in self._listeners[hook]:
            listener(batch, logs={} if logs is None else logs)

    return call


def _for_epochs(hook: str) -> Callable:
    def call(self, epoch, logs=None):
        # One dict for all, so that a callback may add to what the next ones see.
        logs = _plain(logs)
        for listener in self._listeners[hook]:
            listener(epoch, logs)

    return call


def _for_runs(hook: str) -> Callable:
    def call(self, logs=None):
        logs = _plain(logs)
        for listener in self._listeners[hook]:
            listener(logs)

    return call


for _hook in HOOKS:
    _make = _for_batches if "batch" in _hook else _for_epochs if "epoch" in _hook else _for_runs
    setattr(CallbackList, _hook, _make(_hook))
