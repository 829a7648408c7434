"""The material of an arm: which rows of the pooled set are trained on, in which form, and which are evaluated.

Shapes: N images, S side.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from syntrial.arms import COPIES, PRESETS, REFERENCE, Recipe, recipe_of
from syntrial.config import AugmentConfig
from syntrial.errors import ConfigError, DataError
from syntrial.imageset import REAL, ImageSet, Row, refuse_leaks
from syntrial.training.augment import conventional
from syntrial.training.batches import as_float, as_grey
from syntrial.training.machine import reseed
from syntrial.training.seeds import seed_for, uniform_for
from syntrial.words import counted

PARTS = ("val", "test", "external")
CHUNK = 256  # images augmented at once; not a setting, because results depend on it


@dataclass(frozen=True)
class Part:
    """Images with their class indices and rows. Images are read by their position in the part."""

    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]]
    label_N: NDArray[np.int64]
    rows: list[Row]

    def chunks(self, length: int) -> Iterator[NDArray[np.uint8]]:
        """All images in order, in chunks of at most `length`."""
        for start in range(0, len(self.rows), length):
            yield self.read(np.arange(start, min(start + length, len(self.rows))))


@dataclass(frozen=True)
class Material:
    """The images that one arm is trained and evaluated on."""

    arm: str  # its name
    protocol: str
    digest: str  # of the whole material
    side: int
    classes: list[str]
    train: Part
    judged: dict[str, Part]  # the other PARTS that have images, by name
    online: AugmentConfig | None  # augmentation of every batch
    original_images: int  # number of training images of the arm `original`
    validation: dict[str, int]
    ancestors: set[tuple[str, str]]  # (sha256, group) of the real images it trains on, those of its generators included
    recipe: Recipe = PRESETS[REFERENCE]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of images by part and source."""
        parts = {"train": self.train, **self.judged}
        return {name: dict(sorted(Counter(row.source for row in part.rows).items())) for name, part in parts.items()}


def material_of(whole: ImageSet, arm: str, augmentation: AugmentConfig, device: torch.device) -> Material:
    """The material of an arm, chosen from a pooled (or divided) set. The arm is as parsed by syntrial.arms.recipe_of.

    Raises:
        ConfigError: an arm that cannot be parsed, or a dose that means no images or more images than were drawn.
        DataError: the set is not divided, or has no images of a generator that the arm needs.
        LeakError: an image to be evaluated was trained on. As printed only external images are checked, because that
            protocol evaluates on training images.
    """
    name, recipe = recipe_of(arm)
    protocol = whole.about.get("division", {}).get("protocol")
    if protocol is None:
        raise DataError(f"{whole.folder} is not divided into parts; use the verbs split and pool")
    used = _rows_of(whole, name, recipe, protocol, augmentation.copies)
    positions = {part: [i for i, split in used if split == part] for part in ("train", *PARTS)}
    refuse_leaks(
        whole,
        positions["train"],
        [i for part in PARTS if protocol == "held_out" or part == "external" for i in positions[part]],
    )
    parts = {part: _part(whole, chosen) for part, chosen in positions.items() if chosen or part in ("train", "val")}
    if recipe.augment == "instead":
        parts["train"] = _augmented(parts["train"], augmentation, "train", device)
        if protocol == "as_printed":  # the paper's D2 is augmented as a whole, and a share of the result validates
            parts["val"] = _augmented(parts["val"], augmentation, "val", device)
    return Material(
        arm=name,
        recipe=recipe,
        protocol=protocol,
        digest=_digest(whole, recipe, protocol, augmentation),
        side=whole.side,
        classes=whole.classes,
        train=parts.pop("train"),
        judged=parts,
        online=augmentation if recipe.augment == "online" else None,
        original_images=len(whole.where(source=REAL, split="train")),
        validation=_validation(whole, used),
        ancestors=whole.ancestors(positions["train"]),
    )


def _digest(whole: ImageSet, recipe: Recipe, protocol: str, augmentation: AugmentConfig) -> str:
    """Of all that decides what trains, in which order labels are numbered, and what validates."""
    _, validating = _copied(whole, protocol)
    changes = augmentation.model_dump() if recipe.augment else ""
    return f"{whole.digest} {whole.classes} {protocol} {validating} {recipe.computes} {changes}"


def _rows_of(whole: ImageSet, name: str, recipe: Recipe, protocol: str, copies: int) -> list[tuple[int, str]]:
    """(position, part) of each row that an arm uses; a row may be used several times."""
    idle = ("", "train") if recipe.use == "alone" else ("",)  # the parts whose real images the arm leaves out
    used = [(i, row.split) for i, row in enumerate(whole.rows) if row.source == REAL and row.split not in idle]
    if recipe.augment == "instead":
        used += _further_copies(whole, protocol, copies)
    if recipe.add == COPIES:
        used += _duplicates(whole, name, recipe, protocol)
    elif recipe.add:
        used += _drawn(whole, name, recipe, protocol)
    return used


def _drawn(whole: ImageSet, name: str, recipe: Recipe, protocol: str) -> list[tuple[int, str]]:
    """The images of a generator, in the order of the set. With a dose, only the first images of each class, so that a
    smaller dose is a subset of a larger one.
    """
    drawn = [(i, row.split) for i, row in enumerate(whole.rows) if row.source.startswith(f"{recipe.generator}/")]
    if not drawn:
        raise DataError(f"{whole.folder} has no images of a {recipe.generator} generator, which {recipe.title} needs")
    if recipe.dose is None:
        return drawn
    left = {label: _dosed(whole, name, recipe.dose, label, protocol) for label in whole.classes}
    found = Counter(whole.rows[i].label for i, _ in drawn)
    for label, wanted in left.items():
        if wanted > found[label]:
            raise ConfigError(
                f"arm {name} needs {counted(wanted, f'{recipe.generator} image')} of {label} (dose {recipe.dose:g}), "
                f"and {found[label]} were drawn; raise images_per_class to at least {wanted}, or lower the dose"
            )
    chosen = []
    for i, split in drawn:
        left[whole.rows[i].label] -= 1
        if left[whole.rows[i].label] >= 0:
            chosen.append((i, split))
    return chosen


def _dosed(whole: ImageSet, name: str, dose: float, label: str, protocol: str) -> int:
    """Number of images in `dose` times the real images of a class that may be trained on. As printed these include
    validation images, because a share of the added images validates too.
    """
    real = len(_learning(whole, label, protocol))
    if not round(dose * real):
        raise ConfigError(f"arm {name}: a dose of {dose:g} of {real} real images of {label} is no image; raise it")
    return round(dose * real)


def _learning(whole: ImageSet, label: str, protocol: str) -> list[int]:
    copied, _ = _copied(whole, protocol)
    return [i for i in whole.where(label=label, source=REAL) if whole.rows[i].split in copied]


def _further_copies(whole: ImageSet, protocol: str, copies: int) -> list[tuple[int, str]]:
    """Replaces each row by `copies` copies. As printed a random share of the copies validates, whatever the part of the
    image itself.
    """
    copied, validating = _copied(whole, protocol)
    return [
        (i, "val" if uniform_for("copies", whole.rows[i].sha256, copy) < validating else "train")
        for copy in range(1, copies)
        for i in whole.where(source=REAL)
        if whole.rows[i].split in copied
    ]


def _copied(whole: ImageSet, protocol: str) -> tuple[tuple[str, ...], float]:
    """The parts whose images may be copied, and the share of the copies used for validation."""
    validating = whole.about["config"].get("val_share", 0.0) if protocol == "as_printed" else 0.0
    return (("train", "val") if validating else ("train",)), validating


def _duplicates(whole: ImageSet, name: str, recipe: Recipe, protocol: str) -> list[tuple[int, str]]:
    """Copies of real images, class by class: as many as the dose requires; without a dose, as many as one generator
    adds (without generators: one copy of each).

    Held out, only training images are copied, for training. As printed, any image may be copied, and a random share of
    the copies validates, like generated images under that protocol.
    """
    _, validating = _copied(whole, protocol)
    used: list[tuple[int, str]] = []
    for label in whole.classes:
        real = _learning(whole, label, protocol)
        kinds = Counter(row.source.partition("/")[0] for row in whole.rows if row.label == label and row.source != REAL)
        drawn = max(kinds.values(), default=len(real))
        wanted = drawn if recipe.dose is None else _dosed(whole, name, recipe.dose, label, protocol)
        for number, i in zip(range(wanted), _laps(whole, real), strict=False):
            used.append((i, "val" if uniform_for("duplicates", label, number) < validating else "train"))
    return used


def _laps(whole: ImageSet, positions: list[int]) -> Iterator[int]:
    """An endless sequence of the positions: shuffled passes, each with an order of its own."""
    for lap in itertools.count():
        yield from (i for _, i in sorted((seed_for("duplicates", lap, whole.rows[i].sha256), i) for i in positions))


def _part(whole: ImageSet, positions: list[int]) -> Part:
    places, rows = np.asarray(positions, dtype=np.int64), [whole.rows[i] for i in positions]
    labels = np.array([whole.classes.index(row.label) for row in rows], dtype=np.int64)
    return Part(lambda chosen: whole.pixels(places[chosen]), labels, rows)


def _augmented(part: Part, augmentation: AugmentConfig, name: str, device: torch.device) -> Part:
    """A part with each image replaced by an augmented copy, computed once."""
    copies = []
    for number, images in enumerate(part.chunks(CHUNK)):
        reseed(device, "augmented", name, 0, number)  # with the 0 that published figures were drawn with
        changed = conventional(as_float(torch.from_numpy(images).to(device)), augmentation)
        copies.append(as_grey(changed).cpu().numpy())
    whole = np.concatenate(copies)
    return Part(
        lambda chosen: whole[chosen], part.label_N, [replace(row, file=f"augmented {row.file}") for row in part.rows]
    )


def _validation(whole: ImageSet, used: list[tuple[int, str]]) -> dict[str, int]:
    """Counts of the validation part: images, synthetic images, and real images that the arm was trained on, directly or
    through a generator.
    """
    validating = [whole.rows[i] for i, split in used if split == "val"]
    generators = {whole.rows[i].source for i, _ in used} - {REAL}
    seen = {sha for name in generators for sha, _ in whole.lineage[name]}
    trained = {whole.rows[i].sha256 for i, split in used if split == "train"}
    return {
        "images": len(validating),
        "synthetic": sum(row.source != REAL for row in validating),
        "seen_by_generators": sum(row.source == REAL and row.sha256 in seen for row in validating),
        "also_trained": sum(row.source == REAL and row.sha256 in trained for row in validating),
        "groups_that_train": len(
            {row.group for row in validating if row.source == REAL}
            & {whole.rows[i].group for i, split in used if split == "train" and whole.rows[i].source == REAL}
        ),
    }


def describe(material: Material) -> dict[str, Any]:
    """The description of a material, as JSON values."""
    return {"counts": material.counts, "validation": material.validation, "train_images": len(material.train.rows)}
