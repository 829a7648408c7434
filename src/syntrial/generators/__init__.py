"""The generators and their opponents, one architecture a file; a plain dict is the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from syntrial.generators import dcgan
from syntrial.generators.losses import LOSSES, Loss, gradient_penalty

__all__ = ["GANS", "LOSSES", "Architecture", "Loss", "gradient_penalty"]


@dataclass(frozen=True)
class Architecture:
    """Two networks that learn from each other."""

    generator: Callable[..., nn.Module]  # (side, width, latent, classes)
    discriminator: Callable[..., nn.Module]  # (side, width, normalisation, classes)

    def build(self, side: int, classes: int, config: Any) -> tuple[nn.Module, nn.Module]:
        """Both, freshly initialised from torch's default generator. `classes` is 0 unless the GAN is conditional."""
        return (
            self.generator(side, config.width, config.latent, classes),
            self.discriminator(side, config.width, config.normalisation, classes),
        )


GANS: dict[str, Architecture] = {"dcgan": Architecture(dcgan.Generator, dcgan.Discriminator)}
