"""A token in every data digest: a new one invalidates the cache.

Kubeflow's cache never checks whether cached outputs still exist. Therefore the bucket of the checkpoints contains a
token that is part of the digest of all data in object stores. A new store gets a new token, so outputs in a former
store are not used; `submit --fresh` writes a new token so that every box runs again.
"""

from __future__ import annotations

import secrets

from syntrial.store.objects import ObjectStore
from syntrial.store.uris import Location

NAME = "generation"  # of the object; with another name, the cache of every existing store would become invalid


def read(checkpoints: Location) -> str:
    """The token in the bucket of the checkpoints; "" if there is none. Raises StorageError if the store does not
    answer.
    """
    try:
        return _store(checkpoints).read_bytes(NAME).decode()
    except FileNotFoundError:
        return ""


def renew(checkpoints: Location) -> str:
    """Writes a new token and returns it. Raises StorageError if the store cannot be reached or refuses the request."""
    token = secrets.token_hex(8)
    _store(checkpoints).write_bytes(NAME, token.encode())
    return token


def _store(checkpoints: Location) -> ObjectStore:
    return ObjectStore(checkpoints._replace(key=""))
