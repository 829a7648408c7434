"""Local images reach the cluster's store once, and become the same image set there."""

import json
import os
import shutil

import pytest
from local_runs import SMOKE, TINY
from minio import Minio
from object_server import SECRET

from pipelines.cluster.upload import uploaded
from syntrial.config import IngestConfig, load_study
from syntrial.errors import ConfigError, DataError
from syntrial.ingest import ingest
from syntrial.store import transfer
from syntrial.store.uris import NOWHERE, Location, StorageError

STUDY = load_study(SMOKE, TINY[1::2])


@pytest.fixture(autouse=True)
def store(kubeflow):
    """The object store's client, and its environment."""
    return Minio(os.environ["MINIO_ENDPOINT"], "somebody", SECRET, secure=False)


@pytest.fixture
def folder(xrays, tmp_path):
    """A few X-rays in folders by class, beside what no image set has."""
    copy = shutil.copytree(xrays, tmp_path / "hospital")
    shutil.rmtree(copy / "normal")
    (copy / "normal").mkdir()
    for path in sorted((xrays / "normal").iterdir())[:4]:
        shutil.copyfile(path, copy / "normal" / path.name)
    for path in sorted((copy / "pneumonia").iterdir())[4:]:
        path.unlink()
    (copy / "normal" / ".hidden").write_bytes(b"nothing")
    (copy / "réadme.txt").write_text("whose they are", encoding="utf-8")
    (copy / "gone.png").symlink_to(copy / "nowhere.png")
    return copy


def bring(path, scratch, dry=False):
    """The URI of data, as pods know it."""
    scratch.mkdir(exist_ok=True)
    locations = {"data": Location.of(path), "faces": NOWHERE, "external": NOWHERE}
    return str(uploaded(STUDY, locations, scratch, dry)["data"])


def image_set(uri, out, **config):
    """Its digest, and what is said of the data it was made of."""
    ingest(uri, out, side=32, classes=STUDY.classes, config=IngestConfig(**config))
    about = json.loads((out / "about.json").read_text(encoding="utf-8"))
    facts = {key: value for key, value in about["ingest"].items() if key != "reasons"}
    return about["digest"], facts


def test_a_folder_becomes_the_same_image_set_by_way_of_the_store(folder, tmp_path):
    (folder / "gone.png").unlink()  # what is a name only cannot be packed
    uri = bring(folder, tmp_path / "scratch")
    assert image_set(uri, tmp_path / "there") == image_set(folder, tmp_path / "here")


def test_patients_are_found_in_the_names_of_files_there_too(folder, tmp_path):
    for number, path in enumerate(sorted((folder / "normal").glob("*.png"))):
        path.rename(path.with_name(f"person{number // 2}_{number}.png"))
    uri, pattern = bring(folder, tmp_path / "scratch"), {"group_pattern": r"person\d+"}
    there, here = (image_set(source, tmp_path / f"set-{n}", **pattern) for n, source in enumerate((uri, folder)))
    assert there[0] == here[0]
    assert there[1]["groups"] == here[1]["groups"]


def test_a_manifest_takes_along_what_it_names_and_nothing_else(folder, tmp_path):
    names = [path.relative_to(folder) for path in sorted(folder.glob("*/*.png"))[:-1]]
    rows = [f"{name},{name.parent},patient-{number // 2}" for number, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["file,label,group", *rows]), encoding="utf-8")
    uri = bring(folder / "labels.csv", tmp_path / "scratch")
    there, here = (image_set(source, tmp_path / f"set-{n}") for n, source in enumerate((uri, folder / "labels.csv")))
    assert there[0] == here[0]
    assert there[1]["used"] == here[1]["used"] == len(names)
    assert there[1]["found"] == len(names) + 1  # the manifest, which lies with them now


def test_a_second_test_set_may_be_a_manifest_whatever_the_layout_of_the_images(folder, store, tmp_path):
    names = [path.relative_to(folder) for path in folder.glob("*/*.png")]
    (folder / "labels.csv").write_text("\n".join(["file,label", *(f"{n},{n.parent}" for n in names)]), encoding="utf-8")
    study = load_study(SMOKE, ["ingest.layout=kermany"])
    (tmp_path / "scratch").mkdir()
    manifest = Location.of(folder / "labels.csv")
    assert uploaded(study, {"external": manifest}, tmp_path / "scratch")["external"].key.endswith(".zip")
    with pytest.raises(ConfigError, match=r"ingest\.layout is 'kermany', but labels\.csv is a manifest"):
        uploaded(study, {"data": manifest}, tmp_path / "scratch")


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_is_sent_as_it_is(kind, folder, store, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "hospital"), kind, folder / ".." / "hospital")
    uri = bring(archive, tmp_path / "scratch")
    _, _, bucket, key = uri.split("/", 3)
    with open(archive, "rb") as file, store.get_object(bucket, key) as sent:
        assert sent.read() == file.read()


def test_what_is_there_already_is_neither_packed_nor_sent(folder, store, tmp_path):
    uri = bring(folder, tmp_path / "scratch")
    _, _, bucket, key = uri.split("/", 3)
    before = store.stat_object(bucket, key).last_modified
    shutil.rmtree(tmp_path / "scratch")
    assert bring(folder, tmp_path / "scratch") == uri
    assert not list((tmp_path / "scratch").iterdir())
    assert store.stat_object(bucket, key).last_modified == before


def test_a_changed_image_gets_a_place_of_its_own(folder, tmp_path):
    before = bring(folder, tmp_path / "scratch")
    first, second = sorted((folder / "normal").glob("*.png"))[:2]
    shutil.copyfile(first, second)
    assert bring(folder, tmp_path / "scratch") != before


def test_the_same_images_make_the_same_archive_whenever_they_are_packed(folder, store, tmp_path):
    packed = []
    for time_s in (1_000_000_000, 1_700_000_000):
        for path in folder.rglob("*.png"):
            if path.exists():
                os.utime(path, (time_s, time_s))
        _, _, bucket, key = bring(folder, tmp_path / "scratch").split("/", 3)
        packed.append(store.get_object(bucket, key).read())
        store.remove_object(bucket, key)
    assert packed[0] == packed[1]


def test_a_dry_run_names_the_place_and_sends_nothing(folder, store, tmp_path, capsys):
    uri = bring(folder, tmp_path / "scratch", dry=True)
    assert f"{folder} would be {uri}" in capsys.readouterr().err
    with pytest.raises(DataError):
        transfer.fetch(Location.of(uri), tmp_path)


def test_data_in_a_store_stay_where_they_are(tmp_path):
    assert bring("minio://elsewhere/xrays", tmp_path / "scratch") == "minio://elsewhere/xrays"


def test_another_store_may_be_named_but_no_folder(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("SYNTRIAL_DATA_URI", "minio://mlpipeline/raw")
    assert bring(folder, tmp_path / "scratch").startswith("minio://mlpipeline/raw/")
    monkeypatch.setenv("SYNTRIAL_DATA_URI", str(tmp_path))
    with pytest.raises(ConfigError, match="which no pod can reach"):
        bring(folder, tmp_path / "scratch")


def test_a_store_without_the_bucket_is_told_so(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("SYNTRIAL_DATA_URI", "minio://not-there/data")
    with pytest.raises(StorageError, match="not-there"):
        bring(folder, tmp_path / "scratch")


def test_a_place_without_room_for_the_archive_is_named(folder, tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "images.zip").mkdir()
    with pytest.raises(DataError, match="TMPDIR"):
        bring(folder, tmp_path / "scratch")
