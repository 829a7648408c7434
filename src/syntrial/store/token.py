"""The generation of an object store's results: a word in the bucket of the checkpoints that is a part of all data.

Kubeflow's cache never looks whether what it promises is still there. A store that is made anew begins a generation, so
nothing is promised that lay in the one before; a person begins one to have every box run again.
"""

from __future__ import annotations

import secrets

from syntrial.store.objects import ObjectStore
from syntrial.store.uris import place_of

NAME = "generation"


def generation(checkpoint_uri: str) -> str:
    """Of the store that holds the checkpoints; "" where none has begun. Raises StorageError without an answer."""
    try:
        return _store(checkpoint_uri).read_bytes(NAME).decode()
    except FileNotFoundError:
        return ""


def begin(checkpoint_uri: str) -> str:
    """A new one, which is returned. Raises StorageError where the store is gone or refuses."""
    word = secrets.token_hex(8)
    _store(checkpoint_uri).write_bytes(NAME, word.encode())
    return word


def _store(checkpoint_uri: str) -> ObjectStore:
    return ObjectStore(place_of(checkpoint_uri)._replace(key=""))
