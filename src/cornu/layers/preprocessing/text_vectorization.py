"""`TextVectorization`: sentences as rows of numbers."""

import re
import string
from typing import Any

import numpy as np

from cornu.core import registry
from cornu.core.dtype import floatx
from cornu.layers.preprocessing.encoding import MODES, check_mode
from cornu.layers.preprocessing.host import (
    HostLayer,
    as_text,
    batches_of,
    integers_dtype,
    is_text,
    to_device,
)
from cornu.layers.preprocessing.string_lookup import StringLookup

_PUNCTUATION = str.maketrans("", "", string.punctuation)
# TensorFlow's functions know no other letters than those of ASCII.
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_WORDS = re.compile(r"[^ \t\n\v\f\r]+")
_STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation")
_SPLIT = ("whitespace", "character")


@registry.register("layer", module="keras.layers")
class TextVectorization(HostLayer):
    """Texts as rows of numbers: standardized, split into words, and looked up.

    Args:
        max_tokens: most entries of the vocabulary, those for padding and unknown words included.
        standardize: `"lower_and_strip_punctuation"`, `"lower"`, `"strip_punctuation"`, None, or a function
            of an array of text.
        split: `"whitespace"`, `"character"`, None, or a function from a vector of texts to a list of
            words for each. Without it a row of the input is a list of words.
        ngrams: longest sequence of words that is an entry, or a tuple of lengths.
        output_mode: `"int"` for indices, 0 being padding and 1 an unknown word; `"multi_hot"`,
            `"count"` or `"tf_idf"` for a vector for each text: see `StringLookup`.
        output_sequence_length: length of the rows of `"int"`; default: that of the longest text of a batch.
        pad_to_max_tokens: whether vectors have `max_tokens` numbers, however large the vocabulary is.
        vocabulary: the entries instead of `adapt`, or the name of a file with one in each line.
        idf_weights: inverse document frequencies of `vocabulary`, for `"tf_idf"`.
        sparse, ragged: only False.
        encoding: how texts that come as bytes are encoded.

    Shapes: (batch,) or (batch, 1) texts -> (batch, words), or (batch, entries). Only letters of ASCII
    become lower case, and only its white space divides words, as in Keras.

    Source: Keras: TextVectorization layer.

    >>> import cornu
    >>> layer = cornu.layers.TextVectorization(vocabulary=["the", "cat", "sat"])
    >>> layer(["The cat!", "the dog sat"]).tolist()
    [[2, 3, 0], [2, 1, 4]]
    """

    def __init__(
        self,
        max_tokens=None,
        standardize="lower_and_strip_punctuation",
        split="whitespace",
        ngrams=None,
        output_mode="int",
        output_sequence_length=None,
        pad_to_max_tokens=False,
        vocabulary=None,
        idf_weights=None,
        sparse=False,
        ragged=False,
        encoding="utf-8",
        name=None,
        **kwargs,
    ):
        has_vocabulary = kwargs.pop("has_input_vocabulary", None)
        vocabulary_size = kwargs.pop("vocabulary_size", None)
        super().__init__(name=name, **kwargs)
        if ragged:
            raise ValueError(
                f"Layer '{self.name}': `ragged=True` is not supported, as on Keras' JAX backend. Rows are "
                "filled up with 0, which `Embedding(mask_zero=True)` skips."
            )
        self.standardize = self._checked("standardize", standardize, _STANDARDIZE)
        self.split = self._checked("split", split, _SPLIT)
        self.output_mode = check_mode("TextVectorization", output_mode, (*MODES, "tf_idf"))
        self.ngrams = self._checked_ngrams(ngrams)
        length = output_sequence_length
        if length is not None and (self.output_mode != "int" or not isinstance(length, int)):
            raise ValueError(
                f"Layer '{self.name}': `output_sequence_length` must be None, or an integer with "
                f"output_mode='int'. Received: output_sequence_length={length!r}, "
                f"output_mode={output_mode!r}"
            )
        self.output_sequence_length = length
        self.ragged, self.encoding = False, encoding
        self._lookup_layer = StringLookup(
            max_tokens=max_tokens,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            pad_to_max_tokens=pad_to_max_tokens,
            mask_token="",
            output_mode=self.output_mode,
            sparse=sparse,
            encoding=encoding,
            has_input_vocabulary=has_vocabulary,
            vocabulary_size=vocabulary_size,
        )

    def _checked(self, name: str, value, known: tuple):
        if value is None or callable(value) or value in known:
            return value
        raise ValueError(
            f"Layer '{self.name}': unknown value for argument `{name}`. Expected one of {known}, None or a "
            f"function. Received: {name}={value!r}"
        )

    def _checked_ngrams(self, ngrams):
        ngrams = tuple(ngrams) if isinstance(ngrams, list) else ngrams
        widths = () if ngrams is None else ngrams if isinstance(ngrams, tuple) else (ngrams,)
        if all(isinstance(width, int) and width > 0 for width in widths):
            return ngrams
        raise ValueError(
            f"Layer '{self.name}': `ngrams` must be None, an integer, or a tuple of integers, above 0. "
            f"Received: ngrams={ngrams!r}"
        )

    @property
    def needs_host(self) -> bool:
        return True

    @property
    def max_tokens(self):
        """Most entries of the vocabulary."""
        return self._lookup_layer.max_tokens

    @property
    def pad_to_max_tokens(self) -> bool:
        """Whether vectors have `max_tokens` numbers."""
        return self._lookup_layer.pad_to_max_tokens

    # ---- the vocabulary

    def get_vocabulary(self, include_special_tokens=True) -> list:
        """The entries in the order of their indices; see `StringLookup.get_vocabulary`."""
        return self._lookup_layer.get_vocabulary(include_special_tokens)

    def set_vocabulary(self, vocabulary, idf_weights=None) -> None:
        """Use these entries; see `StringLookup.set_vocabulary`."""
        self._lookup_layer.set_vocabulary(vocabulary, idf_weights=idf_weights)

    def vocabulary_size(self) -> int:
        """How many entries the vocabulary has, those for padding and unknown words included."""
        return self._lookup_layer.vocabulary_size()

    def adapt(self, data, batch_size=None, steps=None) -> None:
        """Make the vocabulary of the words in `data`, the most frequent first.

        Args:
            data: an array or a list of texts, or something that yields batches of them.
            batch_size: not needed: the texts are counted one after the other.
            steps: how many batches to read.
        """
        self.reset_state()
        batches = batches_of(data, steps)
        for batch in [data] if batches is None else batches:
            self.update_state(
                batch[0] if isinstance(batch, tuple) and batches is not None else batch
            )
        self.finalize_state()

    def update_state(self, data) -> None:
        """Count the words of one batch of texts, each a document."""
        rows, _ = self._rows(self._inputs_as_arrays(data))
        self._lookup_layer._count(rows)

    def finalize_state(self) -> None:
        """Make the vocabulary of what was counted."""
        self._lookup_layer.finalize_state()

    def reset_state(self) -> None:
        """Forget what was counted."""
        self._lookup_layer.reset_state()

    # ---- calls

    def call(self, inputs):
        self._refuse_tracing(inputs)
        rows, shape = self._rows(inputs)
        lookup, length = self._lookup_layer, self.output_sequence_length
        if self._keeps_shape(inputs.ndim):
            return lookup.call(self._standardized(inputs))
        length = max(map(len, rows), default=0) if length is None else length
        padded = np.full((len(rows), length), "", object)
        for row, words in zip(padded, rows, strict=True):
            row[: len(words)] = words[:length]
        return to_device(np.asarray(lookup.call(padded.reshape(*shape, length))))

    def _keeps_shape(self, ndim: int) -> bool:
        """Whether each text is one word, and there is nothing to fill up."""
        alone = self.split is None and self.output_sequence_length is None and ndim < 2
        return alone and self.output_mode == "int"

    def _rows(self, inputs) -> tuple[list[list[str]], tuple]:
        """The words of each text, and the shape of the array that the rows form."""
        if not is_text(inputs) and inputs.size:
            raise TypeError(
                f"Layer '{self.name}' (TextVectorization) takes text. Received: an array of {inputs.dtype}."
            )
        texts = self._standardized(inputs)
        if self.split is None:
            if texts.ndim < 2:
                return [[text] for text in texts.reshape(-1).tolist()], texts.shape
            rows = texts.reshape(-1, texts.shape[-1]).tolist()
            return self._with_ngrams(rows), texts.shape[:-1]
        if texts.ndim > 1:
            if texts.shape[-1] != 1:
                raise ValueError(
                    f"Layer '{self.name}': texts that are split have one axis, or a last axis of size 1. "
                    f"Received: inputs of shape {texts.shape}. Use split=None for words."
                )
            texts = texts[..., 0]
        return self._with_ngrams(self._split(texts)), texts.shape

    def _standardized(self, inputs) -> np.ndarray:
        if callable(self.standardize):
            return self._text_of(self.standardize(inputs.astype(str)), "standardize")
        if self.standardize is None:
            return inputs
        table: dict = {}
        if self.standardize.startswith("lower"):
            table |= _LOWER
        if "strip" in self.standardize:
            table |= _PUNCTUATION
        changed = np.empty(inputs.size, object)
        changed[:] = [text.translate(table) for text in inputs.reshape(-1).tolist()]
        return changed.reshape(inputs.shape)

    def _text_of(self, result, argument: str) -> np.ndarray:
        array = np.asarray(result)
        if array.dtype.kind not in "OSUT":
            raise TypeError(
                f"Layer '{self.name}': the function `{argument}` must return text. It returned: {result!r}"
            )
        return as_text(array, self.encoding)

    def _split(self, texts: np.ndarray) -> list[list[str]]:
        flat = texts.reshape(-1)
        if self.split == "whitespace":
            return [_WORDS.findall(text) for text in flat.tolist()]
        if self.split == "character":
            return [list(text) for text in flat.tolist()]
        rows: Any = self.split(flat.astype(str))
        rows = rows.to_list() if hasattr(rows, "to_list") else list(rows)
        if len(rows) != len(flat):
            raise ValueError(
                f"Layer '{self.name}': the function `split` must return a list of words for each of the "
                f"{len(flat)} texts. It returned {len(rows)} entries."
            )
        return [self._text_of(np.array(list(row), object), "split").tolist() for row in rows]

    def _with_ngrams(self, rows: list[list[str]]) -> list[list[str]]:
        if self.ngrams is None:
            return rows
        widths = self.ngrams if isinstance(self.ngrams, tuple) else range(1, self.ngrams + 1)
        return [
            [" ".join(row[i : i + n]) for n in widths for i in range(len(row) - n + 1)]
            for row in rows
        ]

    def compute_output_shape(self, input_shape):
        shape = tuple(input_shape)
        if self.split is not None:
            shape = shape[:-1] if len(shape) > 1 else shape
            shape = (*shape, self.output_sequence_length)
        elif not self._keeps_shape(len(shape)):
            length = self.output_sequence_length
            first, last = (shape[:-1], shape[-1]) if len(shape) > 1 else (shape, 1)
            shape = (*first, last if length is None and not self.ngrams else length)
        return self._lookup_layer.compute_output_shape(shape)

    def _output_dtype(self) -> str:
        return integers_dtype() if self.output_mode == "int" else floatx()

    # ---- files

    def get_config(self) -> dict:
        config = super().get_config()
        inner = self._lookup_layer.get_config()
        for name in ("vocabulary", "idf_weights", "sparse"):
            config[name] = inner[name]
        config["vocabulary_size"] = inner["vocabulary_size"] or self.vocabulary_size()
        return config

    def _config_names(self) -> list[str]:
        hidden = ("vocabulary", "idf_weights", "sparse")
        return [name for name in super()._config_names() if name not in hidden]

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        # It says that a vocabulary in a file is refused.
        StringLookup._check_config(config)
        return super().from_config(config, custom_objects)

    def save_own_variables(self, store) -> None:
        self._lookup_layer.save_own_variables(store)

    def load_own_variables(self, store) -> None:
        self._lookup_layer.load_own_variables(store)

    def save_assets(self, dir_path) -> None:
        """Write the vocabulary to a folder, unless the configuration has it."""
        self._lookup_layer.save_assets(dir_path)

    def load_assets(self, dir_path) -> None:
        """Read the vocabulary that `save_assets` wrote."""
        self._lookup_layer.load_assets(dir_path)
