"""The class, group and part of each file, from folders, a manifest or a public set's layout (docs/data.md)."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from syntrial.config import IngestConfig, same_name
from syntrial.errors import ConfigError, DataError
from syntrial.reading.archives import File, FileSource, is_archive, printable, size_of, stored
from syntrial.reading.candidates import DOCUMENTS, Candidate, Layout, Read, basename, folders, table_rows
from syntrial.reading.publicsets import PUBLIC_SETS, SIGNS

MANIFEST = re.compile(r"^(?:[^/]+/)?manifest\.csv$")
MANIFEST_COLUMNS = {
    "file": ("file",),
    "label": ("label", "class"),
    "group": ("group", "patient_group", "patient"),
    "split": ("split",),
}
GIVEN_SPLITS = {"": "", "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
MAX_TABLE_BYTES = 2**28
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
SYSTEM_FILES = ("thumbs.db", "desktop.ini", "ehthumbs.db")
FACES = "faces"  # the class of the set that transfer learning starts from
ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz")


@dataclass(frozen=True)
class Found:
    """All files of a source, ordered by class and then name; those without a class last."""

    layout: str
    origin: FileSource
    candidates: list[Candidate]
    warnings: list[str]

    @property
    def wanted(self) -> list[File]:
        """The files to read."""
        return [candidate.file for candidate in self.candidates if not candidate.aside]


def find(source: Path, classes: list[str], config: IngestConfig, scratch: Path, tables_only: bool = False) -> Found:
    """Every file of a source with its class, group and part.

    Args:
        source: a folder, an archive or a manifest.
        classes: labels to look for, in upper or lower case. A single label that no folder has stands for all files, as
            does "faces" whatever the folders are called.
        scratch: an existing folder with room for an unpacked tar.
        tables_only: unpack no image of a tar, for callers that only count files.

    Raises:
        ConfigError: a layout is asked for, and the source is a manifest.
        DataError: a source or manifest that cannot be read, or a class without a file.
    """
    if is_manifest(source):
        if config.layout != "auto":
            raise ConfigError(f"ingest.layout is {config.layout!r}, but {source.name} is a manifest; leave it at auto")
        name, origin, candidates = "manifest", FileSource(source.parent), listed(source)
    else:
        origin, files = stored(source, scratch, unpacks=_is_table if tables_only else lambda name: True)
        name, candidates = _by_layout(config.layout, files, lambda file: _contents(origin, file))
    _label(candidates, classes, alone=name == "folders" and len(classes) == 1)
    _refuse_missing_class(candidates, classes, source.name)
    candidates.sort(key=lambda c: (classes.index(c.label) if c.label else len(classes), c.file.name))
    return Found(name, origin, candidates, _doubts(candidates, name))


def _is_table(name: str) -> bool:
    return name.lower().endswith(DOCUMENTS)


def is_manifest(source: Path) -> bool:
    """Whether a source is a table, whose files are in the same folder."""
    return source.is_file() and not is_archive(source)


def listed(manifest: Path) -> list[Candidate]:
    """The rows of a manifest. Raises DataError where it cannot be read or names impossible files."""
    text = _contents(FileSource(manifest.parent), File(manifest.name, manifest.name, size_of(manifest)))
    return _listed(text, manifest.name, lambda name: _beside(manifest.parent, name))


def _by_layout(wanted: str, files: list[File], read: Read) -> tuple[str, list[Candidate]]:
    """The candidates of all files, by the layout given or detected, without files left by operating systems."""
    litter = [Candidate(file, folders(file), aside=aside) for file in files if (aside := system_file(file.name))]
    ours = [file for file in files if not system_file(file.name)]
    name = _detected(ours) if wanted == "auto" else wanted
    return name, litter + LAYOUTS[name](ours, read)


def system_file(name: str) -> str:
    """Why a file is not data: "litter" of an operating system, or "hidden"; "" for any other."""
    parts = name.split("/")
    if parts[-1].lower() in SYSTEM_FILES or any(folder in parts for folder in SYSTEM_FOLDERS):
        return "litter"
    return "hidden" if any(part.startswith(".") for part in parts) else ""


def _detected(files: list[File]) -> str:
    # A manifest takes precedence over a recognised layout, since somebody wrote it for these data.
    for name, sign in {"manifest": MANIFEST, **SIGNS}.items():
        if any(sign.search(file.name) for file in files):
            return name
    return "folders"


def _by_folders(files: list[File], read: Read) -> list[Candidate]:
    return [Candidate(file, folders(file)) for file in files]


def _by_manifest(files: list[File], read: Read) -> list[Candidate]:
    """Files that the manifest does not name are candidates without a class."""
    table = next(file for file in files if MANIFEST.search(file.name))
    known = {_composed(file.name): file for file in files}
    folder = PurePosixPath(table.name).parent

    def look_up(name: str) -> File:
        return known.get(_composed(str(folder / name)), File(str(folder / name), "", -1))

    listed = _listed(read(table), table.name, look_up)
    named = {candidate.file.name for candidate in listed}
    return listed + [Candidate(file) for file in files if file.name not in named]


def _listed(text: str, table: str, look_up: Callable[[str], File]) -> list[Candidate]:
    """The rows of a manifest."""
    candidates = []
    for line, row in enumerate(table_rows(text, table), start=2):
        file, label, group, split = (_cell(row, column) for column in MANIFEST_COLUMNS)
        if file is None or label is None:
            raise DataError(
                f"{table} needs the columns file and label (and may have group, split); it has {', '.join(row)}"
            )
        if not file:
            raise DataError(f"{table}, line {line}: the file is missing; each row names one, and its label")
        if file.startswith("/") or ".." in file.split("/"):
            raise DataError(f"{table}, line {line}: {file} is outside the manifest's folder; name files relative to it")
        part = GIVEN_SPLITS.get((split or "").lower())
        if part is None:
            raise DataError(f"{table}, line {line}: split is {split!r}; it may be train, val, test or empty")
        candidates.append(Candidate(look_up(file), (label,), printable(group or ""), part))
    return candidates


def _cell(row: dict[str, str], column: str) -> str | None:
    return next((row[alias] for alias in MANIFEST_COLUMNS[column] if alias in row), None)


def _beside(folder: Path, name: str) -> File:
    """A file by name, also where copying changed the Unicode composition of accented letters."""
    shown = printable(str(PurePosixPath(name)))
    for spelt in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)):
        if size_of(folder / spelt) >= 0:
            return File(shown, spelt, size_of(folder / spelt))
    return File(shown, name, -1)


def _contents(origin: FileSource, file: File) -> str:
    with origin.open(file.at) as content:
        read = content.read(MAX_TABLE_BYTES + 1)
        if len(read) > MAX_TABLE_BYTES:
            raise DataError(
                f"{file.name} is a table of over {MAX_TABLE_BYTES >> 20} MiB; divide it, or name fewer files"
            )
        try:
            return read.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DataError(
                f"{file.name} is neither a folder, an archive (.zip, .tar, .tar.gz) nor a table in UTF-8"
            ) from None


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _label(candidates: list[Candidate], classes: list[str], alone: bool) -> None:
    """Gives each candidate its class or sets it aside. `alone`: there is one class, which may stand for all files."""
    by_name = {same_name(label): label for label in classes}
    for candidate in candidates:
        labels = sorted({by_name[same_name(name)] for name in candidate.names if same_name(name) in by_name})
        candidate.label = labels[0] if len(labels) == 1 else ""
    # Except for faces, a folder with the class's name excludes the other folders.
    chosen = same_name(classes[0]) != FACES and any(c.label and not c.aside for c in candidates)
    whole = alone and not chosen
    for candidate in candidates:
        if whole:
            candidate.label = classes[0]
        elif not candidate.label and not candidate.aside:
            candidate.aside = _why_no_label(candidate, by_name)


def _why_no_label(candidate: Candidate, by_name: dict[str, str]) -> str:
    if any(same_name(name) in by_name for name in candidate.names):
        return "several classes"
    if candidate.file.name.lower().endswith(DOCUMENTS):
        return "other file"
    return "other class" if candidate.names else "no class"


def _refuse_missing_class(candidates: list[Candidate], classes: list[str], source: str) -> None:
    held = Counter(candidate.label for candidate in candidates if not candidate.aside)
    for label in classes:
        if not held[label]:
            names = sorted(
                {name for candidate in candidates if candidate.aside != "litter" for name in candidate.names}
            )
            others = f"it has {', '.join(names[:20])}" if names else "no folder or table in it names classes"
            packed = [basename(c.file) for c in candidates if c.file.name.endswith(ARCHIVE_SUFFIXES)]
            others += f"; unpack the archives in it first, such as {packed[0]}" if packed else ""
            raise DataError(f"{source} has no image of the class {label!r}; {others}")


def _doubts(candidates: list[Candidate], layout: str) -> list[str]:
    parts = {name.lower() for c in candidates if c.label for name in folders(c.file)} & {"train", "val", "test"}
    if layout != "folders" or len(parts) < 2:
        return []
    return [f"The folders {', '.join(sorted(parts))} were joined; a manifest with a column split keeps them apart."]


LAYOUTS: dict[str, Layout] = {"folders": _by_folders, "manifest": _by_manifest, **PUBLIC_SETS}
