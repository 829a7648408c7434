"""Verb: the divided real images and every synthetic set -> one image set that gives each row its part.

As printed, a random share of all rows validates, synthetic ones included. Held out, synthetic rows only train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from syntrial.config import SplitConfig
from syntrial.errors import DataError
from syntrial.imageset import REAL, ImageSet, Lineage, Row, Writer, about_parent, refuse_leaky_parts
from syntrial.progress import Progress
from syntrial.store import atomic
from syntrial.training.seeds import uniform_for


def pool(
    real: str | Path, synthetic: Sequence[str | Path], out: str | Path, *, config: SplitConfig
) -> dict[str, float]:
    """Joins the sets without copying pixels; the protocol is that of the division of `real`.

    Returns:
        The numbers of real and synthetic images, and of those that validate.

    Raises:
        DataError: `real` is not divided, a synthetic set was not drawn by a generator or has another side or class, or
            two come from generators of one name.
        LeakError: a generator was trained on images that are judged on.
    """
    divided = ImageSet.open(real)
    drawn = [ImageSet.open(folder) for folder in synthetic]
    protocol = divided.about.get("division", {}).get("protocol")
    if protocol is None:
        raise DataError(f"{real} is not divided into parts; divide it with the verb split")
    _refuse_strange(divided, drawn)
    total = len(divided.rows) + sum(len(images.rows) for images in drawn)
    with Progress("pool", total, protocol=protocol) as progress, atomic.new_folder(out) as draft:
        writer = Writer(draft, divided.side)
        for images in (divided, *drawn):
            writer.link(images, [replace(row, split=_part(row, protocol, config)) for row in images.rows])
        writer.close(
            verb="pool",
            classes=divided.classes,
            config=config.model_dump(),
            parents=[about_parent(images.about) for images in (divided, *drawn)],
            lineage=_joined(drawn),
            facts=_facts(divided, drawn),
        )
        refuse_leaky_parts(ImageSet.open(draft))
        progress.update(total)
    return _numbers(writer.rows)


def _facts(divided: ImageSet, drawn: list[ImageSet]) -> dict[str, Any]:
    about_generators = [images.about["generator"] for images in drawn]
    return {
        **{key: divided.about[key] for key in ("ingest", "external", "division")},
        "generators": {about["name"]: about for about in about_generators},
    }


def _numbers(rows: list[Row]) -> dict[str, float]:
    validating = [row for row in rows if row.split == "val"]
    synthetic = sum(row.source != REAL for row in rows)
    return {
        "real_images": float(len(rows) - synthetic),
        "synthetic_images": float(synthetic),
        "validation_images": float(len(validating)),
        "validation_synthetic_images": float(sum(row.source != REAL for row in validating)),
    }


def _refuse_strange(divided: ImageSet, drawn: list[ImageSet]) -> None:
    for images in drawn:
        if "generator" not in images.about:
            raise DataError(f"{images.folder} was not drawn by a generator; give sets that the verb synthesize wrote")
        strange = sorted({row.label for row in images.rows} - set(divided.classes))
        if strange:
            known = ", ".join(divided.classes)
            raise DataError(f"{images.folder} has a class {strange[0]!r}; {divided.folder} has {known}")


def _part(row: Row, protocol: str, config: SplitConfig) -> str:
    if protocol == "held_out":
        return "train" if row.source != REAL else row.split
    if row.split not in ("", "train") or (row.source == REAL and row.split == ""):
        return row.split
    # By the image alone, so that the images which arms share validate in every arm or in none.
    return "val" if uniform_for("validate", config.seed, row.sha256) < config.val_share else "train"


def _joined(drawn: list[ImageSet]) -> Lineage:
    lineage: Lineage = {}
    for images in drawn:
        for name, ancestors in images.lineage.items():
            if name in lineage:
                raise DataError(f"two synthetic sets come from a generator named {name}; each needs a name of its own")
            lineage[name] = ancestors
    return lineage
