"""`cornu evaluate` and `cornu predict`."""

import csv
import glob
import itertools
import json
import os
import sys
from collections.abc import Iterator

import numpy as np

from cornu.cli import quality, split
from cornu.cli.command import CommandError, say
from cornu.cli.data import SKIP, Part, check_range, has_image_files, load_to_judge, not_of_images
from cornu.cli.judge import Judgement, judge, number
from cornu.cli.parts import FITS
from cornu.cli.pictures import say_of_simplejpeg
from cornu.cli.run_folder import TrainedModel, is_described, load_trained, say_unknown
from cornu.data.ahead import in_order
from cornu.utils.image_dataset import image_files
from cornu.utils.image_folder import reader_for


def evaluate(
    model: str, data: str, batch_size: int, skip_unreadable: bool, as_json: bool = False
) -> None:
    """Print how many of DATA's images a model takes for what they are, and which it mistakes."""
    # Says what is wrong with the name before a large model is loaded.
    of_files = has_image_files(data)
    trained = load_trained(model)
    if of_files:
        say_unknown(trained.path)
    part = load_to_judge(
        data,
        trained.class_names,
        trained.shape,
        trained.white,
        batch_size,
        skip_unreadable,
        trained.fit,
        trained.is_multi_label,
    )
    if not part.is_in_memory:
        part.source.check(SKIP)
    elif is_described(trained.path):
        check_range(part.source[0], data, trained.white, "the model was trained on")
    thresholds = trained.thresholds or quality.THRESHOLD
    judged = judge(trained.model, part, batch_size, trained.temperature, thresholds)
    seen = split.seen_before(trained.path.parent, part)
    if judged.is_multi_label:
        _print_labels(judged, trained.class_names, seen, as_json)
        return
    found = _qualities(judged, part, trained.class_names)
    found |= _trained_on(seen)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    print(f"Accuracy: {judged.describe()}")
    low, high = found["accuracy_interval"]
    print(f"With 95 % confidence {100 * low:.1f} to {100 * high:.1f} % of such images.")
    if seen is not None:
        print(_known(seen, len(judged.y_true)))
    print()
    print("\n".join(_table(found["classes"])))
    if found["mistakes"]:
        print("\nThe most frequent mistakes:")
        for each in found["mistakes"]:
            print(f"  {each['class']} is taken for {each['taken_for']}: {_images(each['images'])}")
        print("\nThe mistakes it is most sure of:")
        for each in found["worst"]:
            print(
                f"  {each['image']}: {each['class']}, taken for {each['taken_for']} with "
                f"{100 * each['probability']:.1f} %"
            )
    print()
    print("\n".join(_calibration(found)))


def _print_labels(judged: Judgement, names: list[str], seen: dict | None, as_json: bool) -> None:
    """What `evaluate` prints where an image may be of several classes."""
    found = quality.of_labels(judged.y_true, judged.probabilities, judged.thresholds)
    each_class = quality.by_class(judged.y_true, judged.probabilities, judged.thresholds)
    thresholds = np.broadcast_to(judged.thresholds, len(names)).tolist()
    classes = [
        {"class": name, **numbers, "threshold": threshold}
        for name, numbers, threshold in zip(names, each_class, thresholds, strict=True)
    ]
    if as_json:
        plain = {**found, "images": len(judged.y_true), "loss": judged.loss, "classes": classes}
        plain |= _trained_on(seen)
        print(json.dumps(plain, ensure_ascii=False, indent=2))
        return
    print(f"Mean average precision: {number(found['mean_average_precision'])}")
    f1 = [number(found[name]) for name in ("f1_macro", "f1_micro")]
    print(f"F1: {f1[0]} (mean of the classes), {f1[1]} (all answers)")
    print(f"All classes right: {100 * found['exact']:.2f} % of {_images(len(judged.y_true))}")
    print(f"Loss: {judged.loss:.4f}")
    if seen is not None:
        print(_known(seen, len(judged.y_true)))
    print()
    print("\n".join(_table(classes, {**_COLUMNS, "threshold": "threshold"})))


# How many mistakes are listed.
_WORST = 5


def _qualities(judged: Judgement, part: Part, names: list[str]) -> dict:
    """All that `evaluate` prints, as plain values."""
    y_true, probabilities = judged.y_true, judged.probabilities
    confidence = probabilities.max(-1)
    wrong = np.flatnonzero(judged.y_pred != y_true)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:_WORST]
    return {
        "accuracy": judged.accuracy,
        "accuracy_interval": quality.interval(len(y_true) - judged.num_wrong, len(y_true)),
        "images": len(y_true),
        "wrong": judged.num_wrong,
        "loss": judged.loss,
        "classes": [
            {"class": name, **numbers}
            for name, numbers in zip(names, quality.by_class(y_true, probabilities), strict=True)
        ],
        "mistakes": [
            {"class": names[true], "taken_for": names[taken], "images": count}
            for true, taken, count in quality.confused(y_true, probabilities)
        ],
        "worst": [
            {
                "image": f"image {i}" if part.is_in_memory else part.source.file_paths[i],
                "class": names[y_true[i]],
                "taken_for": names[judged.y_pred[i]],
                "probability": float(confidence[i]),
            }
            for i in map(int, worst)
        ],
        "calibration_error": judged.calibration_error,
        "calibration_error_of_model": quality.calibration_error(y_true, judged.raw),
        "temperature": judged.temperature,
        "fitting_temperature": quality.temperature(y_true, judged.raw),
    }


def _calibration(found: dict) -> list[str]:
    """What is said of how sure a model is."""
    used, fitting = found["temperature"], found["fitting_temperature"]
    lines = [f"Calibration error: {found['calibration_error']:.3f}."]
    if used != 1:
        lines[0] = (
            f"Calibration error: {found['calibration_error']:.3f}, with the temperature {used:.2f} that "
            f"the run has found; {found['calibration_error_of_model']:.3f} without."
        )
    ratio = fitting / used
    says = "it is too sure" if ratio > 1.05 else "it is not sure enough" if ratio < 0.95 else ""
    lines.append(f"The temperature that fits these images: {fitting:.2f}{says and f' ({says})'}.")
    return lines


def _trained_on(seen: dict[str, int] | None) -> dict:
    """How many images the run has seen, as plain values."""
    known = {"trained_on": "train", "chose_the_best_epoch": "validation"}
    return {name: None if seen is None else seen[part] for name, part in known.items()}


def _known(seen: dict[str, int], count: int) -> str:
    """What is said of images that the run has seen."""
    if seen["train"] or seen["validation"]:
        return (
            f"The run was trained on {seen['train']:,} of these {count:,} images, and chose its best epoch "
            f"by {seen['validation']:,} of them, which flatters."
        )
    return "The run was trained on none of these images."


def _images(count: int) -> str:
    return f"{count:,} image" + "s" * (count != 1)


_COLUMNS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "roc_auc": "ROC area",
    "average_precision": "average precision",
}


def _table(classes: list[dict], columns: dict[str, str] = _COLUMNS) -> list[str]:
    """A line for each class, and one above with what the numbers are."""
    width = max(len("class"), *(len(each["class"]) for each in classes))
    lines = [f"{'class':<{width}}  images  " + "  ".join(columns.values())]
    for each in classes:
        numbers = [
            f"{'' if each[name] is None else format(each[name], '.3f'):>{len(title)}}"
            for name, title in columns.items()
        ]
        lines.append(f"{each['class']:<{width}}  {each['images']:>6,}  " + "  ".join(numbers))
    return lines


# Images that go through the model at once.
_BATCH = 32


def predict(
    model: str,
    images: list[str],
    top: int | None,
    invert: bool,
    form: str = "text",
    threshold: float = 0.0,
) -> None:
    """Print the most probable classes of image files; those that cannot be read are named.

    Args:
        model: a run's folder or a file.
        images: files, folders, patterns with `*`, and `-` for names on standard input.
        top: how many classes of an image to print; None for 3, or, where an image may be of several, for
            all that reach their thresholds.
        invert: whether to swap dark and light.
        form: `"text"`, `"json"` for a JSON object a line, or `"csv"`.
        threshold: the least probability of a class that is printed. With 0, classes that an image may have
            beside others have their own thresholds, which are the run's.
    """
    trained = load_trained(model)
    say_unknown(trained.path)
    read = _reader(trained, invert)

    if trained.temperature != 1:
        say(f"probabilities are calibrated, with the run's temperature {trained.temperature:.3f}.")

    least = np.full(len(trained.class_names), threshold)
    if trained.thresholds is not None and not threshold:
        least = np.array(trained.thresholds)
    most = top or (3 if trained.thresholds is None else len(least))

    def load(path):
        try:
            return path, read(path), None
        except OSError as error:
            return path, None, error

    if form == "csv":
        print("image,class,probability")
    count = num_unreadable = 0
    loaded = in_order(load, image_paths(images), os.cpu_count() or 1, 2 * _BATCH)
    while batch := list(itertools.islice(loaded, _BATCH)):
        pixels = [each for _, each, _ in batch if each is not None]
        answers = iter(_answers(trained, pixels) if pixels else ())
        for path, each, error in batch:
            count += 1
            if each is None:
                num_unreadable += 1
                say(reason(path, error))
                continue
            probabilities = next(answers)
            best = np.argsort(-probabilities, kind="stable")[:most]
            names = trained.class_names
            shown = [
                (names[i], float(probabilities[i])) for i in best if probabilities[i] >= least[i]
            ]
            _print(form, path, shown)
    if not count:
        raise CommandError("There are no images.")
    if num_unreadable:
        raise CommandError(f"{num_unreadable} of {count} images could not be read.")


def _answers(trained: TrainedModel, pixels: list) -> np.ndarray:
    raw = np.asarray(trained.model.predict_on_batch(np.stack(pixels)), "float32")
    return quality.calibrated(raw, trained.temperature)


def _print(form: str, path: str, found: list[tuple[str, float]]) -> None:
    if form == "json":
        classes = [{"class": name, "probability": probability} for name, probability in found]
        print(json.dumps({"image": path, "classes": classes}, ensure_ascii=False))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([path, name, f"{probability:.6f}"] for name, probability in found)
    else:
        print(path)
        width = max((len(name) for name, _ in found), default=0)
        for name, probability in found:
            print(f"  {name:<{width}}  {100 * probability:6.2f} %")
        if not found:
            print("  no class is that probable")


def image_paths(images: list[str]) -> Iterator[str]:
    """The files that are meant, those of a folder and of a pattern in the order of their names."""
    for image in images:
        if image == "-":
            yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        elif os.path.isdir(image):
            found = image_files(image)
            if not found:
                raise CommandError(f"The folder {image} holds no images.")
            say_of_simplejpeg(found)
            yield from found
        elif any(sign in image for sign in "*?[") and not os.path.exists(image):
            found = sorted(glob.glob(image, recursive=True))
            if not found:
                raise CommandError(f"No file is called {image}.")
            say_of_simplejpeg(found)
            yield from found
        else:
            yield image


def _reader(trained: TrainedModel, invert: bool):
    """A function from an image's path to its pixels as the model takes them."""
    white = trained.white
    reader = reader_for(trained.shape, white, FITS[trained.fit])
    if white is None or reader is None:
        raise not_of_images(str(trained.path), trained.shape, white)
    return (lambda path: white - reader(path)) if invert else reader


def reason(path: str, error: OSError) -> str:
    """Why an image cannot be read."""
    if isinstance(error.__cause__, OSError) and error.__cause__.strerror is None:
        return str(error.__cause__)
    named = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return f"Cannot read the image {path}: {named.strerror}."
