"""What a classifier's answers are worth: numbers by class, an interval for the accuracy, calibration."""

import math

import numpy as np

# Of the bars that compare confidence with accuracy.
_BINS = 15
# From which probability on an image is taken for a class, where it may be of several.
THRESHOLD = 0.5
# Images with and without a class that it takes to find another one.
ENOUGH_FOR_A_THRESHOLD = 10
HOW_THRESHOLDS_ARE_FOUND = (
    "They have the largest F1 on the validation images; a class that fewer than "
    f"{ENOUGH_FOR_A_THRESHOLD} of these have, or lack, keeps {THRESHOLD}."
)
# With fewer validation images, chance would decide how sure the model is made.
ENOUGH_TO_CALIBRATE = 50


def interval(right: int, count: int) -> tuple[float, float]:
    """Where the accuracy on all such images lies, with 95 % confidence.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    z = 1.959963984540054
    share = right / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def by_class(y_true, probabilities, thresholds=THRESHOLD) -> list[dict]:
    """For each class, how many images it has, and how well they are told from all others.

    `y_true` is the number of each image's class, or 0 and 1 for each class of `(n, classes)`; then those
    are taken for a class that have at least the threshold, or that of the class, of its probability.

    Of a class: `precision` is the share that is right of the images that are taken for it, `recall` the
    share of its images that are taken for it, `f1` their harmonic mean. `roc_auc` is the chance that an
    image of the class gets more of its probability than one of another; `average_precision` the area under
    precision over recall. What has no value, such as the recall of a class without images, is None.
    """
    y_true = np.asarray(y_true)
    if y_true.ndim == 2:
        of_class, taken = y_true > 0, probabilities >= np.asarray(thresholds)
    else:
        classes = np.arange(probabilities.shape[1])
        of_class = y_true[:, None] == classes
        taken = probabilities.argmax(-1)[:, None] == classes
    found = []
    for label in range(probabilities.shape[1]):
        is_one, is_taken = of_class[:, label], taken[:, label]
        hits = int((is_one & is_taken).sum())
        precision, recall = _share(hits, is_taken.sum()), _share(hits, is_one.sum())
        both = int(is_one.sum() + is_taken.sum())
        found.append(
            {
                "images": int(is_one.sum()),
                "precision": precision,
                "recall": recall,
                "f1": _share(2 * hits, both),
                "roc_auc": roc_auc(is_one, probabilities[:, label]),
                "average_precision": average_precision(is_one, probabilities[:, label]),
            }
        )
    return found


def _share(part, whole) -> float | None:
    return float(part / whole) if whole else None


def roc_auc(is_one, scores) -> float | None:
    """The area under the curve of true over false positives; None without images of both kinds."""
    ones, others = int(is_one.sum()), int((~is_one).sum())
    if not ones or not others:
        return None
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # The mean rank of equal scores.
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return float((ranks[is_one].sum() - ones * (ones + 1) / 2) / (ones * others))


def average_precision(is_one, scores) -> float | None:
    """The mean precision at each recall that is reached; None without images of the class."""
    if not is_one.any():
        return None
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
    hits = np.cumsum(is_one[order])[last]
    precision, recall = hits / (last + 1), hits / hits[-1]
    return float((np.diff(recall, prepend=0) * precision).sum())


def confused(y_true, probabilities, most: int = 5) -> list[tuple[int, int, int]]:
    """The most frequent mistakes: what it is, what it is taken for, and how often."""
    wrong = np.asarray(y_true) != (predicted := probabilities.argmax(-1))
    pairs, counts = np.unique(
        np.stack([np.asarray(y_true)[wrong], predicted[wrong]], 1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:most]
    return [(int(pairs[i, 0]), int(pairs[i, 1]), int(counts[i])) for i in order]


def of_labels(y_true, probabilities, thresholds=THRESHOLD) -> dict:
    """How good answers are where an image may be of several classes.

    `mean_average_precision` is the mean of the classes' areas under precision over recall, `f1_macro` that
    of their F1; `f1_micro` is the F1 of all answers together; `exact` is the share of images all of whose
    classes are right.
    """
    classes = by_class(y_true, probabilities, thresholds)
    is_one, is_taken = np.asarray(y_true) > 0, probabilities >= np.asarray(thresholds)
    return {
        "mean_average_precision": _mean([each["average_precision"] for each in classes]),
        "f1_macro": _mean([each["f1"] for each in classes]),
        "f1_micro": _share(2 * (is_one & is_taken).sum(), is_one.sum() + is_taken.sum()),
        "exact": float((is_one == is_taken).all(1).mean()),
    }


def best_thresholds(y_true, probabilities) -> list[float]:
    """For each class the probability from which on an image is taken for it, for the largest F1.

    A class of too few images, or of too few others, keeps `THRESHOLD`.
    """
    found = []
    for is_one, scores in zip((np.asarray(y_true) > 0).T, probabilities.T, strict=True):
        ones = int(is_one.sum())
        if min(ones, len(is_one) - ones) < ENOUGH_FOR_A_THRESHOLD:
            found.append(THRESHOLD)
            continue
        order = np.argsort(-scores, kind="stable")
        sorted_scores = scores[order].astype("float64")
        # Those of equal scores are taken together.
        last = np.flatnonzero(np.diff(sorted_scores, append=-1.0) != 0)
        f1 = 2 * np.cumsum(is_one[order])[last] / (last + 1 + ones)
        best = int(f1.argmax())
        # Halfway to the first that is not taken.
        below = sorted_scores[last[best + 1]] if best + 1 < len(last) else 0.0
        found.append(float(f"{(sorted_scores[last[best]] + below) / 2:.6g}"))
    return found


def _mean(values: list) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def calibration_error(y_true, probabilities) -> float:
    """How far confidence is from accuracy: the mean over bins of confidence, weighted by their images.

    Source: C. Guo et al., On calibration of modern neural networks, 2017.
    """
    bins = reliability(y_true, probabilities)
    gaps = sum(count * abs(right - confidence) for count, confidence, right in bins)
    return float(gaps / len(probabilities))


def reliability(y_true, probabilities) -> list[tuple[int, float, float]]:
    """For each bin of confidence: how many images, their mean confidence, and the share that is right."""
    confidence = probabilities.max(-1).astype("float64")
    right = probabilities.argmax(-1) == np.asarray(y_true)
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    chosen = [bins == number for number in np.unique(bins)]
    return [
        (int(own.sum()), float(confidence[own].mean()), float(right[own].mean())) for own in chosen
    ]


def calibrated(probabilities: np.ndarray, divisor: float) -> np.ndarray:
    """Probabilities whose logits are divided by a temperature."""
    if divisor == 1:
        return probabilities
    scaled = _logits(probabilities) / divisor
    shares = np.exp(scaled - scaled.max(-1, keepdims=True))
    return (shares / shares.sum(-1, keepdims=True)).astype("float32")


def _logits(probabilities) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype("float64"), 1e-12))


def temperature(y_true, probabilities) -> float:
    """The number that divides the logits for the least cross-entropy; more than 1: the model is too sure.

    One more image is counted, as wrong: of the class that comes second, on average over the images. Without
    it, a few images that are all right would make the model sure of everything.

    Source: C. Guo et al., On calibration of modern neural networks, 2017; the image more is as in J. Platt,
    Probabilistic outputs for support vector machines, 1999.
    """
    logits, rows, y_true = _logits(probabilities), np.arange(len(y_true)), np.asarray(y_true)
    second = np.argsort(-logits, -1, kind="stable")[:, 1]

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled -= scaled.max(-1, keepdims=True)
        total = np.log(np.exp(scaled).sum(-1))
        return float((total - scaled[rows, y_true]).sum() + (total - scaled[rows, second]).mean())

    # The loss has one minimum along the inverse of the temperature: a golden-section search.
    low, high, ratio = math.log(0.05), math.log(20), (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp((low + high) / 2)
