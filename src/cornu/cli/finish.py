"""The end of `cornu train`: the best model is judged, and everything is written into the run's folder."""

import dataclasses
from pathlib import Path

from cornu.cli import label_noise, quality, run_folder, run_settings, split
from cornu.cli.data import Data, Part
from cornu.cli.judge import Judgement, judge
from cornu.cli.progress import Recorder, rounded
from cornu.cli.report import page as report
from cornu.core import processes
from cornu.visualize import plot_confusion_matrix, plot_history, plot_predictions

# What the best epoch is chosen by, in words.
WORDS = {"accuracy": "accuracy", "pr_auc": "area under precision over recall"}


def finish(model, data: Data, folder: Path, recorder: Recorder) -> None:
    """Evaluate the model, which is the best, draw the figures, and print where everything is."""
    epoch, measure = recorder.best_epoch, recorder.measure
    value = recorder.history[f"val_{measure}"][epoch - 1]
    print(
        f"\nBest epoch: {epoch} of {len(recorder.rows)} (validation {WORDS[measure]} {value:.4f})"
    )
    batch_size = recorder.settings["batch_size"]
    validated = judge(model, data.validation, batch_size)
    found = _fitted(validated)
    part: Part = data.validation if data.test is None else data.test
    if data.test is None:
        judged = dataclasses.replace(validated, **found)
    else:
        judged = judge(model, part, batch_size, **found)
    what = "" if data.is_multi_label else " accuracy"
    if data.test is None:
        print(f"Validation{what}: {judged.describe()}")
        chose = ", and the thresholds" if data.is_multi_label else ""
        print(
            f"The data have no test part. These images also chose the best epoch{chose}, which flatters."
        )
    else:
        print(f"Test{what}: {judged.describe()}")
    if data.is_multi_label:
        listed = [
            f"{n} {t:.2f}" for n, t in zip(data.class_names, found["thresholds"], strict=True)
        ]
        more = ", …" if len(listed) > 10 else ""
        print(f"Thresholds: {', '.join(listed[:10])}{more}. {quality.HOW_THRESHOLDS_ARE_FOUND}")
    else:
        _say_of_calibration(judged, len(validated.y_true))
    doubtful = label_noise.candidates(model, data, batch_size)
    if not processes.is_first():
        return
    if doubtful:
        label_noise.write(doubtful, data, folder / run_folder.NOISE, judged.accuracy)
    results = {
        "best_epoch": epoch,
        "judged_on": "validation" if data.test is None else "test",
        "images": len(judged.y_true),
        "wrong": judged.num_wrong,
        "accuracy": judged.accuracy,
        "loss": judged.loss,
        **found,
        "judged_sha256": split.digest_of(part.digests),
        "model_sha256": run_folder.digest_of(folder / run_folder.MODEL),
    }
    if data.is_multi_label:
        results |= quality.of_labels(judged.y_true, judged.probabilities, judged.thresholds)
        # That is the accuracy.
        del results["exact"]
    recorder.settings |= results
    run_folder.write_settings(folder, recorder.settings)
    names = data.class_names
    plot_history(recorder.history, folder / run_folder.CURVES)
    files = {
        run_folder.MODEL: f"the best model, of epoch {epoch}",
        run_folder.HISTORY: f"loss and {WORDS[measure]} of each epoch",
        run_folder.CURVES: "the same as curves",
    }
    # An image of several classes is not taken for another class.
    if not data.is_multi_label:
        plot_confusion_matrix(judged.y_true, judged.y_pred, names, folder / run_folder.CONFUSION)
        files[run_folder.CONFUSION] = "which class is taken for which"
    if judged.images.shape[3] in (1, 3) and not data.is_multi_label:
        shown = judged.shown
        plot_predictions(
            judged.images,
            judged.y_true[shown],
            judged.probabilities[shown],
            names,
            folder / run_folder.PREDICTIONS,
        )
        files[run_folder.PREDICTIONS] = "some images, wrong ones among them"
    files |= {
        run_settings.SETTINGS: "settings, classes, versions and results",
        run_folder.CONFIG: "the options, for cornu train --config",
        run_folder.REPORT: "all of it on one page, with the worst mistakes",
        run_folder.SPLIT: "which images were trained on, and their SHA-256",
    }
    if doubtful:
        files[run_folder.NOISE] = f"{len(doubtful):,} images whose class is perhaps wrong"
    run = report.Finished(
        folder, model, data, recorder.settings, recorder.rows, epoch, part, judged, doubtful
    )
    report.write(run)
    print(f"\nSaved in {folder}:")
    for name, what in files.items():
        print(f"  {name:<22}{what}")


def _fitted(validated: Judgement) -> dict:
    """What is found on the validation images: a temperature, or a threshold for each of several classes."""
    if validated.is_multi_label:
        found = quality.best_thresholds(validated.y_true, validated.raw)
        return {"temperature": 1.0, "thresholds": found}
    if len(validated.y_true) < quality.ENOUGH_TO_CALIBRATE:
        return {"temperature": 1.0}
    return {"temperature": rounded(quality.temperature(validated.y_true, validated.raw))}


def _say_of_calibration(judged: Judgement, num_validated: int) -> None:
    before = quality.calibration_error(judged.y_true, judged.raw)
    if num_validated < quality.ENOUGH_TO_CALIBRATE:
        print(
            f"Calibration error: {before:.3f}. Probabilities stay as they are: to fit a temperature takes "
            f"{quality.ENOUGH_TO_CALIBRATE} validation images; these are {num_validated}."
        )
        return
    print(
        f"Calibration error: {judged.calibration_error:.3f}, with logits divided by the temperature "
        f"{judged.temperature:.3f} that fits the validation images; {before:.3f} without."
    )
