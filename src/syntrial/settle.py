"""Verb: a study and the parameters of one run -> the study as it runs."""

from __future__ import annotations

import copy
from typing import Any

from syntrial.config import StudyConfig, change


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
        epochs: settings of the form NAME=NUMBER, separated by spaces, such as "generators.simple.epochs=5".

    Raises:
        ConfigError: a setting is misspelt, invalid or contradicts another.
    """
    turned = {"classes": classes, "side": side, "arms": arms, "seeds": seeds, "images_per_class": images_per_class}
    content = {**copy.deepcopy(study), **turned}
    for one in epochs.split():
        change(content, one)
    return StudyConfig.of(content).model_dump(mode="json")
