"""Images with predictions: what each is labelled, and that labels keep apart."""

import numpy as np
import pytest
from matplotlib import font_manager

from cornu.visualize import fonts, plot_predictions

NAMES = ["cat", "dog", "computer_keyboard_de_luxe"]
ANSWERS = np.array([[0.9, 0.06, 0.04], [0.3, 0.7, 0.0], [0.1, 0.1, 0.8]])


def images(n, *shape):
    return np.random.default_rng(0).random((n, *shape))


def test_labels_right_and_wrong_predictions():
    first, second, third = plot_predictions(images(3, 8, 8), [0, 0, 1], ANSWERS, NAMES).axes
    assert first.get_title() == "cat (90 %)"
    assert second.get_title() == "✗ dog (70 %)\nis cat"
    assert third.get_title() == "✗ computer…uxe (80 %)\nis dog"
    assert second.spines["top"].get_linewidth() > 2 * first.spines["top"].get_linewidth()


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (6, 9, 3)])
@pytest.mark.parametrize("scale, kind", [(1, "float32"), (16, "uint8"), (255, "uint8")])
def test_shows_pixels_of_any_range(shape, scale, kind):
    given = (images(2, *shape) * scale).astype(kind)
    figure = plot_predictions(given, [0, 1], ANSWERS[:2], NAMES)
    shown = np.asarray(figure.axes[1].images[0].get_array())
    np.testing.assert_allclose(
        shown.ravel(), (given[1] / given.max()).ravel().astype(shown.dtype), rtol=1e-6
    )


def test_negative_pixels_and_blank_images():
    figure = plot_predictions(images(1, 4, 4) - 0.5, [0], ANSWERS[:1], NAMES)
    assert np.min(figure.axes[0].images[0].get_array()) == 0
    plot_predictions(np.zeros((1, 4, 4)), [0], ANSWERS[:1], NAMES)


def test_text_does_not_overlap():
    n = 24
    answers = np.tile(ANSWERS, (8, 1))
    answers[:] = [0, 0, 1]
    figure = plot_predictions(images(n, 8, 8), np.arange(n) % 3, answers, NAMES)
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    pictures = [axes.get_window_extent() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert not any(box.overlaps(picture) for picture in pictures)


@pytest.mark.parametrize(
    "shape, y_true, answers, message",
    [
        ((0, 4, 4), [], np.zeros((0, 3)), "at least 1"),
        ((2, 4, 4), [0], ANSWERS[:2], "same length"),
        ((1, 4, 4), [0], [[0.5, 0.5]], "a column for each"),
        ((1, 4, 4, 2), [0], ANSWERS[:1], "one or three channels"),
        ((4, 4), [0] * 4, ANSWERS, "must have shape"),
    ],
)
def test_arguments_that_do_not_fit(shape, y_true, answers, message):
    with pytest.raises(ValueError, match=message):
        plot_predictions(np.ones(shape), y_true, answers, NAMES)


def test_names_in_other_scripts_are_no_boxes(tmp_path, monkeypatch):
    """Letters that Matplotlib's own font lacks come from an installed one, or are said to be missing."""
    own = fonts._letters_of(font_manager.findfont("DejaVu Sans"))
    names = {f.name for f in font_manager.fontManager.ttflist if "Last Resort" not in f.name}
    letters = set().union(*(fonts._letters_of(font_manager.findfont(name)) for name in names))
    letter = min((c for c in letters - own if chr(c).isalpha()), default=ord("猫"))
    one = (np.eye(4)[None], [0], [[1.0, 0.0]], [chr(letter), "dog"])
    figure = plot_predictions(*one, tmp_path / "a.png")
    if letter in letters:
        _, *added = figure.axes[0].title.get_fontfamily()
        assert any(letter in fonts._letters_of(font_manager.findfont(name)) for name in added)
    monkeypatch.setattr(fonts, "_fonts_for", lambda missing: ([], missing))
    with pytest.warns(UserWarning, match="No installed font has the letters .*boxes") as told:
        for _ in range(2):
            plot_predictions(*one, tmp_path / "a.svg")
    assert len(told) == 1
