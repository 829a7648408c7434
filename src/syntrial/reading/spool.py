"""Keeps squares on disk until it is known which are used; they are read one at a time, so memory stays bounded."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from syntrial.imageset import Pixels


class Spool:
    """Images of `side` x `side` px in one file, by place: 0 is the first that was added."""

    def __init__(self, path: Path, side: int) -> None:
        self._file, self._side, self._count = open(path, "w+b"), side, 0  # noqa: SIM115, closed in __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk was already reported when writing
            self._file.close()

    def add(self, image_SS: Pixels) -> int:
        """Appends an image and returns its place."""
        self._file.write(image_SS.tobytes())
        self._count += 1
        return self._count - 1

    def __getitem__(self, place: int) -> Pixels:
        size = self._side * self._side
        self._file.flush()  # what is read below bypasses the file's own buffer
        content = os.pread(self._file.fileno(), size, place * size)
        return np.frombuffer(content, np.uint8).reshape(self._side, self._side)
