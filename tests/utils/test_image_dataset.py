import io
import itertools
import os
import threading

import keras
import numpy as np
import pytest
from keras.src.utils import dataset_utils
from PIL import Image

from cornu.utils.image_dataset import image_dataset_from_directory
from cornu.utils.image_folder import ImageReader, check_readable
from cornu.utils.images import save_img
from cornu.utils.resizing import INTERPOLATIONS

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of 7, 5 and 9 pictures in all formats and several sizes, one below another."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    endings = itertools.cycle(["jpg", "png", "bmp", "gif", "webp", "JPEG", "PNG"])
    sizes = itertools.cycle([(12, 10), (9, 9), (20, 30)])
    for name, count in (("ant", 7), ("bee", 5), ("cat", 9)):
        (folder / name / "below").mkdir(parents=True)
        for i in range(count):
            path = folder / name / ("below" if i % 4 == 3 else "") / f"{i:02}.{next(endings)}"
            save_img(path, random.integers(0, 256, (*next(sizes), 3)))
    (folder / "ant" / "notes.txt").write_text("no picture")
    (folder / ".hidden").mkdir()
    save_img(folder / ".hidden" / "x.png", np.zeros((3, 3, 3)))
    return folder


def load(folder, **arguments):
    return image_dataset_from_directory(
        folder, **{"image_size": (9, 9), "verbose": False, "batch_size": 4, **arguments}
    )


def gather(dataset):
    x, y = zip(*dataset, strict=True)
    return np.concatenate(x), np.concatenate(y)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    ("labels", "class_names"),
    [("inferred", None), ("inferred", ["cat", "ant"]), (None, None), ("list", None)],
    ids=str,
)
def test_files_labels_and_order_are_keras(folder, shuffle, class_names, labels):
    labels = [n % 4 for n in range(22)] if labels == "list" else labels
    theirs_paths, theirs_labels, theirs_names = dataset_utils.index_directory(
        # Keras shuffles the caller's own list of labels.
        str(folder),
        list(labels) if isinstance(labels, list) else labels,
        ENDINGS,
        class_names,
        shuffle,
        seed=5,
        verbose=False,
    )
    ours = load(folder, labels=labels, class_names=class_names, shuffle=shuffle, seed=5)
    assert [os.path.normpath(path) for path in ours.file_paths] == theirs_paths
    assert ours.class_names == theirs_names
    if labels is not None:
        batches = [ours[i][1] for i in range(len(ours))]
        np.testing.assert_array_equal(np.concatenate(batches), theirs_labels)


@pytest.mark.parametrize("shuffle", [False, True])
def test_split_is_keras(folder, shuffle):
    paths, labels, _ = dataset_utils.index_directory(
        str(folder), "inferred", ENDINGS, None, shuffle, seed=5, verbose=False
    )
    arguments = {"validation_split": 0.3, "shuffle": shuffle, "seed": 5}
    both = load(folder, subset="both", **arguments)
    for subset, of_both in zip(("training", "validation"), both, strict=True):
        alone = load(folder, subset=subset, **arguments)
        expected = dataset_utils.get_training_or_validation_split(paths, labels, 0.3, subset)
        assert alone.file_paths == of_both.file_paths == expected[0]
        for dataset in (alone, of_both):
            y = np.concatenate([dataset[i][1] for i in range(len(dataset))])
            np.testing.assert_array_equal(y, expected[1])
    # What is mixed anew in each pass is the training part, not the validation part of "both".
    np.testing.assert_array_equal(gather(both[1])[0], gather(both[1])[0])
    assert np.array_equal(gather(both[0])[0], gather(both[0])[0]) != shuffle


@pytest.mark.parametrize(
    ("interpolation", "color_mode", "data_format"),
    [(interpolation, "rgb", "channels_last") for interpolation in INTERPOLATIONS]
    + [("bilinear", color_mode, "channels_last") for color_mode in ("grayscale", "rgba")]
    + [("bilinear", color_mode, "channels_first") for color_mode in ("grayscale", "rgb")],
)
@pytest.mark.parametrize(
    "aspect", [{}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True}], ids=str
)
def test_pixels_are_keras(folder, interpolation, aspect, color_mode, data_format):
    ours = load(
        folder,
        class_names=["bee"],
        image_size=(8, 11),
        interpolation=interpolation,
        color_mode=color_mode,
        data_format=data_format,
        shuffle=False,
        **aspect,
    )
    x, _ = gather(ours)
    assert x.dtype == np.float32
    for image, path in zip(x, ours.file_paths, strict=True):
        decoded = keras.utils.img_to_array(keras.utils.load_img(path, color_mode), data_format)
        theirs = keras.ops.image.resize(
            decoded, (8, 11), interpolation, data_format=data_format, **aspect
        )
        # Of 255: XLA rounds the sampling points' kernel in its own order.
        np.testing.assert_allclose(image, theirs, rtol=1e-6, atol=5e-4)


@pytest.mark.parametrize("batch_size", [4, None])
@pytest.mark.parametrize(
    ("label_mode", "dtype", "shape"),
    [("int", "int32", ()), ("binary", "float32", (1,)), ("categorical", "float32", (2,))],
)
def test_forms_of_labels(folder, batch_size, label_mode, dtype, shape):
    dataset = load(
        folder,
        class_names=["bee", "ant"],
        label_mode=label_mode,
        batch_size=batch_size,
        shuffle=False,
    )
    assert len(dataset) == dataset.num_batches == (12 if batch_size is None else 3)
    batch = () if batch_size is None else (4,)
    for x, y in dataset:
        assert x.shape == (*batch, 9, 9, 3)
        assert y.shape == (*batch, *shape) and y.dtype == dtype
    labels = np.concatenate([np.reshape(y, (-1, *shape)) for _, y in dataset])
    indices = np.repeat([0, 1], [5, 7])
    expected = {
        "int": indices,
        "binary": indices[:, None],
        "categorical": keras.utils.to_categorical(indices, 2),
    }
    np.testing.assert_array_equal(labels, expected[label_mode])


@pytest.mark.parametrize("arguments", [{"labels": None}, {"label_mode": None}], ids=str)
def test_images_without_labels(folder, arguments):
    dataset = load(folder, batch_size=5, **arguments)
    shapes = [x.shape for x in dataset]
    # With `labels=None` folders mean nothing, so the hidden one counts as well, as in Keras.
    assert sum(shape[0] for shape in shapes) == len(dataset.file_paths) == 22
    assert shapes[0] == (5, 9, 9, 3)
    assert dataset.class_names is None


def test_each_pass_is_mixed_anew_and_the_same_in_each_run(folder):
    passes = [
        [gather(dataset) for _ in range(3)]
        for dataset in (load(folder, seed=1), load(folder, seed=1))
    ]
    for (x1, y1), (x2, y2) in zip(*passes, strict=True):
        np.testing.assert_array_equal(x1, x2)
        np.testing.assert_array_equal(y1, y2)
    sums = [x.sum(axis=(1, 2, 3)) for x, _ in passes[0]]
    for one, other in itertools.combinations(sums, 2):
        assert not np.array_equal(one, other)
        np.testing.assert_array_equal(np.sort(one), np.sort(other))
    for x, y in passes[0]:
        pairs = {(float(a.sum()), int(b)) for a, b in zip(x, y, strict=True)}
        assert pairs == {(float(a.sum()), int(b)) for a, b in zip(*passes[0][0], strict=True)}
    assert not np.array_equal(gather(load(folder, seed=2))[1], passes[0][0][1])


def test_without_a_seed_numpys_decides(folder):
    orders = []
    for _ in range(2):
        np.random.seed(3)
        orders.append(load(folder).file_paths)
    assert orders[0] == orders[1] != load(folder).file_paths


def test_no_more_is_read_ahead_than_the_queue_holds(folder, monkeypatch):
    read = []
    monkeypatch.setattr(
        ImageReader, "__call__", lambda self, path, out: read.append(path) or out.fill(0)
    )
    dataset = load(folder, batch_size=1, shuffle=False)
    assert dataset.workers >= 1 and dataset.max_queue_size < 21
    dataset.workers, dataset.max_queue_size = 2, 3
    batches = iter(dataset)
    for taken in range(1, 6):
        next(batches)
        assert len(read) <= taken + 3
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("cornu-data")]


def test_batches_by_index(folder):
    dataset = load(folder, shuffle=False)
    np.testing.assert_array_equal(dataset[-1][0], dataset[5][0])
    assert dataset[5][0].shape == (1, 9, 9, 3)
    for index in (6, -7):
        with pytest.raises(IndexError):
            dataset[index]


def test_links_are_followed_on_request(folder, tmp_path):
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "link").symlink_to(folder / "bee")
    save_img(tmp_path / "data" / "a" / "1.png", np.zeros((9, 9, 3)))
    assert len(load(tmp_path / "data").file_paths) == 1
    assert len(load(tmp_path / "data", follow_links=True).file_paths) == 6


def test_what_is_printed(folder, capsys):
    arguments = {"validation_split": 0.2, "seed": 0, "verbose": True}
    load(folder, subset="both", **arguments)
    assert capsys.readouterr().out == (
        "Found 21 files belonging to 3 classes.\n"
        "Using 17 files for training.\nUsing 4 files for validation.\n"
    )
    load(folder, labels=None, verbose=True)
    assert capsys.readouterr().out == "Found 22 files.\n"
    load(folder)
    assert capsys.readouterr().out == ""


@pytest.fixture
def damaged_folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            save_img(tmp_path / name / f"{i}.jpg", np.random.default_rng(i).normal(size=(9, 9, 3)))
    whole = (tmp_path / "a" / "1.jpg").read_bytes()
    (tmp_path / "a" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b" / "2.jpg").write_bytes(b"")
    # A format that Pillow gives to another program to read.
    (tmp_path / "b" / "3.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    return tmp_path


def test_unreadable_images_are_named_before_the_first_batch(damaged_folder):
    dataset = load(damaged_folder, shuffle=False, batch_size=1)
    message = r'3 of 8 images cannot be read: .*a/1\.jpg: .*b/2\.jpg: .*b/3\.jpg: .*on_error="skip"'
    with pytest.raises(OSError, match=message):
        next(iter(dataset))
    # Each part of a folder looks at all of it.
    both = load(damaged_folder, validation_split=0.4, subset="both", seed=0)
    for part in both:
        with pytest.raises(OSError, match="3 of 8 images cannot be read"):
            next(iter(part.batch(2)))
    for name in ("a/1.jpg", "b/2.jpg", "b/3.jpg"):
        (damaged_folder / name).write_bytes((damaged_folder / "a" / "0.jpg").read_bytes())
    next(iter(both[0]))
    assert len(gather(both[1])[1]) == 3


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "webp"])
def test_whole_images_are_distinguished_from_truncated_ones(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    save_img(path, np.random.default_rng(0).integers(0, 256, (40, 40, 3)))
    whole = path.read_bytes()
    for appended in (b"", b"Samsung's remark"):
        path.write_bytes(whole + appended)
        check_readable([str(path)], "")
    for length in (len(whole) * 2 // 3, 20, 1, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(OSError, match=rf"Cannot read the image .*a\.{ending}"):
            check_readable([str(path)], "")
    path.write_bytes(whole)
    with pytest.raises(OSError, match=rf"Cannot read the image .*none\.{ending}"):
        check_readable([str(path), str(tmp_path / f"none.{ending}")], "")


def test_a_size_that_its_checksum_contradicts_is_damage(tmp_path):
    path = tmp_path / "a.png"
    save_img(path, np.zeros((40, 40, 3)))
    whole = bytearray(path.read_bytes())
    whole[18] ^= 1
    path.write_bytes(whole)
    with pytest.raises(OSError, match=r"Cannot read the image .*a\.png"):
        check_readable([str(path)], "")


def test_an_unreadable_image_is_named(damaged_folder):
    dataset = load(damaged_folder, shuffle=False)
    with pytest.raises(OSError, match=r'Cannot read the image .*a/1\.jpg: .*on_error="skip"'):
        dataset[0]
    with pytest.raises(OSError, match=r"b/2\.jpg: no known image format"):
        dataset[1]
    assert not [t for t in threading.enumerate() if t.name.startswith("cornu-data")]


def test_unreadable_images_are_skipped_with_one_warning(damaged_folder):
    with pytest.warns(UserWarning, match="Skipped 3 of 8 images") as caught:
        dataset = load(damaged_folder, shuffle=False, on_error="skip")
    assert len(caught) == 1
    assert all(name in str(caught[0].message) for name in ("a/1.jpg", "b/2.jpg", "b/3.jpg"))
    assert [path[-7:] for path in dataset.file_paths] == [
        "a/0.jpg",
        "a/2.jpg",
        "a/3.jpg",
        "b/0.jpg",
        "b/1.jpg",
    ]
    np.testing.assert_array_equal(gather(dataset)[1], [0, 0, 0, 1, 1])


def test_skipping_all_images_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"None of the 1 images can be read.*1\.png"):
        load(tmp_path, on_error="skip")


def test_skipping_nothing_warns_of_nothing(folder):
    assert len(load(folder, on_error="skip").file_paths) == 21


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "There is no folder"),
        ("a file", NotADirectoryError, "Expected a folder"),
        ([], ValueError, "no subfolders"),
        (["1.png", "2.png"], ValueError, "pass `labels=None`"),
        (["a/", "b/"], ValueError, "No images found in directory"),
        (["a/1.txt"], ValueError, "Allowed formats"),
    ],
    ids=str,
)
def test_folders_that_hold_nothing_of_use(tmp_path, content, error, message):
    folder = tmp_path / "data"
    if isinstance(content, str):
        folder.write_text(content)
    elif content is not None:
        folder.mkdir()
        for name in content:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).mkdir() if name.endswith("/") else (folder / name).write_text("x")
    with pytest.raises(error, match=message):
        load(folder)


def test_a_folder_without_images_and_without_labels(tmp_path):
    with pytest.raises(ValueError, match="No images found"):
        load(tmp_path, labels=None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0, 1]}, r"len\(labels\) is 2 while we found 22 files"),
        ({"labels": "ants"}, "`labels` argument should be a list/tuple"),
        ({"labels": ["ant"] * 22}, "`labels` must be integers"),
        ({"labels": [5] * 22, "label_mode": "categorical"}, "must be from 0 to 0"),
        ({"labels": None, "class_names": ["ant"]}, "You can only pass `class_names`"),
        ({"class_names": ["ant", "dog"]}, "did not match the names of the subdirectories"),
        ({"label_mode": "sparse"}, "`label_mode` argument must be"),
        ({"label_mode": "binary"}, "there must be exactly 2 class_names"),
        ({"color_mode": "hsv"}, "`color_mode` must be one of"),
        ({"image_size": (3, 3, 3)}, "Invalid `image_size`"),
        ({"image_size": (0, 3)}, "Invalid `image_size`"),
        ({"interpolation": "cubical"}, "`interpolation` should be one of"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"data_format": "channels"}, "data_format"),
        ({"format": "numpy"}, "`format` should be"),
        ({"on_error": "ignore"}, "`on_error` should be"),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, "Only one of"),
        ({"validation_split": 2.0, "subset": "both", "seed": 0}, "must be between 0 and 1"),
        ({"validation_split": 0.2}, "If `subset` is set"),
        ({"subset": "training"}, "If `subset` is set"),
        ({"validation_split": 0.2, "subset": "test", "seed": 0}, "`subset` must be either"),
        ({"validation_split": 0.2, "subset": "both"}, "you must provide a `seed`"),
        ({"validation_split": 0.01, "subset": "both", "seed": 0}, "leaves 21 for training and 0"),
    ],
    ids=str,
)
def test_wrong_arguments(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        load(folder, **arguments)


def test_pixels_of_all_kinds_of_files_are_0_to_255(tmp_path):
    """16 bits beside 8, both ways up, and what macOS leaves beside an image."""
    (tmp_path / "a").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    x = np.array([[100, 200], [0, 255]], "uint8")
    Image.fromarray(x).save(tmp_path / "a" / "1.png", exif=exif)
    Image.fromarray(x * np.uint16(257)).save(tmp_path / "a" / "2.png")
    (tmp_path / "a" / "._1.png").write_bytes(b"remarks")
    for mode, upright in itertools.product(("grayscale", "rgb"), (False, True)):
        options = {"color_mode": mode, "image_size": (2, 2), "exif_orientation": upright}
        data = load(tmp_path, shuffle=False, **options)[0][0][..., 0]
        np.testing.assert_array_equal(data, [x[::-1, ::-1] if upright else x, x])


def test_images_of_the_right_size_are_not_altered(tmp_path):
    (tmp_path / "a").mkdir()
    x = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype("uint8")
    buffer = io.BytesIO()
    Image.fromarray(x).save(buffer, "png")
    (tmp_path / "a" / "1.png").write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(load(tmp_path)[0][0][0], x)
