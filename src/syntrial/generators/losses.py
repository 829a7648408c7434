"""The losses of a GAN's two players. Lower is better for each.

A discriminator is a function of images and labels that returns one raw output per image, higher for real images.
Shapes: B batch, S side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Discriminator = Callable[[Tensor, Tensor], Tensor]  # images (B, 1, S, S), labels (B,) -> raw outputs (B,)
Penalty = Callable[[Discriminator, Tensor, Tensor, Tensor], Tensor]  # discriminator, real, fake, labels -> scalar


@dataclass(frozen=True)
class Loss:
    """Both players' losses as functions of raw outputs, the discriminator's penalty, and what is logged."""

    discriminator: Callable[[Tensor, Tensor], Tensor]  # of (real, fake) -> scalar
    generator: Callable[[Tensor], Tensor]  # of fake -> scalar
    reading: Callable[[Tensor], Tensor]  # raw output -> what is logged as D(x)
    penalty: Penalty | None = None

    def of_discriminator(
        self, D: Discriminator, real_B1SS: Tensor, fake_B1SS: Tensor, label_B: Tensor, penalty_weight: float
    ) -> tuple[Tensor, Tensor]:
        """The discriminator's loss with its penalty, and (2,) readings: means of D(real) and D(fake)."""
        on_real, on_fake = D(real_B1SS, label_B), D(fake_B1SS, label_B)
        loss = self.discriminator(on_real, on_fake)
        if self.penalty is not None:
            loss = loss + penalty_weight * self.penalty(D, real_B1SS, fake_B1SS, label_B)
        return loss, torch.stack([self.reading(raw.detach()).mean() for raw in (on_real, on_fake)])

    def of_generator(self, D: Discriminator, fake_B1SS: Tensor, label_B: Tensor) -> Tensor:
        """The generator's loss."""
        return self.generator(D(fake_B1SS, label_B))


def gradient_penalty(D: Discriminator, real_B1SS: Tensor, fake_B1SS: Tensor, label_B: Tensor) -> Tensor:
    """Mean squared difference from 1 of the gradient's norm, at points between real and fake images. Gulrajani et al.
    2017, eq. 3.
    """
    mix = torch.rand(len(real_B1SS), 1, 1, 1, device=real_B1SS.device)
    between = (mix * real_B1SS + (1 - mix) * fake_B1SS).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(D(between, label_B).sum(), between, create_graph=True)
    penalty: Tensor = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    return penalty


def _unchanged(raw: Tensor) -> Tensor:
    return raw


LOSSES: dict[str, Loss] = {
    # Goodfellow et al. 2014, section 3: the generator maximises log D(G(z)) rather than minimising log(1 - D(G(z))).
    "non_saturating": Loss(
        discriminator=lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        generator=lambda fake: F.softplus(-fake).mean(),
        reading=torch.sigmoid,
    ),
    # Lim and Ye 2017; Miyato et al. 2018, eq. 16 and 17.
    "hinge": Loss(
        discriminator=lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        generator=lambda fake: -fake.mean(),
        reading=_unchanged,
    ),
    # Arjovsky et al. 2017, with the penalty of Gulrajani et al. 2017.
    "wgan_gp": Loss(
        discriminator=lambda real, fake: fake.mean() - real.mean(),
        generator=lambda fake: -fake.mean(),
        reading=_unchanged,
        penalty=gradient_penalty,
    ),
}
