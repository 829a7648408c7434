"""Files -> squares with many processes, in the order given, with a bounded number of images in flight."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from syntrial.config import IngestConfig
from syntrial.errors import ConfigError, DataError
from syntrial.reading.archives import File, FileSource
from syntrial.reading.decode import Taken, strict, take

FEW_BYTES = 2**22  # total size of the files below which starting processes takes longer than the work
BATCH_FILES, BATCH_BYTES = 32, 2**22  # limits of one task

Batch = tuple[FileSource, list[File], int, IngestConfig, str]


def workers() -> int:
    """Processes to use: SYNTRIAL_WORKERS, else the cores this process may use.

    Raises:
        ConfigError: SYNTRIAL_WORKERS is not a whole number from 1.
    """
    wanted = os.environ.get("SYNTRIAL_WORKERS", "")
    if not wanted:
        return len(os.sched_getaffinity(0))
    if not wanted.isdigit() or int(wanted) < 1:
        raise ConfigError(f"SYNTRIAL_WORKERS is {wanted!r}; it needs a whole number from 1")
    return int(wanted)


def take_all(origin: FileSource, files: list[File], side: int, config: IngestConfig, salt: str) -> Iterator[Taken]:
    """The outcome for each file, in the order of the files, for any number of processes.

    Raises:
        DataError: a process was killed, as happens when memory is full.
    """
    size = max(1, min(BATCH_FILES, BATCH_BYTES // (side * side), len(files) // (16 * workers())))
    batches = [(origin, files[start : start + size], side, config, salt) for start in range(0, len(files), size)]
    if workers() == 1 or sum(file.size for file in files) < FEW_BYTES:
        for batch in batches:
            yield from _take_batch(batch)
        return
    with ProcessPoolExecutor(min(workers(), len(batches)), _context(), _prepare) as pool:
        waiting: deque[Future[list[Taken]]] = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(_take_batch, batch))
                if len(waiting) > 2 * workers():
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise DataError(
                "a process that read images was killed, as happens when memory is full; set SYNTRIAL_WORKERS lower"
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def _prepare() -> None:
    # The parent stops its workers; their tracebacks would hide its message.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker whose parent was killed would otherwise wait forever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _take_batch(batch: Batch) -> list[Taken]:
    origin, files, side, config, salt = batch
    with strict(config):
        return [take(origin, file, side, config, salt) for file in files]


def _context() -> multiprocessing.context.BaseContext:
    # A fork starts at once, but is only safe in a process with a single thread.
    alone = len(list(Path("/proc/self/task").iterdir())) == 1
    return multiprocessing.get_context("fork" if alone else "forkserver")
