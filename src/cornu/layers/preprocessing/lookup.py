"""What `StringLookup` and `IntegerLookup` share: a vocabulary, and how inputs become indices of it."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.dtype import floatx
from cornu.core.tracking import Aside
from cornu.layers.preprocessing.encoding import (
    MODES,
    check_mode,
    encode,
    output_shape,
    refuse_sparse,
)
from cornu.layers.preprocessing.host import HostLayer, batches_of, integers_dtype, to_device

_FILE = "vocabulary.txt"


class Lookup(HostLayer):
    """Values as indices of a vocabulary, or indices as values.

    Args:
        max_tokens: most entries of the vocabulary, the special ones included; None for any number.
        num_oov_indices: indices for values that are not in the vocabulary. With more than one, a hash
            of the value says which; with 0 such a value is an error.
        mask_token: a value that means that there is none: index 0, or left out of vectors.
        oov_token: what an index that stands for no entry becomes with `invert`.
        vocabulary: the entries, most frequent first, instead of `adapt`; or the name of a file with one
            in each line.
        idf_weights: inverse document frequencies of the entries, for `"tf_idf"`.
        invert: whether inputs are indices and outputs values.
        output_mode: `"int"` for indices; `"one_hot"`, a vector for each input; `"multi_hot"`, a vector
            of ones for what an example has; `"count"`, how often; `"tf_idf"`, that times `idf_weights`.
        sparse: only False.
        pad_to_max_tokens: whether vectors have `max_tokens` numbers, however large the vocabulary is.

    Indices begin with the mask token, if there is one and `output_mode` is `"int"`; those of unknown
    values follow, then the vocabulary. Vectors are floats.
    """

    # The dtype of the vocabulary.
    vocabulary_dtype = "string"
    # They may be long, and hold no layers.
    _tokens: Aside[list]
    _index: Aside[dict]
    _counts: Aside[Any]
    _documents_with: Aside[Any]

    def __init__(
        self,
        max_tokens,
        num_oov_indices,
        mask_token,
        oov_token,
        vocabulary=None,
        idf_weights=None,
        invert=False,
        output_mode="int",
        sparse=False,
        pad_to_max_tokens=False,
        salt=None,
        oov_method="floormod",
        vocabulary_size=None,
        has_input_vocabulary=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.output_mode = check_mode(type(self).__name__, output_mode, (*MODES, "tf_idf"))
        refuse_sparse(type(self).__name__, sparse)
        self.max_tokens, self.num_oov_indices = max_tokens, num_oov_indices
        self.mask_token, self.oov_token = mask_token, oov_token
        self.invert, self.sparse = bool(invert), False
        self.pad_to_max_tokens = bool(pad_to_max_tokens)
        self.salt, self.oov_method = pair_of(type(self).__name__, salt), oov_method
        self._check_arguments(idf_weights)
        # Keras writes the size of a vocabulary that is not there yet, too.
        is_known = vocabulary_size is not None and vocabulary_size > self._first_token()
        self.vocabulary_size_at_first = vocabulary_size if is_known else None
        self.input_vocabulary = None if isinstance(vocabulary, str | os.PathLike) else vocabulary
        self.input_idf_weights = idf_weights
        self._is_given = vocabulary is not None
        if has_input_vocabulary is not None:
            self._is_given = has_input_vocabulary
        self._tokens = []
        self._index = {}
        self._sorted: Any = None
        self.idf_weights: Any = None
        self._forget()
        if self.output_mode == "tf_idf" and vocabulary is not None and idf_weights is None:
            raise ValueError(
                f"Layer '{self.name}': with output_mode='tf_idf' a `vocabulary` needs its `idf_weights`."
            )
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    def _check_arguments(self, idf_weights) -> None:
        name = f"Layer '{self.name}'"
        if self.max_tokens is not None and self.max_tokens <= 1:
            raise ValueError(
                f"{name}: if set, `max_tokens` must be greater than 1. "
                f"Received: max_tokens={self.max_tokens}"
            )
        if self.num_oov_indices < 0:
            raise ValueError(
                f"{name}: `num_oov_indices` must be 0 or greater. "
                f"Received: num_oov_indices={self.num_oov_indices}"
            )
        if self.pad_to_max_tokens and self.max_tokens is None:
            raise ValueError(f"{name}: `pad_to_max_tokens` needs `max_tokens`, which is None.")
        if self.oov_method not in ("floormod", "farmhash"):
            raise ValueError(
                f"{name}: `oov_method` must be 'floormod' or 'farmhash'. Received: {self.oov_method!r}"
            )
        if self.invert and self.output_mode != "int":
            raise ValueError(
                f"{name}: with `invert`, `output_mode` must be 'int'. "
                f"Received: output_mode={self.output_mode!r}"
            )
        if idf_weights is not None and self.output_mode != "tf_idf":
            raise ValueError(
                f"{name}: `idf_weights` should only be set with output_mode='tf_idf'. "
                f"Received: output_mode={self.output_mode!r}"
            )

    # ---- the vocabulary

    def _first_oov(self) -> int:
        return 1 if self.mask_token is not None and self.output_mode == "int" else 0

    def _first_token(self) -> int:
        return self._first_oov() + self.num_oov_indices

    def vocabulary_size(self) -> int:
        """How many entries the vocabulary has, those for masks and unknown values included."""
        return self._first_token() + len(self._tokens)

    def get_vocabulary(self, include_special_tokens=True) -> list:
        """The entries in the order of their indices.

        Args:
            include_special_tokens: whether with those for masks and unknown values.
        """
        if not include_special_tokens:
            return list(self._tokens)
        return [*self._special_tokens(), *self._tokens]

    def _special_tokens(self) -> list:
        return [self.mask_token] * self._first_oov() + [self.oov_token] * self.num_oov_indices

    def set_vocabulary(self, vocabulary, idf_weights=None) -> None:
        """Use these entries.

        Args:
            vocabulary: a list, with or without the special entries at its beginning, or the name of a
                file with one entry in each line.
            idf_weights: for `"tf_idf"`, one for each entry of `vocabulary`. If that has no special entries,
                unknown values get the mean.

        Raises ValueError if an entry is there twice, there are too many, or the weights do not fit.
        """
        name = f"Layer '{self.name}'"
        if self.output_mode == "tf_idf" and idf_weights is None:
            raise ValueError(f"{name}: `idf_weights` must be set with output_mode='tf_idf'.")
        if self.output_mode != "tf_idf" and idf_weights is not None:
            raise ValueError(
                f"{name}: `idf_weights` should only be set with output_mode='tf_idf'. "
                f"Received: output_mode={self.output_mode!r}"
            )
        if isinstance(vocabulary, str | os.PathLike):
            if self.output_mode == "tf_idf":
                raise ValueError(
                    f"{name}: a vocabulary file has no weights for 'tf_idf'. Pass a list and `idf_weights`."
                )
            vocabulary = self._read(Path(vocabulary))
        tokens = self._as_tokens(vocabulary)
        if not tokens:
            raise ValueError(f"{name}: cannot set an empty vocabulary. Received: {vocabulary}")
        special, count = self._special_tokens(), len(tokens)
        has_special = tokens[: len(special)] == special
        tokens = tokens[len(special) :] if has_special else tokens
        self._check_tokens(tokens, special)
        self._keep(tokens)
        if self.output_mode == "tf_idf":
            weights = np.asarray(idf_weights, floatx())
            if weights.shape != (count,):
                raise ValueError(
                    f"{name}: `idf_weights` must have one number for each of the {count} entries of "
                    f"`vocabulary`. Received: shape {weights.shape}"
                )
            self._set_weights(weights, 0 if has_special else len(special))

    def _check_tokens(self, tokens: list, special: list) -> None:
        name = f"Layer '{self.name}'"
        repeated = [token for token, times in Counter(tokens).items() if times > 1]
        if repeated:
            raise ValueError(f"{name}: the vocabulary has at least one repeated term: {repeated}")
        reserved = [("mask", self.mask_token)]
        if self.invert:
            reserved.append(("OOV", self.oov_token))
        for kind, token in reserved:
            if token is not None and token in tokens:
                raise ValueError(
                    f"{name}: found reserved {kind} token {token!r} at position {tokens.index(token)} of "
                    f"the vocabulary. Leave the special entries out, or begin with exactly {special}."
                )
        size = self._first_token() + len(tokens)
        if self.max_tokens is not None and size > self.max_tokens:
            raise ValueError(
                f"{name}: the vocabulary is larger than the maximum vocab size: {size} entries with the "
                f"special ones; `max_tokens` is {self.max_tokens}."
            )

    def _keep(self, tokens: list) -> None:
        size, first = self._first_token() + len(tokens), self.vocabulary_size_at_first
        if self.output_mode != "int" and not self.pad_to_max_tokens and first not in (None, size):
            raise RuntimeError(
                f"Layer '{self.name}': the vocabulary size cannot be changed with output_mode="
                f"{self.output_mode!r}, because it is the length of the outputs. Old size: {first}; new "
                f"size: {size}. Use `pad_to_max_tokens=True`, or make a new layer."
            )
        self.vocabulary_size_at_first = size
        self._tokens = tokens
        start = self._first_token()
        self._index = {token: start + i for i, token in enumerate(tokens)}
        if self.mask_token is not None:
            self._index[self.mask_token] = 0 if self.output_mode == "int" else -1
        self._sorted = None

    def _set_weights(self, weights: np.ndarray, in_front: int) -> None:
        """Keep the weights, with their mean for special entries, and zeros where no entry is."""
        behind = self.max_tokens - in_front - len(weights) if self.pad_to_max_tokens else 0
        self.idf_weights = np.concatenate(
            [np.full(in_front, weights.mean()), weights, np.zeros(behind)]
        ).astype(floatx())

    def _as_tokens(self, vocabulary) -> list:
        raise NotImplementedError

    def _read(self, path: Path) -> list:
        if not path.exists():
            raise ValueError(f"Layer '{self.name}': the vocabulary file {path} does not exist.")
        lines = path.read_text("utf-8").split("\n")
        while lines and not lines[-1]:
            lines.pop()
        return lines

    # ---- counting

    def adapt(self, data, steps=None) -> None:
        """Make the vocabulary of the values in `data`, the most frequent first.

        Args:
            data: an array or a list of values, or something that yields batches.
            steps: how many batches to read.

        Values that are equally frequent are in descending order. Earlier entries are forgotten. For
        `"tf_idf"` each row is a document, and the weight of an entry is `log(1 + documents / (1 +
        documents with it))`.
        """
        self.reset_state()
        batches = batches_of(data, steps)
        if batches is None:
            array = self._inputs_as_arrays(data)
            batches = [array[:, None] if np.ndim(array) == 1 else array]
        for batch in batches:
            self.update_state(batch[0] if isinstance(batch, tuple) else batch)
        self.finalize_state()

    def update_state(self, data) -> None:
        """Count the values of one batch; a vector is one document."""
        rows = np.atleast_2d(self._inputs_as_arrays(data))
        self._count(rows.reshape(-1, rows.shape[-1]).tolist())

    def _count(self, documents: list[list]) -> None:
        if self._is_given:
            raise ValueError(
                f"Cannot adapt layer '{self.name}': it was given a `vocabulary`. Leave that out to learn "
                "one."
            )
        counts = self._counts
        for document in documents:
            counts.update(document)
            if self.output_mode == "tf_idf":
                self._documents_with.update(set(document))
        self._num_documents += len(documents)

    def finalize_state(self) -> None:
        """Make the vocabulary of what was counted."""
        if self._is_given or not self._counts:
            return
        for special in (self.mask_token, self.oov_token):
            self._counts.pop(special, None)
        tokens = sorted(self._counts, reverse=True)
        tokens.sort(key=self._counts.__getitem__, reverse=True)
        if self.max_tokens:
            tokens = tokens[: max(self.max_tokens - self._first_token(), 0)]
        self._keep(tokens)
        if self.output_mode == "tf_idf":
            found = np.array([self._documents_with[token] for token in tokens], np.float64)
            weights = np.log(1 + self._num_documents / (1 + found)).astype(floatx())
            self._set_weights(weights, self._first_token())
        self.reset_state()

    def reset_state(self) -> None:
        """Forget what was counted."""
        if not self._is_given:
            self._forget()

    def _forget(self) -> None:
        self._counts: Any = Counter()
        self._documents_with: Any = Counter()
        self._num_documents = 0

    # ---- calls

    @property
    def needs_host(self) -> bool:
        return self.num_oov_indices == 0 and not self.invert

    def call(self, inputs):
        self._refuse_tracing(inputs)
        if not self._tokens:
            raise RuntimeError(
                f"Layer '{self.name}' has no vocabulary yet. Call `adapt(data)`, or pass `vocabulary`."
            )
        traced = isinstance(inputs, jax.core.Tracer)
        if self.invert:
            outputs = self._values(inputs)
            return outputs if traced else to_device(outputs)
        indices = self._indices(inputs)
        dtype = integers_dtype() if self.output_mode == "int" else floatx()
        mode = "count" if self.output_mode == "tf_idf" else self.output_mode
        outputs = encode(jnp if traced else np, indices, mode, self._depth(), dtype)
        if self.output_mode == "tf_idf":
            outputs = outputs * self.idf_weights
        return outputs if traced else to_device(outputs)

    def _values(self, inputs):
        raise NotImplementedError

    def _indices(self, inputs):
        raise NotImplementedError

    def _refuse_unknown(self, unknown: list) -> None:
        if unknown:
            raise ValueError(
                f"Layer '{self.name}' was made with num_oov_indices=0, so all inputs should be in "
                f"vocabulary. Found: {unknown[:5]}. Consider setting `num_oov_indices=1`."
            )

    def _depth(self):
        return self.max_tokens if self.pad_to_max_tokens else self.vocabulary_size()

    def compute_output_shape(self, input_shape):
        depth = self.max_tokens if self.pad_to_max_tokens else self.vocabulary_size_at_first
        return output_shape(input_shape, self.output_mode, depth)

    def _output_dtype(self) -> str:
        if self.output_mode != "int":
            return floatx()
        return self.vocabulary_dtype if self.invert else integers_dtype()

    # ---- files

    def get_config(self) -> dict:
        config = super().get_config()
        config["vocabulary"] = _plain(self.input_vocabulary)
        config["idf_weights"] = _plain(self.input_idf_weights)
        config["vocabulary_size"] = self.vocabulary_size_at_first
        return config

    def _config_names(self) -> list[str]:
        hidden = ("vocabulary", "idf_weights", "vocabulary_size", "has_input_vocabulary")
        return [name for name in super()._config_names() if name not in hidden]

    @classmethod
    def _check_config(cls, config: dict) -> None:
        if isinstance(config.get("vocabulary"), str):
            raise ValueError(
                f"A configuration names a vocabulary file, {config['vocabulary']!r}, and files are only "
                f"read where a program asks for it: {cls.__name__}(vocabulary=…)."
            )

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        cls._check_config(config)
        return super().from_config(config, custom_objects)

    def save_own_variables(self, store) -> None:
        if self.output_mode == "tf_idf" and self.idf_weights is not None:
            store["idf_weights"] = self.idf_weights

    def load_own_variables(self, store) -> None:
        if "idf_weights" in store:
            self.idf_weights = np.asarray(store["idf_weights"])

    def save_assets(self, dir_path) -> None:
        """Write the vocabulary to a folder, unless the configuration has it."""
        if self.input_vocabulary is not None:
            return
        lines = [str(token) for token in self.get_vocabulary()]
        broken = next((line for line in lines if "\n" in line or "\r" in line), None)
        if broken is not None:
            raise ValueError(
                f"Layer '{self.name}': the entry {broken!r} of the vocabulary has a line break, and files "
                "keep one entry in each line. Make the layer with `vocabulary=layer.get_vocabulary()`: "
                "the configuration then keeps it."
            )
        (Path(dir_path) / _FILE).write_text("\n".join(lines), "utf-8")

    def load_assets(self, dir_path) -> None:
        """Read the vocabulary that `save_assets` wrote."""
        path = Path(dir_path) / _FILE
        if self.input_vocabulary is not None or not path.exists():
            return
        tokens = self._as_tokens(self._read(path))
        if not tokens:
            return
        special = self._special_tokens()
        tokens = tokens[len(special) :] if tokens[: len(special)] == special else tokens
        self._check_tokens(tokens, special)
        self._keep(tokens)


def _plain(values):
    return values.tolist() if hasattr(values, "tolist") else values


def pair_of(layer: str, salt) -> list | None:
    """A `salt` argument as two integers."""
    if salt is None:
        return None
    if isinstance(salt, list | tuple) and len(salt) == 2:
        return list(salt)
    if isinstance(salt, int | np.integer):
        return [salt, salt]
    raise ValueError(
        f"The `salt` argument for `{layer}` can only be a tuple of 2 integers, or a single integer. "
        f"Received: salt={salt}."
    )
