"""How Keras 1 and 2 spelled what `fit` and its kin take and give."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from cornu.core import old_arguments

_READ_AHEAD = "batches are read ahead by themselves"
_IDLE = {
    **dict.fromkeys(
        "workers nb_worker use_multiprocessing pickle_safe max_queue_size max_q_size".split(),
        _READ_AHEAD,
    ),
    "show_accuracy": "give `compile` metrics=['accuracy']",
}
_IN_SAMPLES = {
    "samples_per_epoch": "steps_per_epoch",
    "nb_val_samples": "validation_steps",
    "val_samples": "steps",
}
_REFUSED = {
    old: f"counted samples. Give `{today}`, which counts batches: {today}={{value}} // batch_size"
    for old, today in _IN_SAMPLES.items()
}
takes_old_arguments = functools.partial(old_arguments.takes_old_arguments, _IDLE, _REFUSED)


class OldMethods:
    """Methods of Keras 1 and 2 that others have replaced."""

    fit: Callable
    evaluate: Callable
    predict: Callable
    _flatten_layers: Callable

    def _replaced(self, old: str, new: str) -> None:
        warnings.warn(f"`model.{old}` is an old spelling; use `model.{new}` instead.", stacklevel=3)

    def _in_batches(self, kwargs: dict, **sources) -> dict:
        """Numbers of samples as numbers of batches, where a source says how large its batches are."""
        kwargs = dict(kwargs)
        for old, source in sources.items():
            today, size = _IN_SAMPLES[old], getattr(source, "batch_size", None)
            if size and old in kwargs and kwargs.get(today) is None:
                kwargs[today] = -(-kwargs.pop(old) // size)
        return kwargs

    def fit_generator(self, generator, steps_per_epoch=None, epochs=1, **kwargs):
        """`fit`, which takes generators."""
        self._replaced("fit_generator", "fit")
        validation = kwargs.get("validation_data")
        kwargs = {"steps_per_epoch": steps_per_epoch, **kwargs}
        kwargs = self._in_batches(kwargs, samples_per_epoch=generator, nb_val_samples=validation)
        if epochs != 1 or "nb_epoch" not in kwargs:
            kwargs["epochs"] = epochs
        return self.fit(generator, **kwargs)

    def evaluate_generator(self, generator, steps=None, **kwargs):
        """`evaluate`, which takes generators."""
        self._replaced("evaluate_generator", "evaluate")
        kwargs = self._in_batches({"steps": steps, **kwargs}, val_samples=generator)
        return self.evaluate(generator, **kwargs)

    def predict_generator(self, generator, steps=None, **kwargs):
        """`predict`, which takes generators."""
        self._replaced("predict_generator", "predict")
        kwargs = self._in_batches({"steps": steps, **kwargs}, val_samples=generator)
        return self.predict(generator, **kwargs)

    def reset_states(self):
        """Set the states of all stateful recurrent layers to zero."""
        self._replaced("reset_states()", "layers[…].reset_state()")
        for layer in self._flatten_layers():
            if getattr(layer, "stateful", False) and hasattr(layer, "reset_state"):
                layer.reset_state()

    def predict_proba(self, x, **kwargs):
        """`predict`."""
        self._replaced("predict_proba", "predict")
        return self.predict(x, **kwargs)

    def predict_classes(self, x, **kwargs) -> np.ndarray:
        """The likeliest class of each sample; for a single output, whether it is above 0.5."""
        self._replaced("predict_classes", "predict(x).argmax(-1)")
        outputs = self.predict(x, **kwargs)
        return outputs.argmax(-1) if outputs.shape[-1] > 1 else (outputs > 0.5).astype("int32")


# Metrics by the names that they had in logs, and what they may be called there today.
_METRICS = {
    "acc": (
        "accuracy",
        "binary_accuracy",
        "categorical_accuracy",
        "sparse_categorical_accuracy",
    ),
    "mean_absolute_error": ("mae",),
    "mean_absolute_percentage_error": ("mape",),
    "mean_squared_error": ("mse",),
    "mean_squared_logarithmic_error": ("msle",),
}


def todays_metric(name: str, known) -> str:
    """Of a metric that is asked for by its name before Keras 2.3, such as `val_acc`, the name today."""
    prefix = "val_" if name.startswith("val_") else ""
    todays = [prefix + each for each in _METRICS.get(name.removeprefix(prefix), ())]
    today = next((each for each in todays if each in known), None)
    if name in known or today is None:
        return name
    warnings.warn(f"`{name}` is an old spelling; use `{today}` instead.", stacklevel=4)
    return today


class Logs(dict[str, Any]):
    """A history by names, of which `acc` may be asked for as well where there is an `accuracy`."""

    def __missing__(self, name):
        today = todays_metric(name, self)
        if today == name:
            raise KeyError(name)
        return self[today]
