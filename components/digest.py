"""Data -> what they are now. It runs every time, so new images are noticed and the cache does not serve old ones."""

from typing import NamedTuple

from components._base import component


@component("digest")
def digest(data: str, faces: str, external: str) -> NamedTuple(
    "Digests", [("data", str), ("faces", str), ("external", str)]
):
    """Empty for an empty URI."""
    from syntrial.storage import digest

    return (digest(data), digest(faces), digest(external))
