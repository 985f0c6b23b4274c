"""Bounding boxes beside those of Keras."""

import itertools

import keras
import numpy as np
import pytest

from cornu.utils import bounding_boxes
from cornu.utils.bounding_boxes.formats import FORMATS

theirs = keras.utils.bounding_boxes
RANDOM = np.random.RandomState(0)
CORNERS = np.sort(RANDOM.uniform(-20, 120, (2, 5, 2, 2)), axis=2).reshape(2, 5, 4).astype("float32")
OTHERS = CORNERS[:, :3] + RANDOM.uniform(0, 9, (2, 3, 1)).astype("float32") * [1, 1, 2, 2]
OTHERS = OTHERS.astype("float32")
LABELS = RANDOM.randint(0, 4, (2, 5))
SIZE = {"height": 80, "width": 100}


def same(mine, other):
    assert mine.shape == other.shape and mine.dtype == other.dtype
    np.testing.assert_allclose(mine, other, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("source, target", list(itertools.product(FORMATS, FORMATS)))
def test_formats(source, target):
    boxes = np.asarray(theirs.convert_format(CORNERS, "xyxy", source, **SIZE))
    expected = theirs.convert_format(boxes, source, target, **SIZE)
    same(bounding_boxes.convert_format(boxes, source, target, **SIZE), expected)
    given = {"boxes": boxes, "labels": LABELS}
    converted = bounding_boxes.convert_format(
        given, source.upper(), target, **SIZE, dtype="float16"
    )
    assert given["boxes"] is boxes and converted["labels"] is LABELS
    assert converted["boxes"].dtype == "float16"


def test_clipping():
    given = {"boxes": CORNERS, "labels": LABELS, "confidences": LABELS / 4}
    for name, boxes in (("xyxy", CORNERS), ("rel_xyxy", CORNERS / [100, 80, 100, 80])):
        given["boxes"] = boxes.astype("float32")
        mine = bounding_boxes.clip_to_image_size(given, **SIZE, bounding_box_format=name)
        other = theirs.clip_to_image_size(given, **SIZE, bounding_box_format=name)
        for part in given:
            np.testing.assert_allclose(mine[part], other[part], rtol=1e-6)
    # Formats that Keras does not clip.
    clipped = theirs.clip_to_image_size({"boxes": CORNERS}, **SIZE)["boxes"]
    for name in ("center_yxhw", "xywh", "rel_center_xywh"):
        boxes = bounding_boxes.convert_format(CORNERS, "xyxy", name, **SIZE)
        mine = bounding_boxes.clip_to_image_size({"boxes": boxes}, **SIZE, bounding_box_format=name)
        back = bounding_boxes.convert_format(mine["boxes"], name, "xyxy", **SIZE)
        np.testing.assert_allclose(back, clipped, atol=2e-5)
    # One-hot labels of a box that is gone are all -1.
    gone = {"boxes": [[-9, 0, -5, 9]], "labels": [[0, 1]]}
    assert bounding_boxes.clip_to_image_size(gone, 10, 10)["labels"].tolist() == [[-1, -1]]


def test_crop_and_pad():
    arguments = {"top": 5, "left": 7, "height": 40, "width": 30}
    same(bounding_boxes.crop(CORNERS, **arguments), theirs.crop(CORNERS, **arguments))
    same(bounding_boxes.pad(CORNERS, 5, 7), theirs.pad(CORNERS, 5, 7))
    boxes = bounding_boxes.convert_format(CORNERS, "xyxy", "xywh")
    moved = bounding_boxes.pad(boxes, 5, 7, bounding_box_format="xywh")
    np.testing.assert_allclose(moved, np.asarray(boxes) + [7, 5, 0, 0], atol=2e-5)


def test_affine_transform():
    numbers = [RANDOM.uniform(-s, s, 2).astype("float32") for s in (180, 0.3, 0.3, 0.5, 20, 20)]
    numbers[3] += 1
    for centre in ({}, {"center_x": 0.2, "center_y": 0.7}):
        arguments = (*numbers, 80, 100)
        expected = theirs.affine_transform(CORNERS, *arguments, **centre)
        mine = bounding_boxes.affine_transform(CORNERS, *arguments, **centre)
        np.testing.assert_allclose(mine, expected, rtol=2e-5, atol=2e-4)
    first = (*(n[:1] for n in numbers), 80, 100)
    np.testing.assert_allclose(
        bounding_boxes.affine_transform(CORNERS[0], *first, **centre),
        expected[0],
        rtol=2e-5,
        atol=2e-4,
    )


@pytest.mark.parametrize("name", ["center_yxhw", "rel_yxyx"])
def test_overlap(name):
    shape = (80, 100, 3) if "rel" in name else None
    one, two = (
        np.asarray(bounding_boxes.convert_format(b, "xyxy", name, **SIZE))
        for b in (CORNERS, OTHERS)
    )
    for a, b in ((one, two), (one[0], two), (one, two[0])):
        same(
            bounding_boxes.compute_iou(a, b, name, image_shape=shape),
            theirs.compute_iou(a, b, name, image_shape=shape),
        )
    pairs = CORNERS[:, :3], OTHERS
    mine = bounding_boxes.compute_ciou(one[:, :3], two, name, image_shape=shape)
    np.testing.assert_allclose(mine, theirs.compute_ciou(*pairs, "xyxy"), rtol=1e-4, atol=1e-5)


def test_what_fills_up_has_no_overlap():
    filled = CORNERS.copy()
    filled[:, 3:] = -1
    same(
        bounding_boxes.compute_iou(filled, OTHERS, "xyxy", use_masking=True, mask_val=-2),
        theirs.compute_iou(filled, OTHERS, "xyxy", use_masking=True, mask_val=-2),
    )
    assert (
        np.asarray(bounding_boxes.compute_iou(filled[0], OTHERS, "xyxy", True))[:, 3:] == -1
    ).all()


@pytest.mark.parametrize("encoding", ["center_xywh", "center_yxhw"])
@pytest.mark.parametrize("variance", [None, [0.1, 0.1, 0.2, 0.2]])
def test_deltas(encoding, variance):
    anchors, boxes = (
        CORNERS[0, :3],
        np.asarray(bounding_boxes.convert_format(OTHERS, "xyxy", "rel_xywh", **SIZE)),
    )
    arguments = ("xyxy", "rel_xywh", encoding, variance, (80, 100, 3))
    deltas = bounding_boxes.encode_box_to_deltas(anchors, boxes, *arguments)
    same(deltas, theirs.encode_box_to_deltas(anchors, boxes, *arguments))
    decoded = bounding_boxes.decode_deltas_to_boxes(anchors, deltas, *arguments)
    same(decoded, theirs.decode_deltas_to_boxes(anchors, deltas, *arguments))
    np.testing.assert_allclose(decoded, boxes, atol=1e-5)
    levels = bounding_boxes.decode_deltas_to_boxes({2: anchors}, {2: deltas}, *arguments)
    np.testing.assert_array_equal(levels[2], decoded)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda b: b.convert_format(CORNERS, "xyxz", "xyxy"),
            "Invalid bounding box format: source",
        ),
        (lambda b: b.convert_format(CORNERS, "xyxy", "rel_xyxy"), "must receive `height`"),
        (lambda b: b.convert_format(CORNERS[..., :3], "xyxy", "xywh"), "last dimension of 4"),
        (lambda b: b.clip_to_image_size({"boxes": CORNERS}), "`height` and `width` must be set"),
        (lambda b: b.crop(CORNERS, 1, 1, 2, 2, "rel_xyxy"), "have no place in pixels"),
        (lambda b: b.compute_iou(CORNERS, CORNERS, "rel_xyxy"), "`image_shape` argument"),
        (lambda b: b.compute_iou(CORNERS[0, 0], CORNERS, "xyxy"), "expects boxes1"),
        (
            lambda b: b.encode_box_to_deltas(CORNERS, CORNERS, "xyxy", "xyxy", "xyxy"),
            "`encoding_format`",
        ),
        (
            lambda b: b.encode_box_to_deltas(CORNERS, CORNERS, "xyxy", "xyxy", variance=[1]),
            "length 4",
        ),
        (lambda b: b.decode_deltas_to_boxes({0: CORNERS}, CORNERS, "xyxy", "xyxy"), "must both"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises((ValueError, NotImplementedError), match=message):
        call(bounding_boxes)
