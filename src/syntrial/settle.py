"""Verb: a study and the parameters of one run -> the study as it runs."""

from __future__ import annotations

import copy
from typing import Any

from syntrial.config import StudyConfig, change
from syntrial.errors import ConfigError


def settle(
    study: dict[str, Any],
    *,
    classes: list[str],
    side: int,
    arms: list[str],
    seeds: list[int],
    images_per_class: int,
    epochs: str,
) -> dict[str, Any]:
    """Returns the whole study, with every setting, as plain values.

    Args:
        study: all settings that are not parameters.
        classes, side, arms, seeds, images_per_class: the parameters of this run.
        epochs: settings of the form NAME=NUMBER, separated by spaces, such as "generators.simple.epochs=5": one for
            each generator that the pipeline trains.

    Raises:
        ConfigError: a setting is misspelt, invalid or contradicts another, or an arm adds images of a generator that
            the pipeline does not train.
    """
    turned = {"classes": classes, "side": side, "arms": arms, "seeds": seeds, "images_per_class": images_per_class}
    content = {**copy.deepcopy(study), **turned}
    for one in epochs.split():
        change(content, one)
    settled = StudyConfig.of(content)
    _refuse_untrained(settled, [one.split(".")[1] for one in epochs.split() if one.startswith("generators.")])
    return settled.model_dump(mode="json")


def _refuse_untrained(study: StudyConfig, trained: list[str]) -> None:
    for arm, recipe in study.recipes.items():
        if recipe.generator and recipe.generator not in trained:
            raise ConfigError(
                f"arm {arm} adds images of {recipe.generator}, which this pipeline does not train (it trains "
                f"{', '.join(trained) or 'none'}); submit the study with this arm"
            )
