"""Public sets of chest X-rays, in the layout of their downloads. docs/data.md has their sources and terms."""

from __future__ import annotations

import re

from syntrial.errors import DataError
from syntrial.reading.archives import File
from syntrial.reading.candidates import Candidate, Layout, Read, basename, folders, table_rows

_COVID19_CLASS = "(?:Viral Pneumonia|COVID(?:-19)?|NORMAL)"


def covid19_radiography(files: list[File], read: Read) -> list[Candidate]:
    """Old: CLASS/CLASS (n).png. New: CLASS/images/CLASS-n.png and CLASS/masks. Patients are not recorded."""
    candidates = []
    for file in files:
        *outer, last = folders(file) or ("",)
        kind = last.lower() if outer and last.lower() in ("images", "masks") else ""
        name = outer[-1] if kind else last
        candidates.append(Candidate(file, (name,) if name else (), aside="mask" if kind == "masks" else ""))
    return candidates


# Viral, bacterial, IM- and NORMAL2-IM- files are numbered independently: kept apart, no patient is in both the official
# test folder and the rest (its bacterial images are exactly those of persons 78 to 175); merged, hundreds would be.
_KERMANY_FILE = re.compile(r"(?:^|/)(train|val|test)/(normal|pneumonia)/([^/]+)$", re.IGNORECASE)
_KERMANY_PATIENT = re.compile(r"^(person\d+_(?:virus|bacteria)|(?:NORMAL2-)?IM-\d+)", re.IGNORECASE)


def kermany(files: list[File], read: Read) -> list[Candidate]:
    """PART/NORMAL and PART/PNEUMONIA, with patient and pathogen in the file names. A download may hold it all twice."""
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
                split="test" if part == "test" else "",  # its val, of 16 images, is too small to be one
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
_NIH_COLUMNS = ("image index", "finding labels", "patient id")


def nih_chestxray14(files: list[File], read: Read) -> list[Candidate]:
    """Images in any folders; findings and patients in Data_Entry_2017*.csv, the official test images in test_list.txt.

    Raises:
        DataError: the table is missing, or one of its columns.
    """
    tables = sorted((file for file in files if _NIH_TABLE.search(file.name)), key=lambda file: file.name)
    if not tables:
        raise DataError("the layout nih-chestxray14 needs its table Data_Entry_2017*.csv alongside the images")
    rows = table_rows(read(tables[-1]), tables[-1].name, _NIH_COLUMNS)
    known = {row[_NIH_COLUMNS[0]]: (row[_NIH_COLUMNS[1]], row[_NIH_COLUMNS[2]]) for row in rows}
    test = {line.strip() for file in files if _NIH_TEST.search(file.name) for line in read(file).splitlines()}
    candidates = []
    for file in files:
        findings, patient = known.get(basename(file), ("", ""))
        names = tuple(finding.strip() for finding in findings.split("|") if finding.strip())
        candidates.append(Candidate(file, names, patient, "test" if basename(file) in test else ""))
    return candidates


PUBLIC_SETS: dict[str, Layout] = {
    "nih-chestxray14": nih_chestxray14,
    "kermany": kermany,
    "covid19-radiography": covid19_radiography,
}
SIGNS = {
    "nih-chestxray14": _NIH_TABLE,
    "kermany": re.compile(r"(?:^|/)(?:train|test|val)/PNEUMONIA/person\d+_(?:virus|bacteria)_", re.IGNORECASE),
    "covid19-radiography": re.compile(
        rf"(?:^|/){_COVID19_CLASS}(?:\.metadata\.xlsx$|/(?:images/)?{_COVID19_CLASS} ?[(-])", re.IGNORECASE
    ),
}
