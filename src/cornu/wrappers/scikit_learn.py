"""Keras 2's `KerasClassifier` and `KerasRegressor`; new programs use `wrappers.SKLearnClassifier`."""

import inspect
from typing import Any

import numpy as np

from cornu.core.optional import required
from cornu.models import Model
from cornu.utils.numerical import to_categorical

_base: Any = required("sklearn.base", "cornu.wrappers.scikit_learn", package="scikit-learn")


class _Wrapper(_base.BaseEstimator):
    """What both have in common.

    Args:
        build_fn: a function that makes a compiled model; a subclass may define `__call__` instead.
        sk_params: arguments of that function, and of the model's `fit`, `predict` and `evaluate`, such
            as `epochs` and `batch_size`; a search varies them.
    """

    def __init__(self, build_fn=None, **sk_params):
        self.build_fn, self.sk_params = build_fn, sk_params
        self.check_params(sk_params)

    @classmethod
    def _get_param_names(cls):
        return ["build_fn"]

    def _maker(self):
        return self.__call__ if self.build_fn is None else self.build_fn

    def check_params(self, params) -> None:
        """Raise ValueError for an argument that nothing takes."""
        functions = [self._maker(), Model.fit, Model.predict, Model.evaluate]
        signatures = [inspect.signature(f).parameters for f in functions]
        if any(p.kind is p.VAR_KEYWORD for p in signatures[0].values()):
            return
        for name in params:
            if name != "nb_epoch" and not any(name in signature for signature in signatures):
                raise ValueError(f"{name} is not a legal parameter")

    def get_params(self, deep=True) -> dict:
        """The arguments by name."""
        return {"build_fn": self.build_fn, **self.sk_params}

    def set_params(self, **params):
        """Set some arguments."""
        self.check_params({k: v for k, v in params.items() if k != "build_fn"})
        self.build_fn = params.pop("build_fn", self.build_fn)
        self.sk_params = {**self.sk_params, **params}
        return self

    def filter_sk_params(self, fn, override=None) -> dict:
        """Those of the arguments that a function takes, and those of `override`."""
        known = inspect.signature(fn).parameters
        # What a function with `**kwargs` takes is the user's affair, except of the model's own methods.
        of_model = fn in (Model.fit, Model.predict, Model.evaluate)
        takes_all = not of_model and any(p.kind is p.VAR_KEYWORD for p in known.values())
        kept = {k: v for k, v in self.sk_params.items() if k in known or takes_all}
        return {**kept, **(override or {})}

    def fit(self, x, y, **kwargs):
        """Make a model and train it; returns its `History`."""
        self.model = self._maker()(**self.filter_sk_params(self._maker()))
        if getattr(self.model, "loss", None) == "categorical_crossentropy" and np.ndim(y) != 2:
            y = to_categorical(y)
        arguments = self.filter_sk_params(Model.fit, kwargs)
        if "nb_epoch" in self.sk_params:
            arguments.setdefault("epochs", self.sk_params["nb_epoch"])
        self.history_ = self.model.fit(x, y, **arguments)
        return self.history_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model")


class KerasClassifier(_base.ClassifierMixin, _Wrapper):
    """A function that makes a model as a classifier of scikit-learn, as in Keras 2.

    Other arguments are those of `_Wrapper`. Source: Keras 2: KerasClassifier.

    >>> import cornu, numpy as np
    >>> from cornu.wrappers.scikit_learn import KerasClassifier
    >>> def make(units=2):
    ...     model = cornu.Sequential([cornu.Input((4,)), cornu.layers.Dense(units, "softmax")])
    ...     model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    ...     return model
    >>> classifier = KerasClassifier(make, epochs=2, verbose=0)
    >>> history = classifier.fit(np.eye(4), np.array([5, 7, 5, 7]))
    >>> set(classifier.predict(np.eye(4)).tolist()) <= {5, 7}
    True
    """

    def fit(self, x, y, **kwargs):
        """Make a model and train it on numbers of classes, or one-hot rows; returns its `History`."""
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] > 1:
            self.classes_ = np.arange(y.shape[1])
        elif y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1):
            self.classes_, numbers = np.unique(y, return_inverse=True)
            y = numbers.reshape(y.shape)
        else:
            raise ValueError(f"Invalid shape for y: {y.shape}")
        self.n_classes_ = len(self.classes_)
        return super().fit(x, y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y, **kwargs)

    def predict_proba(self, x, **kwargs) -> np.ndarray:
        """A column of probabilities for each class; two for a model with one output."""
        p = self.model.predict(x, **self.filter_sk_params(Model.predict, kwargs))
        return np.hstack([1 - p, p]) if p.shape[1] == 1 else p

    def predict(self, x, **kwargs) -> np.ndarray:
        """The most probable class of each sample."""
        return self.classes_[self.predict_proba(x, **kwargs).argmax(axis=1)]

    def score(self, x, y, **kwargs) -> float:
        """The accuracy, by the metric that the model was compiled with."""
        numbers: Any = np.searchsorted(self.classes_, y)
        unknown = np.setdiff1d(y, self.classes_).tolist()
        if unknown:
            raise ValueError(
                f"y holds {unknown}, which are none of the classes in training: {self.classes_.tolist()}"
            )
        if np.ndim(y) == 2 and np.shape(y)[1] > 1:
            numbers = y
        elif getattr(self.model, "loss", None) == "categorical_crossentropy":
            numbers = to_categorical(numbers, self.n_classes_)
        arguments = self.filter_sk_params(Model.evaluate, kwargs)
        logs = self.model.evaluate(x, numbers, **{**arguments, "return_dict": True})
        for name, value in logs.items():
            if "acc" in name:
                return float(value)
        raise ValueError(
            "The model is not configured to compute accuracy: pass `metrics=['accuracy']` to `compile`."
        )


class KerasRegressor(_base.RegressorMixin, _Wrapper):
    """A function that makes a model as a regressor of scikit-learn, as in Keras 2.

    Other arguments are those of `_Wrapper`. Source: Keras 2: KerasRegressor.
    """

    def predict(self, x, **kwargs) -> np.ndarray:
        """The model's outputs, without axes of size 1."""
        return np.squeeze(self.model.predict(x, **self.filter_sk_params(Model.predict, kwargs)))

    def score(self, x, y, **kwargs) -> float:
        """The loss, negative so that more is better."""
        arguments = self.filter_sk_params(Model.evaluate, kwargs)
        return -float(self.model.evaluate(x, y, **{**arguments, "return_dict": True})["loss"])
