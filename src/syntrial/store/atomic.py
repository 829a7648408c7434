"""Atomic writing: files and folders are written under another name in the same folder, then renamed."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from syntrial.store.uris import StorageError

DRAFT = ".part-"
FOLDER_DRAFT = re.compile(r"[.].+[.][a-z0-9_]{8}")  # as tempfile names them
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

log = logging.getLogger(__name__)


@contextlib.contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """Yields a draft folder. When the block ends it becomes `out`; after an error or SIGTERM it is deleted.

    An existing `out` is replaced as a whole; if it is a link, its target is replaced. After the block, the new folder
    survives a power cut.

    Raises:
        StorageError: no space is left.
    """
    out = Path(os.path.realpath(out))
    with full_reported(out), _ended_cleanly():
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        draft.chmod(0o755)
        try:
            yield draft
            _flush_all(draft)
            if out.exists():
                shutil.rmtree(out)
            os.replace(draft, out)
            _flush_folder(out.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def sweep(folder: str | Path) -> None:
    """Removes the drafts of killed processes in a folder and below. No process may be writing there."""
    for above, inside, names in os.walk(folder):
        for name in filter(FOLDER_DRAFT.fullmatch, inside):
            shutil.rmtree(Path(above, name), ignore_errors=True)
        for name in names:
            if name.startswith(DRAFT):
                Path(above, name).unlink(missing_ok=True)


@contextlib.contextmanager
def full_reported(place: str | Path) -> Iterator[None]:
    """Turns the error of a full disk or quota into one sentence that names `place`. Raises StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageError(f"{place} has no space left ({error.strerror}); free some and start again") from None


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file atomically: it has either its old content or all of `content`."""
    with new_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def new_file(path: str | Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Yields a draft file. When the block ends it becomes `path`; after an error it is deleted.

    Drafts are in the same folder; their names are DRAFT and a suffix that is unique per writer. A durable file survives
    a power cut after the block.
    """
    path = Path(path)
    handle, draft = tempfile.mkstemp(prefix=DRAFT, dir=path.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            if durable:
                os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
    if durable:
        _flush_folder(path.parent)


@contextlib.contextmanager
def locked(path: str | Path, waiting: str) -> Iterator[None]:
    """Allows one process of this machine at a time in the block; others log `waiting` and wait. A lock is released when
    its process ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.warning(waiting)
                fcntl.flock(file, fcntl.LOCK_EX)
            # The previous owner may have deleted the file, and a third process may have locked a new one.
            if _is_at(file, path):
                yield
                return


def write_json(path: str | Path, content: Any) -> None:
    """Writes JSON with sorted keys, so that equal content gives equal bytes. Refuses NaN and infinity, which JSON
    lacks.
    """
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Makes a hard link or, where the file system has none, a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def copy(source: str | Path, target: str | Path) -> None:
    """Copies a file atomically."""
    with open(source, "rb") as content, new_file(target) as file:
        shutil.copyfileobj(content, file)


@contextlib.contextmanager
def _ended_cleanly() -> Iterator[None]:
    """Makes SIGTERM end the block like an error, so that drafts are removed, and then the process."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield  # only the main thread can set handlers, and an existing handler is kept
        return
    process = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            sys.exit(128 + number)
        os._exit(128 + number)  # a child that was forked in the block has nothing to remove

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _flush_all(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        (_flush_folder if path.is_dir() else _flush)(path)


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
