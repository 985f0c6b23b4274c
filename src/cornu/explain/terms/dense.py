"""Terms of dense layers and of embeddings."""

import numpy as np

from cornu.explain.terms.base import Step, Terms, channels_last, weights_of
from cornu.explain.terms.dispatch import terms_of
from cornu.explain.terms.steps import finished, sum_text
from cornu.layers.dense import Dense
from cornu.layers.embedding import Embedding


@terms_of.register
def _(layer: Dense, inputs, index):
    *position, channel = index
    values = channels_last(layer, inputs)[(0, *position)]
    kernel = weights_of(layer.kernel)
    weights = kernel[:, channel]
    text = sum_text(values, weights)
    return Terms(values, weights, finished(layer, values @ kernel, channel, text), ("input",))


@terms_of.register
def _(layer: Embedding, inputs, index):
    number = int(np.asarray(inputs)[(0, *index[:-1])])
    row = weights_of(layer.embeddings)[number]
    step = Step("table", f"row {number}, column {index[-1]}", float(row[index[-1]]))
    return Terms(np.array([float(number)]), None, [step], ("input",))
