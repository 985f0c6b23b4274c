"""`report.html`: that it holds what it should, and nothing of it can harm who looks at it."""

import dataclasses
import html.parser
import re
from pathlib import Path

import numpy as np
import pytest

from cornu.cli import quality
from cornu.cli.data import Data, Part
from cornu.cli.judge import Judgement
from cornu.cli.label_noise import Candidate
from cornu.cli.report import charts, page, pictures

WRITE = page.write
EVIL = '<script>alert("a & b")</script>'


class Reader(html.parser.HTMLParser):
    """Checks that elements are closed, and gathers them."""

    EMPTY = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def finished(folder, channels=3, classes=3, count=60, right=False, monkeypatch=None):
    """A run that nobody has trained."""
    random = np.random.default_rng(0)
    y = np.arange(count) % classes
    x = random.integers(0, 255, (count, 48, 48, channels)).astype("uint8")
    logits = random.normal(size=(count, classes)) + (9 if right else 1) * np.eye(classes)[y]
    raw = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    names = [EVIL, *map(str, range(1, classes))]
    part = Part((x, y), names=[f"{EVIL}/{i}.png" for i in range(count)])
    data = Data(EVIL, names, part, part, None, x.shape[1:], 255, True, findings=[EVIL])
    rows = [
        {"epoch": 1, "loss": float("nan"), "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5}
        | {"seconds": 70.0}
    ] * 2
    settings = {"data": EVIL, "model": EVIL, "backbone": None, "judged_on": "validation", "seed": 1}
    settings["augment"] = "strong"
    settings |= {"versions": {"cornu": "0"}, "split_sha256": "ab", "judged_sha256": "cd"}
    settings["model_sha256"] = "ef"
    judged = Judgement(y, raw.astype("float32"), [], x[:1], quality.temperature(y, raw))
    doubtful = [Candidate("train", n, f"{EVIL}/{n}.png", 0, 1, 0.9) for n in range(30)]
    return page.Finished(folder, None, data, settings, rows, 1, part, judged, doubtful)


@pytest.mark.parametrize(
    "channels, classes, right", [(3, 3, False), (1, 3, True), (2, 3, False), (3, 70, False)]
)
def test_a_page(tmp_path, monkeypatch, channels, classes, right):
    monkeypatch.setattr(
        page, "grad_cam", lambda model, x, target: np.ones((len(x), 48, 48)) * (len(target) > 0)
    )
    run = finished(tmp_path, channels, classes, right=right)
    WRITE(run)
    text = (tmp_path / "report.html").read_text("utf-8")
    found = Reader(text)
    assert not found.all("script") and EVIL in "".join(found.text)
    assert "changed at random (strong) and mixed with each other" in text
    assert "30 images are perhaps of another class" in text and "the first 24" in text
    # Nothing is asked for elsewhere: only pictures within the page, and places on it.
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text) and "url(" not in text
    assert all(image["src"].startswith("data:image/") for image in found.all("img"))
    counts = np.bincount(run.judged.y_true * classes + run.judged.y_pred, minlength=classes**2)
    wrong = int(
        (counts.reshape(classes, classes) > 0).sum()
        - (np.diag(counts.reshape(classes, classes)) > 0).sum()
    )
    shelves = [each["id"] for each in found.all("div") if each.get("class") == "shelf"]
    shelves.remove("labels")
    assert len(shelves) == wrong == len(set(shelves)) and (wrong == 0) == right
    links = [each["href"][1:] for each in found.all("a")]
    assert sorted(links) == (sorted(shelves) if classes <= charts.MOST_CLASSES else [])
    shown = min(12, run.judged.num_wrong or 12)
    if channels == 2:
        assert not found.all("img")
    else:
        assert len(found.all("img")) == 2 * shown + run.judged.num_wrong + 24
    says = "There are no mistakes" if right else "The worst mistakes"
    assert says in text and "2 min 20 s" in text and "no test part" in text


def test_pictures_take_no_more_room_than_they_may(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_BYTES", 20_000)
    monkeypatch.setattr(page, "grad_cam", lambda model, x, target: np.ones((len(x), 48, 48)))
    WRITE(finished(tmp_path, count=200))
    assert (tmp_path / "report.html").stat().st_size < 90_000


@pytest.mark.parametrize("white, expected", [(None, [0, 255]), (16, [16, 48])])
def test_what_is_white(white, expected):
    from base64 import b64decode
    from io import BytesIO

    from PIL import Image

    image = np.full((4, 4, 1), 1.0)
    image[0] = 3.0
    address = pictures.Pictures(white).picture(image, 10)
    shown = np.asarray(Image.open(BytesIO(b64decode(address.partition(",")[2]))))
    assert sorted(set(shown.ravel().tolist())) == expected


@pytest.mark.parametrize("low, high", [(0, 1), (-0.3, 7.2), (1e-7, 3e-7), (990, 1010)])
def test_ticks(low, high):
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 6 and low <= found[0] and found[-1] <= high


def test_a_run_has_a_report(places):
    """That of a training, with the Grad-CAM of its model."""
    text = (Path(places[0]) / "whole" / "report.html").read_text("utf-8")
    found = Reader(text)
    assert len(found.all("img")) >= 2 and "Grad-CAM" in text and "tiny" in text


def test_what_was_not_calibrated_is_drawn_once(tmp_path):
    run = finished(tmp_path, 3, 3, right=False)
    both = page._calibration(run)
    run.judged = dataclasses.replace(run.judged, temperature=1.0)
    alone = page._calibration(run)
    assert (both.count("<h3>"), alone.count("<h3>")) == (2, 1)
    assert "divided by the temperature" in both and "stay as they are" in alone
