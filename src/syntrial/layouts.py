"""Where a data set says what each file shows and whose it is: folders, a manifest, or the layout of a public set (docs/data.md).

A layout is a function from files to candidates, one for each file. It reads tables, never images.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from syntrial.archives import File, Store, is_archive, printable, size_of, stored
from syntrial.config import IngestConfig
from syntrial.errors import DataError

MANIFEST = "manifest.csv"
MANIFEST_COLUMNS = {
    "file": ("file",),
    "label": ("label", "class"),
    "group": ("group", "patient_group", "patient"),
    "split": ("split",),
}
GIVEN_SPLITS = {"": "", "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
MAX_TABLE_BYTES = 2**28

# What never was an image to take. A file set aside for one of these does not count as lost.
ASIDE = {
    "hidden": ("warn", "hidden file, skipped"),
    "litter": ("reject", "written by an operating system, not an image"),
    "mask": ("reject", "a mask, not an image"),
    "second copy": ("reject", "the same file is in the data a second time, under a shorter path"),
    "no class": ("reject", "nothing says what it shows"),
    "other class": ("reject", "of a class that is not asked for"),
    "several classes": ("warn", "shows more than one of the classes asked for, so it belongs to none"),
    "other file": ("reject", "a document, not an image"),
}
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
SYSTEM_FILES = ("thumbs.db", "desktop.ini", "ehthumbs.db")


@dataclass(slots=True)
class Candidate:
    """One file and what its data set says of it. `names` are the classes it answers to; `aside` is a key of ASIDE, or empty."""

    file: File
    names: tuple[str, ...] = ()
    group: str = ""
    split: str = ""
    aside: str = ""
    label: str = ""


@dataclass(frozen=True)
class Found:
    """All files of a source, in order of class and then name; those without a class last."""

    layout: str
    store: Store
    candidates: list[Candidate]
    warnings: list[str]

    @property
    def wanted(self) -> list[File]:
        """What is to be read."""
        return [candidate.file for candidate in self.candidates if not candidate.aside]


Read = Callable[[File], str]  # the text of a small file
Layout = Callable[[list[File], Read], list[Candidate]]


def find(source: Path, classes: list[str], config: IngestConfig, scratch: Path) -> Found:
    """Every file of a source with its class, group and part.

    Args:
        source: a folder, an archive or a manifest.
        classes: labels to look for; upper and lower case do not matter. A single class that no name fits stands for all files.
        scratch: an existing folder with room for an unpacked tar.

    Raises:
        DataError: a source or manifest that cannot be read, or a class without a file.
    """
    if source.is_file() and not is_archive(source):
        name, store = "manifest", Store(source.parent)
        candidates = _manifest(_contents(store, File(source.name, source.name, 0)), source.name, _beside(store))
    else:
        store, files = stored(source, scratch)
        name, candidates = _by_layout(config.layout, files, lambda file: _contents(store, file))
    _label(candidates, classes)
    if name == "folders" and len(classes) == 1 and not any(c.label and not c.aside for c in candidates):
        _label_all(candidates, classes[0])
    _refuse_missing_class(candidates, classes, source)
    candidates.sort(key=lambda c: (classes.index(c.label) if c.label else len(classes), c.file.name))
    return Found(name, store, candidates, _doubts(candidates, name))


def _by_layout(wanted: str, files: list[File], read: Read) -> tuple[str, list[Candidate]]:
    """The candidates of all files, by the layout asked for or found; what an operating system left is set aside first."""
    ours, candidates = [], []
    for file in files:
        aside = _system_file(PurePosixPath(file.name))
        candidates += [Candidate(file, _folders(file), aside=aside)] if aside else []
        ours += [] if aside else [file]
    name = _detected(ours) if wanted == "auto" else wanted
    return name, candidates + LAYOUTS[name](ours, read)


def _system_file(path: PurePosixPath) -> str:
    if path.name.lower() in SYSTEM_FILES or any(part in SYSTEM_FOLDERS for part in path.parts):
        return "litter"
    return "hidden" if any(part.startswith(".") for part in path.parts) else ""


def _detected(files: list[File]) -> str:
    for name, sign in SIGNS.items():
        if any(sign.search(file.name) for file in files):
            return name
    return "folders"


def _by_folders(files: list[File], read: Read) -> list[Candidate]:
    return [Candidate(file, _folders(file)) for file in files]


def _folders(file: File) -> tuple[str, ...]:
    return PurePosixPath(file.name).parts[:-1]


def _covid19_radiography(files: list[File], read: Read) -> list[Candidate]:
    """Old: CLASS/CLASS (n).png. New: CLASS/images/CLASS-n.png beside CLASS/masks. Nothing says which images are one patient's."""
    candidates = []
    for file in files:
        folders = list(_folders(file))
        kind = folders.pop() if folders and folders[-1].lower() in ("images", "masks") else ""
        candidates.append(Candidate(file, tuple(folders[-1:]), aside="mask" if kind.lower() == "masks" else ""))
    return candidates


# Kermany et al.: the numbers of viral, bacterial, IM- and NORMAL2-IM- files are four separate sequences. Taken apart, no patient is in
# both the official test folder and the rest; taken together, hundreds would be.
_KERMANY_FILE = re.compile(r"(?:^|/)(train|val|test)/(normal|pneumonia)/([^/]+)$", re.IGNORECASE)
_KERMANY_PATIENT = re.compile(r"^(person\d+_(?:virus|bacteria)|(?:NORMAL2-)?IM-\d+)", re.IGNORECASE)


def _kermany(files: list[File], read: Read) -> list[Candidate]:
    candidates, seen = [], set()
    for file in sorted(files, key=lambda file: (file.name.count("/"), file.name)):
        found = _KERMANY_FILE.search(file.name)
        if not found:
            candidates.append(Candidate(file))
            continue
        part, folder, name = (text.lower() for text in found.groups())
        patient = _KERMANY_PATIENT.search(found[3])
        candidates.append(
            Candidate(
                file,
                _kermany_names(folder, name),
                group=patient[1] if patient else "",
                split="test"
                if part == "test"
                else "",  # its val has 16 images, too few to be of use as a part of its own
                aside="second copy" if (part, folder, name) in seen else "",
            )
        )
        seen.add((part, folder, name))
    return candidates


def _kermany_names(folder: str, name: str) -> tuple[str, ...]:
    if "_virus_" in name:
        return (folder, "viral", "virus", "viral pneumonia")
    if "_bacteria_" in name:
        return (folder, "bacterial", "bacteria", "bacterial pneumonia")
    return (folder,)


_NIH_TABLE = re.compile(r"(?:^|/)Data_Entry_2017[^/]*\.csv$")
_NIH_TEST = re.compile(r"(?:^|/)test_list[^/]*\.txt$")


def _nih_chestxray14(files: list[File], read: Read) -> list[Candidate]:
    tables = sorted((file for file in files if _NIH_TABLE.search(file.name)), key=lambda file: file.name)
    if not tables:
        raise DataError("the layout nih-chestxray14 needs its table Data_Entry_2017*.csv beside the images")
    rows = {
        row["image index"]: row
        for row in _rows(read(tables[-1]), tables[-1].name, ("image index", "finding labels", "patient id"))
    }
    test = {line.strip() for file in files if _NIH_TEST.search(file.name) for line in read(file).splitlines()}
    candidates = []
    for file in files:
        name = PurePosixPath(file.name).name
        row = rows.get(name, {})
        findings = tuple(finding.strip() for finding in row.get("finding labels", "").split("|") if finding.strip())
        candidates.append(Candidate(file, findings, row.get("patient id", ""), "test" if name in test else ""))
    return candidates


def _by_manifest_inside(files: list[File], read: Read) -> list[Candidate]:
    table = min(
        (file for file in files if PurePosixPath(file.name).name == MANIFEST),
        key=lambda file: (file.name.count("/"), file.name),
    )
    known = {_key(file.name): file for file in files}
    folder = PurePosixPath(table.name).parent

    def look_up(name: str) -> File:
        return known.get(_key(str(folder / name)), File(str(folder / name), "", -1))

    listed = _manifest(read(table), table.name, look_up)
    named = {candidate.file.name for candidate in listed}
    return listed + [Candidate(file) for file in files if file.name not in named]


def _manifest(text: str, table: str, look_up: Callable[[str], File]) -> list[Candidate]:
    candidates = []
    for line, row in enumerate(_rows(text, table, ()), start=2):
        cells = {
            name: next((row[alias] for alias in aliases if alias in row), None)
            for name, aliases in MANIFEST_COLUMNS.items()
        }
        if cells["file"] is None or cells["label"] is None:
            raise DataError(
                f"{table} needs the columns file and label (group and split if you like); it has {', '.join(row)}"
            )
        file, split = cells["file"], (cells["split"] or "").lower()
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            raise DataError(
                f"{table}, line {line}: {file} leaves the manifest's folder; name files relative to the manifest"
            )
        if split not in GIVEN_SPLITS:
            raise DataError(f"{table}, line {line}: split is {split!r}; it may be train, val, test or empty")
        candidates.append(Candidate(look_up(file), (cells["label"],), cells["group"] or "", GIVEN_SPLITS[split]))
    return candidates


def _beside(store: Store) -> Callable[[str], File]:
    """Finds files by name; where the letters are the same but composed otherwise (as some systems do on copying), too."""

    def look_up(name: str) -> File:
        for spelt in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)):
            size = size_of(store.path / spelt)
            if size >= 0:
                return File(printable(name), spelt, size)
        return File(printable(name), name, -1)

    return look_up


def _rows(text: str, table: str, needed: Iterable[str]) -> Iterator[dict[str, str]]:
    """Rows by column name, in lower case; the separator is the one of comma, semicolon and tab that the first line has most of."""
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    columns = [name.strip().lower() for name in next(reader, [])]
    lacking = [name for name in needed if name not in columns]
    if lacking:
        raise DataError(f"{table} lacks the column {lacking[0]!r}; it has {', '.join(columns)}")
    for cells in reader:
        if any(cells):
            yield dict(zip(columns, (cell.strip() for cell in cells), strict=False))


def _contents(store: Store, file: File) -> str:
    with store.open(file.at) as content:
        return _text(file.name, content.read(MAX_TABLE_BYTES))


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{name} is neither a folder, an archive (.zip, .tar, .tar.gz) nor a table in UTF-8") from None


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _same(name: str) -> str:
    return _key(name).strip().casefold()


def _label(candidates: list[Candidate], classes: list[str]) -> None:
    by_name = {_same(label): label for label in classes}
    for candidate in candidates:
        labels = sorted({by_name[_same(name)] for name in candidate.names if _same(name) in by_name})
        candidate.label = labels[0] if len(labels) == 1 else ""
        if not candidate.aside and len(labels) != 1:
            candidate.aside = "several classes" if labels else "other class" if candidate.names else "no class"


def _label_all(candidates: list[Candidate], label: str) -> None:
    for candidate in candidates:
        candidate.label = label
        candidate.aside = "" if candidate.aside in ("other class", "no class") else candidate.aside


def _refuse_missing_class(candidates: list[Candidate], classes: list[str], source: Path) -> None:
    held = Counter(candidate.label for candidate in candidates if not candidate.aside)
    for label in classes:
        if not held[label]:
            names = sorted(
                {name for candidate in candidates if candidate.aside != "litter" for name in candidate.names}
            )
            others = f"it has {', '.join(names[:20])}" if names else "no folder or table in it names classes"
            raise DataError(f"{source.name} has no image of the class {label!r}; {others}")


def _doubts(candidates: list[Candidate], layout: str) -> list[str]:
    doubts = []
    parts = {name.lower() for c in candidates if c.label for name in _folders(c.file)} & {"train", "val", "test"}
    if layout == "folders" and len(parts) > 1:
        doubts.append(
            f"The folders {', '.join(sorted(parts))} were joined; a manifest with a column split keeps them apart."
        )
    return doubts


LAYOUTS: dict[str, Layout] = {
    "folders": _by_folders,
    "manifest": _by_manifest_inside,
    "covid19-radiography": _covid19_radiography,
    "kermany": _kermany,
    "nih-chestxray14": _nih_chestxray14,
}
# In this order: a manifest that somebody wrote says more than a layout that was recognised.
SIGNS = {
    "manifest": re.compile(r"^(?:[^/]+/)?manifest\.csv$"),
    "nih-chestxray14": _NIH_TABLE,
    "kermany": re.compile(r"(?:^|/)(?:train|test|val)/PNEUMONIA/person\d+_(?:virus|bacteria)_", re.IGNORECASE),
    "covid19-radiography": re.compile(
        r"(?:^|/)(?:Viral Pneumonia|COVID(?:-19)?|NORMAL)(?:\.metadata\.xlsx$|/(?:images/)?(?:Viral Pneumonia|COVID(?:-19)?|NORMAL) ?[(-])",
        re.IGNORECASE,
    ),
}
