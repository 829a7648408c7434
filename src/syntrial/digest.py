"""Verb: where data lie -> what they are now. The graph asks anew in each run, so that new images are noticed and the
cache serves no old ones.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from syntrial import storage
from syntrial.places import place_of
from syntrial.reading.layouts import is_manifest, listed


def digest(*uris: str | Path) -> tuple[str, ...]:
    """Of each URI 64 hexadecimal digits, the same as long as nothing changes that `ingest` reads; "" for an empty one.

    Of a manifest all files that it names count as well. So does the salt in SYNTRIAL_SALT, which patients' numbers are
    hashed with: its hash only, and nothing where there is none.

    Raises:
        DataError: nothing is there, or it cannot be read.
        StorageError: the object store is gone or refuses.
    """
    return tuple(_salted(_content(uri)) if str(uri) else "" for uri in uris)


def _content(uri: str | Path) -> str:
    path = None if storage.is_remote(uri) else Path(place_of(uri).key)
    if path is None or not is_manifest(path):
        return storage.digest(uri)
    files = [(candidate.file.name, path.parent / candidate.file.at) for candidate in listed(path)]
    return storage.digest_of([("", path), *files])


def _salted(content: str) -> str:
    salt = os.environ.get("SYNTRIAL_SALT", "")
    if not salt:
        return content
    hashed = hashlib.sha256(b"salt" + os.fsencode(salt)).hexdigest()
    return hashlib.sha256(f"{content} {hashed}".encode()).hexdigest()
