"""`SKLearnClassifier` and its kin: a model, or a function that makes one, as an estimator."""

from typing import Any

import numpy as np

from cornu.core.optional import required
from cornu.models import Model, clone_model

_base: Any = required("sklearn.base", "cornu.wrappers", package="scikit-learn")
_multiclass: Any = required("sklearn.utils.multiclass", "cornu.wrappers", package="scikit-learn")
_routing: Any = required("sklearn.utils.metadata_routing", "cornu.wrappers", package="scikit-learn")
_validation: Any = required("sklearn.utils.validation", "cornu.wrappers", package="scikit-learn")


class Estimator(_base.BaseEstimator):
    """What the estimators have in common.

    Args:
        model: a compiled model, which is cloned, or a function that makes one; it is called with `X=`, `y=`
            and `model_kwargs`.
        warm_start: whether a second `fit` goes on with the model of the first, and a `model` that is
            given is trained itself.
        model_kwargs: further arguments of that function.
        fit_kwargs: arguments of `model.fit`; those of the estimator's own `fit` come before them.

    Attributes:
        model_: the trained model.
        history_: what `model.fit` returned.
    """

    def __init__(self, model, warm_start=False, model_kwargs=None, fit_kwargs=None):
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        return tags

    def __sklearn_clone__(self):
        # The model is cloned when it is trained; scikit-learn would copy it with its weights.
        return type(self)(self.model, self.warm_start, self.model_kwargs, self.fit_kwargs)

    @property
    def epoch_(self) -> int:
        """How many epochs the last `fit` has done."""
        return len(self.history_.epoch) if hasattr(self, "history_") else 0

    def set_fit_request(self, **kwargs):
        """Say which arguments of `fit` scikit-learn's metadata routing passes on.

        Args:
            kwargs: True, False, None or another name for each.

        Raises RuntimeError if routing is off.
        """
        if not _base.get_config().get("enable_metadata_routing", False):
            raise RuntimeError(
                "This needs metadata routing: sklearn.set_config(enable_metadata_routing=True)."
            )
        request = self._get_metadata_request()
        for name, alias in kwargs.items():
            request.fit.add_request(param=name, alias=alias)
        self._metadata_request = request
        return self

    def fit(self, X, y, **kwargs):
        """Train the model.

        Args:
            X: samples in rows.
            y: their targets: labels, numbers, or (Keras refuses them) rows of numbers.
            kwargs: arguments of `model.fit`.
        """
        X, y = _validation.validate_data(self, X, y, multi_output=True)
        y = self._coded(y)
        model = self._made(X, y)
        if not model.compiled or not model.loss or not model.optimizer:
            raise RuntimeError(
                "The model needs to be compiled, with a loss and an optimizer: model.compile(…)."
            )
        self.history_ = model.fit(X, y, **{**(self.fit_kwargs or {}), **kwargs})
        self.model_ = model
        return self

    def _made(self, X, y):
        if self.warm_start and hasattr(self, "model_"):
            return self.model_
        if isinstance(self.model, Model):
            return self.model if self.warm_start else clone_model(self.model)
        return self.model(X=X, y=y, **(self.model_kwargs or {}))

    def _outputs(self, X) -> np.ndarray:
        _validation.check_is_fitted(self)
        X = _validation.validate_data(self, X, reset=False)
        verbose = (self.fit_kwargs or {}).get("verbose", "auto")
        outputs = self.model_.predict(X, verbose=verbose)
        # A model may be given its one output in a list.
        return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs

    def _coded(self, y) -> np.ndarray:
        """Targets as the model takes them."""
        # Raises ValueError for what is no target.
        _multiclass.type_of_target(y, raise_unknown=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = _validation.column_or_1d(y, warn=True)
        self._is_flat = y.ndim == 1
        return y.reshape(-1, 1) if self._is_flat else y

    def predict(self, X):
        """The model's outputs for samples, as `y` was."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._is_flat and outputs.ndim == 2 else outputs


class SKLearnClassifier(_base.ClassifierMixin, Estimator):
    """A model as a classifier of scikit-learn; it is trained on one-hot labels.

    Attributes:
        classes_: the labels, sorted.

    Other arguments and attributes are those of `Estimator`. Source: Keras: SKLearnClassifier.

    >>> import cornu, numpy as np
    >>> def make(X, y):
    ...     layers = [cornu.Input(X.shape[1:]), cornu.layers.Dense(y.shape[1], "softmax")]
    ...     model = cornu.Sequential(layers)
    ...     model.compile("adam", "categorical_crossentropy")
    ...     return model
    >>> classifier = cornu.wrappers.SKLearnClassifier(make, fit_kwargs={"verbose": 0})
    >>> labels = classifier.fit(np.eye(4), ["cat", "dog", "cat", "dog"]).predict(np.eye(4))
    >>> set(labels) <= {"cat", "dog"}
    True
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags

    def _coded(self, y):
        kind = _multiclass.type_of_target(y, raise_unknown=True)
        if kind not in ("binary", "multiclass"):
            raise ValueError(
                f"Only binary and multiclass target types are supported. Unknown label type: {kind}"
            )
        y = _validation.column_or_1d(y, warn=True)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) == 1:
            raise ValueError("Classifier can't train when only one class is present.")
        return np.eye(len(self.classes_))[numbers]

    def decision_function(self, X):
        """The model's outputs, a column for each of `classes_`."""
        return self._outputs(X)

    def predict(self, X):
        """The label with the largest output, for each sample."""
        outputs = self._outputs(X)
        if outputs.ndim != 2 or outputs.shape[1] != len(self.classes_):
            raise ValueError(
                f"The model must have an output for each of the {len(self.classes_)} classes, as labels "
                f"are one-hot. Its outputs for {len(outputs)} samples have the shape {outputs.shape}."
            )
        return self.classes_[outputs.argmax(axis=1)]


class SKLearnRegressor(_base.RegressorMixin, Estimator):
    """A model as a regressor of scikit-learn.

    Arguments and attributes are those of `Estimator`. Source: Keras: SKLearnRegressor.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> regressor = cornu.wrappers.SKLearnRegressor(model, fit_kwargs={"verbose": 0})
    >>> regressor.fit(np.eye(2), [1.0, 2.0]).predict(np.eye(2)).shape
    (2,)
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


class SKLearnTransformer(_base.TransformerMixin, Estimator):
    """A model as a transformer of scikit-learn, such as one that gives features for a classifier.

    Arguments and attributes are those of `Estimator`. Source: Keras: SKLearnTransformer.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(3)])
    >>> model.compile("sgd", "mse")
    >>> transformer = cornu.wrappers.SKLearnTransformer(model, fit_kwargs={"verbose": 0})
    >>> transformer.fit(np.eye(2), np.ones((2, 3))).transform(np.eye(2)).shape
    (2, 3)
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def transform(self, X):
        """The model's outputs for samples."""
        return self._outputs(X)
