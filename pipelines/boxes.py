"""The properties of each box, declared once. Which boxes run, and their order and inputs, are read from the graph.

Imports only the standard library, because the names of container images are derived from this file on machines where
no library is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.counts import Counts
    from syntrial.arms import Recipe
    from syntrial.config import StudyConfig

Facts = dict[str, Any]  # parameters of a box and of the boxes it depends on (pipelines.tasks.Task.facts)
ALL = "*"  # one conditional generator of all classes
START_S = 3.0  # start-up time of a box that imports torch, on the slower of the machines at hand
LIGHT_S = 1.0  # start-up time of any other box
EVALUATION = 0.35  # cost of a forward pass on an image, as a share of a training step
WEIGHT_BYTES = 4
KEPT_BY_ADAM = 3  # numbers per weight: the weight and its two moments


@dataclass(frozen=True)
class Known:
    """What is known before a run: the study and the number of its images."""

    study: StudyConfig
    counts: Counts


@dataclass(frozen=True)
class Speed:
    """Images per second that one box trains on here: the generator `simple`, and a classifier of the study's size."""

    gan: float
    cnn: float


@dataclass(frozen=True)
class Networks:
    """Sizes of a study's networks."""

    generator: int  # numbers in a trained generator on disk
    checkpoint: int  # numbers in a checkpoint of a generator's training
    classifier: int  # numbers in a trained classifier
    gan_flops: float  # floating-point operations per image of a training step
    cnn_flops: float  # likewise


@dataclass(frozen=True)
class Box:
    """One box. Attributes that are left out do not apply to it.

    Attributes:
        torch: True if it needs torch: it then runs in the image with torch, and on a GPU where there is one.
        reads: True if it reads the user's data, local or remote.
        labels: the labels of its Progress, by which progress events are matched to planned boxes; None for a box
            without Progress.
        images: number of images it processes.
        seconds: working time, without start-up.
        sends: bytes of its outputs; the last argument is the bytes of its inputs.
        kept: numbers in one of its checkpoints; None for a box without checkpoints.
        step: floating-point operations per image, and images per step.
    """

    torch: bool = False
    reads: bool = False
    labels: Callable[[Facts], dict[str, str]] | None = None
    images: Callable[[Facts, Known], int] = lambda facts, known: 0
    seconds: Callable[[Facts, Known, Speed], float] = lambda facts, known, speed: 0.0
    sends: Callable[[Facts, Known, Networks, int], int] = lambda facts, known, networks, received: 0
    kept: Callable[[Networks], int] | None = None
    step: Callable[[Facts, Known, Networks], tuple[float, int]] = lambda facts, known, networks: (0.0, 1)

    @property
    def stores(self) -> bool:
        """Whether it accesses the object store itself, for data or checkpoints."""
        return self.reads or self.kept is not None

    @property
    def start_s(self) -> float:
        """Start-up time, in seconds."""
        return START_S if self.torch else LIGHT_S


def _px(facts: Facts) -> str:
    return f"{int(facts['side'])}px"


def _pixels(facts: Facts) -> int:
    return int(facts["side"]) ** 2


def _training(known: Known, count: int, protocol: str | None) -> int:
    """How many of `count` real images are training images."""
    split = known.study.split
    return round(count * (1 - split.val_share - split.test_share)) if protocol == "held_out" else count


def _ingested(facts: Facts, known: Known) -> int:
    sets = {"images": known.counts.total, "second test set": known.counts.external, "faces": known.counts.faces}
    return sets[facts["name"]]


def _light_s(images: Callable[[Facts, Known], int]) -> Callable[[Facts, Known, Speed], float]:
    return lambda facts, known, speed: images(facts, known) / 1000


def _all_images(facts: Facts, known: Known) -> int:
    return known.counts.total


def _of_generator(facts: Facts) -> dict[str, str]:
    named = {key: facts.get(key) for key in ("protocol", "kind", "label")}
    return {key: str(value) for key, value in named.items() if value}


def _shown(facts: Facts, known: Known) -> int:
    """Number of images shown to a generator in its training, repetitions included."""
    config, counts = known.study.generators[facts["kind"]], known.counts
    by_label = {**counts.classes, "faces": counts.faces, ALL: counts.total}
    images = _training(known, by_label[facts["label"]], facts.get("protocol"))
    per_step = min(config.batch, max(1, images)) * config.batches_per_step
    return math.ceil(int(facts["epochs"]) * images / per_step) * per_step


def _drawn(facts: Facts, known: Known) -> int:
    return int(facts["count"]) * (len(known.counts.classes) if facts["label"] == ALL else 1)


def _heavier(facts: Facts, known: Known) -> float:
    """How much more an image costs a generator than `simple`, which is measured."""
    generators = known.study.generators
    return generators[facts["kind"]].relative_cost / generators.simple.relative_cost


def _generator_bytes(facts: Facts, known: Known, networks: Networks, received: int) -> int:
    return networks.generator * WEIGHT_BYTES


def _arm(facts: Facts) -> tuple[str, Recipe]:
    from syntrial.arms import recipe_of

    return recipe_of(facts["arm"])


def _classified(facts: Facts, known: Known) -> tuple[int, int]:
    """Number of images that one classifier trains on and evaluates, repetitions included."""
    study, counts, (_, recipe) = known.study, known.counts, _arm(facts)
    real = _training(known, counts.total, facts["protocol"])
    added = round(real * recipe.dose) if recipe.dose else study.images_per_class * len(counts.classes)
    added = added if recipe.add else 0
    if facts["protocol"] == "as_printed":
        real, added = (round(n * (1 - study.split.val_share)) for n in (real, added))
    own = (real * study.conventional.copies if recipe.augment == "instead" else real) + added
    own -= real if recipe.use == "alone" else 0
    epochs, batch = int(facts["epochs"]), int(facts["settings"]["batch"])
    shown = epochs * math.ceil((own if facts["protocol"] == "as_printed" else real) / batch) * batch
    return shown, epochs * (own + round(counts.total * study.split.val_share))


def _classifiers_s(facts: Facts, known: Known, speed: Speed) -> float:
    shown, evaluated = _classified(facts, known)
    return len(facts["seeds"]) * (shown + EVALUATION * evaluated) / (speed.cnn / _larger(facts, known))


def _larger(facts: Facts, known: Known) -> float:
    """Cost of an image as a multiple of the cost of one with the study's side."""
    return (float(facts["side"]) / known.study.side) ** 2


BOXES = {
    "settle": Box(),
    "digest": Box(reads=True),
    "ingest": Box(
        reads=True,
        labels=lambda facts: {"kind": facts["name"], "label": _px(facts)},
        images=_ingested,
        seconds=_light_s(_ingested),
        sends=lambda facts, known, networks, received: _ingested(facts, known) * _pixels(facts),
    ),
    "split": Box(
        labels=lambda facts: {"protocol": facts["protocol"], "kind": _px(facts)},
        images=_all_images,
        seconds=_light_s(_all_images),
        sends=lambda facts, known, networks, received: received,
    ),
    "train_generator": Box(
        torch=True,
        labels=_of_generator,
        images=_shown,
        seconds=lambda facts, known, speed: _shown(facts, known) * _heavier(facts, known) / speed.gan,
        sends=_generator_bytes,
        kept=lambda networks: networks.checkpoint,
        step=lambda facts, known, networks: (
            networks.gan_flops * _heavier(facts, known),
            int(facts["settings"]["batch"]),
        ),
    ),
    "synthesize": Box(
        torch=True,
        labels=_of_generator,
        images=_drawn,
        seconds=lambda facts, known, speed: EVALUATION * _drawn(facts, known) * _heavier(facts, known) / speed.gan,
        sends=lambda facts, known, networks, received: _drawn(facts, known) * _pixels(facts),
        # A ninth: only the generator's forward pass, without the discriminator and without gradients.
        step=lambda facts, known, networks: (
            networks.gan_flops * _heavier(facts, known) / 9,
            int(facts["settings"]["batch"]),
        ),
    ),
    "pool": Box(
        labels=lambda facts: {"protocol": facts["protocol"]},
        images=_all_images,
        seconds=_light_s(_all_images),
        sends=lambda facts, known, networks, received: received,
    ),
    "train_classifier": Box(
        torch=True,
        labels=lambda facts: {"protocol": facts["protocol"], "kind": _px(facts), "arm": _arm(facts)[0]},
        images=lambda facts, known: len(facts["seeds"]) * _classified(facts, known)[0],
        seconds=_classifiers_s,
        sends=lambda facts, known, networks, received: networks.classifier * WEIGHT_BYTES * len(facts["seeds"]),
        kept=lambda networks: networks.classifier * KEPT_BY_ADAM,
        step=lambda facts, known, networks: (
            networks.cnn_flops * _larger(facts, known),
            int(facts["settings"]["batch"]),
        ),
    ),
    "report": Box(labels=lambda facts: {}),
}
