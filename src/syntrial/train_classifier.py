"""Verb: a pooled image set and an arm -> trained classifiers (one per seed), their curves and predictions.

Every arm has the same network and settings. As printed, every arm makes the same number of passes over its own images;
held out, every arm makes as many optimiser steps as the arm `original`.

Shapes: B batch, N images, K classes, S side.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from syntrial.classifiers.material import Material, Part, describe, material_of
from syntrial.classifiers.predictions import prediction_rows, write_predictions, write_table
from syntrial.classifiers.settings import ClassifierConfig, architecture_of
from syntrial.classifiers.trained import Probabilities, TrainedClassifier, at_once, new_network, probabilities
from syntrial.config import AugmentConfig
from syntrial.errors import DataError, DegenerateError, TrainingError
from syntrial.identity import code_digest
from syntrial.imageset import ImageSet, about_parent, write_lineage
from syntrial.judging.metrics import accuracy, log_loss
from syntrial.progress import Progress
from syntrial.store import atomic
from syntrial.training import machine
from syntrial.training.adam import Adam
from syntrial.training.augment import conventional
from syntrial.training.batches import Batches
from syntrial.training.checkpoint import Checkpoints, key_for
from syntrial.training.seeds import seed_for

CURVE = (
    "seed",
    "epoch",
    "step",
    "running_accuracy",
    "running_loss",
    "train_accuracy",
    "train_loss",
    "val_accuracy",
    "val_loss",
)


@dataclass
class Learner:
    """Everything that changes while a classifier learns. A checkpoint is exactly these fields."""

    network: nn.Module
    optimiser: Adam
    running: Tensor  # (2,): correct predictions and summed loss since the epoch began, on the device
    curve: list[list[float]] = field(default_factory=list)  # rows of CURVE


@dataclass(frozen=True)
class Plan:
    """The length of a training: `steps` updates of `batch` images, with a row of the curve after every `per_epoch`
    steps.
    """

    steps: int
    batch: int
    per_epoch: int
    config: ClassifierConfig

    @classmethod
    def of(cls, material: Material, config: ClassifierConfig) -> Plan:
        """As printed, an epoch is a pass over the arm's own images; held out, over those of the arm `original`."""
        images = len(material.train.rows) if material.protocol == "as_printed" else material.original_images
        batch = min(config.batch, images)
        per_epoch = math.ceil(images / batch)
        return cls(config.epochs * per_epoch, batch, per_epoch, config)

    def rate(self, step: int) -> float:
        """The learning rate of a step; cosine: Loshchilov and Hutter 2017, eq. 5, without restarts."""
        falls = self.config.schedule == "cosine"
        return self.config.lr * (0.5 + 0.5 * math.cos(math.pi * step / self.steps) if falls else 1.0)


@dataclass(frozen=True)
class Seat:
    """Reports one seed's steps as part of the progress of all seeds."""

    progress: Progress
    plan: Plan
    number: int

    def skip_to(self, step: int) -> None:
        """Sets the steps done by earlier seeds and by an earlier try."""
        self.progress.skip_to((self.number * self.plan.steps + step) * self.plan.batch)

    def update(self, step: int, **numbers: float) -> None:
        """Sets the steps of this seed that are done."""
        self.progress.update((self.number * self.plan.steps + step) * self.plan.batch, **numbers)


def train_classifier(
    images: str | Path,
    out: str | Path,
    *,
    arm: str,
    seeds: list[int],
    config: ClassifierConfig,
    augmentation: AugmentConfig,
) -> dict[str, float]:
    """Trains one classifier per seed on the rows of `arm`, and predicts the images of all other parts with each.

    Writes predictions.csv, curves.csv, lineage.csv, about.json and, in classifiers/seed-N, each trained classifier.

    Args:
        arm: a preset's name or a definition, as parsed by syntrial.arms.recipe_of.
        augmentation: used only by arms with conventional augmentation.

    Returns:
        Means over seeds of the last training figures: train_accuracy and train_loss of the finished classifier, and
        train_running_accuracy and train_running_loss, averaged while it learned.

    Raises:
        ConfigError: an unknown classifier; an arm that cannot be parsed, or needs more images than were drawn.
        DataError: images too small for the classifier.
        LeakError: held out, an image to be evaluated was trained on.
        DegenerateError: a part to be evaluated lacks a class.
        TrainingError: a loss that is not finite.
    """
    whole, device = ImageSet.open(images), machine.device()
    smallest = architecture_of(config.architecture).smallest
    if whole.side < smallest:
        raise DataError(f"{images} has images of {whole.side} px; the classifier needs at least {smallest} px")
    material = material_of(whole, arm, augmentation, device)
    _every_class_is_judged(material)
    plan = Plan.of(material, config)
    keeps = [_checkpoints(material, seed, config, device) for seed in seeds]
    total = len(seeds) * plan.steps * plan.batch
    kind = f"{whole.side}px"
    with Progress("train_classifier", total, protocol=material.protocol, kind=kind, arm=material.arm) as progress:
        learners = [
            _trained(material, plan, seed, config, keep, device, Seat(progress, plan, number))
            for number, (seed, keep) in enumerate(zip(seeds, keeps, strict=True))
        ]
    about = {
        **_about(whole, material, plan, augmentation, device),
        "seeds": seeds,
        "parameters": sum(weight.numel() for weight in learners[0].network.parameters()),
    }
    by_seed = dict(zip(seeds, learners, strict=True))
    with atomic.new_folder(out) as draft:
        _write(draft, by_seed, material, about)
        atomic.write_json(draft / "about.json", {**about, "digest": _digest(draft)})
    for keep in keeps:
        keep.clear(mirror=False)  # the mirrored ones are kept, in case the upload of the output fails
    return _last_training(learners)


def begin(classes: int, seed: int, config: ClassifierConfig, device: torch.device) -> Learner:
    """A classifier before its first step. A seed has the same weights in every arm."""
    machine.reseed(device, seed, "classifier weights")
    network = new_network(classes, config).to(device).to(memory_format=torch.channels_last)
    optimiser = Adam(network.parameters(), config.lr, weight_decay=config.weight_decay)
    return Learner(network, optimiser, torch.zeros(2, device=device))


def learn(
    learner: Learner,
    batches: Batches,
    plan: Plan,
    seed: int,
    material: Material,
    checkpoints: Checkpoints,
    seat: Seat,
) -> None:
    """Makes all steps from the last checkpoint on. Numbers leave the device once per epoch."""
    first = resume(learner, checkpoints)
    seat.skip_to(first)
    for step in range(first, plan.steps):
        # Randomness depends on the step alone, so a resumed run repeats it.
        machine.reseed(batches.device, seed, "classifier", step)
        learner.optimiser.lr = plan.rate(step)
        learner.running += update(learner, *batches(step), material.online)
        done = step + 1
        if done % plan.per_epoch == 0:
            learner.curve.append(_row(learner, material, plan, seed, done))
            learner.running.zero_()
            seat.update(done, **dict(zip(CURVE[3:], learner.curve[-1][3:], strict=True)))
        seat.update(done)
        # The last one too, so that a later seed's failure does not cost this one.
        if done == plan.steps or checkpoints.due(done):
            checkpoints.save(done, state_of(learner), final=done == plan.steps)


def update(learner: Learner, images: Tensor, label: Tensor, augmentation: AugmentConfig | None) -> Tensor:
    """Makes one step on images (B, 1, S, S). Returns, on the device, the number of correct predictions and the summed
    loss.
    """
    learner.network.train()
    if augmentation is not None:
        images = conventional(images, augmentation)
    logits = learner.network(images)
    loss = F.cross_entropy(logits, label)
    learner.optimiser.zero_grad()
    loss.backward()
    learner.optimiser.step()
    right = (logits.argmax(dim=1) == label).sum()
    return torch.stack([right, loss.detach() * len(label)])


def state_of(learner: Learner) -> dict[str, Any]:
    """The fields of Learner as tensors and plain values."""
    return {
        "network": learner.network.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "running": learner.running,
        "curve": learner.curve,
    }


def resume(learner: Learner, checkpoints: Checkpoints) -> int:
    """Loads the newest checkpoint into `learner`. Returns the next step."""
    found = checkpoints.latest()
    if found is None:
        return 0
    step, state = found
    learner.network.load_state_dict(state["network"])
    learner.optimiser.load_state_dict(state["optimiser"])
    learner.running.copy_(state["running"])
    learner.curve = state["curve"]
    return int(step)


def _trained(
    material: Material,
    plan: Plan,
    seed: int,
    config: ClassifierConfig,
    checkpoints: Checkpoints,
    device: torch.device,
    seat: Seat,
) -> Learner:
    learner = begin(len(material.classes), seed, config, device)
    batches = Batches(
        material.train.read,
        material.train.label_N,
        side=material.side,
        batch=plan.batch,
        seed=seed_for(seed, "classifier order"),
        device=device,
    )
    with checkpoints.owned():
        learn(learner, batches, plan, seed, material, checkpoints, seat)
    batches.close()
    return learner


def _checkpoints(material: Material, seed: int, config: ClassifierConfig, device: torch.device) -> Checkpoints:
    place = machine.kind(device)
    return Checkpoints(key_for(material.digest, seed, config.model_dump(), code_digest("train_classifier"), place))


def _row(learner: Learner, material: Material, plan: Plan, seed: int, step: int) -> list[float]:
    right, loss = (learner.running / (plan.per_epoch * plan.batch)).tolist()
    if not math.isfinite(loss):
        raise TrainingError(
            f"classifier of {material.arm}, seed {seed}: its loss is {loss} at step {step}; "
            "a smaller classifier.lr is the usual cure"
        )
    row = [seed, step // plan.per_epoch, step, right, loss]
    for part in (material.train, material.judged["val"]):
        found = _predict(learner.network, part, material.side)
        row += [accuracy(found, part.label_N), log_loss(found, part.label_N)]
    return row


def _about(
    whole: ImageSet, material: Material, plan: Plan, augmentation: AugmentConfig, device: torch.device
) -> dict[str, Any]:
    return {
        "verb": "train_classifier",
        "protocol": material.protocol,
        "arm": material.arm,
        "recipe": asdict(material.recipe),
        "classes": whole.classes,
        "side": whole.side,
        "config": plan.config.model_dump(),
        "conventional": augmentation.model_dump(),
        "steps": plan.steps,
        "epochs": plan.steps * plan.batch / len(material.train.rows),
        **describe(material),
        "machine": machine.description(device),
        "parents": [about_parent(whole.about)],
    }


def _write(draft: Path, learners: dict[int, Learner], material: Material, about: dict[str, Any]) -> None:
    lineage = {material.arm: material.ancestors}
    alike = ("verb", "protocol", "arm", "recipe", "classes", "side", "steps", "parents")
    for seed, learner in learners.items():
        settings = {"architecture": about["config"]["architecture"], "settings": about["config"], "seed": seed}
        own = {**{name: about[name] for name in alike}, **settings}
        TrainedClassifier.write(draft / "classifiers" / f"seed-{seed}", own, learner.network, lineage)
    write_lineage(draft / "lineage.csv", lineage)
    write_table(draft / "curves.csv", CURVE, [row for learner in learners.values() for row in learner.curve])
    write_predictions(
        draft / "predictions.csv",
        material.classes,
        (
            row
            for seed, learner in learners.items()
            for name, part in material.judged.items()
            for row in prediction_rows(seed, name, part.rows, _predict(learner.network, part, material.side))
        ),
    )


def _predict(network: nn.Module, part: Part, side: int) -> Probabilities:
    return probabilities(network, part.chunks(at_once(next(network.parameters()).device, side)))


def _every_class_is_judged(material: Material) -> None:
    for name, part in material.judged.items():
        missing = [label for number, label in enumerate(material.classes) if number not in part.label_N]
        if missing:
            raise DegenerateError(
                f"{material.arm}, {material.protocol}: the {name} part has no image of {missing[0]}; "
                "it cannot be judged"
            )


def _last_training(learners: list[Learner]) -> dict[str, float]:
    """The mean over learners of the last row of their curves."""
    names = {"accuracy": "train_accuracy", "loss": "train_loss"}
    names |= {name: name for name in ("running_accuracy", "running_loss")}
    return {
        f"train_{name}": float(np.mean([learner.curve[-1][CURVE.index(column)] for learner in learners]))
        for name, column in names.items()
    }


def _digest(draft: Path) -> str:
    hasher = hashlib.sha256()
    for path in sorted(path for path in draft.rglob("*") if path.is_file()):
        hasher.update(path.relative_to(draft).as_posix().encode() + path.read_bytes())
    return hasher.hexdigest()
