"""A store with a new token has everything computed anew from what lies in it."""

import io

import pytest
from minio import Minio
from object_server import SECRET, object_server

from syntrial.digest import digest, refuse_changed
from syntrial.errors import ConfigError
from syntrial.store.token import NAME, read, renew
from syntrial.store.uris import Location

STORE = Location.of("minio://tokens/checkpoints")


@pytest.fixture
def images(monkeypatch):
    """URI of an image in a store with checkpoints."""
    with object_server() as address:
        found = {"ENDPOINT": address, "ACCESS_KEY": "a-key", "SECRET_KEY": SECRET, "SECURE": "false"}
        for name, value in found.items():
            monkeypatch.setenv(f"MINIO_{name}", value)
        monkeypatch.setenv("SYNTRIAL_CHECKPOINT_URI", str(STORE))
        client = Minio(address, "a-key", SECRET, secure=False, region="us-east-1")
        client.make_bucket("tokens")
        client.put_object("tokens", "data/a.png", io.BytesIO(b"x"), 1)
        yield "minio://tokens/data"
        for name in ("data/a.png", NAME):
            client.remove_object("tokens", name)
        client.remove_bucket("tokens")


def test_a_token_lasts_until_the_next_is_written(images):
    assert read(STORE) == ""
    first = renew(STORE)
    assert read(STORE) == first == read(STORE)
    assert renew(STORE) not in ("", first)


def test_a_new_token_gives_data_in_a_store_another_digest(images):
    seen = [digest(images), digest(images)]
    for _ in range(2):
        renew(STORE)
        seen += [digest(images)]
    assert len(set(seen)) == 3


def test_a_new_token_gives_an_empty_uri_next_to_data_in_a_store_another_digest(images):
    seen = {digest(images, "")[1]}
    for _ in range(2):
        renew(STORE)
        seen.add(digest(images, "")[1])
    assert len(seen) == 3  # what was made of nothing lies in the store as well
    assert digest("") == ("",)


def test_a_token_written_meanwhile_is_no_change_of_the_data(images):
    renew(STORE)
    (before,) = digest(images)
    renew(STORE)
    refuse_changed(images, before)


def test_a_token_changes_nothing_for_local_data(images, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    before = digest(tmp_path)
    renew(STORE)
    assert digest(tmp_path) == before


def test_a_store_that_is_none_is_refused(images, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_CHECKPOINT_URI", "gs://elsewhere/checkpoints")
    with pytest.raises(ConfigError):
        digest(images)
