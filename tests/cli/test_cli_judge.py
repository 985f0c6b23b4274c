"""Numbers about a model's answers are compared with scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from cornu.cli.data import Part
from cornu.cli.judge import judge

NUM_CLASSES = 5


class Model:
    """Answers by what an image's pixels say, for images made below."""

    def predict_on_batch(self, x):
        return x[:, 0, :, 0]


def make_part(n, share_wrong):
    """Images, sorted by class, whose first row holds the answer."""
    generator = np.random.default_rng(0)
    y = np.sort(generator.integers(0, NUM_CLASSES, n)).astype("int32")
    answers = generator.dirichlet(np.ones(NUM_CLASSES), n)
    wrong = generator.random(n) < share_wrong
    best = np.where(wrong, (y + 1) % NUM_CLASSES, y)
    answers[np.arange(n), best] += 2
    answers /= answers.sum(1, keepdims=True)
    x = np.zeros((n, NUM_CLASSES, NUM_CLASSES, 1))
    x[:, 0, :, 0] = answers
    return x, y, answers


@pytest.mark.parametrize("share_wrong", [0, 0.01, 0.5, 1])
def test_scores_and_examples(share_wrong):
    x, y, answers = make_part(500, share_wrong)
    judged = judge(Model(), Part((x, y)), 64)
    assert judged.accuracy == pytest.approx(accuracy_score(y, answers.argmax(1)), rel=1e-12)
    assert judged.loss == pytest.approx(log_loss(y, answers), rel=1e-12)
    np.testing.assert_array_equal(judged.y_true, y)
    np.testing.assert_array_equal(judged.images, x[judged.shown])
    assert len(set(judged.shown)) == len(judged.shown) <= 24
    num_shown_wrong = (judged.y_pred != y)[judged.shown].sum()
    assert num_shown_wrong == min(judged.num_wrong, 8)
    if share_wrong < 1:
        assert len(judged.shown) == 24
    # Images come sorted by class; examples must not be of the first class only.
    assert len(set(y[judged.shown])) > 2


def test_fewer_images_than_fit_the_figure():
    x, y, _ = make_part(3, 0)
    assert judge(Model(), Part((x, y)), 2).shown == [0, 1, 2]
