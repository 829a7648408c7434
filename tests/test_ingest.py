"""Raw files -> image set, with the bad files one by one."""

import csv
import json
import shutil
import sys
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from minio import Minio
from PIL import Image

from syntrial.config import IngestConfig, SplitConfig
from syntrial.errors import ConfigError, DataError
from syntrial.imageset import ImageSet
from syntrial.ingest import ingest
from syntrial.split import split
from tests.object_server import SECRET, object_server

ROOT = Path(__file__).parents[1]
XRAY = ROOT / "data" / "sample" / "xray"
NORMAL, PNEUMONIA = (sorted((XRAY / label).glob("*.png")) for label in ("normal", "pneumonia"))
SHARED = ROOT / "../shared/data"
BAD = SHARED / "bad"
needs_bad = pytest.mark.skipif(not BAD.exists(), reason=f"the troublesome files are not here ({BAD})")

# What a person should read of each bad file; what is not here is accepted without a remark.
REASONS = {
    "truncated.png": "truncated",
    "truncated.jpg": "truncated",
    "zero_byte.png": "empty",
    "text_named.png": "not an image",
    "bad_checksum.png": "corrupt",
    "bomb_60000x60000.png": "too large",
    "one_pixel.png": "too small",
    "wide_4000x50.png": "aspect",
    "constant_black.png": "constant",
    "gray16_full_range.png": "16 bit",
    "gray16_12bit_range.png": "16 bit",
    "rgba_gradient_alpha.png": "alpha",
    "rgba_opaque.png": "alpha",
    "gray_alpha.png": "alpha",
    "palette_shuffled.png": "palette",
    "bilevel.png": "two levels",
    "exif_orientation_6.jpg": "turned",
    "cmyk.jpg": "cmyk",
    "jpeg_named.png": "extension",
    "multi_page.tif": "several pages",
    "inverted_negative.png": "negative",
    "label_conflict/normal/IM-0013-0001.png": "label conflict",
    "label_conflict/pneumonia/IM-0013-0001.png": "label conflict",
    "label_conflict/pneumonia/person1019_virus_1707.png": "label conflict",
    "label_conflict/normal/renamed_copy.png": "label conflict",
    "label_conflict/pneumonia/person101_virus_187_resaved.jpg": "near duplicate",
    "names/.hidden.png": "hidden",
    "names/Thumbs.db": "litter",
    "dicom/mono2_8bit.dcm": "dicom",
    "dicom/mono1_8bit.dcm": "dicom",
    "dicom/mono2_12bit_window.dcm": "dicom",
    "dicom/mono1_12bit_implicit.dcm": "dicom",
    "dicom/mono2_named.png": "extension",
    "dicom/truncated.dcm": "truncated",
    "dicom/no_pixels.dcm": "no pixels",
}
UNUSED_WARNINGS = {"label conflict", "hidden"}
# Grey levels by which a conversion may be off the reference, on average: none where nothing is lost.
CONVERSIONS = {
    "gray16_full_range.png": 0,
    "gray16_12bit_range.png": 0,
    "rgba_gradient_alpha.png": 0,
    "gray_alpha.png": 0,
    "palette_shuffled.png": 0,
    "exif_orientation_6.jpg": 1,
    "cmyk.jpg": 1,
    "progressive.jpg": 1,
    "jpeg_named.png": 1,
    "dicom/mono2_8bit.dcm": 0.5,  # of twice the size
}
INVENTED = [
    "FAKE",
    "Persona",
    "Invented",
    "Nowhere",
    "19000101",
    "20000101",
    "099Y",
    "TEST FILE",
    "1.2.826.0.1.3680043",
]


def rows_of(folder):
    with open(folder / "ingest.csv", newline="", encoding="utf-8") as file:
        return {unicodedata.normalize("NFC", row["file"]): row for row in csv.DictReader(file)}


def expected():
    if not BAD.exists():
        return []
    with open(BAD / "expected.csv", newline="", encoding="utf-8") as file:
        return [(row["file"], row["expected"]) for row in csv.DictReader(file)]


def put(folder, files):
    """Copies of images under new names; returns the folder."""
    for name, image in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / name)
    return folder


def two_classes(folder, count=4, **others):
    """A small data set by folders, and whatever else is to lie in it."""
    names = {f"{path.parent.name}/{path.name}": path for path in NORMAL[:count] + PNEUMONIA[:count]}
    return put(folder, {**names, **others})


def run(source, tmp_path, classes=("normal", "pneumonia"), side=64, out="out", salt="", **settings):
    config = IngestConfig(**settings)
    counts = ingest(source, tmp_path / out, side=side, classes=list(classes), config=config, salt=salt)
    return ImageSet.open(tmp_path / out), counts


def alone(file, tmp_path, side=128):
    """One bad file beside a good one."""
    source = put(tmp_path / "in", {file: BAD / file, "good.png": PNEUMONIA[0]})
    images, _ = run(source, tmp_path, ["xray"], side=side, max_left_out=1)
    return images, rows_of(images.folder)[unicodedata.normalize("NFC", file)]


@needs_bad
@pytest.mark.parametrize(("file", "outcome"), [row for row in expected() if "label_conflict" not in row[0]])
def test_a_bad_file_gets_what_it_should_for_the_right_reason(file, outcome, tmp_path):
    images, row = alone(file, tmp_path)
    assert (row["outcome"], row["reason"]) == (outcome, REASONS.get(file, ""))
    used = outcome != "reject" and row["reason"] not in UNUSED_WARNINGS
    assert row["used"] == ("yes" if used else "no")
    assert len(images.rows) == 1 + used


@pytest.fixture(scope="module")
def conflict(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("conflict")
    return run(BAD / "label_conflict", tmp_path, max_left_out=1)[0]


@needs_bad
@pytest.mark.parametrize(("file", "outcome"), [row for row in expected() if "label_conflict" in row[0]])
def test_files_of_two_labels_are_held_back_and_near_duplicates_are_named(file, outcome, conflict):
    row = rows_of(conflict.folder)[file.removeprefix("label_conflict/")]
    assert (row["outcome"], row["reason"]) == (outcome, REASONS.get(file, ""))
    assert row["used"] == ("no" if row["reason"] == "label conflict" else "yes")


@needs_bad
def test_both_files_of_a_label_conflict_name_each_other(conflict):
    rows = rows_of(conflict.folder)
    assert "pneumonia/person1019_virus_1707.png" in rows["normal/renamed_copy.png"]["detail"]
    assert "normal/renamed_copy.png" in rows["pneumonia/person1019_virus_1707.png"]["detail"]


@needs_bad
def test_near_duplicates_are_in_one_group_so_that_no_split_parts_them(conflict):
    names = [row.file for row in conflict.rows]
    assert names == ["pneumonia/person101_virus_187.png", "pneumonia/person101_virus_187_resaved.jpg"]
    assert len({row.group for row in conflict.rows}) == 1


@needs_bad
@pytest.mark.parametrize("file", CONVERSIONS)
def test_a_converted_file_looks_like_the_reference(file, tmp_path):
    reference = np.asarray(Image.open(BAD / "gray8_reference.png"))
    images, _ = alone(file, tmp_path, side=256)
    position = next(i for i, row in enumerate(images.rows) if row.file == file)
    off = np.abs(images.pixels([position])[0].astype(float) - reference)
    assert off.mean() <= CONVERSIONS[file]


@needs_bad
@pytest.mark.parametrize(
    "file", ["mono1_8bit.dcm", "mono2_12bit_window.dcm", "mono1_12bit_implicit.dcm", "mono2_named.png"]
)
def test_each_way_to_store_a_dicom_picture_gives_the_same_picture(file, tmp_path):
    names = {"plain.dcm": BAD / "dicom/mono2_8bit.dcm", "zz/other.dcm": BAD / "dicom" / file}
    one, other = (
        run(put(tmp_path / name, {name: path}), tmp_path, ["xray"], side=128, out="out" + path.stem)[0]
        .pixels()[0]
        .astype(int)
        for name, path in names.items()
    )
    assert np.abs(one - other).max() <= 1


@needs_bad
def test_no_tag_of_a_dicom_file_reaches_any_output(tmp_path, capfd, caplog):
    source = put(tmp_path / "in", {f"{path.stem}.dcm": path for path in (BAD / "dicom").iterdir()})
    run(source, tmp_path, ["xray"], salt="secret", max_left_out=1)
    printed = "".join(capfd.readouterr()) + caplog.text
    for path in (tmp_path / "out").iterdir():
        assert not [tag for tag in INVENTED if tag.encode() in path.read_bytes()], path.name
    assert not [tag for tag in (*INVENTED, "secret") if tag in printed]


@needs_bad
def test_a_patient_of_dicom_files_is_one_group_under_a_salted_name(tmp_path):
    source = put(
        tmp_path / "in",
        {f"{name}.dcm": BAD / "dicom" / f"{name}.dcm" for name in ("mono2_8bit", "mono1_12bit_implicit")},
    )
    groups = {
        salt: {row.group for row in run(source, tmp_path, ["xray"], side=128, salt=salt, out=f"out{salt}")[0].rows}
        for salt in ("one", "two", "")
    }
    assert all(len(found) == 1 and len(next(iter(found))) == 16 for found in groups.values())
    assert len(set.union(*groups.values())) == 3


@needs_bad
def test_patients_hashed_without_a_salt_are_a_warning(tmp_path):
    source = put(tmp_path / "in", {"a.dcm": BAD / "dicom" / "mono2_8bit.dcm"})
    warned = {
        salt: run(source, tmp_path, ["xray"], salt=salt)[0].about["ingest"]["warnings"] for salt in ("", "secret")
    }
    assert any("SYNTRIAL_SALT" in sentence for sentence in warned[""])
    assert not any("SYNTRIAL_SALT" in sentence for sentence in warned["secret"])


@needs_bad
def test_without_pydicom_a_dicom_file_is_left_out_and_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    _, row = alone("dicom/mono2_8bit.dcm", tmp_path)
    assert (row["outcome"], row["reason"]) == ("reject", "needs pydicom") and "pip install pydicom" in row["detail"]


@needs_bad
def test_the_counts_of_everything_bad_add_up_to_the_files_found(tmp_path):
    images, counts = run(BAD, tmp_path, ["xray"], max_left_out=1)
    facts = images.about["ingest"]
    files = [path for path in BAD.rglob("*") if path.is_file()]
    assert counts["found"] == len(files) == len(rows_of(images.folder))
    assert counts["found"] == counts["accepted"] + counts["converted"] + counts["warned"] + counts["rejected"]
    assert counts["used"] == len(images.rows) == facts["used"]
    assert sum(facts["reasons"].values()) == sum(bool(row["reason"]) for row in rows_of(images.folder).values())


@needs_bad
def test_a_run_that_loses_too_many_files_stops_and_leaves_the_list(tmp_path):
    with pytest.raises(
        DataError, match=r"held back or left out: \d+ of \d+ files \(\d+%, more than .*truncated"
    ) as stopped:
        run(BAD, tmp_path, ["xray"], max_left_out=0.1)
    listing = tmp_path / "out.ingest.csv"
    assert str(listing) in str(stopped.value) and "bomb" in listing.read_text(encoding="utf-8")
    assert not (tmp_path / "out").exists()


@needs_bad
def test_litter_is_not_a_loss(tmp_path):
    litter = {
        f"normal/{name}": BAD / "names" / "Thumbs.db" for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "notes.txt")
    }
    images, counts = run(two_classes(tmp_path / "in", 2, **litter), tmp_path, max_left_out=0)
    assert (counts["found"], counts["used"]) == (8, 4)
    assert images.about["ingest"]["reasons"] == {"hidden": 1, "litter": 2, "other file": 1}


def test_a_folder_without_an_image_is_refused(tmp_path):
    (tmp_path / "in" / "normal").mkdir(parents=True)
    (tmp_path / "in" / "normal" / "a.png").write_text("no image")
    with pytest.raises(DataError, match=r"no usable image\): 1 not an image \(such as normal/a\.png\)"):
        run(tmp_path / "in", tmp_path, ["normal"], max_left_out=1)


def test_no_source_gives_a_whole_set_without_images(tmp_path):
    images, counts = run("", tmp_path)
    assert images.rows == [] and counts["found"] == 0
    assert images.pixels().shape == (0, 64, 64)


def test_an_image_that_is_grey_and_of_the_right_size_is_kept_to_the_bit(tmp_path):
    images, _ = run(two_classes(tmp_path / "in"), tmp_path, side=128)
    images.verify()
    for row, image in zip(images.rows, images.pixels(), strict=True):
        assert np.array_equal(image, np.asarray(Image.open(tmp_path / "in" / row.file)))


def test_rows_are_in_the_order_of_the_classes_and_then_of_the_names(tmp_path):
    images, _ = run(two_classes(tmp_path / "in"), tmp_path, ["pneumonia", "normal"])
    assert [row.label for row in images.rows] == ["pneumonia"] * 4 + ["normal"] * 4
    assert [row.file for row in images.rows[:4]] == sorted(row.file for row in images.rows[:4])


def test_a_copy_in_the_same_class_is_dropped_and_joins_the_groups(tmp_path):
    copies = {"normal/zz_p9_copy.png": NORMAL[0], "normal/zz_p9_more.png": NORMAL[9]}
    images, counts = run(
        two_classes(tmp_path / "in", **copies), tmp_path, group_pattern=r"p9|IM-\d+|person\d+", max_left_out=0
    )
    row = rows_of(images.folder)["normal/zz_p9_copy.png"]
    assert (row["outcome"], row["used"], row["reason"]) == ("reject", "no", "duplicate")
    assert row["detail"] == f"the same pixels as normal/{NORMAL[0].name}"
    groups = {row.file: row.group for row in images.rows}
    assert groups["normal/zz_p9_more.png"] == groups[f"normal/{NORMAL[0].name}"]
    assert counts["used"] == 9


def test_of_copies_in_two_parts_the_one_in_the_given_test_part_is_kept(tmp_path):
    put(tmp_path / "in", {"a.png": NORMAL[0], "b.png": NORMAL[0], "c.png": NORMAL[1], "d.png": PNEUMONIA[0]})
    table = "file,label,split\na.png,normal,\nb.png,normal,test\nc.png,normal,\nd.png,pneumonia,\n"
    (tmp_path / "in" / "manifest.csv").write_text(table, encoding="utf-8")
    images, _ = run(tmp_path / "in", tmp_path, max_left_out=0)
    assert [row.file for row in images.rows] == ["b.png", "c.png", "d.png"]


def test_what_is_in_a_group_with_a_test_image_is_not_left_to_train(tmp_path):
    put(tmp_path / "in", {"a.png": NORMAL[0], "b.png": NORMAL[1], "c.png": NORMAL[2], "d.png": PNEUMONIA[0]})
    table = "file,label,group,split\na.png,normal,p1,test\nb.png,normal,p1,train\nc.png,normal,p2,val\n"
    table += "d.png,pneumonia,p2,\n"
    (tmp_path / "in" / "manifest.csv").write_text(table, encoding="utf-8")
    images, _ = run(tmp_path / "in", tmp_path, max_left_out=0.5)
    assert {row.file: row.split for row in images.rows} == {"a.png": "test", "c.png": "val", "d.png": "val"}
    assert rows_of(images.folder)["b.png"]["reason"] == "two parts"


def test_a_manifest_beats_a_pattern_and_a_pattern_beats_the_file(tmp_path):
    put(tmp_path / "in", {"IM-1_a.png": NORMAL[0], "IM-1_b.png": NORMAL[1], "odd.png": PNEUMONIA[0]})
    rows = "file,label,group\nIM-1_a.png,normal,p7\nIM-1_b.png,normal,\nodd.png,pneumonia,\n"
    (tmp_path / "in" / "manifest.csv").write_text(rows, encoding="utf-8")
    images, _ = run(tmp_path / "in", tmp_path, group_pattern=r"IM-(\d+)")
    assert [row.group for row in images.rows] == ["p7", "1", "odd"]
    assert images.about["ingest"]["groups"] == {"how": "file + manifest + pattern", "number": 3}
    assert images.about["ingest"]["ungrouped"] == 1


def test_a_file_that_the_manifest_names_and_is_not_there_is_a_loss(tmp_path):
    put(tmp_path / "in", {"a.png": NORMAL[0], "b.png": PNEUMONIA[0]})
    rows = "file,label\na.png,normal\nb.png,pneumonia\ngone.png,normal\n"
    (tmp_path / "in" / "manifest.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(DataError, match=r"1 of 3 files .*1 missing \(such as gone\.png\)"):
        run(tmp_path / "in", tmp_path)


def test_a_zip_and_its_folder_give_the_same_image_set(tmp_path):
    source = two_classes(tmp_path / "in")
    packed = shutil.make_archive(str(tmp_path / "pack"), "zip", source)
    sets = [run(path, tmp_path, out=out)[0] for path, out in ((source, "one"), (Path(packed), "two"))]
    assert sets[0].digest == sets[1].digest


def test_a_tar_is_unpacked_next_to_the_output_and_nothing_of_it_stays(tmp_path):
    packed = shutil.make_archive(str(tmp_path / "pack"), "gztar", two_classes(tmp_path / "in"))
    (tmp_path / "here").mkdir()
    assert run(Path(packed), tmp_path / "here")[1]["used"] == 8
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["out"]


def test_a_damaged_member_of_a_zip_costs_that_file_only(tmp_path):
    packed = Path(shutil.make_archive(str(tmp_path / "pack"), "zip", two_classes(tmp_path / "in")))
    with zipfile.ZipFile(packed) as archive:
        member = archive.infolist()[-1]
    content = bytearray(packed.read_bytes())
    content[member.header_offset + 60 + len(member.filename) : member.header_offset + 400] = bytes(
        340 - len(member.filename)
    )
    packed.write_bytes(content)
    images, counts = run(packed, tmp_path, max_left_out=0.2)
    assert counts["used"] == 7 and rows_of(images.folder)[member.filename]["outcome"] == "reject"


def test_any_number_of_processes_gives_the_same_set(tmp_path, monkeypatch):
    files = {}
    for label, paths in (("normal", NORMAL[:6]), ("pneumonia", PNEUMONIA[:6])):
        (tmp_path / "in" / label).mkdir(parents=True)
        for path in paths:
            large = Image.open(path).resize((1100, 1100), Image.Resampling.BICUBIC)
            large.save(tmp_path / "in" / label / f"{path.stem}.bmp")  # enough bytes for processes to be worth it
    for number in ("1", "3"):
        monkeypatch.setenv("SYNTRIAL_WORKERS", number)
        images, _ = run(tmp_path / "in", tmp_path, out=f"out{number}")
        files[number] = {path.name: path.read_bytes() for path in images.folder.iterdir()}
    assert files["1"] == files["3"]


def test_a_senseless_number_of_processes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_WORKERS", "many")
    with pytest.raises(ConfigError, match="SYNTRIAL_WORKERS is 'many'"):
        run(two_classes(tmp_path / "in"), tmp_path)


def test_progress_is_reported_to_the_last_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_PROGRESS", str(tmp_path / "progress"))
    run(two_classes(tmp_path / "in"), tmp_path)
    (reported,) = (tmp_path / "progress").glob("*.jsonl")
    last = json.loads(reported.read_text().splitlines()[-1])
    assert (last["done"], last["total"], last["state"]) == (8, 8, "done")
    assert last["labels"] == {"kind": "images", "label": "64px"}


def test_the_facts_tell_what_the_originals_were_like(tmp_path):
    source = two_classes(tmp_path / "in")
    Image.open(PNEUMONIA[9]).resize((200, 100)).save(source / "pneumonia" / "wide.png")
    facts = run(source, tmp_path, side=128)[0].about["ingest"]
    assert facts["original_width"] == [128, 128, 200] and facts["original_height"] == [100, 128, 128]
    assert (facts["squeezed"], facts["upsampled"]) == (1, 1)
    assert any("one group" in s or "its own group" in s for s in facts["warnings"])


def test_shapes_that_tell_the_classes_apart_are_a_warning(tmp_path):
    source = two_classes(tmp_path / "in")
    for path in (source / "pneumonia").iterdir():
        Image.open(path).resize((160, 128)).save(path)
    assert any("AUC 1.00" in sentence for sentence in run(source, tmp_path)[0].about["ingest"]["warnings"])


def test_nothing_that_is_written_names_a_place_on_this_machine(tmp_path):
    images, _ = run(two_classes(tmp_path / "in"), tmp_path)
    assert str(tmp_path) not in json.dumps(images.about) + (images.folder / "ingest.csv").read_text(encoding="utf-8")
    assert str(tmp_path) not in "".join(row.file + row.group for row in images.rows)


def test_a_portrait_is_never_called_a_negative(tmp_path):
    images, counts = run(ROOT / "data" / "sample" / "faces", tmp_path, ["faces"])
    assert counts["used"] > 300 and "negative" not in images.about["ingest"]["reasons"]


def test_a_manifest_of_train_and_test_alone_is_divided_held_out(tmp_path):
    source = two_classes(tmp_path / "in", 12)
    names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.png"))
    table = [f"{name},{name.split('/')[0]},{'test' if i % 4 == 0 else 'train'}\n" for i, name in enumerate(names)]
    (source / "manifest.csv").write_text("file,label,split\n" + "".join(table), encoding="utf-8")
    images, _ = run(source, tmp_path, side=32)
    numbers = split(images.folder, tmp_path / "parts", protocol="held_out", config=SplitConfig(val_share=0.3))
    assert sum(numbers.values()) == len(images.rows)
    assert numbers["test_images"] == sum(row.split == "test" for row in images.rows) > 0 < numbers["val_images"]


def named(source, tmp_path, name, **settings):
    """The groups of a set that goes by a name."""
    config = IngestConfig(**settings)
    ingest(source, tmp_path / name, side=32, classes=["normal", "pneumonia"], config=config, name=name)
    return {row.group for row in ImageSet.open(tmp_path / name).rows}


def test_patients_and_files_of_one_name_in_two_sources_are_two_people(tmp_path):
    source = two_classes(tmp_path / "in")
    divided = named(source, tmp_path, "images", group_pattern=r"IM-\d+")
    assert not divided & named(source, tmp_path, "second test set", group_pattern=r"IM-\d+")
    assert {group.partition(":")[0] for group in named(source, tmp_path, "faces")} == {"faces"}


def test_two_sources_that_name_patients_alike_can_say_so(tmp_path):
    source = two_classes(tmp_path / "in")
    groups = [named(source, tmp_path, name, shared_patients=True) for name in ("images", "second test set")]
    assert groups[0] == groups[1]


@pytest.fixture
def bucket(monkeypatch):
    """A client of an object store with an empty bucket, and an environment in which both kinds of URI find it."""
    with object_server() as address:
        client = Minio(address, "a-key", SECRET, secure=False, region="us-east-1")
        client.make_bucket("hospital")
        for name, value in {
            "ENDPOINT": address,
            "ACCESS_KEY": "a-key",
            "SECRET_KEY": SECRET,
            "SECURE": "false",
        }.items():
            monkeypatch.setenv(f"MINIO_{name}", value)
        keys = {"ENDPOINT_URL": f"http://{address}", "ACCESS_KEY_ID": "a-key", "SECRET_ACCESS_KEY": SECRET}
        for name, value in {**keys, "REGION": "us-east-1"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield client


def test_data_in_an_object_store_give_the_set_that_they_give_here(tmp_path, bucket):
    source = two_classes(tmp_path / "in")
    packed = shutil.make_archive(str(tmp_path / "pack"), "zip", source)
    bucket.fput_object("hospital", "data/pack.zip", packed)
    for path in source.rglob("*.png"):
        bucket.fput_object("hospital", f"data/xrays/{path.relative_to(source)}", path)
    wanted = run(source, tmp_path)[0]
    for number, uri in enumerate(
        ("minio://hospital/data/xrays", "s3://hospital/data/xrays/", "s3://hospital/data/pack.zip")
    ):
        images, _ = run(uri, tmp_path, out=f"out{number}")
        assert images.digest == wanted.digest
        assert images.about["ingest"]["name"] == uri.rstrip("/").rpartition("/")[2]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]  # what was fetched is gone again


def test_a_manifest_in_an_object_store_without_its_files_is_refused(tmp_path, bucket):
    (tmp_path / "list.csv").write_text("file,label\na.png,normal\nb.png,pneumonia\n", encoding="utf-8")
    bucket.fput_object("hospital", "list.csv", tmp_path / "list.csv")
    with pytest.raises(
        DataError, match=r"minio://hospital/list\.csv is a manifest without its images; give the prefix of both"
    ):
        run("minio://hospital/list.csv", tmp_path)


@pytest.mark.parametrize("end", ["\r", "\n", "\t", "\x1f", "\u2028"], ids=repr)
def test_a_name_that_holds_the_end_of_a_line_does_not_end_one(end, tmp_path):
    source = two_classes(tmp_path / "raw")
    (odd,) = sorted(source.glob("normal/*"))[:1]
    odd.rename(odd.with_name(f"cr{end}name{odd.suffix}"))
    run(source, tmp_path)
    shown = f"normal/cr\\x{ord(end):02x}name{odd.suffix}"
    assert shown in {row.file for row in ImageSet.open(tmp_path / "out").rows}
    assert shown in rows_of(tmp_path / "out")
