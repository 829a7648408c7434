"""Verb: an image set, and a generator to start from -> a generator of one class (or of all classes at once).

Shapes: B batch, N images, S side.
"""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from syntrial.errors import ConfigError, DataError, TrainingError
from syntrial.generators.seam import Learner, learner_of
from syntrial.generators.settings import SIDES, GeneratorConfig
from syntrial.generators.trained import ALL, TrainedGenerator
from syntrial.identity import code_digest
from syntrial.imageset import ImageSet, about_parent
from syntrial.progress import Progress
from syntrial.store import atomic
from syntrial.training import machine
from syntrial.training.batches import Batches, as_grey
from syntrial.training.checkpoint import Checkpoints, key_for
from syntrial.training.seeds import seed_for

LOGS = 25  # times the numbers are logged in one training; after each step where there are fewer
PICTURES = 8  # times the same images are drawn; likewise
FIXED = 64  # images whose diversity is read; the first SHOWN of them are kept as pictures
SHOWN = 8
BEFORE, AFTER = ("step", "images_shown"), ("diversity",)  # the columns of a curve around a family's readings


class _UnsoundError(TrainingError):
    """What has been learnt is not worth keeping."""


@dataclass
class Training:
    """Everything that changes while a generator learns. A checkpoint is exactly these fields."""

    learner: Learner
    curve: list[list[float]] = field(default_factory=list)  # rows of `columns`
    pictures: list[Tensor] = field(default_factory=list)  # uint8 (SHOWN, S, S) each

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the curve."""
        return (*BEFORE, *self.learner.readings, *AFTER)

    def state(self) -> dict[str, Any]:
        """The fields as tensors and plain values."""
        return {**vars(self), "learner": self.learner.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.learner.load_state(state["learner"])
        self.curve, self.pictures = state["curve"], state["pictures"]


def train_generator(
    images: str | Path, out: str | Path, *, kind: str, label: str, config: GeneratorConfig, start: str | Path = ""
) -> dict[str, float]:
    """Trains a generator on the rows of `images` that train and have the label `label` ("*": all classes, one
    conditional generator).

    Args:
        kind: the generator's name in the study; with the label, the name of what is trained here.
        start: the trained generator that is continued, where the setting `start` names one.

    Returns:
        The last numbers logged, and how many images were shown.

    Raises:
        ConfigError: a start that is missing, not wanted, or unlike what is trained here; an unknown class.
        DataError: too few images, or of a side that no generator draws; a start that is not a whole generator.
        TrainingError: numbers that are not finite, or a collapsed generator; the last good checkpoint, if there is one
            by then, is kept.
    """
    task = Task.of(ImageSet.open(images), kind, label, config, start)
    device = machine.device()
    training = Training(begin(task.images.side, task.classes, config, task.name, device, task.source))
    batches = task.batches(device)
    images_per_step = batches.batch * config.batches_per_step
    steps = math.ceil(config.epochs * len(task.positions) / images_per_step)
    shown = steps * images_per_step
    checkpoints = Checkpoints(task.key(device))
    progress = Progress("train_generator", shown, protocol=task.protocol, kind=kind, label=label)
    with checkpoints.owned(), progress:
        learn(training, batches, steps, config, task.name, checkpoints, progress)
        batches.close()
        final = dict(zip(training.columns, training.curve[-1], strict=True))
        about = {**task.about(device), "steps": steps, "images_shown": shown, "final": final}
        about |= {"diversity": final["diversity"], "charts": charts(training.learner)}
        with atomic.new_folder(out) as draft:
            _write_curve(draft / "curves.csv", training)
            _sheet(training.pictures).save(draft / "samples.png")
            TrainedGenerator.write(draft, about, training.learner.parts(), {task.name: task.ancestors})
        checkpoints.clear(mirror=False)  # the mirror's outlive a failed upload of the output
    return {**final, "images_shown": float(shown)}


@dataclass(frozen=True)
class Task:
    """What one generator learns from: the rows of an image set, and the generator it continues, if any."""

    images: ImageSet
    positions: list[int]
    kind: str
    label: str
    config: GeneratorConfig
    source: TrainedGenerator | None

    @classmethod
    def of(cls, images: ImageSet, kind: str, label: str, config: GeneratorConfig, start: str | Path) -> Task:
        """Raises ConfigError where label, settings and start do not fit together; DataError for too few images, or of a
        side that no generator draws.
        """
        _drawable(images)
        return cls(images, _chosen(images, label, config), kind, label, config, _start(kind, config, start))

    @property
    def name(self) -> str:
        """The generator's."""
        return f"{self.kind}/{self.label}"

    @property
    def classes(self) -> int:
        """Classes that the generator tells apart; 0 where it knows one only."""
        return len(self.images.classes) if self.label == ALL else 0

    @property
    def protocol(self) -> str:
        """Under which the images were divided; "" where they were not."""
        return str(self.images.about.get("division", {}).get("protocol", ""))

    @property
    def ancestors(self) -> set[tuple[str, str]]:
        """(sha256, group) of every real image the generator will have seen, those of its start included."""
        return self.images.ancestors(self.positions) | (self.source.ancestors if self.source else set())

    def key(self, device: torch.device) -> str:
        """Of its checkpoints: equal for equal work only."""
        start, place = self.source.digest if self.source else "", machine.kind(device)
        images = [self.images.digest, self.images.classes]  # the order of the classes numbers the labels
        return key_for(images, self.name, self.config.model_dump(), start, code_digest("train_generator"), place)

    def batches(self, device: torch.device) -> Batches:
        """The images it learns from, in an order that is its own."""
        positions = np.asarray(self.positions)
        return Batches(
            lambda chosen: self.images.pixels(positions[chosen]),
            np.array([self.images.classes.index(self.images.rows[i].label) for i in self.positions]),
            side=self.images.side,
            batch=self.config.batch,
            seed=seed_for(self.config.seed, self.name, "order"),
            device=device,
        )

    def about(self, device: torch.device) -> dict[str, Any]:
        """What a reader should know of the generator, as far as it is known beforehand."""
        parents = [self.images.about, *([self.source.about] if self.source else [])]
        return {
            "verb": "train_generator",
            "name": self.name,
            "protocol": self.protocol,
            "kind": self.kind,
            "label": self.label,
            "side": self.images.side,
            "classes": self.images.classes,
            "config": self.config.model_dump(),
            "real_images": len(self.positions),
            "started_from": self.source.about["name"] if self.source else "",
            "machines": machine.joined(self.source.about["machines"] if self.source else [], device),
            "parents": [about_parent(parent) for parent in parents],
        }


def begin(
    side: int,
    classes: int,
    config: GeneratorConfig,
    name: str,
    device: torch.device,
    source: TrainedGenerator | None = None,
) -> Learner:
    """What learns, before the first step: fresh, or continuing `source`.

    Args:
        name: the generator's; what is random depends on it and on the seed.

    Raises:
        ConfigError: `source` does not fit.
    """
    machine.reseed(device, config.seed, name, "weights")
    if source is not None:
        return source.continued(side, classes, config, device)
    return learner_of(config).begin(side, classes, config, device, None)


def learn(
    training: Training,
    batches: Batches,
    steps: int,
    config: GeneratorConfig,
    name: str,
    checkpoints: Checkpoints,
    progress: Progress,
) -> None:
    """All steps from the last checkpoint on. Numbers leave the device LOGS times, never in between.

    Kept is a good state whenever a checkpoint is due, and once early and at half-time, so that a short training has
    one too.
    """
    learner, rounds = training.learner, config.batches_per_step
    images = rounds * batches.batch  # that a step shows
    fixed = Fixed(learner, batches, config.seed, name)
    first = _resume(training, checkpoints)
    progress.skip_to(first * images)
    with _reporting_what_is_kept(checkpoints):
        for step in range(first, steps):
            # A function of the step alone, so a resumed run repeats it.
            machine.reseed(batches.device, config.seed, name, step)
            numbers = learner.step([batches(step * rounds + k) for k in range(rounds)], step * images)
            done = step + 1
            if is_due(done, steps, LOGS):
                row = [done, done * images, *learner.read(numbers), fixed.diversity()]
                refuse_not_finite(row, training, name)
                refuse_collapsed(row, training, config, steps, name)
                training.curve.append(row)
                progress.update(int(row[1]), **dict(zip(training.columns[2:], row[2:], strict=True)))
            if is_due(done, steps, PICTURES):
                training.pictures.append(as_grey(fixed.drawn()).cpu()[:SHOWN])
            progress.update(done * images)
            doubtful = bool(training.curve) and is_alike(training.curve[-1], config, steps)
            once = done == -(-steps // LOGS) or done == steps // 2
            if done == steps or (not doubtful and (once or checkpoints.due(done))):
                refuse_not_finite([done, done * images, *learner.read(numbers)], training, name)  # what is kept is good
                checkpoints.save(done, training.state(), final=done == steps)


@contextlib.contextmanager
def _reporting_what_is_kept(checkpoints: Checkpoints) -> Iterator[None]:
    try:
        yield
    except _UnsoundError as error:
        found = checkpoints.latest()
        kept = f"the checkpoint of step {found[0]} is kept" if found else "it was too early for a checkpoint"
        raise TrainingError(f"{error}; {kept}") from None


def is_due(done: int, steps: int, times: int) -> bool:
    """True on `times` evenly spaced steps of `steps`, the last one included; on each step where there are fewer.

    Args:
        done: steps that have been made.
    """
    return done * times // steps > (done - 1) * times // steps


class Fixed:
    """The same images of a generator at every moment of its training, so that they can be compared."""

    def __init__(self, learner: Learner, batches: Batches, seed: int, name: str) -> None:
        self.learner, self.seed, self.name = learner, seed, name
        self.label_N = torch.arange(FIXED, device=batches.device) % max(1, learner.classes)
        self.reals = diversity(batches.sample(FIXED))

    def drawn(self) -> Tensor:
        """(FIXED, 1, S, S) in [-1, 1]."""
        machine.reseed(self.label_N.device, self.seed, self.name, "fixed")
        return self.learner.draw(self.label_N)

    def diversity(self) -> float:
        """Of what is drawn, as a multiple of that of real images."""
        return diversity(self.drawn()) / self.reals


def diversity(images_N1SS: Tensor) -> float:
    """How much images differ from one another: root of the mean variance over images of their 8 x 8 thumbnails. 0:
    all alike.
    """
    thumbnails = torch.nn.functional.adaptive_avg_pool2d(images_N1SS.float(), 8)
    return float(thumbnails.var(dim=0, correction=0).mean().sqrt())


def charts(learner: Learner) -> dict[str, tuple[str, ...]]:
    """Title -> columns of the curve that a person should see together."""
    return {**learner.charts, "How much drawn images differ, as a multiple of real ones": AFTER}


def refuse_collapsed(row: list[float], training: Training, config: GeneratorConfig, steps: int, name: str) -> None:
    """Raises TrainingError when images have been nearly alike for three readings past half-time.

    Args:
        row: the newest; the curve of `training` has those before it.
    """
    newest = [*training.curve[-2:], row]
    if len(newest) == 3 and all(is_alike(past, config, steps) for past in newest):
        raise _UnsoundError(
            f"generator {name} has collapsed: at step {row[0]:.0f} its images differ {row[-1]:.3f} times as much as "
            f"real ones (collapse_below is {config.collapse_below}). {training.learner.remedy_alike}"
        )


def is_alike(row: list[float], config: GeneratorConfig, steps: int) -> bool:
    """Whether images are nearly alike past half-time; a generator begins by drawing nearly one picture."""
    return row[0] > steps / 2 and row[-1] < config.collapse_below


def refuse_not_finite(row: list[float], training: Training, name: str) -> None:
    """Raises TrainingError with the first column of a row of the curve, or of its beginning, that is not finite."""
    for column, value in zip(training.columns, row, strict=False):
        if not math.isfinite(value):
            raise _UnsoundError(
                f"generator {name}: {column} is {value} at step {row[0]:.0f}. {training.learner.remedy}"
            )


def _resume(training: Training, checkpoints: Checkpoints) -> int:
    """Puts the newest checkpoint into `training`; returns the step to go on from."""
    found = checkpoints.latest()
    if found is None:
        return 0
    step, state = found
    training.load_state(state)
    return step


def _drawable(images: ImageSet) -> None:
    if images.side not in SIDES:
        raise DataError(
            f"{images.folder} has images of {images.side} px; generators draw {', '.join(map(str, SIDES))} px, and the "
            "verb ingest makes such images"
        )


def _chosen(whole: ImageSet, label: str, config: GeneratorConfig) -> list[int]:
    if label not in (ALL, *whole.classes):
        raise ConfigError(f"there is no class {label!r} in the images; there are {', '.join(whole.classes)}")
    if config.conditional != (label == ALL):
        raise ConfigError(
            f"conditional is {config.conditional} and the class is {label!r}; one generator for all classes is {ALL!r}"
        )
    wanted = None if label == ALL else label
    divided = "division" in whole.about
    chosen = whole.where(label=wanted, source="real", split="train" if divided else None)
    if len(chosen) < 2:
        raise DataError(f"training images of {label}: {len(chosen)}; a generator needs at least 2")
    return chosen


def _start(name: str, config: GeneratorConfig, start: str | Path) -> TrainedGenerator | None:
    if config.start and not start:
        raise ConfigError(f"generator {name} continues {config.start}, so it needs a trained generator to start from")
    if start and not config.start:
        raise ConfigError(f"generator {name} starts from nothing, since its setting start is empty; {start} is given")
    return TrainedGenerator.open(start) if start else None


def _write_curve(path: Path, training: Training) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(training.columns)
        table.writerows(training.curve)


def _sheet(pictures: list[Tensor]) -> Image.Image:
    """One line of the same SHOWN images for each moment, the earliest on top."""
    return Image.fromarray(np.concatenate([np.concatenate(list(line.numpy()), axis=1) for line in pictures]))
