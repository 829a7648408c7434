"""Checkpoints: saves and resumes training, atomically, with a mirror in an object store.

The folder `<folder>/<key>/` and, if a checkpoint URI is set, `<uri>/<key>/` contain

    step-000000123-<hash>.pt   a dict of tensors and plain values; <hash> begins the SHA-256 of the file
    LATEST                     JSON, written last: step, file, sha256, bytes, and whether it is the final one

The last LASTING steps are kept. Two writers of the same key cannot harm each other, on one machine or on two:

* A file's name contains the hash of its content, so two writers use the same name only for the same content, and a
  reader detects a damaged file from name and content alone. Files appear atomically: by a rename, or by an S3 PUT.
* The state is a function of key and step (random numbers depend on seed and step), so any complete file of a step is
  valid.
* Only files older than the last LASTING steps of all writers are deleted, and LATEST is not moved back to a lower step.
  If two writers race for LATEST, nothing is lost: readers use the files; LATEST is only for users and for monitoring.

On one machine a second process waits for the first (`owned`), so that no work is done twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import pickle
import re
import shutil
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from syntrial.errors import ConfigError, SyntrialError, TrainingError
from syntrial.store import atomic
from syntrial.store.transfer import FolderStore, Store, open_store
from syntrial.store.uris import Location, StorageError, seconds_of

# torch is imported where it is used, because clearing and pruning do not need it.

LASTING = 2  # steps whose checkpoints are kept
EVERY_S = 60.0  # between two checkpoints: the most that a kill costs, plus one step and the time of saving
MIRROR_PATIENCE_S = 20.0  # for which training waits for an unreachable mirror; once per outage
POINTER = "LATEST"
NAME = re.compile(r"step-(\d{9,})-([0-9a-f]{16})\.pt")

log = logging.getLogger(__name__)


class Saved(NamedTuple):
    """One checkpoint in a store."""

    step: int
    name: str
    store: Store


def key_for(*parts: object) -> str:
    """The key of a piece of work: a hash of its parts, such as settings and the digests of inputs and code. 32
    hexadecimal digits.

    Raises:
        TypeError: a part is not a JSON value.
    """
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Checkpoints:
    """The checkpoints of one piece of work.

    Args:
        key: identifies the work; result of `key_for`.
        folder: folder of all checkpoints; None: SYNTRIAL_CHECKPOINTS, or ~/.cache/syntrial/checkpoints.
        uri: URI of all mirrored checkpoints; "": SYNTRIAL_CHECKPOINT_URI, or no mirror if that is empty too.
        every_s: seconds between two checkpoints; None: SYNTRIAL_CHECKPOINT_EVERY_S, or EVERY_S.

    Raises:
        ConfigError: an invalid key, URI or time.
    """

    def __init__(self, key: str, folder: Path | None = None, uri: str = "", every_s: float | None = None) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", key):
            raise ConfigError(f"{key!r} cannot name checkpoints; use letters, digits, - _ and .")
        root = _folder(folder)
        uri = _uri(uri)
        self.key, self.folder = key, root / key
        self.every_s = seconds_of("SYNTRIAL_CHECKPOINT_EVERY_S", EVERY_S) if every_s is None else every_s
        self._lock = root / f"{key}.lock"
        self._local = FolderStore(self.folder)
        self._mirror = open_store(Location.of(uri).below(key)) if uri else None
        self._patience_s = self._mirror.patience_s if self._mirror else 0.0
        self._is_owned, self._is_mirrored = False, True
        self._step, self._since_s = -1, time.monotonic()

    def due(self, step: int) -> bool:
        """Whether `every_s` have passed since the last checkpoint, and it was of another step."""
        return step != self._step and time.monotonic() - self._since_s >= self.every_s

    def save(self, step: int, state: dict[str, Any], final: bool = False) -> None:
        """Saves the state of a step, locally and in the mirror.

        If the mirror fails, training waits once for MIRROR_PATIENCE_S, and for the final state as long as for data.
        Then a warning is logged, training continues, and the next checkpoint tries again.

        Args:
            step: number of steps made; 0 or more.
            state: tensors, numbers, strings, None, and dicts, lists and tuples of these.

        Raises:
            TrainingError: the folder is full or cannot be written; earlier checkpoints are intact.
            TypeError: the state contains a value that could not be read without unpickling.
            ValueError: a negative step.
        """
        if step < 0:
            raise ValueError(f"step is {step}; it must be 0 or more")
        content = _packed(state)
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"step-{step:09d}-{sha256[:16]}.pt"
        pointer = {"step": step, "file": name, "sha256": sha256, "bytes": len(content), "final": final}
        try:
            _put(self._local, content, pointer)
        except OSError as error:
            raise self._unwritten(error, step, len(content)) from None
        if self._mirror:
            self._send(self._mirror, content, pointer)
        self._step, self._since_s = step, time.monotonic()

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest valid checkpoint, local or mirrored: its step and state, tensors on the CPU; None if there is
        none.

        A damaged checkpoint is deleted with a warning, and the one before is used. If the mirror cannot be reached, the
        newest local one is used.

        Raises:
            StorageError: none can be read, and a store that may have one cannot be reached or refuses the request.
        """
        saved, trouble = self._saved()
        for one in saved:
            try:
                state = _usable(one)
            except FileNotFoundError:  # deleted by another writer, which has newer ones
                continue
            except (SyntrialError, OSError) as error:
                log.warning("%s in %r cannot be read; trying the one before: %s", one.name, one.store, error)
                trouble = trouble or error
                continue
            if state is not None:
                self._step, self._since_s = one.step, time.monotonic()
                return one.step, state
        if trouble:
            raise StorageError(f"a checkpoint cannot be read, and starting without it would repeat its work: {trouble}")
        self._since_s = time.monotonic()
        return None

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Allows one process of this machine at a time to work on this key; others wait, then use its checkpoints.

        Raises:
            ConfigError: the folder cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(
                    atomic.locked(self._lock, f"another process is doing the same work ({self.key}); waiting for it")
                )
                self._drop_drafts()
            except OSError as error:
                raise ConfigError(
                    f"{self.folder.parent} cannot hold checkpoints ({error.strerror}); "
                    "set SYNTRIAL_CHECKPOINTS to a folder that can be written"
                ) from None
            self._is_owned = True
            try:
                yield
            finally:
                self._is_owned = False
                if not self.folder.exists():
                    self._lock.unlink(missing_ok=True)

    def clear(self, mirror: bool = True) -> None:
        """Removes the local checkpoints of this work and, with `mirror`, those in the mirror. Called once its results
        are safe.

        On a cluster, results are safe only after the box has ended and uploaded them. There the mirrored checkpoints
        are left to `prune` or to the lifecycle rules of the bucket.
        """
        with contextlib.nullcontext() if self._is_owned else self.owned():
            _remove(self._local)
            self._drop_drafts()
            with contextlib.suppress(OSError):  # it does not exist, or contains other files
                self.folder.rmdir()
        if self._mirror and mirror:
            try:
                _remove(self._mirror)
            except (OSError, SyntrialError) as error:
                log.warning("checkpoints in %r cannot be removed: %s", self._mirror, error)

    def _send(self, mirror: Store, content: bytes, pointer: dict[str, Any]) -> None:
        patience_s = min(MIRROR_PATIENCE_S, self._patience_s) if self._is_mirrored else 0.0
        mirror.patience_s = self._patience_s if pointer["final"] else patience_s
        try:
            _put(mirror, content, pointer)
        except (OSError, SyntrialError) as error:
            if self._is_mirrored or pointer["final"]:
                log.warning("checkpoints are in %s only, from step %d on: %s", self.folder, pointer["step"], error)
            self._is_mirrored = False
        else:
            if not self._is_mirrored:
                log.warning("checkpoints are mirrored again, from step %d on", pointer["step"])
            self._is_mirrored = True
        finally:
            mirror.patience_s = self._patience_s

    def _saved(self) -> tuple[list[Saved], Exception | None]:
        """All checkpoints, newest first, the local one of a step before the mirrored one; and the last error."""
        saved: list[Saved] = []
        trouble: Exception | None = None
        for store in (self._local, self._mirror):
            try:
                saved += _listed(store) if store else []
            except (SyntrialError, OSError) as error:
                log.warning("checkpoints in %r cannot be listed: %s", store, error)
                trouble = error
        return sorted(saved, key=lambda one: -one.step), trouble

    def _drop_drafts(self) -> None:
        for draft in self.folder.glob(f"{atomic.DRAFT}*"):
            draft.unlink(missing_ok=True)

    def _unwritten(self, error: OSError, step: int, size_bytes: int) -> TrainingError:
        if error.errno not in atomic.FULL:
            return TrainingError(f"the checkpoint of step {step} cannot be written to {self.folder}: {error.strerror}")
        free = shutil.disk_usage(self.folder).free
        return TrainingError(
            f"{self.folder} has no space for the checkpoint of step {step}: it needs {size_bytes:,} bytes, "
            f"and {free:,} are free; free some and start again to continue from the one before"
        )


def prune(older_than_days: float, folder: Path | None = None, uri: str = "") -> list[str]:
    """Removes the checkpoints, local and mirrored, of work that has saved none for a given time. Returns the work's
    keys.

    Args:
        folder, uri: as for Checkpoints.

    Raises:
        StorageError: the mirror cannot be reached or refuses the request.
    """
    root, uri = _folder(folder), _uri(uri)
    before_s = time.time() - older_than_days * 86_400
    gone = _prune(FolderStore(root), before_s)
    for key in gone:
        (root / f"{key}.lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it contains other files
            (root / key).rmdir()
    return sorted(gone | (_prune(open_store(Location.of(uri)), before_s) if uri else set()))


def _prune(store: Store, before_s: float) -> set[str]:
    files: dict[str, list[str]] = {}
    touched_s: dict[str, float] = {}
    for entry in store.entries():
        key, _, name = entry.name.partition("/")
        if _is_ours(name):
            files.setdefault(key, []).append(name)
            touched_s[key] = max(touched_s.get(key, 0.0), entry.modified_s)
    old = {key for key, last_s in touched_s.items() if last_s < before_s}
    for key in old:
        for name in files[key]:
            store.delete(f"{key}/{name}")
    return old


def _put(store: Store, content: bytes, pointer: dict[str, Any]) -> None:
    """Writes content, then the pointer unless it names a later step; deletes all but the last LASTING steps."""
    store.write_bytes(pointer["file"], content)
    saved = _listed(store)
    lasting = sorted({pointer["step"], *(one.step for one in saved)})[-LASTING:]
    if pointer["step"] == lasting[-1]:
        store.write_bytes(POINTER, (json.dumps(pointer, indent=1) + "\n").encode())
    for one in saved:
        if one.step < lasting[0]:
            store.delete(one.name)


def _listed(store: Store) -> list[Saved]:
    matches = (NAME.fullmatch(entry.name) for entry in store.entries())
    return [Saved(int(match[1]), match[0], store) for match in matches if match]


def _remove(store: Store) -> None:
    """Deletes all files, the newest last, so that an interrupted deletion leaves the newest."""
    for one in sorted(_listed(store)):
        store.delete(one.name)
    store.delete(POINTER)


def _is_ours(name: str) -> bool:
    return name == POINTER or NAME.fullmatch(name) is not None or name.startswith(atomic.DRAFT)


def _packed(state: dict[str, Any]) -> bytes:
    import torch

    _refuse_foreign(state, "state")
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def _usable(one: Saved) -> dict[str, Any] | None:
    """The state in a checkpoint. A damaged file, or one that would have to be unpickled, is deleted and gives None."""
    import torch

    content, what = one.store.read_bytes(one.name), "damaged"
    if f"-{hashlib.sha256(content).hexdigest()[:16]}." in one.name:
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            return state
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
            what = "no checkpoint"
    log.warning("%s in %r is %s; deleting it and trying the one before", one.name, one.store, what)
    one.store.delete(one.name)
    return None


def _refuse_foreign(value: Any, where: str) -> None:
    """Raises TypeError that names the first value that `weights_only` would not read. Subclasses are refused too."""
    import torch

    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _refuse_foreign(key, f"a key of {where}")
            _refuse_foreign(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for position, item in enumerate(value):
            _refuse_foreign(item, f"{where}[{position}]")
    elif type(value) not in (torch.Tensor, int, float, bool, str, type(None)):
        raise TypeError(
            f"{where} is a {type(value).__name__}; a checkpoint holds tensors, numbers, strings, dicts, lists, tuples"
        )


def _folder(folder: Path | None) -> Path:
    return Path(folder or os.environ.get("SYNTRIAL_CHECKPOINTS") or "~/.cache/syntrial/checkpoints").expanduser()


def _uri(uri: str) -> str:
    return uri or os.environ.get("SYNTRIAL_CHECKPOINT_URI", "")
