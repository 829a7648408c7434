"""A family of generators that is not a GAN and has no network: each pixel is a Gaussian, fitted to the images."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from syntrial.errors import ConfigError
from syntrial.generators.seam import Learner
from syntrial.generators.settings import GeneratorConfig
from syntrial.settings import setting


class PixelsConfig(GeneratorConfig):
    """Settings that no other family has."""

    learner: ClassVar[str] = "pixels:Pixels"

    architecture: str = setting("pixels", "its name", "a test")
    spread: float = setting(1.0, "times the deviation that was seen", "a test", gt=0)


@dataclass
class Sums:
    """Everything that changes: for each class the number of images, their sum and the sum of their squares."""

    seen_K: torch.Tensor
    sum_KSS: torch.Tensor
    squares_KSS: torch.Tensor
    steps: int = 0


class Pixels(Learner):
    """Learns in closed form."""

    readings = ("brightness", "deviation")
    charts: ClassVar = {"Grey values": ("brightness", "deviation")}
    remedy = "Other images help"
    remedy_alike = "A larger spread helps"

    @classmethod
    def begin(cls, side, classes, settings, device, start):
        """Knows nothing, or what `start` knows."""
        count = max(1, classes)
        if start is None:
            sums = (torch.zeros(count), torch.zeros(count, side, side), torch.zeros(count, side, side))
        else:
            sums = (start["pixels"][name].clone() for name in ("seen", "sum", "squares"))
        changes = Sums(*(values.to(device) for values in sums))
        if changes.sum_KSS.shape != (count, side, side):
            raise ConfigError("its classes differ")
        return cls(settings, classes, changes)

    def step(self, batches, images_shown):
        """Adds up what it sees."""
        sums = self.changes
        for images, label in batches:
            index = label if self.classes else torch.zeros_like(label)
            sums.seen_K.index_add_(0, index, torch.ones(len(index), device=index.device))
            sums.sum_KSS.index_add_(0, index, images[:, 0])
            sums.squares_KSS.index_add_(0, index, images[:, 0] ** 2)
        sums.steps += 1
        mean, deviation = self._moments()
        return torch.stack([mean.mean(), deviation.mean()])

    def read(self, numbers):
        """They are the readings already."""
        return numbers.tolist()

    def draw(self, label_N):
        """Noise around the mean image of the class."""
        mean, deviation = self._moments()
        noise = torch.randn(len(label_N), *mean.shape[1:], device=label_N.device).to(mean.device)
        index = (label_N if self.classes else torch.zeros_like(label_N)).to(mean.device)
        return (mean[index] + self.settings.spread * deviation[index] * noise).clamp(-1, 1)[:, None]

    def parts(self):
        """What was added up."""
        sums = self.changes
        return {"pixels": {"seen": sums.seen_K, "sum": sums.sum_KSS, "squares": sums.squares_KSS}}

    def _moments(self):
        seen = self.changes.seen_K.clamp(min=1)[:, None, None]
        mean = self.changes.sum_KSS / seen
        return mean, (self.changes.squares_KSS / seen - mean**2).clamp(min=0).sqrt()
