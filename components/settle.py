"""A study and what was turned for this run -> the study as it runs."""

from components._base import component


@component("settle")
def settle(study: dict, classes: list, side: int, arms: list, seeds: list, images_per_class: int, epochs: str) -> dict:
    """`epochs` states changes of the form NAME=NUMBER with spaces between them."""
    from syntrial.settle import settle

    return settle(
        study, classes=classes, side=side, arms=arms, seeds=seeds, images_per_class=images_per_class, epochs=epochs
    )
