"""Data wherever they are: file, s3 and minio URIs to a folder and back. What URIs there are, uris.py says."""

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
from syntrial.store.uris import Entry, Place, StorageError, parts_of, place_of

if TYPE_CHECKING:  # loaded where a URI is remote only: it costs 0.4 s, which a study of local files need not pay
    from syntrial.store.objects import ObjectStore

A = TypeVar("A")
B = TypeVar("B")

WORKERS = 16  # files or objects on their way at a time


class Store(Protocol):
    """Named contents in one place. What is written is there whole or not at all.

    A name that is not there raises FileNotFoundError; a place that is gone, full or refuses, StorageError or another
    OSError.
    """

    patience_s: float  # of silence before the place counts as gone

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


def is_remote(uri: str | Path) -> bool:
    """Whether data are in an object store. Raises ConfigError where the URI cannot be one."""
    return place_of(uri).scheme != "file"


def open_store(uri: str | Path) -> Store:
    """The folder or prefix a URI names, which need not exist yet. Raises ConfigError where the URI cannot be one."""
    place = place_of(uri)
    return FolderStore(Path(place.key)) if place.scheme == "file" else _object_store(place)


def digest(uri: str | Path, is_nothing: Callable[[str], object] = lambda name: False) -> str:
    """What data are, in 64 hexadecimal digits: as long as they do not change it does not. "" for an empty URI.

    On this machine all names and contents are read; links are followed. Of an object store the listing is: keys, etags
    and sizes, so an object stored again in parts of another size counts as changed. Data copied from one to the other
    get another digest.

    Args:
        is_nothing: of a name, whether that file counts for nothing.

    Raises:
        DataError: nothing is there, or it cannot be read.
        StorageError: the object store is gone or refuses.
    """
    return _sum(_contents(place_of(uri), is_nothing)) if str(uri) else ""


def digest_of(files: Iterable[tuple[str, Path]]) -> str:
    """The same of files of this machine, each with its name; one that is missing counts as well.

    Raises:
        DataError: a file cannot be read.
    """
    return _sum(_each(_hashed, files))


def fetch(uri: str | Path, into: Path, arrived: Callable[[Entry], None] | None = None) -> Path:
    """Data as a path of this machine: local ones where they are, remote ones fetched below `into`.

    A prefix becomes a folder, a single object a file, each in a folder named after the hash of its URI. WORKERS
    objects travel at a time, each into a draft that is renamed once it is whole. What is whole already is not fetched
    again, and what the store no longer has goes. In memory: objectstore.CHUNK_BYTES for each worker, and the objects'
    names.

    Args:
        arrived: told of each object that is here.

    Raises:
        DataError: nothing is there; an object's name leads out of the folder, or it stays damaged, or has changed.
        StorageError: the store is gone or refuses, or there is no room.
    """
    place = place_of(uri)
    if place.scheme == "file":
        return _existing(Path(place.key))
    home = Path(into) / hashlib.sha256(str(place).encode()).hexdigest()[:12]
    waiting = f"another process is fetching {place}; waiting for it"
    with _in_a_sentence(f"{place} cannot be kept in {home}"), atomic.locked(home / ".lock", waiting):
        return _fetched(place, home, arrived)


def store(path: Path, uri: str | Path) -> None:
    """A file, or the files of a folder, to where a URI points, each whole or not at all; nothing is deleted there.

    A file gets the URI's name, or its own below a URI that ends in a slash; those of a folder keep theirs below the
    URI. What an object store has already, by size and MD5, is not sent again.

    Raises:
        DataError: there is no such path.
        StorageError: the place is gone, full or refuses.
    """
    place, path = place_of(uri), _existing(Path(path))
    items: Iterable[tuple[str, Path]] = _walk(path)
    if not path.is_dir():
        above, _, name = place.key.rpartition("/")
        if str(uri).endswith("/") or not name:
            above, name = place.key.rstrip("/"), path.name
        place, items = place._replace(key=above), [(name, path)]
    target = FolderStore(Path(place.key or "/")) if place.scheme == "file" else _object_store(place)
    with _in_a_sentence(f"{path} cannot be stored at {uri}"):
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


def _object_store(place: Place) -> ObjectStore:
    from syntrial.store.objects import ObjectStore

    return ObjectStore(place)


def _objects(place: Place) -> tuple[ObjectStore, Iterator[Entry], bool]:
    """The store, the objects that a URI names in it, and whether it names a single one rather than a prefix."""
    above, _, name = place.key.rpartition("/")
    if name:
        store = _object_store(place._replace(key=above))
        entry = store.find(name)
        if entry:
            return store, iter([entry]), True
    store = _object_store(place)
    entries = store.entries()
    first = next(entries, None)
    if first is None:
        raise DataError(f"{place} names no object, and none below it; list the bucket to see what it holds")
    return store, itertools.chain([first], entries), False


def _contents(place: Place, is_nothing: Callable[[str], object]) -> Iterator[tuple[str, bytes]]:
    """Each name ("" for a single file) with 32 bytes that stand for its content."""
    if place.scheme == "file":
        files = _walk(_existing(Path(place.key)))
        yield from _each(_hashed, ((name, path) for name, path in files if not is_nothing(name)))
        return
    _, entries, single = _objects(place)
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


def _fetched(place: Place, home: Path, arrived: Callable[[Entry], None] | None) -> Path:
    store, entries, single = _objects(place)
    target = home / (place.key.strip("/").rpartition("/")[2] or place.bucket)

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
