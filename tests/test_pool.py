"""Real and synthetic images become one set that says where each may be used."""

import pytest
from builders import CLASSES, drawn_set, pooled_set, real_set

from syntrial.config import SplitConfig
from syntrial.errors import DataError, LeakError
from syntrial.imageset import REAL, ImageSet
from syntrial.pool import pool
from syntrial.split import split


def test_held_out_synthetic_images_only_train(tmp_path):
    images = ImageSet.open(pooled_set(tmp_path, "held_out"))
    assert {row.split for row in images.rows if row.source != REAL} == {"train"}
    assert {row.split for row in images.rows if row.source == REAL} == {"train", "val", "test"}


def test_as_printed_a_random_share_of_everything_validates(tmp_path):
    images = ImageSet.open(pooled_set(tmp_path, "as_printed", count=60, drawn=60))
    for real in (True, False):
        rows = [row for row in images.rows if (row.source == REAL) == real]
        share = sum(row.split == "val" for row in rows) / len(rows)
        assert 0.13 < share < 0.37  # 0.25, four deviations either way


def test_which_real_images_validate_does_not_depend_on_what_is_added(tmp_path):
    with_both = ImageSet.open(pooled_set(tmp_path / "a", "as_printed"))
    with_one = ImageSet.open(pooled_set(tmp_path / "b", "as_printed", kinds=("simple",)))
    first, second = (
        {row.sha256: row.split for row in images.rows if row.source == REAL} for images in (with_both, with_one)
    )
    assert first == second


def test_the_pool_knows_what_every_generator_has_seen(tmp_path):
    images = ImageSet.open(pooled_set(tmp_path, "held_out"))
    assert set(images.lineage) == {f"{kind}/{label}" for kind in ("simple", "transfer") for label in CLASSES}
    trained = {(row.sha256, row.group) for row in images.rows if row.source == REAL and row.split == "train"}
    assert set().union(*images.lineage.values()) == trained
    assert set(images.about["generators"]) == set(images.lineage)


def test_a_generator_that_has_seen_the_test_images_is_refused_by_name(tmp_path):
    config = SplitConfig(val_share=0.25, test_share=0.25)
    split(real_set(tmp_path / "real"), tmp_path / "parts", protocol="held_out", config=config)
    drawn = drawn_set(tmp_path / "drawn", tmp_path / "parts", "simple", "normal", 2, seen=None)
    with pytest.raises(LeakError, match=r"normal/\d+\.png was trained on and would be judged on"):
        pool(tmp_path / "parts", [drawn], tmp_path / "pool", config=config)
    assert not (tmp_path / "pool").exists()


def test_two_generators_of_one_name_are_refused(tmp_path):
    config = SplitConfig()
    split(real_set(tmp_path / "real"), tmp_path / "parts", protocol="as_printed", config=config)
    drawn = drawn_set(tmp_path / "drawn", tmp_path / "parts", "simple", "normal", 2)
    with pytest.raises(DataError, match="generator named simple/normal"):
        pool(tmp_path / "parts", [drawn, drawn], tmp_path / "pool", config=config)


def test_images_that_were_not_divided_are_refused(tmp_path):
    with pytest.raises(DataError, match="is not divided into parts"):
        pool(real_set(tmp_path / "real", 2), [], tmp_path / "pool", config=SplitConfig())


def test_real_images_given_as_synthetic_are_refused(tmp_path):
    config = SplitConfig()
    real = real_set(tmp_path / "real")
    split(real, tmp_path / "parts", protocol="as_printed", config=config)
    for folder in (real, tmp_path / "parts"):
        with pytest.raises(DataError, match=rf"{folder.name} was not drawn by a generator"):
            pool(tmp_path / "parts", [folder], tmp_path / "pool", config=config)


def test_generated_images_of_another_class_are_refused(tmp_path):
    config = SplitConfig()
    split(real_set(tmp_path / "real"), tmp_path / "parts", protocol="as_printed", config=config)
    people = real_set(tmp_path / "people", 2, classes=["faces"])
    faces = drawn_set(tmp_path / "drawn", people, "faces", "faces", 2, None)
    with pytest.raises(DataError, match=r"drawn has a class 'faces'; .*parts has normal, pneumonia"):
        pool(tmp_path / "parts", [faces], tmp_path / "pool", config=config)
    assert not (tmp_path / "pool").exists()


def test_images_of_another_size_are_refused(tmp_path):
    config = SplitConfig()
    split(real_set(tmp_path / "real"), tmp_path / "parts", protocol="as_printed", config=config)
    larger = drawn_set(tmp_path / "drawn", real_set(tmp_path / "large", 2, side=64), "simple", "normal", 2, seen=None)
    with pytest.raises(DataError, match="64 px"):
        pool(tmp_path / "parts", [larger], tmp_path / "pool", config=config)
