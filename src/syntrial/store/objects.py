"""An object store with retries: every request is repeated through an outage of limited length.

If the server does not answer, or answers with a 5xx, a request is repeated after growing, random pauses, until nothing
has been received for SYNTRIAL_STORAGE_PATIENCE_S seconds (default 120). Each outage is logged once. What arrives is
checked: its size against the listing, and its MD5 against the etag if that is an MD5. Objects that were stored in
parts, or encrypted with a customer's key, have other etags; of them only the size is checked.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import logging
import os
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar

import certifi
import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.helpers import check_bucket_name

from syntrial.errors import ConfigError, DataError
from syntrial.store import atomic
from syntrial.store.trouble import DamagedError, explained, passing
from syntrial.store.uris import (
    Entry,
    Location,
    StorageError,
    endpoint_of,
    keys_of,
    parts_of,
    region_of,
    seconds_of,
)

A = TypeVar("A")

CONNECTIONS = 16  # kept open; further simultaneous requests open their own
CHUNK_BYTES = 1 << 20  # in memory per object that is downloaded
PART_BYTES = 16 << 20  # in memory per object that is uploaded; larger objects are uploaded in parts
PAGE = 1000  # entries of a listing per request, S3's maximum
PATIENCE_S = 120.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 8.0
QUIET_S = 2.0  # of an outage before it is logged
DAMAGED_TRIES = 4  # downloads of an object that may arrive damaged
log = logging.getLogger(__name__)


class ObjectStore:
    """The objects below a prefix of a bucket.

    Args:
        patience_s: seconds without an answer until a request fails; None: from the environment.

    Raises:
        ConfigError: environment variables for access are missing, or name certificates that cannot be read.
        FileNotFoundError: from any method, if the object does not exist.
        StorageError: from any method, if the server cannot be reached or refuses the request.
        DataError: from any method, if an object is damaged in every download, or changed while it was read.
    """

    def __init__(self, location: Location, patience_s: float | None = None) -> None:
        self.location = location
        self.patience_s = seconds_of("SYNTRIAL_STORAGE_PATIENCE_S", PATIENCE_S) if patience_s is None else patience_s
        self.host, secure = endpoint_of(location.scheme)
        access, secret, token = keys_of(location.scheme)
        try:
            check_bucket_name(location.bucket)
            self._client = Minio(
                self.host,
                access,
                secret,
                token,
                secure,
                region=region_of(location.scheme),
                http_client=_connections(secure),
            )
        except ValueError as error:
            raise ConfigError(f"{location} cannot be used: {error}") from None
        self._prefix = location.key.strip("/") + "/" if location.key else ""
        self._abandoned = threading.Event()
        self._reported = False

    def __repr__(self) -> str:
        return f"ObjectStore({str(self.location)!r})"

    def entries(self) -> Iterator[Entry]:
        """All objects below the prefix, sorted by key as in S3, without the markers of empty folders."""
        after = None
        while True:
            page = self._patiently(functools.partial(self._page, after), "its list of objects")
            yield from (_entry(found, self._prefix) for found in page if not _key(found).endswith("/"))
            if len(page) < PAGE:
                return
            after = _key(page[-1])

    def find(self, name: str) -> Entry | None:
        """One object, or None if it does not exist."""
        stat = functools.partial(self._client.stat_object, self.location.bucket, self._key(name))
        try:
            return _entry(self._patiently(stat, name), self._prefix)
        except FileNotFoundError:
            return None

    def read_bytes(self, name: str) -> bytes:
        """The content of an object."""
        content = io.BytesIO()
        self._receive(_Transfer(self.location.bucket, self._key(name), content), name)
        return content.getvalue()

    def get(self, entry: Entry, path: Path) -> None:
        """Downloads an object into a file, atomically and in chunks; the file gets the object's time."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.new_file(path, durable=False) as file:  # a file lost in a power cut is downloaded again
            transfer = _Transfer(self.location.bucket, self._key(entry.name), file, entry.etag, entry.size_bytes)
            self._receive(transfer, entry.name)
            file.flush()
            os.utime(file.fileno(), (entry.modified_s, entry.modified_s))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes an object, atomically replacing an existing one."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        self._send(name, io.BytesIO(content), len(content), md5)

    def put(self, path: Path, name: str) -> None:
        """Uploads a file in parts, unless the object exists with the same size and MD5."""
        size_bytes, md5, there = path.stat().st_size, md5_of(path), self.find(name)
        if there is None or (there.size_bytes, there.etag) != (size_bytes, md5):
            with open(path, "rb") as file:
                self._send(name, file, size_bytes, md5)

    def delete(self, name: str) -> None:
        """Deletes an object, if it exists."""
        self._patiently(functools.partial(self._client.remove_object, self.location.bucket, self._key(name)), name)

    def abandon(self) -> None:
        """Makes requests in other threads end at their next step."""
        self._abandoned.set()

    def _key(self, name: str) -> str:
        return self._prefix + "/".join(parts_of(name))

    def _page(self, after: str | None) -> list[Object]:
        listing = self._client.list_objects(self.location.bucket, self._prefix, recursive=True, start_after=after)
        return list(itertools.islice(listing, PAGE))

    def _receive(self, transfer: _Transfer, what: str) -> None:
        self._patiently(lambda: transfer.go_on(self._client, self._abandoned.is_set), what, transfer.file.tell)

    def _send(self, name: str, file: BinaryIO, size_bytes: int, md5: str) -> None:
        key, bucket = self._key(name), self.location.bucket
        part_bytes = max(PART_BYTES, -(-size_bytes // 10_000))  # S3 allows 10,000 parts

        def attempt() -> None:
            file.seek(0)
            sent = self._client.put_object(bucket, key, file, size_bytes, part_size=part_bytes, num_parallel_uploads=1)
            if size_bytes <= part_bytes and is_md5(sent.etag or "") and not _is_sealed(sent.http_headers):
                intact = sent.etag == md5
            else:
                intact = self._client.stat_object(bucket, key).size == size_bytes
            if not intact:
                raise DamagedError

        self._patiently(attempt, name)

    def _patiently(self, action: Callable[[], A], what: str, progress: Callable[[], int] = lambda: 0) -> A:
        """The action's result. It is repeated until the server has not answered for `patience_s`.

        `progress` returns a number that grows when data arrive; `patience_s` is then counted from there.
        """
        silent_since_s, reached, pause_s, damaged = None, progress(), FIRST_PAUSE_S, 0
        while True:
            try:
                result = action()
                self._reported = False
                return result
            except Exception as error:
                damaged += isinstance(error, DamagedError)
                trouble = passing(error)
                if not trouble:
                    raise explained(error, what, self.host, self.location) from None
            if damaged == DAMAGED_TRIES:
                raise DataError(f"{what} of {self.location} arrived damaged {damaged} times; store it again")
            if silent_since_s is None or progress() > reached:
                silent_since_s, reached, pause_s = time.monotonic(), progress(), FIRST_PAUSE_S
            self._wait(trouble, pause_s, time.monotonic() - silent_since_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _wait(self, trouble: str, pause_s: float, silent_s: float) -> None:
        left_s = self.patience_s - silent_s
        if left_s <= 0:
            waited = f" since {self.patience_s:g} s" if self.patience_s else ""
            raise StorageError(f"{self.host} {trouble}{waited} ({self.location}); is it running, and reachable?")
        if silent_s > QUIET_S and not self._reported:
            self._reported = True
            log.warning("%s %s; trying for %.0f s more", self.host, trouble, left_s)
        # Random, so that many workers do not return at once; from the system's randomness, so no seed is affected.
        if self._abandoned.wait(min(left_s, pause_s * random.SystemRandom().uniform(0.5, 1))):
            raise StorageError(f"{self.location}: given up")


class _Transfer:
    """The download of an object into a file. It resumes after a broken connection, if the object is unchanged."""

    def __init__(self, bucket: str, key: str, file: BinaryIO, etag: str = "", size_bytes: int | None = None) -> None:
        self.bucket, self.key, self.file, self.etag, self.size_bytes = bucket, key, file, etag, size_bytes
        self._restart()

    def go_on(self, client: Minio, is_abandoned: Callable[[], bool]) -> None:
        """Downloads the missing part. Raises DamagedError if size or MD5 differ; the next call then starts over."""
        same: dict[str, str | list[str] | tuple[str]] = {"If-Match": f'"{self.etag}"'} if self.etag else {}
        response = client.get_object(self.bucket, self.key, offset=self.file.tell(), request_headers=same)
        try:
            if self.file.tell() and response.status != 206:  # a server without range requests sends the whole object
                self._restart()
            self.etag = self.etag or response.headers.get("etag", "").strip('"')
            for chunk in response.stream(CHUNK_BYTES, decode_content=False):
                self.file.write(chunk)
                self._md5.update(chunk)
                if is_abandoned():
                    raise StorageError(f"{self.key}: given up")
        finally:
            response.close()
            response.release_conn()
        if not self._is_intact(response.headers):
            self._restart()
            raise DamagedError

    def _is_intact(self, headers: Mapping[str, str]) -> bool:
        if self.size_bytes not in (None, self.file.tell()):
            return False
        return not is_md5(self.etag) or _is_sealed(headers) or self._md5.hexdigest() == self.etag

    def _restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self._md5 = hashlib.md5(usedforsecurity=False)


def is_md5(etag: str) -> bool:
    """Whether an etag has the form of an MD5."""
    return re.fullmatch("[0-9a-f]{32}", etag) is not None


def md5_of(path: Path) -> str:
    """The MD5 of a file in hexadecimal digits, as in etags."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _is_sealed(headers: Mapping[str, str]) -> bool:
    """Whether the object is encrypted with a customer's key, so that its etag is not the MD5 of its content."""
    by_service = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    return by_service or "x-amz-server-side-encryption-customer-algorithm" in headers


def _key(found: Object) -> str:
    return found.object_name or ""


def _entry(found: Object, prefix: str) -> Entry:
    modified_s = found.last_modified.timestamp() if found.last_modified else 0.0
    return Entry(_key(found).removeprefix(prefix), found.size or 0, found.etag or "", modified_s)


def _connections(secure: bool) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=60),
        maxsize=CONNECTIONS,
        retries=False,  # ObjectStore does all retries
        cert_reqs="CERT_REQUIRED",
        ca_certs=_authorities() if secure else None,
    )


def _authorities() -> str:
    for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        if path := os.environ.get(name):
            try:
                ssl.create_default_context(cafile=path)
            except OSError as error:
                raise ConfigError(f"{name} is {path}, a file without certificates that can be read ({error})") from None
            return path
    return certifi.where()
