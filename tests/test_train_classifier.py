"""One classifier for every arm: equally long, the same at every run, cut or not, and judged as the numbers say."""

import json
import random

import numpy as np
import pytest
import torch
from builders import CLASSES, pooled_set, real_set, write
from cuts import contents, killed, steps_kept, table
from safetensors.torch import load_file

from syntrial.arms import DEFAULT as ARMS
from syntrial.arms import PROTOCOLS
from syntrial.classifiers.settings import CnnConfig
from syntrial.classifiers.trained import WEIGHTS, TrainedClassifier
from syntrial.config import AugmentConfig, SplitConfig
from syntrial.errors import ConfigError, DataError, DegenerateError, LeakError, TrainingError
from syntrial.imageset import ImageSet, Row, read_lineage
from syntrial.judging.metrics import log_loss, scores
from syntrial.reporting.outcomes import Outcome
from syntrial.split import split
from syntrial.train_classifier import CURVE, Plan, train_classifier

CONFIG, AUGMENT = CnnConfig(width=4, batch=16, epochs=2), AugmentConfig()
LONG = CONFIG.model_copy(update={"epochs": 12})  # long enough to be killed several times in each seed
THREE = [*CLASSES, "faces"]


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """The pooled set under each protocol."""
    return {
        protocol: pooled_set(tmp_path_factory.mktemp(protocol), protocol, count=40, drawn=25) for protocol in PROTOCOLS
    }


def parts_of(whole, protocol):
    """An image set, divided."""
    split(whole, whole.with_name("parts"), protocol=protocol, config=SplitConfig())
    return whole.with_name("parts")


def parted(folder, parts, images=None, patients=100):
    """Noise (or images) of the classes in turn, of so many patients in turn, in the parts given."""
    if images is None:
        images = np.random.default_rng(0).integers(0, 256, (len(parts), 32, 32)).astype(np.uint8)
    rows = [
        (image, Row("", CLASSES[i % 2], f"p{i % patients}", split=part))
        for i, (image, part) in enumerate(zip(images, parts, strict=True))
    ]
    return write(folder, rows, CLASSES, division={"protocol": "held_out"})


def trained(images, out, arm="original", seeds=(0,), config=CONFIG, augmentation=AUGMENT):
    numbers = train_classifier(images, out, arm=arm, seeds=list(seeds), config=config, augmentation=augmentation)
    return json.loads((out / "about.json").read_text(encoding="utf-8")), numbers


@pytest.fixture(scope="module")
def two_seeds(pooled, tmp_path_factory):
    """An uncut training of two seeds, held out, and what it returned."""
    folder = tmp_path_factory.mktemp("two") / "out"
    return folder, trained(pooled["held_out"], folder, "simple_gan", [3, 5], LONG)[1]


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def predicted(folder, seed, part, classes=CLASSES):
    """Probabilities and labels as predictions.csv has them."""
    rows = [row for row in table(folder / "predictions.csv") if (row["seed"], row["split"]) == (str(seed), part)]
    chances = np.array([[float(row[f"p_{label}"]) for label in classes] for row in rows])
    return chances, np.array([classes.index(row["label"]) for row in rows])


# How long every arm learns


@pytest.fixture(scope="module")
def every_arm(pooled, tmp_path_factory):
    """What each arm says of itself under each protocol."""
    folder = tmp_path_factory.mktemp("arms")
    return {
        (protocol, arm): trained(pooled[protocol], folder / protocol / arm, arm)[0]
        for protocol in PROTOCOLS
        for arm in ARMS
    }


def test_held_out_every_arm_takes_the_same_steps_and_shows_as_many_images(every_arm):
    steps = {arm: every_arm["held_out", arm]["steps"] for arm in ARMS}
    images = every_arm["held_out", "original"]["train_images"]
    assert set(steps.values()) == {2 * -(-images // 16)}
    for arm in ARMS:
        about = every_arm["held_out", arm]
        assert about["epochs"] * about["train_images"] == pytest.approx(steps[arm] * 16)


def test_held_out_arms_see_equal_batches_however_few_originals_there_are(tmp_path):
    folder = pooled_set(tmp_path, "held_out", count=10, drawn=25)
    about = {arm: trained(folder, tmp_path / arm, arm)[0] for arm in ("original", "simple_gan")}
    assert about["original"]["train_images"] < CONFIG.batch < about["simple_gan"]["train_images"]
    shown = {round(one["epochs"] * one["train_images"]) for one in about.values()}
    assert len({one["steps"] for one in about.values()}) == len(shown) == 1


def test_as_printed_every_arm_passes_its_own_images_equally_often(every_arm):
    for arm in ARMS:
        about = every_arm["as_printed", arm]
        assert about["steps"] == 2 * -(-about["train_images"] // 16)
        assert 2 <= about["epochs"] < 2 + 2 * 16 / about["train_images"]
    longer = [
        arm for arm in ARMS if every_arm["as_printed", arm]["steps"] > every_arm["as_printed", "original"]["steps"]
    ]
    assert longer == ["simple_gan", "transfer_gan", "duplicates"]


def test_every_arm_has_the_same_network_and_begins_with_the_same_weights(pooled, every_arm, tmp_path):
    assert len({about["parameters"] for about in every_arm.values()}) == 1
    still = CONFIG.model_copy(update={"lr": 1e-30, "epochs": 1})
    for arm in ("original", "simple_gan"):
        trained(pooled["held_out"], tmp_path / arm, arm, config=still)
    folders = [tmp_path / arm / "classifiers" / "seed-0" for arm in ("original", "simple_gan")]
    one, other = (load_file(folder / "weights.safetensors") for folder in folders)
    assert all(torch.equal(one[name], other[name]) for name in one if "weight" in name)


@pytest.mark.parametrize(("schedule", "rates"), [("cosine", [1, 0.75, 0.5, 0.25, 0]), ("constant", [1] * 5)])
def test_the_learning_rate_falls_along_a_cosine_or_stays(schedule, rates):
    plan = Plan(steps=60, batch=16, per_epoch=6, config=CnnConfig(lr=2.0, schedule=schedule))
    assert [plan.rate(step) for step in (0, 20, 30, 40, 60)] == pytest.approx([2 * rate for rate in rates])


# What it writes


def test_it_writes_what_it_says(two_seeds):
    folder, _ = two_seeds
    own = [f"classifiers/seed-{seed}/{name}" for seed in "35" for name in ("about.json", "lineage.csv", WEIGHTS)]
    assert sorted(contents(folder)) == ["about.json", *own, "curves.csv", "lineage.csv", "predictions.csv"]
    about = read(folder, "about.json")
    reported = {"arm": "simple_gan", "protocol": "held_out", "seeds": [3, 5], "side": 32, "classes": CLASSES}
    assert reported.items() <= about.items()
    assert CnnConfig.of(about["config"]) == LONG and AugmentConfig.of(about["conventional"]) == AUGMENT
    curve = table(folder / "curves.csv")
    assert tuple(curve[0]) == CURVE
    assert [(row["seed"], row["epoch"]) for row in curve] == [(seed, str(i + 1)) for seed in "35" for i in range(12)]


def test_a_classifier_bears_the_real_images_that_it_and_its_generators_have_seen(two_seeds, pooled, tmp_path):
    whole = ImageSet.open(pooled["held_out"])
    seen = whole.ancestors([i for i, row in enumerate(whole.rows) if row.split == "train"])
    assert read_lineage(two_seeds[0] / "lineage.csv") == {"simple_gan": seen}
    judged = {(row.sha256, row.group) for row in whole.rows if row.split in ("val", "test")}
    assert judged and not judged & seen


def test_predictions_hold_each_judged_image_once_a_seed_with_probabilities(two_seeds, pooled):
    images = ImageSet.open(pooled["held_out"])
    for part in ("val", "test"):
        rows = [images.rows[i] for i in images.where(split=part)]
        for seed in (3, 5):
            found = [
                row
                for row in table(two_seeds[0] / "predictions.csv")
                if (row["seed"], row["split"]) == (str(seed), part)
            ]
            assert [(row["sha256"], row["group"], row["label"]) for row in found] == [
                (row.sha256, row.group, row.label) for row in rows
            ]
            assert predicted(two_seeds[0], seed, part)[0].sum(axis=1) == pytest.approx(1)


def test_the_last_row_of_the_curve_is_what_the_predictions_score(two_seeds):
    folder, _ = two_seeds
    last = [row for row in table(folder / "curves.csv") if row["seed"] == "5"][-1]
    found = scores(*predicted(folder, 5, "val"))
    assert (float(last["val_loss"]), float(last["val_accuracy"])) == (found["loss"], found["accuracy"])


def test_it_returns_what_training_alone_knows_the_mean_of_the_last_rows(two_seeds):
    folder, numbers = two_seeds
    last = [row for row in table(folder / "curves.csv") if row["epoch"] == "12"]
    columns = {"train_accuracy": "train_accuracy", "train_loss": "train_loss"}
    columns |= {f"train_{name}": name for name in ("running_accuracy", "running_loss")}
    assert numbers == {name: np.mean([float(row[column]) for row in last]) for name, column in columns.items()}


def test_each_seeds_classifier_says_what_it_is_and_gives_its_predictions_again(two_seeds, pooled):
    folder, whole = two_seeds[0], ImageSet.open(pooled["held_out"])
    for seed in (3, 5):
        found = TrainedClassifier.open(folder / "classifiers" / f"seed-{seed}")
        reported = {"arm": "simple_gan", "protocol": "held_out", "seed": seed, "architecture": "cnn"}
        assert reported.items() <= found.about.items()
        assert (found.side, found.classes, found.config) == (32, CLASSES, LONG)
        assert found.ancestors == read_lineage(folder / "lineage.csv")["simple_gan"]
        chances = found.probabilities(whole, torch.device("cpu"))
        for part in ("val", "test"):
            assert chances[whole.where(split=part)] == pytest.approx(predicted(folder, seed, part)[0], abs=1e-6)


def test_it_learns_what_can_be_learnt(tmp_path):
    """Pictures that are dark or bright by class."""
    images = np.random.default_rng(0).integers(0, 128, (80, 32, 32)) + np.array([0, 120] * 40)[:, None, None]
    folder = parted(tmp_path / "set", ["train"] * 60 + ["val"] * 20, images.astype(np.uint8))
    _, numbers = trained(folder, tmp_path / "out", config=CONFIG.model_copy(update={"epochs": 6, "lr": 1e-2}))
    assert numbers["train_accuracy"] == 1
    (found,) = Outcome.open(tmp_path / "out").scores("val")
    assert found["accuracy"] == 1 and found["auroc"] == 1
    curve = [float(row["running_loss"]) for row in table(tmp_path / "out" / "curves.csv")]
    assert curve[-1] < curve[0] / 2


def test_three_classes_are_judged_together(tmp_path):
    images = parts_of(real_set(tmp_path / "whole", 30, classes=THREE), "held_out")
    about, _ = trained(images, tmp_path / "out")
    assert about["classes"] == THREE
    chances, label_N = predicted(tmp_path / "out", 0, "test", THREE)
    assert chances.shape == (len(label_N), 3)
    (found,) = Outcome.open(tmp_path / "out").scores("test")
    assert found["loss"] == pytest.approx(log_loss(chances, label_N))
    assert [matrix.shape for matrix in Outcome.open(tmp_path / "out").confusion("test")] == [(3, 3)]


# The same at every run, cut or not


def test_the_same_bits_twice(two_seeds, pooled, tmp_path):
    trained(pooled["held_out"], tmp_path / "again", "simple_gan", [3, 5], LONG)
    assert contents(tmp_path / "again") == contents(two_seeds[0])


def test_a_seed_ends_the_same_whatever_other_seeds_there_are(two_seeds, pooled, tmp_path):
    trained(pooled["held_out"], tmp_path / "alone", "simple_gan", [5], LONG)
    weights = f"classifiers/seed-5/{WEIGHTS}"
    alone, both = (contents(folder)[weights] for folder in (tmp_path / "alone", two_seeds[0]))
    assert alone == both


def test_killed_in_the_first_and_in_the_second_seed_it_ends_exactly_where_an_uncut_run_ends(
    two_seeds, pooled, tmp_path, monkeypatch
):
    checkpoints, moments, kills = tmp_path / "checkpoints", random.Random(0), 0
    steps = read(two_seeds[0], "about.json")["steps"]
    arguments = {"arm": "simple_gan", "seeds": [3, 5], "config": LONG, "augmentation": AUGMENT}
    run = {"images": pooled["held_out"], "out": tmp_path / "out", **arguments}
    for wanted in (2, steps // 2, steps + 2, steps + steps // 2):
        kills += killed(train_classifier, run, checkpoints, wanted - steps_kept(checkpoints), moments.uniform(0, 0.01))
    assert kills == 4 and steps < steps_kept(checkpoints) < 2 * steps
    monkeypatch.setenv("SYNTRIAL_CHECKPOINTS", str(checkpoints))
    train_classifier(**run)
    assert contents(tmp_path / "out") == contents(two_seeds[0])
    assert steps_kept(checkpoints) == 0


@pytest.mark.parametrize("arm", ["conventional_online", "conventional"])
def test_random_changes_are_the_same_after_a_kill(arm, pooled, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    trained(pooled["held_out"], tmp_path / "uncut", arm, config=LONG)
    run = {"images": pooled["held_out"], "arm": arm, "seeds": [0], "config": LONG, "augmentation": AUGMENT}
    assert killed(train_classifier, {**run, "out": tmp_path / "out"}, tmp_path / "checkpoints", 3)
    train_classifier(**run, out=tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "uncut")


# Refusals


def test_an_unknown_arm_is_refused(pooled, tmp_path):
    with pytest.raises(ConfigError, match="there is no arm 'simple'; there are original, "):
        trained(pooled["held_out"], tmp_path / "out", "simple")


@pytest.mark.parametrize("part", ["val", "test", "external"])
def test_a_part_that_lacks_a_class_is_refused_by_name(part, tmp_path):
    folder = parted(tmp_path / "set", ["train"] * 12 + ["train" if part == "val" else "val"] * 4 + [part])
    with pytest.raises(
        DegenerateError, match=f"original, held_out: the {part} part has no image of pneumonia; it cannot"
    ):
        trained(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_too_small_for_the_classifier_are_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8)).astype(np.uint8)
    rows = [(image, Row("", CLASSES[i % 2], f"p{i}", split="train")) for i, image in enumerate(images)]
    small = write(tmp_path / "set", rows, CLASSES, division={"protocol": "held_out"})
    with pytest.raises(DataError, match="images of 8 px; the classifier needs at least 16 px"):
        trained(small, tmp_path / "out")


def test_a_set_without_validation_is_refused(tmp_path):
    with pytest.raises(DegenerateError, match="the val part has no image of normal"):
        trained(parts_of(real_set(tmp_path / "whole"), "as_printed"), tmp_path / "out")


def test_a_leak_is_refused_before_anything_is_trained(tmp_path):
    folder = parted(tmp_path / "set", ["train"] * 4 + ["val"] * 2, patients=4)
    with pytest.raises(LeakError, match="patient p0 has trained and is in val"):
        trained(folder, tmp_path / "out")


def test_a_loss_that_is_not_finite_ends_it_by_name(pooled, tmp_path):
    with pytest.raises(
        TrainingError, match=r"classifier of original, seed 0: its loss is (nan|inf) at step \d+; a smaller"
    ):
        trained(pooled["held_out"], tmp_path / "out", config=CONFIG.model_copy(update={"lr": 1e25}))
    assert not (tmp_path / "out").exists()
