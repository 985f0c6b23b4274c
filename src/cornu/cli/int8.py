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
    content: bytes, part: Part, batch_size: int | None, least: np.ndarray
) -> tuple[bytes, dict]:
    """The file in eight bits, and what that did to its accuracy.

    Args:
        content: an ONNX file.
        part: images with their classes. A fifth of them, at most 200, shows which numbers occur; others
            say how accurate the file is before and after.
        batch_size: images that the file takes; None for any number.
        least: from which probability on an image of several classes is of each.
    """
    size = batch_size or _BATCH
    if len(part) < 2 * size:
        raise CommandError(
            f"--int8 needs {2 * size} images at least, to calibrate on and to judge by. Found: {len(part)}."
        )
    order = np.random.default_rng(0).permutation(len(part))
    number = min(_CALIBRATED, max(len(part) // 5, size))
    shown, judged = order[:number], order[number : number + _JUDGED]
    tool = required("onnxruntime.quantization", "--int8", package="onnxruntime")
    preparation = required("onnxruntime.quantization.shape_inference", "--int8")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("float.onnx", "prepared.onnx", "int8.onnx")]
        paths[0].write_bytes(content)
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
            extra_options={"QDQOpTypePerChannelSupportToAxis": {"BatchNormalization": 0}},
        )
        made = paths[2].read_bytes()
    return made, {
        "calibrated_on": len(shown),
        "judged_on": len(judged),
        "accuracy_before": _accuracy(content, part, judged, size, least),
        "accuracy": _accuracy(made, part, judged, size, least),
    }


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


def describe_int8(found: dict, before: int, after: int) -> str:
    """A line about it."""
    return (
        f"int8: accuracy {100 * found['accuracy']:.2f} % on {found['judged_on']:,} images, "
        f"{100 * found['accuracy_before']:.2f} % before; calibrated on {found['calibrated_on']} others. "
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


def _accuracy(content: bytes, part: Part, rows: np.ndarray, size: int, least) -> float:
    session = _session(content)
    name = session.get_inputs()[0].name
    right = 0
    for x, y in _batches(part, rows, size):
        answers = session.run(None, {name: x.astype("float32")})[0][: len(y)]
        if y.ndim == 2:
            # Of images of several classes: how many have no class too many or too few.
            right += int(((answers >= least) == (y > 0)).all(1).sum())
        else:
            right += int((answers.argmax(-1) == y).sum())
    return right / len(rows)
