import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from object_server import object_server

from syntrial.cli import main
from syntrial.errors import ConfigError
from syntrial.store import token
from syntrial.store.buckets import make_buckets
from syntrial.store.uris import Location, StorageError

URIS = ["minio://artifacts", "minio://steps"]


@pytest.fixture
def server(monkeypatch):
    with object_server() as address:
        reach(monkeypatch, address)
        yield address
        for bucket in ("artifacts", "steps"):  # they would outlive the server
            if client(address).bucket_exists(bucket):
                client(address).remove_object(bucket, token.NAME)
                client(address).remove_bucket(bucket)


def reach(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """The environment of a pod, with the store at an address."""
    values = {
        "MINIO_ENDPOINT": address,
        "MINIO_SECURE": "false",
        "MINIO_ACCESS_KEY": "someone",
        "MINIO_SECRET_KEY": "something",
        "SYNTRIAL_CHECKPOINT_URI": "minio://steps/checkpoints",
        "SYNTRIAL_STORAGE_PATIENCE_S": "0",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def client(address: str) -> Minio:
    return Minio(address, "someone", "something", secure=False, region="us-east-1")


def rules(address: str, bucket: str) -> dict[str, Rule]:
    """What stands on a bucket, by the rule's name."""
    config = client(address).get_bucket_lifecycle(bucket)
    return {rule.rule_id or "": rule for rule in (config.rules if config else [])}


@contextlib.contextmanager
def without_rules_for_uploads(server: str) -> Iterator[str]:
    """HOST:PORT of a way to the server that answers such a rule as MinIO does."""

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if b"AbortIncompleteMultipartUpload" in body:
                self.answer(400, b"<Error><Code>InvalidArgument</Code></Error>")
                return
            with contextlib.closing(http.client.HTTPConnection(server, timeout=20)) as connection:
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                answered = connection.getresponse()
                self.answer(answered.status, answered.read(), answered.headers.get("ETag", ""))

        do_GET = do_PUT = do_HEAD = do

        def answer(self, status: int, content: bytes, etag: str = "") -> None:
            self.send_response_only(status)
            self.send_header("ETag", etag)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None: ...

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.server_port}"
    finally:
        listener.shutdown()
        listener.server_close()


def test_buckets_that_are_missing_are_made(server):
    client(server).make_bucket("artifacts")
    assert make_buckets(URIS) == {"buckets": 2, "made": 1, "rules": 3}
    assert client(server).bucket_exists("steps")


def test_twice_is_as_once(server):
    make_buckets(URIS)
    before = [rules(server, bucket) for bucket in ("artifacts", "steps")]
    assert make_buckets(URIS) == {"buckets": 2, "made": 0, "rules": 3}
    assert [rules(server, bucket) for bucket in ("artifacts", "steps")] == before


def test_a_store_without_a_token_gets_one_and_keeps_it(server):
    make_buckets(URIS)
    first = token.read(Location.of("minio://steps/checkpoints"))
    make_buckets(URIS)
    assert first and token.read(Location.of("minio://steps/checkpoints")) == first


def test_checkpoints_expire_and_nothing_else_does(server):
    make_buckets(URIS, checkpoint_days=7)
    expiring = {name: rule for name, rule in rules(server, "steps").items() if rule.expiration}
    (rule,) = expiring.values()
    assert (rule.rule_filter.prefix, rule.expiration.days) == ("checkpoints/", 7)
    assert not [rule for rule in rules(server, "artifacts").values() if rule.expiration]


def test_unfinished_uploads_end_after_a_day_in_every_bucket(server):
    make_buckets(URIS)
    for bucket in ("artifacts", "steps"):
        ends = rules(server, bucket)["syntrial-unfinished-uploads"].abort_incomplete_multipart_upload
        assert ends.days_after_initiation == 1


def test_a_store_that_knows_no_rule_for_uploads_gets_the_other_one(server, monkeypatch, caplog):
    with without_rules_for_uploads(server) as address:
        reach(monkeypatch, address)
        assert make_buckets(URIS) == {"buckets": 2, "made": 2, "rules": 1}
    assert [*rules(server, "steps")] == ["syntrial-checkpoints-checkpoints"]
    assert "no rule for unfinished uploads" in caplog.text


def test_rules_of_others_stay(server):
    client(server).make_bucket("artifacts")
    theirs = Rule(ENABLED, Filter(prefix="private-artifacts/"), "logs", expiration=Expiration(days=90))
    client(server).set_bucket_lifecycle("artifacts", LifecycleConfig([theirs]))
    make_buckets(URIS)
    assert {*rules(server, "artifacts")} == {"logs", "syntrial-unfinished-uploads"}


def test_a_changed_number_of_days_takes_the_old_ones_place(server):
    make_buckets(URIS, checkpoint_days=30)
    make_buckets(URIS, checkpoint_days=3)
    assert rules(server, "steps")["syntrial-checkpoints-checkpoints"].expiration.days == 3


def test_two_installations_on_one_bucket_leave_each_other_their_rule(server, monkeypatch):
    prefixes = ("checkpoints", "others/checkpoints")
    for prefix in prefixes:
        monkeypatch.setenv("SYNTRIAL_CHECKPOINT_URI", f"minio://steps/{prefix}")
        make_buckets(URIS)
    expiring = [rule.rule_filter.prefix for rule in rules(server, "steps").values() if rule.expiration]
    assert sorted(expiring) == [f"{prefix}/" for prefix in prefixes]


def test_checkpoints_that_are_a_whole_bucket_are_refused(server, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_CHECKPOINT_URI", "minio://steps")
    with pytest.raises(ConfigError, match="all of it would expire; add a prefix"):
        make_buckets(URIS)


def test_a_folder_is_no_bucket(server):
    with pytest.raises(ConfigError, match="data names no bucket"):
        make_buckets(["data"])


def test_a_store_that_is_not_there_is_one_sentence(monkeypatch):
    reach(monkeypatch, "127.0.0.1:1")
    with pytest.raises(StorageError, match="is it running, and reachable"):
        make_buckets(URIS)


def test_by_hand_it_prints_what_there_is(server, capsys):
    assert main(["buckets", *URIS]) == 0
    assert capsys.readouterr().out == "buckets 2\nmade 2\nrules 3\n"


@pytest.mark.parametrize("words", [["minio://x", "--checkpoint-days", "0"], ["minio://steps", "folder"], []])
def test_by_hand_a_mistake_is_exit_code_2(server, words, capsys):
    assert main(["buckets", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
