"""Models as estimators of scikit-learn, by scikit-learn's own checks and beside Keras."""

import warnings

import keras
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

import cornu
from cornu.wrappers import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer
from cornu.wrappers.scikit_learn import KerasClassifier, KerasRegressor

random = np.random.RandomState(0)
X = random.normal(size=(40, 3))
NAMES = np.where(X[:, 0] > 0, "up", "down")
Y = X @ [1.0, 2.0, 3.0]


def make(X, y, loss, activation=None, k=cornu):
    outputs = y.shape[1] if y.ndim == 2 else 1
    model = k.Sequential([k.Input(X.shape[1:]), k.layers.Dense(outputs, activation=activation)])
    model.compile("rmsprop", loss)
    return model


def classifier(**arguments):
    how = {"loss": "categorical_crossentropy", "activation": "softmax"}
    return SKLearnClassifier(make, model_kwargs=how, **arguments)


QUIET = {"verbose": 0}
ESTIMATORS = [
    classifier(fit_kwargs={**QUIET, "epochs": 5}),
    SKLearnRegressor(make, model_kwargs={"loss": "mse"}, fit_kwargs=QUIET),
    SKLearnTransformer(make, model_kwargs={"loss": "mse"}, fit_kwargs=QUIET),
]
# Those that Keras' estimators do not pass either.
WEIGHTS, AGAIN = "a weight of 0 is not left out", "a fit is not reproducible"
EXPECTED = {
    "check_classifiers_one_label_sample_weights": WEIGHTS,
    "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
    "check_classifiers_classes": "so few steps may leave out a class",
    "check_classifier_data_not_an_array": AGAIN,
    "check_supervised_y_2d": AGAIN,
    "check_fit_idempotent": AGAIN,
    "check_classifiers_train": "decision_function has a column for each class",
}
QUICK = {
    "check_no_attributes_set_in_init",
    "check_estimators_unfitted",
    "check_dtype_object",
    "check_n_features_in",
    "check_dict_unchanged",
    "check_estimators_nan_inf",
    "check_supervised_y_no_nan",
    "check_get_params_invariance",
    "check_estimator_repr",
}


def name_of(check):
    return getattr(check, "func", check).__name__


QUICK_CHECKS = [
    pair
    for estimator in ESTIMATORS
    for pair in estimator_checks_generator(estimator)
    if name_of(pair[1]) in QUICK
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), QUICK_CHECKS)
def test_quick_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    ESTIMATORS,
    expected_failed_checks=lambda e: EXPECTED if isinstance(e, SKLearnClassifier) else {},
)
def test_all_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", ["SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"])
def test_numbers_are_keras(kind):
    results = []
    y = NAMES if "Class" in kind else Y
    loss = "categorical_crossentropy" if "Class" in kind else "mse"
    for k in (cornu, keras):
        k.utils.set_random_seed(1)
        how = {"loss": loss, "activation": None, "k": k}
        # A model, or a function.
        model = make if "Class" in kind else make(X, Y, **how)
        estimator = getattr(k.wrappers, kind)(
            model, model_kwargs=how, fit_kwargs={"epochs": 2, **QUIET}
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X, y)
            results.append([estimator.predict(X)])
            if "Class" in kind:
                assert estimator.classes_.tolist() == ["down", "up"]
                results[-1].append(estimator.decision_function(X))
            if "Trans" in kind:
                results[-1].append(estimator.transform(X))
            results[-1].append(estimator.history_.history["loss"])
    for mine, other in zip(*results, strict=True):
        if np.asarray(mine).dtype.kind in "OU":
            assert np.ravel(mine).tolist() == np.ravel(other).tolist()
        else:
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


def test_targets_of_several_columns():
    several = np.stack([Y, -Y], 1)
    for kind in (SKLearnRegressor, SKLearnTransformer):
        estimator = kind(make, model_kwargs={"loss": "mse"}, fit_kwargs=QUIET).fit(X, several)
        assert estimator.predict(X).shape == (40, 2)


def test_in_scikit_learns_tools():
    pipeline = make_pipeline(StandardScaler(), classifier(fit_kwargs={"epochs": 30, **QUIET}))
    assert cross_val_score(pipeline, X, NAMES, cv=2).shape == (2,)
    found = GridSearchCV(
        SKLearnRegressor(make, model_kwargs={"loss": "mse"}, fit_kwargs=QUIET),
        {"fit_kwargs": [{"epochs": 1, **QUIET}, {"epochs": 60, "batch_size": 4, **QUIET}]},
        cv=2,
    ).fit(X, Y)
    assert found.best_params_["fit_kwargs"]["epochs"] == 60


def test_arguments_have_effects():
    """In Keras a clone loses `fit_kwargs`, `fit` writes into them, and `warm_start` does nothing."""
    arguments = {"epochs": 2, **QUIET}
    estimator = clone(classifier(fit_kwargs=arguments))
    estimator.fit(X, NAMES, epochs=3)
    assert estimator.epoch_ == 3 and arguments["epochs"] == 2
    assert estimator.fit(X, NAMES).epoch_ == 2
    model = make(X, Y, "mse")
    before = model.get_weights()[0].copy()
    cold = SKLearnRegressor(model, fit_kwargs=QUIET).fit(X, Y)
    assert cold.model_ is not model and np.array_equal(model.get_weights()[0], before)
    warm = SKLearnRegressor(model, warm_start=True, fit_kwargs=QUIET).fit(X, Y)
    assert warm.model_ is model and not np.array_equal(model.get_weights()[0], before)
    made = SKLearnRegressor(make, True, {"loss": "mse"}, QUIET).fit(X, Y)
    assert made.model_ is made.fit(X, Y).model_


def test_metadata_routing():
    estimator = classifier(fit_kwargs=QUIET)
    with pytest.raises(RuntimeError, match="metadata routing"):
        estimator.set_fit_request(sample_weight=True)
    with sklearn.config_context(enable_metadata_routing=True):
        estimator.set_fit_request(sample_weight=True)
        assert estimator.get_metadata_routing().fit.requests == {"sample_weight": True}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: classifier().fit(X, np.ones(40)), ValueError, "only one class"),
        (lambda: classifier().fit(X, Y), ValueError, "Unknown label type"),
        (lambda: classifier().predict(X), NotFittedError, "not fitted"),
        (
            lambda: SKLearnRegressor(cornu.Sequential([cornu.Input((3,))])).fit(X, Y),
            RuntimeError,
            "needs to be compiled",
        ),
    ],
)
def test_mistakes(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()


def old_model(units=4, loss="sparse_categorical_crossentropy"):
    last = {"binary_crossentropy": (1, "sigmoid"), "mse": (1, None)}.get(loss, (2, "softmax"))
    dense = cornu.layers.Dense
    model = cornu.Sequential([cornu.Input((3,)), dense(units), dense(last[0], activation=last[1])])
    model.compile("adam", loss, metrics=[] if loss == "mse" else ["accuracy"])
    return model


def test_classes_and_outputs_that_are_not_those_of_the_training():
    made = KerasClassifier(old_model, verbose=0)
    made.fit(X, 2 * (NAMES == "up"))
    with pytest.raises(ValueError, match=r"y holds \[1\], which are none of the classes"):
        made.score(X, 1 * (NAMES == "up"))
    one = SKLearnClassifier(make, model_kwargs={"loss": "mse"}, fit_kwargs=QUIET).fit(X, NAMES)
    one.model_ = make(X, X[:, 0], "mse")
    with pytest.raises(ValueError, match="an output for each of the 2 classes"):
        one.predict(X)


@pytest.mark.parametrize(
    "loss", ["sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy"]
)
def test_keras_2s_classifier(loss):
    estimator = KerasClassifier(build_fn=old_model, loss=loss, epochs=20, batch_size=8, verbose=0)
    history = estimator.fit(X, NAMES)
    assert len(history.epoch) == 20
    p = estimator.predict_proba(X)
    assert p.shape == (40, 2)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    predicted = estimator.predict(X)
    assert estimator.score(X, NAMES) == pytest.approx((predicted == NAMES).mean())
    if loss == "categorical_crossentropy":
        estimator.fit(X, np.eye(2)[(NAMES == "up").astype(int)])
        assert set(estimator.predict(X)) <= {0, 1}


def test_keras_2s_estimators_in_a_search():
    estimator = KerasRegressor(old_model, loss="mse", verbose=0)
    search = GridSearchCV(estimator, {"units": [2], "epochs": [1, 2]}, cv=2).fit(X, Y)
    assert set(search.best_params_) == {"units", "epochs"}
    assert search.predict(X).shape == (40,) and search.score(X, Y) < 0
    assert clone(estimator).get_params() == estimator.get_params()
    with pytest.raises(ValueError, match="layers is not a legal parameter"):
        KerasClassifier(old_model, layers=3)
    with pytest.raises(ValueError, match="not configured to compute accuracy"):
        only = KerasClassifier(old_model, loss="mse", verbose=0)
        only.fit(X, NAMES)
        only.score(X, NAMES)
