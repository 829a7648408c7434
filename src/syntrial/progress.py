"""Progress of a box: a bar for people, JSON lines for programs, gauges for Prometheus.

Environment variables set where it is shown:

    SYNTRIAL_PROGRESS      folder; each box appends JSON lines (one Event per line) to a file of its own in it, and
                           draws no bar, because the process that set the folder shows it (pipelines/local/watch.py)
    SYNTRIAL_METRICS_PORT  port that serves the gauges (the next free one when it is taken), on SYNTRIAL_METRICS_HOST
                           (127.0.0.1 unless set)
    SYNTRIAL_PUSHGATEWAY   URL of a Prometheus Pushgateway; a box pushes its last gauges there when it ends

Every gauge has the labels box, protocol, kind, class, arm, seed and of; a label that does not apply is empty:

    syntrial_step                work done, in the box's unit (images shown), or the number `step` where it is logged
    syntrial_progress_ratio      share of the work that is done, 0 to 1
    syntrial_images_per_second   speed; with the unit's name where it is not images, as in syntrial_files_per_second
    syntrial_loss                (and _accuracy, _auroc) with the label `of`: loss_g is syntrial_loss{of="g"},
                                 val_accuracy is syntrial_accuracy{of="val"}
    syntrial_<name>              any other number logged, such as syntrial_diversity; NaN where it is not finite
    syntrial_failed              1 when the box ended in an error, else 0
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
import math
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self, TextIO

from syntrial.errors import ConfigError, SyntrialError
from syntrial.words import counted

if TYPE_CHECKING:  # imported where it is used: most boxes do not use it and start faster without
    from prometheus_client import CollectorRegistry, Gauge

RATE_WINDOW_S = 20.0  # of the speed: long enough to average out a checkpoint, short enough to show a change
BAR_WIDTH = 12  # characters
SHOWN = 6  # facts of a box on one line; programs get all
PORTS_TRIED = 20
PUSH_TIMEOUT_S = 5
LOCK = "watched.lock"
MEASURED = re.compile(r"((?P<before>\w+)_)?(?P<measure>loss|accuracy|auroc)(_(?P<after>\w+))?")
GAUGE_LABELS = ("box", "protocol", "kind", "class", "arm", "seed", "of")


class Orphaned(SystemExit):
    """The run that started this box is gone; continuing would only block the next run."""


@dataclass(frozen=True)
class Event:
    """One report of a box's progress. As JSON, one line of its file."""

    time: str  # ISO 8601, UTC
    event: str  # "start", "progress" or "end"
    box: str
    labels: dict[str, str]  # those of protocol, kind, label, arm and seed that apply
    done: int
    total: int
    unit: str
    elapsed_s: float
    per_s: float | None = None  # units per second over RATE_WINDOW_S; at the end over the whole run
    remaining_s: float | None = None
    numbers: dict[str, float | None] = field(default_factory=dict)  # the latest; None for one that is not finite
    state: str = ""  # at the end: "done" or "failed"
    error: str = ""  # one line, when it failed

    @property
    def name(self) -> str:
        """The box's name for people, the same in all its events."""
        return name_of(self.box, self.labels)

    @property
    def share(self) -> float:
        """Share of the work that is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else float(self.state == "done")

    @property
    def detail(self) -> str:
        """Time left, speed and the latest numbers; the most important first, since a narrow terminal cuts the rest."""
        parts = [] if self.remaining_s is None or self.state else [f"{duration(self.remaining_s)} left"]
        parts += [] if self.per_s is None else [f"{_short(self.per_s)} {self.unit}/s"]
        parts += [f"{name} {_short(value)}" for name, value in self.numbers.items()]
        return ", ".join(parts[:SHOWN])

    @property
    def outcome(self) -> str:
        """One line about a box that has ended."""
        if self.state == "failed":
            return f"{self.name}: failed after {duration(self.elapsed_s)}: {self.error}"
        return ", ".join(filter(None, (f"{self.name}: done in {duration(self.elapsed_s)}", self.detail)))


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
        self._sinks = _sinks(box, self.labels)
        self._lifeline = _Lifeline(os.environ.get("SYNTRIAL_PROGRESS", ""))
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
            _say(f"{name_of(self.box, self.labels)}: goes on from {done / max(1, self.total):.0%}")
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
            self._report("end", state="failed", error=_sentence(error))
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
                _say(f"warning: progress is no longer shown ({type(sink).__name__}): {_sentence(problem)}")
        self._due_s = min((sink.due_s for sink in self._sinks), default=now_s + _Sink.every_s)

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
            numbers={name: _finite(value) for name, value in self._numbers.items()},
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


class _Sink:
    """A destination of events: each start and end, and progress at most every `every_s` seconds."""

    every_s = 1.0
    due_s = 0.0

    def show(self, event: Event) -> None:
        """Raises OSError when the destination is gone."""
        raise NotImplementedError


class Bar(_Sink):
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


class Lines(_Sink):
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


class JsonLines(_Sink):
    """A file that another process can follow: each line is written at once."""

    def __init__(self, folder: Path, box: str, labels: dict[str, str]) -> None:
        parts = (re.sub(r"[^A-Za-z0-9_.]+", "-", part) for part in (box, *labels.values()))
        self._path = folder / f"{'-'.join(parts)[:150]}-{os.getpid()}.jsonl"

    def show(self, event: Event) -> None:
        if event.event == "start":
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(event), allow_nan=False, ensure_ascii=False) + "\n")


class Gauges(_Sink):
    """Prometheus gauges, served while the process lives and pushed when the box ends."""

    def __init__(self, labels: dict[str, str], gateway: str) -> None:
        self._labels, self._gateway = labels, gateway

    def show(self, event: Event) -> None:
        _record(_registry(), self._labels, event)
        if self._gateway and event.event == "end":
            self._push(event)

    def _push(self, event: Event) -> None:
        from http.client import HTTPException

        from prometheus_client import CollectorRegistry, push_to_gateway

        own = CollectorRegistry()  # of this box alone: the gateway gives everything in one push the same labels
        _record(own, self._labels, event)
        try:
            push_to_gateway(self._gateway, "syntrial", own, dict(self._labels), timeout=PUSH_TIMEOUT_S)
        except (OSError, HTTPException, ValueError) as problem:
            _say(f"warning: the gauges were not pushed to SYNTRIAL_PUSHGATEWAY={self._gateway}: {_sentence(problem)}")


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


def name_of(box: str, labels: dict[str, str]) -> str:
    """The name of a box for people, such as "train_generator held out simple/normal"."""
    which = "/".join(filter(None, (labels.get(key) for key in ("kind", "label", "arm"))))
    seed = f"seed {labels['seed']}" if labels.get("seed") else ""
    return " ".join(filter(None, (box, labels.get("protocol", "").replace("_", " "), which, seed)))


def duration(seconds: float) -> str:
    """Seconds as people read them: 7 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@contextlib.contextmanager
def watching(folder: Path) -> Iterator[None]:
    """While the block runs, boxes that write into `folder` continue; when it is over, they end.

    The sign is a file lock, which the system releases however this process ends. The file is a new one each time, so
    that a box left over from an earlier run does not mistake this process for its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{LOCK}.{os.getpid()}"
    with open(draft, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.replace(draft, folder / LOCK)
        yield


class _Lifeline:
    """Detects that the watching process is gone. The parent process is no sign: it is a shell of kfp.local's."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder) / LOCK if folder else None
        self._file: IO[bytes] | None = None

    def is_cut(self) -> bool:
        """Whether a process has watched the folder and no process does any more."""
        if self._file is None:
            if self._path is None or not self._path.exists():
                return False
            self._file = open(self._path, "rb")  # noqa: SIM115  kept open: a later watcher locks another file
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _sinks(box: str, labels: dict[str, str]) -> list[_Sink]:
    folder, gateway = os.environ.get("SYNTRIAL_PROGRESS", ""), os.environ.get("SYNTRIAL_PUSHGATEWAY", "")
    port = os.environ.get("SYNTRIAL_METRICS_PORT", "")
    sinks: list[_Sink] = [JsonLines(Path(folder), box, labels)] if folder else []
    if not draws_bars(sys.stderr):
        sinks.append(Lines(sys.stderr))
    elif not folder:
        sinks.append(Bar(sys.stderr))
    if port:
        _serve(os.environ.get("SYNTRIAL_METRICS_HOST") or "127.0.0.1", _port(port))
    if port or gateway:
        gauge_labels = {"class" if key == "label" else key: value for key, value in labels.items()}
        sinks.append(Gauges({"box": box, **gauge_labels}, gateway))
    return sinks


@functools.cache
def _registry() -> CollectorRegistry:
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()


@functools.cache
def _gauge(registry: CollectorRegistry, name: str) -> Gauge:
    from prometheus_client import Gauge

    return Gauge(f"syntrial_{name}", name.replace("_", " "), GAUGE_LABELS, registry=registry)


def _record(registry: CollectorRegistry, labels: dict[str, str], event: Event) -> None:
    rate = f"{re.sub('[^a-z0-9]+', '_', event.unit.lower())}_per_second"
    measured = {"step": event.done, "progress_ratio": event.share, rate: event.per_s, **event.numbers}
    measured["failed"] = float(event.state == "failed")
    for name, value in measured.items():
        metric, of = _metric(name)
        all_labels = dict.fromkeys(GAUGE_LABELS, "") | labels | {"of": of}
        _gauge(registry, metric).labels(**all_labels).set(math.nan if value is None else value)


def _metric(name: str) -> tuple[str, str]:
    """Metric and label of a number: ("loss", "g") for loss_g, ("accuracy", "val") for val_accuracy."""
    found = MEASURED.fullmatch(name)
    return (found["measure"], found["before"] or found["after"] or "") if found else (name, "")


@functools.cache
def _serve(host: str, port: int) -> int:
    """The port that serves the gauges: the given one, or another when it is taken; 0 when there is none."""
    from prometheus_client import start_http_server

    for candidate in [*range(port, min(port + PORTS_TRIED, 65536)), 0]:  # 0: any free port
        try:
            server, _ = start_http_server(candidate, host, _registry())
        except OSError as problem:
            reason = problem
            continue
        taken = f"warning: port {port} is taken; " if candidate != port else ""
        _say(f"{taken}gauges are at http://{host}:{server.server_port}/metrics")
        return server.server_port
    _say(f"warning: no gauges are served on {host}: {_sentence(reason)}")
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ConfigError(f"SYNTRIAL_METRICS_PORT is {text!r}; it needs a port, 1 to 65535 (0: any that is free)")
    return int(text)


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):  # stderr is closed
        print(_without_secrets(sentence), file=sys.stderr, flush=True)


def _sentence(error: BaseException) -> str:
    text = str(error) if isinstance(error, SyntrialError | Orphaned) else f"{type(error).__name__}: {error}"
    return _without_secrets(" ".join(text.split())[:500].removesuffix(":"))


def _without_secrets(text: str) -> str:
    for name, value in os.environ.items():
        if re.search("SECRET|PASSWORD|TOKEN|KEY|CREDENTIAL", name.upper()) and len(value) >= 6:
            text = text.replace(value, "***")
    return re.sub(r"(://)[^/@\s]+@", r"\1***@", text)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _short(value: float | None) -> str:
    """At least three significant figures, without an exponent for numbers of common size."""
    if value is None:
        return "not finite"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
