"""The loops of syntrial against bare ones: both take turns, so that a machine whose speed drifts drifts for both.

A bare loop is the same step (a GAN's average of weights and augmentation included) on one fixed batch: no data, no
seeding, no numbers, pictures or checkpoints. On a GPU it is plain fp32 too: no TF32, channels first.

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

BLOCK_S = 0.3  # that a loop has its turn, where nothing else decides
WARM_UP = 3  # steps

Images = NDArray[np.uint8]


class EnoughError(Exception):
    """All rounds are over; the loop under measurement need not go on."""


class Turns(Progress):
    """Progress of a loop that hands over to `bare` after every `block` steps, and keeps the seconds that either takes.

    Args:
        bare: one bare step.
        block: steps a turn.
        between: steps of the loop after each turn that are timed apart, because they do more than learn.
        turns: after which EnoughError is raised.
    """

    def __init__(self, bare: Callable[[], object], *, block: int, turns: int, between: int = 0) -> None:
        super().__init__("bench", total=0)
        self.bare, self.block, self.between, self.turns = bare, block, between, turns
        self.loop_s: list[float] = []
        self.bare_s: list[float] = []
        self.between_s: list[float] = []
        self._steps, self._since_s = 0, 0.0

    def skip_to(self, done: int) -> None:
        """The loop begins."""
        super().skip_to(done)
        self._since_s = time.perf_counter()

    def update(self, done: int, **numbers: float) -> None:
        """A step is over, where no numbers are told. Raises EnoughError."""
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
        """The loop's images a second to those of the bare loop: median over rounds of `per_round` turns."""
        rounds = range(0, len(self.loop_s), per_round)
        return statistics.median(
            sum(self.bare_s[i : i + per_round]) / sum(self.loop_s[i : i + per_round]) for i in rounds
        )

    def between_share(self) -> float:
        """Of the loop's time, what the steps between took beyond a step."""
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
    """Of train_generator's loop at the study's own number of steps, so that numbers and pictures come as often as in a
    run: a round has one picture.
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
    """Of a generator's training time, what saving takes at one checkpoint in EVERY_S."""
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
    """Of train_classifier's loop between the ends of two epochs, and the share of its time that evaluation at those
    ends takes.
    """
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
    """Four fifths train and one validates, as printed."""
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
    """Seconds of a bare step, the first ones apart."""
    for _ in range(WARM_UP):
        began_s = time.perf_counter()
        bare()
    return time.perf_counter() - began_s


def _plainly(step: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The step in plain fp32."""

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
    """On a GPU. On a CPU the bare loop keeps the faster form, or it would be no measure."""
    for network in networks:
        if next(network.parameters()).is_cuda:
            network.to(memory_format=torch.contiguous_format)
