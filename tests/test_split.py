"""Who trains, validates and tests."""

import re

import numpy as np
import pytest
from builders import CLASSES, pictures, real_set, write
from PIL import Image

from syntrial.config import SplitConfig
from syntrial.errors import ConfigError, DataError, LeakError
from syntrial.imageset import ImageSet, Row
from syntrial.split import split

HALVES = SplitConfig(val_share=0.25, test_share=0.25)


def parts_of(folder):
    return {row.file: row.split for row in ImageSet.open(folder).rows}


def noise(count):
    """Images that no two patients share."""
    return list(np.random.default_rng(0).integers(0, 256, (count, 32, 32)).astype(np.uint8))


def noise_set(folder, patients, per_patient=2):
    """Many made-up patients, for counting; a larger set begins with the images of a smaller one."""
    random = np.random.default_rng(0)
    rows = [
        (
            random.integers(0, 256, (32, 32)).astype(np.uint8),
            Row("", label, f"{label}{number}", file=f"{label}{number}-{view}"),
        )
        for number in range(patients)
        for label in CLASSES
        for view in range(per_patient)
    ]
    return write(folder, rows, CLASSES)


def test_a_patient_is_never_on_two_sides(tmp_path):
    split(real_set(tmp_path / "real", 20), tmp_path / "out", protocol="held_out", config=HALVES)
    homes = {}
    for row in ImageSet.open(tmp_path / "out").rows:
        homes.setdefault(row.group, set()).add(row.split)
    assert all(len(parts) == 1 for parts in homes.values())
    assert {next(iter(parts)) for parts in homes.values()} == {"train", "val", "test"}


def test_adding_images_moves_nobody(tmp_path):
    split(noise_set(tmp_path / "few", 30), tmp_path / "before", protocol="held_out", config=HALVES)
    split(noise_set(tmp_path / "more", 60), tmp_path / "after", protocol="held_out", config=HALVES)
    before, after = parts_of(tmp_path / "before"), parts_of(tmp_path / "after")
    assert all(after[file] == part for file, part in before.items())


def test_another_seed_divides_otherwise(tmp_path):
    whole = noise_set(tmp_path / "set", 30)
    for seed in (0, 1):
        config = SplitConfig(val_share=0.25, test_share=0.25, seed=seed)
        split(whole, tmp_path / str(seed), protocol="held_out", config=config)
    assert parts_of(tmp_path / "0") != parts_of(tmp_path / "1")


def test_each_class_is_divided_by_the_shares_asked_for(tmp_path):
    split(noise_set(tmp_path / "set", 400, 1), tmp_path / "out", protocol="held_out", config=SplitConfig())
    rows = ImageSet.open(tmp_path / "out").rows
    for label in CLASSES:
        for part, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
            found = np.mean([row.split == part for row in rows if row.label == label])
            assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / 400)


def test_as_printed_every_image_trains_the_generators(tmp_path):
    numbers = split(real_set(tmp_path / "real"), tmp_path / "out", protocol="as_printed", config=HALVES)
    assert numbers == {"train_images": 40.0}


@pytest.mark.parametrize("protocol", ["as_printed", "held_out"])
def test_what_cannot_be_divided_held_out_is_refused_before_anything_trains(protocol, tmp_path):
    with pytest.raises(DataError, match=r"held_out: no image of \w+ is in \w+; there are too few patients"):
        split(real_set(tmp_path / "real", 2), tmp_path / "out", protocol=protocol, config=HALVES)
    assert not (tmp_path / "out").exists()


def test_parts_that_the_owner_gave_are_kept(tmp_path):
    images = pictures("normal", 12)
    rows = [
        Row("", CLASSES[i % 2], f"p{i}", split=["test", "train", "val"][i // 2 % 3], file=str(i)) for i in range(12)
    ]
    whole = write(tmp_path / "set", list(zip(images, rows, strict=True)), CLASSES)
    split(whole, tmp_path / "out", protocol="held_out", config=HALVES)
    assert parts_of(tmp_path / "out") == {row.file: row.split for row in rows}


def given_set(folder, *parts, count=40):
    """Pairs of images of one patient, each pair with the parts in turn; a part may differ within a pair ("train+")."""
    images = noise(count)
    rows = []
    for i in range(count):
        first, plus, second = parts[i // 4 % len(parts)].partition("+")
        rows.append(Row("", CLASSES[i // 2 % 2], f"p{i // 2}", split=second if plus and i % 2 else first, file=str(i)))
    return write(folder, list(zip(images, rows, strict=True)), CLASSES)


def test_where_no_val_is_given_it_is_drawn_from_the_patients_given_train(tmp_path):
    whole = given_set(tmp_path / "set", "train", "train", "train", "test", count=320)
    split(whole, tmp_path / "out", protocol="held_out", config=HALVES)
    rows, given = ImageSet.open(tmp_path / "out").rows, parts_of(whole)
    assert [row.file for row in rows if row.split == "test"] == [file for file, part in given.items() if part == "test"]
    share = np.mean([row.split == "val" for row in rows if given[row.file] == "train"])
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 120)
    homes = {(row.group, row.split) for row in rows}
    assert len(homes) == len({row.group for row in rows})


def test_where_no_val_is_given_adding_images_moves_nobody(tmp_path):
    for count in (80, 160):
        whole = given_set(tmp_path / f"{count}", "train", "test", "", count=count)
        split(whole, tmp_path / f"parts of {count}", protocol="held_out", config=HALVES)
    before, after = parts_of(tmp_path / "parts of 80"), parts_of(tmp_path / "parts of 160")
    assert all(after[file] == part for file, part in before.items())


def test_where_no_val_is_given_rows_without_a_part_fall_where_they_fell(tmp_path):
    for given in ("train", "val"):
        whole = given_set(tmp_path / given, given, "", "", "", count=80)
        split(whole, tmp_path / f"parts {given}", protocol="held_out", config=HALVES)
    free = {file for file, part in parts_of(tmp_path / "train").items() if not part}
    one, other = parts_of(tmp_path / "parts train"), parts_of(tmp_path / "parts val")
    assert {one[file] for file in free} == {"train", "val", "test"}
    assert [one[file] for file in free] == [other[file] for file in free]
    assert "test" not in {part for file, part in one.items() if file not in free}


def test_a_patient_with_one_image_given_train_and_one_given_nothing_is_in_one_part(tmp_path):
    whole = given_set(tmp_path / "set", "train+", "train", "test", count=240)
    split(whole, tmp_path / "out", protocol="held_out", config=HALVES)
    rows = ImageSet.open(tmp_path / "out").rows
    assert len({(row.group, row.split) for row in rows}) == len({row.group for row in rows})


@pytest.mark.parametrize(
    ("torn", "others", "sentence"),
    [
        ("test+train", "train", r"is in test and in (train|val)"),
        ("test+", "train", r"is in test and in (train|val)"),
        ("train+", "val", r"is in (train and in (val|test))"),
    ],
)
def test_a_patient_whose_images_were_given_two_parts_is_refused_by_name(tmp_path, torn, others, sentence):
    whole = given_set(tmp_path / "set", torn, others, others, "", count=160)
    with pytest.raises(LeakError, match=rf"patient p\d+ {sentence} \(\d+\); give all of a patient's images the same"):
        split(whole, tmp_path / "out", protocol="held_out", config=HALVES)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("given", "part"), [(("train",), "test"), (("train", "test"), "val"), (("test",), "train")])
def test_a_part_that_the_data_leave_nobody_for_is_refused_with_what_helps(tmp_path, given, part):
    """One class was given all parts, the other those of `given` alone."""
    parts = ["train", "val", "test"] if part == "val" else list(given)
    rows = [Row("", "normal", f"n{i}", split=parts[i % len(parts)], file=f"n{i}") for i in range(40)]
    rows += [Row("", "pneumonia", f"p{i}", split=given[i % len(given)], file=f"p{i}") for i in range(40)]
    whole = write(tmp_path / "set", list(zip(noise(80), rows, strict=True)), CLASSES)
    reported = (
        rf"no image of \w+ is in {part}; the data give all of them other parts: give some .* {part}, for instance in a"
    )
    with pytest.raises(DataError, match=reported):
        split(whole, tmp_path / "out", protocol="held_out", config=HALVES)


@pytest.mark.parametrize("protocol", ["as_printed", "held_out"])
def test_images_that_are_divided_already_are_refused(tmp_path, protocol):
    split(real_set(tmp_path / "real", 20), tmp_path / "parts", protocol="as_printed", config=HALVES)
    with pytest.raises(DataError, match=r"parts is divided already; split wants the set as ingest wrote it"):
        split(tmp_path / "parts", tmp_path / "out", protocol=protocol, config=HALVES)
    assert not (tmp_path / "out").exists()


def test_an_official_test_folder_is_the_only_test_and_takes_no_part_as_printed(tmp_path):
    images = pictures("normal", 40)
    rows = [Row("", CLASSES[i % 2], f"p{i}", split="test" if i < 8 else "", file=str(i)) for i in range(40)]
    whole = write(tmp_path / "set", list(zip(images, rows, strict=True)), CLASSES)
    split(whole, tmp_path / "held", protocol="held_out", config=HALVES)
    assert [file for file, part in parts_of(tmp_path / "held").items() if part == "test"] == [str(i) for i in range(8)]
    split(whole, tmp_path / "printed", protocol="as_printed", config=HALVES)
    assert [file for file, part in parts_of(tmp_path / "printed").items() if not part] == [str(i) for i in range(8)]


def test_a_second_test_set_joins_and_never_trains(tmp_path):
    second = write(
        tmp_path / "second",
        [(image, Row("", CLASSES[i % 2], f"x{i}")) for i, image in enumerate(pictures("pneumonia", 24)[20:])],
        CLASSES,
    )
    real = real_set(tmp_path / "real", 20, classes=["normal", "pneumonia"])
    for protocol in ("as_printed", "held_out"):
        split(real, tmp_path / protocol, protocol=protocol, config=HALVES, external=second)
        images = ImageSet.open(tmp_path / protocol)
        assert {row.split for row in images.rows if row.group.startswith("x")} == {"external"}
        assert len(images.where(split="external")) == 4


def second_set(folder, resaved, own=4):
    """X-rays of which the first `resaved` of each class are those of `real_set` at another size, two of a patient."""
    rows = []
    for label in CLASSES:
        for number, image in enumerate(pictures(label, resaved) + pictures(label, 20 + own)[20:]):
            smaller = Image.fromarray(image).resize((29, 29), Image.Resampling.BILINEAR).resize((32, 32))
            rows.append(
                (np.asarray(smaller), Row("", label, f"x:{label}{number // 2}", file=f"{label} ({number}).png"))
            )
    return write(folder, rows, CLASSES, ingest={"warnings": ["a word of ingest"]})


def test_pictures_of_the_images_in_the_second_set_are_held_back_with_their_patients(tmp_path):
    second = second_set(tmp_path / "second", resaved=3)
    for protocol in ("as_printed", "held_out"):
        real = real_set(tmp_path / f"real {protocol}", 20)
        split(real, tmp_path / protocol, protocol=protocol, config=HALVES, external=second)
        images = ImageSet.open(tmp_path / protocol)
        taken = {row.file for row in images.rows if row.split == "external"}
        assert taken == {f"{label} ({number}).png" for label in CLASSES for number in (4, 5, 6)}  # 3 is of 2's patient
        word, sentence = images.about["external"]["warnings"]
        assert word == "a word of ingest"
        assert re.search(r"are among .* images: 6, such as normal \(0\)\.png \(normal/0\.png\)", sentence)


def test_a_second_set_made_of_the_images_is_refused_by_name(tmp_path):
    second = second_set(tmp_path / "second", resaved=6, own=0)
    with pytest.raises(DataError, match=r"no image of normal; .*: 12, such as normal \(0\)\.png \(normal/0\.png\)$"):
        split(real_set(tmp_path / "real", 20), tmp_path / "out", protocol="held_out", config=HALVES, external=second)
    assert not (tmp_path / "out").exists()


def test_a_patient_of_both_sets_is_refused_by_name_before_anything_trains(tmp_path):
    images = pictures("pneumonia", 24)[20:]
    rows = [(image, Row("", CLASSES[i % 2], f"{CLASSES[i % 2]}-3", file=f"{i}.png")) for i, image in enumerate(images)]
    second = write(tmp_path / "second", rows, CLASSES)
    with pytest.raises(LeakError, match=r"patient \w+-3 has trained and is in external \(\d\.png\)"):
        split(real_set(tmp_path / "real", 20), tmp_path / "out", protocol="as_printed", config=HALVES, external=second)
    assert not (tmp_path / "out").exists()


def test_a_second_set_of_another_size_is_refused(tmp_path):
    second = real_set(tmp_path / "second", 2, side=64)
    with pytest.raises(DataError, match="has images of 64 px; this study has 32 px"):
        split(real_set(tmp_path / "real", 20), tmp_path / "out", protocol="held_out", config=HALVES, external=second)


def test_an_empty_second_set_is_none(tmp_path):
    empty = write(tmp_path / "none", [], CLASSES)
    split(real_set(tmp_path / "real", 20), tmp_path / "out", protocol="held_out", config=HALVES, external=empty)
    assert not ImageSet.open(tmp_path / "out").where(split="external")


@pytest.mark.parametrize(
    ("labels", "sentence"), [(["other", "normal"], "has a class 'other'"), (["normal"] * 2, "no image of pneumonia")]
)
def test_a_second_set_of_other_classes_is_refused(tmp_path, labels, sentence):
    rows = [
        (image, Row("", label, f"x{i}"))
        for i, (image, label) in enumerate(zip(pictures("faces", 2), labels, strict=True))
    ]
    second = write(tmp_path / "second", rows, CLASSES)
    with pytest.raises(DataError, match=sentence):
        split(real_set(tmp_path / "real", 20), tmp_path / "out", protocol="held_out", config=HALVES, external=second)


def test_a_part_without_a_class_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"held_out: no image of \w+ is in \w+; there are too few patients"):
        split(real_set(tmp_path / "real", 2), tmp_path / "out", protocol="held_out", config=HALVES)
    assert not (tmp_path / "out").exists()


def test_an_unknown_protocol_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there are as_printed, held_out"):
        split(real_set(tmp_path / "real", 2), tmp_path / "out", protocol="held-out", config=HALVES)


def test_damaged_pixels_are_not_divided(tmp_path):
    real = real_set(tmp_path / "real", 4)
    pixels = np.load(real / "images-00000.npy")
    pixels[0] = 255 - pixels[0]
    np.save(real / "images-00000.npy", pixels)
    with pytest.raises(DataError, match=r"normal/0.png do not match the hash"):
        split(real, tmp_path / "out", protocol="as_printed", config=HALVES)
