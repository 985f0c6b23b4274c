"""`cornu export`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cornu.cli import split
from cornu.cli.alone import least_of
from cornu.cli.command import CommandError, say
from cornu.cli.data import Part, load_to_judge
from cornu.cli.described import KEY, beside, describe
from cornu.cli.int8 import describe_int8, quantized
from cornu.cli.run_folder import TrainedModel, check_file, described, load, say_unknown
from cornu.cli.run_settings import read_beside
from cornu.core.optional import MissingPackage, required
from cornu.saving.atomic import replacing
from cornu.saving.export import FORMATS, program

# Pictures that file and model are compared on, at most, and so many at once.
_COMPARED, _BATCH = 256, 32
# What rounding may change of an output of size 1, in float32 and in 16 bits.
_ROUNDING, _ROUNDING_16 = 1e-3, 5e-2


def export(
    name: str,
    output: Path,
    batch_size: int | None,
    data: str | None,
    threshold: float,
    int8: bool,
    overwrite: bool = False,
) -> None:
    """Write a model for serving, after comparing what is written with the model."""
    check_file(output, tuple(FORMATS))
    format = FORMATS[output.suffix]
    files = [output] if format == "onnx" else [output, beside(output)]
    if not overwrite and (old := [file for file in files if file.exists()]):
        raise CommandError(f"{old[0]} exists. Choose another FILE, or pass --overwrite.")
    if int8:
        if format != "onnx":
            raise CommandError("--int8 is for ONNX: choose a FILE that ends in .onnx.")
        required("onnxruntime", "--int8")
    model, path = load(name, compiles=False)
    if not _is_classifier(model):
        if data is not None or int8 or threshold:
            raise CommandError(
                f"{path} is no classifier of images of one size, which --data, --int8 and --threshold "
                "are for."
            )
        content = program(model, format, batch_size)
        lines = [_compare(model, content, format, _made_up(model, batch_size), "made-up inputs")]
        _write(output, content)
    else:
        trained = described(model, path)
        settings = read_beside(trained.path)
        part, source = _part(trained, settings, data, int8)
        say_unknown(path)
        about = describe(trained, threshold, batch_size)
        content = program(trained.model, format, batch_size, {KEY: _text(about)})
        shown, what = _shown(trained, part, source, batch_size)
        lines = [_compare(trained.model, content, format, shown, what, about)]
        if int8:
            before = len(content)
            known = split.trained_on(trained.path.parent, part)
            content, about["int8"] = quantized(content, part, batch_size, least_of(about), known)
            content = _with_text(content, _text(about))
            lines.append(
                describe_int8(about["int8"], trained.is_multi_label, source, before, len(content))
            )
        _write(output, content)
        if format != "onnx":
            with replacing(beside(output)) as temporary:
                temporary.write_text(_text(about) + "\n", "utf-8")
            lines.append(f"{beside(output)}: its classes, and how pictures become its input")
    print(f"{output}: {output.stat().st_size:,} bytes")
    print("\n".join(lines))


def _text(about: dict) -> str:
    return json.dumps(about, ensure_ascii=False, indent=1)


def _write(output: Path, content: bytes) -> None:
    with replacing(output) as temporary:
        temporary.write_bytes(content)


def _with_text(content: bytes, text: str) -> bytes:
    """An ONNX file with the description."""
    model = required("onnx", "Writing metadata").load_from_string(content)
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=text)
    return model.SerializeToString()


def _is_classifier(model) -> bool:
    shapes = [tensor.shape for tensor in (*model.inputs, *model.outputs)]
    return [len(shape) for shape in shapes] == [4, 2] and None not in shapes[0][1:]


def _part(trained: TrainedModel, settings: dict, data: str | None, int8: bool):
    """Pictures to compare on, and what they are called; None if there are none."""
    found = data or settings.get("data")
    try:
        if found is None:
            raise CommandError("It is not known what it was trained on.")
        part = load_to_judge(
            found,
            trained.class_names,
            trained.shape,
            trained.white,
            _BATCH,
            fit=trained.fit,
            is_multi_label=trained.is_multi_label,
        )
    except (CommandError, OSError) as error:
        if data is not None:
            raise
        if int8:
            raise CommandError(
                f"--int8 needs pictures to calibrate on and to judge by: give --data. {error}"
            ) from error
        say(f"there are no pictures to compare on; --data names some. {error}")
        return None, ""
    return part, found


def _shown(trained: TrainedModel, part: Part | None, source: str, batch_size: int | None):
    """Pictures in batches, each in a list, as for the inputs of any model, and what they are."""
    if part is None:
        return _made_up(trained.model, batch_size, trained.white or 1), "made-up pictures"
    count, size = min(len(part), _COMPARED), batch_size or _BATCH
    rows = np.unique(np.linspace(0, len(part) - 1, max(count, size)).astype(int))
    if batch_size:
        # A file for so many takes no fewer.
        rows = np.resize(rows, -(-len(rows) // size) * size)
    # Arrays may hold bytes; a file takes the dtype of the model's input alone.
    dtype = trained.model.inputs[0].dtype
    starts = range(0, len(rows), size)
    batches = [[np.asarray(part.some(rows[at : at + size])[0], dtype)] for at in starts]
    return batches, f"{len(np.unique(rows)):,} images of {source}"


def _made_up(model, batch_size: int | None, largest: float = 1.0) -> list:
    """Random inputs, in batches of two numbers of examples if it takes any."""
    random = np.random.default_rng(0)
    return [
        [
            (random.random((count, *tensor.shape[1:])) * largest).astype(tensor.dtype)
            for tensor in model._graph.flat_inputs
        ]
        for count in ([batch_size] if batch_size else [1, 5])
    ]


def _compare(
    model, content: bytes, format: str, batches: list, what: str, about: dict | None = None
) -> str:
    """A line that says how far file and model are apart; CommandError if it is not by rounding.

    `about` is what the file of a classifier says of itself.
    """
    is_several = about is not None and about["output"]["values"] == "independent"
    try:
        run = _runner(content, format, model)
    except MissingPackage as error:
        return f"Not compared with the model. {error}"
    import jax

    largest, same, count = 0.0, 0, 0
    for batch in batches:
        inputs = jax.tree.unflatten(jax.tree.structure(model._graph.inputs), batch)
        expected = [np.asarray(y) for y in jax.tree.leaves(model.predict_on_batch(inputs))]
        found = [np.asarray(y) for y in run(batch)]
        for one, other in zip(found, expected, strict=True):
            size = max(1.0, float(np.abs(other.astype("float64")).max()))
            apart = np.abs(one.astype("float64") - other.astype("float64")).max()
            largest = max(largest, float(apart) / size) if np.isfinite(apart) else np.inf
        if about is not None and is_several:
            least = least_of(about)
            same += int(((found[0] >= least) == (expected[0] >= least)).all(-1).sum())
        else:
            same += int((found[0].argmax(-1) == expected[0].argmax(-1)).sum())
        count += len(expected[0])
    is_short = any(layer.compute_dtype in _SHORT for layer in model._flatten_layers())
    if not largest <= (_ROUNDING_16 if is_short else _ROUNDING):
        raise CommandError(
            f"What would be written does not compute what the model does: on {what} they are {largest:.2g} "
            "apart. Nothing was written. This is a defect of Cornu: please report it."
        )
    classes = "classes" if is_several else "class"
    agreement = f"; {same} of {count} have the same {classes}" if len(model.outputs) == 1 else ""
    return f"Compared with the model on {what}: at most {largest:.1e} apart{agreement}."


_SHORT = ("bfloat16", "float16")


def _runner(content: bytes, format: str, model) -> Callable[[list], list]:
    """A function from a list of inputs to a list of outputs, computed as others will."""
    if format == "onnx":
        runtime = required("onnxruntime", "Comparing an ONNX file with the model")
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return lambda arrays: session.run(None, dict(zip(model.input_names, arrays, strict=True)))
    import jax
    import jax.export

    called = jax.export.deserialize(bytearray(content)).call
    structure = jax.tree.structure(model._graph.inputs)
    return lambda arrays: jax.tree.leaves(called(jax.tree.unflatten(structure, arrays)))
