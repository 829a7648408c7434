"""Verb: an image set and a protocol -> the same images, each with its part: train, val or test.

`as_printed`: generators and classifiers get every image; `pool` then lets a random share of all images validate, as the
paper did. `held_out`: whole groups (patients) train, validate or test, so that only unseen patients are judged on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from syntrial.arms import PROTOCOLS
from syntrial.config import SplitConfig
from syntrial.errors import ConfigError, DataError, LeakError
from syntrial.imageset import ImageSet, Row, Writer, about_parent, refuse_leaky_parts
from syntrial.progress import Progress
from syntrial.reading.twins import shared_pictures
from syntrial.store import atomic
from syntrial.training.seeds import uniform_for

PARTS = {"as_printed": ("train",), "held_out": ("train", "val", "test")}


def split(
    images: str | Path, out: str | Path, *, protocol: str, config: SplitConfig, external: str | Path = ""
) -> dict[str, float]:
    """Divides `images`. The images of the set `external`, if it has any, join as the part "external", which never
    trains. Groups of `external` with a picture that is also in `images`, exactly or nearly, are held back.

    The part of a group depends on the seed and on the group alone: adding images never moves an image that was there,
    unless they are the first to which the owner gives `val` or `test`. Each class is divided by the same shares; a
    class that would have no patients in a part, under either protocol, is refused. Parts that the data's owner gave (a
    column of the manifest, a public set's own test folder) are kept: held out as they are named, as printed an official
    test image stays out altogether. Where no image was given `val`, held out a share of the groups given `train`
    validates; they never test.

    Returns:
        Images in each part.

    Raises:
        ConfigError: an unknown protocol.
        DataError: images that are divided already, a class without images in a part, or an external set of other
            classes or side, or one in which a class has no image left.
        LeakError: a group that trains and is judged on, or is in two parts.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"there is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    whole = ImageSet.open(images)
    if "division" in whole.about:
        raise DataError(f"{images} is divided already; split wants the set as ingest wrote it")
    whole.verify()
    rows = _divided(whole, config)[protocol]
    second = _Second.of(external, whole) if external else None
    progress = Progress("split", len(whole.rows), protocol=protocol, kind=f"{whole.side}px")
    with progress, atomic.new_folder(out) as draft:
        writer = Writer(draft, whole.side)
        writer.link(whole, rows)
        if second:
            writer.link(second.images, second.rows)
        division = _division(writer.rows, protocol, config)
        writer.close(
            verb="split",
            classes=whole.classes,
            config=config.model_dump(),
            parents=[about_parent(images.about) for images in (whole, *([second.images] if second else []))],
            facts={
                "ingest": whole.about.get("ingest", {}),
                "external": second.facts if second else {},
                "division": division,
            },
        )
        refuse_leaky_parts(ImageSet.open(draft))
        progress.update(len(writer.rows))
    return {f"{part}_images": float(count) for part, count in division["images"].items()}


def _divided(whole: ImageSet, config: SplitConfig) -> dict[str, list[Row]]:
    """The rows under each protocol. A study needs both, so a division that one refuses is refused at once."""
    given = {row.split for row in whole.rows}
    divided = {name: [replace(row, split=_part(row, name, config, given)) for row in whole.rows] for name in PROTOCOLS}
    for protocol, rows in divided.items():
        _every_class_everywhere(rows, whole, protocol, given)
        _every_group_in_one_part(rows)
    return divided


def _part(row: Row, protocol: str, config: SplitConfig, given: set[str]) -> str:
    """The part of a row; "" where it has none. `given`: the parts that the owner gave to any row."""
    parts = _open_to(row, protocol, given)
    if len(parts) < 2:
        return "".join(parts)
    # One scale for all rows of a group, so that it validates or not whichever of them were given `train`.
    place = uniform_for("split", config.seed, row.group)
    if "test" not in given:
        place -= config.test_share
    if place < 0:
        return "test" if "test" in parts else "train"
    return "val" if place < config.val_share else "train"


def _open_to(row: Row, protocol: str, given: set[str]) -> tuple[str, ...]:
    """The parts that a row may be put in; among several, the position of its group decides."""
    if protocol == "as_printed":
        return () if row.split == "test" else ("train",)
    if row.split == "train" and "val" not in given:
        return ("train", "val")
    if row.split:
        return (row.split,)
    return ("train", "val") if "test" in given else ("train", "val", "test")


def _every_class_everywhere(rows: list[Row], whole: ImageSet, protocol: str, given: set[str]) -> None:
    for part in PARTS[protocol]:
        for label in whole.classes:
            if not any(row.label == label and row.split == part for row in rows):
                own = [row for row in whole.rows if row.label == label]
                raise DataError(f"{protocol}: no image of {label} is in {part}; {_why(own, part, protocol, given)}")


def _why(own: list[Row], part: str, protocol: str, given: set[str]) -> str:
    """Why a part has no image of a class, and what to change."""
    if own and not any(part in _open_to(row, protocol, given) for row in own):
        return f"the data give all of them other parts: give some of their patients {part}, for instance in a manifest"
    return "there are too few patients for these shares: give more patients, a larger share, or another split.seed"


def _every_group_in_one_part(rows: list[Row]) -> None:
    home: dict[str, str] = {}
    for row in rows:
        if row.split and home.setdefault(row.group, row.split) != row.split:
            raise LeakError(
                f"patient {row.group} is in {home[row.group]} and in {row.split} ({row.file}); "
                "give all of a patient's images the same part"
            )


@dataclass(frozen=True)
class _Second:
    """The second test set, with its new rows and the facts that a report shows."""

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
        warning = _warning(whole, images, shared)
        _every_class_left(rows, whole.classes, warning)
        facts = dict(images.about.get("ingest", {}))
        if warning:
            facts["warnings"] = [*facts.get("warnings", []), warning]
        return cls(images, rows, facts)


def _fits(whole: ImageSet, second: ImageSet) -> None:
    if second.side != whole.side:
        raise DataError(f"the external set has images of {second.side} px; this study has {whole.side} px")
    strange = sorted({row.label for row in second.rows} - set(whole.classes))
    if strange:
        raise DataError(f"the external set has a class {strange[0]!r}; this study has {', '.join(whole.classes)}")


def _warning(whole: ImageSet, second: ImageSet, shared: dict[int, int]) -> str:
    """The pictures that are in both sets, in a sentence; "" for none."""
    if not shared:
        return ""
    there, here = next(iter(shared.items()))
    return (
        "Held back with their whole groups, because nearly the same pictures are among the study's own images: "
        f"{len(shared)}, such as {second.rows[there].file} ({whole.rows[here].file})."
    )


def _every_class_left(rows: list[Row], classes: list[str], warning: str) -> None:
    for label in classes:
        if not any(row.label == label and row.split for row in rows):
            raise DataError(
                f"the external set has no image of {label}; a second test set needs every class. {warning}".rstrip(" .")
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
