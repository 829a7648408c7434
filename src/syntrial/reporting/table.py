"""The accuracy/loss table, our figures next to the paper's, as text for a terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from dataclasses import dataclass
from typing import Any

from syntrial.arms import PROTOCOLS
from syntrial.reporting.results import JUDGING, Results, entries, judged

# Column, our number, the paper's. The paper's training figures are running averages, so ours are too.
COLUMNS = (
    ("train acc.", "running_accuracy", "train_accuracy"),
    ("val. acc.", "val_accuracy", "val_accuracy"),
    ("train loss", "running_loss", "train_loss"),
    ("val. loss", "val_loss", "val_loss"),
)
JUDGED = (
    ("accuracy", "accuracy"),
    ("AUROC", "auroc"),
    ("sensitivity", "sensitivity"),
    ("specificity", "specificity"),
    ("Brier", "brier"),
    ("calib. err.", "calibration_error"),
)
CAPTIONS = {
    "as_printed": "As printed: a random share of all images validates, generated ones included",
    "held_out": "Held out: real images of unseen patients validate; every arm is trained for the same number of steps",
    "test": "Held out: real test images of patients that nothing was trained on",
    "external": "Held out: real images from another source, never trained on",
}
ERRATUM = "* The paper's table prints 0.6700; its text has 0.0670."


@dataclass(frozen=True)
class Table:
    """Cells as they are printed. `columns` holds (group, name); the first column names the arm."""

    caption: str
    columns: list[tuple[str, str]]
    rows: list[list[str]]


def tables(results: Results) -> list[Table]:
    """Accuracy and loss under each protocol, then the held-out arms on test images and on images from elsewhere."""
    parts = [part for part in JUDGING if part in results["protocols"]["held_out"]["original"]["intervals"]]
    return [
        *(accuracy_loss(results, protocol) for protocol in PROTOCOLS),
        *(judged_on(results, part) for part in parts),
    ]


def accuracy_loss(results: Results, protocol: str) -> Table:
    """The paper's table 1 next to our figures: mean and standard deviation over seeds."""
    columns = [("", "arm"), *((name, whose) for name, _, _ in COLUMNS for whose in ("paper", "ours"))]
    rows = []
    for entry in entries(results, protocol).values():
        cells = [(_paper(entry["paper"], theirs), spread(entry["numbers"][ours])) for _, ours, theirs in COLUMNS]
        rows.append([entry["title"], *(cell for pair in cells for cell in pair)])
    return Table(CAPTIONS[protocol], columns, rows)


def judged_on(results: Results, part: str) -> Table:
    """The scores of the held-out arms on `part`; for the test images also the training accuracy in evaluation mode."""
    chosen = [(name, f"{part}_{number}") for name, number in JUDGED]
    if part == "test":
        chosen.insert(0, ("train acc.", "train_accuracy"))
    rows = [
        [entry["title"], *(spread(entry["numbers"][number], places=3) for _, number in chosen)]
        for entry in entries(results, "held_out").values()
    ]
    return Table(CAPTIONS[part], [("", "arm"), *(("", name) for name, _ in chosen)], rows)


def figure(value: float, places: int = 4) -> str:
    """A number as it is printed; from 10 on with one decimal place less, so that columns keep their width."""
    return f"{value:.{places - (abs(value) >= 10)}f}"


def spread(number: dict[str, Any], places: int = 4) -> str:
    """Mean and, with several seeds, the standard deviation over them."""
    sd = "" if number["sd"] is None else f"±{figure(number['sd'], places)}"
    return figure(number["mean"], places) + sd


def text(results: Results, width: int = 120) -> str:
    """The tables (120 characters wide) for a terminal of `width` characters, followed by a sentence per verdict."""
    blocks = [_text(table) for table in tables(results)]
    blocks.insert(2, ERRATUM)
    sentences = [entry["verdict"]["sentence"] for entry in judged(results).values()]
    wrapped = [textwrap.fill(f"* {sentence}", width, subsequent_indent="  ") for sentence in sentences]
    return "\n\n".join([*blocks, "\n".join(wrapped)]).rstrip() + "\n"


def markdown(results: Results) -> str:
    """GitHub's Markdown, which Kubeflow's dashboard renders as well."""
    return "\n\n".join([*(_markdown(table) for table in tables(results)), "\\" + ERRATUM]) + "\n"


def as_csv(results: Results) -> str:
    """One row per protocol and arm, every number unrounded: mean and standard deviation over seeds."""
    rows = [
        _csv_row(protocol, arm, entry) for protocol in PROTOCOLS for arm, entry in entries(results, protocol).items()
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _paper(row: dict[str, Any] | None, name: str) -> str:
    if row is None:
        return "-"
    return figure(row[name]) + ("*" if (row["dataset"], name) == ("D3", "train_loss") else "")


def _text(table: Table) -> str:
    names = [name for _, name in table.columns]
    widths = [max(len(cell) for cell in column) for column in zip(names, *table.rows, strict=True)]
    lines = [
        " ".join(_padded(i, cell, widths, table.columns) for i, cell in enumerate(row)).rstrip()
        for row in (names, *table.rows)
    ]
    groups = _groups_text(table.columns, widths)
    return "\n".join([table.caption, *([groups] if groups else []), lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _padded(i: int, cell: str, widths: list[int], columns: list[tuple[str, str]]) -> str:
    """The first column aligned left, numbers aligned right; a wider gap where a group begins."""
    if i == 0:
        return cell.ljust(widths[0])
    gap = " " if columns[i][0] and columns[i][0] != columns[i - 1][0] else ""
    return gap + cell.rjust(widths[i])


def _groups_text(columns: list[tuple[str, str]], widths: list[int]) -> str:
    line, position = "", 0
    for i, (group, _) in enumerate(columns):
        begins = bool(group) and group != columns[i - 1][0]
        position += begins
        if begins:
            line = line.ljust(position) + group
        position += widths[i] + 1
    return line


def _markdown(table: Table) -> str:
    names = [" ".join(filter(None, column)) for column in table.columns]
    rule = ["---", *["---:"] * (len(names) - 1)]
    lines = [
        names,
        rule,
        *([cell.replace("±", " ± ").replace("*", "\\*").replace("|", "\\|") for cell in row] for row in table.rows),
    ]
    return f"**{table.caption}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _csv_row(protocol: str, arm: str, entry: dict[str, Any]) -> dict[str, Any]:
    facts = {name: entry[name] for name in ("title", "control", "epochs", "steps", "train_images")}
    row: dict[str, Any] = {"protocol": protocol, "arm": arm, **facts}
    for name, number in entry["numbers"].items():
        row |= {name: number["mean"], f"{name}_sd": number["sd"]}
    row |= {f"paper_{name}": value for name, value in (entry["paper"] or {}).items()}
    verdict = entry.get("verdict", {})
    return row | {
        name: verdict[name] for name in ("answer", "difference", "low", "high", "smallest_effect") if name in verdict
    }
