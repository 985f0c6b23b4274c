import keras
import numpy as np
import pytest

from cornu import visualization

IMAGES = np.random.RandomState(0).randint(0, 256, (5, 40, 50, 3)).astype("uint8")
BOXES = {
    "boxes": np.tile(np.array([[5.0, 8, 30, 35], [0, 0, 9, 9]]), (5, 1, 1)),
    "labels": np.tile([2, -1], (5, 1)),
}


def test_frames_lie_on_the_edges_and_names_near_them():
    black = np.zeros_like(IMAGES)
    draw = visualization.draw_bounding_boxes
    frame = draw(black, BOXES, "xyxy", color=(9, 8, 7), line_thickness=1)
    y, x = np.nonzero(frame[0, ..., 0])
    assert (y.min(), y.max(), x.min(), x.max()) == (8, 35, 5, 30)
    # A frame, and nothing in it; a label of -1 is no box.
    assert len(x) == 2 * (26 + 28) - 4 and frame[0, 8, 5].tolist() == [9, 8, 7]
    named = draw(black, BOXES, "xyxy", {2: "cat"}, font_scale=0.5, line_thickness=1)
    sure = draw(
        black, {**BOXES, "confidences": np.full((5, 2), 0.5)}, "xyxy", {2: "cat"}, font_scale=0.5
    )
    assert (frame > 0).sum() < (named > 0).sum() < (sure > 0).sum()
    relative = {**BOXES, "boxes": BOXES["boxes"] / [50, 40, 50, 40]}
    first = draw(
        np.moveaxis(black, -1, 1),
        relative,
        "rel_xyxy",
        color=(9, 8, 7),
        line_thickness=1,
        data_format="channels_first",
    )
    np.testing.assert_array_equal(np.moveaxis(first, 1, -1), frame)
    gray = draw(np.zeros((1, 40, 50, 1)), {n: v[:1] for n, v in BOXES.items()}, "xyxy")
    assert gray.shape == (1, 40, 50, 1) and set(np.unique(gray)) == {0, 128}
    half = draw(IMAGES.astype("float32") / 255, BOXES, "xyxy")
    assert abs(half.astype(int) - draw(IMAGES, BOXES, "xyxy")).max() <= 1


def test_masks_have_keras_colours():
    masks = np.random.RandomState(1).randint(-1, 3, (5, 40, 50, 1))
    draw, theirs = (
        visualization.draw_segmentation_masks,
        keras.visualization.draw_segmentation_masks,
    )
    for arguments in (
        {},
        {"alpha": 0.3},
        {"ignore_index": 1},
        {"color_mapping": {0: (1, 2, 3), 1: (9, 9, 9), 2: (0, 0, 255)}},
    ):
        mine, other = (f(IMAGES, masks, num_classes=3, **arguments) for f in (draw, theirs))
        # Keras rounds the sum of products in another order.
        assert abs(mine.astype(int) - np.asarray(other).astype(int)).max() <= 1
    np.testing.assert_array_equal(
        draw(IMAGES, masks, 3, blend=False), theirs(IMAGES, masks, 3, blend=False)
    )
    np.testing.assert_array_equal(draw(IMAGES, masks), draw(IMAGES, masks, 3))
    first = draw(
        np.moveaxis(IMAGES, -1, 1), np.moveaxis(masks, -1, 1), data_format="channels_first"
    )
    np.testing.assert_array_equal(first, draw(IMAGES, masks))


def test_galleries_show_all_images(tmp_path):
    figure = visualization.plot_image_gallery(
        IMAGES,
        y_true=[0, 1, 0, 1, 7],
        y_pred=[0, 0, 0, 0, 0],
        label_map={0: "cat", 1: "dog"},
        show=False,
    )
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(np.stack(shown), IMAGES)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[1] == "Label: dog  Pred: cat" and titles[4] == "Label: Unknown  Pred: cat"
    fractions = visualization.plot_image_gallery(
        np.moveaxis(IMAGES, -1, 1) / 255,
        value_range=(0, 1),
        cols=5,
        show=False,
        data_format="channels_first",
    )
    assert len(fractions.axes) == 5
    assert abs(fractions.axes[3].images[0].get_array().astype(int) - IMAGES[3]).max() <= 1
    path = tmp_path / "boxes.png"
    visualization.plot_bounding_box_gallery(
        IMAGES, "xyxy", BOXES, BOXES, class_mapping={2: "cat"}, legend=True, path=path
    )
    assert path.read_bytes()[:4] == b"\x89PNG"
    masks = np.ones((5, 40, 50, 1), "int32")
    figure = visualization.plot_segmentation_mask_gallery(
        IMAGES, 2, y_true=masks, y_pred=masks, show=False
    )
    assert len(figure.axes) == 15


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda v: v.plot_image_gallery(IMAGES, path="x.png", show=True), "either `path`"),
        (lambda v: v.plot_image_gallery(IMAGES, y_true=[1]), "`label_map` must"),
        (lambda v: v.plot_image_gallery(IMAGES[0]), "batched 4D"),
        (lambda v: v.draw_bounding_boxes(IMAGES, [], "xyxy"), "should be a dict"),
        (lambda v: v.draw_bounding_boxes(IMAGES, {}, "xyxy"), "'boxes' and 'labels'"),
        (lambda v: v.draw_bounding_boxes(IMAGES[..., :2], BOXES, "xyxy"), "one or three channels"),
        (lambda v: v.draw_segmentation_masks(IMAGES, IMAGES / 2), "integer dtype"),
        (lambda v: v.draw_segmentation_masks(IMAGES, IMAGES), "must have one channel"),
        (
            lambda v: v.draw_segmentation_masks(IMAGES, IMAGES[..., :1] * 0, color_mapping={1: 0}),
            "no colour for class 0",
        ),
        (
            lambda v: v.plot_bounding_box_gallery(IMAGES, "xyxy", legend=True, legend_handles=[1]),
            "Only pass `legend`",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(visualization)
