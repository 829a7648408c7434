"""Data wherever they are: from a Location to a folder and back. uris.py lists the URIs there are."""

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

if TYPE_CHECKING:  # loaded for remote data only: it costs 0.4 s, which a study of local files need not pay
    from syntrial.store.objects import ObjectStore

A = TypeVar("A")
B = TypeVar("B")

WORKERS = 16  # files or objects on their way at a time


class Store(Protocol):
    """Named contents below one location. What is written is there whole or not at all.

    A name that is not there raises FileNotFoundError; a store that is gone, full or refuses, StorageError or another
    OSError.
    """

    patience_s: float  # of silence before the store counts as gone

    def entries(self) -> Iterator[Entry]:
        """All there is, below folders as well."""

    def read_bytes(self, name: str) -> bytes:
        """The whole content, in memory."""

    def write_bytes(self, name: str, content: bytes) -> None:
        """In place of what stood there, at once."""

    def put(self, path: Path, name: str) -> None:
        """A file's content, never whole in memory."""

    def delete(self, name: str) -> None:
        """Nothing happens when it is not there."""

    def abandon(self) -> None:
        """Whatever is under way in other threads ends at its next step."""


def open_store(location: Location) -> Store:
    """The folder or prefix at a location, which need not exist yet. Raises ConfigError where the environment does not
    say how to reach it.
    """
    return _object_store(location) if location.is_remote else FolderStore(location.path)


def digest(location: Location, is_nothing: Callable[[str], object] = lambda name: False) -> str:
    """A fingerprint, 64 hexadecimal digits: equal data, equal digest. "" for NOWHERE.

    On this machine all names and contents are read; links are followed. Of an object store the listing is: keys, etags
    and sizes, so an object stored again in parts of another size counts as changed. Data copied from one to the other
    get another digest.

    Args:
        is_nothing: of a name, true where that file is left out.

    Raises:
        DataError: nothing is there, or it cannot be read.
        StorageError: the object store is gone or refuses.
    """
    return _sum(_contents(location, is_nothing)) if location else ""


def digest_of(files: Iterable[tuple[str, Path]]) -> str:
    """The same of files of this machine, each with its name; one that is missing counts as well.

    Raises:
        DataError: a file cannot be read.
    """
    return _sum(_each(_hashed, files))


def fetch(location: Location, into: Path, arrived: Callable[[Entry], None] | None = None) -> Path:
    """Data as a path of this machine: local ones where they are, remote ones fetched below `into`.

    A prefix becomes a folder, a single object a file, each in a folder named after the hash of its location. WORKERS
    objects travel at a time, each into a draft that is renamed once it is whole. What is whole already is not fetched
    again, and what the store no longer has goes. In memory: objects.CHUNK_BYTES for each worker, and the objects'
    names.

    Args:
        arrived: called with each object that is here.

    Raises:
        DataError: nothing is there; an object's name leads out of the folder, or it stays damaged, or has changed.
        StorageError: the store is gone or refuses, or there is no room.
    """
    if not location.is_remote:
        return _existing(location.path)
    home = Path(into) / hashlib.sha256(str(location).encode()).hexdigest()[:12]
    waiting = f"another process is fetching {location}; waiting for it"
    with _in_a_sentence(f"{location} cannot be kept in {home}"), atomic.locked(home / ".lock", waiting):
        return _fetched(location, home, arrived)


def store(path: Path, location: Location) -> None:
    """A file, or the files of a folder, to a location, each whole or not at all; nothing is deleted there.

    A file gets the location's name, or keeps its own below one that ends in a slash; the files of a folder keep theirs
    below the location. What an object store has already, by size and MD5, is not sent again.

    Raises:
        DataError: there is no such path.
        StorageError: the store is gone, full or refuses.
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
    """A store in a folder of this machine, which appears with the first write."""

    patience_s = 0.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"FolderStore({str(self.folder)!r})"

    def entries(self) -> Iterator[Entry]:
        """All there is, below folders as well, drafts of others included."""
        for name, path in _walk(self.folder) if self.folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # another process may delete while this one lists
                found = path.stat()
                yield Entry(name, found.st_size, "", found.st_mtime)

    def read_bytes(self, name: str) -> bytes:
        """The whole content, in memory."""
        return self._path(name).read_bytes()

    def write_bytes(self, name: str, content: bytes) -> None:
        """In place of what stood there, at once; a power cut later does not undo it."""
        with atomic.new_file(self._made(name)) as file:
            file.write(content)

    def put(self, path: Path, name: str) -> None:
        """A file's content, never whole in memory."""
        with open(path, "rb") as source, atomic.new_file(self._made(name)) as file:
            shutil.copyfileobj(source, file)

    def delete(self, name: str) -> None:
        """Nothing happens when it is not there."""
        self._path(name).unlink(missing_ok=True)

    def abandon(self) -> None:
        """Nothing here waits for anybody."""

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
    """The store, the objects at a location in it, and true where that is a single one rather than a prefix."""
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
    """Each name ("" for a single file) with 32 bytes that stand for its content."""
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
    if not path.is_file():  # a broken link or a socket: a name without a content
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
    return abs(path.stat().st_mtime - entry.modified_s) < 0.001  # s; file systems and servers round differently


def _drop_strays(home: Path, wanted: set[str]) -> None:
    """What the store no longer has, and drafts of a fetch that was killed."""
    for path in sorted(home.rglob("*"), reverse=True):
        if not path.is_dir():
            if str(path) not in wanted:
                path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()


def _walk(path: Path) -> Iterator[tuple[str, Path]]:
    """Each file with its name relative to `path` ("" for `path` itself), in an order that the names alone decide."""
    return _below(path, "", frozenset()) if path.is_dir() else iter([("", path)])


def _below(folder: Path, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, Path]]:
    here = os.path.realpath(folder)
    if here in above:  # a link back to where we come from
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
    beside = os.listdir(path.parent) if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    raise DataError(f"there is no {path}" + (f"; did you mean {path.parent / near[0]}?" if near else ""))


def _each(
    action: Callable[[A], B], items: Iterable[A], abandon: Callable[[], None] = lambda: None
) -> Generator[B, None, None]:
    """The action's results in the order of the items, WORKERS at a time, few ahead; the first failure ends the rest."""
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[Future[B]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(action, item))
                if len(waiting) == 4 * WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:  # Ctrl-C and a consumer that wants no more as well
            abandon()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def _in_a_sentence(what: str) -> Iterator[None]:
    """What the operating system refuses becomes one sentence. Raises StorageError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, SyntrialError):
            raise
        raise StorageError(
            f"{what}: {error.strerror or error} {f'({error.filename})' if error.filename else ''}".strip()
        ) from None
