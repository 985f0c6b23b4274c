"""`ImageDataGenerator` and its functions beside Keras' legacy code, which may be wrong in two ways."""

import keras
import numpy as np
import pandas
import pytest
from keras.src.legacy.preprocessing import image as legacy

import cornu
from cornu.preprocessing import image

# Keras' own use of SciPy.
pytestmark = pytest.mark.filterwarnings("ignore:.*ndimage.interpolation:DeprecationWarning")

X = np.random.RandomState(0).rand(7, 8, 8, 3).astype("float32") * 255
Y = np.arange(7)

CHANGES = {
    "rotation": {"rotation_range": 40},
    "shear": {"shear_range": 20},
    "zoom": {"zoom_range": 0.3},
    "zoom of a pair": {"zoom_range": (0.5, 0.8), "fill_mode": "constant", "cval": 9.0},
    "all": {
        "rotation_range": 10,
        "shear_range": 5,
        "zoom_range": 0.1,
        "horizontal_flip": True,
        "vertical_flip": True,
        "channel_shift_range": 30.0,
        "brightness_range": (0.5, 1.5),
        "rescale": 1 / 255,
        "fill_mode": "reflect",
        "interpolation_order": 0,
    },
    "values of its own": {
        "samplewise_center": True,
        "samplewise_std_normalization": True,
        "preprocessing_function": lambda x: x * 2,
    },
    "channels": {"channel_shift_range": 50.0, "horizontal_flip": True, "dtype": "float64"},
}


def read(generator, count=3):
    return [next(generator) for _ in range(count)]


def check(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        for a, b in (
            zip(one, other, strict=True) if isinstance(one, tuple | list) else [(one, other)]
        ):
            assert np.asarray(a).dtype == np.asarray(b).dtype
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("seed", [3, None])
@pytest.mark.parametrize("name", CHANGES)
def test_batches_are_keras(name, seed):
    batches = []
    for k in (image, legacy):
        np.random.seed(1)
        flow = k.ImageDataGenerator(**CHANGES[name]).flow(X, Y, batch_size=3, seed=seed)
        assert len(flow) == 3
        batches.append([*read(flow, 5), flow[1], flow[0]])
    check(*batches)


def test_what_fit_finds_is_keras():
    arguments = [
        {"featurewise_center": True, "featurewise_std_normalization": True, "rescale": 0.1},
        {"featurewise_center": True, "zca_whitening": True, "zca_epsilon": 1e-2},
    ]
    for how in arguments:
        for augment in ({}, {"augment": True, "rounds": 2, "seed": 5}):
            both = []
            for k in (image, legacy):
                generator = k.ImageDataGenerator(horizontal_flip=True, **how)
                generator.fit(X / 255, **augment)
                both.append(read(generator.flow(X / 255, seed=0, batch_size=2)))
            for mine, other in zip(*both, strict=True):
                np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-3)


def test_shifts_are_along_their_names():
    """Keras takes one for the other; the numbers drawn are the same."""
    ramp = np.zeros((6, 10, 1), "float32") + np.arange(10)[None, :, None]
    for most in (0.3, 5, [1, 2], 2.0):
        for name, moved in (("height_shift_range", False), ("width_shift_range", True)):
            change = image.ImageDataGenerator(**{name: most})
            np.random.seed(1)
            drawn = change.get_random_transform((6, 10, 1))
            np.random.seed(1)
            theirs = legacy.ImageDataGenerator(**{name: most}).get_random_transform((6, 10, 1))
            assert (drawn["tx"], drawn["ty"]) == (theirs["ty"], theirs["tx"])
            assert any(drawn[key] for key in ("tx", "ty"))
            assert np.array_equal(change.apply_transform(ramp, drawn), ramp) != moved


def test_an_image_that_is_no_square_turns_about_its_middle():
    x = np.zeros((5, 9, 1))
    x[2, 4] = 1
    where = {"row_axis": 0, "col_axis": 1, "channel_axis": 2}
    turned = image.apply_affine_transform(x, theta=90, **where)
    assert turned[2, 4] == pytest.approx(1)
    # Of a square, as Keras does.
    for more in (
        {"theta": 30},
        {"shear": 20, "zx": 0.7},
        {"tx": 2, "ty": -1, "theta": 10, "zy": 2},
    ):
        mine, other = (k.apply_affine_transform(X[0], **more, **where) for k in (image, legacy))
        np.testing.assert_allclose(mine, other, atol=1e-3)
        first = image.apply_affine_transform(X[0].transpose(2, 0, 1), **more)
        np.testing.assert_allclose(first.transpose(1, 2, 0), mine, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("random_rotation", (30,)),
        ("random_shear", (20,)),
        ("random_zoom", ((0.5, 1.5),)),
        ("random_channel_shift", (30,)),
        ("random_brightness", ((0.5, 1.5),)),
        ("apply_brightness_shift", (0.7, False)),
        ("apply_channel_shift", (-9,)),
    ],
)
@pytest.mark.parametrize("x", [X[0], X[0] / 100 - 1], ids=["bytes", "others"])
def test_functions_are_keras(name, arguments, x):
    results = []
    for k in (image, legacy):
        np.random.seed(4)
        where = () if "channel" in name or "brightness" in name else (0, 1, 2)
        results.append(getattr(k, name)(x, *arguments, *where))
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-4)


def test_channels_first():
    first = image.ImageDataGenerator(data_format="channels_first", **CHANGES["all"])
    last = image.ImageDataGenerator(**CHANGES["all"])
    mine = read(first.flow(X.transpose(0, 3, 1, 2), seed=0))[0]
    np.testing.assert_allclose(mine.transpose(0, 2, 3, 1), read(last.flow(X, seed=0))[0], atol=1e-5)
    # `next` is also a method, as in Keras 2.
    np.testing.assert_array_equal(last.flow(X, seed=0).next(), read(last.flow(X, seed=0))[0])


def test_arrays_with_more_than_images(tmp_path):
    arguments = {"sample_weight": Y / 10, "batch_size": 2, "seed": 1, "subset": "training"}
    both = []
    for k in (image, legacy):
        change = k.ImageDataGenerator(validation_split=0.3)
        training = change.flow((X, [Y, Y * 2]), Y, ignore_class_split=True, **arguments)
        x, y, weights = next(training)
        both.append((*x, y))
        # Keras takes the weights of the other part.
        assert k is legacy or np.array_equal(weights, y / 10)
        assert training.n == 5 and change.flow(X, subset="validation").n == 2
    check([both[0]], [both[1]])
    image.ImageDataGenerator().flow(X, save_to_dir=tmp_path, save_prefix="a", batch_size=2)[0]
    assert len(list(tmp_path.glob("a_*.png"))) == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name, count in (("ant", 5), ("bee", 3)):
        (folder / name).mkdir()
        for i in range(count):
            cornu.utils.save_img(folder / name / f"{i}.png", X[i])
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"class_mode": "binary", "color_mode": "grayscale", "shuffle": False},
        {
            "class_mode": "sparse",
            "classes": ["bee", "ant"],
            "target_size": (6, 4),
            "subset": "training",
        },
        {"class_mode": "input", "subset": "validation"},
        {"class_mode": None, "color_mode": "rgba", "interpolation": "bilinear"},
    ],
    ids=str,
)
def test_folders_are_keras(folder, arguments, capsys):
    both = []
    for k in (image, legacy):
        change = k.ImageDataGenerator(horizontal_flip=True, validation_split=0.4)
        how = {"target_size": (8, 8), "batch_size": 3, "seed": 2, **arguments}
        flow = change.flow_from_directory(str(folder), **how)
        both.append((flow, read(flow)))
    check(both[0][1], both[1][1])
    (mine, _), (other, _) = both
    for name in (
        "filenames",
        "class_indices",
        "samples",
        "num_classes",
        "image_shape",
        "filepaths",
    ):
        assert getattr(mine, name) == getattr(other, name)
    np.testing.assert_array_equal(mine.classes, other.classes)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Found {mine.samples} images belonging to 2 classes." == lines[-1]


FRAME = pandas.DataFrame(
    {
        "filename": [f"ant/{i}.png" for i in range(5)] + [f"bee/{i}.png" for i in range(3)],
        "class": ["ant"] * 5 + ["bee"] * 3,
        "several": [["ant"], ["ant", "bee"]] * 4,
        "weight": np.arange(8.0),
        "value": np.arange(8) * 10,
    }
)


@pytest.mark.parametrize(
    "arguments",
    [
        {"weight_col": "weight"},
        {"y_col": "several"},
        {"class_mode": "sparse", "classes": ["bee"]},
        {"class_mode": "binary", "subset": "training"},
        {"class_mode": "raw", "y_col": "value", "validate_filenames": False},
        {"class_mode": "raw", "y_col": ["value", "weight"]},
        {"class_mode": "multi_output", "y_col": ["value", "weight"]},
        {"class_mode": None},
        {"class_mode": "input"},
    ],
    ids=str,
)
def test_frames_are_keras(folder, arguments):
    both = []
    for k in (image, legacy):
        change = k.ImageDataGenerator(vertical_flip=True, validation_split=0.4)
        how = {"target_size": (8, 8), "batch_size": 3, "seed": 2, **arguments}
        flow = change.flow_from_dataframe(FRAME, str(folder), **how)
        both.append(read(flow))
    if arguments.get("class_mode") == "multi_output":
        both = [[(x, *y) for x, y in batches] for batches in both]
    check(*both)


def test_it_trains(folder):
    model = cornu.Sequential([cornu.layers.Flatten(), cornu.layers.Dense(2, activation="softmax")])
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    change = image.ImageDataGenerator(rescale=1 / 255, horizontal_flip=True)
    flow = change.flow_from_directory(folder, (8, 8), batch_size=3, seed=0)
    history = model.fit(flow, epochs=2, verbose=0, validation_data=flow).history
    assert len(history["val_loss"]) == 2
    assert model.predict(flow, verbose=0).shape == (8, 2)


@pytest.mark.parametrize("seed", [3, None])
def test_an_interrupted_run_goes_on_to_the_bit(seed, tmp_path):
    class Interrupt(cornu.callbacks.Callback):
        def __init__(self, at):
            self.at, self.seen = at, 0

        def on_train_batch_end(self, batch, logs=None):
            self.seen += 1
            if self.seen == self.at:
                raise InterruptedError

    def run(folder=None, at=None):
        cornu.utils.set_random_seed(1)
        model = cornu.Sequential(
            [cornu.Input((8, 8, 3)), cornu.layers.Flatten(), cornu.layers.Dense(1)]
        )
        model.compile(cornu.optimizers.SGD(1e-8), "mse")
        change = image.ImageDataGenerator(rotation_range=20, horizontal_flip=True)
        callbacks = [Interrupt(at)] if at else []
        if folder:
            callbacks.append(cornu.callbacks.BackupAndRestore(folder, save_freq=1))
        flow = change.flow(X, Y, batch_size=2, seed=seed)
        return model.fit(flow, epochs=3, verbose=0, callbacks=callbacks).history["loss"]

    expected = run()
    for at in (3, 5, 10):
        with pytest.raises(InterruptedError):
            run(tmp_path, at)
    assert run(tmp_path) == expected


@pytest.mark.parametrize("shape", [(20, 12, 3), (2, 9, 30, 1)])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_smart_resize(shape, interpolation):
    x = np.random.RandomState(1).rand(*shape).astype("float32")
    mine = image.smart_resize(x, (7, 9), interpolation)
    assert type(mine) is np.ndarray
    other = keras.preprocessing.image.smart_resize(x, (7, 9), interpolation)
    np.testing.assert_allclose(mine, other, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d: image.ImageDataGenerator(zoom_range="1"), "`zoom_range` should be"),
        (lambda d: image.ImageDataGenerator(brightness_range=1), "`brightness_range` should be"),
        (lambda d: image.ImageDataGenerator(validation_split=2), "strictly between 0 and 1"),
        (lambda d: image.ImageDataGenerator(data_format="x"), "`data_format` should be"),
        (lambda d: image.ImageDataGenerator().fit(X[0]), "array of 4 axes"),
        (lambda d: image.ImageDataGenerator().flow(X[0]), "array of 4 axes"),
        (lambda d: image.ImageDataGenerator().flow(X, Y[:3]), r"len\(y\)=3"),
        (lambda d: image.ImageDataGenerator().flow(X, subset="training"), "needs a generator with"),
        (
            lambda d: image.ImageDataGenerator(validation_split=0.5).flow(X, Y, subset="training"),
            "different classes",
        ),
        (lambda d: image.ImageDataGenerator().flow_from_directory("nowhere"), "no folder"),
        (
            lambda d: image.ImageDataGenerator().flow_from_directory(d, class_mode="x"),
            "Invalid class_mode",
        ),
        (
            lambda d: image.ImageDataGenerator().flow_from_dataframe(FRAME, d, y_col="x"),
            "no column 'x'",
        ),
        (
            lambda d: image.ImageDataGenerator().flow_from_dataframe(FRAME, d, y_col="value"),
            'use class_mode="raw"',
        ),
        (lambda d: image.smart_resize(X, (1, 2, 3)), "tuple of 2 integers"),
        (lambda d: image.apply_affine_transform(X[0], 1, channel_axis=1), "must be 0, 1 and 2"),
    ],
)
def test_mistakes(folder, wrong, message):
    with pytest.raises((ValueError, TypeError, OSError), match=message):
        wrong(folder)


def test_warnings(folder):
    with pytest.warns(UserWarning, match="implies `featurewise_center=True`"):
        change = image.ImageDataGenerator(featurewise_std_normalization=True)
    with pytest.warns(UserWarning, match="call `fit`") as caught:
        change.flow(X, batch_size=1)[0]
    assert len(caught) == 2
    frame = FRAME.assign(filename=["x.png", *FRAME["filename"][1:]])
    with pytest.warns(UserWarning, match=r"1 invalid image filename.*x\.png"):
        flow = image.ImageDataGenerator().flow_from_dataframe(frame, str(folder))
    assert flow.samples == 7
