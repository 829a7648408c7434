"""The blocks that report.html is made of, and the page as text: templates/ holds its HTML and its CSS.

The page is one self-contained file: no script, nothing to load, legible on a phone, in the dark and on paper.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from syntrial.reporting.table import Table

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """A PNG file, with a caption and with a description for readers who cannot see it."""

    path: Path
    caption: str
    description: str

    @property
    def base64(self) -> str:
        """The content of the file, as HTML embeds it."""
        return base64.b64encode(self.path.read_bytes()).decode("ascii")


@dataclass(frozen=True)
class Paragraph:
    """Text; `style` is "", "lead" or "soft"."""

    kind: ClassVar = "paragraph"
    text: str
    style: str = ""


@dataclass(frozen=True)
class Listing:
    """A list of texts, with bullets or with numbers."""

    kind: ClassVar = "listing"
    items: list[str]
    ordered: bool = False


@dataclass(frozen=True)
class Card:
    """The answer for one arm. `style` is "" or the answer as a class of the CSS."""

    style: str
    answer: str
    title: str
    against: str
    texts: list[str]


@dataclass(frozen=True)
class Cards:
    """Cards in columns, as many as there is room for."""

    kind: ClassVar = "cards"
    cards: list[Card]


@dataclass(frozen=True)
class Grid:
    """A table of texts; the first cell of a row is its heading."""

    kind: ClassVar = "grid"
    caption: str
    header: list[str]
    rows: list[list[str]]
    style: str = "numbers"


@dataclass(frozen=True)
class Numbers:
    """One of the tables of syntrial.reporting.table."""

    kind: ClassVar = "numbers"
    table: Table

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The headings over columns that belong together, each with its number of columns."""
        groups = [group for group, _ in self.table.columns if group]
        return [(group, groups.count(group)) for group in dict.fromkeys(groups)]


@dataclass(frozen=True)
class Setting:
    """One setting. `cells`: its value, the default, the meaning and the source of the default."""

    name: str
    changed: bool  # differs from the default
    cells: list[str]


@dataclass(frozen=True)
class Settings:
    """A table of settings, those that were changed marked. `sections`: ("" or its heading, its settings)."""

    kind: ClassVar = "settings"
    caption: str
    header: list[str]
    sections: list[tuple[str, list[Setting]]]


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side ("pictures") or one below the other ("strips")."""

    kind: ClassVar = "gallery"
    pictures: list[Picture]
    style: str = "pictures"


Block = Paragraph | Listing | Cards | Grid | Numbers | Settings | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; links lead to it by `key`. Tables and lists without content are left out."""

    key: str
    heading: str
    content: list[Block]

    @property
    def blocks(self) -> list[Block]:
        """What is drawn."""
        return [block for block in self.content if not _empty(block)]


def document(**content: Any) -> str:
    """The whole file.

    Args:
        content: what templates/report.html names: title, question, warnings (their number in words, "" for none),
            sections and footer.

    Raises:
        jinja2.UndefinedError: one of them is missing.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # here, since the other boxes draw no page

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html").render(content)


def _empty(block: Block) -> bool:
    return (isinstance(block, Grid) and not block.rows) or (isinstance(block, Listing) and not block.items)
