"""Models as estimators of scikit-learn, which is needed for what is here and is loaded on use.

`scikit_learn` holds Keras 2's `KerasClassifier` and `KerasRegressor`.
"""

import importlib

__all__ = ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer", "scikit_learn"]


def __getattr__(name):
    if name == "scikit_learn":
        return importlib.import_module("cornu.wrappers.scikit_learn")
    if name in __all__:
        return getattr(importlib.import_module("cornu.wrappers.estimators"), name)
    raise AttributeError(f"module 'cornu.wrappers' has no attribute {name!r}")
