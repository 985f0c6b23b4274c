"""`FeatureSpace`: columns of a table, each prepared in its own way, as one vector."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu import layers
from cornu.core import registry
from cornu.core.layer import Layer
from cornu.core.naming import auto_name
from cornu.core.symbolic import KerasTensor
from cornu.core.tracking import Aside
from cornu.layers.preprocessing.discretization import Discretization
from cornu.layers.preprocessing.encoding import CategoryEncoding
from cornu.layers.preprocessing.hashing import HashedCrossing, Hashing
from cornu.layers.preprocessing.host import is_text, on_host
from cornu.layers.preprocessing.integer_lookup import IntegerLookup
from cornu.layers.preprocessing.lookup import Lookup
from cornu.layers.preprocessing.string_lookup import StringLookup
from cornu.layers.preprocessing.text_vectorization import TextVectorization
from cornu.saving import save_model

# Where Keras' files say that the parts are.
_MODULE = "keras.src.layers.preprocessing.feature_space"
# As many examples at once are counted, as in Keras: ranges depend on it a little.
_BATCH = 32


@registry.register("layer", "TFDIdentity", module=_MODULE)
class Unchanged(Layer):
    """The input itself: a float feature."""

    def call(self, x):
        return x


def _checked_mode(mode, known: tuple) -> str:
    if mode not in known:
        raise ValueError(
            f"Invalid value for argument `output_mode`. Expected one of {known}. "
            f"Received: output_mode={mode!r}"
        )
    return mode


@registry.register("feature", module=_MODULE)
class Feature:
    """One column: its dtype, the layer that prepares it, and what becomes of the result.

    Args:
        dtype: of the input.
        preprocessor: a layer.
        output_mode: `"one_hot"`, `"int"` or `"float"`.
    """

    def __init__(self, dtype, preprocessor, output_mode):
        self.output_mode = _checked_mode(output_mode, ("int", "one_hot", "float"))
        if isinstance(preprocessor, dict):
            preprocessor = registry.deserialize(preprocessor, kind="layer")
        self.dtype, self.preprocessor = dtype, preprocessor

    def get_config(self) -> dict:
        """The arguments as plain values."""
        preprocessor = registry.serialize(self.preprocessor)
        return {
            "dtype": self.dtype,
            "preprocessor": preprocessor,
            "output_mode": self.output_mode,
        }

    @classmethod
    def from_config(cls, config: dict):
        """Make a feature from what `get_config` returned."""
        return cls(**config)


@registry.register("feature", module=_MODULE)
class Cross:
    """A combination of columns, hashed.

    Args:
        feature_names: the columns.
        crossing_dim: how many bins the combinations are hashed to.
        output_mode: `"one_hot"` or `"int"`.
    """

    def __init__(self, feature_names, crossing_dim, output_mode="one_hot"):
        self.output_mode = _checked_mode(output_mode, ("int", "one_hot"))
        self.feature_names, self.crossing_dim = tuple(feature_names), crossing_dim

    @property
    def name(self) -> str:
        """The columns' names, joined."""
        return "_X_".join(self.feature_names)

    def get_config(self) -> dict:
        """The arguments as plain values."""
        return {
            "feature_names": self.feature_names,
            "crossing_dim": self.crossing_dim,
            "output_mode": self.output_mode,
        }

    @classmethod
    def from_config(cls, config: dict):
        """Make a cross from what `get_config` returned."""
        return cls(**config)


@registry.register("layer", module="keras.utils")
class FeatureSpace(Layer):
    """Columns of a table, each prepared in its own way, and joined.

    Args:
        features: a dict from a column's name to what it is: a name such as `"float_normalized"`, or what
            one of the class methods below returns.
        output_mode: `"concat"` for one vector, or `"dict"` for one of each column.
        crosses: combinations of columns that become a feature of their own: tuples of names, or what
            `FeatureSpace.cross` returns.
        crossing_dim: how many bins combinations are hashed to.
        hashing_dim: how many bins `"integer_hashed"` and `"string_hashed"` have.
        num_discretization_bins: how many ranges `"float_discretized"` has.
        name: its name.

    `adapt(data)` learns vocabularies, ranges and means; then the space is called on a dict of columns, or
    of single values. `get_inputs()` and `get_encoded_features()` are the symbolic form, for a model that
    takes the raw columns. Columns are joined in the order of their names, combinations behind them.

    Source: Keras: FeatureSpace.

    >>> import cornu
    >>> data = {"size": [1.0, 3.0], "colour": ["red", "blue"]}
    >>> features = {"size": "float_normalized", "colour": "string_categorical"}
    >>> space = cornu.utils.FeatureSpace(features)
    >>> space.adapt(data)
    >>> space(data).tolist()
    [[0.0, 1.0, 0.0, -1.0], [0.0, 0.0, 1.0, 1.0]]
    """

    # For those who load a file.
    _is_model = True
    optimizer = None
    _builds_on_call = True
    # What else it consists of is in `preprocessors`.
    features: Aside[dict]
    crosses: Aside[list]
    inputs: Aside[dict]
    encoded_features: Aside[Any]
    concat: Aside[Any]

    # ---- kinds of features

    @classmethod
    def cross(cls, feature_names, crossing_dim, output_mode="one_hot") -> Cross:
        """A combination of columns, hashed to `crossing_dim` bins."""
        return Cross(feature_names, crossing_dim, output_mode)

    @classmethod
    def feature(cls, dtype, preprocessor, output_mode) -> Feature:
        """A column that a layer of your own choice prepares."""
        return Feature(dtype, preprocessor, output_mode)

    @classmethod
    def float(cls, name=None) -> Feature:
        """Numbers, as they are."""
        return Feature("float32", Unchanged(dtype="float32", name=_named("float", name)), "float")

    @classmethod
    def float_rescaled(cls, scale=1.0, offset=0.0, name=None) -> Feature:
        """Numbers, `x * scale + offset`."""
        name = _named("float_rescaled", name)
        return Feature("float32", layers.Rescaling(scale, offset, name=name), "float")

    @classmethod
    def float_normalized(cls, name=None) -> Feature:
        """Numbers with mean 0 and variance 1."""
        name = _named("float_normalized", name)
        return Feature("float32", layers.Normalization(axis=-1, name=name), "float")

    @classmethod
    def float_discretized(
        cls, num_bins, bin_boundaries=None, output_mode="one_hot", name=None
    ) -> Feature:
        """Numbers as one of `num_bins` ranges; with `bin_boundaries`, `num_bins` is None."""
        name = _named("float_discretized", name)
        layer = Discretization(num_bins=num_bins, bin_boundaries=bin_boundaries, name=name)
        return Feature("float32", layer, output_mode)

    @classmethod
    def integer_categorical(
        cls, max_tokens=None, num_oov_indices=1, output_mode="one_hot", name=None
    ) -> Feature:
        """Integers as entries of a vocabulary."""
        name = _named("integer_categorical", name)
        layer = IntegerLookup(max_tokens, num_oov_indices, name=name)
        return Feature("int32", layer, output_mode)

    @classmethod
    def string_categorical(
        cls, max_tokens=None, num_oov_indices=1, output_mode="one_hot", name=None
    ) -> Feature:
        """Texts as entries of a vocabulary."""
        name = _named("string_categorical", name)
        layer = StringLookup(max_tokens, num_oov_indices, name=name)
        return Feature("string", layer, output_mode)

    @classmethod
    def string_hashed(cls, num_bins, output_mode="one_hot", name=None) -> Feature:
        """Texts, hashed to `num_bins` bins."""
        return Feature("string", Hashing(num_bins, name=_named("string_hashed", name)), output_mode)

    @classmethod
    def integer_hashed(cls, num_bins, output_mode="one_hot", name=None) -> Feature:
        """Integers, hashed to `num_bins` bins."""
        return Feature("int32", Hashing(num_bins, name=_named("integer_hashed", name)), output_mode)

    def __init__(
        self,
        features,
        output_mode="concat",
        crosses=None,
        crossing_dim=32,
        hashing_dim=32,
        num_discretization_bins=32,
        name=None,
    ):
        super().__init__(name=name)
        if not features:
            raise ValueError("The `features` argument cannot be None or empty.")
        self.output_mode = _checked_mode(output_mode, ("concat", "dict"))
        self.crossing_dim, self.hashing_dim = crossing_dim, hashing_dim
        self.num_discretization_bins = num_discretization_bins
        self.features = {key: self._as_feature(key, value) for key, value in features.items()}
        self.crosses = [self._as_cross(cross) for cross in crosses or []]
        self.inputs = {
            key: layers.Input((1,), dtype=feature.dtype, name=key)
            for key, feature in self.features.items()
        }
        self.preprocessors = {key: f.preprocessor for key, f in self.features.items()}
        self.crossers = {
            cross.name: HashedCrossing(cross.crossing_dim, name=cross.name)
            for cross in self.crosses
        }
        self.one_hot_encoders: dict[str, CategoryEncoding] = {}
        self.concat = layers.Concatenate(axis=-1)
        self.encoded_features = None
        self._is_adapted = False

    def _as_feature(self, name: str, value) -> Feature:
        if isinstance(value, Feature):
            return value
        if isinstance(value, dict):
            return registry.deserialize(value)
        kinds = {
            "float": (),
            "float_normalized": (),
            "float_rescaled": (),
            "float_discretized": (self.num_discretization_bins,),
            "integer_categorical": (),
            "string_categorical": (),
            "integer_hashed": (self.hashing_dim,),
            "string_hashed": (self.hashing_dim,),
        }
        if value not in kinds:
            raise ValueError(
                f"Invalid feature type for {name!r}: {value!r}. Expected one of {list(kinds)}, or what a "
                "method such as FeatureSpace.string_categorical(…) returns."
            )
        return getattr(self, value)(*kinds[value], name=name)

    def _as_cross(self, cross) -> Cross:
        if isinstance(cross, dict):
            cross = registry.deserialize(cross)
        if not isinstance(cross, Cross):
            if not self.crossing_dim:
                raise ValueError("With `crosses`, `crossing_dim` must be specified, too.")
            cross = Cross(cross, self.crossing_dim)
        unknown = [name for name in cross.feature_names if name not in self.features]
        if unknown:
            raise ValueError(
                "All features in `crosses` should be in `features`. Received unknown features: "
                f"{unknown} in {cross.feature_names}"
            )
        return cross

    # ---- learning

    def _adaptable(self) -> list[str]:
        def learns(layer):
            if isinstance(layer, layers.Normalization):
                return layer.input_mean is None
            if isinstance(layer, Discretization):
                return layer.num_bins is not None
            if isinstance(layer, TextVectorization):
                return not layer._lookup_layer._is_given
            if isinstance(layer, Lookup):
                return not layer._is_given
            return hasattr(layer, "adapt")

        return [name for name, layer in self.preprocessors.items() if learns(layer)]

    def adapt(self, dataset) -> None:
        """Learn vocabularies, ranges and means.

        Args:
            dataset: a dict of columns, or a data set of such dicts that can be read several times, once
                for each column that learns something.
        """
        if not isinstance(dataset, dict) and (
            not hasattr(dataset, "__iter__") or iter(dataset) is dataset
        ):
            raise ValueError(
                "`adapt()` takes a dict of arrays or lists, or a data set of such dicts that can be read "
                f"several times. Received: {dataset!r} (of type {type(dataset).__name__})"
            )
        for name in self._adaptable():
            columns = _column(dataset, name, self.preprocessors[name])
            self.preprocessors[name].adapt(columns)
        self._is_adapted = True
        self.get_encoded_features()

    def _check_adapted(self) -> None:
        if not self._is_adapted and self._adaptable():
            raise ValueError(
                "You need to call `.adapt(dataset)` on the FeatureSpace before you can start using it."
            )
        self._is_adapted = True

    # ---- calls

    def get_inputs(self) -> dict[str, KerasTensor]:
        """The symbolic columns, for a model's `inputs`."""
        self._check_adapted()
        return self.inputs

    def get_encoded_features(self):
        """The symbolic result for `get_inputs()`."""
        self._check_adapted()
        if self.encoded_features is None:
            self.encoded_features = self._encoded(self.inputs)
            self.built = True
        return self.encoded_features

    def __call__(self, data):
        if not isinstance(data, dict):
            raise ValueError(
                "A FeatureSpace can only be called with a dict. "
                f"Received: {data!r} (of type {type(data).__name__})"
            )
        missing = [name for name in self.features if name not in data]
        if missing:
            raise ValueError(
                f"FeatureSpace '{self.name}': the data lack the features {missing}. Received: {list(data)}"
            )
        self.get_encoded_features()
        arrays = {name: self._array(name, data[name]) for name in self.features}
        single = any(np.ndim(x) == 0 for x in arrays.values() if not isinstance(x, KerasTensor))
        outputs = self._encoded({name: _as_column(x) for name, x in arrays.items()})
        if single:
            outputs = jax.tree.map(lambda x: x[0] if x.ndim == 2 and len(x) == 1 else x, outputs)
        return outputs

    def _array(self, name: str, value):
        array = on_host(value, self.preprocessors[name])
        is_number = isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
        # Whole numbers are numbers, too.
        wanted = self.features[name].dtype
        return array.astype(wanted) if is_number and wanted.startswith("float") else array

    def _encoded(self, columns: dict):
        found = {name: self.preprocessors[name](x) for name, x in columns.items()}
        crossed = {
            cross.name: self.crossers[cross.name]([found[name] for name in cross.feature_names])
            for cross in self.crosses
        }
        modes = {name: feature.output_mode for name, feature in self.features.items()}
        modes.update({cross.name: cross.output_mode for cross in self.crosses})
        encoded = {}
        for name, value in [*sorted(found.items()), *sorted(crossed.items())]:
            encoded[name] = self._one_hot(name, value) if modes[name] == "one_hot" else value
        if self.output_mode == "dict":
            return encoded
        for name, value in encoded.items():
            if is_text(value) or not jnp.issubdtype(value.dtype, jnp.floating):
                raise ValueError(
                    f"Cannot concatenate features because feature '{name}' has not been encoded (it has "
                    f"dtype {value.dtype}). Consider using `output_mode='dict'`."
                )
        return (
            self.concat(list(encoded.values()))
            if len(encoded) > 1
            else next(iter(encoded.values()))
        )

    def _one_hot(self, name: str, value):
        layer = {**self.preprocessors, **self.crossers}[name]
        if not jnp.issubdtype(value.dtype, jnp.integer):
            raise ValueError(
                f"Feature '{name}' has `output_mode='one_hot'`, so its layer should return integers. "
                f"It returns {value.dtype}."
            )
        if name not in self.one_hot_encoders:
            self.one_hot_encoders[name] = CategoryEncoding(_size_of(name, layer), "multi_hot")
        return self.one_hot_encoders[name](value)

    # ---- files

    def get_config(self) -> dict:
        return {
            "features": registry.serialize(self.features),
            "output_mode": self.output_mode,
            "crosses": registry.serialize(self.crosses),
            "crossing_dim": self.crossing_dim,
            "hashing_dim": self.hashing_dim,
            "num_discretization_bins": self.num_discretization_bins,
        }

    @classmethod
    def from_config(cls, config: dict):
        return cls(**config)

    def get_build_config(self) -> dict:
        return {name: layer.get_build_config() for name, layer in self.preprocessors.items()}

    def build_from_config(self, config: dict) -> None:
        for name, each in config.items():
            if each and not self.preprocessors[name].built:
                self.preprocessors[name].build_from_config(each)
        self._is_adapted = self.built = True

    def save(self, filepath) -> None:
        """Write the space to a `.keras` file, which `cornu.models.load_model` reads."""
        save_model(self, filepath)

    def save_own_variables(self, store) -> None:
        """Its layers keep what there is."""

    def load_own_variables(self, store) -> None:
        """Its layers keep what there is."""


def _named(kind: str, name) -> str:
    return f"{name or auto_name(kind)}_preprocessor"


def _size_of(name: str, layer) -> int:
    if isinstance(layer, Lookup):
        return layer.vocabulary_size()
    if isinstance(layer, CategoryEncoding):
        return layer.num_tokens
    if isinstance(layer, Discretization):
        return layer.num_bins or len(layer.bin_boundaries) + 1
    if isinstance(layer, Hashing | HashedCrossing):
        return layer.num_bins
    raise ValueError(
        f"Feature '{name}' has `output_mode='one_hot'`, but of a {type(layer).__name__} it is not known "
        "how many categories there are. Use output_mode='int'."
    )


def _as_column(x):
    """A value of each example in a column of its own."""
    if isinstance(x, KerasTensor) or np.ndim(x) > 1:
        return x
    return np.reshape(x, (-1, 1))


def _column(dataset, name: str, layer):
    """One column of the data, batch by batch, each of shape (examples, 1) or more."""
    if isinstance(dataset, dict):
        rows = on_host(dataset[name], layer)
        if rows.ndim > 1:
            yield from rows[..., None]
        else:
            for start in range(0, len(rows), _BATCH):
                yield rows[start : start + _BATCH, None]
        return
    scalars: list = []
    for element in dataset:
        value = on_host(element[name], layer)
        if value.ndim:
            yield value[:, None] if value.ndim == 1 else value
            continue
        scalars.append(value[()])
        if len(scalars) == _BATCH:
            yield on_host(scalars, layer)[:, None]
            scalars = []
    if scalars:
        yield on_host(scalars, layer)[:, None]
