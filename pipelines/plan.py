"""What a study will do before it does it: the boxes in the order in which they start, the images each works through,
and the cost.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipelines.counts import Counts
from pipelines.graph import ALL, kinds_of
from pipelines.local.watch import AT_ONCE, Planned
from syntrial.arms import recipe_of
from syntrial.classifiers.settings import ClassifierConfig
from syntrial.config import StudyConfig
from syntrial.generators.settings import GeneratorConfig
from syntrial.reading.layouts import FACES

PROTOCOLS = ("as_printed", "held_out")
START_S = 3.0  # of a box that imports torch, on the slower of the machines at hand
LIGHT_S = 1.0
EVALUATION = 0.35  # a look at an image without learning from it costs about a third of a step


@dataclass(frozen=True)
class Speed:
    """Images per second of one box on this machine, for a generator and a classifier of a study's size."""

    gan: float
    cnn: float


def planned(study: StudyConfig, counts: Counts, speed: Speed) -> list[Planned]:
    """All boxes, each after those it needs."""
    size = {"label": f"{study.side}px"}
    real = _light("ingest", {"kind": "images", **size}, counts.total)
    second = _light("ingest", {"kind": "second test set", **size}, counts.external)
    faces = _faces(study, counts, speed)
    trials = [
        box for protocol in PROTOCOLS for box in _trial(study, counts, speed, protocol, [real, second], faces[-1:])
    ]
    before = [real, second, *faces, *trials, *_full_size(study, counts, speed)]
    return [*before, _light("report", {}, 0, before)]


def images_shown(boxes: list[Planned], verb: str) -> int:
    """Images that the boxes of a verb work through."""
    return sum(box.units for box in boxes if box.box == verb)


def box_threads() -> str:
    """Of each box, in the words of SYNTRIAL_THREADS: what that says, else its share of the cores that may be used."""
    return os.environ.get("SYNTRIAL_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // AT_ONCE))


def measure(study: StudyConfig, seconds: float = 2.0) -> Speed:
    """A short measurement with the study's own networks on random images, with the threads of one box. Takes about
    twice `seconds`, and the import of torch.
    """
    import torch

    from syntrial import train_classifier, train_generator
    from syntrial.training import machine

    device = machine.device()
    torch.set_num_threads(int(box_threads()))
    config, classifier = study.generators.simple, study.classifier
    real = torch.rand(config.batch, 1, study.side, study.side, device=device) * 2 - 1
    label = torch.zeros(config.batch, dtype=torch.int64, device=device)
    generator = train_generator.begin(study.side, 0, config, "measure", device)
    gan = _rate(lambda: generator.step([(real, label)] * config.batches_per_step, 0), seconds)
    learner = train_classifier.begin(len(study.classes), 0, classifier, device)
    images = torch.rand(classifier.batch, 1, study.side, study.side, device=device) * 2 - 1
    labels = torch.zeros(classifier.batch, dtype=torch.int64, device=device)
    cnn = _rate(lambda: train_classifier.update(learner, images, labels, None), seconds)
    return Speed(gan * config.batch * config.batches_per_step, cnn * classifier.batch)


def guessed(study: StudyConfig) -> Speed:
    """Speeds without measuring, from those seen once on a CPU core; what the boxes really take corrects them while
    they run.
    """
    gan, classifier = study.generators.simple, study.classifier
    return Speed(
        gan=350 * (64 / study.side) ** 2 / gan.relative_cost,
        cnn=850 * (64 / study.side) ** 2 * (16 / getattr(classifier, "width", 16)),
    )


def _trial(
    study: StudyConfig, counts: Counts, speed: Speed, protocol: str, sets: list[Planned], start: list[Planned]
) -> list[Planned]:
    divided = _light("split", {"protocol": protocol, "kind": f"{study.side}px"}, counts.total, sets)
    generators: list[Planned] = []
    for kind in kinds_of(study):
        generators += _generators(
            study, counts, speed, protocol, kind, [divided, *(start if kind == "transfer" else [])]
        )
    pooled = _light("pool", {"protocol": protocol}, counts.total, [divided, *generators])
    return [
        divided,
        *generators,
        pooled,
        *(_classifier(study, counts, speed, protocol, arm, pooled) for arm in study.arms),
    ]


def _generators(
    study: StudyConfig, counts: Counts, speed: Speed, protocol: str, kind: str, needs: list[Planned]
) -> list[Planned]:
    config = study.generators[kind]
    images = {ALL: counts.total} if config.conditional else counts.classes
    boxes = []
    for label, count in images.items():
        labels = {"protocol": protocol, "kind": kind, "label": label}
        shown = _gan_images(config, _training(study, count, protocol))
        trained = Planned("train_generator", labels, shown, shown / speed.gan, _names(needs), START_S)
        drawn = study.images_per_class * (len(counts.classes) if label == ALL else 1)
        seconds = EVALUATION * drawn / speed.gan
        boxes += [trained, Planned("synthesize", labels, drawn, seconds, _names([trained]), START_S)]
    return boxes


def _classifier(study: StudyConfig, counts: Counts, speed: Speed, protocol: str, arm: str, needs: Planned) -> Planned:
    config: ClassifierConfig = study.classifier
    real = _training(study, counts.total, protocol)
    name, recipe = recipe_of(arm)
    added = round(real * recipe.dose) if recipe.dose else study.images_per_class * len(counts.classes)
    added = added if recipe.add else 0
    if protocol == "as_printed":
        real, added = (round(n * (1 - study.split.val_share)) for n in (real, added))
    own = (real * study.conventional.copies if recipe.augment == "instead" else real) + added
    own -= real if recipe.use == "alone" else 0
    shown = config.epochs * math.ceil((own if protocol == "as_printed" else real) / config.batch) * config.batch
    looked_at = config.epochs * (own + round(counts.total * study.split.val_share))
    seconds = len(study.seeds) * (shown + EVALUATION * looked_at) / speed.cnn
    labels = {"protocol": protocol, "kind": f"{study.side}px", "arm": name}
    return Planned("train_classifier", labels, len(study.seeds) * shown, seconds, _names([needs]), START_S)


def _faces(study: StudyConfig, counts: Counts, speed: Speed) -> list[Planned]:
    if "transfer" not in kinds_of(study):
        return []
    shown = _gan_images(study.generators.faces, counts.faces)
    people = _light("ingest", {"kind": FACES, "label": f"{study.side}px"}, counts.faces)
    labels = {"kind": FACES, "label": FACES}
    return [people, Planned("train_generator", labels, shown, shown / speed.gan, _names([people]), START_S)]


def _full_size(study: StudyConfig, counts: Counts, speed: Speed) -> list[Planned]:
    side = study.resize_check.full_side
    if not side:
        return []
    large = _light("ingest", {"kind": "images", "label": f"{side}px"}, counts.total)
    divided = _light("split", {"protocol": "held_out", "kind": f"{side}px"}, counts.total, [large])
    slower = Speed(speed.gan, speed.cnn * (study.side / side) ** 2)
    trained = _classifier(study, counts, slower, "held_out", "original", divided)
    return [large, divided, replace(trained, labels={**trained.labels, "kind": f"{side}px"})]


def _light(box: str, labels: dict[str, str], images: int, needs: list[Planned] | None = None) -> Planned:
    return Planned(box, labels, images, images / 1000, _names(needs or []), LIGHT_S)


def _names(boxes: list[Planned]) -> tuple[str, ...]:
    return tuple(box.name for box in boxes)


def _training(study: StudyConfig, count: int, protocol: str) -> int:
    return count if protocol == "as_printed" else round(count * (1 - study.split.val_share - study.split.test_share))


def _gan_images(config: GeneratorConfig, images: int) -> int:
    per_step = min(config.batch, max(1, images)) * config.batches_per_step
    return math.ceil(config.epochs * images / per_step) * per_step


def _rate(step: Callable[[], object], seconds: float) -> float:
    """Steps per second, the first one apart."""
    step()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - began)
