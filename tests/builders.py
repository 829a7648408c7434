"""Small sets of real X-rays, divided and pooled, as inputs of tests."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from syntrial.config import SplitConfig
from syntrial.imageset import ImageSet, Row, Writer, sha256_of
from syntrial.pool import pool
from syntrial.split import split
from syntrial.store import atomic

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
CLASSES = ["normal", "pneumonia"]


def pictures(label: str, count: int, side: int = 32) -> list[np.ndarray]:
    """The first X-rays (or faces) of the sample, resized."""
    folder = SAMPLE / "faces" if label == "faces" else SAMPLE / "xray" / label
    paths = sorted(folder.glob("*.png"))[:count]
    return [np.asarray(Image.open(path).convert("L").resize((side, side))) for path in paths]


def write(folder: Path, rows: list[tuple[np.ndarray, Row]], classes: list[str], **about) -> Path:
    """Writes an image set in the form in which a verb does."""
    lineage = about.pop("lineage", {})
    with atomic.new_folder(folder) as draft:
        writer = Writer(draft, rows[0][0].shape[0] if rows else 32)
        for image, row in rows:
            writer.add(image, replace(row, sha256=row.sha256 or sha256_of(image)))
        writer.close(
            verb=about.pop("verb", "ingest"), classes=classes, config={}, parents=[], lineage=lineage, facts=about
        )
    return folder


def real_set(folder: Path, count: int = 20, per_patient: int = 2, side: int = 32, classes=CLASSES) -> Path:
    """`count` X-rays of each class, `per_patient` of each patient."""
    rows = [
        (image, Row("", label, f"{label}-{number // per_patient}", file=f"{label}/{number}.png"))
        for label in classes
        for number, image in enumerate(pictures(label, count, side))
    ]
    return write(folder, rows, list(classes))


def drawn_set(folder: Path, real: Path, kind: str, label: str, count: int, seen: str | None = "train") -> Path:
    """`count` images as if drawn by a generator trained on the rows of the part `seen` (None: all rows)."""
    images = ImageSet.open(real)
    name = f"{kind}/{label}"
    ancestors = images.ancestors(images.where(label=label, split=seen))
    generator = np.random.default_rng(len(name))
    rows = [
        (
            generator.integers(0, 256, (images.side, images.side)).astype(np.uint8),
            Row("", label, name, name, "", f"{name}/{i}"),
        )
        for i in range(count)
    ]
    facts = {"generator": {"name": name, "kind": kind, "label": label}}
    return write(folder, rows, images.classes, verb="synthesize", lineage={name: ancestors}, **facts)


def pooled_set(
    folder: Path, protocol: str, count: int = 20, drawn: int = 6, kinds=("simple", "transfer"), **config
) -> Path:
    """A divided real set with the images of one generator per class and kind."""
    settings = SplitConfig(**{"val_share": 0.25, "test_share": 0.25, **config})
    split(real_set(folder / "real", count), folder / "parts", protocol=protocol, config=settings)
    sets = [
        drawn_set(folder / f"{kind}-{label}", folder / "parts", kind, label, drawn)
        for kind in kinds
        for label in CLASSES
    ]
    pool(folder / "parts", sets, folder / "pool", config=settings)
    return folder / "pool"
