"""Accuracy in 16 bits: the lessons' models, trained with each dtype policy from the same seeds.

    python benchmarks/precision.py [--seeds 3] [--images 20000] [--epochs 2] [--only NAME …]

The learning rate goes from the model's own to zero in a straight line, so that a few epochs suffice
and the last steps do not blur the accuracy. Results are kept in build/precision.json as they come;
an interrupted run goes on where it stopped. Writes a section of docs/benchmarks.md.
"""

import argparse
import json
import sys

import numpy as np
from common import ROOT, report

import cornu

sys.path.insert(0, str(ROOT / "examples"))
import convolution_by_hand
import from_dense_to_convolutional as improvements
import mnist_lecture
import mnist_with_sgd
import thousand_units

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
RESULTS = ROOT / "build" / "precision.json"
# Model: what makes it, its optimizer, and which pictures; "bytes" are pixels from 0 to 255.
MODELS = {
    name.replace("_", " "): (make, "adam", "mnist, bytes")
    for name, make in improvements.MODELS.items()
}
MODELS |= {
    "lecture": (mnist_lecture.make_model, "adam", "mnist"),
    "sgd tutorial": (mnist_with_sgd.full_model, "sgd", "mnist"),
    "thousand units": (thousand_units.make_model, "sgd", "mnist"),
    "colour model": (convolution_by_hand.colour_model, "adam", "cifar10"),
}
# What pixels from 0 to 255 do.
LUCK = """
`dense`, `convolutions`, `pooling`, and the two with batch normalization get pixels from 0 to 255, as in
their lesson. Without normalization, where such a network ends is partly luck, and gradients of float16
overflow: `pooling` with seed 0 leaves out 16 steps of 314 and stays at 28.9 %. So does Keras, with the same
weights and images: 16 steps, 28.9 %. The schedule is short, and with so few seeds a difference of some
tenths of a point, in either direction, is not told from the luck of rounding.
""".strip()


def pictures(data: str):
    """Pictures and labels of both sets."""
    name, _, as_bytes = data.partition(", ")
    train, test = getattr(cornu.datasets, name).load_data()
    for x, y in (train, test):
        x = x.reshape(len(x), *x.shape[1:3], -1)
        yield x if as_bytes else x.astype("float32") / 255, y.ravel()


def accuracy(name: str, policy: str, seed: int, epochs: int, count: int) -> float:
    make, optimizer, data = MODELS[name]
    (x, y), (x_test, y_test) = pictures(data)
    x, y = x[:count], y[:count]
    cornu.utils.set_random_seed(seed)
    before = cornu.config.dtype_policy()
    cornu.config.set_dtype_policy(policy)
    try:
        model = make()
        kind = cornu.optimizers.get(optimizer)
        rate = cornu.optimizers.schedules.PolynomialDecay(
            float(kind.learning_rate.numpy()), epochs * -(-len(x) // 128), 0.0
        )
        model.compile(type(kind)(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    finally:
        cornu.config.set_dtype_policy(before)
    model.fit(x, y, batch_size=128, epochs=epochs, verbose=0)
    return model.evaluate(x_test, y_test, batch_size=1000, verbose=0)[1]


def main(arguments) -> None:
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    names = arguments.only or list(MODELS)

    def key(name, policy, seed):
        return f"{name}, {policy}, seed {seed}, {arguments.epochs} epochs, {arguments.images}"

    for seed in range(0 if arguments.table else arguments.seeds):
        for name in names:
            for policy in POLICIES:
                place = key(name, policy, seed)
                if place not in found:
                    found[place] = accuracy(name, policy, seed, arguments.epochs, arguments.images)
                    RESULTS.parent.mkdir(exist_ok=True)
                    RESULTS.write_text(json.dumps(found, indent=1))
                    print(place, f"{found[place]:.2%}", flush=True)
    rows = []
    for name in names:
        seeds = [
            seed
            for seed in range(arguments.seeds)
            if all(key(name, policy, seed) in found for policy in POLICIES)
        ]
        percent = np.array([[100 * found[key(name, p, s)] for s in seeds] for p in POLICIES])
        cells = [f"{row.mean():.2f}" for row in percent]
        for row in percent[1:]:
            differences = [f"{number:+.2f}" for number in row - percent[0]]
            cells.append(", ".join(differences))
        rows.append([name, str(len(seeds)), *cells])
    text = f"""
Accuracy on all test images, in percent, after {arguments.epochs} epochs on {arguments.images:,} images, in
which the learning rate falls to zero, with batches of 128: the mean over the seeds, and how much each
seed's is above float32's, in points. The models are the lessons' own, under `set_dtype_policy`; MNIST, and
CIFAR-10 for the colour model. {LUCK} Written by `make precision`.
"""
    titles = ["model", "seeds", *POLICIES, *(f"{policy} less float32" for policy in POLICIES[1:])]
    if arguments.only:
        print(*map(" | ".join, [titles, *rows]), sep="\n")
    else:
        report("Accuracy in 16 bits", text, titles, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=20000, help="training images")
    parser.add_argument("--only", nargs="*", choices=list(MODELS), help="writes no table")
    parser.add_argument("--table", action="store_true", help="only write the table of what is kept")
    main(parser.parse_args())
