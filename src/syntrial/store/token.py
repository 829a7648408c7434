"""A token in every data digest: a new one invalidates the cache.

Kubeflow's cache never checks that what it promises is still there. So the bucket of the checkpoints holds a token that
goes into the digest of all data in object stores. A store that is made anew gets a new one, so that nothing is promised
that lay in the store before; `submit --fresh` writes a new one to have every box run again.
"""

from __future__ import annotations

import secrets

from syntrial.store.objects import ObjectStore
from syntrial.store.uris import Location

NAME = "generation"  # of the object, as ever: under another name each store would count as new, and its cache as empty


def read(checkpoints: Location) -> str:
    """The token in the bucket of the checkpoints; "" where there is none. Raises StorageError without an answer."""
    try:
        return _store(checkpoints).read_bytes(NAME).decode()
    except FileNotFoundError:
        return ""


def renew(checkpoints: Location) -> str:
    """Writes a new token and returns it. Raises StorageError where the store is gone or refuses."""
    token = secrets.token_hex(8)
    _store(checkpoints).write_bytes(NAME, token.encode())
    return token


def _store(checkpoints: Location) -> ObjectStore:
    return ObjectStore(checkpoints._replace(key=""))
