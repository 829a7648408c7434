"""Shows a local run: the share that is done, the running boxes, their speed, and the remaining time.

The engine is a child process that runs the graph. Its boxes write JSON lines (syntrial.progress) into a folder, which
is the only input here. A box that is served from the cache writes nothing, hence this rule: **a planned box without
events counts as served from the cache once a box that depends on it has reported an event**. The order of events does
not matter: the engine starts independent boxes in any order.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TextIO

from syntrial.progress import Bars, Event, draws_bars, duration, name_of, watching
from syntrial.words import counted

AT_ONCE = 2  # boxes of a loop that run in parallel here
POLL_S = 0.25
LINE_EVERY_S = 15.0  # without a terminal
GRACE_S = 5.0  # between SIGTERM and SIGKILL
TRUSTED_SHARE = 0.05  # share of a box that must be done before its pace is used for other boxes
STEADY_S = 20.0  # weight of "one box at a time" in the estimate of how many boxes run at once
INTERRUPTED = 130  # a shell's exit code after Ctrl-C


@dataclass(frozen=True)
class Planned:
    """One box that will run.

    Attributes:
        labels: the labels of its Progress (protocol, kind, label, arm, seed), by which events are matched to the box.
        units: number of images it processes.
        weight_s: estimated working time. Only proportions matter: the time that boxes take corrects the estimates.
        needs: names of the boxes whose outputs it takes.
        start_s: start-up time, until its Progress begins.
        in_loop: True if other boxes of its loop run at the same time.
    """

    box: str
    labels: dict[str, str]
    units: int
    weight_s: float
    needs: tuple[str, ...] = ()
    start_s: float = 0.0
    in_loop: bool = False

    @property
    def name(self) -> str:
        return name_of(self.box, self.labels)

    @property
    def whole_s(self) -> float:
        return self.start_s + self.weight_s


def needed_s(boxes: list[Planned], at_once: int) -> float:
    """Seconds until the last box ends, if `at_once` boxes of a loop run in parallel."""
    looped = sum(box.whole_s for box in boxes if box.in_loop)
    return sum(box.whole_s for box in boxes) - looped + looped / at_once


@dataclass
class Board:
    """The state of a run: the plan, and the newest event of each box that has reported.

    The expected working time of a box is its weight times the pace so far of the boxes of its verb (seconds taken per
    second of weight), or the pace of all boxes where none of that verb has run. Its start-up time is as planned.
    """

    plan: list[Planned]
    newest: dict[str, Event] = field(default_factory=dict)
    since_s: float | None = None  # time of the first event

    def hear(self, event: Event, now_s: float) -> None:
        """Records an event. `now_s` may be of any clock, if all calls use the same one."""
        self.since_s = now_s if self.since_s is None else self.since_s
        self.newest[event.name] = event

    @property
    def running(self) -> list[Event]:
        """The newest event of each running box, planned or not."""
        return [event for event in self.newest.values() if not event.state]

    def states(self) -> list[str]:
        """State of each planned box: "waiting", "running", "ended" or "cached"."""
        done = self._needed()
        return [self._state(planned.name, done) for planned in self.plan]

    def _state(self, name: str, done: set[str]) -> str:
        event = self.newest.get(name)
        if event is None:
            return "cached" if name in done else "waiting"
        return "ended" if event.state else "running"

    def _needed(self) -> set[str]:
        """Names of all boxes that must have ended before the boxes with events could start."""
        needs = {planned.name: planned.needs for planned in self.plan}
        found: set[str] = set()
        waiting = [name for seen in self.newest for name in needs.get(seen, ())]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += needs.get(name, ())
        return found

    def share(self) -> float:
        """Share of the work that is done, 0 to 1. Boxes served from the cache count as done."""
        work = self._work()
        whole_s = sum(spent_s + left_s for spent_s, left_s in work)
        return sum(spent_s for spent_s, _ in work) / whole_s if whole_s else 0.0

    def remaining_s(self, now_s: float) -> float | None:
        """Seconds until the last box ends; None before the first event, because all boxes may come from the cache."""
        if self.since_s is None:
            return None
        starts_s = sum(planned.start_s for planned in self.plan if planned.name in self.newest)
        busy_s = starts_s + sum(event.elapsed_s for event in self.newest.values())
        at_once = (busy_s + STEADY_S) / (now_s - self.since_s + STEADY_S)
        left_s = sum(left_s for _, left_s in self._work())
        return max([left_s / at_once, *(event.remaining_s or 0.0 for event in self.running)])

    def _work(self) -> list[tuple[float, float]]:
        """For each planned box: seconds of work done, and left."""
        paces = {box: self._pace(box) for box in {"", *(planned.box for planned in self.plan)}}
        expected_s = [planned.weight_s * (paces[planned.box] or paces[""] or 1.0) for planned in self.plan]
        heard = [self.newest.get(planned.name) for planned in self.plan]
        starts_s = [planned.start_s for planned in self.plan]
        return [_work_of(*box) for box in zip(self.states(), starts_s, expected_s, heard, strict=True)]

    def _pace(self, box: str) -> float | None:
        heard = [(planned, self.newest.get(planned.name)) for planned in self.plan if box in ("", planned.box)]
        trusted = [(planned, event) for planned, event in heard if event and event.share >= TRUSTED_SHARE]
        weight_s = sum(planned.weight_s * event.share for planned, event in trusted)
        return sum(event.elapsed_s for _, event in trusted) / weight_s if weight_s else None


def _work_of(state: str, start_s: float, expected_s: float, event: Event | None) -> tuple[float, float]:
    if event is None:
        return (start_s + expected_s, 0.0) if state == "cached" else (0.0, start_s + expected_s)
    if event.state:
        return start_s + event.elapsed_s, 0.0
    left_s = expected_s * (1 - event.share) if event.remaining_s is None else event.remaining_s
    return start_s + event.elapsed_s, left_s


@dataclass(frozen=True)
class Overview:
    """A run at one moment, as shown to the user."""

    share: float
    done: int  # boxes, those from the cache included
    boxes: int
    elapsed_s: float
    remaining_s: float | None
    running: list[Event]

    @property
    def text(self) -> str:
        left = "" if self.remaining_s is None else f"about {duration(self.remaining_s)} left, "
        return f"{left}{self.done} of {counted(self.boxes, 'box', 'boxes')}, {duration(self.elapsed_s)} so far"


class View(Protocol):
    """A way to show a run."""

    def ended(self, event: Event) -> None:
        """Shows that a box has ended."""

    def show(self, overview: Overview) -> None:
        """Shows the current state; called several times a second."""

    def close(self) -> None:
        """Ends the display."""


class Screen:
    """On a terminal: a bar for the run and one per running box; lines of ended boxes scroll away above them."""

    def __init__(self, out: TextIO) -> None:
        self._bars = Bars(out)

    def ended(self, event: Event) -> None:
        self._bars.say(event.outcome)

    def show(self, overview: Overview) -> None:
        running = [(event.name, event.share, event.detail) for event in overview.running]
        self._bars.draw([("all", overview.share, overview.text), *running])

    def close(self) -> None:
        self._bars.close()


class Log:
    """Without a terminal: a line when a box ends, and every LINE_EVERY_S a line for the run."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._due_s = out, time.monotonic() + LINE_EVERY_S

    def ended(self, event: Event) -> None:
        print(event.outcome, file=self._out, flush=True)

    def show(self, overview: Overview) -> None:
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + LINE_EVERY_S
        now = "".join(f"; {event.name} {event.share:.0%}" for event in overview.running)
        print(f"{overview.share:.0%}, {overview.text}{now}", file=self._out, flush=True)

    def close(self) -> None:
        self._out.flush()


class Tail:
    """Reads the events that boxes have written since the last call; whole lines only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_bytes: dict[Path, int] = {}

    def events(self) -> list[Event]:
        """New events, oldest first."""
        lines = [line for path in self._folder.glob("*.jsonl") for line in self._new_lines(path)]
        return sorted(filter(None, map(_parse, lines)), key=lambda event: event.time)

    def _new_lines(self, path: Path) -> list[bytes]:
        try:
            with open(path, "rb") as file:
                start = self._read_bytes.get(path, 0)
                start = start if start <= os.fstat(file.fileno()).st_size else 0  # another file under the same name
                file.seek(start)
                new = file.read()
        except FileNotFoundError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self._read_bytes[path] = start + len(whole)
        return whole.splitlines()


def _parse(line: bytes) -> Event | None:
    """The event in a line; None for an invalid line, such as one that a full disk cut short."""
    try:
        return Event(**json.loads(line))
    except (ValueError, TypeError):
        return None


def watch(progress_folder: Path, engine: subprocess.Popen[Any], plan: list[Planned], out: TextIO | None = None) -> int:
    """Shows a run until its engine ends. Afterwards no process of the engine's group is left.

    Args:
        progress_folder: the value of SYNTRIAL_PROGRESS in the engine's environment; a new folder for each run.
        engine: started with start_new_session=True, so that it and its boxes can be ended together.
        out: default stderr.

    Returns:
        The engine's exit code (128 + n when signal n ended it); INTERRUPTED after Ctrl-C, `kill` or a closed terminal.

    Raises:
        ValueError: the engine shares this process's group.
    """
    group = _own_group(engine)
    out = out or sys.stderr
    board = Board(plan)
    began_s = time.monotonic()
    with _signals_as_ctrl_c():
        try:
            with watching(progress_folder):
                code = _follow(engine, Tail(progress_folder), board, out)
        except KeyboardInterrupt:
            code = INTERRUPTED
        finally:
            _end(engine, group)
    _say(out, _summary(board.states(), code, time.monotonic() - began_s))
    return code


def _follow(engine: subprocess.Popen[Any], tail: Tail, board: Board, out: TextIO) -> int:
    began_s, share = time.monotonic(), 0.0
    images = sum(planned.units for planned in board.plan)
    guess_s = needed_s(board.plan, AT_ONCE)
    _say(
        out,
        f"{counted(len(board.plan), 'box', 'boxes')}, {counted(images, 'image')} to process, "
        f"about {duration(guess_s)} with an empty cache",
    )
    view: View = Screen(out) if draws_bars(out) else Log(out)
    with contextlib.closing(view):
        while True:
            code = _exit_code(engine, POLL_S)
            now_s = time.monotonic()
            for event in tail.events():
                board.hear(event, now_s)
                if event.state:
                    view.ended(event)
            share = max(share, board.share())  # a better estimate of the remaining time must not move the bar backwards
            view.show(_overview(board, share, began_s, now_s))
            if code is not None:
                return code


def _overview(board: Board, share: float, began_s: float, now_s: float) -> Overview:
    states = board.states()
    done = states.count("ended") + states.count("cached")
    return Overview(share, done, len(states), now_s - began_s, board.remaining_s(now_s), board.running)


def _summary(states: list[str], code: int, elapsed_s: float) -> str:
    ended, cached, boxes = states.count("ended"), states.count("cached"), len(states)
    if code == INTERRUPTED:
        return f"stopped after {duration(elapsed_s)}; the same command continues from the last checkpoint"
    if code:
        return f"failed after {duration(elapsed_s)}: {ended + cached} of {counted(boxes, 'box', 'boxes')} had ended"
    return f"done in {duration(elapsed_s)}: {counted(ended, 'box', 'boxes')} ran, {boxes - ended} came from the cache"


def _exit_code(engine: subprocess.Popen[Any], wait_s: float) -> int | None:
    try:
        code = engine.wait(wait_s)
    except subprocess.TimeoutExpired:
        return None
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end a run as cleanly as Ctrl-C. A signal that is ignored (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can set signal handlers
        return
    chosen = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _as_ctrl_c) for number in chosen}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _own_group(engine: subprocess.Popen[Any]) -> int:
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        if os.getpgid(engine.pid) != engine.pid:
            raise ValueError("the engine shares this process's group; start it with start_new_session=True")
    return engine.pid


def _end(engine: subprocess.Popen[Any], group: int) -> None:
    """Ends the engine's process group: with SIGTERM and, after GRACE_S or another Ctrl-C, with SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(KeyboardInterrupt):
            if not _signal(engine, group, number):
                return
            deadline_s = time.monotonic() + GRACE_S
            while _signal(engine, group, 0) and time.monotonic() < deadline_s:
                time.sleep(0.05)


def _signal(engine: subprocess.Popen[Any], group: int, number: int) -> bool:
    """Sends a signal to the group; 0 sends none. Returns whether any process is left in it."""
    engine.poll()  # an ended engine would otherwise stay in the group as a zombie
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _say(out: TextIO, sentence: str) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone
        print(sentence, file=out, flush=True)
