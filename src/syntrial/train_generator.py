"""Verb: an image set, and a generator to start from -> a generator of one class (or of all classes at once).

Shapes: B batch, L latent numbers, S side.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from syntrial.config import SIDES, GanConfig
from syntrial.errors import ConfigError, DataError, TrainingError
from syntrial.generators import GANS, LOSSES, gradient_penalty
from syntrial.generators.trained import ALL, Generator
from syntrial.identity import code_digest
from syntrial.imageset import ImageSet, about_parent
from syntrial.progress import Progress
from syntrial.store import atomic
from syntrial.training import machine
from syntrial.training.adam import Adam
from syntrial.training.augment import diffaugment
from syntrial.training.batches import Batches, as_grey
from syntrial.training.checkpoint import Checkpoints, key_for
from syntrial.training.seeds import seed_for

LOGS = 25  # times the numbers are written down in one training; after each step where there are fewer
PICTURES = 8  # times the fixed latents are drawn; likewise
FIXED = 64  # fixed latents; the first SHOWN of them are drawn
SHOWN = 8
COLUMNS = ("step", "images_shown", "loss_d", "loss_g", "d_real", "d_fake", "gradient_d", "gradient_g", "diversity")


class _UnsoundError(TrainingError):
    """What has been learnt is not worth keeping."""


@dataclass
class Players:
    """Everything that changes while a GAN learns. A checkpoint is exactly these fields."""

    generator: nn.Module
    discriminator: nn.Module
    average: nn.Module  # of the generator's weights over time: the one that is kept
    generator_optimiser: Adam
    discriminator_optimiser: Adam
    curve: list[list[float]] = field(default_factory=list)  # rows of COLUMNS
    pictures: list[Tensor] = field(default_factory=list)  # uint8 (SHOWN, S, S) each


def train_generator(
    images: str | Path, out: str | Path, *, kind: str, label: str, config: GanConfig, start: str | Path = ""
) -> dict[str, float]:
    """Trains a generator on the rows of `images` that train and bear `label` ("*": all classes, one conditional
    generator).

    Args:
        kind: "faces", "simple" or "transfer"; with the label, the generator's name.
        start: a trained generator whose networks are continued; kind "transfer" needs one.

    Returns:
        The last numbers written down, and how many images were shown.

    Raises:
        ConfigError: a transfer without a start, or from other networks; a start for another kind; an unknown class.
        DataError: too few images, or of a side that no generator draws; a start that is not a whole generator.
        TrainingError: losses that are not finite, or a collapsed generator; the last good checkpoint, if there is one
            by then, is kept.
    """
    task = Task.of(ImageSet.open(images), kind, label, config, start)
    device = machine.device()
    players = begin(task.images.side, task.classes, config, task.name, device, task.source)
    batches = task.batches(device)
    steps = math.ceil(config.epochs * len(task.positions) / (batches.batch * config.discriminator_steps))
    shown = steps * batches.batch * config.discriminator_steps
    checkpoints = Checkpoints(task.key(device))
    progress = Progress("train_generator", shown, protocol=task.protocol, kind=kind, label=label)
    with checkpoints.owned(), progress:
        learn(players, batches, steps, config, task.name, checkpoints, progress)
        batches.close()
        final = dict(zip(COLUMNS, players.curve[-1], strict=True))
        about = {
            **task.about(device),
            "steps": steps,
            "images_shown": shown,
            "final": final,
            "diversity": final["diversity"],
        }
        with atomic.new_folder(out) as draft:
            _write_curve(draft / "curves.csv", players.curve)
            _sheet(players.pictures).save(draft / "samples.png")
            Generator.write(draft, about, players.average, players.discriminator, {task.name: task.ancestors})
        checkpoints.clear(mirror=False)  # the mirror's outlive a failed upload of the output
    return {**final, "images_shown": float(shown)}


@dataclass(frozen=True)
class Task:
    """What one generator learns from: the rows of an image set, and the generator it continues, if any."""

    images: ImageSet
    positions: list[int]
    kind: str
    label: str
    config: GanConfig
    source: Generator | None

    @classmethod
    def of(cls, images: ImageSet, kind: str, label: str, config: GanConfig, start: str | Path) -> Task:
        """Raises ConfigError where kind, label, settings and start do not fit together; DataError for too few images,
        or of a side that no generator draws.
        """
        _drawable(images)
        return cls(images, _chosen(images, label, config), kind, label, config, _start(kind, start))

    @property
    def name(self) -> str:
        """The generator's."""
        return f"{self.kind}/{self.label}"

    @property
    def classes(self) -> int:
        """That the generator is told; 0 where it knows one only."""
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
        start = self.source.digest if self.source else ""
        place = machine.kind(device)
        return key_for(
            self.images.digest, self.name, self.config.model_dump(), start, code_digest("train_generator"), place
        )

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
    side: int, classes: int, config: GanConfig, name: str, device: torch.device, source: Generator | None = None
) -> Players:
    """Both players before the first step: fresh, or continuing `source`."""
    if config.architecture not in GANS:
        raise ConfigError(f"there is no GAN architecture {config.architecture!r}; there are {', '.join(GANS)}")
    machine.reseed(device, config.seed, name, "weights")
    generator, discriminator = GANS[config.architecture].build(side, classes, config)
    if source is not None:
        source.load_into(generator, "generator")
        if config.transfer_discriminator:
            source.load_into(discriminator, "discriminator")
    # Channels last: measured a seventh to a quarter faster on CPUs, and what a GPU's convolutions want.
    generator, discriminator = (
        net.to(device).to(memory_format=torch.channels_last) for net in (generator, discriminator)
    )
    return Players(
        generator,
        discriminator,
        copy.deepcopy(generator).requires_grad_(False).eval(),
        Adam(generator.parameters(), config.lr, config.beta1, config.beta2),
        Adam(discriminator.parameters(), config.lr, config.beta1, config.beta2),
    )


def learn(
    players: Players,
    batches: Batches,
    steps: int,
    config: GanConfig,
    name: str,
    checkpoints: Checkpoints,
    progress: Progress,
) -> None:
    """All steps from the last checkpoint on. Numbers leave the device LOGS times, never in between.

    Kept is a good state whenever a checkpoint is due, and once early and at half-time, so that a short training has
    one too.
    """
    rounds = config.discriminator_steps
    images = rounds * batches.batch  # that a step shows
    fixed, reals = fixed_latents(players, config, name), diversity(batches.sample(FIXED))
    first = resume(players, checkpoints)
    progress.skip_to(first * images)
    with _saying_what_is_kept(checkpoints):
        for step in range(first, steps):
            # A function of the step alone, so a resumed run repeats it.
            machine.reseed(batches.device, config.seed, name, step)
            numbers = update(players, [batches(step * rounds + k) for k in range(rounds)], config, step * images)
            done = step + 1
            if is_due(done, steps, LOGS):
                row = [done, done * images, *written(players, numbers), drawn_diversity(players, fixed) / reals]
                refuse_not_finite(row[2:], done, name)
                refuse_collapsed(row, players.curve, config, steps, name)
                players.curve.append(row)
                progress.update(int(row[1]), **dict(zip(COLUMNS[2:], row[2:], strict=True)))
            if is_due(done, steps, PICTURES):
                players.pictures.append(as_grey(draw(players.average, fixed)).cpu()[:SHOWN])
            progress.update(done * images)
            doubtful = bool(players.curve) and is_alike(players.curve[-1], config, steps)
            once = done == -(-steps // LOGS) or done == steps // 2
            if done == steps or (not doubtful and (once or checkpoints.due(done))):
                refuse_not_finite(written(players, numbers), done, name)  # so that what is kept is good
                checkpoints.save(done, state_of(players), final=done == steps)


@contextlib.contextmanager
def _saying_what_is_kept(checkpoints: Checkpoints) -> Iterator[None]:
    try:
        yield
    except _UnsoundError as error:
        found = checkpoints.latest()
        kept = f"the checkpoint of step {found[0]} is kept" if found else "it was too early for a checkpoint"
        raise TrainingError(f"{error}; {kept}") from None


def is_due(done: int, steps: int, times: int) -> bool:
    """Whether something that happens so many times in `steps` steps, evenly and after the last, happens after this one.

    After each step where there are fewer.
    """
    return done * times // steps > (done - 1) * times // steps


def update(players: Players, reals: list[tuple[Tensor, Tensor]], config: GanConfig, images_shown: int = 0) -> Tensor:
    """One step of both players, in the order of Goodfellow et al. 2014, algorithm 1: discriminator, then generator.

    Args:
        reals: for each update of the discriminator images (B, 1, S, S) and labels (B,).
        images_shown: before this step.

    Returns:
        On the device: the discriminator's loss, the generator's, D(real), D(fake).
    """
    loss, D, G = LOSSES[config.loss], players.discriminator, players.generator
    for real, label in reals:
        with torch.no_grad():
            fake = G(noise(real, config), label)
        real, fake = diffaugment(real, config.diffaugment), diffaugment(fake, config.diffaugment)
        on_real, on_fake = D(real, label), D(fake, label)
        loss_d = loss.discriminator(on_real, on_fake)
        if loss.penalised:
            loss_d = loss_d + config.gradient_penalty * gradient_penalty(D, real, fake, label)
        players.discriminator_optimiser.zero_grad()
        loss_d.backward()
        players.discriminator_optimiser.step()
    loss_g = loss.generator(D(diffaugment(G(noise(real, config), label), config.diffaugment), label))
    players.generator_optimiser.zero_grad()
    loss_g.backward(inputs=list(G.parameters()))  # the discriminator's own gradients are not wanted here
    players.generator_optimiser.step()
    average(players, kept_share(sum(len(label) for _, label in reals), images_shown, config))
    return torch.stack([loss_d, loss_g, loss.reading(on_real).mean(), loss.reading(on_fake).mean()]).detach()


def kept_share(images: int, images_shown: int, config: GanConfig) -> float:
    """Of the old average in the new one, after a step of so many images. The half-life grows with the images shown
    before, up to its full length. Karras et al. 2020, ema_rampup in their code.
    """
    half_life = min(config.ema_half_life, config.ema_ramp_up * images_shown)
    return 0.5 ** (images / half_life) if half_life else 0.0


def average(players: Players, keep: float) -> None:
    """Moves the kept generator towards the learning one: keep * old + (1 - keep) * new. Karras et al. 2018, section
    4.
    """
    old = [weight.detach() for weight in players.average.parameters()]
    new = [weight.detach() for weight in players.generator.parameters()]
    torch._foreach_lerp_(old, new, 1 - keep)
    for target, buffer in zip(players.average.buffers(), players.generator.buffers(), strict=True):
        target.copy_(buffer)  # running means and counts are averages already


def noise(like: Tensor, config: GanConfig) -> Tensor:
    """(B, L) latents."""
    return torch.randn(len(like), config.latent, device=like.device)


def written(players: Players, numbers: Tensor) -> list[float]:
    """The update's numbers and the length of each player's gradient, on the host."""
    lengths = [
        torch.nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None])
        for net in (players.discriminator, players.generator)
    ]
    values: list[float] = torch.cat([numbers, torch.stack(lengths)]).tolist()
    return values


def diversity(images_N1SS: Tensor) -> float:
    """How much images differ from one another: root of the mean variance over images of their 8 x 8 thumbnails. 0:
    all alike.
    """
    thumbnails = torch.nn.functional.adaptive_avg_pool2d(images_N1SS.float(), 8)
    return float(thumbnails.var(dim=0, correction=0).mean().sqrt())


def drawn_diversity(players: Players, fixed: tuple[Tensor, Tensor]) -> float:
    """Diversity of what the kept generator draws from the fixed latents."""
    return diversity(draw(players.average, fixed))


def refuse_collapsed(row: list[float], curve: list[list[float]], config: GanConfig, steps: int, name: str) -> None:
    """Raises TrainingError when images have been nearly alike for three readings past half-time.

    Args:
        row: the newest of COLUMNS.
        curve: the rows before it.
    """
    newest = [*curve[-2:], row]
    if len(newest) == 3 and all(is_alike(past, config, steps) for past in newest):
        raise _UnsoundError(
            f"generator {name} has collapsed: at step {row[0]:.0f} its images differ "
            f"{row[-1]:.3f} times as much as real ones "
            f"(collapse_below is {config.collapse_below}). More images, diffaugment or another seed help"
        )


def is_alike(row: list[float], config: GanConfig, steps: int) -> bool:
    """Whether images are nearly alike past half-time; a generator begins by drawing nearly one picture."""
    return row[0] > steps / 2 and row[-1] < config.collapse_below


def refuse_not_finite(values: list[float], step: int, name: str) -> None:
    """Raises TrainingError naming the first of the numbers (in the order of COLUMNS from the losses on) that is not
    finite.
    """
    for column, value in zip(COLUMNS[2:], values, strict=False):
        if not math.isfinite(value):
            raise _UnsoundError(
                f"generator {name}: {column} is {value} at step {step}. "
                "A smaller lr, or another loss or normalisation, is the usual cure"
            )


def fixed_latents(players: Players, config: GanConfig, name: str) -> tuple[Tensor, Tensor]:
    """Latents (FIXED, L) and labels (FIXED,) that stay the same throughout, so that pictures over time can be
    compared.
    """
    device = next(players.generator.parameters()).device
    machine.reseed(device, config.seed, name, "fixed")
    classes = max(1, int(getattr(players.generator, "classes", 0)))
    return torch.randn(FIXED, config.latent, device=device), torch.arange(FIXED, device=device) % classes


@torch.no_grad()
def draw(generator: nn.Module, fixed: tuple[Tensor, Tensor]) -> Tensor:
    """(FIXED, 1, S, S) in [-1, 1]."""
    images: Tensor = generator(*fixed)
    return images


def state_of(players: Players) -> dict[str, Any]:
    """The fields of Players as tensors and plain values."""
    return {
        name: value.state_dict() if isinstance(value, nn.Module | Adam) else value
        for name, value in vars(players).items()
    }


def resume(players: Players, checkpoints: Checkpoints) -> int:
    """Puts the newest checkpoint into `players`; returns the step to go on from."""
    found = checkpoints.latest()
    if found is None:
        return 0
    step, state = found
    for name, value in vars(players).items():
        if isinstance(value, nn.Module | Adam):
            value.load_state_dict(state[name])
        else:
            setattr(players, name, state[name])
    return step


def _drawable(images: ImageSet) -> None:
    if images.side not in SIDES:
        raise DataError(
            f"{images.folder} has images of {images.side} px; generators draw {', '.join(map(str, SIDES))} px, and the "
            "verb ingest makes such images"
        )


def _chosen(whole: ImageSet, label: str, config: GanConfig) -> list[int]:
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
        raise DataError(f"{len(chosen)} images of {label} train; a GAN needs at least 2")
    return chosen


def _start(kind: str, start: str | Path) -> Generator | None:
    if kind != "transfer":
        if start:
            raise ConfigError(f"a generator of kind {kind} starts from nothing; one of kind transfer continues another")
        return None
    if not start:
        raise ConfigError("a transfer needs a trained generator to start from")
    return Generator.open(start)


def _write_curve(path: Path, curve: list[list[float]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(curve)


def _sheet(pictures: list[Tensor]) -> Image.Image:
    """One line of the same SHOWN latents for each moment, the earliest on top."""
    return Image.fromarray(np.concatenate([np.concatenate(list(line.numpy()), axis=1) for line in pictures]))
