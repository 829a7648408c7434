"""Where events go: a bar, plain lines, a file that another process follows; and the gauges of gauges.py."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import TextIO

from syntrial.progress.bars import Bars
from syntrial.progress.events import Event
from syntrial.words import counted


class Sink:
    """A destination of events: each start and end, and progress at most every `every_s` seconds."""

    every_s = 1.0
    due_s = 0.0

    def show(self, event: Event) -> None:
        """Raises OSError when the destination is gone."""
        raise NotImplementedError


class Bar(Sink):
    """One bar on a terminal."""

    every_s = 0.2

    def __init__(self, out: TextIO) -> None:
        self._bars = Bars(out)

    def show(self, event: Event) -> None:
        if event.event == "end":
            self._bars.close()
            self._bars.say(event.outcome)
        else:
            self._bars.draw([(event.name, event.share, event.detail)])


class Lines(Sink):
    """Plain lines, for output that is no terminal."""

    every_s = 10.0

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, event: Event) -> None:
        if event.event == "start":
            work = counted(event.total, event.unit.removesuffix("s"), event.unit) if event.total else "starts"
            line = f"{event.name}: {work}"
        elif event.event == "end":
            line = event.outcome
        else:
            line = ", ".join(filter(None, (f"{event.name}: {event.share:.0%}", event.detail)))
        print(line, file=self._out, flush=True)


class JsonLines(Sink):
    """A file that another process can follow: each line is written at once."""

    def __init__(self, folder: Path, box: str, labels: dict[str, str]) -> None:
        parts = (re.sub(r"[^A-Za-z0-9_.]+", "-", part) for part in (box, *labels.values()))
        self._path = folder / f"{'-'.join(parts)[:150]}-{os.getpid()}.jsonl"

    def show(self, event: Event) -> None:
        if event.event == "start":
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(event), allow_nan=False, ensure_ascii=False) + "\n")
