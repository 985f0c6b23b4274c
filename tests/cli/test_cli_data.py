"""What DATA becomes on the command line: its parts, their pictures' names and digests."""

import hashlib
import shutil

import numpy as np
from bars import make_images, write_images
from PIL import Image

from cornu.cli import pictures
from cornu.cli.data import load_data, load_to_judge
from cornu.cli.duplicates import near_pairs
from cornu.cli.pictures import reader_of
from cornu.cli.splits import stratified


def load(data, seed=0, image_size=(8, 8), **options):
    return load_data(str(data), 0.2, seed, image_size, 8, **options)


def test_pictures_have_names_and_digests(tmp_path):
    for part in ("train", "val", "test"):
        write_images(tmp_path / part, 10, seed=len(part))
    data = load(tmp_path)
    for part, name in ((data.train, "train"), (data.validation, "val"), (data.test, "test")):
        assert {n.split("/")[0] for n in part.names} == {name} and len(part.names) == 10
        for n, digest in zip(part.names, part.digests, strict=True):
            assert hashlib.sha256((tmp_path / n).read_bytes()).hexdigest() == digest
    x, y = make_images(20)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    data = load(tmp_path / "a.npz", image_size=None)
    assert data.train.names is None
    assert len({*data.train.digests, *data.validation.digests}) == 20


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def photograph(seed, shape=(32, 48)):
    """Smooth blobs, whose neighbours are alike as in a photograph."""
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 5, 3)).astype("uint8")
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def test_the_split_has_all_classes_and_does_not_depend_on_the_order_of_reading():
    labels = np.array([0] * 40 + [1] * 12 + [2] * 3 + [3])
    chosen = stratified(labels, 0.25, 0)
    assert np.bincount(labels[chosen], minlength=4).tolist() == [10, 3, 1, 0]
    assert (stratified(labels, 0.25, 0) == chosen).all()
    assert (stratified(labels, 0.25, 1) != chosen).any()
    # Of several classes, the rarest counts.
    several = np.eye(3, dtype="float32")[np.array([0] * 30 + [1] * 9 + [2] * 3)]
    several[39:, 0] = 1
    assert several[stratified(several, 1 / 3, 0)].sum(0).tolist() == [11, 3, 1]


def test_copies_are_named_and_those_that_are_judged_by_are_not_learned_from(tmp_path, capsys):
    for part, first in (("train", 0), ("val", 8), ("test", 16)):
        for n in range(first, first + 8):
            save(tmp_path / part / "ab"[n % 2] / f"{n}.png", photograph(n))
    plain = load(tmp_path)
    assert plain.findings == [] or "proportions" in plain.findings[0]
    shutil.copy(tmp_path / "val" / "a" / "8.png", tmp_path / "train" / "a" / "x.png")
    shutil.copy(tmp_path / "train" / "a" / "0.png", tmp_path / "train" / "b" / "y.png")
    small = Image.fromarray(photograph(16)).resize((30, 20))
    small.save(tmp_path / "train" / "a" / "z.jpg", quality=60)
    capsys.readouterr()
    data = load(tmp_path)
    text = " ".join(data.findings)
    assert "val/a/8.png = train/a/x.png. 1 of them are not learned from" in text
    assert "1 pair of images are the same file: train/a/0.png = train/b/y.png" in text
    assert "look the same in different parts: test/a/16.png = train/a/z.jpg" in text
    assert "different classes: train/a/0.png = train/b/y.png" in text
    assert data.train.names == sorted(set(data.train.names) - {"train/a/x.png"})
    assert len(data.train) == 10 and len(load(tmp_path, keep_duplicates=True).train) == 11
    assert all(finding in capsys.readouterr().err for finding in data.findings[:1])


def test_who_reads_many_jpegs_hears_once_how_to_read_them_more_quickly(
    tmp_path, capsys, monkeypatch
):
    write_images(tmp_path / "photos", 8)
    for path in (tmp_path / "photos").glob("*/*.png"):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    for many, is_there, said in ((9, False, 0), (8, True, 0), (8, False, 1)):
        pictures._say_once.cache_clear()
        monkeypatch.setattr(pictures, "_MANY_JPEG", many)
        monkeypatch.setattr(pictures, "decodes_jpeg_quickly", lambda found=is_there: found)
        load_data(str(tmp_path / "photos"), 0.25, 0, (8, 8), 4)
        load_to_judge(str(tmp_path / "photos"), ["level", "upright"], (8, 8, 3), 255, 4)
        assert capsys.readouterr().err.count("pip install simplejpeg") == said
    pictures._say_once.cache_clear()


def test_near_duplicates_of_many():
    """As comparing each with each finds them; empty images are not alike."""
    thumbnails = np.stack([photograph(n, (16, 16))[..., 0] for n in range(60)])
    changed = (thumbnails[:20] * 0.9 + 5).astype("uint8")
    empty = np.full((5, 16, 16), 255, "uint8")
    found = near_pairs([str(n) for n in range(85)], np.concatenate([thumbnails, changed, empty]))
    assert found == [(n, n + 60) for n in range(20)]


def test_kinds_of_image_files(tmp_path):
    """Palettes, transparency, CMYK, 16 bits, cameras on their side, and other proportions."""
    pixels = photograph(0, (16, 16))
    image = Image.fromarray(pixels)
    side = Image.Exif()
    side[0x0112] = 6
    gray = pixels.mean(-1).astype("uint8")
    for n, label in enumerate("ab" * 3):
        save(tmp_path / label / f"{n}.png", photograph(n + 1))
    image.save(tmp_path / "a" / "plain.bmp")
    image.quantize(256).save(tmp_path / "a" / "palette.png")
    image.convert("RGBA").save(tmp_path / "a" / "alpha.webp", lossless=True)
    image.convert("CMYK").save(tmp_path / "a" / "print.jpg", quality=100)
    image.rotate(90).save(tmp_path / "a" / "side.jpg", exif=side, quality=100, subsampling=0)
    Image.fromarray(gray.astype("uint16") * 257).save(tmp_path / "b" / "deep.png")
    Image.fromarray(gray).save(tmp_path / "b" / "gray.gif")
    (tmp_path / "a" / "scan.tif").write_bytes(b"left out")
    data = load(tmp_path, image_size=(16, 16))
    assert "left out" in data.findings[0] and data.findings[0].endswith("WebP: a/scan.tif.")
    found = {}
    for part in (data.train, data.validation):
        x, _ = part.some(range(len(part)))
        found |= dict(zip(part.names, x, strict=True))
    for name in ("plain.bmp", "alpha.webp"):
        np.testing.assert_array_equal(found[f"a/{name}"], pixels)
    for name in ("palette.png", "print.jpg", "side.jpg"):
        assert np.abs(found[f"a/{name}"] - pixels).mean() < 8, name
    np.testing.assert_allclose(found["b/deep.png"], found["b/gray.gif"], atol=0.01)
    # 32x48, of which the middle 32x32 or a square with black is left.
    wide = photograph(1).astype("float32")
    for fit, expected in (
        ("crop", wide[:, 8:40]),
        ("pad", np.pad(wide, ((8, 8), (0, 0), (0, 0)))),
    ):
        size = expected.shape[:2]
        read = reader_of("rgb", size, fit)(str(tmp_path / "a" / "0.png"))
        np.testing.assert_array_equal(read, expected)
