"""DCGAN (Radford et al. 2016) for one grey channel and any power-of-two side from 32 px, with classes as an option.

Shapes: N images, S side, L latent numbers, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

WIDEST = 16  # times `width`; Radford et al. have 1024 channels at 4 x 4 over 64 at the image


def channels(side: int, width: int) -> list[int]:
    """Channels of the layers from the image (side / 2) inwards to 4 x 4: doubled at every halving up to WIDEST
    times.
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
        if normalisation == "spectral":  # last: a normed layer's weight is computed, and no place to write to
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
