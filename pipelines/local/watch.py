"""What a person sees of a local run: how far it is, what runs now, how fast, and how long it will still take.

The engine is a child process that runs the graph; its boxes write JSON lines (syntrial.progress) into a folder, which
is all that is read here. A box that is served from the cache never writes, so this rule stands in: **a planned box that
has not been seen counts as served from the cache once a box that needs its output has been seen**. The order in which
boxes are seen says nothing: the engine starts what is independent in an order of its own.
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

AT_ONCE = 2  # boxes of a loop that run side by side here
POLL_S = 0.25
LINE_EVERY_S = 15.0  # without a terminal
GRACE_S = 5.0  # between asking the engine to end and ending it
TRUSTED_SHARE = 0.05  # of a box, before its pace says anything about others
STEADY_S = 20.0  # weight of "one box at a time" when working out how many really run at once
INTERRUPTED = 130  # the exit code shells give Ctrl-C


@dataclass(frozen=True)
class Planned:
    """One box that will run.

    `labels` are those that the box gives its Progress (protocol, kind, label, arm, seed): that is how they find each
    other. `units` are images to be processed. `weight_s` is a guess of the seconds it works, whose proportions matter
    most: what the boxes really take corrects it. `start_s` passes before, until its Progress begins. `needs` are the
    names of the boxes whose output it takes. `in_loop`: others of its loop run at the same time.
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
    """Seconds until the last box ends, when `at_once` boxes of a loop run side by side."""
    looped = sum(box.whole_s for box in boxes if box.in_loop)
    return sum(box.whole_s for box in boxes) - looped + looped / at_once


@dataclass
class Board:
    """What is known of a run: the plan, and the newest word of each box that has spoken.

    How long a box will work is its weight times the pace of the boxes of its verb so far (seconds taken for a second of
    weight; the pace of all boxes while there is none of that verb). Its start takes as long as was planned.
    """

    plan: list[Planned]
    newest: dict[str, Event] = field(default_factory=dict)
    since_s: float | None = None  # when the first box was heard

    def hear(self, event: Event, now_s: float) -> None:
        """`now_s` is any clock's, as long as it is the same one's everywhere."""
        self.since_s = now_s if self.since_s is None else self.since_s
        self.newest[event.name] = event

    @property
    def running(self) -> list[Event]:
        """The newest word of each box that runs, planned or not."""
        return [event for event in self.newest.values() if not event.state]

    def states(self) -> list[str]:
        """Of each planned box: "waiting", "running", "ended" or "cached"."""
        done = self._needed()
        return [self._state(planned.name, done) for planned in self.plan]

    def _state(self, name: str, done: set[str]) -> str:
        event = self.newest.get(name)
        if event is None:
            return "cached" if name in done else "waiting"
        return "ended" if event.state else "running"

    def _needed(self) -> set[str]:
        """Names of all boxes that must have ended before those that have been seen could start."""
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
        """Of the work, done: 0 to 1. What the cache serves counts as done."""
        work = self._work()
        whole_s = sum(spent_s + left_s for spent_s, left_s in work)
        return sum(spent_s for spent_s, _ in work) / whole_s if whole_s else 0.0

    def remaining_s(self, now_s: float) -> float | None:
        """Until the last box ends; None while none has been seen, for then all may come from the cache."""
        if self.since_s is None:
            return None
        starts_s = sum(planned.start_s for planned in self.plan if planned.name in self.newest)
        busy_s = starts_s + sum(event.elapsed_s for event in self.newest.values())
        at_once = (busy_s + STEADY_S) / (now_s - self.since_s + STEADY_S)
        left_s = sum(left_s for _, left_s in self._work())
        return max([left_s / at_once, *(event.remaining_s or 0.0 for event in self.running)])

    def _work(self) -> list[tuple[float, float]]:
        """Of each planned box: seconds of work that are done, and that are left."""
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
    """A run at one moment, as it is shown."""

    share: float
    done: int  # boxes, those from the cache included
    boxes: int
    elapsed_s: float
    remaining_s: float | None
    running: list[Event]

    @property
    def text(self) -> str:
        left = "" if self.remaining_s is None else f"about {duration(self.remaining_s)} left, "
        return f"{left}{self.done} of {self.boxes} boxes, {duration(self.elapsed_s)} so far"


class View(Protocol):
    """A way to show a run."""

    def ended(self, event: Event) -> None:
        """A box has ended."""

    def show(self, overview: Overview) -> None:
        """Called several times a second."""

    def close(self) -> None:
        """Nothing more will be shown."""


class Screen:
    """On a terminal: a bar for the whole and one for each box that runs; what has ended scrolls away above them."""

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
    """Without a terminal: a line when a box ends, and now and then one for the whole."""

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
    """Reads what the boxes have written since the last time, whole lines only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_bytes: dict[Path, int] = {}

    def events(self) -> list[Event]:
        """New ones, oldest first."""
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
    """None for a line that is no event, such as one that a full disk cut short."""
    try:
        return Event(**json.loads(line))
    except (ValueError, TypeError):
        return None


def watch(progress_folder: Path, engine: subprocess.Popen[Any], plan: list[Planned], out: TextIO | None = None) -> int:
    """Shows a run until its engine ends; leaves no process of the engine's group behind.

    Args:
        progress_folder: what the engine's environment has as SYNTRIAL_PROGRESS; a new one for each run.
        engine: started with start_new_session=True, so that it and its boxes can be ended together.
        out: stderr unless given.

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
        f"{len(board.plan)} boxes, {images:,} images to be processed, about {duration(guess_s)} if nothing is done yet",
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
            share = max(share, board.share())  # a better guess of what is left must not turn the bar back
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
        return f"stopped after {duration(elapsed_s)}; the same command goes on from the last checkpoint"
    if code:
        return f"failed after {duration(elapsed_s)}: {ended + cached} of {boxes} boxes had ended"
    return f"done in {duration(elapsed_s)}: {ended} boxes ran, {boxes - ended} came from the cache"


def _exit_code(engine: subprocess.Popen[Any], wait_s: float) -> int | None:
    try:
        code = engine.wait(wait_s)
    except subprocess.TimeoutExpired:
        return None
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """`kill` and a closed terminal end a run as cleanly as Ctrl-C. One that is ignored (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may have handlers
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
    """Ends what is left of the engine's group: asks, and after GRACE_S (or another Ctrl-C) does not ask."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(KeyboardInterrupt):
            if not _signal(engine, group, number):
                return
            deadline_s = time.monotonic() + GRACE_S
            while _signal(engine, group, 0) and time.monotonic() < deadline_s:
                time.sleep(0.05)


def _signal(engine: subprocess.Popen[Any], group: int, number: int) -> bool:
    """Whether anybody is left in the group to get it; 0 only asks."""
    engine.poll()  # or the engine itself would stay there, dead
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _say(out: TextIO, sentence: str) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone
        print(sentence, file=out, flush=True)
