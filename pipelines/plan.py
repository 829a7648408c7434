"""What a study will do before it does it: the boxes in the order in which they start, the images each works through, and the cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.graph import ALL, FACES, kinds_of
from pipelines.watch import Planned
from syntrial.arms import ARMS
from syntrial.config import CnnConfig, GanConfig, StudyConfig

PROTOCOLS = ("as_printed", "held_out")
START_S = 3.0  # of a box that imports torch, on the slower of the machines at hand
LIGHT_S = 1.0
EVALUATION = 0.35  # a look at an image without learning from it costs about a third of a step


@dataclass(frozen=True)
class Counts:
    """Images by class, of faces, and of a second test set."""

    classes: dict[str, int]
    faces: int = 0
    external: int = 0

    @property
    def total(self) -> int:
        return sum(self.classes.values())


@dataclass(frozen=True)
class Speed:
    """Images per second of one box on this machine, for a generator and a classifier of a study's size."""

    gan: float
    cnn: float
    at_once: int = 1  # boxes of a loop that run side by side


def planned(study: StudyConfig, counts: Counts, speed: Speed) -> list[Planned]:
    """All boxes, in the order in which a laptop starts them."""
    trials = [box for protocol in PROTOCOLS for box in _trial(study, counts, speed, protocol)]
    return [
        _light("ingest", {"kind": "images", "label": f"{study.side}px"}, counts.total),
        _light("ingest", {"kind": "second test set", "label": f"{study.side}px"}, counts.external),
        *_faces(study, counts, speed),
        *trials,
        *_full_size(study, counts, speed),
        _light("report", {}, 0),
    ]


def needed_s(boxes: list[Planned], at_once: int) -> float:
    """Seconds until the last box ends, when `at_once` boxes of a loop run side by side."""
    looped = sum(
        box.weight_s
        for box in boxes
        if box.labels.get("protocol") and box.box in ("train_gan", "synthesize", "train_cnn")
    )
    return sum(box.weight_s for box in boxes) - looped + looped / at_once


def images_shown(boxes: list[Planned], verb: str) -> int:
    """Images that the boxes of a verb work through."""
    return sum(box.units for box in boxes if box.box == verb)


def measure(study: StudyConfig, seconds: float = 2.0) -> Speed:
    """A short measurement with the study's own networks on random images. Takes about twice `seconds`, and the import of torch."""
    import torch

    from syntrial import machine, train_cnn, train_gan

    device = machine.device()
    config, classifier = study.gans.simple, study.classifier
    real = torch.rand(config.batch, 1, study.side, study.side, device=device) * 2 - 1
    label = torch.zeros(config.batch, dtype=torch.int64, device=device)
    players = train_gan.begin(study.side, 0, config, "measure", device)
    gan = _rate(lambda: train_gan.update(players, [(real, label)] * config.discriminator_steps, config), seconds)
    learner = train_cnn.begin(len(study.classes), 0, classifier, device)
    images = torch.rand(classifier.batch, 1, study.side, study.side, device=device) * 2 - 1
    labels = torch.zeros(classifier.batch, dtype=torch.int64, device=device)
    cnn = _rate(lambda: train_cnn.update(learner, images, labels, None), seconds)
    return Speed(gan * config.batch * config.discriminator_steps, cnn * classifier.batch)


def guessed(study: StudyConfig) -> Speed:
    """Speeds without measuring, from those seen once on a CPU core; what the boxes really take corrects them while they run."""
    gan, classifier = study.gans.simple, study.classifier
    return Speed(
        gan=350 * (64 / study.side) ** 2 * (16 / gan.width) ** 1.4,
        cnn=550 * (64 / study.side) ** 2 * (16 / classifier.width),
    )


def _trial(study: StudyConfig, counts: Counts, speed: Speed, protocol: str) -> list[Planned]:
    boxes = [_light("split", {"protocol": protocol, "kind": f"{study.side}px"}, counts.total)]
    for kind in kinds_of(study):
        boxes += _generators(study, counts, speed, protocol, kind)
    boxes.append(_light("pool", {"protocol": protocol}, counts.total))
    return boxes + [_classifier(study, counts, speed, protocol, arm) for arm in study.arms]


def _generators(study: StudyConfig, counts: Counts, speed: Speed, protocol: str, kind: str) -> list[Planned]:
    config: GanConfig = getattr(study.gans, kind)
    images = {ALL: counts.total} if config.conditional else counts.classes
    boxes = []
    for label, count in images.items():
        labels = {"protocol": protocol, "kind": kind, "label": label}
        shown = _gan_images(config, _training(study, count, protocol))
        boxes.append(Planned("train_gan", labels, shown, START_S + shown / speed.gan))
        drawn = study.images_per_class * (len(counts.classes) if label == ALL else 1)
        boxes.append(Planned("synthesize", labels, drawn, START_S + EVALUATION * drawn / speed.gan))
    return boxes


def _classifier(study: StudyConfig, counts: Counts, speed: Speed, protocol: str, arm: str) -> Planned:
    config: CnnConfig = study.classifier
    real = _training(study, counts.total, protocol)
    recipe = ARMS[arm]
    added = study.images_per_class * len(counts.classes) if recipe.generator or recipe.duplicates else 0
    if protocol == "as_printed":
        real, added = (round(n * (1 - study.split.val_share)) for n in (real, added))
    own = real * study.conventional.copies if recipe.conventional == "instead" else real + added
    shown = config.epochs * math.ceil((own if protocol == "as_printed" else real) / config.batch) * config.batch
    looked_at = config.epochs * (own + round(counts.total * study.split.val_share))
    seconds = len(study.seeds) * (shown + EVALUATION * looked_at) / speed.cnn
    labels = {"protocol": protocol, "kind": f"{study.side}px", "arm": arm}
    return Planned("train_cnn", labels, len(study.seeds) * shown, START_S + seconds)


def _faces(study: StudyConfig, counts: Counts, speed: Speed) -> list[Planned]:
    if "transfer" not in kinds_of(study):
        return []
    shown = _gan_images(study.gans.faces, counts.faces)
    return [
        _light("ingest", {"kind": FACES, "label": f"{study.side}px"}, counts.faces),
        Planned("train_gan", {"kind": FACES, "label": FACES}, shown, START_S + shown / speed.gan),
    ]


def _full_size(study: StudyConfig, counts: Counts, speed: Speed) -> list[Planned]:
    side = study.resize_check.full_side
    if not side:
        return []
    larger = Speed(speed.gan, speed.cnn * (study.side / side) ** 2, speed.at_once)
    box = _classifier(study, counts, larger, "held_out", "original")
    labels = {**box.labels, "kind": f"{side}px"}
    return [
        _light("ingest", {"kind": "images", "label": f"{side}px"}, counts.total),
        _light("split", {"protocol": "held_out", "kind": f"{side}px"}, counts.total),
        Planned(box.box, labels, box.units, box.weight_s),
    ]


def _light(box: str, labels: dict[str, str], images: int) -> Planned:
    return Planned(box, labels, images, LIGHT_S + images / 1000)


def _training(study: StudyConfig, count: int, protocol: str) -> int:
    return count if protocol == "as_printed" else round(count * (1 - study.split.val_share - study.split.test_share))


def _gan_images(config: GanConfig, images: int) -> int:
    per_step = min(config.batch, max(1, images)) * config.discriminator_steps
    return math.ceil(config.epochs * images / per_step) * per_step


def _rate(step: Callable[[], object], seconds: float) -> float:
    """Steps per second, the first one apart."""
    step()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - began)
