"""Shows the progress of a run on a cluster: each box that begins or ends, and the share of boxes that have ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol, TextIO

from pipelines.cluster.client import AwayError
from pipelines.cluster.remote import Look, RemoteRuns
from pipelines.cluster.workflow import Box
from syntrial.progress import Bars, draws_bars, duration

LINE_EVERY_S = 60.0  # without a terminal
PATIENCE_S = 300.0  # for a Kubeflow that does not answer: a server that restarts needs a minute or two
REPORTED = ("running", "stuck", "done", "cached", "failed")


class RunView(Protocol):
    """A way to show a run."""

    def say(self, line: str) -> None:
        """Prints a line that stays."""

    def show(self, look: Look, now: datetime) -> None:
        """Shows the current state."""

    def close(self) -> None:
        """Ends the display."""


class RunScreen:
    """On a terminal: a bar for the run, and a line for each running box."""

    def __init__(self, out: TextIO) -> None:
        self._bars = Bars(out)

    def say(self, line: str) -> None:
        self._bars.say(line)

    def show(self, look: Look, now: datetime) -> None:
        busy = [box for box in look.boxes if box.pod and not box.has_ended]
        rows = [("all", look.share, look.progress)]
        self._bars.draw(rows + [(box.name, 0.0, f"{box.state}, {duration(box.seconds(now))}") for box in busy])

    def close(self) -> None:
        self._bars.close()


class RunLog:
    """Without a terminal: lines only, and one for the run every LINE_EVERY_S."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._due_s = out, time.monotonic() + LINE_EVERY_S

    def say(self, line: str) -> None:
        print(line, file=self._out, flush=True)

    def show(self, look: Look, now: datetime) -> None:
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + LINE_EVERY_S
        busy = [box for box in look.boxes if box.pod and not box.has_ended]
        now_s = "".join(f"; {box.name}, {box.state} {duration(box.seconds(now))}" for box in busy)
        self.say(f"{look.progress}{now_s}")

    def close(self) -> None:
        self._out.flush()


def follow(runs: RemoteRuns, run_id: str, out: TextIO, every_s: float) -> Look:
    """Shows a run until it is over. Returns its last state.

    Raises:
        AwayError: Kubeflow has not answered for PATIENCE_S; the run itself continues.
    """
    view: RunView = RunScreen(out) if draws_bars(out) else RunLog(out)
    shown: dict[str, str] = {}
    with contextlib.closing(view):
        while True:
            look = _patiently(lambda: runs.look(run_id), view, every_s)
            now = datetime.now(UTC)
            for number, box in enumerate(look.boxes):
                key = f"{number} {box.name}"
                if box.state in REPORTED and shown.get(key) != box.state:
                    shown[key] = box.state
                    view.say(line_of(box, now))
            if look.is_over:
                return look
            view.show(look, now)
            time.sleep(every_s)


def line_of(box: Box, now: datetime) -> str:
    """The state of a box, as one line."""
    took = duration(box.seconds(now))
    tries = f", try {box.tries}" if box.tries > 1 else ""
    words = {
        "done": f"done in {took}{tries}",
        "cached": "from the cache",
        "failed": f"failed after {took}{tries}",
        "stuck": f"does not start: {box.message}",
    }
    return f"{box.name}: {words.get(box.state, box.state + tries)}"


def _patiently(action: Callable[[], Look], view: RunView, every_s: float) -> Look:
    silent_since_s = None
    while True:
        try:
            return action()
        except AwayError as error:
            if silent_since_s is None:
                silent_since_s = time.monotonic()
                view.say(f"{error} Trying again for {duration(PATIENCE_S)}; the run itself continues")
            elif time.monotonic() - silent_since_s > PATIENCE_S:
                raise
            time.sleep(every_s)
