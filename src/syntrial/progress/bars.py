"""Bars at the bottom of a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TextIO

BAR_WIDTH = 12  # characters


class Bars:
    """Bars at the bottom of a terminal, drawn on request and so without a thread."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=out, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def draw(self, rows: Iterable[tuple[str, float, str]]) -> None:
        """Draws a bar per row: name, share (0 to 1), and a text that is cut at the terminal's edge."""
        from rich.progress_bar import ProgressBar
        from rich.table import Column, Table
        from rich.text import Text

        columns = Column(no_wrap=True), Column(width=BAR_WIDTH), Column(no_wrap=True, justify="right"), Column()
        table = Table.grid(*columns, padding=(0, 1))
        for name, share, text in rows:
            bar = ProgressBar(total=1, completed=share, width=BAR_WIDTH)
            table.add_row(Text(name), bar, f"{share:4.0%}", Text(text, no_wrap=True, overflow="ellipsis"))
        self._live.start()
        self._live.update(table, refresh=True)

    def say(self, line: str) -> None:
        """Prints a permanent line above the bars."""
        self._console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._live.stop()


def draws_bars(out: TextIO) -> bool:
    """Whether `out` is a terminal that can move its cursor."""
    return out.isatty() and os.environ.get("TERM") != "dumb"
