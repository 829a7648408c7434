"""What boxes tell the dashboard: finite, complete, and legible without anything from elsewhere."""

import json
import re
from types import SimpleNamespace

import pytest
from builders import pooled_set, real_set

from syntrial.classifiers.settings import CnnConfig
from syntrial.config import AugmentConfig
from syntrial.generators.settings import DcganConfig
from syntrial.judging.metrics import roc_points
from syntrial.reporting.dashboard import (
    classifier_numbers,
    classifier_page,
    generator_page,
    images_page,
    show,
    show_classification,
)
from syntrial.reporting.outcomes import Outcome
from syntrial.train_classifier import train_classifier
from syntrial.train_generator import train_generator


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A generator, and classifiers under both protocols."""
    folder = tmp_path_factory.mktemp("made")
    real = real_set(folder / "real")
    config = DcganConfig(epochs=1, width=4, latent=8, batch=8, collapse_below=0)
    train_generator(real, folder / "generator", kind="faces", label="normal", config=config)
    for protocol in ("as_printed", "held_out"):
        pooled = pooled_set(folder / protocol, protocol)
        train_classifier(
            pooled,
            folder / f"{protocol} scores",
            arm="original",
            seeds=[0, 1],
            config=CnnConfig(epochs=2, width=4),
            augmentation=AugmentConfig(),
        )
    return folder


def artifact(folder):
    return SimpleNamespace(path=str(folder / "artifact"), metadata={})


def test_only_finite_numbers_reach_a_metric(tmp_path):
    metrics = artifact(tmp_path)
    show(metrics, {"loss": 0.5, "auroc": float("nan"), "gap": float("inf"), "images": 3})
    assert metrics.metadata == {"loss": 0.5, "images": 3.0}


def test_what_is_shown_lies_on_the_disk_as_well(tmp_path, made):
    metrics, curve = artifact(tmp_path), artifact(tmp_path / "..")
    show(metrics, {"loss": 0.5})
    assert json.loads((tmp_path / "artifact").read_text()) == metrics.metadata
    show_classification(curve, made / "held_out scores")
    assert json.loads((tmp_path.parent / "artifact").read_text()) == curve.metadata


@pytest.mark.parametrize(("protocol", "part"), [("as_printed", "val"), ("held_out", "test")])
def test_the_roc_curve_is_of_the_part_that_judges(protocol, part, made, tmp_path):
    shown = artifact(tmp_path)
    show_classification(shown, made / f"{protocol} scores")
    first, second = Outcome.open(made / f"{protocol} scores").predictions[part]
    rows = [row["row"] for row in shown.metadata["confusionMatrix"]["rows"]]
    assert [sum(row) for row in rows] == [2 * int((first.label == k).sum()) for k in (0, 1)]
    _, recall, _ = roc_points((first.prob + second.prob)[:, 1] / 2, first.label == 1)
    assert [point["recall"] for point in shown.metadata["confidenceMetrics"]] == recall.tolist()


def test_the_numbers_of_an_arm_are_the_means_over_its_seeds(made):
    numbers, outcome = classifier_numbers(made / "held_out scores"), Outcome.open(made / "held_out scores")
    for part in ("val", "test"):
        one, other = outcome.scores(part)
        assert {f"{part}_{name}": (one[name] + other[name]) / 2 for name in one}.items() <= numbers.items()
    learning = ("accuracy", "loss", "running_accuracy", "running_loss")
    assert {f"train_{name}" for name in learning} <= set(numbers)


def test_a_roc_curve_holds_nothing_that_json_lacks(made, tmp_path):
    shown = artifact(tmp_path)
    show_classification(shown, made / "held_out scores")
    text = json.dumps(shown.metadata, allow_nan=False)
    assert json.loads(text)["confidenceMetrics"][0] == {
        "falsePositiveRate": 0.0,
        "recall": 0.0,
        "confidenceThreshold": 1.0,
    }


def test_the_categories_of_the_confusion_matrix_are_the_classes(made, tmp_path):
    shown = artifact(tmp_path)
    show_classification(shown, made / "held_out scores")
    matrix = shown.metadata["confusionMatrix"]
    assert [spec["displayName"] for spec in matrix["annotationSpecs"]] == ["normal", "pneumonia"]
    assert [len(row["row"]) for row in matrix["rows"]] == [2, 2]


@pytest.mark.parametrize(
    ("write", "of"), [(images_page, "real"), (generator_page, "generator"), (classifier_page, "held_out scores")]
)
def test_a_page_needs_nothing_from_elsewhere(write, of, made, tmp_path):
    write(made / of, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["'](?!data:)|<script|nan|inf\b""", page)
    assert re.search("data:image/png;base64,|<polyline", page)


def test_the_page_of_a_generator_draws_every_number_that_was_written_down(made, tmp_path):
    generator_page(made / "generator", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    header = (made / "generator" / "curves.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    for name in header[2:]:
        assert f" {name.replace('_', ' ')}" in page
    assert page.count("<polyline") == len(header) - 2


def test_a_classifiers_curve_is_the_mean_over_seeds(made, tmp_path):
    folder = made / "held_out scores"
    classifier_page(folder, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "the mean over seeds 0, 1" in page
    rows = [line.split(",") for line in (folder / "curves.csv").read_text(encoding="utf-8").splitlines()]
    losses = [
        sum(float(row[rows[0].index(name)]) for row in rows[1:] if row[1] == epoch) / 2
        for name in ("running_loss", "train_loss", "val_loss")
        for epoch in ("1", "2")
    ]
    assert f">{max(losses):,.4g}<" in page and f">{min(losses):,.4g}<" in page
