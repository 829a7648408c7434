"""A plain convolutional network."""

from __future__ import annotations

from torch import Tensor, nn

from syntrial.classifiers.settings import CnnConfig

BLOCKS = 4  # each halves the side, so an image needs at least 16 px


class Cnn(nn.Module):
    """Four blocks of convolution, batch norm, ReLU and pooling, then global average pooling: (N, 1, S, S) -> (N, K)
    logits.

    With global average pooling the network accepts any side, as the resize check needs, and is small enough for a few
    hundred images.
    """

    def __init__(self, classes: int, config: CnnConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for block in range(BLOCKS):
            after = config.width * 2 ** min(block, 2)
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(2)]
            before = after
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(before, classes))

    def forward(self, images_N1SS: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images_N1SS).mean(dim=(2, 3)))
        return logits
