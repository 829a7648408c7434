"""The scores of one arm's classifiers, read from disk, and the checks that refuse what cannot be compared.

Shapes: S seeds, E epochs, N images, K classes.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syntrial.arms import Recipe
from syntrial.config import StudyConfig
from syntrial.errors import DataError, DegenerateError, LeakError
from syntrial.imageset import REAL, ImageSet
from syntrial.judging.metrics import Floats, Ints, confusion_matrix, roc_points, scores
from syntrial.words import counted

Texts = NDArray[np.str_]

PARTS = ("val", "test", "external")  # that classifiers are judged on
LEARNING = ("running_accuracy", "running_loss", "train_accuracy", "train_loss")  # columns of the curves


@dataclass(frozen=True)
class Predictions:
    """Probabilities of one classifier for the images of one part, ordered by the images' hashes."""

    prob: Floats  # (N, K)
    label: Ints  # (N,), as are the others
    group: Texts
    sha256: Texts
    source: Texts

    def same_images(self, other: Predictions) -> bool:
        """Whether both judge the same images with the same labels and patients."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in ("sha256", "label", "group"))


@dataclass(frozen=True)
class Outcome:
    """One arm under one protocol, all its seeds, in ascending order everywhere."""

    folder: Path
    about: dict[str, Any]
    seeds: list[int]
    curves: dict[str, Floats]  # column of curves.csv -> (S, E)
    predictions: dict[str, list[Predictions]]  # part -> of each seed

    @classmethod
    def open(cls, folder: str | Path) -> Outcome:
        """Reads a folder that the verb train_classifier wrote.

        Raises:
            DataError: no such folder, an incomplete one, or files that contradict each other.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            seeds = sorted(map(int, about["seeds"]))
            return cls(
                folder=folder,
                about=about,
                seeds=seeds,
                curves=_curves(folder / "curves.csv", seeds),
                predictions=_predictions(folder / "predictions.csv", seeds, list(about["classes"])),
            )
        except FileNotFoundError as error:
            raise DataError(f"{folder} is not a folder of predictions: it lacks {Path(error.filename).name}") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{folder} is not a whole folder of predictions: {error}") from None

    @property
    def arm(self) -> str:
        """Its name in the study."""
        return str(self.about["arm"])

    @property
    def recipe(self) -> Recipe:
        """What it was trained on."""
        return Recipe(**self.about["recipe"])

    @property
    def protocol(self) -> str:
        """as_printed or held_out."""
        return str(self.about["protocol"])

    @property
    def name(self) -> str:
        """Protocol and arm, for messages."""
        return f"{self.protocol} {self.arm}"

    def scores(self, part: str) -> list[dict[str, float]]:
        """For each seed, every number of judging.metrics.scores on one part; empty where the arm has no such part.

        Raises:
            DegenerateError: numbers that cannot be computed, such as an AUROC where the part lacks a class.
        """
        try:
            return [scores(seen.prob, seen.label) for seen in self.predictions.get(part, [])]
        except DegenerateError as error:
            raise DegenerateError(f"{self.name}, {part}: {error}") from None

    def means(self) -> dict[str, float]:
        """The means over seeds: the last training figures (train_loss, train_running_loss, ...), then each part's."""
        columns = {name: f"train_{name.removeprefix('train_')}" for name in LEARNING}
        found = {name: float(np.mean(self.curves[column][:, -1])) for column, name in columns.items()}
        for part in PARTS:
            by_seed = self.scores(part)
            for name in by_seed[0] if by_seed else ():
                found[f"{part}_{name}"] = float(np.mean([seen[name] for seen in by_seed]))
        return found

    def confusion(self, part: str) -> list[Ints]:
        """Of each seed, how many images of each true class (row) were called each class (column)."""
        return [confusion_matrix(seen.prob, seen.label) for seen in self.predictions[part]]

    def roc(self, part: str) -> tuple[Floats, Floats, Floats]:
        """False positive rates, true positive rates and thresholds of the mean probability over seeds of the last
        class, the one to detect.
        """
        prob_SNK, label_N, _ = self.stacked(part)
        mean_NK = prob_SNK.mean(axis=0)
        return roc_points(mean_NK[:, -1], label_N == mean_NK.shape[1] - 1)

    def stacked(self, part: str) -> tuple[Floats, Ints, Texts]:
        """Probabilities of all seeds (S, N, K), labels (N,) and patients (N,).

        Raises:
            DegenerateError: the arm has no such part, or its seeds were not evaluated on the same images.
        """
        seen = self.predictions.get(part, [])
        if not seen:
            raise DegenerateError(f"{self.name} has no {part} images, so it cannot be judged")
        if not all(seen[0].same_images(other) for other in seen):
            raise DegenerateError(f"{self.name}: its seeds were judged on different {part} images; train the arm again")
        return np.stack([one.prob for one in seen]), seen[0].label, seen[0].group


def gathered(outcomes: list[Outcome], protocol: str, arms: list[str], seeds: list[int]) -> dict[str, Outcome]:
    """The outcomes by arm, in the order of `arms`.

    Raises:
        DegenerateError: another protocol, an arm missing or given twice, or other seeds than the study's.
    """
    found: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.protocol != protocol:
            raise DegenerateError(f"{outcome.folder} was made {outcome.protocol}, and is given as {protocol}")
        if outcome.arm in found:
            raise DegenerateError(f"{protocol}: arm {outcome.arm} is given twice")
        if outcome.seeds != sorted(seeds):
            raise DegenerateError(f"{outcome.name} has seeds {outcome.seeds}; the study has {sorted(seeds)}")
        found[outcome.arm] = outcome
    for arm in [*arms, *found]:
        if arm not in found:
            raise DegenerateError(f"{protocol}: arm {arm} is missing; the study compares {', '.join(arms)}")
        if arm not in arms:
            raise DegenerateError(f"{protocol}: arm {arm} is no arm of the study, which has {', '.join(arms)}")
    return {arm: found[arm] for arm in arms}


def refuse_unequal(held_out: dict[str, Outcome], images: ImageSet) -> None:
    """Held out, every arm is evaluated on the same real images, after the same number of steps.

    Raises:
        DegenerateError: an arm without test images, or images or steps that differ between arms.
        LeakError: an image that is not real, or not one of the pooled set's images of that part.
    """
    reference = held_out["original"]
    for outcome in held_out.values():
        outcome.stacked("test")
        if outcome.about["steps"] != reference.about["steps"]:
            raise DegenerateError(
                f"{outcome.name} took {counted(outcome.about['steps'], 'step')} and original "
                f"{reference.about['steps']:,}; held out they must be equal"
            )
        for part in sorted({*outcome.predictions, *reference.predictions}):
            _judged_alike(outcome, reference, part)
    for part, seen in reference.predictions.items():
        _judged_on_its_part(seen[0], part, images)


def refuse_strangers(study: StudyConfig, outcomes: dict[str, Outcome], images: ImageSet) -> None:
    """The arms of a protocol were trained on the given pooled set, and the settings that it and they record are those
    of the study. They record no settings of ingest and of the faces' generator.

    Raises:
        DegenerateError: the first setting that differs, or the arm that was trained on another set.
    """
    said = study.model_dump(mode="json")
    _as_said(f"{images.folder}:", {"side": images.side, "classes": images.classes}, said)
    for divided in (images.about.get("division", {}), images.about["config"]):  # patients, then their generated images
        _as_said(f"{images.folder}: split.", divided, said["split"])
    for name, about in images.about.get("generators", {}).items():
        kind = about["kind"]
        if kind not in said["generators"]:
            raise DegenerateError(
                f"generator {name}: the study has no generator {kind}; give that which it was made with"
            )
        _as_said(f"generator {name}: generators.{kind}.", about["config"], said["generators"][kind])
        for drawn in filter(None, (len(images.where(source=name, label=label)) for label in study.classes)):
            _as_said(f"generator {name}:", {"images_per_class": drawn}, said)
    for outcome in outcomes.values():
        if images.digest not in [parent["digest"] for parent in outcome.about["parents"]]:
            raise DegenerateError(f"{outcome.name} was not trained on {images.folder}; every arm needs that pooled set")
        refuse_other_settings(study, outcome, study.side)


def refuse_other_settings(study: StudyConfig, outcome: Outcome, side: int) -> None:
    """Raises DegenerateError where an arm was not trained with the study's settings on images of `side` px."""
    said = study.model_dump(mode="json")
    made = {"side": outcome.about["side"], "classes": outcome.about["classes"]}
    _as_said(f"{outcome.name}:", made, {**said, "side": side})
    _as_said(f"{outcome.name}: classifier.", outcome.about["config"], said["classifier"])
    _as_said(f"{outcome.name}: conventional.", outcome.about["conventional"], said["conventional"])
    _as_said(f"{outcome.name}:", outcome.recipe.computes, study.recipes[outcome.arm].computes)


def _as_said(whose: str, made: dict[str, Any], said: dict[str, Any]) -> None:
    for name in (name for name in said if name in made):
        if made[name] != said[name]:
            raise DegenerateError(
                f"{whose}{'' if whose.endswith('.') else ' '}{name} was {made[name]}, and the study says {said[name]}; "
                "give the study that it was made with, or make it anew"
            )


def _judged_alike(outcome: Outcome, reference: Outcome, part: str) -> None:
    labels = [one.stacked(part)[1:] for one in (outcome, reference)]
    seen, expected = outcome.predictions[part][0], reference.predictions[part][0]
    if len(labels[0][0]) != len(labels[1][0]) or not seen.same_images(expected):
        raise DegenerateError(
            f"{outcome.name} was evaluated on {counted(len(seen.label), f'{part} image')} and original on "
            f"{len(expected.label):,}, not the same ones; both need the same pooled set"
        )


def _judged_on_its_part(seen: Predictions, part: str, images: ImageSet) -> None:
    generated = np.flatnonzero(seen.source != REAL)
    if len(generated):
        raise LeakError(
            f"held_out, {part}: {seen.sha256[generated[0]]} was generated by {seen.source[generated[0]]}; only real "
            "images may judge"
        )
    strange = set(seen.sha256.tolist()) - {images.rows[i].sha256 for i in images.where(source=REAL, split=part)}
    if strange:
        raise LeakError(
            f"held_out, {part}: {min(strange)} is no {part} image of {images.folder}; give the set that was trained on"
        )


def _curves(path: Path, seeds: list[int]) -> dict[str, Floats]:
    """Columns of the file -> (S, E)."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_seed = [[row for row in rows if int(row["seed"]) == seed] for seed in seeds]
    lengths = {len(chosen) for chosen in by_seed}
    if len(lengths) != 1 or lengths == {0} or len(rows) != sum(map(len, by_seed)):
        raise ValueError(f"{path.name} has not the same epochs for each of seeds {seeds}")
    columns = [name for name in rows[0] if name != "seed"]
    return {name: np.array([[float(row[name]) for row in chosen] for chosen in by_seed]) for name in columns}


def _predictions(path: Path, seeds: list[int], classes: list[str]) -> dict[str, list[Predictions]]:
    cells: dict[str, dict[int, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cells[row["split"]][int(row["seed"])].append(row)
    for part, by_seed in cells.items():
        if sorted(by_seed) != seeds:
            raise ValueError(f"{path.name} has part {part} for seeds {sorted(by_seed)}, not for {seeds}")
    return {part: [_one_seed(by_seed[seed], classes) for seed in seeds] for part, by_seed in sorted(cells.items())}


def _one_seed(rows: Iterable[dict[str, str]], classes: list[str]) -> Predictions:
    ordered = sorted(rows, key=lambda row: (row["sha256"], row["group"], row["label"]))
    return Predictions(
        prob=np.array([[float(row[f"p_{label}"]) for label in classes] for row in ordered]),
        label=np.array([classes.index(row["label"]) for row in ordered], dtype=np.int64),
        group=np.array([row["group"] for row in ordered]),
        sha256=np.array([row["sha256"] for row in ordered]),
        source=np.array([row["source"] for row in ordered]),
    )
