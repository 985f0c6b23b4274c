"""How Keras 1 and 2 spelled what `fit` and its kin take and give."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

# What has no effect: batches are read ahead by themselves, and metrics are given to `compile`.
_WITHOUT_EFFECT = {
    "workers": "batches are read ahead by themselves",
    "nb_worker": "batches are read ahead by themselves",
    "use_multiprocessing": "batches are read ahead by themselves",
    "pickle_safe": "batches are read ahead by themselves",
    "max_queue_size": "batches are read ahead by themselves",
    "max_q_size": "batches are read ahead by themselves",
    "show_accuracy": "give `compile` metrics=['accuracy']",
}
_IN_SAMPLES = {
    "samples_per_epoch": "steps_per_epoch",
    "nb_val_samples": "validation_steps",
    "val_samples": "steps",
}


def _warn(old: str, what: str) -> None:
    warnings.warn(f"The argument `{old}` is an old spelling{what}.", stacklevel=4)


def takes_old_arguments(**today: str) -> Callable:
    """Decorator: a method takes arguments by their old names as well, with a warning.

    Args:
        today: old names, and what they are called today.
    """

    def decorate(method):
        @functools.wraps(method)
        def call(self, *args, **kwargs):
            old = kwargs.keys() & (today.keys() | _WITHOUT_EFFECT.keys() | _IN_SAMPLES.keys())
            return method(self, *args, **(_spelled(kwargs, old, today) if old else kwargs))

        return call

    return decorate


def _spelled(kwargs: dict, old: set, today: dict) -> dict:
    kwargs = dict(kwargs)
    for name in sorted(old):
        value = kwargs.pop(name)
        if name in _IN_SAMPLES:
            raise TypeError(
                f"`{name}` counted samples. Give `{_IN_SAMPLES[name]}`, which counts batches: "
                f"{_IN_SAMPLES[name]}={value} // batch_size"
            )
        if name in today:
            _warn(name, f"; use `{today[name]}` instead")
            kwargs[today[name]] = value
        else:
            _warn(name, f" without effect: {_WITHOUT_EFFECT[name]}")
    return kwargs


class OldMethods:
    """Methods of Keras 1 and 2 that others have replaced."""

    fit: Callable
    evaluate: Callable
    predict: Callable

    def _replaced(self, old: str, new: str) -> None:
        warnings.warn(f"`model.{old}` is an old spelling; use `model.{new}` instead.", stacklevel=3)

    def fit_generator(self, generator, steps_per_epoch=None, epochs=1, **kwargs):
        """`fit`, which takes generators."""
        self._replaced("fit_generator", "fit")
        return self.fit(generator, steps_per_epoch=steps_per_epoch, epochs=epochs, **kwargs)

    def evaluate_generator(self, generator, steps=None, **kwargs):
        """`evaluate`, which takes generators."""
        self._replaced("evaluate_generator", "evaluate")
        return self.evaluate(generator, steps=steps, **kwargs)

    def predict_generator(self, generator, steps=None, **kwargs):
        """`predict`, which takes generators."""
        self._replaced("predict_generator", "predict")
        return self.predict(generator, steps=steps, **kwargs)

    def predict_proba(self, x, **kwargs):
        """`predict`."""
        self._replaced("predict_proba", "predict")
        return self.predict(x, **kwargs)

    def predict_classes(self, x, **kwargs) -> np.ndarray:
        """The likeliest class of each sample; for a single output, whether it is above 0.5."""
        self._replaced("predict_classes", "predict(x).argmax(-1)")
        outputs = self.predict(x, **kwargs)
        return outputs.argmax(-1) if outputs.shape[-1] > 1 else (outputs > 0.5).astype("int32")


def todays_metric(name: str, known) -> str:
    """Of a metric that is asked for by its name before Keras 2.3, such as `val_acc`, the name today."""
    prefix = "val_" if name.startswith("val_") else ""
    today = {"acc": "accuracy"}.get(name.removeprefix(prefix))
    if name in known or today is None or prefix + today not in known:
        return name
    warnings.warn(f"`{name}` is an old spelling; use `{prefix}{today}` instead.", stacklevel=4)
    return prefix + today


class Logs(dict[str, Any]):
    """A history by names, of which `acc` may be asked for as well where there is an `accuracy`."""

    def __missing__(self, name):
        today = todays_metric(name, self)
        if today == name:
            raise KeyError(name)
        return self[today]
