"""Nothing half-written is ever taken for whole: write beside the final name, then rename, which the file system does
at once.
"""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

DRAFT = ".part-"

log = logging.getLogger(__name__)


@contextlib.contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """A folder to fill that becomes `out` when the block ends well and disappears when it does not.

    What stood at `out` before is replaced whole.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    draft.chmod(0o755)
    try:
        yield draft
        for path in draft.rglob("*"):
            if path.is_file():
                _flush(path)
        if out.exists():
            shutil.rmtree(out)
        os.replace(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


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
