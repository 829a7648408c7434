"""A box ends when the run that watches it is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

LOCK = "watched.lock"


class Orphaned(SystemExit):
    """The run that started this box is gone; continuing would only block the next run."""


@contextlib.contextmanager
def watching(folder: Path) -> Iterator[None]:
    """While the block runs, boxes that write into `folder` continue; when it is over, they end.

    The sign is a file lock, which the system releases however this process ends. The file is a new one each time, so
    that a box left over from an earlier run does not mistake this process for its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{LOCK}.{os.getpid()}"
    with open(draft, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.replace(draft, folder / LOCK)
        yield


class Lifeline:
    """Detects that the watching process is gone. The parent process is no sign: it is a shell of kfp.local's."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder) / LOCK if folder else None
        self._file: IO[bytes] | None = None

    def is_cut(self) -> bool:
        """Whether a process has watched the folder and no process does any more."""
        if self._file is None:
            if self._path is None or not self._path.exists():
                return False
            self._file = open(self._path, "rb")  # noqa: SIM115  kept open: a later watcher locks another file
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
