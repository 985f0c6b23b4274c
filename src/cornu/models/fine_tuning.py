"""`fine_tune`: a network that has learned from other pictures learns one's own."""

import contextlib
import dataclasses
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cornu.callbacks import History
from cornu.data.arrays import check_lengths, in_memory, to_arrays, train_validation_split
from cornu.data.py_dataset import PyDataset
from cornu.data.samples import pack_x_y_sample_weight, unpack_x_y_sample_weight
from cornu.layers.batch_normalization import BatchNormalization
from cornu.models.cloning import with_own_metrics
from cornu.models.feature_files import digest, make_room
from cornu.models.frozen_features import Cut, computed, cut, needed_bytes
from cornu.models.model import Model
from cornu.optimizers import MultiOptimizer, OptimizerMap
from cornu.optimizers.loss_scaling import LossScaleOptimizer
from cornu.optimizers.schedules import CosineDecay
from cornu.training.learning_rate import batches_of, trial
from cornu.utils.files import cache_folder

# How the learning rate goes within a stage: up for a quarter of the steps, then down to almost nothing.
_RISE = 0.25
_BEGIN = 1 / 25
_END = 1e-5
# By default: epochs of the whole model, and its fewest steps. A handful only shakes what the head has
# learned.
_EPOCHS, _FEWEST_STEPS = 5, 80


class FineTuning(NamedTuple):
    """What `fine_tune` did.

    Attributes:
        head: the history of the head on frozen features.
        whole: the history of the whole model.
        head_rate, whole_rate: the largest learning rate of each.

    What had no epochs is None.
    """

    head: History | None
    whole: History | None
    head_rate: float | None
    whole_rate: float | None


@dataclasses.dataclass(frozen=True)
class _Samples:
    """Data as one passes over them several times, in whatever order.

    Samples have the numbers of their digests among all in ascending order. So features that are in files
    belong to the right labels, also if each pass mixes the samples anew.
    """

    x: Any
    # Of data that are read batch by batch, the labels and weights are gathered.
    y: Any
    weight: Any
    batch_size: int
    name: str
    keys: list[bytes]
    order: np.ndarray
    # Batches of one pass.
    steps: int = 0

    @classmethod
    def of(cls, x, y, weight, batch_size: int, name: str, looks: bool) -> "_Samples":
        """The data; only who needs their features looks at all of them."""
        if in_memory(x):
            x, y, weight = to_arrays(x, y, weight)
            check_lengths(x, y, weight)
        elif not (hasattr(x, "__iter__") or hasattr(x, "__getitem__")) or hasattr(x, "__next__"):
            raise ValueError(
                f"`{name}` must be arrays or a data set that can be read several times, such as those "
                f"of `image_dataset_from_directory`. Received: {type(x).__name__}"
            )
        elif hasattr(x, "cardinality") and int(x.cardinality()) == -1:
            raise ValueError(f"`{name}` is a data set without end: leave its `repeat()` out.")
        samples = cls(x, y, weight, batch_size, name, [], np.arange(0))
        if not looks:
            steps = len(x) if hasattr(x, "__len__") else sum(1 for _ in samples._once())
            if not samples.is_stream:
                steps = -(-len(jax.tree.leaves(x)[0]) // batch_size)
            return dataclasses.replace(samples, steps=steps)
        labels, weights = [], []
        for inputs, labels_of_batch, weight_of_batch in samples.batches():
            samples.keys.extend(_keys(inputs))
            labels.append(labels_of_batch)
            weights.append(weight_of_batch)
        if not labels:
            raise ValueError(f"`{name}` has no samples.")

        def joined(parts):
            return jax.tree.map(lambda *each: np.concatenate([np.asarray(e) for e in each]), *parts)

        order = np.array(sorted(range(len(samples.keys)), key=samples.keys.__getitem__))
        return dataclasses.replace(
            samples, y=joined(labels), weight=joined(weights), order=order, steps=len(labels)
        )

    @property
    def is_stream(self) -> bool:
        return not in_memory(self.x)

    @property
    def count(self) -> int:
        return len(self.keys)

    @property
    def digest(self) -> str:
        return digest(b"".join(sorted(self.keys)).hex())

    def _once(self):
        # By number where that is possible: iterating may mix the samples, and `fit` counts its passes.
        if hasattr(self.x, "__getitem__") and hasattr(self.x, "__len__"):
            return (self.x[i] for i in range(len(self.x)))
        return iter(self.x)

    def batches(self):
        """Batches `(x, y, sample_weight)`."""
        if self.is_stream:
            yield from (unpack_x_y_sample_weight(batch) for batch in self._once())
            return
        arrays = (self.x, self.y, self.weight)
        for begin in range(0, len(jax.tree.leaves(self.x)[0]), self.batch_size):
            rows = slice(begin, begin + self.batch_size)
            yield jax.tree.map(lambda array: np.asarray(array[rows]), arrays)  # noqa: B023

    def inputs(self):
        """The inputs, batch by batch, with the numbers of their samples."""
        places: dict[bytes, list[int]] = {}
        for number, place in enumerate(self.order):
            places.setdefault(self.keys[place], []).append(number)
        for x, _, _ in self.batches():
            keys = _keys(x)
            if not all(places.get(key) for key in keys):
                raise ValueError(
                    f"`{self.name}` has other samples in each pass, so their features cannot be kept. Put "
                    "random changes of images into the model, before the backbone."
                )
            yield [places[key].pop() for key in keys], x
        if any(places.values()):
            raise ValueError(f"`{self.name}` has fewer samples in its second pass.")

    def ordered(self):
        """Labels and weights by the samples' numbers."""
        return jax.tree.map(lambda array: array[self.order], (self.y, self.weight))

    def data(self):
        """What `fit` takes."""
        return self.x if self.is_stream else pack_x_y_sample_weight(self.x, self.y, self.weight)


def _keys(x) -> list[bytes]:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(x)]
    return [bytes.fromhex(digest(*rows)) for rows in zip(*leaves, strict=True)]


class _Draws(PyDataset):
    """Batches of features: each epoch has the next draw, in an order of its own."""

    def __init__(self, draws, y, weight, batch_size, seed):
        super().__init__()
        self.draws, self.y, self.weight = draws, y, weight
        self.batch_size, self.random = batch_size, np.random.default_rng(seed)
        self.epoch = 0
        self.order = self.random.permutation(len(draws[0]))

    def __len__(self):
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, index):
        rows = np.sort(self.order[index * self.batch_size : (index + 1) * self.batch_size])
        x = self.draws[self.epoch % len(self.draws)][rows]
        y = jax.tree.map(lambda array: array[rows], self.y)
        return (x, y) if self.weight is None else (x, y, self.weight[rows])

    def on_epoch_end(self):
        self.epoch += 1
        self.order = self.random.permutation(len(self.order))


def fine_tune(
    model,
    x,
    y=None,
    *,
    backbone=None,
    head_epochs=20,
    epochs=None,
    batch_size=32,
    learning_rate=None,
    earlier=0.3,
    validation_data=None,
    validation_split=0.0,
    sample_weight=None,
    class_weight=None,
    draws=4,
    callbacks=None,
    head_callbacks=None,
    features=None,
    seed=0,
    verbose="auto",
) -> FineTuning:
    """Train the head of a model on frozen features, then all of it with small learning rates.

    What the backbone makes of the data does not change as long as its weights do not. So it is computed
    once and kept in files: an epoch of the head takes milliseconds, and a second call with the same data,
    network and weights computes nothing. Then all weights are trained: the earlier a layer, the smaller its
    learning rate. In each stage the rate rises for a quarter of the steps and then falls to almost nothing
    (one cycle). Normalization in the backbone uses the statistics that it has learned.

    Args:
        model: a compiled model, Sequential or made from a graph, with a backbone and behind it a head. Its
            optimizer's kind and settings are used, but for the learning rate.
        x, y, sample_weight: arrays as for `fit`, or as `x` a data set of batches that can be read several
            times. Its labels are kept in memory.
        backbone: the last frozen layer, often a whole model, or its name. Default: the largest model within
            the model; without one, the last global pooling or `Flatten` layer.
        head_epochs, epochs: epochs of the head, and then of the whole; either may be 0. Default of the
            whole: 5, or with few samples as many as take 80 steps.
        batch_size: samples a step, for arrays.
        learning_rate: the largest of each stage, a number or a pair (head, whole). Default: what a trial
            finds (see `cornu.explain.learning_rate_range`).
        earlier: the rate of the first half of the backbone's layers, as a share of the head's. The second
            half has its square root. Less leaves the backbone nearer to what it has learned, for pictures
            that are almost of the same kind.
        validation_data, validation_split: as for `fit`.
        class_weight: as for `fit`.
        draws: with random image layers before the backbone, how many times each image is changed and its
            features are kept. The head's epochs take turns.
        callbacks: for the training of the whole model.
        head_callbacks: for that of the head. Their `model` is a copy of the head alone.
        features: the folder of the features' files. Default: `features` in the cache (`CORNU_HOME`), where
            the oldest go when all take more than 10 GiB.
        seed: of draws and of the order of samples in the head's epochs.
        verbose: as for `fit`; 0 for no output.

    Afterwards the model is compiled as before, and what was frozen is frozen.

    Raises ValueError if the model is not compiled or cannot be cut behind the backbone, and if the data
    can be read only once; OSError if the disk has no room for the features.

    Sources: Keras: Transfer learning and fine-tuning; J. Howard and S. Ruder, Universal language model
    fine-tuning, 2018 (rates by layer); L. N. Smith, A disciplined approach, 2018 (one cycle).

    >>> import cornu, numpy as np, tempfile
    >>> layers = cornu.layers
    >>> backbone = cornu.Sequential(
    ...     [cornu.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten()]
    ... )
    >>> model = cornu.Sequential([backbone, layers.Dense(2, activation="softmax")])
    >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> x = np.random.default_rng(0).normal(size=(64, 8, 8, 1)).astype("float32")
    >>> y = (x.mean((1, 2, 3)) > 0).astype(int)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = cornu.models.fine_tune(
    ...         model, x, y, learning_rate=0.01, epochs=1, features=folder, verbose=0
    ...     )
    >>> len(done.head.epoch), len(done.whole.epoch)
    (20, 1)
    """
    _check(model, head_epochs, _EPOCHS if epochs is None else epochs, draws, earlier)
    head_rate, whole_rate = _rates(learning_rate)
    if validation_split and validation_data is None:
        if not in_memory(x):
            raise ValueError(
                "`validation_split` is for arrays. Pass `validation_data`, another data set."
            )
        parts = to_arrays(x, y, sample_weight)
        (x, y, sample_weight), validation_data = train_validation_split(parts, validation_split)
    two = cut(model, backbone)
    train = _Samples.of(x, y, sample_weight, batch_size, "x", head_epochs > 0)
    validation = None
    if validation_data is not None:
        given = (validation_data, None, None)
        if isinstance(validation_data, tuple | list):
            given = unpack_x_y_sample_weight(validation_data)
        validation = _Samples.of(*given, batch_size, "validation_data", head_epochs > 0)
    if epochs is None:
        epochs = max(_EPOCHS, -(-_FEWEST_STEPS // max(train.steps, 1)))
    stages = _Stages(model, two, train, validation, class_weight, verbose, seed)
    head = whole = None
    if head_epochs:
        folder = Path(features) if features is not None else cache_folder() / "features"

        # For all of them, before the first is computed.
        plan = [(train, draws)] if validation is None else [(validation, 0), (train, draws)]
        make_room(folder, sum(needed_bytes(two.features, s, folder, n, seed) for s, n in plan))

        def features_of(samples, draws):
            return computed(two.features, samples, folder, draws, seed, verbose != 0)

        judged = features_of(validation, 0)[0] if validation is not None else None
        head, head_rate = stages.head(
            features_of(train, draws), judged, head_epochs, head_rate, head_callbacks
        )
    if epochs:
        whole, whole_rate = stages.whole(epochs, whole_rate, earlier, callbacks)
    return FineTuning(head, whole, head and head_rate, whole and whole_rate)


def _check(model, head_epochs, epochs, draws, earlier) -> None:
    if not model.compiled or model.optimizer is None or model._compile_arguments["loss"] is None:
        raise ValueError(
            f"The model '{model.name}' has no loss and no optimizer yet. Call `compile()` first."
        )
    if type(model).compile is not Model.compile:
        raise ValueError(
            f"{type(model).__name__} has a `compile()` of its own, whose arguments are not known here. "
            "Put its layers into a plain Model."
        )
    for name in ("train_step", "test_step", "compute_loss", "compute_metrics"):
        if getattr(type(model), name) is not getattr(Model, name):
            raise ValueError(
                f"{type(model).__name__} has a `{name}` of its own, which a head alone does not have. Put "
                "its layers into a plain Model."
            )
    optimizer = _inner(model.optimizer)
    if isinstance(optimizer, MultiOptimizer) or hasattr(optimizer, "transformation"):
        raise ValueError(
            f"`fine_tune` sets learning rates by layer, which a {type(optimizer).__name__} does not "
            "let it. Compile the model with another optimizer."
        )
    for name, value, least in (
        ("head_epochs", head_epochs, 0),
        ("epochs", epochs, 0),
        ("draws", draws, 1),
    ):
        if not isinstance(value, int) or value < least:
            raise ValueError(
                f"`{name}` must be an integer of at least {least}. Received: {value!r}"
            )
    if not 0 < earlier <= 1:
        raise ValueError(f"`earlier` must be more than 0 and at most 1. Received: {earlier!r}")


def _rates(learning_rate) -> tuple:
    if isinstance(learning_rate, tuple | list) and len(learning_rate) == 2:
        return tuple(learning_rate)
    return learning_rate, learning_rate


def _inner(optimizer):
    return optimizer.inner_optimizer if isinstance(optimizer, LossScaleOptimizer) else optimizer


class _Stages:
    """The two stages, which share data and settings."""

    def __init__(self, model, two: Cut, train, validation, class_weight, verbose, seed):
        self.model, self.two = model, two
        self.train, self.validation = train, validation
        self.verbose, self.seed = verbose, seed
        self.class_weight = class_weight
        self.compiled = model._compile_arguments

    def head(self, draws, judged, epochs, rate, callbacks) -> tuple:
        """Train the head's copy on features, and give its weights to the model."""
        head, train = self.two.head, self.train
        y, weight = train.ordered()
        data = _Draws(draws, y, weight, train.batch_size, self.seed)
        groups = [(1.0, head.weights)]
        for own, copy in self.two.pairs:
            _give(own, copy)
        rate = self._compile(head, rate, groups, len(data) * epochs, data, 100)
        self._say(f"Head: {epochs} epochs on frozen features, learning rate up to {rate:.2g}")
        validation = None
        if judged is not None:
            validation = pack_x_y_sample_weight(np.asarray(judged), *self.validation.ordered())
        try:
            history = self._fit(head, data, epochs, validation, callbacks)
        finally:
            for own, copy in self.two.pairs:
                _give(copy, own)
        return history, rate

    def whole(self, epochs, rate, earlier, callbacks) -> tuple:
        """Train all weights, the earlier the less."""
        model, layers = self.model, self.two.layers
        with _flags_kept(model):
            _unfreeze(self.two)
            half = len(layers) // 2
            groups = [
                (factor, [weight for layer in part for weight in layer._own_weights()])
                for factor, part in ((earlier, layers[:half]), (earlier**0.5, layers[half:]))
            ]
            known = {id(weight) for _, weights in groups for weight in weights}
            groups.append((1.0, [w for w in model.weights if id(w) not in known]))
            steps = self.train.steps
            try:
                data = self.train.data()
                tries = min(100, max(40, steps))
                rate = self._compile(model, rate, groups, steps * epochs, data, tries)
                self._say(f"Whole model: {epochs} epochs, learning rate up to {rate:.2g}")
                validation = self.validation and self.validation.data()
                return self._fit(model, data, epochs, validation, callbacks), rate
            finally:
                model.compile(**self.compiled)

    def _say(self, text: str) -> None:
        if self.verbose != 0:
            print(text)

    def _fit(self, model, data, epochs, validation, callbacks):
        x, y, weight = unpack_x_y_sample_weight(data)
        return model.fit(
            x,
            y,
            batch_size=self.train.batch_size if in_memory(x) else None,
            sample_weight=weight,
            epochs=epochs,
            validation_data=validation,
            class_weight=self.class_weight,
            callbacks=callbacks,
            verbose=self.verbose,
        )

    def _compile(self, model, rate, groups, steps, data, tries) -> float:
        """Compile for one cycle of rates up to `rate`, which a trial finds if it is None."""
        given = {**self.compiled, "steps_per_execution": 1}
        given.pop("optimizer")
        if model is not self.model:
            given = with_own_metrics(given)
        optimizer = _inner(self.compiled["optimizer"])

        def compiled(rate_of) -> list:
            config = optimizer.get_config()
            parts = [
                type(optimizer).from_config({**config, "learning_rate": rate_of(factor)})
                for factor, _ in groups
            ]
            if len(parts) > 1:
                # By paths: a function of the variable could not be loaded with a model that is saved.
                named = zip(parts[:-1], groups[:-1], strict=True)
                by_path = {_pattern(weights): part for part, (_, weights) in named if weights}
                model.compile(MultiOptimizer(OptimizerMap(parts[-1], by_path)), **given)
            else:
                model.compile(parts[0], **given)
            return parts

        if rate is None:
            parts = compiled(lambda factor: factor)

            def set_rate(rate):
                for part, (factor, _) in zip(parts, groups, strict=True):
                    part.learning_rate = rate * factor

            x, y, weight = unpack_x_y_sample_weight(data)
            random = np.random.default_rng(self.seed)
            batches = batches_of(x, y, weight, self.train.batch_size, random)
            rate = trial(model, batches, set_rate, self.class_weight, steps=tries).suggestion
        rise = max(1, int(_RISE * steps))
        compiled(
            lambda factor: CosineDecay(
                rate * factor * _BEGIN,
                max(1, steps - rise),
                _END,
                warmup_target=rate * factor,
                warmup_steps=rise,
            )
        )
        return rate


@contextlib.contextmanager
def _flags_kept(model):
    """What is frozen at the beginning of the block is frozen after it."""
    flags = ("_trainable", "_trainable_since")
    layers = [
        (layer, [getattr(layer, flag) for flag in flags]) for layer in model._flatten_layers()
    ]
    weights = [(weight, weight.trainable) for weight in model.weights]
    try:
        yield
    finally:
        for layer, values in layers:
            vars(layer).update(zip(flags, values, strict=True))
        for weight, trainable in weights:
            weight.trainable = trainable


def _unfreeze(two: Cut) -> None:
    """Let the backbone be trained, if it was frozen as a whole, but for its normalization."""
    nodes = two.features._graph.steps
    operations = [n.operation for n in nodes if getattr(n.operation, "weights", None)]
    if not any(operation.trainable_weights for operation in operations):
        for operation in operations:
            operation.trainable = True
    # A layer that is called as in inference may learn its scale; another one would forget its statistics.
    safe = {id(n.operation) for n in nodes if n.kwargs.get("training") is False}
    for operation in operations:
        for layer in operation._flatten_layers():
            if isinstance(layer, BatchNormalization) and id(operation) not in safe:
                layer.trainable = False


def _pattern(weights) -> str:
    """A regular expression that matches the paths of some weights."""
    return "|".join(dict.fromkeys(re.escape(weight.path) for weight in weights))


def _give(source, target) -> None:
    for theirs, own in zip(source.weights, target.weights, strict=True):
        own.assign(theirs.value)
