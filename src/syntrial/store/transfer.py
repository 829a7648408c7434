"""Transfers data between a Location and a folder, and computes digests of data. uris.py lists the kinds of URIs."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import itertools
import os
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from syntrial.errors import DataError, SyntrialError
from syntrial.store import atomic
from syntrial.store.uris import Entry, Location, StorageError, parts_of

if TYPE_CHECKING:  # imported for remote data only, because it takes 0.4 s
    from syntrial.store.objects import ObjectStore

A = TypeVar("A")
B = TypeVar("B")

WORKERS = 16  # files or objects in transfer at a time


class Store(Protocol):
    """Named contents below one location. Writes are atomic.

    Methods raise FileNotFoundError for a missing name, and StorageError or another OSError if the store cannot be
    reached, is full or refuses the request.
    """

    patience_s: float  # without an answer until a request fails

    def entries(self) -> Iterator[Entry]:
        """All entries, those in subfolders included."""

    def read_bytes(self, name: str) -> bytes:
        """The content of an entry."""

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes a content, atomically replacing an existing one."""

    def put(self, path: Path, name: str) -> None:
        """Writes the content of a file, in chunks."""

    def delete(self, name: str) -> None:
        """Deletes an entry, if it exists."""

    def abandon(self) -> None:
        """Makes requests in other threads end at their next step."""


def open_store(location: Location) -> Store:
    """The store at a location, which need not exist yet. Raises ConfigError if environment variables for access are
    missing.
    """
    return _object_store(location) if location.is_remote else FolderStore(location.path)


def digest(location: Location, is_nothing: Callable[[str], object] = lambda name: False) -> str:
    """A fingerprint, 64 hexadecimal digits: equal data, equal digest. "" for NOWHERE.

    On this machine it covers the names and contents of all files, with links followed. In an object store it covers the
    listing: keys, etags and sizes, so an object stored again in parts of another size counts as changed. A copy of
    local data in an object store has another digest.

    Args:
        is_nothing: name -> True for a file that is left out.

    Raises:
        DataError: there are no data, or they cannot be read.
        StorageError: the object store cannot be reached or refuses the request.
    """
    return _sum(_contents(location, is_nothing)) if location else ""


def digest_of(files: Iterable[tuple[str, Path]]) -> str:
    """The digest of given local files, each with its name. A missing file is part of the digest too.

    Raises:
        DataError: a file cannot be read.
    """
    return _sum(_each(_hashed, files))


def fetch(location: Location, into: Path, arrived: Callable[[Entry], None] | None = None) -> Path:
    """A local path of the data: that of local data, else a download below `into`.

    A prefix becomes a folder, a single object a file, each in a folder named after the hash of its location. WORKERS
    objects are downloaded at a time, each into a draft that is renamed when it is complete. Objects that are complete
    are not downloaded again, and files that the store no longer has are deleted. Memory: objects.CHUNK_BYTES per
    worker, and the objects' names.

    Args:
        arrived: called with each object that is complete.

    Raises:
        DataError: there are no data; an object's name is outside of the folder, or it is damaged or has changed.
        StorageError: the store cannot be reached or refuses the request, or no space is left.
    """
    if not location.is_remote:
        return _existing(location.path)
    home = Path(into) / hashlib.sha256(str(location).encode()).hexdigest()[:12]
    waiting = f"another process is fetching {location}; waiting for it"
    with _in_a_sentence(f"{location} cannot be kept in {home}"), atomic.locked(home / ".lock", waiting):
        return _fetched(location, home, arrived)


def store(path: Path, location: Location) -> None:
    """Writes a file, or the files of a folder, to a location, each atomically; nothing is deleted there.

    A file gets the location's name or, if the location ends in a slash, keeps its own below it; the files of a folder
    keep their names below the location. Objects with the same size and MD5 are not sent again.

    Raises:
        DataError: the path does not exist.
        StorageError: the store cannot be reached, is full or refuses the request.
    """
    path, parent = _existing(Path(path)), location
    items: Iterable[tuple[str, Path]] = _walk(path)
    if not path.is_dir():
        above, slash, name = location.key.rpartition("/")
        parent, items = location._replace(key=above or slash), [(name or path.name, path)]
    target = _object_store(parent) if parent.is_remote else FolderStore(parent.path)
    with _in_a_sentence(f"{path} cannot be stored at {location}"):
        deque(_each(lambda item: target.put(item[1], item[0]), items, target.abandon), maxlen=0)


class FolderStore:
    """A store in a local folder, which is created by the first write."""

    patience_s = 0.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"FolderStore({str(self.folder)!r})"

    def entries(self) -> Iterator[Entry]:
        """All entries, those in subfolders and drafts of other writers included."""
        for name, path in _walk(self.folder) if self.folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # another process may delete while this one lists
                found = path.stat()
                yield Entry(name, found.st_size, "", found.st_mtime)

    def read_bytes(self, name: str) -> bytes:
        """The content of an entry."""
        return self._path(name).read_bytes()

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes a content, atomically replacing an existing one; it then survives a power cut."""
        with atomic.new_file(self._made(name)) as file:
            file.write(content)

    def put(self, path: Path, name: str) -> None:
        """Writes the content of a file, in chunks."""
        with open(path, "rb") as source, atomic.new_file(self._made(name)) as file:
            shutil.copyfileobj(source, file)

    def delete(self, name: str) -> None:
        """Deletes an entry, if it exists."""
        self._path(name).unlink(missing_ok=True)

    def abandon(self) -> None:
        """Has no effect, because no method waits."""

    def _path(self, name: str) -> Path:
        return self.folder.joinpath(*parts_of(name))

    def _made(self, name: str) -> Path:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _object_store(location: Location) -> ObjectStore:
    from syntrial.store.objects import ObjectStore

    return ObjectStore(location)


def _objects(location: Location) -> tuple[ObjectStore, Iterator[Entry], bool]:
    """The store, the objects at a location in it, and whether the location is a single object rather than a prefix."""
    above, _, name = location.key.rpartition("/")
    if name:
        store = _object_store(location._replace(key=above))
        entry = store.find(name)
        if entry:
            return store, iter([entry]), True
    store = _object_store(location)
    entries = store.entries()
    first = next(entries, None)
    if first is None:
        raise DataError(f"{location} names no object, and none below it; list the bucket to see what it holds")
    return store, itertools.chain([first], entries), False


def _contents(location: Location, is_nothing: Callable[[str], object]) -> Iterator[tuple[str, bytes]]:
    """Each name ("" for a single file) with a hash of its content, 32 bytes."""
    if not location.is_remote:
        files = _walk(_existing(location.path))
        yield from _each(_hashed, ((name, path) for name, path in files if not is_nothing(name)))
        return
    _, entries, single = _objects(location)
    for entry in entries:
        name = "" if single else entry.name
        if not is_nothing(name):
            yield name, hashlib.sha256(f"{entry.etag} {entry.size_bytes}".encode()).digest()


def _sum(contents: Iterable[tuple[str, bytes]]) -> str:
    hasher = hashlib.sha256()
    for name, content in contents:
        encoded = os.fsencode(name)
        hasher.update(b"%d:%b%b" % (len(encoded), encoded, content))
    return hasher.hexdigest()


def _hashed(item: tuple[str, Path]) -> tuple[str, bytes]:
    name, path = item
    if not path.is_file():  # a broken link or a socket has a name but no content
        return name, bytes(32)
    try:
        with open(path, "rb") as file:
            return name, hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _fetched(location: Location, home: Path, arrived: Callable[[Entry], None] | None) -> Path:
    store, entries, single = _objects(location)
    target = home / (location.key.strip("/").rpartition("/")[2] or location.bucket)

    def take(entry: Entry) -> Entry:
        path = target if single else target.joinpath(*parts_of(entry.name))
        if not _is_whole(path, entry):
            store.get(entry, path)
        return entry

    paths = set()
    with contextlib.closing(_each(take, entries, store.abandon)) as taken:
        for entry in taken:
            paths.add(str(target if single else target / entry.name))
            if arrived:
                arrived(entry)
    _drop_strays(home, paths | {str(home / ".lock")})
    return target


def _is_whole(path: Path, entry: Entry) -> bool:
    from syntrial.store.objects import is_md5, md5_of

    if not path.is_file() or path.stat().st_size != entry.size_bytes:
        return False
    if is_md5(entry.etag):
        return md5_of(path) == entry.etag
    return abs(path.stat().st_mtime - entry.modified_s) < 0.001  # file systems and servers round times differently


def _drop_strays(home: Path, wanted: set[str]) -> None:
    """Deletes files that the store no longer has, and drafts of a killed download."""
    for path in sorted(home.rglob("*"), reverse=True):
        if not path.is_dir():
            if str(path) not in wanted:
                path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()


def _walk(path: Path) -> Iterator[tuple[str, Path]]:
    """Each file with its name relative to `path` ("" for `path` itself), in an order that depends on the names only."""
    return _below(path, "", frozenset()) if path.is_dir() else iter([("", path)])


def _below(folder: Path, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, Path]]:
    here = os.path.realpath(folder)
    if here in above:  # a link to a parent folder
        return
    try:
        items = sorted(os.scandir(folder), key=lambda item: item.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None
    for item in items:
        if item.is_dir():
            yield from _below(Path(item.path), f"{prefix}{item.name}/", above | {here})
        else:
            yield prefix + item.name, Path(item.path)


def _existing(path: Path) -> Path:
    if path.exists():
        return path
    siblings = os.listdir(path.parent) if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    raise DataError(f"there is no {path}" + (f"; did you mean {path.parent / near[0]}?" if near else ""))


def _each(
    action: Callable[[A], B], items: Iterable[A], abandon: Callable[[], None] = lambda: None
) -> Generator[B, None, None]:
    """The action's results in the order of the items, WORKERS at a time; the first failure ends all."""
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[Future[B]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(action, item))
                if len(waiting) == 4 * WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:  # includes Ctrl-C and the end of the consumer
            abandon()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def _in_a_sentence(what: str) -> Iterator[None]:
    """Turns an error of the operating system into one sentence. Raises StorageError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, SyntrialError):
            raise
        raise StorageError(
            f"{what}: {error.strerror or error} {f'({error.filename})' if error.filename else ''}".strip()
        ) from None
