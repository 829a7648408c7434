"""Counts as English writes them."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: "1 image", "2 images", "2,680 images".

    Args:
        noun: singular.
        plural: where it is not the noun with an s, such as "classes".
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
