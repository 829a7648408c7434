"""Predictions on disk: one row per classifier and image, read by syntrial.reporting.outcomes."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syntrial.imageset import Row

FACTS = ("seed", "split", "sha256", "group", "label", "source")  # then p_CLASS, the probability of each class


def prediction_rows(seed: int, part: str, rows: list[Row], prob_NK: NDArray[np.float64]) -> Iterator[tuple[Any, ...]]:
    """The predictions of one classifier for the images of one part."""
    for row, chances in zip(rows, prob_NK.tolist(), strict=True):
        yield (seed, part, row.sha256, row.group, row.label, row.source, *map(repr, chances))


def write_predictions(path: Path, classes: list[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes all rows under a header."""
    write_table(path, (*FACTS, *(f"p_{label}" for label in classes)), rows)


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """A CSV file whose line ends are the same on every system."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
