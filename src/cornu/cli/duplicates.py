"""Images that are there twice: the same bytes, or the same to the eye."""

from collections import defaultdict

import numpy as np

# Of 64 bits, how many may differ; and how much alike thumbnails must be.
_DISTANCE, _CORRELATION = 10, 0.98
_BITS = np.unpackbits(np.arange(256, dtype="uint8")[:, None], axis=1).sum(1)
# Thumbnails of less contrast are all alike: empty pages, the night.
_CONTRAST = 4.0
# Of very many that are alike, each is compared with so many others.
_MOST = 500


def same_bytes(digests: list[str]) -> list[list[int]]:
    """Groups of the numbers of files that have the same bytes."""
    found = defaultdict(list)
    for number, digest in enumerate(digests):
        found[digest].append(number)
    return [group for group in found.values() if len(group) > 1]


def near_pairs(digests: list[str], thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of numbers of images that look the same, though their bytes differ.

    Found are images that were resized, compressed again, or made a little brighter; not those that were
    cropped, turned or mirrored. Whose hashes differ by few bits (dHash: is each pixel brighter than the one
    before it?) are candidates, and their thumbnails decide. Only those are compared that have the same 8
    bits in some row, so that 50,000 images take seconds.

    Source: N. Krawetz, Kind of like that, 2013 (dHash).
    """
    # Of files with the same bytes, the first stands for all.
    first = np.array(sorted({digest: n for n, digest in reversed([*enumerate(digests)])}.values()))
    if not len(first):
        return []
    pixels = thumbnails[first].astype("float32")
    pixels -= pixels.mean((1, 2), keepdims=True)
    contrast = np.sqrt((pixels**2).mean((1, 2)))
    first, pixels, contrast = (each[contrast >= _CONTRAST] for each in (first, pixels, contrast))
    pixels = pixels.reshape(len(first), -1) / (contrast[:, None] * thumbnails[0].size ** 0.5)
    rows = _hashes(thumbnails[first])
    found: set[tuple[int, int]] = set()
    for row in rows.T:
        order = np.argsort(row, kind="stable")
        left = np.arange(len(order))
        for distance in range(1, _MOST):
            left = left[left + distance < len(order)]
            left = left[row[order[left]] == row[order[left + distance]]]
            if not len(left):
                break
            one, other = order[left], order[left + distance]
            near = _BITS[rows[one] ^ rows[other]].sum(1) <= _DISTANCE
            one, other = one[near], other[near]
            alike = np.einsum("np,np->n", pixels[one], pixels[other]) >= _CORRELATION
            pairs = np.sort(first[np.stack([one[alike], other[alike]])], axis=0)
            found.update(zip(*pairs.tolist(), strict=True))
    return sorted(found)


def _hashes(thumbnails: np.ndarray) -> np.ndarray:
    """The 64 bits of each thumbnail, as eight bytes: of 8 rows, each pixel beside the next one."""
    n, size, _ = thumbnails.shape
    step = size // 8
    small = thumbnails.reshape(n, 8, step, 8, step).mean((2, 4), dtype="float32")
    # The last one is compared with the first.
    bits = np.roll(small, -1, axis=2) > small
    return np.packbits(bits.reshape(n, 64), axis=1)
