"""Duplicates: of equal or nearly equal images one is used, or none, and their groups are joined."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from syntrial.imageset import ImageSet
from syntrial.reading.ledger import Record
from syntrial.reading.likeness import alike, close_pairs, fingerprint, thumbnail
from syntrial.reading.spool import Spool

NEGATIVE = -0.3  # correlation with a chest below which an image is taken as a negative; see likeness.chest_likeness
CHESTS = 0.5  # median of its absolute value from which on a set is taken as chest radiographs; portraits have 0.34
PARTS = ("test", "val", "train")  # a group in several parts is assigned to the first of them
# Differing bits up to which images of two sets are compared. Of 491 radiographs saved again (smaller, lighter, as JPEG)
# all are within 6, 90 to 100 % within 2; of children and adults no two are within 7.
ACROSS_BITS = 6


def settle(records: list[Record], squares: Spool, near_bits: int) -> None:
    """Decides, in place, what depends on all images: duplicates, label conflicts, negatives, and the groups.

    Args:
        records: in their final order; of equal images the first is used, one of a given test part before others.
        squares: the images, by the records' places.
        near_bits: differing bits of the fingerprints up to which two images are compared.
    """
    groups = _Groups(records)
    _same_pixels(records, groups)
    _negatives([record for record in records if record.used])
    _nearly_same([record for record in records if record.used], squares, near_bits, groups)
    for record in records:
        record.group = groups.of(record.group)
    _one_part_a_group(records)


def shared_pictures(one: ImageSet, other: ImageSet) -> dict[int, int]:
    """Pictures that two sets of equal side share, exactly or nearly: position in `other` -> position in `one`."""
    prints = [fingerprint(thumbnail(image)) for images in (one, other) for shard in images.shards for image in shard]
    here = len(one.rows)
    found: dict[int, int] = {}
    for i, j in sorted(close_pairs(np.array(prints, np.uint64), ACROSS_BITS)):
        if i < here <= j and alike(one.pixels([i])[0], other.pixels([j - here])[0]):
            found.setdefault(j - here, i)
    return found


class _Groups:
    """Groups that were joined, named by the first of them."""

    def __init__(self, records: list[Record]) -> None:
        self._first = {record.group: i for i, record in reversed(list(enumerate(records)))}
        self._joined: dict[str, str] = {}

    def of(self, group: str) -> str:
        while group in self._joined:
            group = self._joined[group]
        return group

    def join(self, one: str, other: str) -> None:
        first, later = sorted((self.of(one), self.of(other)), key=self._first.__getitem__)
        if first != later:
            self._joined[later] = first


def _same_pixels(records: list[Record], groups: _Groups) -> None:
    by_pixels: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.used:
            by_pixels[record.sha256].append(record)
    for same in by_pixels.values():
        if len({record.label for record in same}) > 1:
            _hold_conflict(same)
        elif len(same) > 1:
            kept = min(same, key=lambda record: record.split != "test")
            for record in same:
                groups.join(kept.group, record.group)
                if record is not kept:
                    record.hold("reject", "duplicate", f"the same pixels as {kept.file}")


def _hold_conflict(same: list[Record]) -> None:
    for record in same:
        other = next(other for other in same if other.label != record.label)
        record.hold(
            "warn",
            "label conflict",
            f"the same pixels are filed under {other.label} in {other.file}; a person has to decide",
        )


def _negatives(used: list[Record]) -> None:
    if not used or np.median([abs(record.chest) for record in used]) < CHESTS:
        return
    for record in used:
        if record.chest < NEGATIVE:
            record.warn("negative", "dark and light look exchanged, as in the negative of a chest radiograph")


def _nearly_same(used: list[Record], squares: Spool, near_bits: int, groups: _Groups) -> None:
    prints = np.array([record.fingerprint for record in used], np.uint64)
    for i, j in sorted(close_pairs(prints, near_bits)):
        first, later = used[i], used[j]
        if not alike(squares[first.place], squares[later.place]):
            continue
        groups.join(first.group, later.group)
        if first.label != later.label:
            later.warn("near label conflict", f"nearly the same picture is filed under {first.label} in {first.file}")
        elif not later.reason.startswith("near "):
            later.warn("near duplicate", f"nearly the same picture as {first.file}; both are in one group")


def _one_part_a_group(records: list[Record]) -> None:
    """Puts each group in one given part: records without a part follow, and those that conflict are held back."""
    parts: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.used:
            parts[record.group].add(record.split)
    for record in records:
        if not record.used or len(parts[record.group]) == 1:
            continue
        home = next(part for part in PARTS if part in parts[record.group])
        if record.split == "" and home != "test":
            record.split = home
        elif record.split != home:
            record.hold(
                "warn",
                "two parts",
                f"its group, {record.group}, is also in the part {home}, which must not be trained on",
            )
