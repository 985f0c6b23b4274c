"""`IntegerLookup`: integers of any size as indices from 0."""

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.layers.preprocessing.host import integers_dtype, is_text
from cornu.layers.preprocessing.lookup import Lookup
from cornu.ops.hashes import hash_integers


@registry.register("layer", module="keras.layers")
class IntegerLookup(Lookup):
    """Integers as indices of a vocabulary, or with `invert` the other way round.

    Args:
        vocabulary_dtype: `"int64"`, the only one.
        oov_method: how one of several `num_oov_indices` is chosen: `"floormod"`, the remainder of the
            integer, or `"farmhash"`, a hash of its digits.
        salt: one integer or two, for SipHash instead of FarmHash64.

    Arrays of NumPy may hold 64 bits, and text of digits is refused. The layer runs in compiled programs,
    too, unless `num_oov_indices=0`, which has to look at the numbers.

    Source: Keras: IntegerLookup layer.

    >>> import cornu
    >>> layer = cornu.layers.IntegerLookup(vocabulary=[12, 36, 1138])
    >>> layer([1138, 7, 12]).tolist()
    [3, 0, 1]
    """

    vocabulary_dtype = "int64"

    def __init__(
        self,
        max_tokens=None,
        num_oov_indices=1,
        mask_token=None,
        oov_token=-1,
        vocabulary=None,
        vocabulary_dtype="int64",
        idf_weights=None,
        invert=False,
        output_mode="int",
        sparse=False,
        pad_to_max_tokens=False,
        oov_method="floormod",
        salt=None,
        name=None,
        **kwargs,
    ):
        if vocabulary_dtype != "int64":
            raise ValueError(
                "IntegerLookup: only `vocabulary_dtype='int64'` is supported. "
                f"Received: vocabulary_dtype={vocabulary_dtype!r}"
            )
        if salt is not None and oov_method != "farmhash":
            raise ValueError(
                "IntegerLookup: `salt` can only be used with oov_method='farmhash'. "
                f"Received: oov_method={oov_method!r}"
            )
        super().__init__(
            max_tokens,
            num_oov_indices,
            mask_token,
            oov_token,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            invert=invert,
            output_mode=output_mode,
            sparse=sparse,
            pad_to_max_tokens=pad_to_max_tokens,
            salt=salt,
            oov_method=oov_method,
            name=name,
            **kwargs,
        )

    def _as_tokens(self, vocabulary) -> list:
        try:
            array = np.asarray(
                [int(v) for v in np.asarray(vocabulary).reshape(-1).tolist()], np.int64
            )
        except ValueError:
            raise ValueError(
                f"Layer '{self.name}': the vocabulary of an IntegerLookup is integers. "
                f"Received: {vocabulary!r}"
            ) from None
        return array.tolist()

    def _inputs_as_arrays(self, inputs):
        inputs = super()._inputs_as_arrays(inputs)
        if is_text(inputs):
            raise TypeError(
                f"Layer '{self.name}' (IntegerLookup) takes integers. Received: text. Use StringLookup."
            )
        return inputs

    def update_state(self, data) -> None:
        super().update_state(np.asarray(self._inputs_as_arrays(data)).astype(np.int64))

    def _indices(self, inputs):
        xp, keys, values = self._tables(inputs)
        limit = np.iinfo(keys.dtype).max
        is_wide = inputs.dtype.kind == "u" and np.iinfo(inputs.dtype).max > limit
        if is_wide and (xp is jnp or (inputs > limit).any()):
            raise TypeError(
                f"Layer '{self.name}' (IntegerLookup) takes {keys.dtype} here. Received: {inputs.dtype}, "
                "whose largest integers do not fit. Convert them with x.astype('int32') if they are small."
            )
        inputs = inputs.astype(keys.dtype)
        found = self._matched(xp, inputs, keys, values, -2)
        if self.mask_token is not None:
            found = xp.where(inputs == self.mask_token, self._index[self.mask_token], found)
        if xp is np and self.num_oov_indices == 0:
            self._refuse_unknown(inputs[found == -2].tolist())
        return xp.where(found == -2, self._unknown(xp, inputs), found)

    def _tables(self, inputs) -> tuple:
        """The module that computes, and the vocabulary in ascending order with its indices."""
        traced = isinstance(inputs, jax.core.Tracer)
        if self._sorted is None:
            tokens = np.array(self._tokens, np.int64)
            order = np.argsort(tokens)
            self._sorted = tokens[order], order + self._first_token()
        keys, values = self._sorted
        if not traced:
            return np, keys, values
        dtype = np.dtype(integers_dtype())
        # No array of JAX holds the others.
        reached = (keys >= np.iinfo(dtype).min) & (keys <= np.iinfo(dtype).max)
        return jnp, keys[reached].astype(dtype), values[reached].astype(dtype)

    @staticmethod
    def _matched(xp, inputs, keys, values, otherwise):
        """The value of each input that is a key."""
        if not len(keys):
            return xp.full(inputs.shape, otherwise, keys.dtype)
        keys, values = xp.asarray(keys), xp.asarray(values)
        place = xp.minimum(xp.searchsorted(keys, inputs.reshape(-1)), len(keys) - 1)
        place = place.reshape(inputs.shape)
        return xp.where(keys[place] == inputs, values[place], otherwise)

    def _unknown(self, xp, inputs):
        """The index of each input if it is in no vocabulary."""
        first, count = self._first_oov(), self.num_oov_indices
        if count <= 1:
            return first
        if self.oov_method == "floormod":
            return first + inputs % count
        return first + xp.asarray(hash_integers(inputs, count, self.salt))

    def _values(self, inputs):
        xp = jnp if isinstance(inputs, jax.core.Tracer) else np
        dtype = integers_dtype() if xp is jnp else np.int64
        tokens = np.array([*[self.oov_token] * self._first_token(), *self._tokens, self.oov_token])
        if self.mask_token is not None:
            tokens[0] = self.mask_token
        inside = (inputs >= 0) & (inputs < len(tokens) - 1)
        if xp is jnp and not np.can_cast(np.min_scalar_type(tokens.max()), dtype):
            raise TypeError(
                f"Layer '{self.name}': the vocabulary has integers of more than 32 bits, which a compiled "
                "program cannot return. Apply the layer to arrays of NumPy."
            )
        return xp.asarray(tokens.astype(dtype))[xp.where(inside, inputs, len(tokens) - 1)]
