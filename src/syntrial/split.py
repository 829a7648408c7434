"""Verb: an image set and a protocol -> the same images, each with its part: train, val or test.

`as_printed`: the GANs and the classifiers get every image; `pool` then lets a random share of all images validate, as
the paper did. `held_out`: whole groups (patients) train, validate or test, so that nobody is judged on who was seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from syntrial import atomic
from syntrial.config import SplitConfig
from syntrial.errors import ConfigError, DataError
from syntrial.imageset import ImageSet, Row, Writer, about_parent, refuse_leaky_parts
from syntrial.progress import Progress
from syntrial.reading.twins import shared_pictures
from syntrial.seeds import uniform_for

PROTOCOLS = ("as_printed", "held_out")
PARTS = {"as_printed": ("train",), "held_out": ("train", "val", "test")}


def split(
    images: str | Path, out: str | Path, *, protocol: str, config: SplitConfig, external: str | Path = ""
) -> dict[str, float]:
    """Divides `images`; the images of the set `external`, if it has any, join as the part "external", which never
    trains. Of those, whose pictures are among `images`, exactly or nearly, is held back with all of the group.

    A group's place depends on the seed and on the group alone: adding images never moves one that was there. Each class
    is divided by the same shares; a class that ends up without patients in a part is refused. Parts that the data's
    owner gave (a column of the manifest, a public set's own test folder) are kept: held out they are what they are
    called, as printed an official test image stays out altogether.

    Returns:
        Images in each part.

    Raises:
        ConfigError: an unknown protocol.
        DataError: a class without images in a part, or an external set of other classes or size, or with a class of
            which nothing is left.
        LeakError: a group that trains and is judged on.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"there is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    whole = ImageSet.open(images)
    whole.verify()
    rows = [replace(row, split=_part(row, protocol, config, _given_test(whole))) for row in whole.rows]
    _every_class_everywhere(rows, whole.classes, protocol)
    second = _Second.of(external, whole) if external else None
    progress = Progress("split", len(whole.rows), protocol=protocol, kind=f"{whole.side}px")
    with progress, atomic.new_folder(out) as draft:
        writer = Writer(draft, whole.side)
        writer.link(whole, rows)
        if second:
            writer.link(second.images, second.rows)
        about = writer.close(
            verb="split",
            classes=whole.classes,
            config=config.model_dump(),
            parents=[about_parent(images.about) for images in (whole, *([second.images] if second else []))],
            facts={
                "ingest": whole.about.get("ingest", {}),
                "external": second.facts if second else {},
                "division": _division(writer.rows, protocol, config),
            },
        )
        refuse_leaky_parts(ImageSet.open(draft))
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


@dataclass(frozen=True)
class _Second:
    """The second test set, with the rows it gets and what a report says of it."""

    images: ImageSet
    rows: list[Row]
    facts: dict[str, Any]

    @classmethod
    def of(cls, folder: str | Path, whole: ImageSet) -> _Second | None:
        """None where the set is empty. Raises DataError where it does not fit."""
        images = ImageSet.open(folder)
        if not images.rows:
            return None
        _fits(whole, images)
        shared = shared_pictures(whole, images)
        known = {images.rows[i].group for i in shared}
        rows = [replace(row, split="" if row.group in known else "external") for row in images.rows]
        told = _told(whole, images, shared)
        _every_class_left(rows, whole.classes, told)
        facts = dict(images.about.get("ingest", {}))
        if told:
            facts["warnings"] = [*facts.get("warnings", []), told]
        return cls(images, rows, facts)


def _fits(whole: ImageSet, second: ImageSet) -> None:
    if second.side != whole.side:
        raise DataError(f"the external set has images of {second.side} px, and this study of {whole.side}")
    strange = sorted({row.label for row in second.rows} - set(whole.classes))
    if strange:
        raise DataError(f"the external set has a class {strange[0]!r}; this study has {', '.join(whole.classes)}")


def _told(whole: ImageSet, second: ImageSet, shared: dict[int, int]) -> str:
    """Which pictures are in both sets, in a sentence."""
    if not shared:
        return ""
    there, here = next(iter(shared.items()))
    return (
        "Held back with all of their groups, because nearly the same pictures are among the images that are divided: "
        f"{len(shared)}, such as {second.rows[there].file} ({whole.rows[here].file})."
    )


def _every_class_left(rows: list[Row], classes: list[str], told: str) -> None:
    for label in classes:
        if not any(row.label == label and row.split for row in rows):
            raise DataError(
                f"the external set has no image of {label}; a second test set needs every class. {told}".rstrip(" .")
            )


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
