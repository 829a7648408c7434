"""Verb: a study and what was turned for one run -> the study as it runs."""

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
    """The whole study, every setting stated, as plain values.

    Args:
        study: its other settings.
        classes, side, arms, seeds, images_per_class: those of this run.
        epochs: changes of the form NAME=NUMBER with spaces between them, such as "generators.simple.epochs=5".

    Raises:
        ConfigError: one sentence: a setting that is misspelt, impossible or contradicts another.
    """
    turned = {"classes": classes, "side": side, "arms": arms, "seeds": seeds, "images_per_class": images_per_class}
    content = {**copy.deepcopy(study), **turned}
    for one in epochs.split():
        change(content, one)
    return StudyConfig.of(content).model_dump(mode="json")
