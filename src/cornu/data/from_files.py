"""Data sets of files that hold many items each, as methods of `Dataset`."""

from cornu.data import nodes, shards


class FromFiles:
    """The sources whose items are read from files by number, and stay there until they are needed."""

    def __init__(self, node: nodes.Node):
        raise NotImplementedError

    @classmethod
    def from_tar(cls, files, on_error="raise", name=None):
        """The samples of tar files, as WebDataset writes them: dicts of bytes by the files' endings.

        Successive files of one name with several endings (`a/7.jpg`, `a/7.cls`) are a sample:
        `{"__key__": "a/7", "jpg": b"…", "cls": b"…"}`. `map` makes arrays of it, in threads.

        Args:
            files: a path, a pattern such as `"train-*.tar"`, or a list of these. The order is that of
                the files, and sorted for a pattern.
            on_error: what a file that is damaged or cut off does: `"raise"` an error that names it, or
                `"skip"` the rest of it, with the sample before, and a warning. What is within a sample
                is not looked at; `ignore_errors` leaves out those that cannot be decoded.
            name: nothing depends on it.

        The names in all files are read at first, some ten thousand a second; their places take memory,
        contents do not. Compressed tar files are refused, as nothing in them can be found by number.

        Source: WebDataset: the format.

        >>> import cornu, io, json, os, tarfile, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "train-0.tar")
        >>> with tarfile.open(path, "w") as file:
        ...     for ending in ("txt", "cls"):
        ...         info = tarfile.TarInfo(f"7.{ending}")
        ...         info.size = 1
        ...         file.addfile(info, io.BytesIO(b"3"))
        >>> data = cornu.data.Dataset.from_tar(path)
        >>> data[0]
        {'__key__': '7', 'txt': b'3', 'cls': b'3'}
        >>> [int(y) for y in data.map(lambda sample: int(sample["cls"]), num_parallel_calls=2)]
        [3]
        """
        skips = on_error == "skip"
        return cls(_records(files, lambda path: shards.TarShard(path, skips), on_error))

    @classmethod
    def from_csv(
        cls,
        files,
        select_columns=None,
        column_names=None,
        column_types=None,
        field_delim=",",
        on_error="raise",
        name=None,
    ):
        """The rows of CSV files, in UTF-8, as dicts: int64, float32 or text by the columns' names.

        Args:
            files: as for `from_tar`; all have the same columns.
            select_columns: a list of names of the columns to read; None reads all.
            column_names: the names of all columns, if the first row does not say them.
            column_types: a dict of dtypes, or `str`, for columns whose first hundred rows do not tell.
            field_delim: what stands between two values.
            on_error: what a file that ends within a quoted value does, as for `from_tar`. A row that does
                not fit is an error when it is read, which `ignore_errors` leaves out.
            name: nothing depends on it.

        Where rows begin is found once, at some hundred megabytes a second, and takes 16 bytes a row.

        Source: RFC 4180, which has line ends in quoted values.

        >>> import cornu, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "houses.csv")
        >>> with open(path, "w") as file:
        ...     _ = file.write("rooms,price,town\\n3,1.5,Ulm\\n5,2,Bonn\\n")
        >>> data = cornu.data.Dataset.from_csv(path)
        >>> data[1]
        {'rooms': np.int64(5), 'price': np.float32(2.0), 'town': 'Bonn'}
        """
        types, skips = dict(column_types or {}), on_error == "skip"

        def make(path):
            return shards.CsvShard(path, skips, column_names, select_columns, types, field_delim)

        return cls(_records(files, make, on_error))

    @classmethod
    def from_parquet(cls, files, columns=None, on_error="raise", name=None):
        """The rows of Parquet files, as dicts; read by the package pyarrow.

        Args:
            files, on_error: as for `from_tar`. A file that is cut off has lost its index, and is left
                out as a whole.
            columns: a list of names of the columns to read; None reads all.
            name: nothing depends on it.

        Rows are decoded in the groups in which they were written, of which the last four are kept:
        `shuffle` with a buffer of a few groups finds most of its rows there, and one over all rows reads
        a group for nearly each. Text is `str`, lists are arrays, and missing values are an error.

        Source: Apache Parquet.
        """
        groups = shards.Groups()
        make = lambda path: shards.ParquetShard(path, columns, groups)
        return cls(_records(files, make, on_error))

    @classmethod
    def from_array_record(cls, files, on_error="raise", name=None):
        """The records of ArrayRecord files, as bytes; read by the package array-record.

        Args:
            files, on_error: as for `from_tar`. A file that is cut off has lost its index, and is left
                out as a whole.
            name: nothing depends on it.

        Source: ArrayRecord.
        """
        return cls(_records(files, shards.ArrayRecordShard, on_error))


def _records(files, make, on_error: str) -> nodes.Node:
    return nodes.Records(shards.open_shards(files, make, on_error))
