"""Sequences of several lengths as one array."""

import numpy as np


def pad_sequences(
    sequences, maxlen=None, dtype="int32", padding="pre", truncating="pre", value=0.0
) -> np.ndarray:
    """Sequences as the rows of one array, short ones filled up and long ones cut.

    Args:
        sequences: list of lists or arrays; their elements may be arrays of one shape.
        maxlen: length of all rows; None for that of the longest sequence.
        dtype: of the array.
        padding: `"pre"` to fill up before a sequence, `"post"` to do so after it.
        truncating: `"pre"` to cut its beginning off, `"post"` its end.
        value: what fills up.

    Source: Keras: pad_sequences.

    >>> import cornu
    >>> cornu.utils.pad_sequences([[1, 2, 3], [4]], maxlen=2).tolist()
    [[2, 3], [0, 4]]
    """
    for name, given in (("padding", padding), ("truncating", truncating)):
        if given not in ("pre", "post"):
            raise ValueError(f"`{name}` must be 'pre' or 'post'. Received: {name}={given!r}")
    if not hasattr(sequences, "__len__"):
        raise ValueError(f"`sequences` must be iterable. Received: {sequences!r}")
    for sequence in sequences:
        if not hasattr(sequence, "__len__"):
            raise ValueError(f"`sequences` must be a list of iterables. Found: {sequence!r}")
    is_text = dtype is object or np.issubdtype(dtype, np.str_) or np.dtype(dtype) == object
    if isinstance(value, str) and not is_text:
        raise ValueError(
            f"`dtype` {dtype} is not compatible with `value`'s type: {type(value)}. Set dtype=object for "
            "strings of several lengths."
        )
    if maxlen is None:
        maxlen = max(map(len, sequences), default=0)
    shape = next((np.shape(s)[1:] for s in sequences if len(s)), ())
    result = np.full((len(sequences), maxlen, *shape), value, dtype=dtype)
    for row, sequence in zip(result, sequences, strict=True):
        # `sequence[-0:]` would be all of it.
        kept = (
            sequence[:maxlen]
            if truncating == "post"
            else sequence[max(len(sequence) - maxlen, 0) :]
        )
        kept = np.asarray(kept, dtype=dtype)
        if not len(kept):
            continue
        if kept.shape[1:] != shape:
            raise ValueError(
                f"Elements of one sequence have shape {kept.shape[1:]}, those of an earlier one {shape}."
            )
        row[slice(len(kept)) if padding == "post" else slice(maxlen - len(kept), maxlen)] = kept
    return result
