"""Verb: where data lie -> what they are now. The graph asks anew in each run, so that new images are noticed and the
cache serves no old ones.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from syntrial.errors import DataError
from syntrial.reading.layouts import is_manifest, listed, system_file
from syntrial.store import transfer
from syntrial.store.uris import place_of


def digest(*uris: str | Path) -> tuple[str, ...]:
    """Of each URI 64 hexadecimal digits, the same as long as nothing changes that `ingest` reads; "" for an empty one.

    Of a manifest all files that it names count as well. So does the salt in SYNTRIAL_SALT, which patients' numbers are
    hashed with: its hash only, and nothing where there is none. What systems leave behind, such as .DS_Store, does not.
    Where one of the URIs is in an object store, the generation of the store in SYNTRIAL_CHECKPOINT_URI follows behind a
    dash, of empty URIs as well: what was made of nothing lies in that store too.

    Raises:
        DataError: nothing is there, or it cannot be read.
        StorageError: the object store is gone or refuses.
    """
    beside = _generation(uris)
    return tuple(f"{_now(uri)}{beside}" for uri in uris)


def refuse_changed(uri: str | Path, before: str) -> None:
    """Data that are being added to would be kept as what they were `before`, a digest, and would differ within a run.

    Raises:
        DataError: the data are other ones now, or no longer there.
        StorageError: the object store is gone or refuses.
    """
    if _now(uri) != before.partition("-")[0]:
        raise DataError(f"{uri} has changed since this run looked at it; start again when nothing is added any more")


def _now(uri: str | Path) -> str:
    return _joined(_content(uri), *filter(None, [_salt()])) if str(uri) else ""


def _content(uri: str | Path) -> str:
    path = None if transfer.is_remote(uri) else Path(place_of(uri).key)
    if path is None or not is_manifest(path):
        return transfer.digest(uri, system_file)
    files = [(candidate.file.name, path.parent / candidate.file.at) for candidate in listed(path)]
    return transfer.digest_of([("", path), *files])


def _salt() -> str:
    salt = os.environ.get("SYNTRIAL_SALT", "")
    return hashlib.sha256(b"salt" + os.fsencode(salt)).hexdigest() if salt else ""


def _generation(uris: tuple[str | Path, ...]) -> str:
    store = os.environ.get("SYNTRIAL_CHECKPOINT_URI", "")
    is_asked = transfer.is_remote(store or ".") and any(transfer.is_remote(uri) for uri in uris if str(uri))
    if not is_asked:
        return ""
    from syntrial.store.token import generation

    word = generation(store)
    return f"-{word}" if word else ""


def _joined(content: str, *beside: str) -> str:
    return hashlib.sha256(" ".join((content, *beside)).encode()).hexdigest() if beside else content
