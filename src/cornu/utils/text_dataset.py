"""Text files in a folder, a subfolder for each class, as a data set."""

from cornu.utils.folders import file_dataset


def text_dataset_from_directory(
    directory,
    labels="inferred",
    label_mode="int",
    class_names=None,
    batch_size=32,
    max_length=None,
    shuffle=True,
    seed=None,
    validation_split=None,
    subset=None,
    follow_links=False,
    format="tf",
    verbose=True,
):
    """A data set of the texts in a folder: `folder/class_a/1.txt`, `folder/class_b/1.txt`, …

    Files end in `.txt` and hold UTF-8. They are read when a batch is made.

    Args:
        directory: the folder.
        labels: `"inferred"` from the subfolders, None for no labels, or a list of integers, one for
            each file in the order of the sorted paths.
        label_mode: `"int"`: int32 of shape `(batch,)`; `"binary"`: float32 0 or 1 of shape
            `(batch, 1)`; `"categorical"`: one-hot float32 of shape `(batch, classes)`; None: no labels.
        class_names: the subfolders to take, in the order of their labels; None takes all, sorted.
        batch_size: texts in a batch; None gives single texts.
        max_length: characters to keep of each text; None keeps all. (Keras counts bytes here.)
        shuffle: whether to mix the files, anew in each pass; False keeps the paths sorted.
        seed: makes the mixing the same in each run.
        validation_split: the part, between 0 and 1, to keep for validation.
        subset: `"training"` or `"validation"` for one part, `"both"` for a list of the two. The
            validation part of `"both"` is not mixed anew.
        follow_links: whether to enter folders that are symbolic links.
        format: accepted for Keras' sake; the result is always a `cornu.data.Dataset`.
        verbose: whether to print how many files and classes were found.

    Returns:
        A `Dataset`, or a list of two, with the attributes `class_names` and `file_paths`. A batch of
        texts is an array of Python's `str`.

    Raises ValueError if an argument is wrong, there are no files, or one is not UTF-8, then named.

    Source: Keras: Text data loading.

    >>> import cornu, os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("bad", "good"):
    ...     os.mkdir(f"{folder}/{name}")
    ...     with open(f"{folder}/{name}/1.txt", "w") as file:
    ...         _ = file.write(f"a {name} film")
    >>> data = cornu.utils.text_dataset_from_directory(folder, shuffle=False, verbose=False)
    >>> [(x.tolist(), y.tolist()) for x, y in data]
    [(['a bad film', 'a good film'], [0, 1])]
    """
    if format not in ("tf", "grain"):
        raise ValueError(f'`format` should be either "tf" or "grain". Received: format={format}')

    def read(path):
        # As it is, without a change of the ends of lines.
        with open(path, encoding="utf-8", newline="") as file:
            try:
                return file.read() if max_length is None else file.read(max_length)
            except UnicodeDecodeError as error:
                raise ValueError(f"The file {path} is not UTF-8: {error}") from error

    return file_dataset(
        read,
        directory,
        labels,
        label_mode,
        class_names,
        batch_size,
        shuffle,
        seed,
        validation_split,
        subset,
        follow_links,
        verbose,
        endings=(".txt",),
        what="text files",
    )
