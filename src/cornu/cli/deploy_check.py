"""`cornu deploy-check`."""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from cornu.cli import alone
from cornu.cli.command import CommandError, say
from cornu.cli.described import description_of
from cornu.cli.parts import FITS
from cornu.cli.predict import image_paths, reason
from cornu.cli.run_folder import load_trained
from cornu.cli.run_settings import read_beside
from cornu.core.optional import required
from cornu.saving.export import FORMATS
from cornu.utils.image_folder import FORMATS as FORMATS_OF_IMAGES
from cornu.utils.image_folder import reader_for
from cornu.utils.images import check_image

# Pictures that are looked at, at most.
_MOST = 256
# Those whose answers are printed.
_PRINTED = 10
# What belongs to ONNX itself, which any runtime knows.
_STANDARD = ("", "ai.onnx")


def deploy_check(file: Path, images: list[str], model: str | None, as_json: bool) -> None:
    """Run an exported file in a process without Cornu, and print what it says and how long it takes."""
    if not file.is_file():
        raise CommandError(f"There is no file {file}.")
    if file.suffix not in FORMATS:
        raise CommandError(f"{file} must end in {' or '.join(FORMATS)}.")
    about = description_of(file)
    trained = None if model is None else load_trained(model)
    _check_same_source(file, about, trained)
    paths, what = _pictures(images, about, trained)
    with tempfile.TemporaryDirectory() as folder:
        x = None if paths else _made_up(about)
        if x is not None:
            np.save(Path(folder, "made_up.npy"), x)
        answered = _answers(file, paths or [str(Path(folder, "made_up.npy"))])
    probabilities = np.array(answered.pop("probabilities"))
    if answered.pop("of_cornu"):
        raise CommandError(f"The process that ran {file} has loaded Cornu, which it must not.")
    for path, answer in zip(paths, answered["answers"], strict=False):
        answer["image"] = path
    found = {
        "file": str(file),
        "bytes": file.stat().st_size,
        **_operations(file),
        "pictures": len(probabilities),
        "of": what,
        "classes": about["classes"],
        **answered,
    }
    if trained is not None:
        found["model"] = {"name": model, **_agreement(trained, about, probabilities, paths, x)}
    print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else _text(found, about))


def _check_same_source(file: Path, about: dict, trained) -> None:
    if trained is None:
        return
    if about["source"]["sha256"] != hashlib.sha256(trained.path.read_bytes()).hexdigest():
        say(f"{file} was not made from {trained.path} as it is now.")
    if about["classes"] != trained.class_names:
        raise CommandError(f"{file} has other classes than {trained.path}.")


def _pictures(images: list[str], about: dict, trained) -> tuple[list[str], str]:
    """The paths of at most so many pictures, and what they are; none if they have to be made up."""
    if not images and trained is not None:
        data = read_beside(trained.path).get("data")
        images = [data] if data is not None and Path(data).is_dir() else []
    if not images or about["input"]["colors"] is None:
        if images:
            shape = "x".join(map(str, about["input"]["shape"]))
            say(f"{' '.join(images[:3])}: the file takes no pictures, but arrays of {shape}.")
        return [], "made-up inputs"
    paths = list(image_paths(images))
    rows = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), _MOST)).astype(int))
    chosen = [paths[row] for row in rows]
    for path in chosen:
        try:
            check_image(path, FORMATS_OF_IMAGES)
        except OSError as error:
            is_missing = isinstance(error.__cause__, OSError) and error.__cause__.strerror
            raise CommandError(reason(path, error) if is_missing else str(error)) from error
    return chosen, " ".join(images[:3]) + (" …" if len(images) > 3 else "")


def _made_up(about: dict) -> np.ndarray:
    x = np.random.default_rng(0).random((32, *about["input"]["shape"]))
    return (x * (about["input"]["white"] or 1)).astype(about["input"]["dtype"])


def _answers(file: Path, inputs: list[str]) -> dict:
    """What the file makes of pictures, in a process that knows no Cornu."""
    words = [sys.executable, "-I", alone.__file__, str(file), *inputs]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise CommandError(f"{file} cannot be used without Cornu: {lines[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _operations(file: Path) -> dict:
    """The version of the operations, and those that not every runtime knows."""
    if file.suffix == ".onnx":
        model = required("onnx", "Looking into an ONNX file").load(file)
        versions = {each.domain: each.version for each in model.opset_import}
        used = sorted({(n.domain, n.op_type) for n in model.graph.node})
        custom = [f"{domain}:{kind}" for domain, kind in used if domain not in _STANDARD]
        return {"opset": versions.get("", versions.get("ai.onnx")), "custom_operations": custom}
    import jax.export

    program = jax.export.deserialize(bytearray(file.read_bytes()))
    calls = set(re.findall(r"stablehlo\.custom_call @([\w.$]+)", program.mlir_module()))
    # The check of the number of examples, which is gone when JAX compiles the program.
    calls -= {"shape_assertion"}
    return {"platforms": list(program.platforms), "custom_operations": sorted(calls)}


def _agreement(trained, about: dict, probabilities: np.ndarray, paths: list[str], x) -> dict:
    """How far the file's probabilities are from those of the model it was made from."""
    if x is None:
        read = reader_for(trained.shape, trained.white, FITS[trained.fit])
        x = np.stack([read(path) for path in paths])
    expected = np.concatenate(
        [trained.model.predict_on_batch(x[at : at + 32]) for at in range(0, len(x), 32)]
    )
    expected = alone.calibrated(expected.astype("float32"), about)
    if about["output"]["values"] == "independent":
        least = alone.least_of(about)
        same = ((expected >= least) == (probabilities >= least)).all(-1)
    else:
        same = expected.argmax(-1) == probabilities.argmax(-1)
    return {
        "same_class": int(same.sum()),
        "largest_difference": float(np.abs(expected - probabilities).max()),
    }


def _text(found: dict, about: dict) -> str:
    """The same for people."""
    custom = ", ".join(found["custom_operations"]) or "none"
    version = f"opset {found['opset']}" if "opset" in found else ", ".join(found["platforms"])
    given = about["input"]
    shape = "x".join(map(str, given["shape"]))
    what = f"arrays of {shape}"
    if given["colors"] is not None:
        what = f"pictures of {shape} ({given['colors']}, 0 to {given['white']:g})"
    count = f"{about['batch_size']} at once" if about["batch_size"] else "any number at once"
    lines = [
        f"{found['file']}: {found['bytes']:,} bytes, {version}; custom operations: {custom}",
        f"{found['runtime']}, without Cornu; loaded in {found['seconds_to_load']:.2f} s",
        f"It takes {what}, {count}, and has {len(found['classes'])} classes: "
        f"{_shortened(found['classes'])}",
        *(
            f"{time:9.3f} ms per picture, {size} at once"
            for size, time in found["milliseconds"].items()
        ),
        f"{found['pictures']:,} picture{'s' * (found['pictures'] != 1)}: {found['of']}",
    ]
    for answer in found["answers"][:_PRINTED]:
        if "image" in answer:
            name = answer["class"] or "no class is that probable"
            if "classes" in answer:
                name = ", ".join(answer["classes"]) or "none of its classes"
                lines.append(f"  {answer['image']}  {name}")
                continue
            lines.append(f"  {answer['image']}  {name}  {100 * answer['probability']:.2f} %")
    if "model" in found:
        what_is_same = "class" if about["output"]["values"] == "probabilities" else "classes"
        same, apart = found["model"]["same_class"], found["model"]["largest_difference"]
        lines.append(
            f"{found['model']['name']} has the same {what_is_same} for {same:,} of {found['pictures']:,}, "
            f"and its probabilities are at most {apart:.1e} apart"
        )
    return "\n".join(lines)


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:_PRINTED]) + (" …" if len(names) > _PRINTED else "")
