"""Where data lie -> what they are now."""

from typing import NamedTuple

from components._base import component


@component("digest")
def digest(data: str, faces: str, external: str) -> NamedTuple(
    "Digests", [("data", str), ("faces", str), ("external", str)]
):
    """Of each URI, before anything is read."""
    from syntrial.digest import digest

    return digest(data, faces, external)
