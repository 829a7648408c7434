"""The one form in which images travel."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from builders import CLASSES, drawn_set, pictures, real_set, write

from syntrial.errors import DataError, LeakError
from syntrial.imageset import REAL, ImageSet, Row, Writer, refuse_leaks, sha256_of
from syntrial.store import atomic

ROWS = [Row("", "normal", "a", file="1"), Row("", "normal", "b", file="2"), Row("", "pneumonia", "c", file="3")]


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "set", list(zip(pictures("normal", 3), ROWS, strict=True)), CLASSES)


def test_what_is_written_is_read(folder):
    images = ImageSet.open(folder)
    assert np.array_equal(images.pixels(), np.stack(pictures("normal", 3)))
    assert [row.file for row in images.rows] == ["1", "2", "3"]
    assert (images.side, images.classes) == (32, CLASSES)
    assert (folder / "sheet.png").is_file()
    images.verify()


def test_pixels_come_in_the_order_asked_for_across_shards(tmp_path):
    pixels = pictures("pneumonia", 7)
    with atomic.new_folder(tmp_path / "set") as draft:
        writer = Writer(draft, 32, shard_bytes=2 * 32 * 32)
        for number, image in enumerate(pixels):
            writer.add(image, Row(sha256_of(image), "pneumonia", str(number)))
        writer.close(verb="ingest", classes=CLASSES, config={}, parents=[])
    images = ImageSet.open(tmp_path / "set")
    assert len(images.shards) == 4
    assert np.array_equal(images.pixels([6, 0, 3]), np.stack([pixels[6], pixels[0], pixels[3]]))


def test_opening_reads_no_pixel(folder):
    assert all(isinstance(shard, np.memmap) for shard in ImageSet.open(folder).shards)


@pytest.mark.parametrize("name", ["about.json", "index.csv", "lineage.csv"])
def test_a_set_without_one_of_its_files_is_refused_by_its_name(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"it lacks {name}"):
        ImageSet.open(folder)


def test_a_shard_that_is_too_short_is_refused(folder):
    np.save(folder / "images-00000.npy", np.stack(pictures("normal", 2)))
    with pytest.raises(DataError, match="2 images for 3 rows"):
        ImageSet.open(folder)


def test_a_row_that_was_changed_afterwards_is_refused(folder):
    index = folder / "index.csv"
    index.write_text(index.read_text().replace("pneumonia", "normal"))
    with pytest.raises(DataError, match="was changed after it was written"):
        ImageSet.open(folder)


def test_a_pixel_that_was_changed_afterwards_is_found_and_named(folder):
    pixels = np.load(folder / "images-00000.npy")
    pixels[1, 0, 0] ^= 1
    np.save(folder / "images-00000.npy", pixels)
    with pytest.raises(DataError, match="the pixels of 2 do not match the hash"):
        ImageSet.open(folder).verify()


@pytest.mark.parametrize("name", ["about.json", "index.csv", "lineage.csv", "images-00000.npy"])
def test_a_file_that_is_cut_short_anywhere_is_refused(tmp_path, name):
    drawn = drawn_set(tmp_path / "set", real_set(tmp_path / "real", 2), "simple", "normal", 2, seen=None)
    whole = (drawn / name).read_bytes()
    for length in [*range(0, len(whole) - 1, 1 + len(whole) // 50), len(whole) - 2]:
        (drawn / name).write_bytes(whole[:length])
        with pytest.raises(DataError):
            ImageSet.open(drawn)


@pytest.mark.parametrize("about", ["{}", "[]", '{"side": 32}'])
def test_a_description_that_is_none_is_refused(folder, about):
    (folder / "about.json").write_text(about, encoding="utf-8")
    with pytest.raises(DataError, match="a file in it is damaged"):
        ImageSet.open(folder)


def test_a_file_that_is_no_array_is_refused_without_unpickling(folder):
    (folder / "images-00000.npy").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(DataError, match="not a whole image set"):
        ImageSet.open(folder)


@pytest.mark.parametrize("change", [{"label": "normal"}, {"group": "z"}, {"split": "val"}, {"file": "other"}])
def test_the_digest_knows_every_row(folder, tmp_path, change):
    rows = [*ROWS[:2], replace(ROWS[2], **change)]
    other = write(tmp_path / "other", list(zip(pictures("normal", 3), rows, strict=True)), CLASSES)
    assert ImageSet.open(folder).digest != ImageSet.open(other).digest


def test_a_copy_elsewhere_is_the_same_set(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert ImageSet.open(tmp_path / "copy").digest == ImageSet.open(folder).digest


def test_linked_images_are_not_copied(folder, tmp_path):
    source = ImageSet.open(folder)
    with atomic.new_folder(tmp_path / "linked") as draft:
        writer = Writer(draft, 32)
        writer.link(source, source.rows)
        writer.close(verb="split", classes=CLASSES, config={}, parents=[])
    assert (tmp_path / "linked" / "images-00000.npy").samefile(folder / "images-00000.npy")


def test_images_of_a_generator_without_its_lineage_are_not_written(tmp_path):
    row = Row("", "normal", "g", source="simple/normal")
    with pytest.raises(LeakError, match="the lineage of simple/normal is missing"):
        write(tmp_path / "set", [(pictures("normal", 1)[0], row)], CLASSES)
    assert not (tmp_path / "set").exists()


def test_an_image_of_another_size_is_refused(tmp_path):
    with atomic.new_folder(tmp_path / "set") as draft, pytest.raises(DataError, match=r"uint8 \(32, 32\)"):
        Writer(draft, 32).add(np.zeros((16, 16), np.uint8), ROWS[0])


def test_a_split_that_nobody_knows_is_refused(folder):
    index = folder / "index.csv"
    index.write_text(index.read_text().replace(",real,,", ",real,practice,"))
    with pytest.raises(DataError, match="practice"):
        ImageSet.open(folder)


def test_about_says_what_is_inside(folder):
    about = json.loads((folder / "about.json").read_text())
    assert about["counts"] == {"real / normal": 2, "real / pneumonia": 1}


def judged_set(tmp_path, *rows):
    """Images 0.. with these rows; a generator simple/normal has seen image 0, of patient p0."""
    pixels = pictures("normal", len(rows))
    seen = {"simple/normal": {(sha256_of(pixels[0]), "p0")}}
    return ImageSet.open(write(tmp_path / "set", list(zip(pixels, rows, strict=True)), CLASSES, lineage=seen))


def test_a_synthetic_image_is_never_judged_on(tmp_path):
    images = judged_set(tmp_path, Row("", "normal", "p0"), Row("", "normal", "g", "simple/normal", "val", "drawn"))
    with pytest.raises(LeakError, match="drawn was generated by simple/normal"):
        refuse_leaks(images, [0], [1])


def test_an_image_that_trained_is_refused_by_name(tmp_path):
    pixels = pictures("normal", 1) * 2
    rows = [Row("", "normal", "p0", file="one"), Row("", "normal", "p9", split="test", file="same")]
    images = ImageSet.open(write(tmp_path / "set", list(zip(pixels, rows, strict=True)), CLASSES))
    with pytest.raises(LeakError, match="same was trained on"):
        refuse_leaks(images, [0], [1])


def test_a_patient_on_both_sides_is_refused_by_name(tmp_path):
    images = judged_set(tmp_path, Row("", "normal", "p0"), Row("", "normal", "p0", split="test", file="x.png"))
    with pytest.raises(LeakError, match=r"patient p0 has trained and is in test \(x.png\)"):
        refuse_leaks(images, [0], [1])


def test_a_patient_whom_only_a_generator_has_seen_is_refused(tmp_path):
    drawn = Row("", "normal", "g", "simple/normal", "train")
    images = judged_set(tmp_path, Row("", "normal", "px"), drawn, Row("", "normal", "p0", split="test", file="x.png"))
    with pytest.raises(LeakError, match="patient p0"):
        refuse_leaks(images, [1], [2])


def test_a_synthetic_image_that_claims_to_be_real_is_refused(tmp_path):
    pixels = pictures("normal", 1) * 2
    rows = [Row("", "normal", "g", "simple/normal", "train"), Row("", "normal", "p5", REAL, "test", "claimed.png")]
    lineage = {"simple/normal": {("0" * 64, "p0")}}
    images = ImageSet.open(write(tmp_path / "set", list(zip(pixels, rows, strict=True)), CLASSES, lineage=lineage))
    with pytest.raises(LeakError, match=r"claimed\.png claims to be real and is an image of simple/normal"):
        refuse_leaks(images, [0], [1])


def test_nothing_is_refused_where_nothing_leaks(tmp_path):
    images = judged_set(tmp_path, Row("", "normal", "p0"), Row("", "normal", "p1", split="test"))
    refuse_leaks(images, [0], [1])


def test_ancestors_go_through_generators(tmp_path):
    real = real_set(tmp_path / "real", 4)
    drawn = ImageSet.open(drawn_set(tmp_path / "drawn", real, "simple", "normal", 3, seen=None))
    known = ImageSet.open(real)
    assert drawn.ancestors([0]) == {(row.sha256, row.group) for row in known.rows if row.label == "normal"}
