"""A model and a training that are over at once."""

import types

import numpy as np


class FakeModel:
    """As much of a model as callbacks look at: cornu's and Keras' callbacks both run on it."""

    def __init__(self):
        self.optimizer = types.SimpleNamespace(learning_rate=0.1)
        self.stop_training = False
        self.metrics = []
        self.weights = [np.zeros(2)]
        self.saved = []
        self.history = None

    def get_weights(self):
        return [w.copy() for w in self.weights]

    def set_weights(self, weights):
        self.weights = [w.copy() for w in weights]

    def save(self, path, overwrite=True):
        self.saved.append(("model", path, overwrite))

    def save_weights(self, path, overwrite=True):
        self.saved.append(("weights", path, overwrite))


def run_epochs(callback, all_logs):
    """Train a fake model on given numbers; returns it and what each epoch left behind."""
    model = FakeModel()
    callback.set_model(model)
    callback.set_params({"verbose": 1, "epochs": len(all_logs), "steps": 1})
    callback.on_train_begin()
    trace = []
    for epoch, logs in enumerate(all_logs):
        logs = dict(logs)
        callback.on_epoch_begin(epoch)
        model.weights = [np.full(2, epoch + 1.0)]
        callback.on_epoch_end(epoch, logs)
        trace.append((model.optimizer.learning_rate, model.stop_training, logs))
        if model.stop_training:
            break
    callback.on_train_end(dict(all_logs[-1]))
    return model, trace
