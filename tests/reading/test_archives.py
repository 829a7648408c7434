"""Archives as other people pack them: readable whatever their kind, and harmless whatever they hold."""

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from syntrial.errors import DataError
from syntrial.reading.archives import Limits, stored

TARS = {".tar": "w:", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}
NAMES = ["a/plain.png", "a/胸部X線.png", "b/with space, comma.png", "b/x" + "x" * 180 + ".png"]
OUTSIDE = ["../out.png", "a/../../out.png", "/tmp/out.png", "..\\out.png", "C:\\out.png"]


def packed_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def packed_tar(path, members, mode="w:"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def special_tar(path, kind, target="plain"):
    with tarfile.open(path, "w:") as archive:
        member = tarfile.TarInfo("a/special.png")
        member.type, member.linkname = kind, target
        archive.addfile(member)
    return path


def contents(source, scratch, limits=None):
    scratch.mkdir(exist_ok=True)
    store, files = stored(source, scratch, limits)
    found = {}
    for file in files:
        with store.open(file.at) as content:
            found[file.name] = content.read()
    return found


@pytest.mark.parametrize("suffix", TARS)
def test_of_a_tar_only_what_will_be_opened_takes_room(suffix, tmp_path):
    members = {name: b"a" * 70_000 for name in NAMES} | {"a/table.csv": b"file,label"}
    source = packed_tar(tmp_path / f"x{suffix}", members, TARS[suffix])
    for scratch in ("some", "all"):
        (tmp_path / scratch).mkdir()
    limits = Limits(ratio=100_000)
    store, files = stored(source, tmp_path / "some", limits, unpacks=lambda name: name.endswith(".csv"))
    assert [(file.name, file.size) for file in files] == [
        (file.name, file.size) for file in stored(source, tmp_path / "all", limits)[1]
    ]
    assert [path.read_bytes() for path in store.path.iterdir()] == [b"file,label"]


def flagged(path, bits, name=None):
    """The same zip with general flags set in every header (2 bytes, 6 and 8 bytes after the signatures)."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.find(signature)
        while start >= 0:
            struct.pack_into("<H", content, start + offset, bits)
            start = content.find(signature, start + 4)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".zip", *TARS])
def test_an_archive_of_any_kind_gives_back_what_was_packed(tmp_path, suffix):
    members = {name: os.urandom(700 * i) for i, name in enumerate(NAMES)}
    path = tmp_path / "pack.bin"  # the name says nothing
    packed_zip(path, members) if suffix == ".zip" else packed_tar(path, members, TARS[suffix])
    assert contents(path, tmp_path / "scratch") == members


def test_a_folder_and_a_zip_of_it_hold_the_same_files(tmp_path):
    for name in NAMES:
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(name.encode())
    path = packed_zip(tmp_path / "pack.zip", {name: name.encode() for name in NAMES})
    assert contents(tmp_path / "folder", tmp_path / "scratch") == contents(path, tmp_path / "scratch")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_zip_that_reaches_outside_itself_is_refused_by_name(tmp_path, name):
    path = packed_zip(tmp_path / "evil.zip", {"fine.png": b"", name: b"x"})
    with pytest.raises(DataError, match=r"evil\.zip holds a name that points outside"):
        contents(path, tmp_path / "scratch")


@pytest.mark.parametrize("name", OUTSIDE[:3])
def test_a_tar_that_reaches_outside_itself_is_refused_and_writes_nothing_there(tmp_path, name):
    path = packed_tar(tmp_path / "evil.tar", {"fine.png": b"x", name: b"x"})
    with pytest.raises(DataError, match="points outside"):
        contents(path, tmp_path / "scratch")
    assert not list(tmp_path.rglob("out.png")) and not Path("/tmp/out.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with pytest.raises(DataError, match="link, a device"):
        contents(special_tar(tmp_path / "evil.tar", kind, "/etc/passwd"), tmp_path / "scratch")


def test_a_link_in_a_zip_is_refused(tmp_path):
    member = zipfile.ZipInfo("a/link.png")
    member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(DataError, match=r"holds a link \(a/link\.png\)"):
        contents(tmp_path / "evil.zip", tmp_path / "scratch")


SMALL = Limits(files=10, total_bytes=2**22, ratio=50, small_bytes=2**16)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_that_unpacks_to_far_more_than_its_size_is_stopped(tmp_path, suffix):
    path, members = tmp_path / "bomb", {"zeros.png": bytes(2**21)}
    packed_zip(path, members) if suffix == ".zip" else packed_tar(path, members, "w:gz")
    with pytest.raises(DataError, match="would unpack to more than"):
        contents(path, tmp_path / "scratch", SMALL)
    written = sum(file.stat().st_size for file in (tmp_path / "scratch").rglob("*") if file.is_file())
    assert written <= max(SMALL.small_bytes, SMALL.ratio * path.stat().st_size)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_archive_of_too_many_files_is_stopped(tmp_path, suffix):
    members = {f"{i}.png": b"" for i in range(11)}
    path = (packed_zip if suffix == ".zip" else packed_tar)(tmp_path / "many", members)
    with pytest.raises(DataError, match="more than 10 files"):
        contents(path, tmp_path / "scratch", SMALL)


def test_a_tar_header_made_to_fill_the_memory_is_refused(tmp_path):
    member = tarfile.TarInfo("long name")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**28
    with gzip.open(tmp_path / "evil.tar.gz", "wb") as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))
    with pytest.raises(DataError, match="has a header of 268,435,456 bytes"):
        contents(tmp_path / "evil.tar.gz", tmp_path / "scratch")


def test_a_member_of_a_zip_is_never_read_beyond_the_size_it_claims(tmp_path):
    path = packed_zip(tmp_path / "liar.zip", {"a.png": bytes(2**20)})
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.rfind(b"PK\1\2") + 24, 1000)  # size in the directory
    path.write_bytes(content)
    store, (file,) = stored(path, tmp_path)
    assert file.size == 1000
    with pytest.raises(zipfile.BadZipFile):
        store.open(file.at)


def test_an_encrypted_zip_is_refused_with_the_way_out(tmp_path):
    path = flagged(packed_zip(tmp_path / "locked.zip", {"a.png": b"x"}), 1)
    with pytest.raises(DataError, match=r"locked\.zip is encrypted \(a\.png\); unpack it with its password"):
        contents(path, tmp_path / "scratch")


@pytest.mark.parametrize("suffix", [".zip", *TARS])
def test_an_archive_that_was_cut_off_is_called_damaged(tmp_path, suffix):
    members = {f"{i}.png": os.urandom(40_000) for i in range(3)}
    path = tmp_path / f"cut{suffix}"
    packed_zip(path, members) if suffix == ".zip" else packed_tar(path, members, TARS[suffix])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="is damaged or incomplete"):
        contents(path, tmp_path / "scratch")


def test_names_of_a_zip_that_forgot_to_say_that_they_are_utf8_survive(tmp_path):
    path = flagged(packed_zip(tmp_path / "pack.zip", {"胸部/ñ.png": b"x"}), 0)
    assert contents(path, tmp_path / "scratch") == {"胸部/ñ.png": b"x"}


def test_names_that_are_no_utf8_at_all_survive_in_a_form_that_can_be_written(tmp_path):
    raw = os.fsdecode(b"a/\xff\xfe.png")
    for path in (tmp_path / "folder" / "a", tmp_path / "scratch"):
        path.mkdir(parents=True)
    (tmp_path / "folder" / raw).write_bytes(b"x")
    packed_tar(tmp_path / "pack.tar", {raw: b"x"})
    for source in (tmp_path / "folder", tmp_path / "pack.tar"):
        assert contents(source, tmp_path / "scratch") == {"a/\\udcff\\udcfe.png": b"x"}


def test_what_is_neither_folder_nor_archive_is_refused(tmp_path):
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"image\.png is neither a folder nor an archive"):
        stored(tmp_path / "image.png", tmp_path)
    with pytest.raises(DataError, match="there is no folder or file"):
        stored(tmp_path / "nothing", tmp_path)


def test_a_folder_that_is_linked_into_itself_is_walked_once(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").write_bytes(b"x")
    (tmp_path / "folder" / "again").symlink_to(tmp_path / "folder")
    assert list(contents(tmp_path / "folder", tmp_path / "scratch")) == ["a.png"]


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    _, (file,) = stored(tmp_path, tmp_path)
    assert file.size == -1
