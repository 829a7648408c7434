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
    numbers = split(real_set(tmp_path / "real", 6), tmp_path / "out", protocol="as_printed", config=HALVES)
    assert numbers == {"train_images": 12.0}


def test_parts_that_the_owner_gave_are_kept(tmp_path):
    images = pictures("normal", 12)
    rows = [
        Row("", CLASSES[i % 2], f"p{i}", split=["test", "train", "val"][i // 2 % 3], file=str(i)) for i in range(12)
    ]
    whole = write(tmp_path / "set", list(zip(images, rows, strict=True)), CLASSES)
    split(whole, tmp_path / "out", protocol="held_out", config=HALVES)
    assert parts_of(tmp_path / "out") == {row.file: row.split for row in rows}


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
        assert re.search(r"are among the images .*: 6, such as normal \(0\)\.png \(normal/0\.png\)", sentence)


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
    with pytest.raises(DataError, match="has images of 64 px, and this study of 32"):
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
    with pytest.raises(DataError, match=r"held_out: no image of \w+ falls into \w+; there are too few patients"):
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
    with pytest.raises(DataError, match=r"normal/0.png are not those"):
        split(real, tmp_path / "out", protocol="as_printed", config=HALVES)
