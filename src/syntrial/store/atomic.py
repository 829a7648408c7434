"""Nothing half-written is ever taken for whole: write beside the final name, then rename, which the file system does
at once.
"""

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
    """A folder to fill that becomes `out` when the block ends well and disappears when it does not, or at SIGTERM.

    What stood at `out` before is replaced whole; of a link, what it leads to. The new one survives a power cut from the
    moment the block has ended.

    Raises:
        StorageError: there is no room.
    """
    out = Path(os.path.realpath(out))
    with told_when_full(out), _ended_cleanly():
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
    """Removes the drafts that killed processes left anywhere below. Only for whoever knows that nobody writes there."""
    for above, inside, names in os.walk(folder):
        for name in filter(FOLDER_DRAFT.fullmatch, inside):
            shutil.rmtree(Path(above, name), ignore_errors=True)
        for name in names:
            if name.startswith(DRAFT):
                Path(above, name).unlink(missing_ok=True)


@contextlib.contextmanager
def told_when_full(place: str | Path) -> Iterator[None]:
    """A disk or a quota without room becomes one sentence about the place. Raises StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageError(f"{place} has no room ({error.strerror}); make room and start again") from None


def write_bytes(path: str | Path, content: bytes) -> None:
    """The file holds all of `content` or what it held before."""
    with new_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def new_file(path: str | Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A file to fill that becomes `path` when the block ends well and disappears when it does not.

    Drafts lie beside it and are named DRAFT and something of each writer's own. A durable file survives a power cut
    from the moment the block has ended.
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
    """One process of this machine at a time is inside; another says `waiting` and waits. One that dies lets go."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.warning(waiting)
                fcntl.flock(file, fcntl.LOCK_EX)
            # Who held it may have deleted the file, and then a third process has its lock on a new one.
            if _is_at(file, path):
                yield
                return


def write_json(path: str | Path, content: Any) -> None:
    """JSON with sorted keys, so that equal content is equal bytes; refuses NaN and infinity, which JSON does not
    have.
    """
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """The same bytes under a second name: without copying where the file system can, by copying where it cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def copy(source: str | Path, target: str | Path) -> None:
    """The same bytes in a file of their own, which appears when it is whole."""
    with open(source, "rb") as content, new_file(target) as file:
        shutil.copyfileobj(content, file)


@contextlib.contextmanager
def _ended_cleanly() -> Iterator[None]:
    """SIGTERM ends the block as an error does, so that what it would leave is removed, and then the process."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield  # only the main thread may have handlers, and somebody else's stays
        return
    process = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            sys.exit(128 + number)
        os._exit(128 + number)  # a child that was forked meanwhile has nothing to remove

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
