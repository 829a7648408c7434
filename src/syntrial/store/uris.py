"""URIs of data, parsed into Locations, and the environment variables for access. Nothing is accessed here.

| URI | where | from the environment |
| --- | --- | --- |
| `PATH`, `file:///PATH` | this machine | |
| `minio://BUCKET/KEY` | MinIO | MINIO_ENDPOINT, _ACCESS_KEY, _SECRET_KEY, _SECURE (true), _REGION (us-east-1) |
| `s3://BUCKET/KEY` | S3 | AWS_ENDPOINT_URL, _ACCESS_KEY_ID, _SECRET_ACCESS_KEY, _SESSION_TOKEN, _REGION |

Without keys, requests are anonymous, as public buckets allow. No message contains a key or a password.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from syntrial.errors import ConfigError, DataError, SyntrialError

KEYS = {"minio": ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"), "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


class StorageError(SyntrialError, OSError):
    """A store that cannot be reached, refuses, or cannot hold what is written to it."""


class Location(NamedTuple):
    """A parsed URI. False for NOWHERE, which means that no data are given."""

    scheme: str  # "file", "s3" or "minio"
    bucket: str  # "" for a file
    key: str  # the path of a file; it ends in a slash where the URI does

    @classmethod
    def of(cls, uri: str | Path) -> Location:
        """Parses a URI. A path may contain a colon.

        Raises:
            ConfigError: an unknown scheme; a missing or invalid bucket, key or path.
        """
        text = str(uri)
        if not text:
            raise ConfigError("a URI is empty; it may be a path, file:///PATH, s3://BUCKET/KEY or minio://BUCKET/KEY")
        match = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]*):(/{0,2})(.*)", text, re.DOTALL)
        scheme, slashes, rest = (match[1].lower(), match[2], match[3]) if match else ("", "", text)
        if scheme not in ("file", *KEYS):
            if slashes == "//":
                raise ConfigError(f"data cannot come from {scheme}://; {_nearest(scheme)}")
            return _on_this_machine(text)
        if slashes != "//":
            raise ConfigError(f"{scheme}:{slashes} lacks a slash; write {scheme}://")
        return _on_this_machine(_path_of(rest)) if scheme == "file" else _in_a_bucket(scheme, rest)

    @classmethod
    def given(cls, uri: str | Path) -> Location:
        """Parses a URI; NOWHERE for an empty one."""
        return cls.of(uri) if str(uri) else NOWHERE

    @property
    def is_remote(self) -> bool:
        """Whether it is in an object store."""
        return self.scheme != "file"

    @property
    def path(self) -> Path:
        """The path of a local file or folder."""
        return Path(self.key)

    def below(self, name: str) -> Location:
        """The location of a name below this folder or prefix."""
        return self._replace(key=f"{self.key.rstrip('/')}/{name}" if self.key else name)

    def resolved(self) -> Location:
        """The location with an absolute path, with links resolved, if it is local."""
        return self if self.is_remote or not self else self._replace(key=str(self.path.resolve()))

    def __bool__(self) -> bool:
        return self != NOWHERE

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/") if self.is_remote else self.key


NOWHERE = Location("file", "", "")


class Entry(NamedTuple):
    """One file or object of a store."""

    name: str  # relative to the store, its parts divided by "/"
    size_bytes: int
    etag: str  # the server's identifier of the content; "" in a folder
    modified_s: float  # time of the last change, since 1970


def parts_of(name: str) -> list[str]:
    """The parts of a name below a folder. Raises DataError if it is outside of the folder or has an empty part."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise DataError(f"{name!r} leads out of its folder or has an empty part; rename it")
    return parts


def endpoint_of(scheme: str) -> tuple[str, bool]:
    """Host and port of the object store, and whether to use TLS. Raises ConfigError if none is set."""
    name, value = "MINIO_ENDPOINT", os.environ.get("MINIO_ENDPOINT", "")
    if scheme == "s3":
        name, value = "AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com"
    if not value:
        raise ConfigError("minio:// needs MINIO_ENDPOINT, such as localhost:9000 or https://minio.example.org")
    match = re.fullmatch(r"(?:(https?)://)?((?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?)/?", value)
    if not match:  # the value may contain a password, so the message omits it
        raise ConfigError(f"{name} is invalid; it must be HOST:PORT, http://HOST:PORT or https://HOST:PORT")
    plain = match[1] == "http" if match[1] or scheme == "s3" else not switch_of("MINIO_SECURE", "true")
    return match[2], not plain


def keys_of(scheme: str) -> tuple[str | None, str | None, str | None]:
    """Access key, secret key and session token; None for anonymous requests. Raises ConfigError for half a pair."""
    access, secret = (os.environ.get(name) or None for name in KEYS[scheme])
    if bool(access) != bool(secret):
        raise ConfigError(f"of {' and '.join(KEYS[scheme])} only one is set; set both, or neither for a public bucket")
    return access, secret, os.environ.get("AWS_SESSION_TOKEN") or None if scheme == "s3" else None


def region_of(scheme: str) -> str | None:
    """The region; None if it is not set, and then the store is asked for it."""
    if scheme == "minio":
        return os.environ.get("MINIO_REGION") or "us-east-1"
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def seconds_of(name: str, default: float) -> float:
    """A time from the environment. Raises ConfigError if it is not a number, or is negative."""
    value = os.environ.get(name) or str(default)
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?", value):
        raise ConfigError(f"{name} is {value!r}; it needs a number of seconds, 0 or more")
    return float(value)


def switch_of(name: str, default: str) -> bool:
    """A boolean from the environment. Raises ConfigError for other values than true and false."""
    value = (os.environ.get(name) or default).lower()
    if value not in ("true", "false", "1", "0", "yes", "no"):
        raise ConfigError(f"{name} is {value!r}; it may be true or false")
    return value in ("true", "1", "yes")


def _nearest(scheme: str) -> str:
    near = difflib.get_close_matches(scheme, ("file", *KEYS), n=1)
    return f"did you mean {near[0]}://?" if near else "they may come from a path, file://, s3:// or minio://"


def _on_this_machine(text: str) -> Location:
    path = str(Path(text).expanduser())
    return Location("file", "", f"{path.rstrip('/')}/" if text.endswith("/") else path)


def _path_of(rest: str) -> str:
    path = unquote(rest.removeprefix("localhost"))
    if not path.startswith("/"):
        raise ConfigError("file:// needs an absolute path, as in file:///data/xrays")
    return path


def _in_a_bucket(scheme: str, rest: str) -> Location:
    bucket, _, key = rest.partition("/")
    if "@" in bucket:
        raise ConfigError(f"a {scheme}:// URI holds no user or password; set {' and '.join(KEYS[scheme])} instead")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", bucket) or ".." in bucket:
        raise ConfigError(f"{scheme}://{rest} has no valid bucket name; write {scheme}://BUCKET/KEY")
    if any(part in ("", ".", "..") for part in key.removesuffix("/").split("/")) and key:
        raise ConfigError(f"{scheme}://{rest} has an empty part, . or .. in its key; write {scheme}://BUCKET/KEY")
    return Location(scheme, bucket, key)
