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

LOGS = 25  # how often numbers are logged in one training; after each step if there are fewer steps
PICTURES = 8  # how often the fixed images are drawn; likewise
FIXED = 64  # images whose diversity is measured; the first SHOWN of them are kept as pictures
SHOWN = 8
BEFORE, AFTER = ("step", "images_shown"), ("diversity",)  # the columns of a curve around a family's readings


class _UnsoundError(TrainingError):
    """The generator has collapsed, so its current state is not saved."""


@dataclass
class Training:
    """Everything that changes while a generator learns. A checkpoint is exactly these fields."""

    learner: Learner
    curve: list[list[float]] = field(default_factory=list)  # rows of `columns`
    pictures: list[Tensor] = field(default_factory=list)  # uint8 (SHOWN, S, S) each

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the curve."""
        return (*BEFORE, *self.learner.readings, *AFTER)

    def state(self) -> dict[str, Any]:
        """The fields as tensors and plain values."""
        return {**vars(self), "learner": self.learner.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Loads a result of `state`."""
        self.learner.load_state(state["learner"])
        self.curve, self.pictures = state["curve"], state["pictures"]


def train_generator(
    images: str | Path, out: str | Path, *, kind: str, label: str, config: GeneratorConfig, start: str | Path = ""
) -> dict[str, float]:
    """Trains a generator on the training images of `images` with the label `label` ("*": all classes, one conditional
    generator).

    Args:
        kind: the generator's name in the study; the trained generator is named after it and the label.
        start: the trained generator to continue, if the setting `start` names one.

    Returns:
        The last numbers logged, and how many images were shown.

    Raises:
        ConfigError: `start` is missing, not allowed, or does not match the settings; an unknown class.
        DataError: too few images, or images of a side that no generator draws; `start` is not a complete generator.
        TrainingError: numbers that are not finite, or a collapsed generator; the last good checkpoint, if there is
            one, is kept.
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
        checkpoints.clear(mirror=False)  # the mirrored ones are kept, in case the upload of the output fails
    return {**final, "images_shown": float(shown)}


@dataclass(frozen=True)
class Task:
    """What one generator is trained on: rows of an image set, and the generator it continues, if any."""

    images: ImageSet
    positions: list[int]
    kind: str
    label: str
    config: GeneratorConfig
    source: TrainedGenerator | None

    @classmethod
    def of(cls, images: ImageSet, kind: str, label: str, config: GeneratorConfig, start: str | Path) -> Task:
        """Raises ConfigError if label, settings and start do not match; DataError for too few images, or images of a
        side that no generator draws.
        """
        _drawable(images)
        return cls(images, _chosen(images, label, config), kind, label, config, _start(kind, config, start))

    @property
    def name(self) -> str:
        """The generator's name."""
        return f"{self.kind}/{self.label}"

    @property
    def classes(self) -> int:
        """Number of classes of a conditional generator; 0 for an unconditional one."""
        return len(self.images.classes) if self.label == ALL else 0

    @property
    def protocol(self) -> str:
        """The protocol by which the images were divided; "" if they were not."""
        return str(self.images.about.get("division", {}).get("protocol", ""))

    @property
    def ancestors(self) -> set[tuple[str, str]]:
        """(sha256, group) of every real image that the generator is trained on, those of its start included."""
        return self.images.ancestors(self.positions) | (self.source.ancestors if self.source else set())

    def key(self, device: torch.device) -> str:
        """The key of its checkpoints, which is equal only for equal work."""
        start, place = self.source.digest if self.source else "", machine.kind(device)
        images = [self.images.digest, self.images.classes]  # the order of the classes numbers the labels
        return key_for(images, self.name, self.config.model_dump(), start, code_digest("train_generator"), place)

    def batches(self, device: torch.device) -> Batches:
        """The training images, in an order that depends on the generator's name and seed."""
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
        """The description of the generator, as far as it is known before training."""
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
    """A learner before its first step, with random weights or continuing `source`.

    Args:
        name: the generator's name; random numbers depend on it and on the seed.

    Raises:
        ConfigError: `source` does not match.
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
    """Makes all steps from the last checkpoint on. Numbers leave the device only when they are logged, LOGS times.

    A good state is saved whenever a checkpoint is due, and also once early and once at half-time, so that a short
    training has a checkpoint too.
    """
    learner, rounds = training.learner, config.batches_per_step
    images = rounds * batches.batch  # shown per step
    fixed = Fixed(learner, batches, config.seed, name)
    first = _resume(training, checkpoints)
    progress.skip_to(first * images)
    with _reporting_what_is_kept(checkpoints):
        for step in range(first, steps):
            # Randomness depends on the step alone, so a resumed run repeats it.
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
                refuse_not_finite(
                    [done, done * images, *learner.read(numbers)], training, name
                )  # only a good state is saved
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
        done: steps made so far.
    """
    return done * times // steps > (done - 1) * times // steps


class Fixed:
    """Draws the same images at different times of a generator's training, for comparison."""

    def __init__(self, learner: Learner, batches: Batches, seed: int, name: str) -> None:
        self.learner, self.seed, self.name = learner, seed, name
        self.label_N = torch.arange(FIXED, device=batches.device) % max(1, learner.classes)
        self.reals = diversity(batches.sample(FIXED))

    def drawn(self) -> Tensor:
        """(FIXED, 1, S, S) in [-1, 1]."""
        machine.reseed(self.label_N.device, self.seed, self.name, "fixed")
        return self.learner.draw(self.label_N)

    def diversity(self) -> float:
        """Diversity of the drawn images, as a multiple of that of real images."""
        return diversity(self.drawn()) / self.reals


def diversity(images_N1SS: Tensor) -> float:
    """How much images differ from one another: root of the mean variance over images of their 8 x 8 thumbnails. 0 means
    that all are equal.
    """
    thumbnails = torch.nn.functional.adaptive_avg_pool2d(images_N1SS.float(), 8)
    return float(thumbnails.var(dim=0, correction=0).mean().sqrt())


def charts(learner: Learner) -> dict[str, tuple[str, ...]]:
    """Title -> columns of the curve to plot in one chart."""
    return {**learner.charts, "How much drawn images differ, as a multiple of real ones": AFTER}


def refuse_collapsed(row: list[float], training: Training, config: GeneratorConfig, steps: int, name: str) -> None:
    """Raises TrainingError if images have been nearly alike in three consecutive readings past half-time.

    Args:
        row: the newest row of the curve; `training` has those before it.
    """
    newest = [*training.curve[-2:], row]
    if len(newest) == 3 and all(is_alike(past, config, steps) for past in newest):
        raise _UnsoundError(
            f"generator {name} has collapsed: at step {row[0]:.0f} its images differ {row[-1]:.3f} times as much as "
            f"real ones (collapse_below is {config.collapse_below}). {training.learner.remedy_alike}"
        )


def is_alike(row: list[float], config: GeneratorConfig, steps: int) -> bool:
    """Whether images are nearly alike past half-time. Earlier this is normal: an untrained generator draws nearly equal
    images.
    """
    return row[0] > steps / 2 and row[-1] < config.collapse_below


def refuse_not_finite(row: list[float], training: Training, name: str) -> None:
    """Raises TrainingError that names the first column with a value that is not finite; the row may be incomplete."""
    for column, value in zip(training.columns, row, strict=False):
        if not math.isfinite(value):
            raise _UnsoundError(
                f"generator {name}: {column} is {value} at step {row[0]:.0f}. {training.learner.remedy}"
            )


def _resume(training: Training, checkpoints: Checkpoints) -> int:
    """Loads the newest checkpoint into `training`. Returns the next step."""
    found = checkpoints.latest()
    if found is None:
        return 0
    step, state = found
    training.load_state(state)
    return step


def _drawable(images: ImageSet) -> None:
    if images.side not in SIDES:
        raise DataError(
            f"{images.folder} has images of {images.side} px; generators draw {', '.join(map(str, SIDES))} px; "
            "ingest them at one of these"
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
        raise ConfigError(f"generator {name} continues no other, since its setting start is empty; {start} is given")
    return TrainedGenerator.open(start) if start else None


def _write_curve(path: Path, training: Training) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(training.columns)
        table.writerows(training.curve)


def _sheet(pictures: list[Tensor]) -> Image.Image:
    """A picture of the fixed images: one row per time, the earliest on top."""
    return Image.fromarray(np.concatenate([np.concatenate(list(line.numpy()), axis=1) for line in pictures]))
