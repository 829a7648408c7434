"""A trained classifier scores any image set, unless something in it has trained."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from builders import CLASSES, drawn_set, pictures, pooled_set, real_set, write

from syntrial.classifiers.settings import CnnConfig
from syntrial.cli import main
from syntrial.config import AugmentConfig
from syntrial.errors import DataError, LeakError
from syntrial.imageset import REAL, ImageSet, Row
from syntrial.judging.metrics import accuracy, log_loss, scores
from syntrial.score import score
from syntrial.train_classifier import train_classifier


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pooled set, and an arm with a seed of it."""
    folder = tmp_path_factory.mktemp("made")
    pooled_set(folder, "held_out")
    config, augmentation = CnnConfig(epochs=2, width=4), AugmentConfig()
    train_classifier(
        folder / "pool", folder / "arm", arm="simple_gan", seeds=[4], config=config, augmentation=augmentation
    )
    return folder


@pytest.fixture(scope="module")
def classifier(made):
    return made / "arm" / "classifiers" / "seed-4"


def others(folder, labels, classes=CLASSES, side=32):
    """X-rays that trained nothing: the sample's from the fortieth on."""
    images = [image for label in ("normal", "pneumonia") for image in pictures(label, 46, side)[40:]]
    rows = [(image, Row("", label, f"new-{i}")) for i, (image, label) in enumerate(zip(images, labels, strict=True))]
    return write(folder, rows, list(classes))


def kept(made, folder, keep):
    """The rows of the pooled set that `keep` accepts."""
    whole = ImageSet.open(made / "pool")
    rows = [(whole.pixels([i])[0], replace(row, split="")) for i, row in enumerate(whole.rows) if keep(row)]
    lineage = {name: whole.lineage[name] for name in {row.source for _, row in rows} - {REAL}}
    return write(folder, rows, whole.classes, lineage=lineage)


def predicted(folder):
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, np.array([[float(row[f"p_{label}"]) for label in CLASSES] for row in rows])


def test_images_that_trained_nothing_are_scored_in_their_order(classifier, tmp_path):
    images = others(tmp_path / "set", CLASSES * 6)
    numbers = score(classifier, images, tmp_path / "out")
    rows, chances = predicted(tmp_path / "out")
    whole = ImageSet.open(images)
    assert [row["sha256"] for row in rows] == [row.sha256 for row in whole.rows]
    label_N = np.array([CLASSES.index(row.label) for row in whole.rows])
    assert numbers == {"images": 12, **scores(chances, label_N)}
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert about["numbers"] == numbers and about["seed"] == 4
    assert [parent["verb"] for parent in about["parents"]] == ["train_classifier", "ingest"]


def test_the_held_out_test_images_get_what_training_predicted(made, classifier, tmp_path):
    score(classifier, kept(made, tmp_path / "set", lambda row: row.split == "test"), tmp_path / "out")
    rows, chances = predicted(tmp_path / "out")
    trained, before = predicted(made / "arm")
    test = [i for i, row in enumerate(trained) if row["split"] == "test"]
    assert [row["sha256"] for row in rows] == [trained[i]["sha256"] for i in test]
    assert chances == pytest.approx(before[test], abs=1e-6)


def test_one_class_alone_has_accuracy_and_loss_and_no_auroc(classifier, tmp_path):
    numbers = score(classifier, others(tmp_path / "set", ["normal"] * 12), tmp_path / "out")
    _, chances = predicted(tmp_path / "out")
    label_N = np.zeros(12, dtype=np.int64)
    assert numbers == {"images": 12, "accuracy": accuracy(chances, label_N), "loss": log_loss(chances, label_N)}


def test_where_a_label_is_unknown_there_are_predictions_and_no_numbers(classifier, tmp_path):
    assert score(classifier, others(tmp_path / "set", [*CLASSES * 5, "", ""]), tmp_path / "out") == {"images": 12}
    assert len(predicted(tmp_path / "out")[0]) == 12


def test_another_side_other_classes_and_an_empty_set_are_refused(classifier, tmp_path):
    with pytest.raises(DataError, match="has images of 64 px and the classifier reads 32 px"):
        score(classifier, others(tmp_path / "large", CLASSES * 6, side=64), tmp_path / "out")
    with pytest.raises(DataError, match="has the classes sick, well and the classifier normal, pneumonia"):
        score(classifier, others(tmp_path / "sick", ["sick", "well"] * 6, ("sick", "well")), tmp_path / "out")
    with pytest.raises(DataError, match="has no images"):
        score(classifier, write(tmp_path / "empty", [], CLASSES), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_that_trained_is_refused_by_name(made, classifier, tmp_path):
    images = kept(made, tmp_path / "set", lambda row: row.split == "train" and row.source == REAL)
    with pytest.raises(LeakError, match=r"normal/\d+.png trained the classifier or one of its generators"):
        score(classifier, images, tmp_path / "out")


def test_another_image_of_a_patient_who_trained_is_refused_by_name(made, classifier, tmp_path):
    group = next(row.group for row in ImageSet.open(made / "pool").rows if row.split == "train")
    image = pictures("normal", 46)[45]
    images = write(tmp_path / "set", [(image, Row("", "normal", group, file="later.png"))], CLASSES)
    with pytest.raises(LeakError, match=f"patient {group} [(]later.png[)] trained the classifier"):
        score(classifier, images, tmp_path / "out")


def test_an_image_of_a_generator_that_has_seen_what_trained_is_refused_by_name(made, classifier, tmp_path):
    images = drawn_set(tmp_path / "drawn", made / "parts", "another", "normal", 3)
    with pytest.raises(LeakError, match="another/normal/0 was drawn by another/normal, which has seen images"):
        score(classifier, images, tmp_path / "out")


def test_an_image_of_a_generator_that_has_seen_a_patient_who_trained_is_refused_by_name(made, classifier, tmp_path):
    group = next(row.group for row in ImageSet.open(made / "pool").rows if row.split == "train")
    image, row = pictures("normal", 46)[45], Row("", "normal", "far/normal", "far/normal", "", "far.png")
    images = write(tmp_path / "set", [(image, row)], CLASSES, lineage={"far/normal": {("f" * 64, group)}})
    with pytest.raises(LeakError, match=r"far\.png was drawn by far/normal, which has seen images or patients that"):
        score(classifier, images, tmp_path / "out")


def test_by_hand_it_takes_a_classifier_and_images(classifier, tmp_path, capsys):
    images = others(tmp_path / "set", CLASSES * 6)
    assert main(["score", str(classifier), str(images), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("images 12\naccuracy ")
    assert main(["score", str(classifier), str(real_set(tmp_path / "real")), str(tmp_path / "no")]) == 2
    assert "trained the classifier or one of its generators" in capsys.readouterr().err
