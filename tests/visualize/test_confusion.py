"""The confusion matrix is compared with scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from cornu.visualize import plot_confusion_matrix


def labels(num_classes, n=200):
    generator = np.random.default_rng(num_classes)
    return generator.integers(0, num_classes, n), generator.integers(0, num_classes, n)


def names(num_classes):
    return [f"class {number}" for number in range(num_classes)]


def test_counts_and_colours():
    y_true, y_pred = labels(4)
    axes = plot_confusion_matrix(y_true, y_pred, names(4)).axes[0]
    expected = confusion_matrix(y_true, y_pred)
    drawn = np.zeros((4, 4), int)
    for text in axes.texts:
        column, row = map(int, text.get_position())
        drawn[row, column] = int(text.get_text())
    np.testing.assert_array_equal(drawn, expected)
    shares = confusion_matrix(y_true, y_pred, normalize="true")
    np.testing.assert_allclose(np.square(axes.images[0].get_array()), shares, rtol=1e-12)
    assert axes.get_title() == f"{np.trace(expected)} of 200 right"


def test_a_class_without_images_is_an_empty_row():
    axes = plot_confusion_matrix([0, 0], [0, 1], names(3)).axes[0]
    assert np.asarray(axes.images[0].get_array())[2].tolist() == [0, 0, 0]


@pytest.mark.parametrize("num_classes, has_numbers", [(20, True), (21, False)])
def test_counts_only_where_they_can_be_read(num_classes, has_numbers):
    axes = plot_confusion_matrix(*labels(num_classes), names(num_classes)).axes[0]
    assert bool(axes.texts) == has_numbers


@pytest.mark.parametrize("num_classes", [2, 5, 20, 100])
def test_text_does_not_overlap(num_classes):
    long_names = [f"a rather long name $x_{n}$" for n in range(num_classes)]
    figure = plot_confusion_matrix(*labels(num_classes, 100_000), long_names)
    axes = figure.axes[0]
    figure.draw_without_rendering()
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    check_apart([*ticks, *axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title])


def check_apart(texts):
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert boxes
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert not one.overlaps(other)


@pytest.mark.parametrize(
    "y_true, y_pred, message",
    [
        ([], [], "not empty"),
        ([0, 1], [0], "same length"),
        ([0, 2], [0, 1], "`y_true` must hold integers from 0 to 1"),
        ([0, 1], [0, -1], "`y_pred` must hold integers from 0 to 1"),
        ([0, 1], [0.5, 1], "of dtype float64"),
    ],
)
def test_labels_that_do_not_fit(y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        plot_confusion_matrix(y_true, y_pred, ["a", "b"])


def test_writes_a_file(tmp_path):
    plot_confusion_matrix([0], [0], ["a", "b"], tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")
