"""A folder, a zip and a tar as one thing: files by name that can be opened.

No name in an archive ever reaches the file system: a zip is read where it lies, by any number of processes; a tar,
which can only be read from its start, is unpacked once, into files named by number.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from syntrial.errors import DataError

CHUNK = 2**20  # bytes
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
TAR_OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
)  # what damaged archives raise


@dataclass(frozen=True)
class Limits:
    """Limits on what an archive may claim or hold; an archive beyond them is refused."""

    files: int = 2_000_000
    total_bytes: int = 2**38  # 256 GiB, five times the largest public set of chest X-rays
    ratio: int = 100  # unpacked / packed; images are compressed already, and deflate reaches at most 1,032
    small_bytes: int = 2**26  # below this size any ratio is accepted


@dataclass(frozen=True, slots=True)
class File:
    """One file. `name` is for people, with / between folders; `at` is its key for `FileSource.open`."""

    name: str
    at: str
    size: int  # bytes; -1 where it is missing or no ordinary file


@dataclass(frozen=True)
class FileSource:
    """A folder or zip that holds files. Small, so that it can be sent to another process."""

    path: Path
    zipped: bool = False

    def open(self, at: str) -> BinaryIO:
        """Raises FileNotFoundError, or what zipfile raises for a damaged member."""
        if not self.zipped:
            return open(self.path / at, "rb")
        archive = _opened(self.path, os.stat(self.path).st_mtime_ns, os.getpid())
        return io.BytesIO(archive.read(archive.infolist()[int(at)]))


def stored(
    source: Path, scratch: Path, limits: Limits | None = None, unpacks: Callable[[str], bool] = lambda name: True
) -> tuple[FileSource, list[File]]:
    """The files in a folder or archive, in the order of their names.

    Args:
        source: a folder, a .zip, or a .tar, plain or packed with gzip, bzip2 or xz; recognised by its content.
        scratch: an existing folder with room for an unpacked tar.
        unpacks: by name, whether a file of a tar can be opened afterwards; the others take no room.

    Raises:
        DataError: no such source, no archive, a damaged or encrypted one, one that reaches outside itself (by absolute
            names, "..", links or devices), or one beyond the limits.
    """
    limits = limits or Limits()
    if source.is_dir():
        origin, files = FileSource(source), list(_walk(source))
    elif not source.is_file():
        raise DataError(f"there is no folder or file {source}")
    else:
        try:
            origin, files = _archive(source, scratch, limits, unpacks)
        except DAMAGED as error:
            if getattr(error, "errno", None):  # a fault of the disk, not of the archive
                raise
            raise DataError(f"{source.name} is damaged or incomplete: {error}; download or pack it again") from None
    return origin, sorted(files, key=lambda file: file.name)


def is_archive(source: Path) -> bool:
    """Whether the content starts like a zip, a tar, or a compressed tar."""
    with open(source, "rb") as file:
        start = file.read(512)
    return start.startswith((b"PK", *TAR_OPENERS)) or start[257:262] == b"ustar"


def printable(name: str) -> str:
    """A name that can be written as UTF-8 on one line; other characters are shown as \\udcXX or \\xXX."""
    encoded = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", lambda one: f"\\x{ord(one[0]):02x}", encoded)


def _walk(root: Path) -> Iterator[File]:
    """All files below a folder. Links are followed, but no folder is entered twice."""
    entered = set()
    for folder, inside, names in os.walk(root, followlinks=True):
        here = os.path.realpath(folder)
        if here in entered:
            inside.clear()
            continue
        entered.add(here)
        for name in names:
            path = os.path.join(folder, name)
            at = os.path.relpath(path, root)
            yield File(printable(at.replace(os.sep, "/")), at, size_of(path))


def size_of(path: str | Path) -> int:
    """Bytes; -1 for a missing file and for one that is not ordinary (reading a pipe would block)."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # a name with a NUL names nothing
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _archive(
    source: Path, scratch: Path, limits: Limits, unpacks: Callable[[str], bool]
) -> tuple[FileSource, list[File]]:
    if not is_archive(source):
        raise DataError(
            f"{source.name} is neither a folder nor an archive (.zip, or .tar, packed with gzip, bzip2 or xz or not)"
        )
    with open(source, "rb") as file:
        start = file.read(6)
    if start.startswith(b"PK"):
        return FileSource(source, zipped=True), _zip_files(source, limits)
    opener = next((opener for magic, opener in TAR_OPENERS.items() if start.startswith(magic)), open)
    folder = scratch / "unpacked"
    folder.mkdir()
    with opener(source, "rb") as stream:
        return FileSource(folder), list(_untar(_Forward(stream, source, limits), source.name, folder, limits, unpacks))


# A forked process must not share an open file with its parent: both would move the same file position.
@lru_cache(maxsize=2)
def _opened(path: Path, changed_ns: int, process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _zip_files(source: Path, limits: Limits) -> list[File]:
    with zipfile.ZipFile(source) as archive:
        members = archive.infolist()
    files = [
        File(_zip_name(member, source.name), str(i), member.file_size)
        for i, member in enumerate(members)
        if not member.is_dir()
    ]
    if len(files) > limits.files:
        raise DataError(f"{source.name} holds more than {limits.files} files, the most that is read from one archive")
    if sum(file.size for file in files) > _allowed_bytes(limits, source):
        raise _too_large(source.name, _allowed_bytes(limits, source))
    return files


def _zip_name(member: zipfile.ZipInfo, archive: str) -> str:
    name = member.filename
    if not member.flag_bits & 0x800:  # not marked as UTF-8; some systems write it without the mark
        with contextlib.suppress(UnicodeError):  # otherwise the name is cp437, as it was read
            name = name.encode("cp437").decode("utf-8")
    if member.flag_bits & 0x1:
        raise DataError(f"{archive} is encrypted ({printable(name)}); unpack it with its password and give the folder")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _refuse(archive, name, "holds a link")
    if member.compress_type not in ZIP_METHODS:
        raise _refuse(archive, name, f"is packed by a method ({member.compress_type}) that is not read")
    return _inside(name.replace("\\", "/"), archive)


def _inside(name: str, archive: str) -> str:
    """The printable name. Raises DataError for one that points outside the archive."""
    if name.startswith("/") or re.match(r"[A-Za-z]:/", name) or ".." in name.split("/"):
        raise _refuse(archive, name, "holds a name that points outside the archive")
    return printable(name.removeprefix("./"))


def _allowed_bytes(limits: Limits, source: Path) -> int:
    return min(limits.total_bytes, max(limits.small_bytes, limits.ratio * source.stat().st_size))


def _refuse(archive: str, name: str, why: str) -> DataError:
    return DataError(f"{archive} {why} ({printable(name)}); unpack it and give the folder")


def _untar(
    stream: _Forward, archive: str, folder: Path, limits: Limits, unpacks: Callable[[str], bool]
) -> Iterator[File]:
    with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
        count = 0
        while (member := tar.next()) is not None:
            tar.members = []  # which otherwise grows with every member
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise _refuse(archive, member.name, "holds a link, a device or a file with holes")
            name, count = _inside(member.name, archive), count + 1
            if count > limits.files:
                raise DataError(
                    f"{archive} holds more than {limits.files} files, the most that is read from one archive"
                )
            at = f"{count:07d}"
            if unpacks(name):
                with open(folder / at, "wb") as file:
                    shutil.copyfileobj(tar.extractfile(member), file, CHUNK)
            yield File(name, at, member.size)


class _Forward:
    """A forward-only stream for tarfile, which stops beyond the limits."""

    def __init__(self, stream: BinaryIO, source: Path, limits: Limits) -> None:
        self._stream, self._name, self._at = stream, source.name, 0
        self._allowed = _allowed_bytes(limits, source)

    def tell(self) -> int:
        return self._at

    def seek(self, to: int) -> int:
        while self._at < to and self.read(min(CHUNK, to - self._at)):
            pass
        return self._at

    def read(self, size: int) -> bytes:
        if size > 16 * CHUNK:  # files are copied in smaller pieces, so this is a header made to exhaust memory
            raise DataError(f"{self._name} has a header of {size:,} bytes; such an archive is not opened")
        content = self._stream.read(size)
        self._at += len(content)
        if self._at > self._allowed:
            raise _too_large(self._name, self._allowed)
        return content


def _too_large(archive: str, allowed_bytes: int) -> DataError:
    return DataError(
        f"{archive} would unpack to more than {allowed_bytes} bytes, too many for its size; "
        "if that is right, unpack it and give the folder"
    )
