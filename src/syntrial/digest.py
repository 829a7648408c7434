"""Verb: URIs -> digests of the data there. It runs in every run of the graph, so that changed data are detected and the
cache serves no outdated results.
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
    """A fingerprint of the data at each URI: equal data, equal digest. 64 hexadecimal digits; "" for an empty URI.

    It covers everything that `ingest` reads: for a manifest also the files that it names, and the hash of the salt in
    SYNTRIAL_SALT, if set, because patients' ids are hashed with it. System files such as .DS_Store are not included.

    If one of the URIs is in an object store, a dash and the token of the store in SYNTRIAL_CHECKPOINT_URI follow each
    digest, also that of an empty URI, because the results for it are kept in that store too.

    Raises:
        DataError: there are no data, or they cannot be read.
        StorageError: the object store cannot be reached or refuses the request.
    """
    locations = [Location.given(uri) for uri in uris]
    token = _token(locations)
    return tuple(f"{_now(location)}{token}" for location in locations)


def refuse_changed(uri: str | Path, before: str) -> None:
    """Refuses data whose digest is no longer `before`: the cache would store the results under the old digest.

    Raises:
        DataError: the data have changed, or no longer exist.
        StorageError: the object store cannot be reached or refuses the request.
    """
    if _now(Location.given(uri)) != before.partition("-")[0]:
        raise DataError(f"{uri} has changed since this run began; start again when nothing writes to it")


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
