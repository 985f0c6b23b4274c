"""Uses an exported file without Cornu: run `python alone.py FILE IMAGE …`, or copy what you need.

`cornu deploy-check` runs this file in a fresh process. All it imports is what whoever serves the file
installs: NumPy, Pillow, and ONNX Runtime or, for StableHLO, JAX.
"""

import json
import statistics
import sys
import time

import numpy as np


def main() -> None:
    """Print what the file says of itself, its answers and how long they take, as one JSON object."""
    path, *images = sys.argv[1:]
    if images == ["-"]:
        images = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    begin = time.perf_counter()
    about, run, facts = open_onnx(path) if path.endswith(".onnx") else open_stablehlo(path)
    facts["seconds_to_load"] = time.perf_counter() - begin
    if len(images) == 1 and images[0].endswith(".npy"):
        x = np.load(images[0])
    else:
        x = np.stack([pixels_of(image, about) for image in images])
    size = about.get("batch_size") or 32
    parts = [x[start : start + size] for start in range(0, len(x), size)]
    answers = np.concatenate([run(filled(part, about))[: len(part)] for part in parts])
    facts["milliseconds"] = {
        str(count): milliseconds(run, x, count)
        for count in sorted({1, 32, size})
        if fits(count, about)
    }
    probabilities = calibrated(answers.astype("float32"), about)
    print(
        json.dumps(
            {
                **facts,
                "probabilities": probabilities.tolist(),
                "answers": [named(row, about) for row in probabilities],
                "of_cornu": sorted(n for n in sys.modules if n.split(".")[0] == "cornu"),
            }
        )
    )


def open_onnx(path: str):
    """What the file says of itself, a function from pictures to probabilities, and other facts."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["cornu"])
    name = session.get_inputs()[0].name

    def run(x):
        return session.run(None, {name: x})[0]

    return about, run, {"runtime": f"onnxruntime {onnxruntime.__version__}"}


def open_stablehlo(path: str):
    """The same of a StableHLO program, beside which lies a JSON file."""
    import jax
    import jax.export

    with open(f"{path}.json", encoding="utf-8") as text:
        about = json.load(text)
    with open(path, "rb") as file:
        program = jax.export.deserialize(bytearray(file.read()))
    called = jax.jit(program.call)

    def run(x):
        return np.asarray(called(x))

    return about, run, {"runtime": f"jax {jax.__version__}"}


def pixels_of(path: str, about: dict) -> np.ndarray:
    """An image file as the model takes it: turned upright, in its colours, size and range."""
    from PIL import Image, ImageOps

    wanted = about["input"]
    mode = {"gray": "L", "rgb": "RGB", "rgba": "RGBA"}[wanted["colors"]]
    with Image.open(path) as file:
        image: Image.Image = ImageOps.exif_transpose(file)
    if image.mode.startswith("I;16"):
        # Of 16 bits, 65535 is white; gray keeps the fractions.
        values = np.asarray(image, "float32") * np.float32(255 / 65535)
        image = Image.fromarray(values if mode == "L" else np.round(values).astype("uint8"))
    x = np.asarray(image if image.mode == "F" else image.convert(mode), "float32")
    x = x.reshape(*x.shape[:2], -1)
    rows, columns = wanted["shape"][:2]
    x = of_proportions(x, rows, columns, about["resize"]["proportions"])
    x = resized(resized(x, 0, rows), 1, columns)
    return (x * np.float32(wanted["white"] / 255)).astype(wanted["dtype"])


def of_proportions(x: np.ndarray, rows: int, columns: int, how: str) -> np.ndarray:
    """Crop the middle, or pad with black, so that nothing is distorted; `"stretch"` distorts."""
    height, width, _ = x.shape
    fitting_height, fitting_width = int(width * rows / columns), int(height * columns / rows)
    if how == "crop":
        new_height, new_width = min(height, fitting_height), min(width, fitting_width)
        new_height, new_width = max(new_height, 1), max(new_width, 1)
        top, left = (height - new_height) // 2, (width - new_width) // 2
        return x[top : top + new_height, left : left + new_width]
    if how == "pad":
        above = max(0, fitting_height - height) // 2
        beside = 0 if above else max(0, fitting_width - width) // 2
        return np.pad(x, ((above, above), (beside, beside), (0, 0)))
    return x


def resized(x: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Bilinear, with pixels as squares, and without smoothing: each new pixel is between two old ones."""
    before = x.shape[axis]
    if before == size:
        return x
    center = (np.arange(size) + 0.5) * before / size - 0.5
    first = np.floor(center).astype(int)
    share = (center - first).astype("float32")
    share = share.reshape([-1 if a == axis else 1 for a in range(3)])
    one, other = (np.take(x, first + step, axis, mode="clip") for step in (0, 1))
    return one * (1 - share) + other * share


def calibrated(probabilities: np.ndarray, about: dict) -> np.ndarray:
    """Probabilities by the temperature that the training found, if any."""
    temperature = about["temperature"]
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, 1e-12)) / temperature
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def named(row: np.ndarray, about: dict) -> dict:
    """The most probable class; None if it is less probable than the threshold.

    Where a picture may be of several classes, `classes` are all that are probable enough.
    """
    best, names = int(row.argmax()), about["classes"]
    is_sure = bool(row[best] >= about["threshold"])
    answer = {"class": names[best] if is_sure else None, "probability": float(row[best])}
    if about["output"]["values"] == "independent":
        answer["classes"] = [names[i] for i in np.flatnonzero(row >= least_of(about))]
    return answer


def least_of(about: dict):
    """From which probability on a picture of several classes is of one: for all, or for each."""
    return np.array(about.get("thresholds") or about["threshold"] or 0.5)


def fits(count: int, about: dict) -> bool:
    """Whether the file takes so many pictures at once."""
    return about.get("batch_size") in (None, count)


def filled(x: np.ndarray, about: dict) -> np.ndarray:
    """As many pictures as the file takes, if it takes one number alone."""
    return x if fits(len(x), about) else np.resize(x, (about["batch_size"], *x.shape[1:]))


def milliseconds(run, x: np.ndarray, count: int) -> float:
    """For one of so many pictures at once: the median of 20 calls, or of those that two seconds allow."""
    batch = np.resize(x, (count, *x.shape[1:]))
    # The first prepares.
    run(batch)
    times: list[float] = []
    while len(times) < 3 or (len(times) < 20 and sum(times) < 2):
        begin = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times) / count


if __name__ == "__main__":
    main()
