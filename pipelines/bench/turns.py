"""Compares the loops of syntrial with bare loops. Both alternate, so that a drift of the machine's speed affects both.

A bare loop repeats the same step (including a GAN's average of weights, and augmentation) on one fixed batch, without
reading data, seeding, logging, pictures or checkpoints. On a GPU it uses plain fp32: no TF32, channels first.

Shapes: B batch, N images, S side.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from syntrial import train_classifier, train_generator
from syntrial.classifiers.material import Material, Part
from syntrial.classifiers.settings import ClassifierConfig
from syntrial.config import AugmentConfig
from syntrial.generators.settings import GeneratorConfig
from syntrial.imageset import Row
from syntrial.progress import Progress
from syntrial.training.batches import Batches
from syntrial.training.checkpoint import EVERY_S, Checkpoints

BLOCK_S = 0.3  # target duration of a turn
WARM_UP = 3  # steps

Images = NDArray[np.uint8]


class EnoughError(Exception):
    """Ends the measured loop after the last round."""


class Turns(Progress):
    """Progress of a loop that runs `block` bare steps after every `block` steps of its own, and times both.

    Args:
        bare: performs one bare step.
        block: steps per turn.
        between: steps of the loop after each turn that are timed separately, because they do more than train.
        turns: number of turns, after which EnoughError is raised.
    """

    def __init__(self, bare: Callable[[], object], *, block: int, turns: int, between: int = 0) -> None:
        super().__init__("bench", total=0)
        self.bare, self.block, self.between, self.turns = bare, block, between, turns
        self.loop_s: list[float] = []
        self.bare_s: list[float] = []
        self.between_s: list[float] = []
        self._steps, self._since_s = 0, 0.0

    def skip_to(self, done: int) -> None:
        """Called when the loop begins."""
        super().skip_to(done)
        self._since_s = time.perf_counter()

    def update(self, done: int, **numbers: float) -> None:
        """Called after each step, and again with the numbers where some are logged. Raises EnoughError."""
        super().update(done, **numbers)
        if numbers:
            return
        self._steps += 1
        if self._steps == self.block:
            self.loop_s.append(self._lap())
            for _ in range(self.block):
                self.bare()
            self.bare_s.append(self._lap())
        elif self._steps > self.block:
            self.between_s.append(self._lap())
        if self._steps >= self.block + self.between:
            self._steps = 0
            if len(self.loop_s) >= self.turns:
                raise EnoughError

    def ratio(self, per_round: int = 1) -> float:
        """Ratio of the loop's images per second to the bare loop's: median over rounds of `per_round` turns."""
        rounds = range(0, len(self.loop_s), per_round)
        return statistics.median(
            sum(self.bare_s[i : i + per_round]) / sum(self.loop_s[i : i + per_round]) for i in rounds
        )

    def between_share(self) -> float:
        """Share of the loop's time that the separately timed steps took in excess of ordinary steps."""
        step_s = sum(self.loop_s) / (self.block * len(self.loop_s))
        beyond_s = sum(self.between_s) - step_s * len(self.between_s)
        return beyond_s / (sum(self.loop_s) + sum(self.between_s))

    def _lap(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now_s = time.perf_counter()
        took_s, self._since_s = now_s - self._since_s, now_s
        return took_s


def generator_ratio(
    images_NSS: Images, config: GeneratorConfig, device: torch.device, scratch: Path, rounds: int
) -> float:
    """Ratio for train_generator's loop. It has the study's number of steps, so that it logs numbers and draws pictures
    as often as in a run; a round has one picture.
    """
    side, batch = images_NSS.shape[1], min(config.batch, len(images_NSS))
    config = config.model_copy(update={"collapse_below": 0.0})
    batches = _batches(images_NSS, np.zeros(len(images_NSS), np.int64), batch, device)
    steps = math.ceil(config.epochs * len(images_NSS) / (batch * config.batches_per_step))
    plain = train_generator.begin(side, 0, config, "bare", device)
    _channels_first(*plain.networks())
    reals = [batches(k) for k in range(config.batches_per_step)]
    bare = _plainly(lambda: plain.step(reals, 0), device)
    per_round = max(1, steps // train_generator.PICTURES)
    turns = max(1, min(per_round, round(per_round * _step_s(bare) / BLOCK_S)))
    rounds = min(rounds, train_generator.PICTURES)
    progress = Turns(bare, block=per_round // turns, turns=turns * rounds)
    training = train_generator.Training(train_generator.begin(side, 0, config, "bench", device))
    checkpoints = Checkpoints("bench-generator", scratch)
    with progress, contextlib.suppress(EnoughError):
        train_generator.learn(training, batches, steps, config, "bench", checkpoints, progress)
    return progress.ratio(turns)


def checkpoint_share(images_NSS: Images, config: GeneratorConfig, device: torch.device, scratch: Path) -> float:
    """Share of a generator's training time spent on saving, at one checkpoint per EVERY_S."""
    training = train_generator.Training(train_generator.begin(images_NSS.shape[1], 0, config, "bench", device))
    checkpoints = Checkpoints("bench-checkpoint", scratch)
    began_s = time.perf_counter()
    checkpoints.save(1, training.state())
    return (time.perf_counter() - began_s) / EVERY_S


def cnn_ratio(
    images_NSS: Images,
    label_N: NDArray[np.int64],
    config: ClassifierConfig,
    online: AugmentConfig | None,
    device: torch.device,
    scratch: Path,
    rounds: int,
) -> tuple[float, float]:
    """Ratio for train_classifier's loop within epochs, and the share of its time spent on evaluation at their ends."""
    material = _material(images_NSS, label_N, online)
    plan = train_classifier.Plan.of(material, config)
    batches = _batches(images_NSS[: len(material.train.rows)], material.train.label_N, plan.batch, device)
    plain = train_classifier.begin(len(material.classes), 0, config, device)
    _channels_first(plain.network)
    fixed = batches(0)
    bare = _plainly(lambda: train_classifier.update(plain, *fixed, online), device)
    _step_s(bare)
    progress = Turns(bare, block=plan.per_epoch - 1, between=1, turns=min(2 * rounds, config.epochs))
    learner = train_classifier.begin(len(material.classes), 0, config, device)
    seat = train_classifier.Seat(progress, plan, 0)
    with progress, contextlib.suppress(EnoughError):
        train_classifier.learn(learner, batches, plan, 0, material, Checkpoints("bench-cnn", scratch), seat)
    return progress.ratio(), progress.between_share()


def _material(images_NSS: Images, label_N: NDArray[np.int64], online: AugmentConfig | None) -> Material:
    """Material with the protocol `as_printed`: four fifths of the images train, one fifth validates."""
    cut, classes = len(label_N) * 4 // 5, [str(number) for number in range(int(label_N.max()) + 1)]
    train, val = (_part(images_NSS[part], label_N[part]) for part in (slice(cut), slice(cut, None)))
    return Material(
        "original", "as_printed", "bench", images_NSS.shape[1], classes, train, {"val": val}, online, cut, {}, set()
    )


def _part(images_NSS: Images, label_N: NDArray[np.int64]) -> Part:
    return Part(lambda chosen: images_NSS[chosen], label_N, [Row("", str(label), "") for label in label_N])


def _batches(images_NSS: Images, label_N: NDArray[np.int64], batch: int, device: torch.device) -> Batches:
    side = images_NSS.shape[1]
    return Batches(lambda chosen: images_NSS[chosen], label_N, side=side, batch=batch, seed=0, device=device)


def _step_s(bare: Callable[[], object]) -> float:
    """Seconds of a bare step after WARM_UP - 1 others."""
    for _ in range(WARM_UP):
        began_s = time.perf_counter()
        bare()
    return time.perf_counter() - began_s


def _plainly(step: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The step, on a GPU without TF32."""

    def plain() -> None:
        with _no_tf32():
            step()

    return plain if device.type == "cuda" else step


@contextlib.contextmanager
def _no_tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def _channels_first(*networks: nn.Module) -> None:
    """Sets the memory format on a GPU. On a CPU the bare loop keeps channels last, which is faster there."""
    for network in networks:
        if next(network.parameters()).is_cuda:
            network.to(memory_format=torch.contiguous_format)
