"""Similarity of images: a fingerprint that survives saving again, a fast search for pairs, a check for chests.

Shapes: N images, S side and T side of a thumbnail in px.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syntrial.imageset import Pixels

FINGERPRINT_SIDE, THUMBNAIL_SIDE = 32, 48  # px
ALIKE = 0.97  # correlation of thumbnails above which two images are the same picture saved twice
BLOCK = 2048  # fingerprints compared at once, to bound memory
_FREQUENCIES, _PLACES = np.arange(1, 9)[:, None], np.arange(FINGERPRINT_SIDE)[None]
_COSINES = np.cos(np.pi * _FREQUENCIES * (2 * _PLACES + 1) / (2 * FINGERPRINT_SIDE)).astype(np.float32)
_CELLS = np.kron(np.eye(4, dtype=np.float32), np.full(FINGERPRINT_SIDE // 4, 4 / FINGERPRINT_SIDE, np.float32))
# The mean chest radiograph in 4 x 4 cells, from 2,451 images of children (Kermany et al.) and 799 of adults (NIH).
_CHEST = np.array([[-32, 3, 3, -31], [-9, -4, 2, -11], [-21, 13, 29, -22], [-12, 53, 52, -15]], np.float32)


def thumbnail(image_SS: Pixels, side: int = FINGERPRINT_SIDE) -> NDArray[np.float32]:
    """The mean grey of each of `side` x `side` parts."""
    small = Image.fromarray(image_SS).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def fingerprint(thumbnail_TT: NDArray[np.float32]) -> int:
    """64 bits, nearly the same for an image that was saved again, resized or made a little lighter.

    Each bit is set where one of the 8 x 8 lowest frequencies (without the constant ones) is above their median.
    """
    waves = (_COSINES @ thumbnail_TT @ _COSINES.T).ravel()
    return int.from_bytes(np.packbits(waves > np.sort(waves)[31:33].mean()).tobytes(), "big")


def chest_likeness(thumbnail_TT: NDArray[np.float32]) -> float:
    """Correlation with a mean chest radiograph, [-1, 1]: near 1 for a chest, near -1 for its negative.

    Of the 3,250 radiographs behind the mean none is below 0; 15 % of portraits are below -0.3, so it is meaningful only
    for images known to be chests.
    """
    return _correlation(_CELLS @ thumbnail_TT @ _CELLS.T, _CHEST)


def alike(one_SS: Pixels, other_SS: Pixels) -> bool:
    """Whether two images are the same picture: their thumbnails correlate above ALIKE."""
    return _correlation(thumbnail(one_SS, THUMBNAIL_SIDE), thumbnail(other_SS, THUMBNAIL_SIDE)) > ALIKE


def close_pairs(prints_N: NDArray[np.uint64], bits: int) -> Iterator[tuple[int, int]]:
    """Positions (i, j), i < j, of all fingerprints that differ in at most `bits` bits; each pair once, in no order.

    Two that differ in at most b of 64 bits agree in at least one of b + 1 bands, so only those that do are compared.
    """
    cuts = np.linspace(0, 64, bits + 2).astype(int)
    bands = [(int(low), (1 << int(high - low)) - 1) for low, high in itertools.pairwise(cuts)]
    keys_BN = [(prints_N >> np.uint64(shift)) & np.uint64(mask) for shift, mask in bands]
    for band, keys_N in enumerate(keys_BN):
        order = np.argsort(keys_N, kind="stable")
        edges = np.concatenate([[0], np.flatnonzero(np.diff(keys_N[order])) + 1, [len(order)]])
        for start in np.flatnonzero(np.diff(edges) > 1):
            for i, j in _within(order[edges[start] : edges[start + 1]], prints_N, bits):
                if all(keys_BN[earlier][i] != keys_BN[earlier][j] for earlier in range(band)):
                    yield (i, j) if i < j else (j, i)


def _within(bucket: NDArray[np.int64], prints_N: NDArray[np.uint64], bits: int) -> Iterator[tuple[int, int]]:
    for start in range(0, len(bucket), BLOCK):
        rows = bucket[start : start + BLOCK]
        for other in range(start, len(bucket), BLOCK):
            columns = bucket[other : other + BLOCK]
            apart = np.bitwise_count(prints_N[rows][:, None] ^ prints_N[columns][None])
            close = apart <= bits
            if other == start:
                close = np.triu(close, 1)
            for i, j in np.argwhere(close):
                yield int(rows[i]), int(columns[j])


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    one, other = (one - one.mean()).ravel(), (other - other.mean()).ravel()
    size = float((one @ one) * (other @ other)) ** 0.5
    return float(one @ other) / size if size > 0 else 0.0
