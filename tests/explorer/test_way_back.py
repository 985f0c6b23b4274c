"""The way back and edited weights as the page asks them: what the library says, and nothing changes."""

import copy
import json

import numpy as np
import pytest
from asking import Visitor, floats

import cornu
from cornu import explain, explorer
from cornu import layers as L
from cornu.explorer import Examples, Network, tour
from cornu.explorer.batches import Batches
from cornu.explorer.edits import Steps, parsed


def said(x, **what) -> bytes:
    """An example with what is said of it, as the page sends it."""
    text = json.dumps(what).encode()
    text += b" " * (-len(text) % 4)
    return len(text).to_bytes(4, "little") + text + floats(x)


@pytest.fixture(scope="module")
def model(digits):
    """A copy that steps may move, with a rate that is known."""
    made = cornu.models.clone_model(digits[0])
    made.set_weights(digits[0].get_weights())
    made.compile(cornu.optimizers.SGD(0.25), "sparse_categorical_crossentropy")
    return made


@pytest.fixture(scope="module")
def server(model, digits):
    with explorer.explore(model, digits[1][:5], digits[2][:5]) as server:
        yield server


@pytest.fixture
def owner(server):
    return Visitor(server.link)


@pytest.fixture(autouse=True)
def _no_bit_changes(model):
    """Whatever is asked, the model's own weights stay."""
    before = [w.copy() for w in model.get_weights()]
    yield
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def images(content, shapes):
    found, at = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        found.append(np.frombuffer(content, np.int8, size, at).reshape(shape))
        at += -(-size // 4) * 4
    return found


def test_gradients_of_all_layers(owner, model, digits):
    x = digits[1][7]
    told, content = owner.arrays("POST", "/api/backward", said(x, target=2))
    expected = explain.backpropagation(model, x, np.array(2))
    assert told["loss"] == pytest.approx(expected.loss, rel=1e-5)
    assert told["loss_name"] == "sparse_categorical_crossentropy"
    parts = [told["input"], *told["layers"]]
    slopes = [expected.input_gradient, *expected.gradients.values()]
    for part, image, slope in zip(
        parts, images(content, [p["shape"] for p in parts]), slopes, strict=True
    ):
        slope = slope if slope.ndim == 3 else slope.reshape(1, -1, 1)
        assert part["scale"] == pytest.approx(np.abs(slope).max(), rel=1e-4)
        shown = np.moveaxis(image, 0, -1) * (part["scale"] / 127)
        np.testing.assert_allclose(shown, slope, atol=0.51 * part["scale"] / 127)


@pytest.mark.parametrize(
    "layer, weight, index",
    [("second", "kernel", (1, 2, 0, 3)), ("first", "bias", (1,)), ("out", "kernel", (40, 1))],
)
def test_one_weight(owner, model, digits, layer, weight, index):
    x, number = digits[1][4], ["first", "pool", "second", "flat", "out"].index(layer)
    where = f"layer={number}&weight={weight}&index={','.join(map(str, index))}"
    told = owner.json("POST", f"/api/back_window?{where}", said(x, target=1, rate=0.25))
    expected = explain.weight_gradient(model, x, np.array(1), layer, index, weight=weight)
    assert told["gradient"] == pytest.approx(expected.expected, rel=1e-4, abs=1e-8)
    assert told["result"] == pytest.approx(expected.result, rel=1e-4, abs=1e-8)
    (part,), (own,) = told["parts"], expected.parts
    assert part["says"] == own.says and part["count"] == len(own.products)
    listed = sum(term["product"] for term in part["terms"]) + part["rest"]
    assert listed == pytest.approx(told["result"], rel=1e-9, abs=1e-12)
    largest = own.products[np.abs(own.products).argmax()]
    assert part["terms"][0]["product"] == pytest.approx(largest, rel=1e-4, abs=1e-9)
    moved = explain.update(model, x, np.array(1), layer, index, weight=weight)
    assert told["after"] == pytest.approx(moved.expected, abs=1e-7)


def test_steps_are_those_of_training(owner, model, digits):
    x = digits[1][3]
    twin = cornu.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.compile(cornu.optimizers.SGD(0.25), "sparse_categorical_crossentropy")
    for _ in range(3):
        twin.train_on_batch(x[None], np.array([2]))
    edits = {"target": 2, "rate": 0.25, "steps": 3}
    told, _ = owner.arrays("POST", "/api/run", said(x, edits=edits))
    np.testing.assert_allclose(told["outputs"], twin.predict(x[None], verbose=0)[0], atol=1e-6)
    # The loss after the steps is that of a run with those weights; and there one can go on asking.
    back, _ = owner.arrays("POST", "/api/backward", said(x, target=2, edits=edits))
    assert back["loss"] == pytest.approx(twin.evaluate(x[None], np.array([2]), verbose=0), rel=1e-4)


def test_edited_weights(owner, model, digits):
    x = digits[1][6]
    before = owner.ask("POST", "/api/run", floats(x))[2]
    twin = cornu.models.clone_model(model)
    twin.set_weights(model.get_weights())
    kernel, bias = twin.get_layer("second").get_weights()
    kernel[0, 1, 2, 3], kernel[:, :, :, 5], bias[4] = 0.75, 0, -0.5
    twin.get_layer("second").set_weights([kernel, bias])
    edits = [
        {"layer": 2, "weight": "kernel", "index": [0, 1, 2, 3], "value": 0.75},
        {"layer": 2, "weight": "kernel", "index": [None, None, None, 5], "value": 0},
        {"layer": 2, "weight": "bias", "index": [4], "value": -0.5},
    ]
    told, _ = owner.arrays("POST", "/api/run", said(x, edits=edits))
    np.testing.assert_allclose(told["outputs"], twin.predict(x[None], verbose=0)[0], atol=1e-6)
    window = owner.json("POST", "/api/window?layer=2&channel=3&position=1,1", said(x, edits=edits))
    own = explain.window(twin, x, "second", (1, 1), 3)
    assert window["result"] == pytest.approx(own.result, abs=1e-6)
    weights = owner.json("POST", "/api/weights?layer=2&channel=3", said(x, edits=edits))["weights"]
    assert [w["name"] for w in weights] == ["kernel", "bias"]
    np.testing.assert_allclose(weights[0]["values"], kernel[..., 3].ravel(), atol=1e-7)
    # The gradient is the slope of edited runs.
    step, index = 1e-2, [1, 1, 0, 3]
    value = float(kernel[tuple(index)])
    losses = [
        owner.arrays(
            "POST",
            "/api/backward",
            said(
                x,
                target=0,
                edits=[{"layer": 2, "weight": "kernel", "index": index, "value": value + d}],
            ),
        )[0]["loss"]
        for d in (step, -step)
    ]
    asked = said(x, target=0, rate=1)
    told = owner.json("POST", "/api/back_window?layer=2&weight=kernel&index=1,1,0,3", asked)
    slope = (losses[0] - losses[1]) / (2 * step)
    assert told["gradient"] == pytest.approx(slope, rel=2e-2, abs=1e-5)
    # Nobody else sees any of it.
    assert owner.ask("POST", "/api/run", floats(x))[2] == before


ONE = {"layer": 2, "weight": "kernel", "index": [0, 0, 0, 0], "value": 1}


@pytest.mark.parametrize(
    "edits, expected",
    [
        ("[]" * 9, "list of at most"),
        ([ONE] * 65, "at most 64"),
        ([{**ONE, "layer": 99}], "no layer 99"),
        ([{**ONE, "layer": "2"}], "layer's number"),
        ([{**ONE, "weight": "__class__"}], "no weight"),
        ([{**ONE, "weight": "name"}], "no weight"),
        ([{**ONE, "index": [0, 0, 0, 99]}], "shape (3, 3, 4, 6)"),
        ([{**ONE, "index": [0]}], "shape"),
        ([{**ONE, "index": [-1, 0, 0, 0]}], "from 0 on"),
        ([{**ONE, "index": [True, 0, 0, 0]}], "from 0 on"),
        ([{**ONE, "value": 1e300}], "value"),
        ([{**ONE, "value": "1"}], "value"),
        ([{**ONE, "more": 1}], "Expected for each weight"),
        ([7], "Expected for each weight"),
        ({"target": 0, "rate": 0.1, "steps": 21}, "1 to 20"),
        ({"target": 0, "rate": 0.1, "steps": 1.5}, "1 to 20"),
        ({"target": 0, "rate": -1, "steps": 1}, "rate above 0"),
        ({"target": 3, "rate": 1, "steps": 1}, "class from 0 to 2"),
        ({"target": 0.5, "rate": 1, "steps": 1}, "class from 0 to 2"),
        ({"target": [0, 1], "rate": 1, "steps": 1}, "class from 0 to 2"),
        ({"target": None, "rate": 1, "steps": 1}, "target"),
        ({"steps": 1}, "target, rate and steps"),
    ],
)
def test_edits_that_cannot_be(owner, digits, edits, expected):
    status, reason = owner.refusal("POST", "/api/run", said(digits[1][0], edits=edits))
    assert status == 400 and expected in reason


@pytest.mark.parametrize(
    "text",
    [b"[1]  ", b"{", b"[" * 60_000, b'{"edits": NaN}', b"\xff\xfe\x00\x00", b'{"a": 1}{}'],
)
def test_what_is_said_must_be_an_object(owner, digits, text):
    text += b" " * (-len(text) % 4)
    body = len(text).to_bytes(4, "little") + text + floats(digits[1][0])
    assert owner.refusal("POST", "/api/run", body)[0] == 400
    # A length that lies, or is too large.
    lies = (2**32 - 4).to_bytes(4, "little") + body[4:]
    assert owner.refusal("POST", "/api/run", lies)[0] == 400
    assert owner.refusal("POST", "/api/run", body + b" " * 2**16)[0] in (400, 413)


def test_questions_that_lack_something(owner, digits):
    x = digits[1][0]
    for path, what, expected in [
        ("backward", {}, "target"),
        ("backward", {"target": 7}, "class from 0 to 2"),
        ("back_window?layer=2&weight=kernel&index=0,0,0,0", {"target": 0}, "rate"),
        ("back_window?layer=2&weight=kernel&index=9,0,0,0", {"target": 0, "rate": 1}, "shape"),
        ("back_window?layer=2&weight=mystery&index=0", {"target": 0, "rate": 1}, "'mystery'"),
        ("back_window?layer=1&weight=kernel&index=0", {"target": 0, "rate": 1}, "no weight"),
        ("weights?layer=2&channel=6", {}, "6 channels"),
        ("run?net=mystery", {}, "'mystery'"),
    ]:
        status, reason = owner.refusal("POST", f"/api/{path}", said(x, **what))
        assert status == 400 and expected in reason


class OutputFirst(cornu.Model):
    def __init__(self):
        super().__init__()
        self.shares, self.hidden = L.Dense(3, "softmax"), L.Dense(4)

    def call(self, x):
        return self.shares(self.hidden(x))


def test_other_losses():
    x = np.linspace(-1, 1, 5).astype("float32")
    bare = cornu.Sequential([cornu.Input((5,)), L.Dense(3)])
    network = Network(bare)
    told, _ = network.backward(x, [1])
    logits = bare.predict(x[None], verbose=0)[0]
    assert told["loss_name"] == "cross-entropy"
    assert told["loss"] == pytest.approx(np.log(np.exp(logits).sum()) - logits[1], rel=1e-5)
    one = cornu.Sequential([cornu.Input((5,)), L.Dense(1)])
    told, (_, slopes) = Network(one).backward(x, [2.5])
    off = float(one.predict(x[None], verbose=0)[0, 0]) - 2.5
    assert told["loss"] == pytest.approx(off**2, rel=1e-5)
    assert told["layers"][0]["scale"] == pytest.approx(abs(2 * off), rel=1e-5)
    assert np.sign(slopes[0, 0, 0]) == np.sign(off)
    # Shares that need not add up to 1, and a map, for all of which one number is the target.
    several = cornu.Sequential([cornu.Input((5,)), L.Dense(3, "sigmoid")])
    told, _ = Network(several).backward(x, [1])
    p = several.predict(x[None], verbose=0)[0]
    p[[0, 2]] = 1 - p[[0, 2]]
    assert told["loss_name"] == "binary cross-entropy"
    assert told["loss"] == pytest.approx(-np.log(p).mean(), rel=1e-5)
    maps = cornu.Sequential([cornu.Input((5, 1)), L.Conv1D(2, 3)])
    told, _ = Network(maps).backward(x, [2])
    off = maps.predict(x[None, :, None], verbose=0) - 2
    assert told["loss"] == pytest.approx((off**2).mean(), rel=1e-5)
    # The last layer is the one that was called last, not the last that was made.
    own = OutputFirst()
    own(x[None])
    told, _ = Network(own, (5,)).backward(x, [2])
    assert told["loss"] == pytest.approx(-np.log(own.predict(x[None], verbose=0)[0, 2]), rel=1e-5)
    # One-hot targets, and a penalty of the weights.
    shares = cornu.Sequential(
        [cornu.Input((5,)), L.Dense(3, "softmax", kernel_regularizer=cornu.regularizers.L2(0.1))]
    )
    shares.compile("adam", "categorical_crossentropy")
    told, _ = Network(shares).backward(x, [2])
    y = np.eye(3)[[2]]
    assert told["loss"] == pytest.approx(shares.evaluate(x[None], y, verbose=0), rel=1e-5)


def test_models_without_a_way_back():
    maps = cornu.Sequential([cornu.Input((40, 40, 1)), L.Conv2D(2, 3)])
    network = Network(maps)
    assert "answer is a map" in network.describe()["no_way_back"]
    with pytest.raises(ValueError, match="answer is a map"):
        network.edited(np.ones((40, 40, 1)), Steps([0], 1, 1))
    tokens = cornu.Sequential(
        [cornu.Input((4,), dtype="int32"), L.Embedding(9, 3), L.Flatten(), L.Dense(2)]
    )
    told, _ = Network(tokens).backward([1, 2, 3, 4], [1])
    assert told["input"]["shape"] == [0, 1, 1] and told["layers"][0]["shape"] == [3, 1, 4]
    assert parsed(None) is None and parsed([]) is None


def test_channels_first_goes_back():
    first = cornu.Sequential(
        [cornu.Input((2, 6, 7)), L.Conv2D(3, 3, data_format="channels_first", name="conv")]
    )
    first.add(L.Flatten(data_format="channels_first"))
    first.add(L.Dense(2))
    first.compile("sgd", cornu.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).standard_normal((6, 7, 2)).astype("float32")
    told, found = Network(first).backward(x, [1])
    expected = explain.backpropagation(first, x.transpose(2, 0, 1), np.array(1))
    assert told["input"]["shape"] == [2, 6, 7] and found[1].shape == (3, 4, 5)
    slopes = np.moveaxis(expected.gradients["conv"], -1, 0)
    scale = told["layers"][0]["scale"] / 127
    np.testing.assert_allclose(found[1] * scale, slopes, atol=0.51 * scale)


def test_the_network_of_the_tour(owner):
    """Any page has it, with drawings of which one is taken for another digit."""
    told = owner.json("GET", "/api/model?net=tour")
    assert told["parameters"] == 2346 and told["shape"] == [28, 28, 1] and told["white"] == 1
    assert [layer["shape"] for layer in told["layers"]][4:7] == [[11, 11, 8], [5, 5, 8], [200]]
    drawings = tour.drawings()
    answers = []
    for n in range(told["examples"]):
        got, content = owner.arrays("GET", f"/api/example?number={n}&net=tour")
        assert content == floats(drawings.x[n])
        run, _ = owner.arrays("POST", "/api/run?net=tour", content)
        answers.append((got["label"], int(np.argmax(run["outputs"]))))
    assert answers == [(n, n) for n in range(10)] + [(1, 7)]
    # One small step against the gradient mends that.
    edits = {"target": 1, "rate": 0.05, "steps": 1}
    run, _ = owner.arrays("POST", "/api/run?net=tour", said(drawings.x[10], edits=edits))
    assert np.argmax(run["outputs"]) == 1


def test_batch_by_batch(digits):
    """A copy learns as `train_on_batch` does, with dropout and statistics of batches; the model stays."""
    cornu.utils.set_random_seed(0)
    _, x, y = digits
    model = cornu.Sequential(
        [
            cornu.Input((12, 12, 1)),
            L.Conv2D(2, 3, activation="relu", kernel_regularizer="l2", name="conv"),
            L.BatchNormalization(),
            L.Dropout(0.5),
            L.Flatten(),
            L.Dense(3, activation="softmax", name="out"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.train_on_batch(x[:8], y[:8])
    weights = model.get_weights()
    network = Network(model)
    batches = network.batches = Batches(network, Examples(x[:20], y[:20]))
    twin = copy.deepcopy(model)
    for number in (1, 2, 3):
        rows = np.arange(8 * number - 8, 8 * number) % 20
        before = [v.numpy() for v in twin.variables]
        kernel = twin.get_layer("conv").kernel.numpy()
        told, arrays = batches.told(number, 8, 5)
        update = batches.update(number, 8, 0, "kernel", (1, 2, 0, 1))
        assert all(map(np.array_equal, before, batches.values(number - 1, 8)))
        logs = twin.train_on_batch(x[rows], y[rows], return_dict=True)
        assert told["rows"] == rows.tolist() and told["labels"] == y[rows].tolist()
        assert told["logs"] == logs and told["loss"] == pytest.approx(logs["loss"], rel=1e-6)
        assert np.mean(told["losses"]) == pytest.approx(logs["loss"], rel=1e-5)
        right = np.equal(told["answers"], told["labels"]).mean()
        assert logs["accuracy"] == pytest.approx(right)
        after = [v.numpy() for v in twin.variables]
        assert all(map(np.array_equal, after, batches.values(number, 8)))
        assert update["expected"] == twin.get_layer("conv").kernel.numpy()[1, 2, 0, 1]
        moved = np.linalg.norm(twin.get_layer("conv").kernel.numpy() - kernel)
        assert told["weights"][0]["move"] == pytest.approx(moved, rel=1e-5)
        # Thumbnails, then a map and a gradient for each layer.
        assert len(arrays) == 1 + 2 * len(told["layers"])
    view = network.edited(x[0], parsed({"batch": 3, "size": 8, "phase": 3}))
    shown = view.run(x[0])[0]["outputs"]
    np.testing.assert_allclose(shown, twin.predict(x[:1], verbose=0)[0], atol=1e-6)
    # Undone, and in batches of another size.
    again = [v.numpy() for v in model.variables]
    assert all(map(np.array_equal, again, batches.values(0, 4)))
    assert all(map(np.array_equal, weights, model.get_weights()))
    # Numbers are learned, too; what cannot learn says why.
    one = cornu.Sequential([cornu.Input((2,)), L.Dense(1)])
    data = Examples(np.ones((4, 2)), np.array([0.5, 1, 2, 3]))
    assert "not compiled" in Batches(Network(one), data).refusal
    one.compile("sgd", "mse")
    assert "no examples" in Batches(Network(one), Examples(np.ones((4, 2)))).refusal
    told, _ = Batches(Network(one), data).told(1, 64, 3)
    assert len(told["rows"]) == 4 and told["tests"][1] < told["tests"][0]
    assert told["tests"][0] == pytest.approx(one.evaluate(data.x, data.y, verbose=0), rel=1e-5)
    for wrong in ({"batch": 0}, {"size": 65}, {"phase": 4}, {"phase": 1.0}):
        with pytest.raises(ValueError, match="Expected a"):
            parsed({"batch": 1, "size": 8, "phase": 3, **wrong})
