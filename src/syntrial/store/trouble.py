"""Errors of an object store: which may be temporary, and what the user can do about the others."""

from __future__ import annotations

import errno
import os
import re
from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError, SSLError

from syntrial.errors import DataError, SyntrialError
from syntrial.store.uris import KEYS, Location, StorageError

BUSY = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted"}
DENIED = {
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "InvalidTokenId",
    "SignatureDoesNotMatch",
}


class DamagedError(Exception):
    """The received content is not the content that was sent."""


def passing(error: Exception) -> str:
    """A description of an error that may be temporary; "" for any other error."""
    if isinstance(error, DamagedError):
        return "sends damaged data"
    if isinstance(error, S3Error | ServerError | InvalidResponseError):
        code = error.code if isinstance(error, S3Error) else None
        status = _status(error)
        return f"answers {status} {code or ''}".strip() if status >= 500 or status == 429 or code in BUSY else ""
    if isinstance(error, SSLError) and re.search("CERTIFICATE|WRONG_VERSION|RECORD|PROTOCOL", str(error).upper()):
        return ""
    if isinstance(error, HTTPError | ConnectionError | TimeoutError):
        return f"does not answer ({getattr(error.__cause__, 'strerror', None) or type(error).__name__})"
    return ""


def explained(error: Exception, what: str, host: str, location: Location) -> Exception:
    """An error with advice for the user, if waiting does not help; else the error itself."""
    if isinstance(error, SSLError):
        plain = "; a server without TLS needs MINIO_SECURE=false" if location.scheme == "minio" else ""
        return StorageError(f"no trusted, encrypted connection to {host} is possible{plain}")
    if isinstance(error, SyntrialError):
        return error
    if isinstance(error, InvalidResponseError | ServerError | ParseError | ValueError):
        return StorageError(f"{host} does not answer as an object store does; is that the right address and port?")
    if not isinstance(error, S3Error):
        return error
    if error.code == "NoSuchKey":
        return FileNotFoundError(errno.ENOENT, f"not in {location}", what)
    if error.code == "NoSuchBucket":
        return StorageError(f"{host} has no bucket {location.bucket!r}; create it, or correct the URI")
    if error.code == "PreconditionFailed":
        return DataError(f"{what} of {location} changed while it was fetched; start again")
    refused = f"{host} refuses {what} of {location} ({error.code})"
    if error.code in DENIED:
        keys = KEYS[location.scheme]
        return StorageError(f"{refused}; check {' and '.join(keys)}, which {_are_set(keys)}")
    return StorageError(refused)


def _status(error: S3Error | ServerError | InvalidResponseError) -> int:
    if isinstance(error, S3Error):
        return error.response.status
    return error.status_code if isinstance(error, ServerError) else error._code


def _are_set(keys: tuple[str, str]) -> str:
    return "are set" if os.environ.get(keys[0]) else "are not set"
