"""DCGAN (Radford et al. 2016) for one grey channel and any power-of-two side from 32 px, with classes as an option.

Shapes: B batch, N images, S side, L latent numbers, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import get_total_norm
from torch.nn.utils.parametrizations import spectral_norm

from syntrial.errors import ConfigError
from syntrial.generators.losses import LOSSES
from syntrial.generators.seam import Batch, Learner, Parts, Weights
from syntrial.generators.settings import DcganConfig
from syntrial.training.adam import Adam
from syntrial.training.augment import diffaugment

WIDEST = 16  # most channels, as a multiple of `width`; Radford et al. have 64 at the image and 1024 at 4 x 4


def channels(side: int, width: int) -> list[int]:
    """Channels of the layers from side / 2 down to 4 x 4: doubled at every halving of the side, up to `width` times
    WIDEST.
    """
    halvings = side.bit_length() - 3
    return [width * min(2**i, WIDEST) for i in range(halvings)]


class Generator(nn.Module):
    """(N, L) latents, and for K > 0 classes (N,) labels -> (N, 1, S, S) images in [-1, 1]."""

    def __init__(self, side: int, width: int, latent: int, classes: int = 0) -> None:
        super().__init__()
        self.latent, self.classes = latent, classes
        inner = channels(side, width)[::-1]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent + classes, inner[0], 4, bias=False)]
        for before, after in zip(inner, [*inner[1:], 0], strict=True):
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
            layers += [nn.ConvTranspose2d(before, after or 1, 4, stride=2, padding=1, bias=not after)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.apply(_initialise)

    def forward(self, latent_NL: Tensor, label_N: Tensor | None = None) -> Tensor:
        if self.classes and label_N is not None:
            latent_NL = torch.cat([latent_NL, F.one_hot(label_N, self.classes).to(latent_NL.dtype)], dim=1)
        images: Tensor = self.layers(latent_NL[:, :, None, None])
        return images


class Discriminator(nn.Module):
    """(N, 1, S, S) images, and for K > 0 classes (N,) labels -> (N,) raw outputs, higher for what looks real.

    Classes enter by projection (Miyato and Koyama 2018, eq. 3): the inner product of the last features with the class's
    vector.
    """

    def __init__(self, side: int, width: int, normalisation: str, classes: int = 0) -> None:
        super().__init__()
        inner = channels(side, width)
        layers: list[nn.Module] = []
        for before, after in zip([1, *inner], inner, strict=False):
            # No batch norm on the first layer, as Radford et al. 2016, section 3, advise.
            normed = normalisation == "batch" and before > 1
            layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=not normed))
            layers += [nn.BatchNorm2d(after)] if normed else []
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(inner[-1], 1, 4)
        self.embedding = nn.Embedding(classes, inner[-1]) if classes else None
        self.apply(_initialise)
        if normalisation == "spectral":  # last: the weight of a normed layer is computed, so it cannot be initialised
            for layer in [layer for layer in self.modules() if isinstance(layer, nn.Conv2d | nn.Embedding)]:
                spectral_norm(layer)

    def forward(self, images_N1SS: Tensor, label_N: Tensor | None = None) -> Tensor:
        features = self.layers(images_N1SS)
        raw: Tensor = self.last(features).flatten()
        if self.embedding is not None and label_N is not None:
            raw = raw + (self.embedding(label_N) * features.mean(dim=(2, 3))).sum(dim=1)
        return raw


def _initialise(layer: nn.Module) -> None:
    """Radford et al. 2016, section 4: normal weights with deviation 0.02."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
        nn.init.zeros_(layer.bias)


@dataclass
class Players:
    """Everything that changes while a GAN learns. A checkpoint is exactly these fields."""

    generator: Generator
    discriminator: Discriminator
    average: Generator  # moving average of the generator's weights, which is the one that is kept
    generator_optimiser: Adam
    discriminator_optimiser: Adam


class Dcgan(Learner):
    """A generator and a discriminator that learn from each other (Goodfellow et al. 2014)."""

    readings = ("loss_d", "loss_g", "d_real", "d_fake", "gradient_d", "gradient_g")
    charts = {  # noqa: RUF012  declared in the base class
        "Losses of discriminator and generator": ("loss_d", "loss_g"),
        "Output of the discriminator for real and for drawn images": ("d_real", "d_fake"),
        "Lengths of the gradients": ("gradient_d", "gradient_g"),
    }
    remedy = "A smaller lr, or another loss or normalisation, is the usual cure"
    remedy_alike = "More images, diffaugment or another seed help"

    settings: DcganConfig
    changes: Players

    @classmethod
    def begin(
        cls, side: int, classes: int, settings: Any, device: torch.device, start: Mapping[str, Weights] | None
    ) -> Dcgan:
        """Both players, fresh or continuing those of `start`."""
        G = Generator(side, settings.width, settings.latent, classes)
        D = Discriminator(side, settings.width, settings.normalisation, classes)
        if start is not None:
            _continue(G, start["generator"], "generator", classes)
            if settings.transfer_discriminator:
                _continue(D, start["discriminator"], "discriminator", 0)
        # Channels last: measured a seventh to a quarter faster on CPUs, and what a GPU's convolutions want.
        for network in (G, D):
            network.to(device).to(memory_format=torch.channels_last)
        average = copy.deepcopy(G).requires_grad_(False).eval()
        optimisers = (Adam(net.parameters(), settings.lr, settings.beta1, settings.beta2) for net in (G, D))
        return cls(settings, classes, Players(G, D, average, *optimisers))

    def step(self, batches: list[Batch], images_shown: int) -> Tensor:
        """Goodfellow et al. 2014, algorithm 1: the discriminator learns from each batch, then the generator once.

        Returns:
            The discriminator's loss, the generator's, means of D(real) and D(fake).
        """
        players, settings, loss = self.changes, self.settings, LOSSES[self.settings.loss]
        G, D = players.generator, players.discriminator
        for real, label in batches:
            with torch.no_grad():
                fake = G(self.noise(label), label)
            real, fake = diffaugment(real, settings.diffaugment), diffaugment(fake, settings.diffaugment)
            loss_d, means = loss.of_discriminator(D, real, fake, label, settings.gradient_penalty)
            players.discriminator_optimiser.zero_grad()
            loss_d.backward()
            players.discriminator_optimiser.step()
        fake = diffaugment(G(self.noise(label), label), settings.diffaugment)
        loss_g = loss.of_generator(D, fake, label)
        players.generator_optimiser.zero_grad()
        loss_g.backward(inputs=list(G.parameters()))  # without the discriminator's gradients
        players.generator_optimiser.step()
        self.move_average(sum(len(label) for _, label in batches), images_shown)
        return torch.cat([torch.stack([loss_d, loss_g]).detach(), means])

    def read(self, numbers: Tensor) -> list[float]:
        """The result of `step`, and the norm of each player's gradient."""
        lengths = [
            get_total_norm([p.grad for p in net.parameters() if p.grad is not None])
            for net in (self.changes.discriminator, self.changes.generator)
        ]
        values: list[float] = torch.cat([numbers, torch.stack(lengths)]).tolist()
        return values

    @torch.no_grad()
    def draw(self, label_N: Tensor) -> Tensor:
        """Images drawn by the averaged generator."""
        device = next(self.changes.average.parameters()).device
        images: Tensor = self.changes.average(self.noise(label_N).to(device), label_N.to(device))
        return images

    def parts(self) -> Parts:
        """The averaged generator, and the discriminator, from which a transfer generator may start."""
        kept = {"generator": self.changes.average, "discriminator": self.changes.discriminator}
        return {part: dict(network.state_dict()) for part, network in kept.items()}

    def noise(self, label_N: Tensor) -> Tensor:
        """(N, L) latents, on the device of the labels."""
        return torch.randn(len(label_N), self.settings.latent, device=label_N.device)

    def move_average(self, images: int, images_shown: int) -> None:
        """Updates the moving average: keep * old + (1 - keep) * new, after a step of `images` images. Karras et al.
        2018, section 4.
        """
        old = [weight.detach() for weight in self.changes.average.parameters()]
        new = [weight.detach() for weight in self.changes.generator.parameters()]
        torch._foreach_lerp_(old, new, 1 - kept_share(images, images_shown, self.settings))
        for target, buffer in zip(self.changes.average.buffers(), self.changes.generator.buffers(), strict=True):
            target.copy_(buffer)  # running means and counts are averages themselves


def kept_share(images: int, images_shown: int, settings: DcganConfig) -> float:
    """The weight of the old average in the new one, after a step that showed `images` images. The half-life grows with
    the images shown before, up to its full length. Karras et al. 2020, ema_rampup in their code.
    """
    half_life = min(settings.ema_half_life, settings.ema_ramp_up * images_shown)
    return 0.5 ** (images / half_life) if half_life else 0.0


def _continue(network: nn.Module, weights: Weights, part: str, classes: int) -> None:
    """Loads weights into a network.

    A conditional network that continues an unconditional one keeps its own weights where the other has none.
    """
    own = network.state_dict()
    for name, value in weights.items():
        if name not in own or not _fits(value, own[name], classes):
            raise ConfigError(f"its {part} differs at {name}")
        own[name] = _widened(value, own[name])
    network.load_state_dict(own)


def _fits(value: Tensor, own: Tensor, classes: int) -> bool:
    """Whether the shapes are equal, or `own` has one additional row per class."""
    if value.shape == own.shape:
        return True
    return 0 < value.dim() == own.dim() and value.shape[1:] == own.shape[1:] and len(own) - len(value) == classes


def _widened(value: Tensor, own: Tensor) -> Tensor:
    """`own` with its first rows replaced by `value`. The additional rows, of a conditional generator's classes, are
    kept.
    """
    if value.shape == own.shape:
        return value
    own = own.clone()
    own[: len(value)] = value
    return own
