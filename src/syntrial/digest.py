"""Verb: where data lie -> what they are now. The graph asks anew in each run, so that new images are noticed and the
cache serves no old ones.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from syntrial import storage
from syntrial.generation import generation
from syntrial.places import place_of
from syntrial.reading.layouts import is_manifest, listed


def digest(*uris: str | Path) -> tuple[str, ...]:
    """Of each URI 64 hexadecimal digits, the same as long as nothing changes that `ingest` reads; "" for an empty one.

    Of a manifest all files that it names count as well. So does the salt in SYNTRIAL_SALT, which patients' numbers are
    hashed with: its hash only, and nothing where there is none. So does, of data in an object store, the generation of
    the store in SYNTRIAL_CHECKPOINT_URI.

    Raises:
        DataError: nothing is there, or it cannot be read.
        StorageError: the object store is gone or refuses.
    """
    beside = [_salt(), _generation(uris)]
    return tuple(_joined(_content(uri), *filter(None, beside)) if str(uri) else "" for uri in uris)


def _content(uri: str | Path) -> str:
    path = None if storage.is_remote(uri) else Path(place_of(uri).key)
    if path is None or not is_manifest(path):
        return storage.digest(uri)
    files = [(candidate.file.name, path.parent / candidate.file.at) for candidate in listed(path)]
    return storage.digest_of([("", path), *files])


def _salt() -> str:
    salt = os.environ.get("SYNTRIAL_SALT", "")
    return hashlib.sha256(b"salt" + os.fsencode(salt)).hexdigest() if salt else ""


def _generation(uris: tuple[str | Path, ...]) -> str:
    store = os.environ.get("SYNTRIAL_CHECKPOINT_URI", "")
    is_asked = storage.is_remote(store or ".") and any(storage.is_remote(uri) for uri in uris if str(uri))
    return generation(store) if is_asked else ""


def _joined(content: str, *beside: str) -> str:
    return hashlib.sha256(" ".join((content, *beside)).encode()).hexdigest() if beside else content
