"""What the page receives is what the library returns."""

import numpy as np
import pytest

import cornu
from cornu import explain
from cornu import layers as L
from cornu.explorer import Network

random = np.random.default_rng(0)


def test_a_run_shows_what_the_layers_make(digits):
    model, x, _ = digits
    network = Network(model)
    described, pictures = network.run(x[0])
    np.testing.assert_allclose(described["outputs"], model.predict(x[:1], verbose=0)[0], atol=1e-6)
    names = [layer["name"] for layer in network.describe()["layers"]]
    assert names == ["first", "pool", "second", "flat", "out"]
    maps = explain.feature_maps(model, x[0])
    for name, picture, told in zip(names, pictures, described["layers"], strict=True):
        whole = maps[name][0].reshape(-1, maps[name].shape[-1] if maps[name].ndim == 4 else 1)
        shown = picture.reshape(len(picture), -1).T * (told["scale"] / 127)
        np.testing.assert_allclose(shown, whole, atol=told["scale"] / 127 * 0.51)
    assert told["scale"] == pytest.approx(maps["out"].max())


def test_the_description_follows_the_graph():
    x = cornu.Input((8, 8, 2))
    a = L.Conv2D(3, 3, padding="same", name="a")(x)
    b = L.Conv2D(3, 1, name="b")(x)
    y = L.Add(name="sum")([a, b])
    told = Network(cornu.Model(x, y)).describe()
    sources = {layer["name"]: layer["sources"] for layer in told["layers"]}
    order = [layer["name"] for layer in told["layers"]]
    assert sources["a"] == sources["b"] == ["input"]
    assert [order[n] for n in sources["sum"]] == ["a", "b"]
    first = told["layers"][order.index("a")]
    assert first["parameters"] == "(3*3*2 + 1)*3 = 57" and first["shape"] == [8, 8, 3]
    assert told["classes"] == [] and told["methods"] == []


def test_windows_and_fields(digits):
    model, x, _ = digits
    network = Network(model)
    found = network.window(x[3], 2, (1, 2), 5)
    expected = explain.window(model, x[3], "second", (1, 2), 5)
    assert found["result"] == pytest.approx(expected.result)
    assert found["grids"][1]["patch"] == expected.patch[..., 1].tolist()
    seen = explain.receptive_field(model).window("second", (1, 2))
    assert found["field"] == [[part.start, part.stop] for part in seen]
    dense = network.links(x[3], 4, 1, ())["sources"][0]["maps"]
    largest = [abs(one["part"]) for one in dense]
    assert largest == sorted(largest, reverse=True)
    assert largest[0] == pytest.approx(
        np.abs(explain.window(model, x[3], "out", (), 1).products).max(), rel=1e-5
    )
    for wrong in ((9, (0, 0), 0), (2, (99, 0), 0), (2, (0, 0), 99), (2, (), 0)):
        with pytest.raises(ValueError):
            network.window(x[0], *wrong)


def test_links_and_bias_add_up_to_the_sum(digits):
    """For each kind of layer: what the maps add, and the bias, is the layer's sum."""
    x = cornu.Input((8, 8, 2))
    a = L.Conv2D(16, 3, padding="same", name="conv")(x)
    b = L.SeparableConv2D(16, 3, padding="same", name="separable")(a)
    c = L.Conv2DTranspose(16, 3, padding="same", name="transposed")(b)
    d = L.DepthwiseConv2D(3, padding="same", name="depthwise")(c)
    e = L.Add(name="sum")([b, d])
    e = L.Average(name="mean")([e, a])
    f = L.Concatenate(name="joined")([e, L.Subtract(name="less")([a, b])])
    g = L.Dense(3, name="mixed")(f)
    g = L.Flatten()(L.MaxPooling2D(name="pool")(g))
    model = cornu.Model(x, L.Dense(4, activation="softmax", name="out")(g))
    network, image = Network(model), random.standard_normal((8, 8, 2)).astype("float32")
    layers = network.describe()["layers"]
    names = [layer["name"] for layer in layers]
    for n, layer in enumerate(layers):
        told = network.links(image, n, 2)
        assert [source["layer"] for source in told["sources"]] == layer["sources"]
        steps = network.window(image, n, told["position"], 2)["steps"]
        biased = [step["value"] for step in steps if step["name"] == "bias"]
        bias = biased[0] - steps[0]["value"] if biased else 0
        before = biased[0] if biased else steps[0]["value"]
        assert told["total"] + bias == pytest.approx(before, rel=1e-5, abs=1e-6), layer["name"]
        for source in told["sources"]:
            parts = [one["part"] for one in source["maps"]] + [source["others"]["part"]]
            assert sum(parts) == pytest.approx(source["sum"], rel=1e-6, abs=1e-9)
            assert len(source["maps"]) <= 12
    joined = network.links(image, names.index("joined"), 18, (3, 4))["sources"]
    assert [[(one["map"], one["at"]) for one in s["maps"]] for s in joined] == [[], [(2, [3, 4])]]
    out = network.links(image, names.index("out"), 1)
    maps = explain.feature_maps(model, image)["pool"][0]
    kernel = model.get_layer("out").kernel.numpy()[:, 1].reshape(maps.shape)
    drawn = np.array(out["on_maps"]["products"]).reshape(3, 4, 4).transpose(1, 2, 0)
    np.testing.assert_allclose(drawn, maps * kernel, atol=1e-6)
    assert out["on_maps"]["layer"] == names.index("pool")
    powers = np.exp(out["logits"])
    np.testing.assert_allclose(
        powers / powers.sum(), model.predict(image[None], verbose=0)[0], atol=1e-6
    )
    with pytest.raises(ValueError, match="16 channels"):
        network.links(image, 0, 16)


def test_a_part_of_the_layers_and_a_sheet_of_maps():
    model = cornu.Sequential([cornu.Input((5, 5, 1)), L.Conv2D(80, 2, name="many"), L.Flatten()])
    network, x = Network(model), random.standard_normal((5, 5, 1)).astype("float32")
    described, (picture,) = network.run(x, (0,), 12)
    assert described["layers"][1] is None and picture.shape == (12, 4, 4)
    maps = explain.feature_maps(model, x)["many"][0]
    strength = np.abs(maps).max((0, 1))
    told, (picture,) = network.sheet(x, 0, 64, by_strength=True)
    assert told["maps"] == np.argsort(-strength)[64:].tolist() and told["count"] == 80
    np.testing.assert_allclose(
        picture[3] * told["scale"] / 127, maps[..., told["maps"][3]], atol=told["scale"] / 127
    )
    told, _ = network.sheet(x, 0, channels=(70, 3))
    np.testing.assert_allclose(told["strength"], strength[[70, 3]], rtol=1e-5)
    with pytest.raises(ValueError, match="80 channels"):
        network.sheet(x, 0, channels=(80,))
    assert network.field(0, (1, 2)) == [[1, 3], [2, 4]]


def test_columns_ranks_and_stages():
    """Norms and activations share a column; branches share a rank; what is long folds."""
    x = cornu.Input((8, 8, 4))
    a = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(L.Conv2D(4, 1, name="a")(x)))
    b = L.Conv2D(4, 1, name="b")(L.Conv2D(4, 1, name="b0")(a))
    told = Network(cornu.Model(x, L.Add(name="add")([a, b]))).describe()
    names = [layer["name"] for layer in told["layers"]]
    columns = {names[c["layers"][0]]: c for c in told["columns"]}
    assert [names[n] for n in columns["a"]["layers"]] == ["a", "norm", "relu"]
    ranks = [columns[name]["rank"] for name in ("a", "b0", "b", "add")]
    assert told["input"]["rank"] == 0 and ranks == [1, 2, 3, 4] and told["stages"] == []
    inner = cornu.Sequential([cornu.Input((8, 8, 4)), L.Conv2D(4, 1), L.Conv2D(4, 1)], name="part")
    nested = Network(cornu.Sequential([cornu.Input((8, 8, 4)), inner, L.Flatten()])).describe()
    (stage,) = nested["stages"]
    assert (stage["name"], stage["columns"], stage["folded"]) == ("part", [0, 1], False)
    deep = [L.Conv2D(4, 1, padding="same", strides=1 + (n in (6, 12))) for n in range(18)]
    long = Network(cornu.Sequential([cornu.Input((8, 8, 4)), *deep, L.Flatten()])).describe()
    assert [s["name"] for s in long["stages"]] == ["8 × 8", "4 × 4", "2 × 2"]
    assert all(s["folded"] and s["repeats"] == 6 for s in long["stages"])


def test_what_cannot_be_explained_is_said():
    model = cornu.Sequential([cornu.Input((5,)), L.Lambda(lambda x: x**2, name="square")])
    assert "'square'" in Network(model).window(np.ones(5), 0, (), 1)["refused"]
    # What a subclass does otherwise is no defect, either.
    network = Network(cornu.Sequential([cornu.Input((5,)), Doubled(3, name="doubled")]))
    for told in (
        network.window(np.ones(5), 0, (), 1),
        network.links(np.ones(5), 0, 1),
        network.back_window(np.ones(5), [1], 0, "kernel", (0, 1), 0.1),
    ):
        assert "'doubled'" in told["refused"]


class Doubled(L.Dense):
    def call(self, x):
        return 2 * super().call(x)


def test_several_outputs():
    x = cornu.Input((4,))
    network = Network(cornu.Model(x, [L.Dense(2)(x), L.Dense(3)(x)]))
    told, maps = network.run(np.ones(4))
    assert told["outputs"] is None and [each.shape[-1] for each in maps] == [2, 3]
    assert "several" in network.describe()["no_way_back"]


@pytest.mark.parametrize("method", ["saliency", "grad_cam", "grad_cam_plus_plus"])
def test_maps_of_classes(digits, method):
    model, x, _ = digits
    network = Network(model)
    target, found = network.class_map(x[1], method, None)
    assert target == model.predict(x[1:2], verbose=0).argmax()
    np.testing.assert_allclose(found, getattr(explain, method)(model, x[1])[0], atol=1e-5)
    target, found = network.class_map(x[1], method, 2)
    assert target == 2
    np.testing.assert_allclose(found, getattr(explain, method)(model, x[1], 2)[0], atol=1e-5)
    with pytest.raises(ValueError, match="no class 3"):
        network.class_map(x[1], method, 3)
    with pytest.raises(ValueError, match="no map 'mystery'"):
        network.class_map(x[1], "mystery", None)


def test_answers_are_about_the_weights_that_were_taken(digits):
    model = cornu.models.clone_model(digits[0])
    x = digits[1][0]
    network = Network(model)
    before, window = network.run(x)[0], network.window(x, 2, (0, 0), 0)
    model.set_weights([2 * w for w in model.get_weights()])
    assert network.run(x)[0] == before and network.window(x, 2, (0, 0), 0) == window
    network.refresh()
    np.testing.assert_allclose(
        network.run(x)[0]["outputs"], model.predict(x[None], verbose=0)[0], atol=1e-6
    )
    assert network.window(x, 2, (0, 0), 0) != window


def test_channels_first():
    model = cornu.Sequential(
        [
            cornu.Input((2, 6, 6)),
            L.Conv2D(3, 3, data_format="channels_first", name="conv"),
            L.Flatten(data_format="channels_first"),
            L.Dense(2),
        ]
    )
    network, x = Network(model), random.standard_normal((6, 6, 2)).astype("float32")
    assert network.shape == (6, 6, 2)
    assert network.describe()["layers"][0]["shape"] == [4, 4, 3]
    maps = model.layers[0](x.transpose(2, 0, 1)[None])[0]
    np.testing.assert_allclose(network.layer_map(x, 0, 1), maps[1], atol=1e-6)
    assert network.window(x, 0, (1, 2), 1)["result"] == pytest.approx(
        float(maps[1, 1, 2]), abs=1e-6
    )


def test_signals_volumes_and_tokens():
    signal = cornu.Sequential([cornu.Input((30, 2)), L.Conv1D(3, 5), L.GlobalMaxPooling1D()])
    found = Network(signal).window(np.ones((30, 2)), 0, (4,), 1)
    assert (found["origin"], found["channels"], found["field"]) == ([4], 2, [[4, 9]])
    volume = cornu.Sequential([cornu.Input((6, 7, 8, 1)), L.Conv3D(2, 3)])
    network = Network(volume)
    _, pictures = network.run(np.ones((6, 7, 8, 1)))
    assert pictures[0].shape == (2, 5, 6)
    assert network.layer_map(np.ones((6, 7, 8, 1)), 0, 1).shape == (4, 5, 6)
    tokens = cornu.Sequential([cornu.Input((4,), dtype="int32"), L.Embedding(9, 3, name="table")])
    found = Network(tokens).window([1, 2, 3, 4], 0, (2,), 1)
    row = float(tokens.get_layer("table").embeddings.numpy()[3, 1])
    assert found["result"] == row and found["field"] is None


def test_large_maps_are_thinned_and_many_channels_cut():
    model = cornu.Sequential(
        [cornu.Input((150, 100, 1)), L.Conv2D(70, 1, use_bias=False), L.Flatten()]
    )
    x = random.standard_normal((150, 100, 1)).astype("float32")
    described, (picture, flat) = Network(model).run(x)
    assert described["layers"][0]["step"] == 3 and picture.shape == (64, 50, 34)
    weight = model.layers[0].kernel.numpy()[0, 0, 0, 5]
    np.testing.assert_allclose(
        picture[5] * described["layers"][0]["scale"] / 127, weight * x[::3, ::3, 0], atol=0.02
    )
    assert flat.shape == (1, 1, 1024)


def test_what_is_no_number_is_seen():
    model = cornu.Sequential([cornu.Input((3, 3, 1)), L.Rescaling(np.inf), L.Flatten()])
    described, (picture, _) = Network(model).run(np.eye(3)[..., None])
    assert (picture[0] == -128).all() and described["layers"][0]["scale"] == 0


def test_a_single_output_is_no_class():
    model = cornu.Sequential([cornu.Input((4,)), L.Dense(1, activation="sigmoid")])
    network = Network(model)
    told, _ = network.run(np.ones(4))
    assert told["outputs"] == pytest.approx(model.predict(np.ones((1, 4)), verbose=0)[0])
    assert network.describe()["classes"] == network.describe()["methods"] == []


def test_names_must_fit(digits):
    with pytest.raises(ValueError, match="3 classes, and 2 names"):
        Network(digits[0], class_names=["a", "b"])


def test_models_that_cannot_be_shown():
    a, b = cornu.Input((3,)), cornu.Input((3,))
    with pytest.raises(ValueError, match="2 inputs"):
        Network(cornu.Model([a, b], L.Add()([a, b])))
    any_size = cornu.Sequential([cornu.Input((None, None, 1)), L.Conv2D(2, 3)])
    with pytest.raises(ValueError, match="Give the shape"):
        Network(any_size)
    assert Network(any_size, (9, 8, 1)).describe()["layers"][0]["shape"] == [7, 6, 2]


def test_what_only_training_does_is_left_out():
    """Augmentation and noise hand numbers on; a random crop takes the middle."""
    changes = [
        L.RandomFlip(),
        L.RandomContrast(0.9),
        L.RandomBrightness(0.9, value_range=(0, 1)),
        L.RandomTranslation(0.4, 0.4),
        L.RandomRotation(0.4),
        L.RandomZoom(0.4),
        L.Dropout(0.5),
        L.SpatialDropout2D(0.5),
        L.GaussianNoise(0.5),
        L.GaussianDropout(0.5),
        L.AlphaDropout(0.5),
    ]
    crop, conv = L.RandomCrop(4, 4), L.Conv2D(1, 3)
    model = cornu.Sequential([cornu.Input((6, 6, 1)), *changes, crop, conv])
    network = Network(model)
    x = np.random.default_rng(0).uniform(size=(6, 6, 1)).astype("float32")
    for number in range(len(changes)):
        window = network.window(x, number, (2, 5), 0)
        assert window["field"] == [[2, 3], [5, 6]]
        assert window["result"] == window["expected"] == pytest.approx(x[2, 5, 0], abs=1e-6)
    seen = network.layer_map(x, len(changes), 0)
    window = network.window(x, len(changes), (1, 2), 0)
    assert window["result"] == pytest.approx(seen[1, 2], abs=1e-5)
    assert network.window(x, len(changes) + 1, (0, 1), 0)["grids"][0]["patch"] == pytest.approx(
        seen[:3, 1:].reshape(3, 3), abs=1e-6
    )


def test_examples_of_another_layout_are_refused():
    """As many numbers, but in another order."""
    model = cornu.Sequential([cornu.Input((4, 5, 3)), L.Conv2D(1, 3)])
    for shape in ((2, 3, 4, 5), (2, 5, 4, 3), (2, 60)):
        with pytest.raises(ValueError, match=r"shape \(n, 4, 5, 3\) are expected"):
            cornu.explorer.explore(model, np.zeros(shape))
