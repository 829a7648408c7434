import hashlib
import io
import os
import threading
import time
import traceback
from pathlib import Path

import pytest
from minio import Minio

from syntrial.errors import ConfigError, DataError, SyntrialError
from syntrial.store import transfer
from syntrial.store.objects import DAMAGED_TRIES, PAGE, PART_BYTES, ObjectStore
from syntrial.store.uris import NOWHERE, Location, StorageError
from tests.object_server import SECRET, FaultyWay, answering, object_server


def digest(uri, *rest):
    return transfer.digest(Location.given(uri), *rest)


def fetch(uri, *rest):
    return transfer.fetch(Location.of(uri), *rest)


def open_store(uri):
    return transfer.open_store(Location.of(uri))


def store(path, uri):
    transfer.store(path, Location.of(uri))


@pytest.fixture(scope="module")
def server():
    with object_server() as address:
        yield address


@pytest.fixture
def bucket(server, request, monkeypatch):
    """An empty bucket, and an environment in which minio:// finds it."""
    name = "b" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    client = Minio(server, "a-key", SECRET, secure=False, region="us-east-1")
    client.make_bucket(name)
    reach(monkeypatch, server)
    monkeypatch.setenv("SYNTRIAL_STORAGE_PATIENCE_S", "20")
    fill = lambda key, content=b"x": client.put_object(name, key, io.BytesIO(content), len(content))  # noqa: E731
    return type("Bucket", (), {"name": name, "client": client, "fill": staticmethod(fill), "uri": f"minio://{name}"})


@pytest.fixture
def way(server, bucket, monkeypatch):
    """The same through a way on which things go wrong."""
    way = FaultyWay(server)
    reach(monkeypatch, way.start())
    yield way
    way.stop()


def reach(monkeypatch, address):
    for name, value in {"ENDPOINT": address, "ACCESS_KEY": "a-key", "SECRET_KEY": SECRET, "SECURE": "false"}.items():
        monkeypatch.setenv(f"MINIO_{name}", value)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What a URI means


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("xrays", Location("file", "", "xrays")),
        ("scan:7/raw", Location("file", "", "scan:7/raw")),
        ("file:///data/x%20y", Location("file", "", "/data/x y")),
        ("file://localhost/data", Location("file", "", "/data")),
        ("file:///data/", Location("file", "", "/data/")),
        ("/", Location("file", "", "/")),
        ("minio://bucket", Location("minio", "bucket", "")),
        ("S3://bucket/a/b#1?.zip", Location("s3", "bucket", "a/b#1?.zip")),
    ],
)
def test_a_uri_is_parsed_into_a_location(uri, location):
    assert Location.of(uri) == location
    assert location.is_remote == (location.scheme != "file")


def test_an_empty_uri_points_nowhere_and_everything_else_somewhere():
    assert Location.given("") == NOWHERE and not NOWHERE and str(NOWHERE) == ""
    assert all(Location.given(uri) for uri in ("x", "/", "minio://bucket"))
    assert NOWHERE.resolved() == NOWHERE


@pytest.mark.parametrize("uri", ["xrays", "/data/x y/", "minio://bucket", "s3://bucket/a/b#1?.zip"])
def test_a_locations_text_is_a_uri_of_that_location(uri):
    assert Location.of(str(Location.of(uri))) == Location.of(uri)


@pytest.mark.parametrize("uri", ["minio://bucket", "minio://bucket/", "/", "/data", "/data/", "data"])
def test_a_name_below_a_location_is_one_part_more(uri):
    below = Location.of(uri).below("x")
    assert below.path.name == "x" and below.path.parent == Location.of(uri).path


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "is empty"),
        ("mino://bucket/key", "did you mean minio://"),
        ("gs://bucket/key", "s3:// or minio://"),
        ("minio:/bucket/key", "write minio://"),
        ("s3:bucket", "write s3://"),
        ("minio://", "no valid bucket name"),
        ("minio:///key", "no valid bucket name"),
        ("minio://a/key", "no valid bucket name"),
        ("minio://bucket//key", "empty part"),
        ("minio://bucket/a/../b", "empty part, . or .."),
        ("file://data/xrays", "file:///data/xrays"),
    ],
)
def test_a_mistyped_uri_is_refused_with_what_would_fit(uri, said):
    with pytest.raises(ConfigError, match=said):
        Location.of(uri)


def test_a_path_that_is_not_there_is_refused_with_the_one_that_was_meant(tmp_path):
    (tmp_path / "xrays").mkdir()
    for look in (digest, lambda uri: fetch(uri, tmp_path)):
        with pytest.raises(DataError, match=r"there is no .*xray; did you mean .*xrays\?"):
            look(tmp_path / "xray")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "needs MINIO_ENDPOINT"),
        ({"MINIO_ENDPOINT": f"http://me:{SECRET}@host:9000"}, "MINIO_ENDPOINT is invalid"),
        ({"MINIO_ENDPOINT": "host:9000", "MINIO_ACCESS_KEY": SECRET}, "only one is set"),
        ({"MINIO_ENDPOINT": "host:9000", "MINIO_SECURE": "maybe"}, "true or false"),
        ({"MINIO_ENDPOINT": "host:9000", "SYNTRIAL_STORAGE_PATIENCE_S": "-1"}, "number of seconds"),
        ({"MINIO_ENDPOINT": "host:9000", "MINIO_REGION": "no region!"}, "region"),
    ],
)
def test_an_environment_that_does_not_say_where_is_refused_by_name_and_without_secrets(settings, said, monkeypatch):
    for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "SECURE", "REGION"):
        monkeypatch.delenv(f"MINIO_{name}", raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said) as refused:
        open_store("minio://bucket/key")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "AWS_CA_BUNDLE"])
@pytest.mark.parametrize("content", ["no certificate", None])
def test_certificates_that_cannot_be_read_are_named_where_the_way_is_encrypted(name, content, tmp_path, monkeypatch):
    if content:
        (tmp_path / "ca.crt").write_text(content, encoding="utf-8")
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(name, str(tmp_path / "ca.crt"))
    monkeypatch.setenv("MINIO_ENDPOINT", "https://127.0.0.1:1")
    with pytest.raises(ConfigError, match=rf"{name} is .*ca\.crt, a file without certificates that can be read \("):
        open_store("minio://bucket/key")
    monkeypatch.setenv("MINIO_ENDPOINT", "http://127.0.0.1:1")
    open_store("minio://bucket/key")


def test_a_password_in_a_uri_is_refused_and_not_repeated():
    with pytest.raises(ConfigError) as refused:
        Location.of(f"minio://me:{SECRET}@bucket/key")
    assert SECRET not in str(refused.value)


# What data are


def test_the_digest_of_a_folder_forgets_when_a_name_or_a_content_changes(tmp_path):
    data = tmp_path / "data"
    (data / "normal").mkdir(parents=True)
    (data / "normal" / "1.png").write_bytes(b"one")
    (data / "2.png").write_bytes(b"two")
    first = digest(data)
    assert first == digest(f"{data}/") == digest(data.as_uri())
    (data / "2.png").write_bytes(b"twO")
    second = digest(data)
    (data / "2.png").rename(data / "3.png")
    assert len({first, second, digest(data)}) == 3


def test_names_and_contents_cannot_stand_for_one_another(tmp_path):
    for number, names in enumerate((["ab", "c"], ["a", "bc"], ["abc"])):
        (tmp_path / str(number)).mkdir()
        for name in names:
            (tmp_path / str(number) / name).touch()
    assert len({digest(tmp_path / str(number)) for number in range(3)}) == 3


def test_the_digest_follows_links_and_survives_circles_and_broken_ones(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "normal").symlink_to(tmp_path / "far")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "nowhere").symlink_to(tmp_path / "gone")
    before = digest(tmp_path / "data")
    (tmp_path / "far" / "1.png").write_bytes(b"one")
    assert digest(tmp_path / "data") != before


def test_an_empty_uri_has_an_empty_digest():
    assert digest("") == ""


def test_the_digest_of_a_prefix_forgets_when_an_object_changes_and_ignores_its_neighbours(bucket):
    bucket.fill("xrays/1.png", b"one")
    bucket.fill("xrays/", b"")
    first = digest(f"{bucket.uri}/xrays")
    bucket.fill("xrays-old/1.png", b"two")
    assert digest(f"{bucket.uri}/xrays/") == first
    bucket.fill("xrays/1.png", b"One")
    assert digest(f"{bucket.uri}/xrays") != first


def test_a_prefix_of_many_pages_is_listed_whole(bucket):
    for number in range(PAGE + 3):
        bucket.fill(f"many/{number:05d}", b"")
    assert [entry.name for entry in open_store(f"{bucket.uri}/many").entries()] == [f"{n:05d}" for n in range(PAGE + 3)]


# There and back


def test_local_data_stay_where_they_are(tmp_path):
    assert fetch(tmp_path, tmp_path / "into") == fetch(tmp_path.as_uri(), tmp_path / "into") == tmp_path
    assert not (tmp_path / "into").exists()


def test_a_folder_stored_and_fetched_is_the_same_folder(bucket, tmp_path):
    here = tmp_path / "here"
    for name in ("normal/1.png", "normal/ü 2.png", "pneumonia/deep/3#?.png", "empty"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(os.urandom(1000) if name != "empty" else b"")
    store(here, f"{bucket.uri}/sets/here")
    back = fetch(f"{bucket.uri}/sets/here", tmp_path / "into")
    assert back.name == "here"
    assert contents(back) == contents(here)


def test_a_single_object_becomes_a_file_of_its_name(bucket, tmp_path):
    (tmp_path / "set.zip").write_bytes(b"zip")
    store(tmp_path / "set.zip", f"{bucket.uri}/raw/")
    store(tmp_path / "set.zip", f"{bucket.uri}/raw/other.zip")
    for name in ("set.zip", "other.zip"):
        back = fetch(f"{bucket.uri}/raw/{name}", tmp_path / "into")
        assert (back.name, back.read_bytes()) == (name, b"zip")


def test_a_file_is_stored_in_a_folder_of_this_machine_as_well(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    store(tmp_path / "a", f"{tmp_path}/there/b")
    store(tmp_path / "a", f"{tmp_path.as_uri()}/there/")
    store(tmp_path / "there", tmp_path / "copy")
    assert contents(tmp_path / "copy") == {"a": b"a", "b": b"a"}


def test_an_object_in_parts_arrives_whole_although_its_etag_is_no_md5(bucket, way, tmp_path):
    content = os.urandom(1 << 20) * (PART_BYTES // (1 << 20)) + b"the rest"
    (tmp_path / "big").write_bytes(content)
    store(tmp_path / "big", f"{bucket.uri}/big")
    assert "-" in bucket.client.stat_object(bucket.name, "big").etag
    way.faults = ["short", "cut", ""]
    assert fetch(f"{bucket.uri}/big", tmp_path / "into").read_bytes() == content
    way.faults = ["cut", "whole"]
    assert open_store(bucket.uri).read_bytes("big") == content
    way.requests.clear()
    fetch(f"{bucket.uri}/big", tmp_path / "into")
    assert way.gets() == []


def test_s3_finds_its_place_by_the_usual_variables(bucket, server, tmp_path, monkeypatch):
    keys = {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": SECRET}
    for name, value in {"ENDPOINT_URL": f"http://{server}", "REGION": "us-east-1", **keys}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    bucket.fill("a/b", b"b")
    assert contents(fetch(f"s3://{bucket.name}/a", tmp_path)) == {"b": b"b"}


def test_what_is_whole_is_not_fetched_again_and_what_changed_is(bucket, way, tmp_path):
    for number in range(5):
        bucket.fill(f"set/{number}", b"content %d" % number)
    folder = fetch(f"{bucket.uri}/set", tmp_path)
    (folder / "1").write_bytes(b"con")  # cut
    (folder / "2").write_bytes(b"Content 2")  # of the same size
    bucket.fill("set/3", b"CONTENT 3")
    way.requests.clear()
    assert contents(fetch(f"{bucket.uri}/set", tmp_path))["3"] == b"CONTENT 3"
    fetched = [path[-1] for method, path, _ in way.requests if method == "GET" and "?" not in path]
    assert sorted(fetched) == ["1", "2", "3"]


def test_what_the_store_has_no_longer_goes_and_so_do_drafts_of_a_killed_fetch(bucket, tmp_path):
    for key in ("set/a/1", "set/b/2"):
        bucket.fill(key)
    folder = fetch(f"{bucket.uri}/set", tmp_path)
    (folder / "a" / ".part-killed").write_bytes(b"half")
    bucket.client.remove_object(bucket.name, "set/b/2")
    assert contents(fetch(f"{bucket.uri}/set", tmp_path)) == {"a/1": b"x"}
    assert not (folder / "b").exists()


def test_what_the_store_has_already_is_not_sent_again(bucket, way, tmp_path):
    (tmp_path / "here").mkdir()
    for name in "ab":
        (tmp_path / "here" / name).write_bytes(name.encode())
    store(tmp_path / "here", bucket.uri)
    (tmp_path / "here" / "b").write_bytes(b"B")
    way.requests.clear()
    store(tmp_path / "here", bucket.uri)
    assert [path for method, path, _ in way.requests if method == "PUT"] == [f"/{bucket.name}/b"]


@pytest.mark.parametrize("name", ["../../out", "/absolute", "a/./b", "a//b", ""])
def test_a_name_that_leads_out_of_a_store_is_refused(bucket, tmp_path, name):
    for there in (open_store(f"{bucket.uri}/set"), open_store(tmp_path)):
        with pytest.raises(DataError, match="leads out of its folder"):
            there.write_bytes(name, b"")


def test_a_bucket_with_a_key_that_leads_out_of_the_folder_is_not_fetched(tmp_path, monkeypatch):
    with answering(200, listing_of("set/../../../out.txt")) as address:
        reach(monkeypatch, address)
        with pytest.raises(DataError, match=r"'\.\./\.\./\.\./out\.txt' leads out"):
            fetch("minio://bucket/set/", tmp_path / "a" / "b" / "c")
    assert not list(tmp_path.rglob("out.txt"))


def listing_of(key):
    contents = f"<Contents><Key>{key}</Key><Size>1</Size><ETag>x</ETag></Contents>"
    return f"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"


def test_each_object_is_reported_once(bucket, tmp_path):
    for number in range(70):
        bucket.fill(f"set/{number:02d}")
    reported = []
    fetch(f"{bucket.uri}/set", tmp_path, lambda entry: reported.append(entry.name))
    assert reported == [f"{number:02d}" for number in range(70)]


# When things go wrong


def test_a_server_that_is_busy_is_asked_again(bucket, way, tmp_path):
    bucket.fill("set/a", b"a")
    way.faults = ["busy", "busy", "busy"]
    assert contents(fetch(f"{bucket.uri}/set", tmp_path)) == {"a": b"a"}
    way.faults = ["busy", "busy"]
    store(tmp_path, f"{bucket.uri}/back")
    assert not way.faults


def test_a_server_that_is_away_for_a_while_is_waited_for_and_a_line_says_so(bucket, way, tmp_path, caplog):
    for number in range(40):
        bucket.fill(f"set/{number}", b"%d" % number)
    reported = threading.Event()

    def back():
        while not reported.wait(0.05):
            if any("Connection refused" in line for line in list(caplog.messages)):
                reported.set()
        way.start()

    way.stop()
    coming = threading.Thread(target=back)
    coming.start()
    try:
        assert len(contents(fetch(f"{bucket.uri}/set", tmp_path))) == 40
    finally:
        reported.set()
        coming.join()


def test_a_server_that_stays_away_is_given_up_in_one_sentence(bucket, way, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_STORAGE_PATIENCE_S", "0.5")
    way.stop()
    for attempt in (lambda: digest(f"{bucket.uri}/set"), lambda: fetch(f"{bucket.uri}/set", tmp_path)):
        with pytest.raises(StorageError, match=r"does not answer \(Connection refused\) since 0.5 s"):
            attempt()


def test_a_broken_connection_goes_on_where_it_was(bucket, way, tmp_path):
    content = os.urandom(300_000)
    bucket.fill("big", content)
    way.faults = ["cut", "cut", ""]
    assert fetch(f"{bucket.uri}/big", tmp_path).read_bytes() == content
    assert way.gets() == ["", "bytes=150000-", "bytes=225000-"]


def test_a_server_without_ranges_is_read_from_the_beginning(bucket, way, tmp_path):
    content = os.urandom(300_000)
    bucket.fill("big", content)
    way.faults = ["cut", "whole"]
    assert fetch(f"{bucket.uri}/big", tmp_path).read_bytes() == content


@pytest.mark.parametrize("fault", ["bent", "cut"])
def test_what_arrives_damaged_is_fetched_again(bucket, way, tmp_path, fault):
    bucket.fill("set/a", b"content")
    way.faults = [fault]
    assert contents(fetch(f"{bucket.uri}/set", tmp_path)) == {"a": b"content"}
    way.faults = [fault, "etag"]
    assert open_store(f"{bucket.uri}/set").read_bytes("a") == b"content"


def test_what_stays_damaged_is_refused_and_leaves_nothing_behind(bucket, way, tmp_path):
    bucket.fill("set/a", b"content")
    way.faults = ["bent"] * DAMAGED_TRIES
    with pytest.raises(DataError, match=r"a of .* arrived damaged 4 times"):
        fetch(f"{bucket.uri}/set", tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


def test_what_is_sent_damaged_is_sent_again(bucket, way, tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    way.faults = ["etag", "etag", ""]
    store(tmp_path / "a", f"{bucket.uri}/a")
    assert [method for method, _, _ in way.requests].count("PUT") == 3


def test_an_object_that_changes_between_listing_and_fetching_is_refused(bucket, tmp_path):
    bucket.fill("a", b"old")
    here = open_store(bucket.uri)
    entry = here.find("a")
    bucket.fill("a", b"new")
    with pytest.raises(DataError, match="changed while it was fetched"):
        here.get(entry, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_missing_bucket_prefix_or_object_is_named(bucket, tmp_path):
    with pytest.raises(StorageError, match="no bucket 'nobucket'"):
        fetch("minio://nobucket/set", tmp_path)
    with pytest.raises(DataError, match="/set names no object"):
        digest(f"{bucket.uri}/set")
    with pytest.raises(FileNotFoundError):
        open_store(bucket.uri).read_bytes("nothing")
    open_store(bucket.uri).delete("nothing")


def test_a_server_without_encryption_is_said_to_need_a_setting(way, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIO_SECURE", "true")
    with pytest.raises(StorageError, match="MINIO_SECURE=false"):
        fetch("minio://bucket/set", tmp_path)


@pytest.mark.parametrize("page", ["<html><p>Console</html>", "<html/>", "hello"])
def test_a_server_of_another_kind_is_told_from_one_that_is_away(page, tmp_path, monkeypatch):
    with answering(200, page) as address:
        reach(monkeypatch, address)
        with pytest.raises(StorageError, match="does not answer as an object store does"):
            fetch("minio://bucket/set/", tmp_path)


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "AccessDenied"])
def test_a_refusal_names_the_variables_and_never_repeats_what_the_server_says(code, tmp_path, monkeypatch):
    with answering(403, f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>") as address:
        reach(monkeypatch, address)
        with pytest.raises(StorageError, match=f"{code}.*check MINIO_ACCESS_KEY and .*, which are set") as refused:
            fetch("minio://bucket/set/", tmp_path)
    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_no_secret_is_ever_said(bucket, way, tmp_path, caplog):
    caplog.set_level("DEBUG")
    with pytest.raises(SyntrialError) as refused:
        fetch("minio://nobucket/set", tmp_path)
    bucket.fill("set/a", b"content")
    way.faults = ["bent"] * DAMAGED_TRIES
    with pytest.raises(SyntrialError) as damaged:
        fetch(f"{bucket.uri}/set", tmp_path)
    said = [repr(open_store(bucket.uri)), caplog.text]
    said += ["".join(traceback.format_exception(error.value)) for error in (refused, damaged)]
    assert SECRET not in "".join(said)


def test_ctrl_c_in_the_middle_of_an_outage_ends_at_once(bucket, way, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_STORAGE_PATIENCE_S", "60")
    for number in range(30):
        bucket.fill(f"set/{number:02d}")

    def stop(entry):
        way.stop()
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{bucket.uri}/set", tmp_path, stop)
    assert time.monotonic() - began < 30  # half the patience


def test_a_place_without_room_is_said_in_one_sentence(bucket, tmp_path):
    bucket.fill("set/a")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be kept in"):
        fetch(f"{bucket.uri}/set", tmp_path / "file")


def test_writing_in_a_folder_is_whole_or_not_at_all(tmp_path):
    here = open_store(tmp_path)
    here.write_bytes("a/b", b"old")
    with pytest.raises(TypeError):
        here.write_bytes("a/b", "not bytes")
    assert here.read_bytes("a/b") == b"old"
    assert [entry.name for entry in here.entries()] == ["a/b"]
    here.delete("a/b")
    here.delete("a/b")
    assert list(here.entries()) == []


def test_local_data_load_no_client(tmp_path):
    import subprocess
    import sys

    code = "import sys; from syntrial.digest import digest; digest(sys.argv[1]); sys.exit('minio' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": "src"}
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment).returncode == 0


def test_an_object_store_says_which_place_it_is(bucket):
    assert repr(open_store(f"{bucket.uri}/a")) == f"ObjectStore('{bucket.uri}/a')"
    assert isinstance(open_store(bucket.uri), ObjectStore)
