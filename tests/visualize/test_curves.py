"""Curves: what is drawn, not how it looks."""

import numpy as np
import pytest

import cornu
from cornu.visualize import plot_history

HISTORY = {
    "accuracy": [0.5, 0.7, 0.8, 0.9],
    "loss": [2.0, 1.0, 0.5, 0.2],
    "val_accuracy": [0.4, 0.8, 0.75, 0.8],
    "val_loss": [2.1, 1.1, 0.9, 1.2],
}


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_draws_logs_over_epochs_from_one():
    loss, accuracy = plot_history(HISTORY).axes
    assert (loss.get_title(), accuracy.get_title()) == ("loss", "accuracy")
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        drawn = lines(axes)
        np.testing.assert_array_equal(drawn["training"].get_xdata(), [1, 2, 3, 4])
        np.testing.assert_array_equal(drawn["training"].get_ydata(), HISTORY[name])
        np.testing.assert_array_equal(drawn["validation"].get_ydata(), HISTORY[f"val_{name}"])


def test_curves_differ_by_more_than_colour():
    drawn = lines(plot_history(HISTORY).axes[0])
    assert drawn["training"].get_linestyle() != drawn["validation"].get_linestyle()
    assert drawn["training"].get_marker() != drawn["validation"].get_marker()


@pytest.mark.parametrize(
    "names, best",
    [
        (["loss", "accuracy", "val_loss", "val_accuracy"], 2),
        (["loss", "accuracy", "val_loss"], 3),
        (["loss", "accuracy"], 4),
    ],
)
def test_marks_the_best_epoch_in_every_panel(names, best):
    for axes in plot_history({name: HISTORY[name] for name in names}).axes:
        assert list(lines(axes)[f"best epoch ({best})"].get_xdata()) == [best, best]


def test_an_epoch_of_nan_is_not_the_best():
    axes = plot_history({"loss": [float("nan"), 2.0, 1.0]}).axes[0]
    assert "best epoch (3)" in lines(axes)


def test_takes_what_fit_returns():
    class History:
        history = HISTORY

    assert len(plot_history(History()).axes) == 2


def test_the_learning_rate_is_no_curve():
    assert len(plot_history({"loss": [1.0], "learning_rate": [0.1]}).axes) == 1


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_the_ending_chooses_the_file_format(tmp_path, ending):
    path = tmp_path / f"curves.{ending}"
    plot_history({"loss": [1.0]}, path)
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending]
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("history", [{}, {"loss": []}, {"val_loss": [1.0]}])
def test_nothing_to_draw(history):
    with pytest.raises(ValueError, match="no finished epoch"):
        plot_history(history)


def test_an_unknown_format_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="xyz"):
        plot_history({"loss": [1.0]}, tmp_path / "curves.xyz")
    assert not list(tmp_path.iterdir())


def test_a_validation_that_is_rarer_than_epochs_lies_at_its_epochs():
    model = cornu.Sequential([cornu.Input((1,)), cornu.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((4, 1), "float32")
    history = model.fit(
        *(x, x), epochs=8, initial_epoch=1, validation_data=(x, x), validation_freq=3, verbose=0
    )
    training, validation, best = plot_history(history).axes[0].lines
    assert training.get_xdata().tolist() == list(range(2, 9))
    assert validation.get_xdata().tolist() == [3, 6] and best.get_xdata() == [6, 6]
    assert "<td>6</td><td>" in history._repr_html_()
