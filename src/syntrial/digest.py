"""Verb: where data lie -> their digest now. The graph asks anew in each run, so that new images are noticed and the
cache serves no old ones.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from syntrial.errors import DataError
from syntrial.reading.layouts import is_manifest, listed, system_file
from syntrial.store import transfer
from syntrial.store.uris import Location


def digest(*uris: str | Path) -> tuple[str, ...]:
    """A fingerprint of each URI, 64 hexadecimal digits: equal as long as nothing changes that `ingest` reads; "" for an
    empty URI.

    Of a manifest all files that it names count as well. So does the salt in SYNTRIAL_SALT, which patients' numbers are
    hashed with: its hash only, and nothing where there is none. What systems leave behind, such as .DS_Store, does not.
    Where one of the URIs is in an object store, the token of the store in SYNTRIAL_CHECKPOINT_URI follows after a dash,
    for empty URIs as well: what was made of nothing lies in that store too.

    Raises:
        DataError: nothing is there, or it cannot be read.
        StorageError: the object store is gone or refuses.
    """
    locations = [Location.given(uri) for uri in uris]
    token = _token(locations)
    return tuple(f"{_now(location)}{token}" for location in locations)


def refuse_changed(uri: str | Path, before: str) -> None:
    """Refuses data that have changed since `before`, their digest: the cache would file them under what they were.

    Raises:
        DataError: the data are other ones now, or no longer there.
        StorageError: the object store is gone or refuses.
    """
    if _now(Location.given(uri)) != before.partition("-")[0]:
        raise DataError(f"{uri} has changed since this run looked at it; start again when nothing is added any more")


def _now(location: Location) -> str:
    return _joined(_content(location), *filter(None, [_salt()])) if location else ""


def _content(location: Location) -> str:
    path = location.path
    if location.is_remote or not is_manifest(path):
        return transfer.digest(location, system_file)
    files = [(candidate.file.name, path.parent / candidate.file.at) for candidate in listed(path)]
    return transfer.digest_of([("", path), *files])


def _salt() -> str:
    salt = os.environ.get("SYNTRIAL_SALT", "")
    return hashlib.sha256(b"salt" + os.fsencode(salt)).hexdigest() if salt else ""


def _token(locations: list[Location]) -> str:
    if not any(location.is_remote for location in locations):
        return ""
    checkpoints = Location.given(os.environ.get("SYNTRIAL_CHECKPOINT_URI", ""))
    if not checkpoints.is_remote:
        return ""
    from syntrial.store import token

    found = token.read(checkpoints)
    return f"-{found}" if found else ""


def _joined(content: str, *more: str) -> str:
    return hashlib.sha256(" ".join((content, *more)).encode()).hexdigest() if more else content
