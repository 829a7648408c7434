"""Verb: raw files -> image set. Every file found gets a line in `ingest.csv` with its outcome and the reason.

Files are decoded by many processes, a bounded number of images at a time. Their squares go to one scratch file; the set
is written at the end, when all duplicates are known. Memory grows with the files by a record of each, about a kilobyte.

Outcomes: accept (unchanged), convert (after a stated conversion), warn (used with a warning, or held back until a
person has decided), reject (left out). Of files with the same pixels one is used and the others are rejected as
duplicates; where their labels differ none is used.
"""

from __future__ import annotations

import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from syntrial.config import IngestConfig
from syntrial.errors import DataError
from syntrial.imageset import Row, Writer
from syntrial.progress import Progress
from syntrial.reading import ledger
from syntrial.reading.archives import FileSource
from syntrial.reading.candidates import ASIDE, DOCUMENTS, Candidate
from syntrial.reading.decode import Taken
from syntrial.reading.layouts import Found, find, is_manifest
from syntrial.reading.ledger import Record
from syntrial.reading.spool import Spool
from syntrial.reading.twins import settle
from syntrial.reading.workers import take_all
from syntrial.store import atomic, transfer
from syntrial.store.uris import Location

IMAGES = "images"  # the set that a study divides; the groups of other sets are prefixed with the set's name
TABLE = "ingest.csv"
KEPT = ("outcome", "reason", "detail", "width", "height", "white", "chest", "fingerprint", "sha256")


def ingest(
    data: str | Path,
    out: str | Path,
    *,
    side: int,
    classes: list[str],
    config: IngestConfig,
    name: str = IMAGES,
    salt: str = "",
) -> dict[str, float]:
    """Reads every image of the given classes and writes one image set of `side` px, with `ingest.csv` in it.

    Args:
        data: path or URI of a folder, an archive or a CSV manifest; "" gives an image set without images.
        classes: labels in the order of the study, matched by name; a single one may stand for a plain folder of images.
        name: of the set. Sets of different names share no patients, unless `config.shared_patients` is set.
        salt: secret that patient IDs from DICOM files are hashed with; the same in all runs that are compared.
            SYNTRIAL_SALT where it is empty.

    Returns:
        Counts: found, used, accepted, converted, warned, rejected, groups.

    Raises:
        ConfigError: a layout is given, and the data are a manifest.
        DataError: a source that cannot be read, a class without a file, no usable image, or a larger share of files
            lost than `config.max_left_out`; a list of all files is then next to `out`.
    """
    out, location = Path(out), Location.given(data)
    out.parent.mkdir(parents=True, exist_ok=True)
    listing = out.with_name(f"{out.name}.{TABLE}")
    salt = salt or os.environ.get("SYNTRIAL_SALT", "")
    with (
        tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch,
        Spool(Path(scratch) / "squares", side) as squares,
        atomic.new_folder(out) as draft,
    ):
        found = _found(location, classes, config, Path(scratch))
        with Progress("ingest", len(found.wanted), unit="files", kind=name, label=f"{side}px") as progress:
            taken = take_all(found.origin, found.wanted, side, config, salt)
            records = _records(found, taken, squares, config, progress, name)
        settle(records, squares, config.near_duplicate_bits)
        if location:
            ledger.refuse_losses(records, config, listing)
        facts = {"name": PurePosixPath(str(data)).name or name, **ledger.facts(records, found.layout, side)}
        facts["warnings"] = found.warnings + ledger.doubts(records, classes, side, salt)
        atomic.write_bytes(draft / TABLE, ledger.table(records))
        _write_set(Writer(draft, side), records, squares).close(
            verb="ingest", classes=classes, config=config.model_dump(), parents=[], facts={"ingest": facts}
        )
    listing.unlink(missing_ok=True)
    return _numbers(facts)


def _found(location: Location, classes: list[str], config: IngestConfig, scratch: Path) -> Found:
    if not location:
        return Found("none", FileSource(Path()), [], [])
    source = transfer.fetch(location, scratch)
    if location.is_remote and is_manifest(source):
        raise DataError(
            f"{location} is a manifest without its images; give the prefix of both, and name it manifest.csv"
        )
    return find(source, classes, config, scratch)


def _numbers(facts: dict[str, Any]) -> dict[str, float]:
    counts = ("found", "used", *ledger.OUTCOMES.values())
    return {**{name: float(facts[name]) for name in counts}, "groups": float(facts["groups"]["number"])}


def _records(
    found: Found, taken: Iterator[Taken], squares: Spool, config: IngestConfig, progress: Progress, name: str
) -> list[Record]:
    """A record of each file, in the order of the candidates; the squares go to the spool as they come."""
    records: list[Record] = []
    done = 0
    for candidate in found.candidates:
        if candidate.aside:
            outcome, detail = ASIDE[candidate.aside]
            records.append(Record(candidate.file.name, candidate.label, outcome, candidate.aside, detail))
            continue
        result = next(taken)
        records.append(_record(candidate, result, found.layout, config, name))
        if result.pixels is not None:
            records[-1].place = squares.add(result.pixels)
        done += 1
        progress.update(done)
    return records


def _write_set(writer: Writer, records: list[Record], squares: Spool) -> Writer:
    for record in records:
        if record.used:
            row = Row(record.sha256, record.label, record.group, split=record.split, file=record.file)
            writer.add(squares[record.place], row)
    return writer


def _record(candidate: Candidate, taken: Taken, layout: str, config: IngestConfig, name: str) -> Record:
    file = candidate.file.name
    record = Record(file, candidate.label, split=candidate.split, **{field: getattr(taken, field) for field in KEPT})
    group, record.grouped_by = _group(candidate, taken.patient, layout, config.group_pattern)
    # Two sources may use the same patient IDs or file names for different people.
    record.group = group if name == IMAGES or config.shared_patients else f"{name}:{group}"
    if taken.reason == "not an image" and file.lower().endswith(DOCUMENTS):
        record.hold(ASIDE["other file"][0], "other file", ASIDE["other file"][1])
    return record


def _group(candidate: Candidate, patient: str, layout: str, pattern: str) -> tuple[str, str]:
    """The group of an image, and its origin: the data, a pattern, DICOM or the file alone."""
    path = candidate.file.name
    if candidate.group:
        return candidate.group, "manifest" if layout == "manifest" else "preset"
    match = re.search(pattern, posixpath.basename(path)) if pattern else None
    if match and (found := match[1] if match.re.groups else match[0]):
        return found, "pattern"
    return (patient, "dicom") if patient else (posixpath.splitext(path)[0], "file")
