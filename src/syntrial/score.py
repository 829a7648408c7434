"""Verb: a trained classifier and an image set -> predictions, and their scores where the labels are known."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from syntrial.classifiers.predictions import prediction_rows, write_predictions
from syntrial.classifiers.trained import Probabilities, TrainedClassifier
from syntrial.errors import DataError, LeakError
from syntrial.imageset import REAL, ImageSet, about_parent
from syntrial.judging.metrics import accuracy, log_loss, scores
from syntrial.progress import Progress
from syntrial.store import atomic
from syntrial.training import machine


def score(classifier: str | Path, images: str | Path, out: str | Path) -> dict[str, float]:
    """Writes predictions.csv (one row per image, in the order of the set) and about.json to the folder `out`.

    Args:
        classifier: one trained classifier, such as classifiers/seed-0 of what train_classifier wrote.
        images: any image set of the same side and classes.

    Returns:
        The number of images; if every label is known, also accuracy and log loss; if every class is present, all of
        judging.metrics.scores.

    Raises:
        DataError: not a trained classifier, or images of another side or of other classes, or no images.
        LeakError: the set contains an image or a patient on which the classifier or one of its generators was trained,
            or an image drawn by a generator that was trained on such an image or patient.
    """
    judge, whole = TrainedClassifier.open(classifier), ImageSet.open(images)
    _refuse_strange(judge, whole)
    _refuse_ancestors(judge, whole)
    device = machine.device()
    with Progress("score", len(whole.rows)) as progress, atomic.new_folder(out) as draft:
        prob_NK = judge.probabilities(whole, device)
        progress.update(len(whole.rows))
        numbers = {"images": float(len(whole.rows)), **_numbers(prob_NK, whole, judge.classes)}
        # The part of each row in the set; "" for none.
        rows = (
            line
            for row, chances_K in zip(whole.rows, prob_NK, strict=True)
            for line in prediction_rows(judge.about["seed"], row.split, [row], chances_K[None])
        )
        write_predictions(draft / "predictions.csv", judge.classes, rows)
        about = {
            "verb": "score",
            **{name: judge.about[name] for name in ("classes", "side", "arm", "protocol", "seed")},
            "numbers": numbers,
            "machine": machine.description(device),
            "parents": [about_parent(judge.about), about_parent(whole.about)],
            "digest": hashlib.sha256((draft / "predictions.csv").read_bytes()).hexdigest(),
        }
        atomic.write_json(draft / "about.json", about)
    return numbers


def _refuse_strange(judge: TrainedClassifier, whole: ImageSet) -> None:
    if whole.side != judge.side:
        raise DataError(
            f"{whole.folder} has images of {whole.side} px and the classifier reads {judge.side} px; ingest them at "
            "that side"
        )
    if whole.classes != judge.classes:
        raise DataError(
            f"{whole.folder} has the classes {', '.join(whole.classes)} and the classifier {', '.join(judge.classes)}; "
            "they must be the same, in the same order"
        )
    if not whole.rows:
        raise DataError(f"{whole.folder} has no images, so there is nothing to score")


def _refuse_ancestors(judge: TrainedClassifier, whole: ImageSet) -> None:
    seen_images, seen_groups = {sha for sha, _ in judge.ancestors}, {group for _, group in judge.ancestors}
    leaking = {
        name
        for name, seen in whole.lineage.items()
        if any(sha in seen_images or group in seen_groups for sha, group in seen)
    }
    for row in whole.rows:
        name = row.file or row.sha256
        if row.source in leaking:
            raise LeakError(
                f"{name} was drawn by {row.source}, which has seen images or patients that trained the classifier"
            )
        if row.sha256 in seen_images:
            raise LeakError(f"{name} trained the classifier or one of its generators; take it out of the set")
        if row.source == REAL and row.group in seen_groups:
            raise LeakError(
                f"patient {row.group} ({name}) trained the classifier or one of its generators; take the patient out, "
                "or ingest sets that number theirs alike under names of their own"
            )


def _numbers(prob_NK: Probabilities, whole: ImageSet, classes: list[str]) -> dict[str, float]:
    if any(row.label not in classes for row in whole.rows):
        return {}
    label_N = np.array([classes.index(row.label) for row in whole.rows], dtype=np.int64)
    if len(set(label_N.tolist())) < len(classes):
        return {"accuracy": accuracy(prob_NK, label_N), "loss": log_loss(prob_NK, label_N)}
    return scores(prob_NK, label_N)
