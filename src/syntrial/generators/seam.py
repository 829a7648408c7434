"""The common interface of all families of generators.

A family is a class that learns (a Learner, in a file of its own) and a class of settings that names it (an entry in
settings.ARCHITECTURES). All other code depends on this interface only, not on any family.

Shapes: B batch, N images, S side.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from syntrial.errors import ConfigError
from syntrial.generators.settings import GeneratorConfig

Weights = dict[str, Tensor]  # by name
Parts = dict[str, Weights]  # by the name of the part of a generator
Batch = tuple[Tensor, Tensor]  # images (B, 1, S, S) in [-1, 1] and labels (B,)


class Learner(ABC):
    """A generator that learns and draws.

    Args:
        settings: the settings of its family.
        classes: number of classes of a conditional generator; 0 for an unconditional one.
        changes: a dataclass of everything that changes while it learns: networks, optimisers, tensors, plain values. A
            checkpoint is exactly its fields.
    """

    readings: ClassVar[tuple[str, ...]]  # names of the numbers that `read` returns, in order
    charts: ClassVar[dict[str, tuple[str, ...]]]  # title -> readings to plot in one chart
    remedy: ClassVar[str]  # a sentence: what usually helps if a reading is not finite
    remedy_alike: ClassVar[str]  # a sentence: what usually helps if drawn images are nearly alike

    def __init__(self, settings: GeneratorConfig, classes: int, changes: Any) -> None:
        self.settings, self.classes, self.changes = settings, classes, changes

    @classmethod
    @abstractmethod
    def begin(
        cls, side: int, classes: int, settings: Any, device: torch.device, start: Mapping[str, Weights] | None
    ) -> Learner:
        """A learner before its first step.

        Random numbers are drawn from torch's default generator, on the CPU.

        Args:
            side: of the images, px.
            classes: number of classes of a conditional generator; 0 for an unconditional one.
            start: the parts of a generator to continue.

        Raises:
            ConfigError: the weights of `start` do not fit.
        """

    @abstractmethod
    def step(self, batches: list[Batch], images_shown: int) -> Tensor:
        """Makes one training step.

        Args:
            batches: `settings.batches_per_step` batches.
            images_shown: number of images shown before this step.

        Returns:
            Numbers for `read`; they stay on the device, because a step does not wait for the host.
        """

    @abstractmethod
    def read(self, numbers: Tensor) -> list[float]:
        """The readings, from the result of a step."""

    @abstractmethod
    def draw(self, label_N: Tensor) -> Tensor:
        """Draws images (N, 1, S, S) in [-1, 1] on the training device, as the finished generator would.

        Random numbers are drawn on the device of `label_N`: labels on the CPU give the same images everywhere.

        Args:
            label_N: class indices; all 0 for an unconditional generator.
        """

    @abstractmethod
    def parts(self) -> Parts:
        """What is kept on disk: all weights needed to draw and to continue training. Each part becomes a file."""

    def state(self) -> dict[str, Any]:
        """The fields of `changes` as tensors and plain values."""
        return {name: value.state_dict() if _has_state(value) else value for name, value in vars(self.changes).items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Loads a result of `state`, whose tensors may be on any device."""
        for name, value in vars(self.changes).items():
            if _has_state(value):
                value.load_state_dict(state[name])
            elif isinstance(value, Tensor):
                value.copy_(state[name])
            else:
                setattr(self.changes, name, state[name])

    def networks(self) -> list[nn.Module]:
        """Its networks, if any."""
        return [value for value in vars(self.changes).values() if isinstance(value, nn.Module)]


def _has_state(value: Any) -> bool:
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


def learner_of(settings: GeneratorConfig) -> type[Learner]:
    """The class that learns with the given settings.

    Raises:
        ConfigError: the settings belong to no family.
    """
    module, _, name = settings.learner.partition(":")
    if not name:
        raise ConfigError(f"architecture {settings.architecture!r} names no learner")
    found: type[Learner] = getattr(importlib.import_module(module), name)
    return found
