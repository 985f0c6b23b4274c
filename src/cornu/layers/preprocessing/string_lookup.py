"""`StringLookup`: words as numbers."""

import numpy as np

from cornu.core import registry
from cornu.layers.preprocessing.host import is_text
from cornu.layers.preprocessing.lookup import Lookup
from cornu.ops.hashes import hash_text


@registry.register("layer", module="keras.layers")
class StringLookup(Lookup):
    """Texts as indices of a vocabulary, or with `invert` the other way round.

    Args:
        encoding: how texts that come as bytes are encoded.
        salt: one integer or two: with several `num_oov_indices`, SipHash with this salt chooses among
            them, instead of FarmHash64.

    Inputs are lists or NumPy arrays of text; outputs are arrays of JAX, and of NumPy if they are text. A
    model whose `Input` has `dtype="string"` calls the layer before its compiled step.

    Source: Keras: StringLookup layer.

    >>> import cornu
    >>> layer = cornu.layers.StringLookup(vocabulary=["red", "green"])
    >>> layer(["green", "blue", "red"]).tolist(), layer.get_vocabulary()
    ([2, 0, 1], ['[UNK]', 'red', 'green'])
    """

    def __init__(
        self,
        max_tokens=None,
        num_oov_indices=1,
        mask_token=None,
        oov_token="[UNK]",
        vocabulary=None,
        idf_weights=None,
        invert=False,
        output_mode="int",
        pad_to_max_tokens=False,
        sparse=False,
        encoding="utf-8",
        name=None,
        salt=None,
        **kwargs,
    ):
        self.encoding = encoding
        super().__init__(
            max_tokens,
            num_oov_indices,
            mask_token,
            oov_token,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            invert=invert,
            output_mode=output_mode,
            pad_to_max_tokens=pad_to_max_tokens,
            sparse=sparse,
            name=name,
            salt=salt,
            **kwargs,
        )

    @property
    def needs_host(self) -> bool:
        return True

    def _as_tokens(self, vocabulary) -> list:
        array = self._inputs_as_arrays(vocabulary)
        if array.size and not is_text(array):
            raise ValueError(
                f"Layer '{self.name}': the vocabulary of a StringLookup is text. Received: {vocabulary!r}. "
                "Use IntegerLookup for integers."
            )
        return array.reshape(-1).tolist()

    def _need_text(self, inputs) -> None:
        if not is_text(inputs) and inputs.size:
            raise TypeError(
                f"Layer '{self.name}' (StringLookup) takes text. Received: an array of {inputs.dtype}. Use "
                "IntegerLookup for integers, or turn them into text with x.astype(str)."
            )

    def update_state(self, data) -> None:
        self._need_text(self._inputs_as_arrays(data))
        super().update_state(data)

    def _indices(self, inputs):
        self._need_text(inputs)
        texts = inputs.reshape(-1).tolist()
        first, several = self._first_oov(), self.num_oov_indices > 1
        unknown = first if self.num_oov_indices == 1 else -2
        found = np.array([self._index.get(text, unknown) for text in texts], np.int64)
        missing = np.flatnonzero(found == -2)
        if len(missing):
            there = [texts[i] for i in missing]
            if not several:
                self._refuse_unknown(there)
            hashes = hash_text(there, self.salt) % np.uint64(self.num_oov_indices)
            found[missing] = first + hashes.astype(np.int64)
        return found.reshape(inputs.shape)

    def _values(self, inputs):
        if is_text(inputs):
            raise TypeError(f"Layer '{self.name}' takes indices with `invert`, and got text.")
        words = dict(enumerate(self._tokens, start=self._first_token()))
        if self.mask_token is not None:
            words[0] = self.mask_token
        found = np.empty(inputs.size, object)
        found[:] = [words.get(i, self.oov_token) for i in inputs.reshape(-1).tolist()]
        return found.reshape(inputs.shape)
