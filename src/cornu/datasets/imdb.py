"""IMDB: reviews of films, good or bad."""

import numpy as np

from cornu.core.old_arguments import takes_old_arguments
from cornu.datasets import texts
from cornu.datasets.source import KERAS_ADDRESS, find_file

_ORIGIN = KERAS_ADDRESS + "imdb.npz"
_SHA256 = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"
_WORDS_MD5 = "bfafd718b763782e994055a2d397834f"


@takes_old_arguments(nb_words="num_words")
def load_data(
    path="imdb.npz",
    num_words=None,
    skip_top=0,
    maxlen=None,
    seed=113,
    start_char=1,
    oov_char=2,
    index_from=3,
    **kwargs,
):
    """50,000 reviews of films, as `(x_train, y_train), (x_test, y_test)`.

    Each is a list of words' numbers, 1 the most frequent word, to which `index_from` is added. Its label
    is 1 for a good review, 0 for a bad one.

    Args:
        path: the file's name in `CORNU_DATA_DIR` or in the cache.
        num_words: keep words with numbers less than this; None: less than the largest, as in Keras.
        skip_top: keep words with numbers of at least this.
        maxlen: keep reviews with fewer words.
        seed: of the order.
        start_char: number that marks the beginning; None for no mark.
        oov_char: number for words that are not kept; None leaves them out.
        index_from: added to all words' numbers.

    Returns:
        `x`: arrays of 25,000 lists of integers; `y`: int64 of shape `(25000,)`.

    The file holds lists in pickles; nothing but lists of integers is read from it.

    Source: Maas et al. 2011, "Learning word vectors for sentiment analysis"; Keras: IMDB movie review
    sentiment classification dataset.

    >>> import cornu
    >>> (x_train, y_train), (x_test, y_test) = cornu.datasets.imdb.load_data()  # doctest: +SKIP
    """
    if kwargs:
        raise TypeError(f"Unrecognized keyword arguments: {kwargs}.")
    names = ("x_train", "y_train", "x_test", "y_test")
    parts = texts.read_lists(find_file(path, _ORIGIN, _SHA256), names)
    rng = np.random.RandomState(seed)
    words: list = []
    labels = []
    sizes = []
    for x, y in (parts[:2], parts[2:]):
        x, y = texts.mixed(rng, x, y)
        kept, y = texts.shorter(texts.numbered(x, start_char, index_from), y, maxlen)
        words += kept
        labels.append(np.asarray(y))
        sizes.append(len(kept))
    words = texts.frequent(words, num_words, skip_top, oov_char)
    first, last = words[: sizes[0]], words[sizes[0] :]
    return (texts.as_array(first), labels[0]), (texts.as_array(last), labels[1])


def get_word_index(path="imdb_word_index.json") -> dict[str, int]:
    """The number of each word, before `index_from` is added.

    Source: Keras: IMDB movie review sentiment classification dataset.
    """
    return texts.word_index(path, "imdb_word_index.json", _WORDS_MD5)
