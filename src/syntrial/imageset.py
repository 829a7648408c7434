"""The image set: the one format of real, synthetic and pooled images, each with the images that it descends from.

A folder: `images-00000.npy`, ... (uint8, N x side x side); `index.csv`, one row per image; `lineage.csv`, the real
images that each generator of images in the set has seen; `about.json`; `sheet.png`, a contact sheet. A few large files,
because object storage and Kubeflow move artifacts object by object.

Shapes: N images, S side in px.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syntrial.errors import DataError, LeakError
from syntrial.store import atomic
from syntrial.words import counted

COLUMNS = ("sha256", "label", "group", "source", "split", "file")
SPLITS = ("", "train", "val", "test", "external")  # "" where a set is not divided, or a row belongs to no part
REAL = "real"
SHARD_BYTES = 256 * 2**20
SHEET_CELL = 64  # px

Pixels = NDArray[np.uint8]
Lineage = dict[str, set[tuple[str, str]]]  # generator -> (sha256, group) of each real image it has seen


@dataclass(frozen=True)
class Row:
    """The facts of one image. `sha256` is of its pixels as stored; `source` is REAL or the name of a generator."""

    sha256: str
    label: str
    group: str
    source: str = REAL
    split: str = ""
    file: str = ""


def sha256_of(image_SS: Pixels) -> str:
    """The identity of an image in every lineage: the hash of its side and pixels."""
    return hashlib.sha256(b"%d:" % image_SS.shape[0] + np.ascontiguousarray(image_SS).tobytes()).hexdigest()


@dataclass(frozen=True)
class ImageSet:
    """Images on disk with their rows, in the same order. Pixels are memory-mapped: opening a set reads none of them."""

    folder: Path
    rows: list[Row]
    about: dict[str, Any]
    lineage: Lineage
    shards: list[Pixels] = field(repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> ImageSet:
        """Raises DataError when the folder is no image set, or an incomplete one."""
        folder = Path(folder)
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            rows = list(_read_rows(folder / "index.csv"))
            lineage = read_lineage(folder / "lineage.csv")
            shards = [np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("images-*.npy"))]
            side, held = about["side"], sum(len(shard) for shard in shards)
            unchanged = about["digest"] == digest_of(side, rows, lineage)
        except FileNotFoundError as error:
            raise DataError(f"{folder} is not an image set: it lacks {Path(error.filename).name}") from None
        except (OSError, EOFError, ValueError, TypeError, KeyError, csv.Error) as error:
            raise DataError(f"{folder} is not a whole image set; a file in it is damaged ({error})") from None
        if held != len(rows) or any(shard.dtype != np.uint8 or shard.shape[1:] != (side, side) for shard in shards):
            raise DataError(
                f"{folder} is not a whole image set: it has {counted(held, 'image')} for {counted(len(rows), 'row')}, "
                f"side {side}"
            )
        if not unchanged:
            raise DataError(f"{folder} was changed after it was written: its rows do not fit the digest in about.json")
        return cls(folder, rows, about, lineage, shards)

    @property
    def side(self) -> int:
        """px"""
        return int(self.about["side"])

    @property
    def classes(self) -> list[str]:
        """In the order of the study; the last is the positive class."""
        return list(self.about["classes"])

    @property
    def digest(self) -> str:
        """Hash of pixels (through their hashes), rows and lineage: equal sets have equal digests."""
        return str(self.about["digest"])

    def pixels(self, positions: Iterable[int] | None = None) -> Pixels:
        """Images (N, S, S) at the given positions, in that order; all images for None."""
        if positions is None:
            return np.concatenate([np.zeros((0, self.side, self.side), np.uint8), *self.shards])
        wanted = np.fromiter(positions, dtype=np.int64)
        out = np.empty((len(wanted), self.side, self.side), np.uint8)
        start = 0
        for shard in self.shards:
            here = np.flatnonzero((wanted >= start) & (wanted < start + len(shard)))
            out[here] = shard[wanted[here] - start]
            start += len(shard)
        return out

    def where(self, *, label: str | None = None, source: str | None = None, split: str | None = None) -> list[int]:
        """Positions of the rows with all of the given values."""
        wanted = [
            (name, value)
            for name, value in (("label", label), ("source", source), ("split", split))
            if value is not None
        ]
        return [i for i, row in enumerate(self.rows) if all(getattr(row, name) == value for name, value in wanted)]

    def ancestors(self, positions: Iterable[int]) -> set[tuple[str, str]]:
        """(sha256, group) of the real images that the images at the positions are or descend from."""
        found: set[tuple[str, str]] = set()
        generators = set()
        for i in positions:
            row = self.rows[i]
            if row.source == REAL:
                found.add((row.sha256, row.group))
            else:
                generators.add(row.source)
        return found.union(*(self.lineage[name] for name in generators))

    def verify(self) -> None:
        """Hashes every image again. Raises DataError for the first whose pixels differ from the hash in its row."""
        position = 0
        for shard in self.shards:
            for image in shard:
                row = self.rows[position]
                if sha256_of(image) != row.sha256:
                    raise DataError(
                        f"{self.folder}: the pixels of {row.file or row.sha256} do not match the hash in its row"
                    )
                position += 1


class Writer:
    """Writes images to a draft folder one by one, so that a set may be far larger than memory.

    `side` in px. Shards of at most `shard_bytes` grow on disk; no pixels are kept in memory.
    """

    def __init__(self, draft: Path, side: int, shard_bytes: int = SHARD_BYTES) -> None:
        self.draft, self.side = draft, side
        self.rows: list[Row] = []
        self._per_shard = max(1, shard_bytes // (side * side))
        self._shards = self._held = 0  # shards begun; images in the one that is open
        self._file: BinaryIO | None = None

    def add(self, image_SS: Pixels, row: Row) -> None:
        """Appends an image with its row. Raises DataError when it is not uint8 side x side."""
        if image_SS.dtype != np.uint8 or image_SS.shape != (self.side, self.side):
            raise DataError(
                f"{row.file}: {image_SS.dtype} {image_SS.shape}; this set holds uint8 ({self.side}, {self.side})"
            )
        if self._file is None:
            self._file = open(self._next_shard(), "wb")  # noqa: SIM115, closed in _flush
            self._write_header()
        self._file.write(image_SS.tobytes())
        self._held += 1
        self.rows.append(row)
        if self._held == self._per_shard:
            self._flush()

    def link(self, source: ImageSet, rows: list[Row]) -> None:
        """Appends all images of another set under new rows, as links. Raises DataError where side or number differ."""
        if source.side != self.side or len(rows) != len(source.rows):
            raise DataError(
                f"{source.folder} has {counted(len(source.rows), 'image')} of {source.side} px; needed are "
                f"{len(rows):,} of {self.side} px"
            )
        self._flush()
        for path in sorted(source.folder.glob("images-*.npy")):
            atomic.link_or_copy(path, self._next_shard())
        self.rows += rows

    def close(
        self,
        *,
        verb: str,
        classes: list[str],
        config: dict[str, Any],
        parents: list[dict[str, Any]],
        lineage: Lineage | None = None,
        facts: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Writes index, lineage, contact sheet and `about.json`; returns the content of the last.

        Args:
            classes: labels in the order of the study.
            config: the settings that made the set.
            parents: `about_parent()` of each set or generator it was made from.
            lineage: for each generator among the rows' sources, the real images it has seen.
            facts: further entries of `about.json`, JSON-ready.

        Raises:
            LeakError: a row's source has no lineage.
        """
        self._flush()
        lineage = lineage or {}
        nameless = sorted({row.source for row in self.rows} - {REAL} - set(lineage))
        if nameless:
            raise LeakError(
                f"the lineage of {nameless[0]} is missing: the real images that this generator has seen; write it with "
                "its images"
            )
        _write_rows(self.draft / "index.csv", self.rows)
        write_lineage(self.draft / "lineage.csv", lineage)
        about = {
            **(facts or {}),
            "verb": verb,
            "side": self.side,
            "images": len(self.rows),
            "classes": classes,
            "counts": _counts(self.rows),
            "digest": digest_of(self.side, self.rows, lineage),
            "config": config,
            "parents": parents,
        }
        sheet(self.draft, self.rows, self.side).save(self.draft / "sheet.png")
        atomic.write_json(self.draft / "about.json", about)
        return about

    def _next_shard(self) -> Path:
        self._shards += 1
        return self.draft / f"images-{self._shards - 1:05d}.npy"

    def _flush(self) -> None:
        if self._file is not None:
            self._file.seek(0)
            self._write_header()
            self._file.close()
            self._file, self._held = None, 0

    def _write_header(self) -> None:
        # numpy leaves room for the first axis to grow, so the header of no images is as long as that of all.
        shape = (self._held, self.side, self.side)
        if self._file is not None:
            np.lib.format.write_array_header_1_0(self._file, {"shape": shape, "fortran_order": False, "descr": "|u1"})


def about_parent(about: dict[str, Any]) -> dict[str, Any]:
    """The entry for a parent in a child's `about.json`: enough to identify it."""
    return {key: about[key] for key in ("verb", "digest", "name") if key in about}


def digest_of(side: int, rows: list[Row], lineage: Lineage) -> str:
    """A fingerprint: equal images, rows and lineage, equal digest."""
    hasher = hashlib.sha256(b"%d" % side)
    for row in rows:
        hasher.update("\x1f".join(getattr(row, name) for name in COLUMNS).encode() + b"\n")
    for name in sorted(lineage):
        hasher.update(name.encode() + b"\n")
        for ancestor in sorted(lineage[name]):
            hasher.update("\x1f".join(ancestor).encode() + b"\n")
    return hasher.hexdigest()


def refuse_leaks(images: ImageSet, trained: Iterable[int], judged: Iterable[int]) -> None:
    """Refuses an evaluation on images or groups that were trained on, directly or through a generator.

    Args:
        trained: positions of the rows that a classifier is trained on; the images their generators have seen count too.
        judged: positions of the rows that it is evaluated on.

    Raises:
        LeakError: the first judged image that is synthetic, is a copy of a synthetic one, was trained on, or whose
            group was trained on.
    """
    seen = images.ancestors(trained)
    seen_images, seen_groups = {sha for sha, _ in seen}, {group for _, group in seen}
    generated = {row.sha256: row.source for row in images.rows if row.source != REAL}
    for i in judged:
        row = images.rows[i]
        if row.source != REAL:
            raise LeakError(
                f"{row.file or row.sha256} was generated by {row.source}; "
                "a held-out evaluation judges on real images only"
            )
        if row.sha256 in generated:
            raise LeakError(
                f"{row.file or row.sha256} claims to be real and is an image of {generated[row.sha256]}; "
                "take it out of the data"
            )
        if row.sha256 in seen_images:
            raise LeakError(f"{row.file or row.sha256} was trained on and would be judged on; divide the images again")
        if row.group in seen_groups:
            raise LeakError(
                f"patient {row.group} has trained and is in {row.split} ({row.file}); split by group, "
                "declare the groups in a manifest, or ingest sets that number theirs alike under names of their own"
            )


def refuse_leaky_parts(images: ImageSet) -> None:
    """Refuses a divided set in which an image or group trains and is judged on; as printed only the external part is
    checked.

    Raises:
        LeakError: as `refuse_leaks`.
    """
    judging = ("val", "test", "external") if images.about["division"]["protocol"] == "held_out" else ("external",)
    judged = [i for i, row in enumerate(images.rows) if row.split in judging]
    refuse_leaks(images, images.where(split="train"), judged)


def sheet(folder: Path, rows: list[Row], side: int, across: int = 12) -> Image.Image:
    """A contact sheet: a line of evenly spaced images for each label and source. Grey, SHEET_CELL px per image."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        kinds.setdefault((row.label, row.source), []).append(i)
    shards = [np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("images-*.npy"))]
    starts = np.cumsum([0, *(len(shard) for shard in shards)])
    canvas = Image.new("L", (across * SHEET_CELL, max(1, len(kinds)) * SHEET_CELL))
    for line, kind in enumerate(sorted(kinds)):
        chosen = kinds[kind][:: max(1, len(kinds[kind]) // across)][:across]
        for column, i in enumerate(chosen):
            shard = int(np.searchsorted(starts, i, side="right")) - 1
            cell = Image.fromarray(np.asarray(shards[shard][i - starts[shard]]))
            canvas.paste(
                cell.resize((SHEET_CELL, SHEET_CELL), Image.Resampling.LANCZOS),
                (column * SHEET_CELL, line * SHEET_CELL),
            )
    return canvas


def _counts(rows: list[Row]) -> dict[str, int]:
    counted = Counter(" / ".join(filter(None, (row.split, row.source, row.label))) for row in rows)
    return dict(sorted(counted.items()))


def _write_rows(path: Path, rows: list[Row]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows([getattr(row, name) for name in COLUMNS] for row in rows)


def _read_rows(path: Path) -> Iterator[Row]:
    with open(path, newline="", encoding="utf-8") as file:
        for cells in csv.DictReader(file):
            row = Row(**cells)
            if row.split not in SPLITS:
                raise ValueError(
                    f"{path.name} has split {row.split!r}; it may be {', '.join(filter(None, SPLITS))} or empty"
                )
            yield row


def write_lineage(path: Path, lineage: Lineage) -> None:
    """Writes a row for each generator and real image that it has seen, sorted."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("generator", "sha256", "group"))
        table.writerows((name, *ancestor) for name in sorted(lineage) for ancestor in sorted(lineage[name]))


def read_lineage(path: Path) -> Lineage:
    """Reads a file of `write_lineage`."""
    lineage: Lineage = {}
    with open(path, newline="", encoding="utf-8") as file:
        for cells in csv.DictReader(file):
            lineage.setdefault(cells["generator"], set()).add((cells["sha256"], cells["group"]))
    return lineage
