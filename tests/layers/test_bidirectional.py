"""`Bidirectional` beside Keras'."""

import keras
import numpy as np
import pytest
from oracle import same, twins

import cornu
from cornu import layers

STEPS = np.random.RandomState(0).normal(size=(2, 4, 3)).astype("float32")
MASK = np.array([[True, True, False, True], [False, True, True, False]])


SEQUENCES, STATES = {"return_sequences": True}, {"return_state": True}


@pytest.mark.parametrize(
    "merge_mode, more",
    [
        ("concat", {}),
        ("concat", SEQUENCES),
        ("concat", STATES),
        ("sum", SEQUENCES),
        ("ave", {}),
        ("mul", SEQUENCES),
        (None, SEQUENCES),
        (None, STATES),
    ],
)
def test_values_and_shapes(merge_mode, more):
    ours, theirs = twins(lambda k: k.Bidirectional(k.LSTM(2, **more), merge_mode), STEPS)
    same(ours(STEPS), theirs(STEPS))
    same(ours(STEPS, mask=MASK), theirs(STEPS, mask=MASK))
    stated = ours.compute_output_shape((2, 4, 3))
    outputs = ours(STEPS)
    if isinstance(outputs, tuple):
        assert stated == tuple(output.shape for output in outputs)
        symbols = ours(layers.Input((None, 3)))
        assert [s.shape[-1] for s in symbols] == [output.shape[-1] for output in outputs]
    else:
        assert stated == outputs.shape


def test_configuration_names_and_first_weights_are_those_of_keras():
    found = []
    for k in (cornu, keras):
        k.utils.set_random_seed(3)
        layer = k.layers.Bidirectional(
            k.layers.SimpleRNN(2, dropout=0.2, name="inner", return_sequences=True), name="both"
        )
        layer.build((None, 4, 3))
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config()
        paths = [w.path for w in layer.weights]
        found.append((layer.get_config(), paths, [np.asarray(v) for v in layer.variables]))
    assert found[0][:2] == found[1][:2]
    same(found[0][2], found[1][2], tolerance=0)


def test_initial_state():
    ours, theirs = twins(lambda k: k.Bidirectional(k.GRU(2)), STEPS)
    states = [np.full((2, 2), value, "float32") for value in (0.3, -0.4)]
    same(ours(STEPS, initial_state=states), theirs(STEPS, initial_state=states))
    inputs, symbols = layers.Input((4, 3)), [layers.Input((2,)) for _ in states]
    model = cornu.Model([inputs, *symbols], ours(inputs, initial_state=symbols))
    same(model([STEPS, *states]), theirs(STEPS, initial_state=states))


def test_a_backward_layer_of_another_kind():
    def make(k):
        return k.Bidirectional(k.LSTM(2), backward_layer=k.GRU(3, go_backwards=True))

    ours, theirs = twins(make, STEPS)
    same(ours(STEPS), theirs(STEPS))


def test_mask_goes_on():
    layer = layers.Bidirectional(layers.LSTM(2, return_sequences=True))
    assert layer.compute_mask(STEPS, MASK) is MASK
    assert layers.Bidirectional(layers.LSTM(2)).compute_mask(STEPS, MASK) is None
    model = cornu.Sequential([layers.Embedding(5, 3, mask_zero=True), layer, layers.GRU(2)])
    assert model(np.array([[1, 2, 0]])).shape == (1, 2)


def test_stateful():
    ours, theirs = twins(lambda k: k.Bidirectional(k.LSTM(2, stateful=True)), STEPS)
    ours.reset_state(), theirs.reset_state()
    for _ in range(2):
        same(ours(STEPS), theirs(STEPS))
    assert len(ours.states) == 4 and len(ours.variables) == len(theirs.variables) + 4
    ours.reset_states()
    assert not any(np.any(state.numpy()) for state in ours.states)
    with pytest.raises(AttributeError, match="must be stateful"):
        layers.Bidirectional(layers.LSTM(2)).reset_state()


class Sum(layers.Layer):
    """A cell that nobody registered."""

    state_size = 3

    def call(self, inputs, states):
        total = states[0] + inputs
        return total, [total]


def test_a_cell_of_ones_own():
    layer = layers.Bidirectional(layers.RNN(Sum(), return_sequences=True), merge_mode="ave")
    found, sums = layer(STEPS), np.cumsum(STEPS, axis=1)
    backwards = np.flip(np.cumsum(np.flip(STEPS, 1), axis=1), 1)
    np.testing.assert_allclose(found, (sums + backwards) / 2, rtol=1e-5, atol=1e-6)


def test_weights_are_initial_values():
    first = layers.Bidirectional(layers.GRU(2))
    first(STEPS)
    second = layers.Bidirectional(layers.GRU(2), weights=first.get_weights())
    same(second(STEPS), first(STEPS), tolerance=0)


@pytest.mark.parametrize("writer, reader", [(cornu, keras), (keras, cornu)], ids=["to", "from"])
def test_files_are_exchanged(writer, reader, tmp_path):
    k = writer.layers
    inputs = writer.Input((4, 3))
    x = k.Bidirectional(k.LSTM(2, return_sequences=True), merge_mode="sum")(inputs)
    model = writer.Model(inputs, k.Bidirectional(k.GRU(2, dropout=0.1, seed=1))(x))
    model.save(tmp_path / "model.keras")
    loaded = reader.saving.load_model(tmp_path / "model.keras")
    same(loaded.predict(STEPS, verbose=0), model.predict(STEPS, verbose=0))


def test_fit_is_that_of_keras():
    losses = []
    for k in (cornu, keras):
        k.utils.set_random_seed(2)
        inner = k.layers.Bidirectional(k.layers.LSTM(3, dropout=0.2))
        model = k.Sequential([k.Input((4, 3)), inner, k.layers.Dense(1)])
        model.compile("adam", "mse")
        history = model.fit(STEPS, np.ones((2, 1)), epochs=3, verbose=0, batch_size=1)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="`layer` of `Bidirectional` must be a recurrent"):
        layers.Bidirectional(layers.Dense(2))
    with pytest.raises(ValueError, match="`backward_layer` of `Bidirectional` must be"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=3)
    with pytest.raises(ValueError, match="merge_mode='max'"):
        layers.Bidirectional(layers.LSTM(2), merge_mode="max")
    with pytest.raises(ValueError, match="different `go_backwards`"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2))
    with pytest.raises(ValueError, match='attribute "return_state"'):
        backward = layers.LSTM(2, go_backwards=True, return_state=True)
        layers.Bidirectional(layers.LSTM(2), backward_layer=backward)
