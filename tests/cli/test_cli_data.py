"""What DATA becomes on the command line: its parts, their pictures' names and digests."""

import hashlib

import numpy as np
from bars import make_images, write_images

from cornu.cli.data import load_data


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
