"""Words as numbers, as Keras 2's scripts make them; new programs use `layers.TextVectorization`."""

import collections
import hashlib
import json
from collections.abc import Callable, Iterator

import numpy as np

from cornu.core.old_arguments import takes_old_arguments

__all__ = ["Tokenizer", "hashing_trick", "one_hot", "text_to_word_sequence", "tokenizer_from_json"]

_FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


def text_to_word_sequence(input_text, filters=_FILTERS, lower=True, split=" ") -> list[str]:
    """The words of a text.

    Args:
        input_text: the text.
        filters: characters that separate words, too.
        lower: whether to make all letters small.
        split: what separates words.

    >>> from cornu.preprocessing.text import text_to_word_sequence
    >>> text_to_word_sequence("Hello, world!")
    ['hello', 'world']
    """
    text = input_text.lower() if lower else input_text
    text = text.translate(dict.fromkeys(map(ord, filters), split))
    return [word for word in text.split(split) if word]


def one_hot(input_text, n, filters=_FILTERS, lower=True, split=" ", analyzer=None) -> list[int]:
    """`hashing_trick` with Python's `hash`, which differs between processes."""
    return hashing_trick(input_text, n, hash, filters, lower, split, analyzer)


def hashing_trick(
    text, n, hash_function=None, filters=_FILTERS, lower=True, split=" ", analyzer=None
) -> list[int]:
    """A number from 1 to `n - 1` for each word; different words may have the same.

    Args:
        text: the text.
        n: one more than the largest number.
        hash_function: from a word to an integer; `"md5"` is the same in all processes; default: `hash`.
        filters, lower, split: as for `text_to_word_sequence`.
        analyzer: a function from a text to its words instead.

    >>> from cornu.preprocessing.text import hashing_trick
    >>> hashing_trick("to be or not to be", 100, "md5")
    [5, 66, 50, 12, 5, 66]
    """
    function: Callable = hash if hash_function is None else hash_function
    if hash_function == "md5":
        function = lambda word: int(
            hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16
        )
    words = (
        text_to_word_sequence(text, filters, lower, split) if analyzer is None else analyzer(text)
    )
    return [function(word) % (n - 1) + 1 for word in words]


class Tokenizer:
    """Numbers for words, the most frequent first, and texts as lists or rows of these.

    Args:
        num_words: how many numbers to use, 0 included; None for all.
        filters, lower, split: as for `text_to_word_sequence`.
        char_level: whether each character is a word.
        oov_token: a word that stands for all unknown ones, and has number 1.
        analyzer: a function from a text to its words.

    Attributes: `word_index` and `index_word`, from words to numbers and back; `word_counts`, how often each
    came; `word_docs` and `index_docs`, in how many texts; `document_count`, how many texts.

    Source: keras-preprocessing: Tokenizer.

    >>> from cornu.preprocessing.text import Tokenizer
    >>> tokenizer = Tokenizer()
    >>> tokenizer.fit_on_texts(["the cat", "the dog"])
    >>> tokenizer.texts_to_sequences(["The dog and the cat"])
    [[1, 3, 1, 2]]
    """

    @takes_old_arguments(nb_words="num_words")
    def __init__(
        self,
        num_words=None,
        filters=_FILTERS,
        lower=True,
        split=" ",
        char_level=False,
        oov_token=None,
        analyzer=None,
        **kwargs,
    ):
        self.document_count = kwargs.pop("document_count", 0)
        if kwargs:
            raise TypeError(f"Unrecognized keyword arguments: {kwargs}")
        self.num_words, self.filters, self.lower, self.split = num_words, filters, lower, split
        self.char_level, self.oov_token, self.analyzer = char_level, oov_token, analyzer
        self.word_counts: dict[str, int] = collections.OrderedDict()
        self.word_docs: dict[str, int] = collections.defaultdict(int)
        self.index_docs: dict[int, int] = collections.defaultdict(int)
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    def _words(self, text):
        if self.char_level or isinstance(text, list):
            if not self.lower:
                return text
            return [word.lower() for word in text] if isinstance(text, list) else text.lower()
        if self.analyzer is not None:
            return self.analyzer(text)
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def fit_on_texts(self, texts) -> None:
        """Count the words of some texts, and number all words anew.

        Args:
            texts: strings, or lists of words.
        """
        for text in texts:
            self.document_count += 1
            words = list(self._words(text))
            for word in words:
                self.word_counts[word] = self.word_counts.get(word, 0) + 1
            for word in set(words):
                self.word_docs[word] = self.word_docs.get(word, 0) + 1
        # Of words as frequent, the one that came first is first.
        ranked = sorted(self.word_counts, key=self.word_counts.__getitem__, reverse=True)
        vocabulary = ranked if self.oov_token is None else [self.oov_token, *ranked]
        self.word_index = {word: number for number, word in enumerate(vocabulary, 1)}
        self.index_word = {number: word for word, number in self.word_index.items()}
        for word, count in self.word_docs.items():
            self.index_docs[self.word_index[word]] = count

    def fit_on_sequences(self, sequences) -> None:
        """Count in how many of some lists of numbers each occurs."""
        self.document_count += len(sequences)
        for sequence in sequences:
            for number in set(sequence):
                self.index_docs[number] = self.index_docs.get(number, 0) + 1

    def texts_to_sequences(self, texts) -> list[list[int]]:
        """The texts as lists of numbers; words without a number are left out, or are `oov_token`."""
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts) -> Iterator[list[int]]:
        """The same, one by one."""
        for text in texts:
            numbers = (self._known(self.word_index.get(word)) for word in self._words(text))
            yield [number for number in numbers if number is not None]

    def _known(self, number: int | None) -> int | None:
        if number is None or (self.num_words and number >= self.num_words):
            return self.word_index.get(self.oov_token) if self.oov_token is not None else None
        return number

    def sequences_to_texts(self, sequences) -> list[str]:
        """Lists of numbers as words with spaces between."""
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences) -> Iterator[str]:
        """The same, one by one."""
        for sequence in sequences:
            known = (self._known(n if n in self.index_word else None) for n in sequence)
            yield " ".join(self.index_word[number] for number in known if number is not None)

    def texts_to_matrix(self, texts, mode="binary") -> np.ndarray:
        """The texts as rows; see `sequences_to_matrix`."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences, mode="binary") -> np.ndarray:
        """Lists of numbers as rows, with a column for each number.

        Args:
            sequences: the lists.
            mode: `"binary"`: 1 where a number occurs; `"count"`: how often; `"freq"`: how often by the
                length; `"tfidf"`: `(1 + log count) log(1 + texts / (1 + texts with it))`.
        """
        if not self.num_words and not self.word_index:
            raise ValueError("Give `num_words`, or call `fit_on_texts` first.")
        if mode not in ("binary", "count", "freq", "tfidf"):
            raise ValueError(
                f"`mode` must be 'binary', 'count', 'freq' or 'tfidf'. Received: mode={mode!r}"
            )
        if mode == "tfidf" and not self.document_count:
            raise ValueError("Call `fit_on_texts` before mode 'tfidf'.")
        width = self.num_words or len(self.word_index) + 1
        rows = np.zeros((len(sequences), width))
        for row, sequence in zip(rows, sequences, strict=True):
            for number, count in collections.Counter(sequence).items():
                if number >= width:
                    continue
                if mode == "tfidf":
                    documents = 1 + self.index_docs.get(number, 0)
                    row[number] = (1 + np.log(count)) * np.log(1 + self.document_count / documents)
                else:
                    row[number] = {"binary": 1, "count": count, "freq": count / len(sequence)}[mode]
        return rows

    def get_config(self) -> dict:
        """The arguments, and what was counted as JSON."""
        arguments = ("num_words", "filters", "lower", "split", "char_level", "oov_token")
        counted = ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
        return {
            **{name: getattr(self, name) for name in arguments},
            "document_count": self.document_count,
            **{name: json.dumps(getattr(self, name)) for name in counted},
        }

    def to_json(self, **kwargs) -> str:
        """The configuration as JSON; `kwargs` are those of `json.dumps`."""
        return json.dumps(
            {"class_name": type(self).__name__, "config": self.get_config()}, **kwargs
        )


def tokenizer_from_json(json_string) -> Tokenizer:
    """The `Tokenizer` that `to_json` described, here or in Keras.

    >>> from cornu.preprocessing.text import Tokenizer, tokenizer_from_json
    >>> tokenizer = Tokenizer()
    >>> tokenizer.fit_on_texts(["a b"])
    >>> tokenizer_from_json(tokenizer.to_json()).word_index
    {'a': 1, 'b': 2}
    """
    config = dict(json.loads(json_string)["config"])
    counted = {
        name: json.loads(config.pop(name))
        for name in ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
    }
    tokenizer = Tokenizer(**config)
    for name, values in counted.items():
        # JSON has no numbers as keys.
        of_numbers = name.startswith("index_")
        setattr(tokenizer, name, {int(k): v for k, v in values.items()} if of_numbers else values)
    return tokenizer
