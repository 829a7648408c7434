"""What data are now: another digest wherever `ingest` would read anything else."""

import hashlib
import os
import shutil

import pytest

from syntrial.digest import digest, refuse_changed
from syntrial.errors import DataError
from syntrial.store import transfer
from syntrial.store.uris import Location

LIST = "file,label\nscans/a.png,normal\nscans/b.png,sick\ngone.png,sick\n"


@pytest.fixture
def manifest(tmp_path):
    """A table by itself, with the files that it names beside it, and one that it does not name."""
    (tmp_path / "scans").mkdir()
    for name in ("a.png", "b.png", "stray.png"):
        (tmp_path / "scans" / name).write_bytes(name.encode())
    (tmp_path / "list.csv").write_text(LIST, encoding="utf-8")
    return tmp_path / "list.csv"


def test_no_data_are_nothing_and_each_uri_has_its_own_digest(manifest):
    none, table, folder = digest("", manifest, manifest.parent)
    assert none == "" and len({table, folder}) == 2
    assert (table, folder) == digest(manifest, f"file://{manifest.parent}")


@pytest.mark.parametrize("name", ["list.csv", "scans/a.png", "scans/b.png"])
def test_a_manifest_and_every_file_it_names_count(manifest, name):
    before = digest(manifest)
    with open(manifest.parent / name, "ab") as file:
        file.write(b"\n")
    assert digest(manifest) != before


def test_a_file_that_a_manifest_misses_counts_as_soon_as_it_is_there(manifest):
    before = digest(manifest)
    (manifest.parent / "gone.png").write_bytes(b"found")
    assert digest(manifest) != before


def test_what_a_manifest_does_not_name_and_where_it_lies_do_not_count(manifest):
    before = digest(manifest)
    (manifest.parent / "scans" / "stray.png").unlink()
    shutil.copytree(manifest.parent, manifest.parent / "elsewhere")
    assert digest(manifest.parent / "elsewhere" / "list.csv") == before


def test_a_folder_and_an_archive_are_what_they_hold(manifest):
    archive = shutil.make_archive(str(manifest.parent / "packed"), "zip", manifest.parent / "scans")
    for path in (manifest.parent / "scans", archive):
        assert digest(path) == (transfer.digest(Location.of(path)),)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "normal/.hidden", "@eaDir/a.png@SynoEAStream"])
def test_what_a_system_leaves_behind_does_not_count(manifest, name):
    folder = manifest.parent / "scans"
    before = digest(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"litter")
    assert digest(folder) == before


def test_the_salt_counts_and_cannot_be_read_off(manifest, monkeypatch):
    monkeypatch.delenv("SYNTRIAL_SALT", raising=False)
    found = {digest(manifest)}
    for salt in ("one", "two", os.fsdecode(b"\xff")):
        monkeypatch.setenv("SYNTRIAL_SALT", salt)
        found.add(digest(manifest))
    assert len(found) == 4 and all(len(one) == 64 for (one,) in found)
    assert not {hashlib.sha256(text).hexdigest() for text in (b"one", b"saltone")} & {one for (one,) in found}
    assert digest("") == ("",)


@pytest.mark.parametrize("salt", ["", "a word"])
def test_data_that_are_added_to_are_refused(manifest, monkeypatch, salt):
    monkeypatch.setenv("SYNTRIAL_SALT", salt)
    (before,) = digest(manifest)
    refuse_changed(manifest, before)
    refuse_changed("", "")
    (manifest.parent / "gone.png").write_bytes(b"found")
    with pytest.raises(DataError, match=r"list\.csv has changed since this run began"):
        refuse_changed(manifest, before)


def test_a_manifest_that_cannot_be_followed_and_data_that_are_not_there_are_refused(manifest):
    manifest.write_text("file,group\nscans/a.png,p1\n", encoding="utf-8")
    with pytest.raises(DataError, match="needs the columns file and label"):
        digest(manifest)
    with pytest.raises(DataError, match=r"did you mean .*list\.csv"):
        digest(manifest.with_name("lists.csv"))
