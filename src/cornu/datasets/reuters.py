"""Reuters: newswires about 46 topics."""

import numpy as np

from cornu.core.old_arguments import takes_old_arguments
from cornu.datasets import texts
from cornu.datasets.source import KERAS_ADDRESS, find_file

_ORIGIN = KERAS_ADDRESS + "reuters.npz"
_SHA256 = "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916"
_WORDS_MD5 = "4d44cc38712099c9e383dc6e5f11a921"
_TOPICS = """
    cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves ship cotton
    carcass crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin strategic-metal
    livestock retail ipi iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr gas silver wpi hog
    lead
"""


@takes_old_arguments(nb_words="num_words")
def load_data(
    path="reuters.npz",
    num_words=None,
    skip_top=0,
    maxlen=None,
    test_split=0.2,
    seed=113,
    start_char=1,
    oov_char=2,
    index_from=3,
):
    """11,228 newswires of 46 topics, as `(x_train, y_train), (x_test, y_test)`.

    Each is a list of words' numbers, 1 the most frequent word, to which `index_from` is added.

    Args:
        path: the file's name in `CORNU_DATA_DIR` or in the cache.
        num_words: keep words with numbers less than this; None: less than the largest, as in Keras.
        skip_top: keep words with numbers of at least this.
        maxlen: keep newswires with fewer words.
        test_split: the part for testing.
        seed: of the order.
        start_char: number that marks the beginning; None for no mark.
        oov_char: number for words that are not kept; None leaves them out.
        index_from: added to all words' numbers.

    Returns:
        `x`: arrays of lists of integers; `y`: int64, 0 to 45.

    The file holds lists in pickles; nothing but lists of integers is read from it.

    Source: Reuters-21578; Keras: Reuters newswire classification dataset.

    >>> import cornu
    >>> (x_train, y_train), (x_test, y_test) = cornu.datasets.reuters.load_data()  # doctest: +SKIP
    """
    x, y = texts.read_lists(find_file(path, _ORIGIN, _SHA256), ("x", "y"))
    x, y = texts.mixed(np.random.RandomState(seed), x, y)
    words, y = texts.shorter(texts.numbered(x, start_char, index_from), y, maxlen)
    array = texts.as_array(texts.frequent(words, num_words, skip_top, oov_char))
    cut = int(len(array) * (1 - test_split))
    return (array[:cut], np.array(y[:cut])), (array[cut:], np.array(y[cut:]))


def get_word_index(path="reuters_word_index.json") -> dict[str, int]:
    """The number of each word, before `index_from` is added.

    Source: Keras: Reuters newswire classification dataset.
    """
    return texts.word_index(path, "reuters_word_index.json", _WORDS_MD5)


def get_label_names() -> tuple[str, ...]:
    """The names of the topics, by label.

    >>> import cornu
    >>> cornu.datasets.reuters.get_label_names()[3]
    'earn'
    """
    return tuple(_TOPICS.split())
