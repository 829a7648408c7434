"""Verb: a pooled image set and an arm -> classifiers (one a seed), their curves and scores.

Every arm has the same network and settings. As printed each arm passes its own images equally often; held out each arm
takes as many optimiser steps as the arm `original`.

Shapes: B batch, N images, K classes, S side.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from syntrial.classifiers.cnn import CNNS, SMALLEST
from syntrial.classifiers.material import Material, Part, describe, material_of
from syntrial.config import AugmentConfig, CnnConfig
from syntrial.errors import ConfigError, DataError, DegenerateError, TrainingError
from syntrial.identity import code_digest
from syntrial.imageset import ImageSet, about_parent, write_lineage
from syntrial.judging.metrics import accuracy, confusion_matrix, log_loss, roc_points, scores
from syntrial.progress import Progress
from syntrial.store import atomic
from syntrial.training import machine
from syntrial.training.adam import Adam
from syntrial.training.augment import conventional
from syntrial.training.batches import Batches, as_float
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
Probabilities = NDArray[np.float64]


@dataclass
class Learner:
    """Everything that changes while a classifier learns. A checkpoint is exactly these fields."""

    network: nn.Module
    optimiser: Adam
    running: Tensor  # (2,): images right and summed loss since the epoch began, on the device
    curve: list[list[float]] = field(default_factory=list)  # rows of CURVE


@dataclass(frozen=True)
class Plan:
    """How far a classifier learns: `steps` updates of `batch` images, with a row of the curve after each `per_epoch`
    steps.
    """

    steps: int
    batch: int
    per_epoch: int
    config: CnnConfig

    @classmethod
    def of(cls, material: Material, config: CnnConfig) -> Plan:
        """As printed an epoch is a pass over the arm's own images; held out, over those of the arm `original`."""
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
    """One seed's place in the progress of all seeds together."""

    progress: Progress
    plan: Plan
    number: int

    def skip_to(self, step: int) -> None:
        """What earlier seeds and an earlier try have done."""
        self.progress.skip_to((self.number * self.plan.steps + step) * self.plan.batch)

    def update(self, step: int, **numbers: float) -> None:
        """Steps of this seed that are done."""
        self.progress.update((self.number * self.plan.steps + step) * self.plan.batch, **numbers)


def train_classifier(
    images: str | Path, out: str | Path, *, arm: str, seeds: list[int], config: CnnConfig, augmentation: AugmentConfig
) -> dict[str, float]:
    """Trains one classifier a seed on the rows that make up `arm`, and judges them on the parts that did not train.

    Args:
        augmentation: used by the arms with conventional augmentation only.

    Returns:
        The means over seeds of the last figures, such as val_accuracy or test_auroc.

    Raises:
        ConfigError: an unknown arm or classifier.
        DataError: images too small for the classifier.
        LeakError: held out, something that is judged has trained.
        DegenerateError: a part that is judged lacks a class.
        TrainingError: a loss that is not finite.
    """
    whole, device = ImageSet.open(images), machine.device()
    if config.architecture not in CNNS:
        raise ConfigError(f"there is no classifier {config.architecture!r}; there are {', '.join(CNNS)}")
    if whole.side < SMALLEST:
        raise DataError(f"{images} has images of {whole.side} px; the classifier needs {SMALLEST} at least")
    material = material_of(whole, arm, augmentation, device)
    _every_class_is_judged(material)
    plan = Plan.of(material, config)
    keeps = [_checkpoints(material, seed, config, device) for seed in seeds]
    total = len(seeds) * plan.steps * plan.batch
    with Progress("train_classifier", total, protocol=material.protocol, kind=f"{whole.side}px", arm=arm) as progress:
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
        figures = _write(draft, by_seed, material)
        write_lineage(draft / "lineage.csv", {arm: material.ancestors})
        atomic.write_json(draft / "about.json", {**about, "digest": _digest(draft)})
    for keep in keeps:
        keep.clear(mirror=False)  # the mirror's outlive a failed upload of the output
    return _means(figures)


def begin(classes: int, seed: int, config: CnnConfig, device: torch.device) -> Learner:
    """A classifier before its first step; the same weights for a seed in every arm."""
    machine.reseed(device, seed, "classifier weights")
    network = CNNS[config.architecture](classes, config).to(device).to(memory_format=torch.channels_last)
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
    """All steps from the last checkpoint on. The device is asked for numbers once an epoch."""
    first = resume(learner, checkpoints)
    seat.skip_to(first)
    for step in range(first, plan.steps):
        # A function of the step alone, so a resumed run repeats it.
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
    """One step on a batch of images (B, 1, S, S). Returns, on the device, how many were right and their summed loss."""
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


@torch.no_grad()
def probabilities(network: nn.Module, part: Part, side: int) -> Probabilities:
    """(N, K) in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    # A CPU's caches hold few; a GPU wants work. Pixels, whatever the side.
    at_once = max(1, (2**22 if device.type == "cuda" else 2**18) // side**2)
    parts = [
        network(as_float(torch.from_numpy(images).to(device))).double().softmax(dim=1)
        for images in part.chunks(at_once)
    ]
    found: Probabilities = torch.cat(parts).cpu().numpy()
    return found


def state_of(learner: Learner) -> dict[str, Any]:
    """The fields of Learner as tensors and plain values."""
    return {
        "network": learner.network.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "running": learner.running,
        "curve": learner.curve,
    }


def resume(learner: Learner, checkpoints: Checkpoints) -> int:
    """Puts the newest checkpoint into `learner`; returns the step to go on from."""
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
    config: CnnConfig,
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


def _checkpoints(material: Material, seed: int, config: CnnConfig, device: torch.device) -> Checkpoints:
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
        found = probabilities(learner.network, part, material.side)
        row += [accuracy(found, part.label_N), log_loss(found, part.label_N)]
    return row


def _about(
    whole: ImageSet, material: Material, plan: Plan, augmentation: AugmentConfig, device: torch.device
) -> dict[str, Any]:
    return {
        "verb": "train_classifier",
        "protocol": material.protocol,
        "arm": material.arm,
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


def _write(draft: Path, learners: dict[int, Learner], material: Material) -> dict[str, dict[str, dict[str, float]]]:
    """Weights, curves, predictions and scores; returns the last by seed and part."""
    judged = {seed: _judgements(learner.network, material) for seed, learner in learners.items()}
    figures = {
        str(seed): {"train": _last_training(learner), **_scores(judged[seed], material)}
        for seed, learner in learners.items()
    }
    for seed, learner in learners.items():
        weights = {name: value.contiguous().cpu() for name, value in learner.network.state_dict().items()}
        (draft / f"classifier-{seed}.safetensors").write_bytes(save(weights))
    _write_table(draft / "curves.csv", CURVE, [row for learner in learners.values() for row in learner.curve])
    _write_predictions(draft / "predictions.csv", judged, material)
    atomic.write_json(draft / "scores.json", {"seeds": figures, **_curves_of(judged, material)})
    return figures


def _every_class_is_judged(material: Material) -> None:
    for name, part in material.judged.items():
        missing = [label for number, label in enumerate(material.classes) if number not in part.label_N]
        if missing:
            raise DegenerateError(
                f"{material.arm}, {material.protocol}: the {name} part has no image of {missing[0]}; "
                "it cannot be judged"
            )


def _judgements(network: nn.Module, material: Material) -> dict[str, Probabilities]:
    return {name: probabilities(network, part, material.side) for name, part in material.judged.items()}


def _last_training(learner: Learner) -> dict[str, float]:
    last = dict(zip(CURVE, learner.curve[-1], strict=True))
    return {
        "accuracy": last["train_accuracy"],
        "loss": last["train_loss"],
        "running_accuracy": last["running_accuracy"],
        "running_loss": last["running_loss"],
    }


def _scores(judged: dict[str, Probabilities], material: Material) -> dict[str, dict[str, float]]:
    return {name: scores(found, material.judged[name].label_N) for name, found in judged.items()}


def _curves_of(judged: dict[int, dict[str, Probabilities]], material: Material) -> dict[str, Any]:
    """Over all seeds: summed confusion matrices, and ROC points of the mean probabilities."""
    return {
        "confusion": {
            name: np.sum([confusion_matrix(found[name], part.label_N) for found in judged.values()], axis=0).tolist()
            for name, part in material.judged.items()
        },
        "roc": {name: _roc(_mean_over_seeds(judged, name), part.label_N) for name, part in material.judged.items()},
    }


def _mean_over_seeds(judged: dict[int, dict[str, Probabilities]], name: str) -> Probabilities:
    mean: Probabilities = np.mean([found[name] for found in judged.values()], axis=0)
    return mean


def _roc(found: Probabilities, label_N: NDArray[np.int64]) -> dict[str, list[float]]:
    """Of the last class, the one to be found, against the others."""
    fpr, tpr, threshold = roc_points(found[:, -1], label_N == found.shape[1] - 1)
    return {"fpr": fpr.tolist(), "tpr": tpr.tolist(), "threshold": threshold.tolist()}


def _write_predictions(path: Path, judged: dict[int, dict[str, Probabilities]], material: Material) -> None:
    header = ("seed", "split", "sha256", "group", "label", "source", *(f"p_{label}" for label in material.classes))
    lines = (
        (seed, name, row.sha256, row.group, row.label, row.source, *map(repr, chances))
        for seed, parts in judged.items()
        for name, found in parts.items()
        for row, chances in zip(material.judged[name].rows, found.tolist(), strict=True)
    )
    _write_table(path, header, lines)


def _write_table(path: Path, header: Iterable[str], lines: Iterable[Iterable[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(lines)


def _digest(draft: Path) -> str:
    hasher = hashlib.sha256()
    for path in sorted(draft.iterdir()):
        hasher.update(path.name.encode() + path.read_bytes())
    return hasher.hexdigest()


def _means(figures: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Flat names such as test_auroc, each the mean over seeds."""
    by_seed = list(figures.values())
    return {
        f"{part}_{name}": float(np.mean([seed[part][name] for seed in by_seed]))
        for part, values in by_seed[0].items()
        for name in values
    }
