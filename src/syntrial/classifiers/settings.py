"""The registry of classifiers: the settings of each, and the module of its network. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from syntrial.errors import ConfigError
from syntrial.settings import UNSAID, Config, setting


class ClassifierConfig(Config):
    """The settings that every architecture has, the same for every arm. Subclasses add those of one architecture."""

    architecture: str = setting("cnn", "a key of syntrial.classifiers.settings.CLASSIFIERS", UNSAID)
    epochs: int = setting(20, "passes over the arm `original`", UNSAID + "; more than 7, as its figure 10 shows", ge=1)
    batch: int = setting(32, "images per batch", UNSAID + "; Keras' default", ge=2)
    lr: float = setting(1e-3, "Adam's learning rate", UNSAID + "; Keras' default", gt=0, le=10)
    schedule: Literal["cosine", "constant"] = setting(
        "cosine",
        "schedule of the learning rate: cosine falls to 0, constant does not change",
        UNSAID + "; with a constant one the last figures depend on the last few batches (Loshchilov and Hutter 2017)",
    )
    weight_decay: float = setting(0.0, "AdamW's weight decay, per step and learning rate", UNSAID, ge=0)


class CnnConfig(ClassifierConfig):
    """A plain convolutional network with global average pooling, so it accepts any side."""

    width: int = setting(32, "channels of the first block; doubled twice", UNSAID, ge=4, le=1024)
    dropout: float = setting(0.3, "dropout rate before the last layer", UNSAID, ge=0, lt=1)


@dataclass(frozen=True)
class Architecture:
    """A kind of classifier. Its settings are a subclass below or, without settings of its own, ClassifierConfig."""

    settings: type[ClassifierConfig]
    network: str  # "module:class", called with (number of classes, settings); imported only when it is built
    smallest: int = 1  # px; side of the smallest images it accepts


CLASSIFIERS: dict[str, Architecture] = {"cnn": Architecture(CnnConfig, "syntrial.classifiers.cnn:Cnn", smallest=16)}


def architecture_of(name: str) -> Architecture:
    """The entry of an architecture. Raises ConfigError if it is unknown."""
    if name not in CLASSIFIERS:
        raise ConfigError(f"architecture is {name!r}; it may be {', '.join(CLASSIFIERS)}")
    return CLASSIFIERS[name]


def classifier_config(settings: dict[str, Any], where: str = "", above: str = "", **overrides: Any) -> ClassifierConfig:
    """The settings, of the class for their architecture (default: cnn). `where` and `above` are those of Config.of.

    Raises:
        ConfigError: an unknown architecture, or a misspelt or invalid setting.
    """
    given = {**settings, **overrides}
    try:
        kind = architecture_of(str(given.get("architecture", "cnn")))
    except ConfigError as error:
        place = f"{where}: " if where else ""
        raise ConfigError(f"{place}{above + '.' if above else ''}{error}") from None
    return kind.settings.of(given, where=where, above=above)
