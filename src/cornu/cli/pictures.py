"""Image files to learn from, or to judge a model by."""

import functools
from collections.abc import Iterable

import numpy as np

from cornu.cli.command import CommandError, say
from cornu.cli.duplicates import near_pairs, same_bytes
from cornu.cli.listings import Listing
from cornu.cli.looks import Looks, look
from cornu.cli.parts import FITS, Data, Part
from cornu.cli.splits import stratified
from cornu.utils.image_folder import ImageFolderDataset, ImageReader
from cornu.utils.images import decodes_jpeg_quickly

# In place of hints for Python programs.
SKIP = "leave out unreadable images with --skip-unreadable."
# So many JPEG files are worth a word on how to read them more quickly.
_MANY_JPEG = 1000
# How many images a finding names.
_NAMED = 3
# How much wider or higher an image may become than it was before that is worth a word.
_DISTORTION = 1.34


def pictures_to_learn(
    listing: Listing,
    name: str,
    *,
    validation_split: float,
    seed: int,
    image_size: tuple[int, int],
    batch_size: int,
    skip_unreadable: bool,
    fit: str,
    keep_duplicates: bool,
) -> Data:
    """The parts of listed images, after each file was looked at."""
    say_of_simplejpeg(listing.paths)
    looks = look(listing.paths)
    findings = list(listing.findings)
    is_whole = _readable(listing, looks, skip_unreadable, findings)
    listing, looks = listing.only(is_whole), _only(looks, is_whole)
    parts = listing.parts.copy()
    if "validation" not in parts:
        rows = np.flatnonzero(parts == "train")
        parts[rows[stratified(listing.labels[rows], validation_split, seed)]] = "validation"
    is_copy = _copies(listing.names, listing.labels, parts, looks, keep_duplicates, findings)
    if fit == "stretch":
        _say_of_proportions(looks.sizes, image_size, findings)
    reader = reader_of("rgb", image_size, fit)

    def part(wanted: str, seed: int | None = None) -> Part:
        rows = np.flatnonzero((parts == wanted) & ~is_copy)
        return part_of(
            listing.only(rows), reader, batch_size, seed, [looks.digests[row] for row in rows]
        )

    train = part("train", seed)
    _check_each_class(train, listing.class_names)
    return Data(
        name=name,
        class_names=listing.class_names,
        train=train,
        validation=part("validation"),
        test=part("test") if "test" in parts else None,
        shape=(*image_size, 3),
        white=255,
        can_be_mirrored=True,
        findings=findings,
        fit=fit,
    )


def say_of_simplejpeg(paths: Iterable[str]) -> None:
    """A word about a package that reads JPEG files more quickly, if there are many and it is missing."""
    if sum(path.lower().endswith((".jpg", ".jpeg")) for path in paths) >= _MANY_JPEG:
        _say_once()


@functools.cache
def _say_once() -> None:
    """In a process, in which cornu tune may train often."""
    if not decodes_jpeg_quickly():
        say(
            "many of the files are JPEG. With the package simplejpeg (pip install simplejpeg), photographs "
            "take two thirds of the time to read, thumbnails a fifth; pixels are the same."
        )


def reader_of(color_mode: str, image_size: tuple[int, int], fit: str) -> ImageReader:
    return ImageReader(
        color_mode, image_size, "bilinear", FITS[fit], "channels_last", exif_orientation=True
    )


def part_of(
    listing: Listing,
    reader: ImageReader,
    batch_size: int,
    seed: int | None = None,
    digests: list[str] | None = None,
    unchecked=(),
) -> Part:
    """Listed images as a part; with a seed they are mixed anew in each pass."""
    source = ImageFolderDataset(
        listing.paths,
        listing.labels,
        class_names=listing.class_names,
        label_mode="int",
        reader=reader,
        batch_size=batch_size,
        seed=seed,
        unchecked=unchecked,
    )
    return Part(source, names=listing.names, known_digests=digests)


def _readable(listing: Listing, looks: Looks, skip: bool, findings: list[str]) -> np.ndarray:
    """Whether each image can be read; an error if some cannot, unless they may be left out."""
    problems = list(looks.problems.values())
    count = len(listing.names)
    if len(problems) == count:
        raise CommandError(f"None of the {count} images can be read. The first: {problems[0]}")
    if problems:
        more = f" And {len(problems) - 10} more." if len(problems) > 10 else ""
        listed = " ".join(problems[:10]) + more
        if not skip:
            many = f"{len(problems)} of {count} images cannot be read: " * (len(problems) > 1)
            raise CommandError(
                f"{many}{listed} Delete {'them' if len(problems) > 1 else 'it'}, or {SKIP}"
            )
        findings.append(f"{len(problems)} of {count} images left out: {listed}")
    return np.array([number not in looks.problems for number in range(count)])


def _only(looks: Looks, is_kept: np.ndarray) -> Looks:
    digests = [digest for digest, kept in zip(looks.digests, is_kept, strict=True) if kept]
    return Looks(digests, looks.thumbnails[is_kept], looks.sizes[is_kept], {})


def _check_each_class(train: Part, class_names: list[str]) -> None:
    labels = train.labels
    counts = labels.sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=len(class_names))
    if not counts.all():
        raise CommandError(
            f"No image of the class {class_names[int(counts.argmin())]!r} is left to learn from. "
            "Unreadable images and copies of those for validation and test are left out; --keep-duplicates "
            "learns from copies, too."
        )


def _copies(
    names: list[str],
    labels: np.ndarray,
    parts: np.ndarray,
    looks: Looks,
    keep: bool,
    findings: list[str],
) -> np.ndarray:
    """Whether each image is one to learn from whose bytes are judged by, too; all copies are named."""
    is_copy = np.zeros(len(names), bool)
    same = [pair for group in same_bytes(looks.digests) for pair in _pairs(group, parts)]
    near = near_pairs(looks.digests, looks.thumbnails)

    def tell(pairs, what, then=""):
        if pairs:
            listed = ", ".join(f"{names[one]} = {names[other]}" for one, other in pairs[:_NAMED])
            more = f" and {len(pairs) - _NAMED:,} more" if len(pairs) > _NAMED else ""
            times = "pair" if len(pairs) == 1 else "pairs"
            findings.append(f"{len(pairs):,} {times} of images {what}: {listed}{more}.{then}")

    def is_across(pair):
        return parts[pair[0]] != parts[pair[1]]

    for pair in filter(is_across, same):
        for row in pair:
            is_copy[row] |= parts[row] == "train" and not keep
    then = f" {is_copy.sum():,} of them are not learned from (--keep-duplicates)."
    tell(
        [*filter(is_across, same)],
        "are the same file in different parts",
        then if is_copy.any() else "",
    )
    tell([pair for pair in same if not is_across(pair)], "are the same file")
    tell([*filter(is_across, near)], "look the same in different parts")
    tell([pair for pair in near if not is_across(pair)], "look the same")
    differ = [pair for pair in same + near if (labels[pair[0]] != labels[pair[1]]).any()]
    tell(differ, "look the same, but have different classes")
    return is_copy


def _pairs(group: list[int], parts: np.ndarray) -> list[tuple[int, int]]:
    """Each image of a group with the first, those that are judged by before others."""
    first, *rest = sorted(group, key=lambda row: (parts[row] == "train", row))
    return [(first, row) for row in rest]


def _say_of_proportions(sizes: np.ndarray, image_size, findings: list[str]) -> None:
    height, width = image_size
    factors = sizes[:, 0] / sizes[:, 1] * (height / width)
    distorted = np.maximum(factors, 1 / factors) > _DISTORTION
    if 10 * distorted.sum() > len(sizes):
        findings.append(
            f"{distorted.sum():,} of {len(sizes):,} images have other proportions than {height}x{width} "
            "and are stretched to it. --fit crop cuts off what does not fit, --fit pad fills up with black."
        )
