"""The numbers that `evaluate` prints, beside scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as reference

from cornu.cli import quality


def answers(seed=0, count=200, classes=4, sure=2.0):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, classes)).round(1)
    y = (logits + random.gumbel(size=logits.shape)).argmax(-1)
    shares = np.exp(sure * logits)
    return y, (shares / shares.sum(-1, keepdims=True)).astype("float32")


@pytest.mark.parametrize("seed", range(3))
def test_by_class(seed):
    y, probabilities = answers(seed)
    found = quality.by_class(y, probabilities)
    expected = reference.precision_recall_fscore_support(
        y, probabilities.argmax(-1), labels=range(4)
    )
    for name, values in zip(("precision", "recall", "f1", "images"), expected, strict=True):
        assert [each[name] for each in found] == pytest.approx(list(values))
    for label, each in enumerate(found):
        is_one, scores = y == label, probabilities[:, label]
        assert each["roc_auc"] == pytest.approx(reference.roc_auc_score(is_one, scores))
        expected = reference.average_precision_score(is_one, scores)
        assert each["average_precision"] == pytest.approx(expected)


def test_a_class_without_images_and_one_that_nothing_is_taken_for():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    found = quality.by_class([0, 0, 0], probabilities)
    assert found[0]["recall"] == pytest.approx(2 / 3) and found[0]["roc_auc"] is None
    assert found[1]["recall"] is None and found[1]["precision"] == 0
    assert found[1]["average_precision"] is None
    assert found[2]["precision"] is None and found[2]["f1"] is None


@pytest.mark.parametrize("right, count", [(0, 10), (10, 10), (437, 500), (1, 3)])
def test_interval(right, count):
    from scipy import stats

    expected = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert quality.interval(right, count) == pytest.approx((expected.low, expected.high))


def test_confused():
    y = [0, 0, 0, 1, 2, 2]
    predicted = np.eye(3)[[1, 1, 0, 0, 2, 1]]
    assert quality.confused(y, predicted) == [(0, 1, 2), (1, 0, 1), (2, 1, 1)]
    assert quality.confused(y, np.eye(3)[y]) == []


def test_calibration():
    # Answers of logits that were doubled are too sure; halved again, they are right.
    y, probabilities = answers(count=20000, sure=2.0)
    found = quality.temperature(y, probabilities)
    assert found == pytest.approx(2, rel=0.05)
    better = quality.calibrated(probabilities, found)
    shares = probabilities ** (1 / found)
    np.testing.assert_allclose(better, shares / shares.sum(-1, keepdims=True), rtol=1e-4)
    assert quality.calibration_error(y, better) < 0.02 < quality.calibration_error(y, probabilities)
    # A few images that are all right do not make a model sure of everything.
    few = np.array([[0.9, 0.1]] * 3)
    assert quality.calibrated(few, quality.temperature([0, 0, 0], few))[0, 0] == pytest.approx(
        0.75, abs=1e-3
    )
    # As many right as the confidence says: no error.
    assert quality.calibration_error([0, 0, 0, 1], np.array([[0.75, 0.25]] * 4)) == 0
