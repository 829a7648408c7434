"""A person sees what a run does, and nothing of it is left when it has ended."""

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.local.watch import INTERRUPTED, Board, Planned, Tail, watch
from syntrial.progress import Event

PATIENCE_S = 30  # of a test, before it calls something that should happen soon a failure


def box(name: str, label: str = "", weight_s: float = 10.0, needs: tuple[Planned, ...] = ()) -> Planned:
    return Planned(name, {"label": label} if label else {}, 100, weight_s, tuple(one.name for one in needs))


def said(planned: Planned, done: int = 0, elapsed_s: float = 0.0, state: str = "") -> Event:
    """What the box would say with `done` of 100 images behind it."""
    left_s = elapsed_s / done * (100 - done) if done else None
    kind = "end" if state else "progress" if done else "start"
    time = f"2026-01-01T00:00:{elapsed_s:06.3f}+00:00"
    return Event(
        time, kind, planned.box, planned.labels, done, 100, "images", elapsed_s, remaining_s=left_s, state=state
    )


def board(plan: list[Planned], *events: Event, now_s: float = 0.0) -> Board:
    """A run of which all this was heard; the first of it at 0 s."""
    heard = Board(plan)
    for event in events:
        heard.hear(event, now_s)
    heard.since_s = 0.0 if events else None
    return heard


INGEST = box("ingest")
SPLIT = box("split", needs=(INGEST,))
FIRST, SECOND = (box("gan", label, needs=(SPLIT,)) for label in "ab")
REPORT = box("report", needs=(FIRST, SECOND))
PLAN = [INGEST, SPLIT, FIRST, SECOND, REPORT]


def test_before_any_box_is_seen_nobody_knows_how_long_it_will_take():
    assert board(PLAN).remaining_s(5.0) is None
    assert board(PLAN).share() == 0
    assert board(PLAN).states() == ["waiting"] * 5


def test_what_a_box_needs_came_from_the_cache_where_it_was_not_seen():
    heard = board(PLAN, said(FIRST))
    assert heard.states() == ["cached", "cached", "running", "waiting", "waiting"]
    assert heard.share() == pytest.approx(0.4)


def test_a_box_that_nobody_needs_yet_still_waits_in_whatever_order_others_start():
    heard = board(PLAN, said(SECOND))
    assert heard.states() == ["cached", "cached", "waiting", "running", "waiting"]
    assert board(PLAN, said(REPORT)).states() == ["cached"] * 4 + ["running"]


def test_what_is_left_is_the_plan_corrected_by_what_boxes_of_the_same_verb_took():
    slow = board([FIRST, SECOND], said(FIRST, 100, elapsed_s=30, state="done"), now_s=30)
    assert slow.remaining_s(30.0) == pytest.approx(30)
    other = board([SPLIT, FIRST, SECOND], said(SPLIT, 100, 1, "done"), said(FIRST, 100, 30, "done"))
    assert other.remaining_s(31.0) == pytest.approx(30)


def test_two_boxes_at_once_halve_what_is_left_in_the_long_run():
    plan = [box("gan", str(number), 100) for number in range(40)]
    heard = board(plan, *(said(planned, 100, 100, "done") for planned in plan[:20]))
    assert heard.remaining_s(1_000.0) == pytest.approx(1_000, rel=0.02)


def test_a_run_does_not_end_before_its_longest_box():
    heard = board([FIRST, SECOND], said(FIRST, 10, elapsed_s=10), said(SECOND, 90, elapsed_s=90))
    assert heard.remaining_s(50.0) == pytest.approx(90)


def test_half_of_a_box_is_half_of_its_work():
    assert board([FIRST], said(FIRST, 50, elapsed_s=7)).share() == pytest.approx(0.5)
    assert board([FIRST], said(FIRST, 100, elapsed_s=7, state="done")).share() == 1


def test_a_box_that_is_tried_again_runs_again():
    heard = board(PLAN, said(INGEST, 30, 3, "failed"), said(INGEST))
    assert heard.states()[0] == "running"


def test_a_box_that_nobody_planned_is_shown_and_changes_nothing_else():
    heard = board(PLAN, said(box("surprise"), 50, 5))
    assert [event.name for event in heard.running] == ["surprise"]
    assert heard.states() == ["waiting"] * 5
    assert heard.share() == 0


# What the boxes write


def line(event: Event) -> bytes:
    return json.dumps(vars(event)).encode() + b"\n"


def test_a_half_written_line_waits_for_its_other_half(tmp_path):
    whole, tail = line(said(FIRST, 20, 2)), Tail(tmp_path)
    (tmp_path / "gan.jsonl").write_bytes(line(said(FIRST)) + whole[:25])
    assert [event.done for event in tail.events()] == [0]
    (tmp_path / "gan.jsonl").write_bytes(line(said(FIRST)) + whole)
    assert [event.done for event in tail.events()] == [20]
    assert tail.events() == []


@pytest.mark.parametrize("rubbish", [b"{", b"\xff\xfe", b"[]", b'{"box": "gan"}', b"\0\0\0", b'{"done": 1}{'])
def test_a_line_that_is_no_event_is_passed_over(tmp_path, rubbish):
    (tmp_path / "gan.jsonl").write_bytes(rubbish + b"\n" + line(said(FIRST, 20, 2)))
    assert [event.done for event in Tail(tmp_path).events()] == [20]


def test_files_may_come_and_go(tmp_path):
    tail = Tail(tmp_path / "folder")
    assert tail.events() == []
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.jsonl").write_bytes(line(said(FIRST)) + line(said(FIRST, 20, 2)))
    assert len(tail.events()) == 2
    (tmp_path / "folder" / "a.jsonl").unlink()
    assert tail.events() == []
    (tmp_path / "folder" / "a.jsonl").write_bytes(line(said(FIRST, 30, 3)))
    assert [event.done for event in tail.events()] == [30]


def test_what_several_boxes_say_comes_in_the_order_of_time(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(line(said(FIRST)) + line(said(FIRST, 30, 3)))
    (tmp_path / "b.jsonl").write_bytes(line(said(SECOND, 10, 1)) + line(said(SECOND, 20, 2)))
    assert [event.done for event in Tail(tmp_path).events()] == [0, 10, 20, 30]


# Whole runs, with a fake engine

BOX = """
import sys, time
from syntrial.progress import Progress

def box(verb, total, seconds, **labels):
    with Progress(verb, total=total, **labels) as progress:
        for done in range(1, total + 1):
            time.sleep(seconds / total)
            progress.update(done, loss_g=0.25)
"""
SHORT = BOX + "box('ingest', 10, 0.1)\nbox('gan', 10, 1.6, label='b')\nsys.exit(int(sys.argv[1]))"
TURNED = BOX + "with Progress('gan', total=10, label='b'):\n    time.sleep(0.6)\n    box('gan', 10, 0.6, label='a')"
FAILING = BOX + "with Progress('gan', total=10, label='a'):\n    raise ValueError('out of luck')"
ENDLESS = BOX + "box('gan', 2_000, 100, label='a')"
DEAF = (
    BOX
    + """
with Progress('gan', total=100, label='a') as progress:
    time.sleep(1.1)
    progress.update(1)
    time.sleep(100)
"""
)
# With a shell in between, as kfp.local has it, and a box that does not listen.
STUBBORN = """
import subprocess, sys
code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n" + sys.argv[1]
subprocess.run(["sh", "-c", '"$0" -c "$1"; true', sys.executable, code])
"""
RUN = """
import subprocess, sys
from pathlib import Path
from pipelines.local.watch import Planned, watch
engine = subprocess.Popen([sys.executable, "-c", *sys.argv[2:]], start_new_session=True)
print("engine", engine.pid, flush=True)
plan = [Planned("ingest", {}, 10, 1.0), *(Planned("gan", {"label": label}, 10, 10.0) for label in "abc")]
sys.exit(watch(Path(sys.argv[1]), engine, plan))
"""


def environment(folder: Path) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": paths, "SYNTRIAL_PROGRESS": str(folder), "TERM": "xterm"}


@contextlib.contextmanager
def engine_of(folder: Path, code: str, *arguments: str, own_group: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(
        command, env=environment(folder), stderr=subprocess.DEVNULL, start_new_session=own_group
    ) as engine:
        yield engine


@contextlib.contextmanager
def run_of(folder: Path, *engine: str, stderr: Any = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """A whole run in a process of its own, as `python -m pipelines run` is one."""
    command = [sys.executable, "-c", RUN, str(folder), *engine]
    with subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, stderr=stderr) as run:
        yield run


def eventually(claim: str, holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"not within {PATIENCE_S} s: {claim}"
        time.sleep(0.05)


def runs_in(folder: Path) -> bool:
    return any(event.event == "progress" for event in Tail(folder).events())


def is_gone(group: int, kill: Callable[[int, int], None] = os.killpg) -> bool:
    try:
        kill(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("code", [0, 3])
def test_a_run_without_a_terminal_is_told_in_lines(tmp_path, code):
    out = io.StringIO()
    with engine_of(tmp_path, SHORT, str(code)) as engine:
        assert watch(tmp_path, engine, [INGEST, FIRST, SECOND, REPORT], out) == code
    first, ingest, gan, last = out.getvalue().splitlines()
    assert first == "4 boxes, 400 images to process, about 40 s with an empty cache"
    assert re.fullmatch(r"ingest: done in \d+ s, .* images/s, loss_g 0\.25", ingest)
    assert re.fullmatch(r"gan b: done in \d+ s, .* images/s, loss_g 0\.25", gan)
    assert re.fullmatch(
        r"failed after \d+ s: 2 of 4 boxes had ended" if code else r"done in \d+ s: 2 boxes ran, 2 came from the cache",
        last,
    )


def test_a_box_that_fails_says_why(tmp_path):
    out = io.StringIO()
    with engine_of(tmp_path, FAILING) as engine:
        assert watch(tmp_path, engine, [FIRST], out) == 1
    assert re.search(r"^gan a: failed after \d+ s: ValueError: out of luck$", out.getvalue(), re.MULTILINE)


def test_an_engine_that_was_killed_is_told_as_shells_tell_it_and_leaves_no_box(tmp_path):
    with run_of(tmp_path, STUBBORN, ENDLESS) as run:
        group = int(run.stdout.readline().split()[1])
        eventually("the box runs", lambda: runs_in(tmp_path))
        os.kill(group, signal.SIGKILL)
        eventually("the watcher notices", lambda: run.poll() is not None)
    assert run.returncode == 128 + signal.SIGKILL
    eventually("nobody is left", lambda: is_gone(group))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_ends_everything_and_says_how_to_go_on(tmp_path, number):
    with run_of(tmp_path, ENDLESS) as run:
        group = int(run.stdout.readline().split()[1])
        eventually("the box runs", lambda: runs_in(tmp_path))
        run.send_signal(number)
        _, reported = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == INTERRUPTED
    assert re.search(
        rb"^stopped after \d+ s; the same command continues from the last checkpoint$", reported, re.MULTILINE
    )
    assert is_gone(group)


@pytest.mark.parametrize("patience", [True, False], ids=["after a while", "at once, after another Ctrl-C"])
def test_a_box_that_does_not_listen_is_ended_all_the_same(tmp_path, patience):
    with run_of(tmp_path, STUBBORN, DEAF) as run:
        group = int(run.stdout.readline().split()[1])
        eventually("the box runs", lambda: runs_in(tmp_path))
        run.send_signal(signal.SIGINT)
        eventually("the engine has ended", lambda: is_gone(group, os.kill))
        assert not is_gone(group)
        if not patience:
            run.send_signal(signal.SIGINT)
        run.communicate(timeout=PATIENCE_S)
    assert run.returncode == INTERRUPTED
    eventually("nobody is left", lambda: is_gone(group))


def test_a_run_that_was_killed_leaves_no_box_behind(tmp_path):
    with run_of(tmp_path, STUBBORN, ENDLESS, stderr=subprocess.DEVNULL) as run:
        group = int(run.stdout.readline().split()[1])
        eventually("the box runs", lambda: runs_in(tmp_path))
        run.kill()
    eventually("nobody is left", lambda: is_gone(group))


def test_an_engine_in_the_same_group_is_refused(tmp_path):
    with engine_of(tmp_path, ENDLESS, own_group=False) as engine:
        with pytest.raises(ValueError, match="start_new_session=True"):
            watch(tmp_path, engine, [])
        engine.kill()


def on_a_terminal(folder: Path, columns: int, *engine: str) -> list[str]:
    """The lines a person would see one after another, redrawn ones included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with run_of(folder, *engine, stderr=theirs):
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while True:
                seen += os.read(ours, 4096)
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    return [found.rstrip() for found in re.split(r"[\r\n]+", text) if found.strip()]


def test_on_a_terminal_there_is_a_bar_for_the_whole_and_one_for_each_box_that_runs(tmp_path):
    lines = on_a_terminal(tmp_path, 120, SHORT, "0")
    assert any(re.fullmatch(r"all +━\S+ +\d+% about \d+ s left, \d of 4 boxes, \d+ s so far", seen) for seen in lines)
    assert any(re.fullmatch(r"gan b ━\S+ +\d+% \d+ s left, \S+ images/s, loss_g 0\.25", seen) for seen in lines)
    assert sum(seen.startswith("gan b: done in") for seen in lines) == 1
    assert re.fullmatch(r"done in \d+ s: 2 boxes ran, 2 came from the cache", lines[-1])


def test_the_whole_never_goes_back_when_a_box_did_not_come_from_the_cache_after_all(tmp_path):
    lines = on_a_terminal(tmp_path, 120, TURNED)
    shares = [int(found[1]) for found in (re.match(r"all\D+(\d+)%", seen) for seen in lines) if found]
    assert max(shares) > 0
    assert shares == sorted(shares)


def test_a_narrow_terminal_cuts_lines_and_breaks_none(tmp_path):
    lines = on_a_terminal(tmp_path, 60, SHORT, "0")
    assert max(len(seen) for seen in lines if "━" in seen) <= 60
    assert any(seen.endswith("…") for seen in lines)
