"""Recurrent layers beside Keras', and what only they have: states, masks, the loop."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from oracle import compare_with_keras, same, twins

import cornu
from cornu import layers

STEPS = np.random.RandomState(0).normal(size=(2, 4, 3)).astype("float32")
MASK = np.array([[True, True, False, True], [False, True, True, False]])
KINDS = ("SimpleRNN", "LSTM", "GRU")
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize(
    "kind, arguments",
    [
        ("SimpleRNN", {}),
        ("LSTM", {"return_sequences": True, "go_backwards": True, "unroll": True}),
        ("GRU", {"return_sequences": True}),
        ("GRU", {"reset_after": False, "go_backwards": True, "use_bias": False}),
        (
            "LSTM",
            {"activation": "softsign", "recurrent_activation": "hard_sigmoid", "unroll": True},
        ),
    ],
)
def test_values_and_gradients(kind, arguments):
    compare_with_keras(kind, {"units": 2, "seed": 1, **arguments}, STEPS)


@every_kind
@pytest.mark.parametrize("rates", [(0.4, 0.0), (0.3, 0.5)])
def test_dropout_is_that_of_keras(kind, rates):
    rates = {"dropout": rates[0], "recurrent_dropout": rates[1]}
    compare_with_keras(kind, {"units": 3, "seed": 3, **rates}, STEPS, training=True)


def test_gru_that_resets_before_with_dropout():
    arguments = {"units": 2, "seed": 3, "recurrent_dropout": 0.5, "reset_after": False}
    compare_with_keras("GRU", arguments, STEPS, training=True)


@every_kind
def test_initial_weights_and_seeds_are_those_of_keras(kind):
    weights = []
    for library in (cornu, keras):
        library.utils.set_random_seed(5)
        layer = getattr(library.layers, kind)(2)
        layer.build((None, 4, 3))
        weights.append([np.asarray(v) for v in layer.variables])
    same(*weights, tolerance=0)


@every_kind
@pytest.mark.parametrize("more", [{}, {"go_backwards": True}, {"zero_output_for_mask": True}])
def test_masks(kind, more):
    def make(k):
        return getattr(k, kind)(2, return_sequences=True, return_state=True, **more)

    ours, theirs = twins(make, STEPS)
    same(ours(STEPS, mask=MASK), theirs(STEPS, mask=MASK))
    assert ours.compute_mask(STEPS, MASK)[0] is MASK


def test_mask_of_an_embedding():
    numbers = np.array([[1, 2, 0], [3, 0, 0]])
    results = []
    for k in (cornu, keras):
        k.utils.set_random_seed(1)
        embedding = k.layers.Embedding(5, 3, mask_zero=True)
        model = k.Sequential([embedding, k.layers.LSTM(2, return_sequences=True), k.layers.GRU(2)])
        results.append(model(numbers))
    same(*results)


@every_kind
def test_initial_state(kind):
    ours, theirs = twins(lambda k: getattr(k, kind)(2, return_state=True), STEPS)
    states = [np.full((2, 2), 0.3 * i + 0.1, "float32") for i in range(len(ours.state_size))]
    same(ours(STEPS, initial_state=states), theirs(STEPS, initial_state=states))
    inputs = layers.Input((4, 3))
    symbols = [layers.Input((2,)) for _ in states]
    model = cornu.Model([inputs, *symbols], ours(inputs, initial_state=symbols))
    same(model([STEPS, *states]), theirs(STEPS, initial_state=states))
    loaded = cornu.Model.from_config(model.get_config())
    loaded.set_weights(model.get_weights())
    same(loaded([STEPS, *states]), model([STEPS, *states]))


@every_kind
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
def test_dtypes(kind, policy):
    # JAX has no decomposition of matrices of 16 bits, which Keras' default would ask for.
    start = {} if policy.startswith("mixed") else {"recurrent_initializer": "glorot_uniform"}
    ours, theirs = twins(
        lambda k: getattr(k, kind)(2, return_state=True, dtype=policy, **start), STEPS
    )
    same(ours(STEPS), theirs(STEPS), tolerance=0.02)


def test_stateful():
    ours, theirs = twins(lambda k: k.LSTM(2, stateful=True), STEPS)
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
    ours.reset_state(), theirs.reset_state()
    same(ours(STEPS), theirs(STEPS))
    same([s.value for s in ours.states], [s.value for s in theirs.states])
    first = np.asarray(ours(STEPS))
    ours.reset_state()
    assert not any(np.any(s.numpy()) for s in ours.states)
    for _ in range(2):
        ours(STEPS)
    assert not np.array_equal(first, ours(STEPS))
    ours.reset_states()
    with pytest.raises(ValueError, match="the batch size of the input sequences"):
        ours(STEPS[:1])
    with pytest.raises(ValueError, match="size of the batch must be known"):
        layers.LSTM(2, stateful=True)(layers.Input((4, 3)))


def test_states_go_on_in_compiled_steps():
    model = cornu.Sequential([layers.Input(batch_shape=(2, 4, 3)), layers.GRU(2, stateful=True)])
    gru = model.layers[0]
    outputs = model.predict(np.concatenate([STEPS, STEPS]), batch_size=2, verbose=0)
    gru.reset_state()
    same(np.concatenate([gru(STEPS), gru(STEPS)]), outputs)
    model.compile("sgd", "mean_squared_error")
    gru.reset_state()
    model.fit(STEPS, np.zeros((2, 2)), batch_size=2, verbose=0, shuffle=False)
    assert np.any(gru.states[0].numpy())


@every_kind
def test_fit_is_that_of_keras(kind):
    losses = []
    for k in (cornu, keras):
        k.utils.set_random_seed(2)
        inner = getattr(k.layers, kind)(3, dropout=0.2, kernel_regularizer="l2")
        model = k.Sequential([k.Input((4, 3)), inner, k.layers.Dense(1)])
        model.compile("adam", "mse")
        history = model.fit(STEPS, np.ones((2, 1)), epochs=4, verbose=0, batch_size=1)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


# ---- cells


@pytest.mark.parametrize("kind", [f"{kind}Cell" for kind in KINDS])
def test_cell(kind):
    results, configurations = [], []
    for k in (cornu, keras):
        k.utils.set_random_seed(1)
        cell = getattr(k.layers, kind)(2, dropout=0.3, recurrent_dropout=0.3, seed=4, name="cell")
        assert cell.get_initial_state(2)[0].shape == (2, 2)
        states = [jnp.full((2, 2), 0.2)] * len(cell.get_initial_state(2))
        results.append([cell(STEPS[:, 0], states), cell(STEPS[:, 1], states, training=True)])
        configurations.append(cell.get_config())
    same(*results)
    assert configurations[0] == configurations[1]


class Plain:
    """A cell of one's own, here and in Keras."""

    def __new__(cls, k, units):
        class PlainCell(k.layers.Layer):
            def __init__(self, units=units, **kwargs):
                super().__init__(**kwargs)
                self.units = self.state_size = units

            def build(self, input_shape):
                self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")

            def call(self, inputs, states):
                output = inputs @ self.kernel + states[0]
                return output, [output]

        return PlainCell()


@pytest.mark.parametrize("unroll", [False, True])
def test_stacked_cells(unroll):
    results = []
    for k in (cornu, keras):
        k.utils.set_random_seed(7)
        cells = [
            k.layers.LSTMCell(2, dropout=0.3, seed=1),
            k.layers.GRUCell(3, recurrent_dropout=0.3, seed=2),
            Plain(k, 2),
        ]
        layer = k.layers.RNN(cells, return_sequences=True, return_state=True, unroll=unroll)
        outputs = layer(STEPS), layer(STEPS, training=True)
        results.append([outputs, layer.get_weights(), [np.asarray(v) for v in layer.variables]])
        assert layer.state_size == [[2, 2], 3, 2]
    same(*results)


def test_stacked_cells_and_masks():
    """Keras takes the first row of a state for the output before, where a cell has no list of them."""
    layer = layers.RNN([layers.LSTMCell(2), Plain(cornu, 2)], return_sequences=True)
    masked = np.asarray(layer(STEPS, mask=MASK))
    np.testing.assert_allclose(masked[0, [0, 1, 3]], layer(STEPS[:1, [0, 1, 3]])[0], rtol=1e-5)
    np.testing.assert_array_equal(masked[0, 2], masked[0, 1])


def test_symbolic_stack():
    outputs = layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], return_state=True)(
        layers.Input((None, 3))
    )
    assert jax.tree.map(lambda t: t.shape, list(outputs)) == [
        (None, 3),
        [(None, 2), (None, 2)],
        (None, 3),
    ]


class Counting(layers.Layer):
    """A cell with everything that a loop must thread: a counter, random numbers, a loss."""

    state_size = 3

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seeds = cornu.random.SeedGenerator(3)
        self.norm = layers.BatchNormalization()

    def build(self, input_shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.norm.build(input_shape)

    def call(self, inputs, states, training=False):
        self.count.assign_add(1)
        self.add_loss(jnp.sum(states[0]))
        noise = cornu.random.normal(inputs.shape, seed=self.seeds)
        output = self.norm(inputs, training=training) + noise
        return output, [states[0] + 1]


def test_what_a_cell_assigns_and_adds_goes_on():
    layer = layers.RNN(Counting(), return_sequences=True)
    outputs = layer(STEPS, training=True)
    assert float(layer.cell.count) == 4 and int(layer.cell.seeds.state[1]) == 4
    # The states are 0, 1, 2 and 3, of six elements.
    assert float(sum(layer.losses)) == 36
    assert len({float(o) for o in outputs[0, :, 0]}) == 4
    looped = Counting()
    states = [jnp.zeros((2, 3))]
    for step in range(4):
        output, states = looped(STEPS[:, step], states, training=True)
        np.testing.assert_allclose(output, outputs[:, step], rtol=1e-5, atol=1e-6)
    same([v.value for v in layer.variables], [v.value for v in looped.variables], 1e-5)


def test_weights_of_a_frozen_cell_are_not_assigned():
    layer = layers.RNN(Plain(cornu, 2))
    layer(STEPS)
    layer.trainable = False
    before = layer.cell.kernel.value
    layer(STEPS)
    assert layer.cell.kernel.value is before


def test_a_model_in_fit_with_a_cell_of_ones_own():
    model = cornu.Sequential([layers.Input((4, 3)), layers.RNN(Counting())])
    model.compile("sgd", "mse")
    history = model.fit(STEPS, np.zeros((2, 3)), epochs=2, verbose=0, batch_size=2)
    assert np.isfinite(history.history["loss"]).all()
    assert float(model.layers[0].cell.count) == 8


def test_no_mask_of_dropout_stays():
    layer = layers.LSTM(2, dropout=0.5, recurrent_dropout=0.5, seed=1)
    first = layer(STEPS, training=True)
    assert not layer.cell._dropout_masks
    assert not np.array_equal(first, layer(STEPS, training=True))


def test_a_cell_by_itself_in_compiled_functions():
    cell = layers.LSTMCell(2, dropout=0.5, recurrent_dropout=0.5, seed=1)
    cell(STEPS[:, 0], cell.get_initial_state(2))

    def step(trainable, others, x):
        return cell.stateless_call(trainable, others, x, [x[:, :2]] * 2, training=True)

    values = [
        [v.value for v in vs] for vs in (cell.trainable_variables, cell.non_trainable_variables)
    ]
    first, second = (jax.jit(lambda *a: step(*a))(*values, STEPS[:, 0]) for _ in range(2))
    same(first, second, tolerance=0)


# ---- files


@pytest.mark.parametrize("writer, reader", [(cornu, keras), (keras, cornu)], ids=["to", "from"])
def test_files_are_exchanged(writer, reader, tmp_path):
    k = writer.layers
    inputs = writer.Input((4, 3))
    x, h, c = k.LSTM(2, return_sequences=True, return_state=True, dropout=0.2, seed=1)(inputs)
    x = k.RNN([k.GRUCell(2, reset_after=False), k.SimpleRNNCell(2)], return_sequences=True)(x)
    outputs = k.GRU(2, go_backwards=True)(x), k.LSTM(2)(x, initial_state=[h, c])
    model = writer.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = reader.saving.load_model(tmp_path / "model.keras")
    same(loaded.predict(STEPS, verbose=0), model.predict(STEPS, verbose=0))
    assert [w.path.split("/")[-1] for w in loaded.weights] == [
        w.path.split("/")[-1] for w in model.weights
    ]
    loaded.load_weights(tmp_path / "model.weights.h5")


# ---- mistakes


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="`units`, expected a positive integer, got units=0"):
        layers.LSTM(0)
    with pytest.raises(ValueError, match="Argument `cell` should have a `call` method"):
        layers.RNN(3)
    with pytest.raises(ValueError, match="should have a `state_size` attribute"):
        layers.RNN(layers.Dense(2))
    with pytest.raises(ValueError, match="All cells should have a `state_size`"):
        layers.StackedRNNCells([layers.Dense(2)])
    with pytest.raises(ValueError, match="use_cudnn='always'"):
        layers.LSTM(2, use_cudnn="always")
    with pytest.raises(ValueError, match="cuDNN cannot compute this"):
        layers.LSTM(2, use_cudnn=True)(STEPS)
    with pytest.raises(ValueError, match="cuDNN cannot compute this"):
        layers.GRU(2, use_cudnn=True, reset_after=False)(STEPS)
    assert layers.GRU(2, use_cudnn=True)(STEPS).shape == (2, 2)
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=2"):
        layers.LSTM(2)(STEPS[0])


# ---- what others say of them


def test_a_loop_is_not_watched():
    model = cornu.Sequential(
        [layers.Input((4, 3)), layers.RNN([layers.GRUCell(2), Plain(cornu, 2)])]
    )
    calls = cornu.explain.observe.calls(model, STEPS)
    assert [type(call.operation).__name__ for call in calls] == ["RNN", "Sequential"]


def test_onnx_has_no_loops(tmp_path):
    pytest.importorskip("onnx")
    model = cornu.Sequential([layers.Input((4, 3)), layers.GRU(2)])
    with pytest.raises(ValueError, match="scan"):
        model.export(tmp_path / "model.onnx", format="onnx")


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"'lstm': the mask must have the shape .* \(2, 5\)"):
        cornu.layers.LSTM(4)(np.ones((2, 5, 3), "float32"), mask=np.ones((2, 4), bool))
