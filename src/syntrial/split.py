"""Verb: an image set and a protocol -> the same images, each with its part: train, val or test.

`as_printed`: the GANs and the classifiers get every image; `pool` then lets a random share of all images validate, as
the paper did. `held_out`: whole groups (patients) train, validate or test, so that nobody is judged on who was seen.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from syntrial import atomic
from syntrial.config import SplitConfig
from syntrial.errors import ConfigError, DataError
from syntrial.imageset import ImageSet, Row, Writer, about_parent
from syntrial.progress import Progress
from syntrial.seeds import uniform_for

PROTOCOLS = ("as_printed", "held_out")
PARTS = {"as_printed": ("train",), "held_out": ("train", "val", "test")}


def split(
    images: str | Path, out: str | Path, *, protocol: str, config: SplitConfig, external: str | Path = ""
) -> dict[str, float]:
    """Divides `images`; the images of the set `external`, if it has any, join as the part "external", which never
    trains.

    A group's place depends on the seed and on the group alone: adding images never moves one that was there. Each class
    is divided by the same shares; a class that ends up without patients in a part is refused. Parts that the data's
    owner gave (a column of the manifest, a public set's own test folder) are kept: held out they are what they are
    called, as printed an official test image stays out altogether.

    Returns:
        Images in each part.

    Raises:
        ConfigError: an unknown protocol.
        DataError: a class without images in a part, or an external set of other classes or size.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"there is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    whole = ImageSet.open(images)
    whole.verify()
    rows = [replace(row, split=_part(row, protocol, config, _given_test(whole))) for row in whole.rows]
    _every_class_everywhere(rows, whole.classes, protocol)
    second = ImageSet.open(external) if external else None
    parents = [about_parent(whole.about)]
    progress = Progress("split", len(whole.rows), protocol=protocol, kind=f"{whole.side}px")
    with progress, atomic.new_folder(out) as draft:
        writer = Writer(draft, whole.side)
        writer.link(whole, rows)
        if second is not None and second.rows:
            _fits(whole, second)
            parents.append(about_parent(second.about))
            writer.link(second, [replace(row, split="external") for row in second.rows])
        about = writer.close(
            verb="split",
            classes=whole.classes,
            config=config.model_dump(),
            parents=parents,
            facts={
                "ingest": whole.about.get("ingest", {}),
                "external": second.about.get("ingest", {}) if second is not None and second.rows else {},
                "division": _division(writer.rows, protocol, config),
            },
        )
        progress.update(len(writer.rows))
    return {f"{part}_images": float(count) for part, count in about["division"]["images"].items()}


def _given_test(images: ImageSet) -> bool:
    return any(row.split == "test" for row in images.rows)


def _part(row: Row, protocol: str, config: SplitConfig, test_is_given: bool) -> str:
    """Where a row belongs; "" where it takes no part."""
    if protocol == "as_printed":
        return "" if row.split == "test" else "train"
    if row.split:
        return row.split
    place = uniform_for("split", config.seed, row.group)
    if not test_is_given:
        if place < config.test_share:
            return "test"
        place -= config.test_share
    return "val" if place < config.val_share else "train"


def _every_class_everywhere(rows: list[Row], classes: list[str], protocol: str) -> None:
    for part in PARTS[protocol]:
        for label in classes:
            if not any(row.label == label and row.split == part for row in rows):
                raise DataError(
                    f"{protocol}: no image of {label} falls into {part}; "
                    "there are too few patients for these shares: give more, a larger share, or another split.seed"
                )


def _fits(whole: ImageSet, second: ImageSet) -> None:
    strange = sorted({row.label for row in second.rows} - set(whole.classes))
    if strange:
        raise DataError(f"the external set has a class {strange[0]!r}; this study has {', '.join(whole.classes)}")
    missing = sorted(set(whole.classes) - {row.label for row in second.rows})
    if missing:
        raise DataError(f"the external set has no image of {missing[0]}; a second test set needs every class")


def _division(rows: list[Row], protocol: str, config: SplitConfig) -> dict[str, Any]:
    parts = [part for part in ("train", "val", "test", "external") if any(row.split == part for row in rows)]
    return {
        "protocol": protocol,
        "seed": config.seed,
        "val_share": config.val_share,
        "test_share": config.test_share,
        "images": {part: sum(row.split == part for row in rows) for part in parts},
        "groups": {part: len({row.group for row in rows if row.split == part}) for part in parts},
        "left_out": sum(row.split == "" for row in rows),
    }
