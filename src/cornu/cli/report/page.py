"""The page: its sections, one after the other."""

import dataclasses
import datetime
import platform
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from cornu.cli import quality, run_folder
from cornu.cli.augmentation import is_mixing
from cornu.cli.data import Data, Part
from cornu.cli.judge import Judgement, number
from cornu.cli.label_noise import Candidate
from cornu.cli.report import charts
from cornu.cli.report.pictures import Pictures
from cornu.explain import grad_cam

# Mistakes that are shown with Grad-CAM, and pictures of a cell of the confusion matrix.
_WORST, _OF_A_CELL = 12, 12
# Images that are shown because their class is perhaps wrong.
_DOUBTFUL = 24
# Of settings, what has a place of its own on the page.
_SHOWN_ELSEWHERE = (
    *("classes", "image", "versions"),
    *("config_sha256", "split_sha256", "judged_sha256", "model_sha256"),
)
_RESULTS = (
    *("best_epoch", "judged_on", "images", "wrong", "accuracy", "loss", "temperature"),
    *("mean_average_precision", "f1_macro", "f1_micro", "thresholds"),
)


@dataclasses.dataclass
class Finished:
    """A run that has ended.

    `rows` are those of `history.csv`; `part` holds the images of `judged`; of `doubtful`, the class is
    perhaps wrong.
    """

    folder: Path
    model: object
    data: Data
    settings: dict
    rows: list[dict]
    best_epoch: int
    part: Part
    judged: Judgement
    doubtful: list[Candidate]


def write(run: Finished) -> None:
    """Write `report.html` into the folder of a run."""
    pictures = Pictures(run.data.white)
    # The mistakes first: should room be short, they have it.
    worst = _worst(run, pictures)
    sections = [
        _head(run),
        _data(run),
        _curves(run),
        _classes(run),
        _confusion(run, pictures),
        worst,
        _doubtful(run, pictures),
        _calibration(run),
        _settings(run),
    ]
    style = Path(__file__).with_name("style.css").read_text("utf-8")
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The browser itself sees to it that nothing is asked for elsewhere, and that nothing runs.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(run.data.name)} – training report</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, sections))
        + "\n</body>\n</html>\n"
    )
    run_folder.write_text(run.folder / run_folder.REPORT, page)


def _percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def _tile(value: str, what: str) -> str:
    return f'<div class="tile"><b>{value}</b><span>{what}</span></div>'


def _head(run: Finished) -> str:
    judged, settings = run.judged, run.settings
    count = len(judged.y_true)
    low, high = quality.interval(count - judged.num_wrong, count)
    network = settings["backbone"] or settings["model"]
    seconds = sum(row["seconds"] for row in run.rows)
    rows = "×".join(map(str, run.data.shape))
    kind = settings["judged_on"]
    note = (
        ""
        if kind == "test"
        else '<p class="soft">The data have no test part. The validation images also chose the best epoch, '
        "which flatters.</p>"
    )
    confidence = f"with 95 % confidence {100 * low:.1f} to {100 * high:.1f} %"
    tiles = [
        _tile(_percent(judged.accuracy), f"{kind} accuracy; {confidence}"),
        _tile(f"{judged.num_wrong:,}", f"wrong of {count:,} {kind} images"),
        _tile(f"{run.best_epoch}", f"best epoch of {len(run.rows)}"),
        _tile(_duration(seconds), "training"),
    ]
    if judged.is_multi_label:
        found = quality.of_labels(judged.y_true, judged.probabilities, judged.thresholds)
        tiles[:2] = [
            _tile(number(found["mean_average_precision"]), f"mean average precision of {kind}"),
            _tile(number(found["f1_macro"]), "F1, the mean of the classes"),
            _tile(
                _percent(judged.accuracy),
                f"of {count:,} {kind} images have all classes right; {confidence}",
            ),
        ]
    else:
        tiles.insert(3, _tile(f"{judged.calibration_error:.3f}", "calibration error"))
    today = f"{datetime.datetime.now():%Y-%m-%d %H:%M}"
    return (
        f"<header><h1>{escape(run.data.name)}: {escape(str(network))}</h1>"
        f'<p class="soft">{len(run.data.class_names)} classes, images of {rows} · trained with Cornu '
        f"{escape(settings['versions']['cornu'])} · {today}</p></header>"
        f'<div class="tiles">{"".join(tiles)}</div>{note}'
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _parts(run: Finished) -> list[tuple[str, Part]]:
    data = run.data
    found = [("training", data.train), ("validation", data.validation), ("test", data.test)]
    return [(name, part) for name, part in found if part is not None]


def _data(run: Finished) -> str:
    data, parts = run.data, _parts(run)
    counts = [
        part.labels.sum(0)
        if data.is_multi_label
        else np.bincount(part.labels, minlength=len(data.class_names))
        for _, part in parts
    ]
    most = max(int(each.max()) for each in counts) or 1
    head = "".join(f"<th>{name}</th>" for name, _ in parts)
    rows = []
    for label, name in enumerate(data.class_names):
        cells = [f"<td>{int(each[label]):,}</td>" for each in counts[1:]]
        share = 100 * int(counts[0][label]) / most
        meter = f'<span class="meter"><i style="width:{share:.0f}%"></i></span>'
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{meter}{int(counts[0][label]):,}</td>{''.join(cells)}</tr>"
        )
    sums = "".join(f"<td>{len(part):,}</td>" for _, part in parts)
    table = (
        f'<div class="wide"><table><thead><tr><th>class</th>{head}</tr></thead><tbody>{"".join(rows)}'
        f"</tbody><tfoot><tr><td>all</td>{sums}</tr></tfoot></table></div>"
    )
    if len(rows) > 25:
        table = (
            f"<details><summary>Images of each of {len(rows)} classes</summary>{table}</details>"
        )
    found = "".join(f'<p class="found">{escape(each)}</p>' for each in data.findings)
    size = "×".join(map(str, data.shape[:2]))
    channels = {1: "gray", 3: "in colours"}.get(data.shape[2], f"of {data.shape[2]} channels")
    return (
        f"<section><h2>Data</h2><p>{escape(str(run.settings['data']))}: "
        f"{sum(len(part) for _, part in parts):,} images of {size}, {channels}.</p>{found}{table}</section>"
    )


_MEASURES = {"accuracy": "Accuracy", "pr_auc": "Area under precision over recall"}


def _curves(run: Finished) -> str:
    def column(name):
        return [float(row[name]) for row in run.rows]

    measure = run.data.measure
    drawings = [
        f"<div><h3>{title}</h3>"
        + charts.curves(column(name), column(f"val_{name}"), run.best_epoch, title)
        + "</div>"
        for name, title in (("loss", "Loss"), (measure, _MEASURES[measure]))
    ]
    before = run.settings.get("head_epochs", 0) if run.settings["backbone"] else 0
    note = (
        f"<p>Epochs 1 to {before} train the head alone, on frozen features.</p>" if before else ""
    )
    note += _changes(run.settings.get("augment"))
    return (
        f'<section><h2>Training</h2>{note}<div class="two">{"".join(drawings)}</div>'
        '<div class="key"><span><i class="t"></i>training</span><span><i class="v"></i>validation</span>'
        f'<span><i class="b"></i>best epoch ({run.best_epoch})</span></div></section>'
    )


def _changes(strength: str | None) -> str:
    """What is said of images that were changed at random."""
    if strength is None:
        return ""
    mixed = " and mixed with each other, labels too" if is_mixing(strength) else ""
    return (
        f"<p>Training images were changed at random ({escape(strength)}){mixed}; those of validation were "
        "not, so that their accuracy may be the higher one.</p>"
    )


def _classes(run: Finished) -> str:
    judged = run.judged
    found = quality.by_class(judged.y_true, judged.probabilities, judged.thresholds)
    columns = {
        "precision": "precision",
        "recall": "recall",
        "f1": "F1",
        "roc_auc": "ROC area",
        "average_precision": "average precision",
    }
    note = ""
    if judged.is_multi_label:
        columns["threshold"] = "threshold"
        thresholds = np.broadcast_to(judged.thresholds, len(found)).tolist()
        for each, threshold in zip(found, thresholds, strict=True):
            each["threshold"] = threshold
        note = (
            " An image may be of several classes: it is taken for each whose threshold its probability "
            f"reaches. These thresholds are in the table. {quality.HOW_THRESHOLDS_ARE_FOUND}"
        )
    head = "".join(f"<th>{title}</th>" for title in columns.values())
    rows = []
    for name, numbers in zip(run.data.class_names, found, strict=True):
        share = numbers["f1"] or 0.0
        cells = [
            f"<td>{'–' if numbers[key] is None else format(numbers[key], '.3f')}</td>"
            for key in columns
        ]
        cells[2] = cells[2].replace(
            "<td>", f'<td><span class="meter"><i style="width:{100 * share:.0f}%"></i></span>'
        )
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{numbers['images']:,}</td>{''.join(cells)}</tr>"
        )
    return (
        "<section><h2>Class by class</h2>"
        f"<p>Of the {run.settings['judged_on']} images. Precision: the share that is right of the images "
        "taken for the class. Recall: the share of its images that is found. F1: their harmonic mean."
        f"{note}</p>"
        f'<div class="wide"><table><thead><tr><th>class</th><th>images</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _confusion(run: Finished, pictures: Pictures) -> str:
    judged, names = run.judged, run.data.class_names
    if judged.is_multi_label:
        # None of them is taken for another one.
        return ""
    count = len(names)
    counts = np.bincount(
        judged.y_true.astype(int) * count + judged.y_pred, minlength=count * count
    ).reshape(count, count)
    wrong = [
        (int(counts[row, column]), int(row), int(column))
        for row, column in zip(*counts.nonzero(), strict=True)
        if row != column
    ]
    wrong.sort(key=lambda each: (-each[0], each[1], each[2]))
    cells = [_cell(run, pictures, row, column, number) for number, row, column in wrong]
    shown = {f"cell-{row}-{column}" for _, row, column in wrong}

    def cell_id(row: int, column: int) -> str | None:
        name = f"cell-{row}-{column}"
        return name if name in shown else None

    drawing = (
        f'<div class="wide">{charts.matrix(counts, names, cell_id)}</div>'
        if count <= charts.MOST_CLASSES
        else f"<p>A matrix of {count} classes would be too small to read; these are its mistakes.</p>"
    )
    many = "<h3>The pictures of each mistake, the most frequent first</h3>"
    if not cells:
        many = "<p>No image was taken for another class.</p>"
    if len(cells) > 15:
        rest = "".join(cells[12:])
        cells[12:] = [f"<details><summary>{len(cells) - 12:,} rarer ones</summary>{rest}</details>"]
    return (
        "<section><h2>Which class is taken for which</h2><p>Rows are what images are, columns what they "
        "are taken for; the colour is the share of the row. A cell that is wrong leads to its pictures.</p>"
        f'<div class="two">{drawing}<div>{many}{"".join(cells)}</div></div></section>'
    )


def _cell(run: Finished, pictures: Pictures, row: int, column: int, count: int) -> str:
    """The pictures of a cell of the matrix, those first of which the model is surest."""
    judged, names = run.judged, run.data.class_names
    places = np.flatnonzero((judged.y_true == row) & (judged.y_pred == column))
    confidence = judged.probabilities[places, column]
    chosen = [int(place) for place in places[np.argsort(-confidence, kind="stable")][:_OF_A_CELL]]
    images, _ = run.part.some(np.array(chosen))
    figures = [
        f"<figure>{_image(pictures.picture(image, 96), _name(run, place))}<figcaption>"
        f"{_percent(float(judged.probabilities[place, column]))}<br>{_caption(run, place)}"
        "</figcaption></figure>"
        for place, image in zip(chosen, images, strict=True)
    ]
    rest = f'<p class="soft">and {count - len(figures):,} more</p>' if count > len(figures) else ""
    images_of = "1 image" if count == 1 else f"{count:,} images"
    return (
        f"<details><summary>{escape(names[row])} taken for {escape(names[column])}: {images_of}</summary>"
        f'<div class="shelf" id="cell-{row}-{column}">{"".join(figures)}</div>{rest}</details>'
    )


def _name(run: Finished, place: int) -> str:
    return f"image {place}" if run.part.names is None else str(run.part.names[place])


def _caption(run: Finished, place: int) -> str:
    return f"<small>{escape(_name(run, place))}</small>"


def _image(address: str | None, name: str, kind: str = "") -> str:
    if address is None:
        return ""
    small = ' class="small"' if address.startswith("data:image/png") else ""
    return f'<img{small} src="{address}" alt="{escape(name)}{kind}">'


def _worst(run: Finished, pictures: Pictures) -> str:
    """The mistakes of which the model is surest, or, if there are none, what it is least sure of."""
    judged, names = run.judged, run.data.class_names
    if judged.is_multi_label:
        return _worst_of_several(run, pictures)
    confidence = judged.probabilities.max(-1)
    wrong = np.flatnonzero(judged.y_pred != judged.y_true)
    if len(wrong):
        title, about = "The worst mistakes", "The mistakes that the model is surest of."
        places = wrong[np.argsort(-confidence[wrong], kind="stable")][:_WORST]
    else:
        title, about = (
            "The closest calls",
            "There are no mistakes; of these the model is least sure.",
        )
        places = np.argsort(confidence, kind="stable")[:_WORST]
    images, _ = run.part.some(places)
    maps: Any
    try:
        maps = grad_cam(run.model, np.asarray(images, "float32"), target=judged.y_pred[places])
        about += " Beside each, Grad-CAM: what speaks for the class that it is taken for is bright."
    except ValueError:
        maps = [None] * len(places)
        about += " The model has no feature maps for Grad-CAM."
    figures = []
    for place, image, heat in zip(places, images, maps, strict=True):
        name = _name(run, place)
        both = _image(pictures.picture(image, 200), name)
        true, taken = judged.y_true[place], judged.y_pred[place]
        if heat is not None:
            both += _image(pictures.picture(image, 200, heat), name, " with Grad-CAM")
        says = f"{_percent(float(confidence[place]))} {escape(names[taken])}"
        says += "" if true == taken else f", is <b>{escape(names[true])}</b>"
        if heat is not None and not np.any(heat):
            says += f" (nothing in the feature maps speaks for {escape(names[taken])})"
        figures.append(
            f'<figure><div class="pair">{both}</div><figcaption>{says}<br>{_caption(run, place)}'
            "</figcaption></figure>"
        )
    return (
        f"<section><h2>{title}</h2><p>{about}</p>"
        f'<div class="worst">{"".join(figures)}</div></section>'
    )


def _worst_of_several(run: Finished, pictures: Pictures) -> str:
    """Where an image may be of several classes: the answers that are wrong, and of which it is surest."""
    judged, names = run.judged, run.data.class_names
    error = np.abs(judged.probabilities - judged.y_true) * (judged.y_pred != judged.y_true)
    order = np.argsort(-error, axis=None, kind="stable")[:_WORST]
    places, classes = np.unravel_index(order, error.shape)
    is_wrong = error[places, classes] > 0
    places, classes = places[is_wrong], classes[is_wrong]
    if not len(places):
        return "<section><h2>The worst mistakes</h2><p>There are none.</p></section>"
    images, _ = run.part.some(places)
    figures = []
    for place, label, image in zip(places, classes, images, strict=True):
        own = [names[i] for i in np.flatnonzero(judged.y_true[place])]
        says = f"{_percent(float(judged.probabilities[place, label]))} {escape(names[label])}"
        figures.append(
            f'<figure><div class="pair">{_image(pictures.picture(image, 200), _name(run, place))}</div>'
            f"<figcaption>{says}, is <b>{escape(', '.join(own) or 'of no class')}</b><br>"
            f"{_caption(run, place)}</figcaption></figure>"
        )
    return (
        "<section><h2>The worst mistakes</h2><p>The wrong answers that the model is surest of: a class "
        "that an image has not, or one that it has and does not get.</p>"
        f'<div class="worst">{"".join(figures)}</div></section>'
    )


def _doubtful(run: Finished, pictures: Pictures) -> str:
    """The images whose class is perhaps wrong, the surest first."""
    chosen = run.doubtful[:_DOUBTFUL]
    if not chosen:
        return ""
    names, figures = run.data.class_names, []
    for each in chosen:
        images, _ = getattr(run.data, each.part).some(np.array([each.row]))
        figures.append(
            f"<figure>{_image(pictures.picture(images[0], 96), each.name)}<figcaption>"
            f"{escape(names[each.label])}, or <b>{escape(names[each.looks_like])}</b>?<br>"
            f"<small>{escape(each.name)}</small></figcaption></figure>"
        )
    count = len(run.doubtful)
    rest = f" These are the first {len(chosen)}." if count > len(chosen) else ""
    images_are = "1 image is" if count == 1 else f"{count:,} images are"
    return (
        f"<section><h2>Labels to look at again</h2><p>{images_are} perhaps of another class, as a "
        f"classifier of all other images says; label_noise.csv lists them.{rest}</p>"
        f'<div class="shelf" id="labels">{"".join(figures)}</div></section>'
    )


def _calibration(run: Finished) -> str:
    judged = run.judged
    if judged.is_multi_label:
        return ""
    drawings = []
    answers = {"As the model answers": judged.raw}
    if judged.temperature == 1:
        about = (
            "The probabilities stay as they are: to fit a temperature takes "
            f"{quality.ENOUGH_TO_CALIBRATE} validation images."
        )
    else:
        about = (
            f"The logits are divided by the temperature {judged.temperature:.3f}, which fits the "
            "validation images best."
        )
        answers["Calibrated, as cornu predict answers"] = judged.probabilities
    for title, probabilities in answers.items():
        error = quality.calibration_error(judged.y_true, probabilities)
        bins = quality.reliability(judged.y_true, probabilities)
        drawings.append(
            f"<div><h3>{title}: error {error:.3f}</h3>{charts.reliability(bins, title)}</div>"
        )
    return (
        "<section><h2>Calibration</h2><p>How often answers are right (upwards) that claim a confidence "
        "(to the right): on the dotted line, as often as they claim; below it the model is too sure. Large "
        f'dots stand for many images. {about}</p><div class="two">{"".join(drawings)}</div></section>'
    )


def _settings(run: Finished) -> str:
    settings = run.settings
    options = {
        name: value
        for name, value in settings.items()
        if name not in (*_SHOWN_ELSEWHERE, *_RESULTS) and value is not None
    }
    unused = ("model",) if settings["backbone"] else ("backbone_weights", "head_epochs")
    for name in unused:
        options.pop(name, None)
    hashes = {
        "split.csv": settings["split_sha256"],
        "judged images": settings["judged_sha256"],
        "model.keras": settings["model_sha256"],
    }
    versions = {**settings["versions"], "system": platform.platform()}
    return (
        '<section><h2>How it was made</h2><div class="two"><div>'
        f"<h3>Settings</h3>{_names(options)}</div>"
        f"<div><h3>Versions</h3>{_names(versions)}<h3>SHA-256</h3>{_names(hashes)}</div></div>"
        '<p class="soft">cornu train --config config.toml trains it again; split.csv names each image with '
        "its part and hash.</p></section>"
    )


def _names(values: dict) -> str:
    rows = "".join(
        f"<tr><td>{escape(str(name))}</td><td>{escape(_value(value))}</td></tr>"
        for name, value in values.items()
    )
    return f'<table class="names">{rows}</table>'


def _value(value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "×".join(map(str, value))
    return str(value)
