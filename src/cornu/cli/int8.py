"""`cornu export --int8`: an ONNX file that computes in eight bits, by ONNX Runtime's own tool."""

import tempfile
from pathlib import Path

import numpy as np

from cornu.cli.command import CommandError
from cornu.cli.data import Part
from cornu.core.optional import required

# Pictures that show which numbers occur, and those that the accuracy is measured on, at most.
_CALIBRATED, _JUDGED = 200, 2000
_BATCH = 32


def quantized(
    content: bytes,
    part: Part,
    batch_size: int | None,
    least: np.ndarray,
    trained_on: np.ndarray | None,
) -> tuple[bytes, dict]:
    """The file in eight bits, and what that did to its accuracy.

    Args:
        content: an ONNX file.
        part: images with their classes. A fifth of them, at most 200, shows which numbers occur; others
            say how accurate the file is before and after.
        batch_size: images that the file takes; None for any number.
        least: from which probability on an image of several classes is of each.
        trained_on: which of the images the model was trained on; None if that is not known. Accuracy is
            that on the others, if there are any.
    """
    size = batch_size or _BATCH
    if len(part) < 2 * size:
        raise CommandError(
            f"--int8 needs {2 * size} images at least, to calibrate on and to judge by. Found: {len(part)}."
        )
    shown, judged = _divided(len(part), size, trained_on)
    tool = required("onnxruntime.quantization", "--int8", package="onnxruntime")
    preparation = required("onnxruntime.quantization.shape_inference", "--int8")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("float.onnx", "prepared.onnx", "int8.onnx")]
        paths[0].write_bytes(_without_nan(content))
        # Folds normalization into convolutions, so that there is less to round.
        preparation.quant_pre_process(*map(str, paths[:2]), skip_symbolic_shape=True)
        tool.quantize_static(
            str(paths[1]),
            str(paths[2]),
            _reader(tool, content, part, shown, size),
            quant_format=tool.QuantFormat.QDQ,
            per_channel=True,
            activation_type=tool.QuantType.QUInt8,
            weight_type=tool.QuantType.QInt8,
            nodes_to_exclude=_last_nodes(paths[1]),
            # The scale of a normalization that follows no convolution has one axis, the channels'; the tool
            # looks for them on the second.
            extra_options={
                "QDQOpTypePerChannelSupportToAxis": {
                    f"{kind}Normalization": 0 for kind in ("Batch", "Instance", "Layer")
                }
            },
        )
        made = paths[2].read_bytes()
    labels = part.labels[judged]
    before, after = (_answers(file, part, judged, size, least) for file in (content, made))
    return made, {
        "calibrated_on": len(shown),
        "judged_on": len(judged),
        "trained_on": None if trained_on is None else int(trained_on[judged].sum()),
        "accuracy_before": _share(before, labels),
        "accuracy": _share(after, labels),
        "same_answer": int(_are_same(before, after).sum()),
    }


def _divided(count: int, size: int, trained_on: np.ndarray | None) -> tuple:
    """The numbers of the images that show which values occur, and of those to judge by."""
    order = np.random.default_rng(0).permutation(count)
    number = min(_CALIBRATED, max(count // 5, size))
    if trained_on is None or trained_on.all():
        return order[:number], order[number : number + _JUDGED]
    seen, unseen = order[trained_on[order]], order[~trained_on[order]]
    if len(seen) >= size:
        return seen[:number], unseen[:_JUDGED]
    return unseen[:number], unseen[number : number + _JUDGED]


def _without_nan(content: bytes) -> bytes:
    """The file with 0 in place of NaN, which the tool finds no range for.

    It stands where a variance would be one of no numbers at all, as no picture is.
    """
    onnx = required("onnx", "--int8")
    model = onnx.load_from_string(content)
    for constant in model.graph.initializer:
        values = onnx.numpy_helper.to_array(constant)
        if values.dtype.kind == "f" and np.isnan(values).any():
            constant.CopyFrom(onnx.numpy_helper.from_array(np.nan_to_num(values), constant.name))
    return model.SerializeToString()


def _last_nodes(path: Path) -> list[str]:
    """The names, given here, of the nodes behind the last products: the softmax.

    In eight bits it would answer 0 for what is less probable than 1/510, from which no temperature can make
    a probability.
    """
    onnx = required("onnx", "--int8")
    model = onnx.load(path)
    made_by = {name: node for node in model.graph.node for name in node.output}
    tensors = [output.name for output in model.graph.output]
    found: list[str] = []
    while tensors:
        node = made_by.get(tensors.pop())
        if node is not None and node.op_type not in _PRODUCTS:
            node.name = f"last_{len(found)}"
            found.append(node.name)
            tensors += node.input
    onnx.save(model, path)
    return found


_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def describe_int8(found: dict, is_several: bool, source: str, before: int, after: int) -> str:
    """A line about it; `is_several`: an image may be of several classes."""
    count, seen = found["judged_on"], found["trained_on"]
    if seen is None:
        which = "; whether it was trained on them is not known"
    elif seen:
        which = ", on which it was trained, which flatters both"
    else:
        which = ", on which it was not trained"
    measure = "all classes right" if is_several else "accuracy"
    now, then = (f"{100 * found[name]:.2f} %" for name in ("accuracy", "accuracy_before"))
    return (
        f"int8: {measure} {now}, {then} before, on {count:,} images of {source}{which}; the same "
        f"answer for {found['same_answer']:,} of them. Calibrated on {found['calibrated_on']:,} others. "
        f"{after:,} bytes, {before:,} before."
    )


def _batches(part: Part, rows: np.ndarray, size: int):
    """Images and classes, always as many at once; the last ones are repeated to fill up."""
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        x, y = part.some(np.resize(some, size))
        yield x, np.asarray(y)[: len(some)]


def _reader(tool, content: bytes, part: Part, rows: np.ndarray, size: int):
    name = _session(content).get_inputs()[0].name
    batches = _batches(part, rows, size)

    class Reader(tool.CalibrationDataReader):
        def get_next(self):
            found = next(batches, None)
            return None if found is None else {name: found[0].astype("float32")}

    return Reader()


def _session(content: bytes):
    runtime = required("onnxruntime", "--int8")
    return runtime.InferenceSession(content, providers=["CPUExecutionProvider"])


def _answers(content: bytes, part: Part, rows: np.ndarray, size: int, least) -> np.ndarray:
    """The class of each image; of images of several, 0 and 1 for each class."""
    session = _session(content)
    name = session.get_inputs()[0].name
    found = []
    for x, y in _batches(part, rows, size):
        answers = session.run(None, {name: x.astype("float32")})[0][: len(y)]
        found.append(answers >= least if y.ndim == 2 else answers.argmax(-1))
    return np.concatenate(found)


def _share(answers: np.ndarray, labels: np.ndarray) -> float:
    """Of images of several classes: how many have no class too many or too few."""
    return float(_are_same(answers, labels > 0 if labels.ndim == 2 else labels).mean())


def _are_same(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one == other).reshape(len(one), -1).all(1)
