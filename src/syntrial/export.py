"""Verb: an image set -> a plain folder of PNGs; a trained classifier -> weights and ONNX. Both are for other tools."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path, PurePosixPath

from PIL import Image

from syntrial.imageset import COLUMNS, REAL, ImageSet, Pixels, Row, about_parent
from syntrial.progress import Progress
from syntrial.store import atomic
from syntrial.store.uris import parts_of

CHUNK = 256  # images in memory at once


def export(what: str | Path, out: str | Path) -> dict[str, float]:
    """Exports an image set (see export_images) or a trained classifier (see classifiers.exported).

    Raises:
        DataError: `what` is neither, or a class name cannot be the name of a folder.
    """
    if (Path(what) / "weights.safetensors").exists():
        from syntrial.classifiers.exported import export_classifier  # image sets are exported without torch

        return export_classifier(what, out)
    return export_images(what, out)


def export_images(images: str | Path, out: str | Path) -> dict[str, float]:
    """Writes every image to `out`/part/source/class/, `index.csv` with one row per image in the order of the set, and
    `about.json`.

    The folder of the part is left out if the set is not divided; rows without a part are in "unused". The folder of the
    source ("real" or the kind of generator) is left out if all images are real.

    Returns:
        The number of images.

    Raises:
        DataError: `images` is not an image set, or a class name cannot be the name of a folder.
    """
    whole = ImageSet.open(images)
    names = _names(whole.rows)
    with Progress("export", len(names)) as progress, atomic.new_folder(out) as draft:
        for folder in {PurePosixPath(name).parent for name in names}:
            (draft / folder).mkdir(parents=True, exist_ok=True)
        for done, (name, image) in enumerate(zip(names, _each(whole), strict=True), start=1):
            Image.fromarray(image).save(draft / name)
            progress.update(done)
        with open(draft / "index.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("png", *COLUMNS))
            table.writerows((name, *astuple(row)) for name, row in zip(names, whole.rows, strict=True))
        about = {"verb": "export", "images": len(names), "parents": [about_parent(whole.about)]}
        atomic.write_json(draft / "about.json", about)
    return {"images": float(len(names))}


def _names(rows: list[Row]) -> list[str]:
    divided, mixed = any(row.split for row in rows), any(row.source != REAL for row in rows)
    names = []
    for number, row in enumerate(rows):
        above = [row.split or "unused"] * divided + [row.source.partition("/")[0]] * mixed
        names.append("/".join(parts_of("/".join([*above, row.label, f"{number:06d}.png"]))))
    return names


def _each(whole: ImageSet) -> Iterator[Pixels]:
    for start in range(0, len(whole.rows), CHUNK):
        yield from whole.pixels(range(start, min(start + CHUNK, len(whole.rows))))
