"""Losses, metrics, targets and weights in the structure of a model's outputs, as in Keras."""

import keras
import numpy as np
import pytest

import cornu

RNG = np.random.RandomState(0)
X = RNG.randn(8, 4).astype("float32")
A, B, C = (RNG.randn(8, n).astype("float32") for n in (2, 3, 1))
WA, WB, WC = (RNG.rand(8).astype("float32") for _ in range(3))
STRUCTURES = {
    "pair": lambda a, b, c: [(a, b), c],
    "list": lambda a, b, c: [a, b, c],
    "dict": lambda a, b, c: {"k2": a, "k1": b, "k3": c},
    "dicts": lambda a, b, c: {"p": {"u": a, "v": b}, "q": c},
    "list in dict": lambda a, b, c: {"p": [a, b], "q": c},
    "dict in list": lambda a, b, c: [{"u": a, "v": b}, c],
    "lists of one": lambda a, b, c: [[a], [b], [c]],
    "deep": lambda a, b, c: [[[a, b]], {"z": (c,)}],
}
CASES = [
    ("pair", {"loss": [("mse", "mae"), "mse"], "loss_weights": [(0.5, 2.0), 3.0]}),
    ("pair", {"loss": "mse", "metrics": [(["mae"], ["mae", "mse"]), ["mae"]]}),
    ("pair", {"loss": ["mse", "mae", "mse"], "loss_weights": [0.5, 2.0, 3.0]}),
    ("pair", {"loss": {"a": "mse", "b": "mae", "c": "mse"}}),
    (
        "pair",
        {
            "loss": [("mse", None), "mse"],
            "metrics": [("mae", "mae"), "mae"],
            "weighted_metrics": [("mae", "mae"), None],
        },
    ),
    ("pair", {"loss": [None, "mse"]}),
    ("dict", {"loss": {"k1": "mse", "k3": "mae"}, "metrics": {"k1": "mae", "k2": ["mse"]}}),
    ("dict", {"loss": "mse", "metrics": [["mae"], ["mse"], []]}),
    (
        "dicts",
        {
            "loss": {"p": {"u": "mse", "v": "mae"}, "q": "mse"},
            "loss_weights": {"p": {"u": 1.0, "v": 0.2}, "q": 0.3},
            "metrics": {"p": {"u": "mae", "v": ["mse"]}, "q": ["mae"]},
            "weighted_metrics": {"p": {"u": "mae", "v": ["mse"]}, "q": ["mae"]},
        },
    ),
    ("dicts", {"loss": {"p": {"u": "mse"}, "q": "mae"}}),
    ("dicts", {"loss": {"q": "mae"}}),
    ("list in dict", {"loss": {"p": ("mse", "mae"), "q": "mse"}}),
    (
        "dict in list",
        {"loss": [{"u": "mse", "v": "mae"}, "mse"], "metrics": [{"u": "mae", "v": "mse"}, "mae"]},
    ),
    ("lists of one", {"loss": [["mse"], ["mae"], ["mse"]]}),
    (
        "deep",
        {
            "loss": [[["mse", "mae"]], {"z": ("mse",)}],
            "metrics": [[["mae", "mae"]], {"z": ("mse",)}],
        },
    ),
]
# Of a subclass, whose layers are not known, Keras takes the names of the losses.
SUBCLASSES = [
    ("pair", {"loss": [("mse", "mae"), "mape"], "metrics": [("mae", "mae"), "mse"]}),
    ("list", {"loss": ["mse", "mae", "mape"], "metrics": [["mae"], "mse", "mae"]}),
    CASES[8],
]


def functional(k, structure):
    k.utils.set_random_seed(3)
    inputs = k.Input((4,))
    parts = [k.layers.Dense(n, name=name)(inputs) for n, name in ((2, "a"), (3, "b"), (1, "c"))]
    return k.Model(inputs, STRUCTURES[structure](*parts))


def subclass(k, structure):
    class Outer(k.Model):
        def __init__(self):
            super().__init__()
            self.inner = functional(k, structure)

        def call(self, inputs):
            return self.inner(inputs)

    return Outer()


def results(model, structure, eagerly=True, **arguments):
    y = STRUCTURES[structure](A, B, C)
    weights = STRUCTURES[structure](WA, WB, WC)
    if structure in ("lists of one", "deep"):
        weights = None  # Keras wants other containers there.
    model.compile("sgd", run_eagerly=eagerly, **arguments)
    if not eagerly:
        fitted = model.fit(X, y, sample_weight=weights, epochs=2, shuffle=False, verbose=0)
        return model.evaluate(X, y, sample_weight=weights, return_dict=True, verbose=0) | {
            f"fit {name}": values for name, values in fitted.history.items()
        }
    return model.test_on_batch(X, y, sample_weight=weights, return_dict=True)


@pytest.mark.parametrize(
    ("make", "case", "eagerly"),
    [
        *((functional, case, True) for case in CASES),
        *((subclass, case, True) for case in SUBCLASSES),
        (functional, CASES[8], False),
    ],
)
def test_names_and_numbers(make, case, eagerly):
    structure, arguments = case
    got, wanted = (
        results(make(k, structure), structure, eagerly, **arguments) for k in (cornu, keras)
    )
    assert set(got) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("structure", "loss"),
    [
        ("dict", {"k2": "mse", "k3": "mse", "k1": "mae"}),
        ("dict", "mse"),
        ("dicts", {"q": "mae", "p": {"v": "mse", "u": "mse"}}),
        ("pair", {"c": "mse", "b": "mae", "a": "mse"}),
    ],
)
def test_a_list_of_results_has_the_order_of_the_losses(structure, loss):
    y, got = STRUCTURES[structure](A, B, C), []
    for k in (cornu, keras):
        model = functional(k, structure)
        model.compile("sgd", loss, run_eagerly=True)
        got.append(model.test_on_batch(X, y))
    np.testing.assert_allclose(*got, rtol=1e-5)


@pytest.mark.parametrize(
    ("structure", "loss", "y"),
    [("list", ["mse", None, "mae"], [A, C]), ("dict", {"k1": "mse"}, B)],
)
def test_targets_for_outputs_with_a_loss_alone(structure, loss, y):
    found = []
    for k in (cornu, keras):
        model = functional(k, structure)
        model.compile("sgd", loss, run_eagerly=True)
        found.append(model.test_on_batch(X, y, return_dict=True))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    model = functional(cornu, structure)
    model.compile("sgd", loss, metrics={"k2": "mse"} if structure == "dict" else [[], "mse", []])
    with pytest.raises(ValueError, match=r"metrics of the output .[ab]. need targets"):
        model.evaluate(X, y, verbose=0)


@pytest.mark.parametrize("weights", [None, [0.3, 2.0]])
def test_several_losses_of_one_output(weights):
    totals = []
    for k in (cornu, keras):
        inputs = k.Input((4,))
        model = k.Model(inputs, k.layers.Dense(2, kernel_initializer="ones")(inputs))
        model.compile("sgd", ["mse", "mae"], loss_weights=weights, run_eagerly=True)
        logs = model.test_on_batch(X, [A], return_dict=True)
        error = X.sum(-1, keepdims=True) - A
        shares = np.array([np.mean(error**2), np.mean(abs(error))]) * (weights or 1)
        np.testing.assert_allclose(logs["loss"], shares.sum(), rtol=1e-5)
        totals.append(logs["loss"])
    np.testing.assert_allclose(*totals, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "y", "message"),
    [
        ({"loss": {"z": "mse"}}, None, "key 'z' .*'p': {'u': 'a', 'v': 'b'}"),
        ({"loss": ["mse", "mse"]}, None, "or their structure"),
        ({"loss": {"p": ["mse"]}}, None, "key 'p'"),
        ({"loss": "mse"}, {"p": A, "q": C}, "'y' is a dict|`y` is a dict"),
        ({"loss": "mse"}, {"p": {"u": A}, "q": C}, "needs targets"),
        ({"loss": "mse"}, [A, B], "3 outputs"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, y, message):
    model = functional(cornu, "dicts")
    with pytest.raises(ValueError, match=message):
        model.compile("sgd", **arguments)
        model.train_on_batch(X, y)
