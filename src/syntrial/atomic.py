"""Nothing half-written is ever taken for whole: write beside the final name, then rename, which the file system does at once."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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
    path = Path(path)
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def write_json(path: str | Path, content: Any) -> None:
    """JSON with sorted keys, so that equal content is equal bytes; refuses NaN and infinity, which JSON does not have."""
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
