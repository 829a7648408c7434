"""An arm is a choice of rows."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import CLASSES, pooled_set, real_set

from syntrial.arms import PRESETS
from syntrial.classifiers.material import material_of
from syntrial.config import AugmentConfig
from syntrial.errors import ConfigError, DataError, LeakError
from syntrial.imageset import REAL, ImageSet

CPU = torch.device("cpu")
AUGMENT = AugmentConfig()
DRAWN = 6


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pools")
    return {name: ImageSet.open(pooled_set(folder / name, name, drawn=DRAWN)) for name in ("as_printed", "held_out")}


def sources(part):
    return Counter(row.source.partition("/")[0] for row in part.rows)


ARMS = [*PRESETS, "half: add=simple dose=0.5", "alone: add=transfer use=alone", "more: add=copies dose=2"]


@pytest.mark.parametrize("arm", ARMS)
def test_held_out_every_arm_is_judged_on_the_same_real_images(pools, arm):
    material = material_of(pools["held_out"], arm, AUGMENT, CPU)
    original = material_of(pools["held_out"], "original", AUGMENT, CPU)
    for name in ("val", "test"):
        assert material.judged[name].rows == original.judged[name].rows
        assert set(sources(material.judged[name])) == {REAL}


@pytest.mark.parametrize("arm", [name for name, recipe in PRESETS.items() if recipe.generator])
def test_an_arm_with_a_generator_adds_its_images_and_no_others(pools, arm):
    kind = PRESETS[arm].generator
    material = material_of(pools["held_out"], arm, AUGMENT, CPU)
    assert sources(material.train) == {REAL: material.original_images, kind: DRAWN * len(CLASSES)}


def test_duplicates_match_the_generated_images_class_by_class_and_copy_training_images_only(pools):
    material = material_of(pools["held_out"], "duplicates", AUGMENT, CPU)
    original = material_of(pools["held_out"], "original", AUGMENT, CPU)
    added = Counter(row.label for row in material.train.rows) - Counter(row.label for row in original.train.rows)
    assert added == dict.fromkeys(CLASSES, DRAWN)
    assert {row.sha256 for row in material.train.rows} == {row.sha256 for row in original.train.rows}


def test_no_image_is_copied_twice_before_each_was_copied_once(tmp_path):
    images = ImageSet.open(pooled_set(tmp_path, "held_out", drawn=40))
    copies = Counter(row.sha256 for row in material_of(images, "duplicates", AUGMENT, CPU).train.rows)
    by_label = {
        label: [copies[row.sha256] for row in images.rows if row.label == label and row.sha256 in copies]
        for label in CLASSES
    }
    assert all(max(found) - min(found) <= 1 for found in by_label.values())


def test_as_printed_duplicates_validate_on_what_they_train(pools):
    assert material_of(pools["as_printed"], "duplicates", AUGMENT, CPU).validation["also_trained"] > 0


def test_the_papers_second_dataset_holds_no_untouched_original(pools):
    material = material_of(pools["held_out"], "conventional", AUGMENT, CPU)
    untouched = {image.tobytes() for image in pools["held_out"].pixels()}
    images = material.train.read(np.arange(len(material.train.rows)))
    assert len(images) == material.original_images
    assert not [image for image in images if image.tobytes() in untouched]


def test_its_copies_are_the_same_at_every_call(pools):
    first, second = (material_of(pools["held_out"], "conventional", AUGMENT, CPU).train for _ in range(2))
    everything = np.arange(len(first.rows))
    assert np.array_equal(first.read(everything), second.read(everything))


def test_more_copies_make_a_larger_second_dataset(pools):
    material = material_of(pools["held_out"], "conventional", AugmentConfig(copies=3), CPU)
    assert len(material.train.rows) == 3 * material.original_images


def test_as_printed_a_random_share_of_all_augmented_copies_validates(tmp_path):
    images, copies = ImageSet.open(pooled_set(tmp_path, "as_printed", count=60, val_share=0.25)), 8
    one, many = (material_of(images, "conventional", AugmentConfig(copies=count), CPU) for count in (1, copies))
    parts = [many.train, many.judged["val"]]
    assert sum(len(part.rows) for part in parts) == copies * len(images.where(source=REAL))
    assert len(parts[1].rows) / (copies * len(images.where(source=REAL))) == pytest.approx(0.25, abs=0.05)
    assert many.validation["also_trained"] > 0 == one.validation["also_trained"]


def test_held_out_augmented_copies_train_only(pools):
    one, many = (material_of(pools["held_out"], "conventional", AugmentConfig(copies=count), CPU) for count in (1, 3))
    assert many.judged["val"].rows == one.judged["val"].rows
    assert {row.sha256 for row in many.train.rows} == {row.sha256 for row in one.train.rows}


def test_augmenting_on_the_fly_leaves_the_images_as_they_are(pools):
    material = material_of(pools["held_out"], "conventional_online", AUGMENT, CPU)
    assert material.online == AUGMENT
    assert len(material.train.rows) == material.original_images


def test_as_printed_validation_holds_generated_images_and_seen_ones_and_says_so(pools):
    material = material_of(pools["as_printed"], "simple_gan", AUGMENT, CPU)
    assert material.validation["synthetic"] == sources(material.judged["val"])["simple"] > 0
    assert material.validation["seen_by_generators"] == sources(material.judged["val"])[REAL] > 0


def test_held_out_validation_holds_neither(pools):
    validation = material_of(pools["held_out"], "simple_gan", AUGMENT, CPU).validation
    assert (validation["synthetic"], validation["seen_by_generators"], validation["groups_that_train"]) == (0, 0, 0)


def test_a_generator_that_has_seen_the_test_images_is_refused_where_its_images_train(pools):
    images = pools["held_out"]
    images = replace(images, lineage=dict.fromkeys(images.lineage, images.ancestors(images.where(source=REAL))))
    with pytest.raises(LeakError, match="was trained on and would be judged on"):
        material_of(images, "simple_gan", AUGMENT, CPU)
    assert material_of(images, "original", AUGMENT, CPU).arm == "original"


def test_a_generator_that_has_seen_training_images_only_is_fine(pools):
    assert material_of(pools["held_out"], "simple_gan", AUGMENT, CPU).arm == "simple_gan"


def test_an_unknown_arm_and_a_missing_generator_are_named(pools, tmp_path):
    with pytest.raises(ConfigError, match="there is no arm 'simple-gan'; there are original"):
        material_of(pools["held_out"], "simple-gan", AUGMENT, CPU)
    with pytest.raises(DataError, match="no images of a transfer generator, which D4 original"):
        material_of(ImageSet.open(pooled_set(tmp_path, "held_out", kinds=("simple",))), "transfer_gan", AUGMENT, CPU)
    with pytest.raises(DataError, match="is not divided"):
        material_of(ImageSet.open(real_set(tmp_path / "whole", 2)), "original", AUGMENT, CPU)


# Doses and uses


def rows_of(images, arm):
    """How often each row trains, by source and class, and which ones."""
    part = material_of(images, arm, AUGMENT, CPU).train
    return Counter((row.source.partition("/")[0], row.label) for row in part.rows), part.rows


@pytest.mark.parametrize("protocol", ["as_printed", "held_out"])
@pytest.mark.parametrize("add", ["simple", "copies"])
def test_a_dose_is_a_multiple_of_the_real_training_images_and_a_smaller_one_a_part_of_a_larger(add, protocol, tmp_path):
    images = ImageSet.open(pooled_set(tmp_path, protocol, count=20, drawn=40))
    added = {}
    for dose in (0.25, 0.5, 1.0):
        material = material_of(images, f"some: add={add} dose={dose}", AUGMENT, CPU)
        parts = [material.train, material.judged["val"]] if protocol == "as_printed" else [material.train]
        plain = material_of(images, "original", AUGMENT, CPU)
        before = [plain.train, plain.judged["val"]] if protocol == "as_printed" else [plain.train]
        every, real = (Counter(row.label for part in several for row in part.rows) for several in (parts, before))
        assert every - real == {label: round(dose * count) for label, count in real.items()}
        added[dose] = Counter(row for row in material.train.rows) - Counter(plain.train.rows)
    assert added[0.25] < added[0.5] < added[1.0]


def test_a_dose_takes_the_first_images_drawn(pools):
    _, rows = rows_of(pools["held_out"], "some: add=simple dose=0.25")
    for label in CLASSES:
        drawn = [row for row in pools["held_out"].rows if row.source == f"simple/{label}"]
        chosen = [row for row in rows if row.source == f"simple/{label}"]
        assert 0 < len(chosen) < len(drawn) and chosen == drawn[: len(chosen)]


def test_as_printed_a_random_share_of_a_dose_validates(tmp_path):
    images = ImageSet.open(pooled_set(tmp_path, "as_printed", count=40, drawn=60))
    material = material_of(images, "some: add=simple dose=1.0", AUGMENT, CPU)
    assert 0 < sources(material.judged["val"])["simple"] < sources(material.train)["simple"]


def test_alone_no_real_image_trains_and_every_one_that_judged_still_does(pools):
    for protocol in ("as_printed", "held_out"):
        material = material_of(pools[protocol], "alone: add=simple use=alone", AUGMENT, CPU)
        pooled = material_of(pools[protocol], "simple_gan", AUGMENT, CPU)
        assert set(sources(material.train)) == {"simple"}
        assert material.judged["val"].rows == pooled.judged["val"].rows
        assert material.ancestors <= pooled.ancestors and material.ancestors
        assert material.original_images == pooled.original_images


def test_more_images_than_were_drawn_are_refused_with_what_would_give_them(pools):
    real = material_of(pools["held_out"], "original", AUGMENT, CPU).original_images // len(CLASSES)
    match = rf"arm many needs \d+ simple images of normal \(dose 3\), and {DRAWN} were drawn; raise images_per_class to"
    assert 3 * real > DRAWN
    with pytest.raises(ConfigError, match=match):
        material_of(pools["held_out"], "many: add=simple dose=3", AUGMENT, CPU)


def test_a_dose_of_no_image_is_refused(pools):
    with pytest.raises(ConfigError, match=r"arm few: a dose of 0\.001 of \d+ real images of normal is no image"):
        material_of(pools["held_out"], "few: add=simple dose=0.001", AUGMENT, CPU)


def test_another_title_or_control_leaves_the_material_as_it_is(pools):
    one, other = (
        material_of(pools["held_out"], f"half: add=simple dose=0.5{more}", AUGMENT, CPU)
        for more in ("", " title=Half against=original")
    )
    assert one.digest == other.digest != material_of(pools["held_out"], "simple_gan", AUGMENT, CPU).digest


def test_another_order_of_classes_is_other_material_since_it_numbers_the_labels(pools):
    whole = pools["held_out"]
    turned = replace(whole, about={**whole.about, "classes": whole.classes[::-1]})
    digests = [material_of(images, "original", AUGMENT, CPU).digest for images in (whole, turned)]
    assert whole.digest == turned.digest and digests[0] != digests[1]


def test_another_share_that_validates_is_other_material_whatever_the_rows(pools):
    whole = pools["as_printed"]
    config = {**whole.about["config"], "val_share": 0.3}
    turned = replace(whole, about={**whole.about, "config": config})
    digests = [material_of(images, "duplicates", AUGMENT, CPU).digest for images in (whole, turned)]
    assert whole.digest == turned.digest and digests[0] != digests[1]
