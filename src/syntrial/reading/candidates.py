"""A candidate: one file with the class, group and part that its data set gives it; and reading such tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from syntrial.errors import DataError
from syntrial.reading.archives import File

# Why a file is not read. None of these is an image of the study, so none counts as lost.
ASIDE = {
    "hidden": ("warn", "hidden file, skipped"),
    "litter": ("reject", "written by an operating system, not an image"),
    "mask": ("reject", "a mask, not an image"),
    "second copy": ("reject", "the same file is in the data a second time, under a shorter path"),
    "no class": ("reject", "no folder or table gives its class"),
    "other class": ("reject", "of a class that is not asked for"),
    "several classes": ("warn", "shows more than one of the classes asked for, so it belongs to none"),
    "other file": ("reject", "a document, not an image"),
}
# Documents that accompany images; applied only to files that are no image or have no class.
DOCUMENTS = (
    ".txt",
    ".md",
    ".csv",
    ".tsv",
    ".json",
    ".xml",
    ".xls",
    ".xlsx",
    ".pdf",
    ".html",
    ".doc",
    ".docx",
    ".yaml",
    ".yml",
)


@dataclass(slots=True)
class Candidate:
    """One file and what its data set records about it."""

    file: File
    names: tuple[str, ...] = ()  # the names of classes that it is filed under
    group: str = ""
    split: str = ""  # train, val, test or empty
    aside: str = ""  # a key of ASIDE, or empty
    label: str = ""  # the class of the study


Read = Callable[[File], str]  # the text of a small file
Layout = Callable[[list[File], Read], list[Candidate]]  # one candidate for each file; reads tables, never images


def folders(file: File) -> tuple[str, ...]:
    """The names of the folders that contain a file, the outermost first."""
    return tuple(file.name.split("/")[:-1])


def basename(file: File) -> str:
    """The file's name without folders."""
    return file.name.rpartition("/")[2]


def table_rows(text: str, table: str, needed: Iterable[str] = ()) -> Iterator[dict[str, str]]:
    """Rows by column name, in lower case. The delimiter is the comma, semicolon or tab most frequent in the first line.

    A row that ends early has empty cells.

    Raises:
        DataError: a column of `needed` is missing, or a quoted cell does not end.
    """
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        lacking = [name for name in needed if name not in columns]
        if lacking:
            raise DataError(f"{table} lacks the column {lacking[0]!r}; it has {', '.join(columns)}")
        for cells in reader:
            if any(cells):
                yield dict.fromkeys(columns, "") | dict(zip(columns, map(str.strip, cells), strict=False))
    except csv.Error as error:
        raise DataError(
            f"{table}, line {reader.line_num}: {error}; is a quotation mark missing, or too many?"
        ) from None
