"""Creates the buckets of an installation and their lifecycle rules.

Unfinished uploads are deleted after a day, checkpoints some days after they were last written. MinIO accepts no rule
for uploads; there a server setting, MINIO_API_STALE_UPLOADS_EXPIRY, deletes them, after a day as well.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable

from minio.commonconfig import ENABLED, Filter
from minio.error import S3Error
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, Expiration, LifecycleConfig, Rule

from syntrial.errors import ConfigError
from syntrial.store import token
from syntrial.store.objects import ObjectStore
from syntrial.store.uris import Location

CHECKPOINT_DAYS = 30  # default until a checkpoint is deleted; long enough that its work has been finished or abandoned
UPLOADS, CHECKPOINTS = "syntrial-unfinished-uploads", "syntrial-checkpoints"  # names of rules; the last plus a prefix
NOT_TAKEN = {"InvalidArgument", "MalformedXML", "NotImplemented"}  # error codes for a kind of rule a store lacks

log = logging.getLogger(__name__)


def make_buckets(uris: Iterable[str], checkpoint_days: int = CHECKPOINT_DAYS) -> dict[str, float]:
    """Creates missing buckets, sets their rules, and writes a token if the store has none. Idempotent; deletes nothing.

    Other rules are kept, also those for other checkpoints in a bucket that several installations share.

    Args:
        uris: the buckets, as minio://BUCKET or s3://BUCKET; the bucket of SYNTRIAL_CHECKPOINT_URI is always included.
        checkpoint_days: days after its last write until a checkpoint is deleted.

    Returns:
        How many buckets there are, how many of them are new, and how many of our rules they have.

    Raises:
        ConfigError: a URI that names no bucket, or missing environment variables for access to the store.
        StorageError: the store cannot be reached or refuses the request.
    """
    wanted = {_bucket(Location.of(uri)): [_ending_uploads()] for uri in uris}
    checkpoints = Location.given(os.environ.get("SYNTRIAL_CHECKPOINT_URI", ""))
    if checkpoints:
        wanted.setdefault(_bucket(checkpoints), [_ending_uploads()]).append(_expiry(checkpoints, checkpoint_days))
    buckets = {Bucket(location): rules for location, rules in wanted.items()}
    made = sum(bucket.make() for bucket in buckets)
    if checkpoints and not token.read(checkpoints):
        token.renew(checkpoints)
    rules = sum(bucket.set_rules(rules) for bucket, rules in buckets.items())
    return {"buckets": len(buckets), "made": made, "rules": rules}


class Bucket(ObjectStore):
    """A bucket, without its content. Raises StorageError if the server cannot be reached or refuses the request."""

    def make(self) -> bool:
        """Creates the bucket. Returns whether it is new."""
        return self._patiently(self._made, "the creation")

    def set_rules(self, rules: list[Rule]) -> int:
        """Sets rules, replacing those of the same names. Returns how many the store accepted."""
        try:
            return self._patiently(functools.partial(self._set, rules), "the lifecycle rules")
        except _NotTakenError as error:
            log.warning(
                "%s accepts no rule for unfinished uploads (%s); its server's settings end them", self.location, error
            )
        expiring = [rule for rule in rules if rule.expiration]
        return self._patiently(functools.partial(self._set, expiring), "the lifecycle rules")

    def _made(self) -> bool:
        if self._client.bucket_exists(self.location.bucket):
            return False
        try:
            self._client.make_bucket(self.location.bucket)
        except S3Error as error:
            if error.code != "BucketAlreadyOwnedByYou":  # created by another client in the meantime
                raise
            return False
        return True

    def _set(self, rules: list[Rule]) -> int:
        there = self._client.get_bucket_lifecycle(self.location.bucket)
        ours = {UPLOADS, *(rule.rule_id for rule in rules)}
        others = [rule for rule in (there.rules if there else []) if rule.rule_id not in ours]
        if not rules and not others:
            return 0
        try:
            self._client.set_bucket_lifecycle(self.location.bucket, LifecycleConfig([*others, *rules]))
        except S3Error as error:
            if error.code in NOT_TAKEN and any(rule.abort_incomplete_multipart_upload for rule in rules):
                raise _NotTakenError(error.code) from None
            raise
        return len(rules)


class _NotTakenError(Exception):
    """The store does not have a kind of rule."""


def _bucket(location: Location) -> Location:
    if not location.is_remote:
        raise ConfigError(f"{location} names no bucket; write minio://BUCKET or s3://BUCKET")
    return location._replace(key="")


def _ending_uploads() -> Rule:
    ends = AbortIncompleteMultipartUpload(days_after_initiation=1)
    return Rule(ENABLED, Filter(prefix=""), UPLOADS, abort_incomplete_multipart_upload=ends)


def _expiry(checkpoints: Location, days: int) -> Rule:
    prefix = checkpoints.key.strip("/")
    if not prefix:
        raise ConfigError(f"SYNTRIAL_CHECKPOINT_URI is {checkpoints}, and all of it would expire; add a prefix")
    return Rule(ENABLED, Filter(prefix=f"{prefix}/"), f"{CHECKPOINTS}-{prefix}"[:255], expiration=Expiration(days=days))
