"""`Input(optional=True)`: None may stand for what is not there."""

import numpy as np
import pytest

import cornu
from cornu import layers


class Sum(layers.Layer):
    def call(self, inputs):
        return inputs[0] if inputs[1] is None else inputs[0] + inputs[1]


class Doubled(layers.Layer):
    def call(self, inputs):
        return None if inputs is None else 2 * inputs


X = np.ones((2, 3), "float32")


def test_an_optional_input_may_be_none():
    a, b = cornu.Input((3,), name="a"), cornu.Input((3,), name="b", optional=True)
    model = cornu.Model(
        [a, b], layers.Dense(1, kernel_initializer="ones")(Sum()([a, Doubled()(b)]))
    )
    for x, right in (([X, X], 9), ([X, None], 3), ({"a": X, "b": None}, 3)):
        assert model(x)[0, 0] == right
        assert model.predict(x, verbose=0)[0, 0] == right
    # Within other models, and made again from its configuration.
    again = cornu.Model.from_config(model.get_config(), {"Sum": Sum, "Doubled": Doubled})
    again.set_weights(model.get_weights())
    assert cornu.Model(a, again([a, None]))(X)[0, 0] == 3
    model.compile("sgd", "mse")
    history = model.fit([X, None], np.ones((2, 1)), verbose=0)
    assert history.history["loss"] == [4.0]
    with pytest.raises(ValueError, match="the input 'a' is not optional"):
        model([None, X])
    for x in ([None], {"a": None, "b": None}):
        with pytest.raises(ValueError, match=r"`x` holds no array.*not optional"):
            model.fit(x, np.ones((2, 1)))
