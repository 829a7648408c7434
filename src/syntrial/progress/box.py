"""The progress of a box, reported while it works."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from syntrial.progress.bars import draws_bars
from syntrial.progress.events import Event, finite, name_of
from syntrial.progress.gauges import Gauges, port_of, serve
from syntrial.progress.lifeline import Lifeline, Orphaned
from syntrial.progress.sinks import Bar, JsonLines, Lines, Sink
from syntrial.progress.stderr import log_line, one_line

RATE_WINDOW_S = 20.0  # of the speed: long enough to average out a checkpoint, short enough to show a change


class Progress:
    """Reports the progress of a box while the block runs.

    with Progress("train_generator", total=images, protocol="held_out", kind="simple", label="normal") as progress:
        progress.update(shown, loss_g=..., loss_d=...)

    Args:
        box: the verb.
        total: work to be done, in `unit`; 0 while it is unknown (set `progress.total` once it is known).
        unit: plural noun of the work, such as images.
        protocol, kind, label, arm, seed: identify the box among those of its verb; those that apply.
        clock: monotonic time in seconds.

    Raises:
        ConfigError: SYNTRIAL_METRICS_PORT is no port.
    """

    def __init__(
        self,
        box: str,
        total: int,
        unit: str = "images",
        *,
        protocol: str = "",
        kind: str = "",
        label: str = "",
        arm: str = "",
        seed: str | int = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        labels = {"protocol": protocol, "kind": kind, "label": label, "arm": arm, "seed": str(seed)}
        self.box, self.total, self.unit, self.done = box, total, unit, 0
        self.labels = {key: value for key, value in labels.items() if value}
        self._numbers: dict[str, float] = {}
        self._sinks = sinks_of(box, self.labels)
        self._lifeline = Lifeline(os.environ.get("SYNTRIAL_PROGRESS", ""))
        self._clock = clock
        self._start_s = clock()
        self._resumed = 0  # part of `done` from before this run, which does not count as speed
        self._marks = deque([(self._start_s, 0)])
        self._due_s = 0.0

    def __enter__(self) -> Self:
        self._start_s = self._clock()
        self._marks = deque([(self._start_s, 0)])
        self._report("start")
        return self

    def skip_to(self, done: int) -> None:
        """A resumed training continues from here: earlier work counts as done, but not as speed."""
        if done > self.done:
            log_line(f"{name_of(self.box, self.labels)}: goes on from {done / max(1, self.total):.0%}")
        self._resumed += done - self.done
        self.done = done

    def update(self, done: int, **numbers: float) -> None:
        """Sets the total work done so far and the latest numbers, which must be on the host already.

        Calls between two reports cost less than a microsecond, so that a loop can call it at every step. The latest
        `done` and numbers are always reported at the end.

        Raises:
            Orphaned: the run that watches this box has ended.
        """
        self.done, self._numbers = done, numbers or self._numbers
        if self._clock() < self._due_s:
            return
        if self._lifeline.is_cut():
            raise Orphaned(f"{name_of(self.box, self.labels)}: the run that started this task is gone, so it ends too")
        self._report("progress")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._report("end", state="done")
        else:
            self._report("end", state="failed", error=one_line(error))
        self._lifeline.close()

    def _report(self, kind: str, state: str = "", error: str = "") -> None:
        now_s = self._clock()
        event = self._event(kind, now_s, state, error)
        for sink in self._sinks[:]:
            if kind == "progress" and now_s < sink.due_s:
                continue
            sink.due_s = now_s + sink.every_s
            try:
                sink.show(event)
            except OSError as problem:  # a full disk or a closed terminal must not end a training
                self._sinks.remove(sink)
                log_line(f"warning: progress is no longer shown ({type(sink).__name__}): {one_line(problem)}")
        self._due_s = min((sink.due_s for sink in self._sinks), default=now_s + Sink.every_s)

    def _event(self, kind: str, now_s: float, state: str, error: str) -> Event:
        per_s = self._per_s(now_s, whole=kind == "end")
        return Event(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            event=kind,
            box=self.box,
            labels=self.labels,
            done=self.done,
            total=self.total,
            unit=self.unit,
            elapsed_s=round(now_s - self._start_s, 3),
            per_s=None if per_s is None else round(per_s, 3),
            remaining_s=round(max(0, self.total - self.done) / per_s, 1) if per_s and self.total > 0 else None,
            numbers={name: finite(value) for name, value in self._numbers.items()},
            state=state,
            error=error,
        )

    def _per_s(self, now_s: float, whole: bool) -> float | None:
        worked = self.done - self._resumed
        self._marks.append((now_s, worked))
        while len(self._marks) > 2 and now_s - self._marks[1][0] > RATE_WINDOW_S:
            self._marks.popleft()
        then_s, then = (self._start_s, 0) if whole else self._marks[0]
        return (worked - then) / (now_s - then_s) if worked > then and now_s > then_s else None


def sinks_of(box: str, labels: dict[str, str]) -> list[Sink]:
    """Where a box reports to, by the environment."""
    folder, gateway = os.environ.get("SYNTRIAL_PROGRESS", ""), os.environ.get("SYNTRIAL_PUSHGATEWAY", "")
    port = os.environ.get("SYNTRIAL_METRICS_PORT", "")
    sinks: list[Sink] = [JsonLines(Path(folder), box, labels)] if folder else []
    if not draws_bars(sys.stderr):
        sinks.append(Lines(sys.stderr))
    elif not folder:
        sinks.append(Bar(sys.stderr))
    if port:
        serve(os.environ.get("SYNTRIAL_METRICS_HOST") or "127.0.0.1", port_of(port))
    if port or gateway:
        gauge_labels = {"class" if key == "label" else key: value for key, value in labels.items()}
        sinks.append(Gauges({"box": box, **gauge_labels}, gateway))
    return sinks
