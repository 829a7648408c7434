"""The registry of classifiers: the settings of each and where its network is. Read without torch, as every study is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from syntrial.config import ClassifierConfig, CnnConfig
from syntrial.errors import ConfigError


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
