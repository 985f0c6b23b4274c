"""What the augmentation layers make of a picture, and how fast, for docs/augmentation.md.

    python benchmarks/augmentation.py

Draws docs/images/augmentation.jpg from a picture of CIFAR-10, and writes the table of docs/augmentation.md:
pictures a second beside Keras on JAX, each in a process of its own.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np
from common import ROOT, machine, replace_section

PICTURE = ROOT / "docs" / "images" / "augmentation.jpg"
DOCUMENT = ROOT / "docs" / "augmentation.md"
SIZE = 96
# Around the horse: left, top, right, bottom.
BOX = (17, 3, 90, 93)

SHOWN = {
    "AugMix": {"factor": 0.5},
    "AutoContrast": {},
    "CenterCrop": {"height": 64, "width": 64},
    "ContrastLimitedAdaptiveHistogramEqualization": {"tile_grid_size": (4, 4)},
    "CutMix": {},
    "Equalization": {},
    "MixUp": {"alpha": 5.0},
    "RandAugment": {},
    "RandomBrightness": {"factor": (0.3, 0.3)},
    "RandomColorDegeneration": {"factor": (0.8, 0.8)},
    "RandomColorJitter": {
        "brightness_factor": 0.2,
        "contrast_factor": 0.5,
        "saturation_factor": (0.6, 0.8),
        "hue_factor": 0.4,
    },
    "RandomContrast": {"factor": (0.9, 0.9)},
    "RandomCrop": {"height": 64, "width": 64},
    "RandomElasticTransform": {"factor": (1, 1), "scale": (0.6, 0.6)},
    "RandomErasing": {"factor": (1, 1)},
    "RandomFlip": {"mode": "horizontal"},
    "RandomGaussianBlur": {"factor": (1, 1), "kernel_size": 9, "sigma": (1, 1)},
    "RandomGrayscale": {"factor": 1.0},
    "RandomHue": {"factor": (0.5, 0.5)},
    "RandomInvert": {"factor": (1, 1)},
    "RandomPerspective": {"factor": (1, 1), "scale": 0.6},
    "RandomPosterization": {"factor": (2, 2)},
    "RandomRotation": {"factor": (0.08, 0.08), "fill_mode": "constant"},
    "RandomSaturation": {"factor": (0.8, 0.8)},
    "RandomSharpness": {"factor": (1, 1)},
    "RandomShear": {"x_factor": (0.3, 0.3), "fill_mode": "constant"},
    "RandomTranslation": {"height_factor": 0.3, "width_factor": 0.3, "fill_mode": "constant"},
    "RandomZoom": {"height_factor": (0.4, 0.4), "fill_mode": "constant"},
    "Solarization": {"threshold_factor": (0.5, 0.5)},
}
MEASURED = (
    "RandomFlip RandomRotation RandomPerspective RandomContrast RandomHue RandomGaussianBlur "
    "Equalization MixUp RandAugment"
).split()


def pictures():
    """A horse of CIFAR-10 in 96 x 96 pixels, and another picture to mix it with."""
    import cornu

    (x, y), _ = cornu.datasets.cifar10.load_data()
    horses, ships = (x[y.ravel() == label] for label in (7, 8))
    both = np.stack([horses[2], ships[5]]).astype("float32")
    resized = cornu.ops.image.resize(both, (SIZE, SIZE), "bicubic")
    return np.clip(np.asarray(resized), 0, 255)


def draw() -> None:
    """Each layer's picture of the horse; where boxes move, with its box."""
    import cornu
    from cornu import visualization
    from cornu.visualize.figure import new_figure, save_figure

    images = pictures()
    boxes = {"boxes": np.array([[BOX], [BOX]], "float32"), "labels": np.zeros((2, 1), "int32")}
    drawn = {"as it is": (images[0], boxes["boxes"][0])}
    for name, arguments in SHOWN.items():
        data = {"images": images, "bounding_boxes": boxes}
        if name in ("CutMix", "RandomElasticTransform"):
            del data["bounding_boxes"]
        for seed in range(7, 20):
            cornu.utils.set_random_seed(seed)
            layer = getattr(cornu.layers, name)(**arguments, bounding_box_format="xyxy")
            output = layer(data, training=True)
            changed = np.asarray(output["images"][0])
            # Chance may leave a picture as it is, which would show nothing.
            if changed.shape != images[0].shape or np.abs(changed - images[0]).mean() > 2:
                break
        found = output.get("bounding_boxes", {"boxes": np.zeros((2, 0, 4))})["boxes"]
        drawn[name] = np.asarray(output["images"][0]), np.asarray(found[0])
    figure = new_figure(9, 8.6)
    grid = figure.subplots(5, 6).ravel()
    for axes, (name, (image, box)) in zip(grid, drawn.items(), strict=True):
        framed = visualization.draw_bounding_boxes(
            image[None],
            {"boxes": box[None], "labels": np.zeros((1, len(box)), "int32")},
            "xyxy",
            color=(255, 235, 59),
            line_thickness=1,
        )
        axes.imshow(framed[0])
        axes.set_title(name.replace("HistogramEqualization", "…"), fontsize=7)
        axes.axis("off")
    figure.set_dpi(90)
    save_figure(figure, PICTURE)


def speeds(module: str) -> dict:
    """Pictures a second of 64 of 96 x 96 pixels, in a compiled function and by a plain call."""
    import jax

    library = __import__(module)
    images = np.repeat(pictures(), 32, 0)
    found = {}
    for name in MEASURED:
        layer = getattr(library.layers, name)(**SHOWN[name])
        rates = []
        for compiled in (True, False):
            try:
                call = (
                    _compiled(jax, layer)
                    if compiled
                    else lambda x, layer=layer: layer(x, training=True)
                )
                begin = time.perf_counter()
                jax.block_until_ready(call(images))
                first = time.perf_counter() - begin
                times = []
                while len(times) < 3 or (sum(times) < 1 and len(times) < 10):
                    begin = time.perf_counter()
                    jax.block_until_ready(call(images))
                    times.append(time.perf_counter() - begin)
                rates.append((first, len(images) / min(times)))
            except Exception as error:
                # What Keras cannot compile is a result, too.
                rates.append((type(error).__name__, 0))
        found[name] = rates
    return found


def _compiled(jax, layer):
    layer.build((None, SIZE, SIZE, 3))
    state = [v.value for v in layer.non_trainable_variables]

    @jax.jit
    def function(x):
        return layer.stateless_call([], state, x, training=True)[0]

    return function


def as_table(ours: dict, theirs: dict) -> str:
    """Rows of Markdown."""

    def shown(rate):
        first, speed = rate
        return f"{speed:,.0f} ({first:.1f} s)" if speed else f"{first}"

    rows = [
        "| layer | compiled | Keras, compiled | call | Keras, call |",
        "|---|---|---|---|---|",
        *(
            f"| `{name}` | {shown(ours[name][0])} | {shown(theirs[name][0])} | "
            f"{shown(ours[name][1])} | {shown(theirs[name][1])} |"
            for name in MEASURED
        ),
    ]
    return "\n".join(rows)


def main() -> None:
    draw()
    results = []
    for module in ("cornu", "keras"):
        environment = {**os.environ, "KERAS_BACKEND": "jax"}
        done = subprocess.run(
            [sys.executable, __file__, module],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=environment,
        )
        results.append(json.loads(done.stdout.splitlines()[-1]))
    text = (
        f"{as_table(*results)}\n\nPictures a second, of 64 with 96 x 96 pixels at once, and how long the "
        f"first call took. {machine()} Written by `make augmentation`."
    )
    replace_section(DOCUMENT, "How fast", text)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(speeds(sys.argv[1])))
    else:
        main()
