"""Labels, bounding boxes and masks change with their images."""

import jax
import keras
import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.utils import bounding_boxes

ROWS, COLUMNS = 40, 60
BOX = np.array([24, 12, 38, 22])  # left, top, right, bottom


def pictures(number=4):
    """Black pictures with a white rectangle, its mask, and the box around it."""
    images = np.zeros((number, ROWS, COLUMNS, 3), "float32")
    images[:, BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    boxes = {
        "boxes": np.tile(BOX, (number, 1, 1)).astype("float32"),
        "labels": np.full((number, 1), 7),
    }
    return {
        "images": images,
        "labels": np.eye(number, dtype="float32"),
        "bounding_boxes": boxes,
        "segmentation_masks": (images[..., :1] > 0).astype("uint8") * 200,
        "names": list("abcd")[:number],
    }


MOVING = [
    ("RandomFlip", {}),
    ("RandomRotation", {"factor": 0.2, "fill_mode": "constant"}),
    ("RandomTranslation", {"height_factor": 0.4, "width_factor": 0.5, "fill_mode": "constant"}),
    ("RandomZoom", {"height_factor": 0.4, "width_factor": 0.5, "fill_mode": "constant"}),
    ("RandomShear", {"x_factor": 0.4, "y_factor": 0.3, "fill_mode": "constant"}),
    ("RandomPerspective", {"scale": 0.5, "factor": (1, 1)}),
    ("RandomCrop", {"height": 25, "width": 30}),
    ("RandomCrop", {"height": 50, "width": 100}),
    ("CenterCrop", {"height": 20, "width": 30}),
    ("CenterCrop", {"height": 60, "width": 50}),
    ("Resizing", {"height": 64, "width": 30}),
    ("Resizing", {"height": 30, "width": 30, "crop_to_aspect_ratio": True}),
    ("Resizing", {"height": 64, "width": 64, "pad_to_aspect_ratio": True}),
    ("RandAugment", {"num_ops": 3, "factor": 0.2}),
]


@pytest.mark.parametrize(
    "name, arguments, compiled",
    [(*case, False) for case in MOVING if case[0] != "RandAugment"]
    + [(*case, True) for case in MOVING if case[0] in ("RandAugment", "RandomCrop", "RandomShear")],
)
def test_boxes_and_masks_lie_where_the_object_is(name, arguments, compiled):
    """In each format, and with channels first."""
    box_format, first = ("rel_center_xywh", True) if compiled else ("center_yxhw", False)
    data_format = "channels_first" if first else "channels_last"
    data, rest = pictures(), {"bounding_box_format": box_format, "data_format": data_format}
    if not name.startswith(("Center", "Resiz")):
        rest["seed"] = 5
    layer = getattr(layers, name)(**arguments, **rest)
    given = bounding_boxes.convert_format(data["bounding_boxes"], "xyxy", box_format, ROWS, COLUMNS)
    data["bounding_boxes"] = given
    if first:
        for part in ("images", "segmentation_masks"):
            data[part] = np.moveaxis(data[part], -1, 1)
    if compiled:
        del data["names"]
        state = [v.value for v in layer.non_trainable_variables]
        output = jax.jit(lambda d: layer.stateless_call([], state, d, training=True)[0])(data)
    else:
        output = layer(data, training=True)
        assert output["names"] == data["names"]
    np.testing.assert_array_equal(output["labels"], data["labels"])
    masks = (
        np.moveaxis(output["segmentation_masks"], 1, -1) if first else output["segmentation_masks"]
    )
    masks = np.asarray(masks)[..., 0]
    assert masks.dtype == "uint8" and set(np.unique(masks)) <= {0, 200}
    rows, columns = masks.shape[1:]
    boxes = bounding_boxes.convert_format(
        output["bounding_boxes"], box_format, "xyxy", rows, columns
    )
    for mask, box, label in zip(masks, boxes["boxes"], boxes["labels"], strict=True):
        y, x = np.nonzero(mask)
        if len(x) < 5:
            continue
        assert label[0] == 7
        around = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        slack = 2.0 * max(1, columns / COLUMNS, rows / ROWS)
        np.testing.assert_allclose(np.asarray(box)[0], around, atol=slack)


KERAS_MOVES_THEM_RIGHT = [MOVING[0], MOVING[2], MOVING[3], MOVING[8]]


@pytest.mark.parametrize("name, arguments", KERAS_MOVES_THEM_RIGHT)
def test_boxes_of_keras(name, arguments):
    data = pictures()
    del data["names"]
    arguments = {**arguments, "bounding_box_format": "xyxy"}
    if name.startswith("Random"):
        arguments["seed"] = 3
    ours, theirs = (getattr(k.layers, name)(**arguments) for k in (cornu, keras))
    mine = ours(data, training=True)
    copied = jax.tree.map(np.copy, data)
    other = theirs(copied, training=True)
    for part in ("boxes", "labels"):
        np.testing.assert_allclose(
            mine["bounding_boxes"][part], other["bounding_boxes"][part], rtol=1e-5, atol=1e-4
        )
    np.testing.assert_allclose(mine["images"], other["images"], atol=2e-3)
    np.testing.assert_array_equal(
        mine["segmentation_masks"], np.asarray(other["segmentation_masks"])
    )
    # What was given is not changed.
    assert data["images"].shape == (4, ROWS, COLUMNS, 3)
    np.testing.assert_array_equal(data["bounding_boxes"]["boxes"][0, 0], BOX)


def test_one_image_and_lists_of_boxes():
    layer = layers.RandomFlip("horizontal", bounding_box_format="xyxy", seed=1)
    data = pictures(3)
    transformation = {
        "flips": np.array([[[[True]]], [[[False]]], [[[True]]]]),
        "input_shape": data["images"].shape,
    }
    batch = layer.transform_bounding_boxes(data["bounding_boxes"], transformation)
    flipped = [COLUMNS - 38, 12, COLUMNS - 24, 22]
    assert np.asarray(batch["boxes"])[:, 0].tolist() == [flipped, BOX.tolist(), flipped]
    data["bounding_boxes"] = {
        "boxes": [[BOX.tolist()], [], [BOX.tolist(), [0, 0, 5, 5]]],
        "labels": [[1], [], [2, 3]],
    }
    output = layer(data, training=False)["bounding_boxes"]
    assert output["labels"].tolist() == [[1, -1], [-1, -1], [2, 3]]
    single = {
        "images": data["images"][0],
        "labels": data["labels"][0],
        "segmentation_masks": data["segmentation_masks"][0, ..., 0],
        "bounding_boxes": {"boxes": BOX[None], "labels": [4]},
    }
    with pytest.raises(ValueError, match="must also be a list"):
        layer({**single, "bounding_boxes": {"boxes": [BOX.tolist()], "labels": np.array([4])}})
    single["bounding_boxes"]["labels"] = np.array([4])
    output = layer(single)
    assert [output[n].shape for n in ("images", "labels", "segmentation_masks")] == [
        (ROWS, COLUMNS, 3),
        (3,),
        (ROWS, COLUMNS),
    ]
    assert output["bounding_boxes"]["boxes"].shape == (1, 4)


def test_mixing_labels_masks_and_boxes():
    data = pictures()
    one_hot = np.eye(4)[np.random.RandomState(0).randint(0, 4, (4, ROWS, COLUMNS))].astype(
        "float32"
    )
    data["segmentation_masks"] = one_hot
    data["images"] = (
        np.random.RandomState(0).uniform(0, 255, data["images"].shape).astype("float32")
    )
    del data["bounding_boxes"]
    for name in ("MixUp", "CutMix"):
        layer = getattr(layers, name)(seed=4)
        drawn = getattr(layers, name)(seed=4).get_random_transformation(data)
        weight, order = (
            np.asarray(drawn[n]).squeeze() for n in ("mix_weight", "permutation_order")
        )
        output = layer(data)
        mixed = weight[:, None] * data["labels"] + (1 - weight[:, None]) * data["labels"][order]
        np.testing.assert_allclose(output["labels"], mixed, rtol=1e-6)
        # Pixels and masks are made of the same two, in the same shares.
        for part in ("images", "segmentation_masks"):
            own, other = data[part], data[part][order]
            if name == "MixUp":
                w = weight[:, None, None, None]
                np.testing.assert_allclose(output[part], w * own + (1 - w) * other, atol=1e-3)
            else:
                taken = np.asarray(drawn["batch_masks"])[..., :1]
                np.testing.assert_array_equal(output[part], np.where(taken, other, own))
                assert abs(1 - taken.mean((1, 2, 3)) - weight).max() < 0.1
        with pytest.raises(ValueError, match="numbers of classes cannot be mixed"):
            layer({"images": data["images"], "labels": np.array([1, 2, 3, 0])})
        with pytest.raises(ValueError, match="numbers of classes cannot be mixed"):
            layer({"images": data["images"], "labels": np.array([[1], [2], [3], [0]])})
    boxes = pictures()["bounding_boxes"]
    both = layers.MixUp(bounding_box_format="xyxy", seed=1)({**data, "bounding_boxes": boxes})
    assert both["bounding_boxes"]["boxes"].shape == (4, 2, 4)
    assert both["bounding_boxes"]["labels"].shape == (4, 2)


def test_masks_of_elastic_images_and_of_mixtures():
    data = pictures()
    del data["bounding_boxes"]
    output = layers.RandomElasticTransform((1, 1), (0.5, 0.5), seed=2, value_range=(0, 255))(data)
    seen = np.asarray(output["images"])[..., 0] > 127
    assert (seen != (np.asarray(output["segmentation_masks"])[..., 0] > 0)).mean() < 0.01
    assert (seen != (data["images"][..., 0] > 0)).any()
    with pytest.raises(ValueError, match="Pass one-hot masks"):
        layers.AugMix(seed=1)(data)
    with pytest.raises(NotImplementedError, match="where bounding boxes come to lie"):
        layer = layers.RandomElasticTransform(bounding_box_format="xyxy")
        layer(pictures())
    with pytest.raises(ValueError, match="no bounding box format"):
        layers.RandomFlip()(pictures())
    with pytest.raises(ValueError, match="Invalid bounding box format"):
        layers.RandomFlip(bounding_box_format="xyxz")


def test_positions_of_boxes_keep_their_precision():
    """In 16 bits, a position of 1001 would become 1000."""
    layer = layers.RandomFlip("vertical", bounding_box_format="xyxy", dtype="mixed_bfloat16")
    data = pictures()
    data["bounding_boxes"]["boxes"][:, 0, 2] = 1001.25
    output = layer(data, training=False)
    assert output["images"].dtype == "bfloat16"
    assert float(output["bounding_boxes"]["boxes"][0, 0, 2]) == 1001.25


def test_a_graph_with_a_dict():
    inputs = {"images": cornu.Input((ROWS, COLUMNS, 3)), "labels": cornu.Input((4,))}
    model = cornu.Model(inputs, layers.MixUp(seed=3)(inputs))
    data = {n: v for n, v in pictures().items() if n in inputs}
    output = model(data, training=True)
    assert 0 < float(np.max(np.abs(output["labels"] - data["labels"]))) < 1
    np.testing.assert_array_equal(model.predict(data, verbose=0)["labels"], data["labels"])


def test_numbers_of_boxes():
    layer = layers.MaxNumBoundingBoxes(2, bounding_box_format="xyxy")
    for number in (1, 3):
        boxes = {"boxes": np.ones((2, number, 4)), "labels": np.zeros((2, number), "int32")}
        output = layer({"images": np.ones((2, 8, 8, 3)), "bounding_boxes": boxes})["bounding_boxes"]
        expected = keras.layers.MaxNumBoundingBoxes(2, bounding_box_format="xyxy")(
            {"images": np.ones((2, 8, 8, 3)), "bounding_boxes": dict(boxes)}
        )["bounding_boxes"]
        for part in ("boxes", "labels"):
            np.testing.assert_array_equal(output[part], expected[part])
