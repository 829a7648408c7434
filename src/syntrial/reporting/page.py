"""One self-contained HTML file: no script, nothing to load, legible on a phone, in the dark and on paper."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from syntrial.reporting.pagestyle import CSS
from syntrial.reporting.table import Table


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; `body` is HTML. An anchor named `key` leads to it."""

    key: str
    heading: str
    body: str


@dataclass(frozen=True)
class Picture:
    """A file among the figures, with what a reader who cannot see it is told."""

    path: Path
    caption: str
    description: str


def document(title: str, lead: str, sections: list[Section], footer: str) -> str:
    """The whole file. `title` and `footer` are plain text, `lead` is HTML."""
    links = "".join(f'<li><a href="#{section.key}">{html.escape(section.heading)}</a></li>' for section in sections)
    bodies = "".join(
        f'<section id="{section.key}"><h2>{html.escape(section.heading)}</h2>{section.body}</section>'
        for section in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{CSS}</style></head><body>"
        f"<header><h1>{html.escape(title)}</h1>{lead}"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav></header>'
        f"<main>{bodies}<footer>{html.escape(footer)}</footer></main></body></html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Plain text as a paragraph."""
    return f"<p{_class(kind)}>{html.escape(text)}</p>"


def listing(items: Iterable[str], ordered: bool = False) -> str:
    """Plain texts as a list; nothing where there are none."""
    lines = "".join(f"<li>{html.escape(item)}</li>" for item in items)
    return (f"<ol>{lines}</ol>" if ordered else f"<ul>{lines}</ul>") if lines else ""


def grid(caption: str, header: list[str], rows: Iterable[list[str]], kind: str = "numbers") -> str:
    """A table of plain texts in a box that scrolls where the screen is narrow; nothing where there are no rows."""
    names = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in header)
    lines = "".join(row_html(row) for row in rows)
    return box(caption, f"<thead><tr>{names}</tr></thead><tbody>{lines}</tbody>", kind) if lines else ""


def numeric(table: Table) -> str:
    """A table of numbers, with a line over the columns that belong together."""
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>{"".join(f"<td>{_number(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.rows
    )
    return box(table.caption, f"<thead>{_head(table.columns)}</thead><tbody>{body}</tbody>", "numbers")


def row_html(cells: list[str], kind: str = "", names: Sequence[str] = ()) -> str:
    """A line of plain texts, the first of which names it. With the `names` of the others, a phone can stack them."""
    marks = [f' data-name="{html.escape(name)}"' for name in names] or [""] * (len(cells) - 1)
    rest = "".join(f"<td{mark}>{html.escape(cell)}</td>" for mark, cell in zip(marks, cells[1:], strict=True))
    return f'<tr{_class(kind)}><th scope="row">{html.escape(cells[0])}</th>{rest}</tr>'


def box(caption: str, rows: str, kind: str) -> str:
    """A table's rows (HTML) under a caption (plain), in a box that scrolls and can be reached with the keyboard."""
    told = html.escape(caption)
    shown = f"<table{_class(kind)}><caption><span>{told}</span></caption>{rows}</table>"
    return f'<div class="scroll" role="region" aria-label="{told}" tabindex="0">{shown}</div>'


def picture(shown: Picture) -> str:
    """A figure with the file's bytes inside."""
    data = base64.b64encode(shown.path.read_bytes()).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(shown.description)}">'
        f"<figcaption>{html.escape(shown.caption)}</figcaption></figure>"
    )


def pictures(shown: Iterable[Picture], kind: str = "pictures") -> str:
    """Figures side by side where there is room."""
    return f'<div class="{kind}">{"".join(map(picture, shown))}</div>'


def _head(columns: list[tuple[str, str]]) -> str:
    names = "".join(f'<th scope="col">{html.escape(name)}</th>' for _, name in columns)
    groups = list(dict.fromkeys(group for group, _ in columns if group))
    if not groups:
        return f"<tr>{names}</tr>"
    spans = [(group, sum(group == other for other, _ in columns)) for group in groups]
    over = "".join(f'<th scope="colgroup" colspan="{span}">{html.escape(group)}</th>' for group, span in spans)
    return f"<tr><td></td>{over}</tr><tr>{names}</tr>"


def _number(cell: str) -> str:
    mean, plus_minus, sd = html.escape(cell).partition("±")
    mean = mean.replace("*", '<a href="#erratum" title="see the erratum">*</a>')
    return f"{mean} <small>± {sd}</small>" if plus_minus else mean


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
