"""A record of each file found: the rows of `ingest.csv`, and the counts and warnings that a report shows."""

from __future__ import annotations

import csv
import io
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from syntrial.config import IngestConfig
from syntrial.errors import DataError
from syntrial.reading.candidates import ASIDE
from syntrial.store import atomic
from syntrial.words import counted

COLUMNS = ("file", "outcome", "used", "label", "reason", "detail")
OUTCOMES = {"accept": "accepted", "convert": "converted", "warn": "warned", "reject": "rejected"}
SPARED = (*ASIDE, "duplicate")  # reasons that do not count as a loss: the file held no image of its own
TELLING = 0.65  # AUC from which on the aspect ratio of the originals is said to separate the classes


@dataclass(slots=True)
class Record:
    """One file. `place` is the position of its square in the scratch file, -1 where the file is not used."""

    file: str
    label: str
    outcome: str = "reject"  # a key of OUTCOMES
    reason: str = ""  # a short name to count by
    detail: str = ""
    group: str = ""
    grouped_by: str = ""  # manifest, preset, pattern, dicom or file
    split: str = ""
    place: int = -1
    width: int = 0  # px
    height: int = 0  # px
    white: int = 0  # the value that became 255, where the file has more than 8 bits
    chest: float = 0.0
    fingerprint: int = 0
    sha256: str = ""

    @property
    def used(self) -> bool:
        return self.place >= 0

    def hold(self, outcome: str, reason: str, detail: str) -> None:
        """Marks the file as not used, with the reason."""
        self.outcome, self.reason, self.detail, self.place = outcome, reason, detail, -1

    def warn(self, reason: str, detail: str) -> None:
        """Marks the file as used with a warning, which goes before earlier details."""
        self.outcome, self.reason, self.detail = "warn", reason, "; ".join(filter(None, (detail, self.detail)))


def table(records: list[Record]) -> bytes:
    """`ingest.csv`, one row per file."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows((r.file, r.outcome, "yes" if r.used else "no", r.label, r.reason, r.detail) for r in records)
    return text.getvalue().encode()


def facts(records: list[Record], layout: str, side: int) -> dict[str, Any]:
    """Counts that add up to the files found, and the sizes of the originals; without the warnings."""
    used = [record for record in records if record.used]
    outcomes = Counter(record.outcome for record in records)
    return {
        "layout": layout,
        "found": len(records),
        **{name: outcomes[outcome] for outcome, name in OUTCOMES.items()},
        "used": len(used),
        "reasons": dict(sorted(Counter(record.reason for record in records if record.reason).items())),
        "groups": {
            "how": " + ".join(sorted({record.grouped_by for record in used})),
            "number": len({record.group for record in used}),
        },
        "ungrouped": sum(record.grouped_by == "file" for record in used),
        "original_width": _spread([record.width for record in used]),
        "original_height": _spread([record.height for record in used]),
        "upsampled": sum(min(record.width, record.height) < side for record in used),
        "squeezed": sum(record.width != record.height for record in used),
    }


def doubts(records: list[Record], classes: list[str], side: int, salt: str) -> list[str]:
    """Warnings about the set, one sentence each."""
    used = [record for record in records if record.used]
    kept = {record.label for record in used}
    small = sum(min(record.width, record.height) < side for record in used)
    return [
        *filter(None, (_warning(records, reason, sentence) for reason, sentence in SENTENCES.items())),
        *(f"No image of {label} is left." for label in classes if records and label not in kept),
        *_patient_doubts(used, salt),
        *_range_doubts(used),
        *([f"Enlarged, because an edge is shorter than {side} px: {counted(small, 'image')}."] if small else []),
        *_shape_doubts(used),
    ]


def _patient_doubts(used: list[Record], salt: str) -> Iterator[str]:
    alone = sum(record.grouped_by == "file" for record in used)
    if alone and alone == len(used):
        yield "No patient is known: each file is its own group, so a patient's images may be on both sides of a split."
    elif alone:
        yield f"Without a known patient, and therefore each in its own group: {counted(alone, 'image')}."
    if not salt and any(record.grouped_by == "dicom" for record in used):
        yield "Patient IDs were hashed without a salt and can be guessed; set SYNTRIAL_SALT to a secret."


def _range_doubts(used: list[Record]) -> Iterator[str]:
    whites = Counter(record.white for record in used if record.white)
    if len(whites) > 1:
        found = ", ".join(f"{white} ({counted(count, 'image')})" for white, count in sorted(whites.items()))
        yield f"Files of more than 8 bits use different ranges, so brightness may not be comparable; white is {found}."


# By reason, with the number of files and the first of them.
SENTENCES = {
    "label conflict": "Held back, because an image of another class has the same pixels: {n}, such as {file}.",
    "near label conflict": "Nearly the same as an image of another class: {n}, such as {file}; check them.",
    "near duplicate": "Nearly the same as another image and therefore in its group: {n}, such as {file}.",
    "two parts": "Held back, because their group is also in a part not to be trained on: {n}, such as {file}.",
    "negative": "Apparently the negative of a radiograph: {n}, such as {file}; check them.",
    "several classes": "Set aside, because they show several of the classes asked for: {n}, such as {file}.",
}


def refuse_losses(records: list[Record], config: IngestConfig, listing: Path) -> None:
    """Raises DataError when no file can be used or too many were lost; `listing` then has a row for each."""
    considered = [record for record in records if record.reason not in ASIDE]
    lost = [record for record in considered if not record.used and record.reason not in SPARED]
    nothing = not any(record.used for record in records)
    if not nothing and len(lost) <= config.max_left_out * len(considered):
        return
    atomic.write_bytes(listing, table(records))
    share = "no usable image" if nothing else f"{len(lost) / len(considered):.0%}, more than ingest.max_left_out"
    raise DataError(
        f"held back or left out: {len(lost)} of {counted(len(considered), 'file')} ({share}): {_main_reasons(lost)}; "
        f"{listing} has the outcome of each file"
    )


def _main_reasons(lost: list[Record]) -> str:
    first = {record.reason: record.file for record in reversed(lost)}
    counted = Counter(record.reason for record in lost).most_common(3)
    return ", ".join(f"{count} {reason} (such as {first[reason]})" for reason, count in counted) or "none was lost"


def _warning(records: list[Record], reason: str, sentence: str) -> str:
    files = [record.file for record in records if record.reason == reason]
    return sentence.format(n=len(files), file=files[0]) if files else ""


def _spread(values: list[int]) -> list[float]:
    return [min(values), statistics.median(values), max(values)] if values else []


def _shape_doubts(used: list[Record]) -> Iterator[str]:
    """Whether width / height of the originals alone separates the last class from the others."""
    last = used[-1].label if used else ""  # records are in the order of the classes
    shapes: dict[bool, list[float]] = {True: [], False: []}
    for record in used:
        shapes[record.label == last].append(record.width / record.height)
    if shapes[False]:
        others = np.sort(shapes[False])
        below = np.searchsorted(others, shapes[True], "left") + np.searchsorted(others, shapes[True], "right")
        auc = float(below.mean()) / 2 / len(others)
        if max(auc, 1 - auc) >= TELLING:
            found = f"separates {last} from the rest (AUC {max(auc, 1 - auc):.2f})"
            yield f"The aspect ratio of the originals alone {found}; squeezing or padding leaves a trace of it."
