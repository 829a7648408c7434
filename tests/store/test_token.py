"""A store that begins a generation has everything computed anew from what lies in it."""

import io

import pytest
from minio import Minio
from object_server import SECRET, object_server

from syntrial.digest import digest, refuse_changed
from syntrial.errors import ConfigError
from syntrial.store.token import begin, generation

STORE = "minio://generations/checkpoints"


@pytest.fixture
def images(monkeypatch):
    """URI of an image in a store with checkpoints."""
    with object_server() as address:
        found = {"ENDPOINT": address, "ACCESS_KEY": "a-key", "SECRET_KEY": SECRET, "SECURE": "false"}
        for name, value in found.items():
            monkeypatch.setenv(f"MINIO_{name}", value)
        monkeypatch.setenv("SYNTRIAL_CHECKPOINT_URI", STORE)
        client = Minio(address, "a-key", SECRET, secure=False, region="us-east-1")
        client.make_bucket("generations")
        client.put_object("generations", "data/a.png", io.BytesIO(b"x"), 1)
        yield "minio://generations/data"
        for name in ("data/a.png", "generation"):
            client.remove_object("generations", name)
        client.remove_bucket("generations")


def test_a_generation_lasts_until_the_next_begins(images):
    assert generation(STORE) == ""
    first = begin(STORE)
    assert generation(STORE) == first == generation(STORE)
    assert begin(STORE) not in ("", first)


def test_data_in_a_store_are_other_data_in_each_generation(images):
    seen = [digest(images), digest(images)]
    for _ in range(2):
        begin(STORE)
        seen += [digest(images)]
    assert len(set(seen)) == 3


def test_no_data_beside_data_in_a_store_are_others_too(images):
    seen = {digest(images, "")[1]}
    for _ in range(2):
        begin(STORE)
        seen.add(digest(images, "")[1])
    assert len(seen) == 3  # what was made of nothing lies in the store as well
    assert digest("") == ("",)


def test_a_generation_that_begins_meanwhile_is_no_change_of_the_data(images):
    begin(STORE)
    (before,) = digest(images)
    begin(STORE)
    refuse_changed(images, before)


def test_local_data_know_no_generation(images, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    before = digest(tmp_path)
    begin(STORE)
    assert digest(tmp_path) == before


def test_a_store_that_is_none_is_refused(images):
    with pytest.raises(ConfigError):
        begin("gs://elsewhere/checkpoints")
