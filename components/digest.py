"""URIs -> digests of the data there."""

from typing import NamedTuple

from components._base import component


@component("digest")
def digest(data: str, faces: str, external: str) -> NamedTuple(
    "Digests", [("data", str), ("faces", str), ("external", str)]
):
    """The digest of each URI, computed before anything is read."""
    from syntrial.digest import digest

    return digest(data, faces, external)
