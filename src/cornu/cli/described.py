"""What an exported file says of itself: classes, how pictures become its input, and what its output is."""

import hashlib
import importlib.metadata
import json
from pathlib import Path

from cornu.cli.command import CommandError
from cornu.cli.run_folder import TrainedModel
from cornu.core.optional import required
from cornu.utils.image_folder import mode_of

# The name in the metadata of an ONNX file, and the number of the form described below.
KEY, FORM = "cornu", 1
_COLORS = {"grayscale": "gray", "rgb": "rgb", "rgba": "rgba"}


def describe(trained: TrainedModel, threshold: float, batch_size: int | None) -> dict:
    """What is written into the file, as `docs/files.md` says."""
    model = trained.model
    rows, columns, channels = trained.shape
    mode = mode_of(trained.shape)
    return {
        "form": FORM,
        "classes": trained.class_names,
        "input": {
            "name": model.input_names[0],
            "dtype": str(model.inputs[0].dtype),
            "layout": "NHWC",
            "shape": [rows, columns, channels],
            # Without them, what it takes are no pictures.
            "colors": None if trained.white is None or mode is None else _COLORS[mode],
            "white": trained.white,
        },
        "resize": {
            "method": "bilinear",
            "pixels": "squares, whose centers lie at halves",
            "smoothing": False,
            "proportions": trained.fit,
            "upright": "as EXIF says",
        },
        "output": {
            "name": model.output_names[0],
            "values": "independent" if trained.is_multi_label else "probabilities",
        },
        "threshold": threshold,
        # Of each class, where a picture may be of several; --threshold is for all of them.
        "thresholds": None if threshold else trained.thresholds,
        "temperature": trained.temperature,
        "batch_size": batch_size,
        "source": {
            "file": trained.path.name,
            "sha256": hashlib.sha256(trained.path.read_bytes()).hexdigest(),
        },
        "written_by": f"cornu {importlib.metadata.version('cornu')}",
    }


def beside(path: Path) -> Path:
    """The file beside a StableHLO program that says what an ONNX file has in it."""
    return path.with_name(f"{path.name}.json")


def description_of(path: Path) -> dict:
    """What an exported file says of itself. Raises CommandError if it says nothing, or something else."""
    if path.suffix == ".onnx":
        try:
            model = required("onnx", "Looking into an ONNX file").load(path)
        except required("google.protobuf.message", "ONNX").DecodeError as error:
            raise CommandError(f"{path} is damaged, or no ONNX file: {error}") from error
        text = {each.key: each.value for each in model.metadata_props}.get(KEY)
        where = "has no metadata"
    else:
        text = beside(path).read_text("utf-8") if beside(path).is_file() else None
        where = f"has no {beside(path).name} beside it"
    if text is None:
        raise CommandError(
            f"{path} {where} that says what its classes are, and how pictures become its input. Write it "
            "with: cornu export RUN FILE."
        )
    try:
        about = json.loads(text)
        form = about["form"]
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"What {path} says of itself is damaged: {error}") from error
    if form != FORM:
        raise CommandError(
            f"{path} was written by {about.get('written_by', 'another version')}, whose description has "
            f"the form {form}; this version reads {FORM}. Export it anew."
        )
    return about
