"""The registry of classifiers: the settings of each and where its network is. Read without torch, as every study is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from syntrial.errors import ConfigError
from syntrial.settings import UNSAID, Config, setting


class ClassifierConfig(Config):
    """The classifier, the same for every arm: what every architecture has. A class below adds an architecture's own."""

    architecture: str = setting("cnn", "a key of syntrial.classifiers.settings.CLASSIFIERS", UNSAID)
    epochs: int = setting(20, "passes over the arm `original`", UNSAID + "; more than 7, as its figure 10 shows", ge=1)
    batch: int = setting(32, "images", UNSAID + "; Keras' default", ge=2)
    lr: float = setting(1e-3, "Adam's learning rate", UNSAID + "; Keras' default", gt=0, le=10)
    schedule: Literal["cosine", "constant"] = setting(
        "cosine",
        "how the learning rate goes: down to 0, or not at all",
        UNSAID + "; with a constant one the last figures depend on the last few batches (Loshchilov and Hutter 2017)",
    )
    weight_decay: float = setting(0.0, "AdamW's, per step and learning rate", UNSAID, ge=0)


class CnnConfig(ClassifierConfig):
    """A plain convolutional network, pooled at the end, so that any side fits."""

    width: int = setting(32, "channels of the first block; doubled twice", UNSAID, ge=4, le=1024)
    dropout: float = setting(0.3, "share of the features hidden while training", UNSAID, ge=0, lt=1)


@dataclass(frozen=True)
class Architecture:
    """One kind of classifier. Its settings may be a class of its own below; where it needs none, ClassifierConfig."""

    settings: type[ClassifierConfig]
    network: str  # "module:class", called with (number of classes, settings); imported only where it is built
    smallest: int = 1  # px of the smallest images it can read


CLASSIFIERS: dict[str, Architecture] = {"cnn": Architecture(CnnConfig, "syntrial.classifiers.cnn:Cnn", smallest=16)}


def architecture_of(name: str) -> Architecture:
    """Raises ConfigError where there is no such classifier."""
    if name not in CLASSIFIERS:
        raise ConfigError(f"architecture is {name!r}; it may be {', '.join(CLASSIFIERS)}")
    return CLASSIFIERS[name]


def classifier_config(settings: dict[str, Any], where: str = "", above: str = "", **overrides: Any) -> ClassifierConfig:
    """The settings of the architecture that they name (default: cnn).

    Raises:
        ConfigError: an unknown architecture, a misspelt or impossible setting. `where` and `above`: as in Config.of.
    """
    given = {**settings, **overrides}
    try:
        kind = architecture_of(str(given.get("architecture", "cnn")))
    except ConfigError as error:
        place = f"{where}: " if where else ""
        raise ConfigError(f"{place}{above + '.' if above else ''}{error}") from None
    return kind.settings.of(given, where=where, above=above)
