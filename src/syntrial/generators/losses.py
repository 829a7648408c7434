"""What the two players want. Each takes the discriminator's raw outputs, one number an image; lower is better for
its player.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Loss:
    """The two players' losses, and what the discriminator's output means to a reader."""

    discriminator: Callable[[Tensor, Tensor], Tensor]  # (real, fake) -> scalar
    generator: Callable[[Tensor], Tensor]  # fake -> scalar
    reading: Callable[[Tensor], Tensor]  # raw output -> what is logged as D(x)
    penalised: bool = False


def gradient_penalty(
    judge: Callable[[Tensor, Tensor], Tensor], real_N1SS: Tensor, fake_N1SS: Tensor, label_N: Tensor
) -> Tensor:
    """Mean squared distance from 1 of the gradient's length, on lines between real and fake. Gulrajani et al. 2017,
    eq. 3.
    """
    mix = torch.rand(len(real_N1SS), 1, 1, 1, device=real_N1SS.device)
    between = (mix * real_N1SS + (1 - mix) * fake_N1SS).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(judge(between, label_N).sum(), between, create_graph=True)
    penalty: Tensor = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    return penalty


def _identity(raw: Tensor) -> Tensor:
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
        reading=_identity,
    ),
    # Arjovsky et al. 2017, with the penalty of Gulrajani et al. 2017.
    "wgan_gp": Loss(
        discriminator=lambda real, fake: fake.mean() - real.mean(),
        generator=lambda fake: -fake.mean(),
        reading=_identity,
        penalised=True,
    ),
}
