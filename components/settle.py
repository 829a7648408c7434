"""A study and the parameters of this run -> the study as it runs."""

from components._base import component


@component("settle")
def settle(study: dict, classes: list, side: int, arms: list, seeds: list, images_per_class: int, epochs: str) -> dict:
    """`epochs` holds settings of the form NAME=NUMBER, separated by spaces."""
    from syntrial.settle import settle

    return settle(
        study, classes=classes, side=side, arms=arms, seeds=seeds, images_per_class=images_per_class, epochs=epochs
    )
