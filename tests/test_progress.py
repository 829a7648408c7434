"""Progress is seen by whoever looks, costs nothing when nobody does, and never costs a training."""

import http.server
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from syntrial.errors import ConfigError, TrainingError
from syntrial.progress import Event, Progress, duration, name_of, watching

PLACE = ("SYNTRIAL_PROGRESS", "SYNTRIAL_METRICS_PORT", "SYNTRIAL_METRICS_HOST", "SYNTRIAL_PUSHGATEWAY")
PATIENCE_S = 30  # of a test, before it calls something that should happen soon a failure
GAN = {"protocol": "held_out", "kind": "simple", "label": "normal"}


class Clock:
    """One that a test turns."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLACE:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SYNTRIAL_PROGRESS", str(tmp_path / "progress"))
    return tmp_path / "progress"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    monkeypatch.setenv("SYNTRIAL_METRICS_PORT", str(number))
    return number


def events(folder: Path) -> list[Event]:
    """As a program reads them: strict JSON, one event a line."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    return [Event(**json.loads(line, parse_constant=pytest.fail)) for line in lines]


def scrape(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as page:
        return str(page.read().decode())


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TERM": "xterm", **extra}


def on_a_terminal(code: str, **extra: str) -> str:
    """What a person would see of a Python program."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment(**extra)) as child:
        os.close(theirs)
        seen = b""
        while True:
            try:
                seen += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert child.returncode == 0, seen.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


def test_a_box_says_when_it_starts_how_far_it_is_and_how_it_ended(folder: Path, clock: Clock) -> None:
    with Progress("train_generator", total=100, **GAN, clock=clock) as progress:
        clock.now_s += 4
        progress.update(40, loss_g=0.7)
        progress.update(100, loss_g=0.6)
    start, middle, end = events(folder)
    assert (start.event, start.done, start.total, start.unit, start.labels) == ("start", 0, 100, "images", GAN)
    assert (middle.event, middle.done, middle.numbers, middle.state) == ("progress", 40, {"loss_g": 0.7}, "")
    assert (middle.per_s, middle.remaining_s, middle.elapsed_s) == (10.0, 6.0, 4.0)
    assert (end.event, end.done, end.numbers, end.state) == ("end", 100, {"loss_g": 0.6}, "done")
    assert datetime.fromisoformat(end.time).utcoffset() == timedelta(0)


@pytest.mark.parametrize(("total", "work"), [(0, "starts"), (1, "1 file"), (2, "2 files")])
def test_the_first_line_names_the_work(total: int, work: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("ingest", total=total, unit="files"):
        pass
    assert capsys.readouterr().err.splitlines()[0] == f"ingest: {work}"


def test_a_file_is_named_after_its_box_and_process(folder: Path) -> None:
    with Progress("train_classifier", total=1, protocol="held_out", label="Viral Pneumonia/COVID", seed=0):
        pass
    assert [path.name for path in folder.iterdir()] == [
        f"train_classifier-held_out-Viral-Pneumonia-COVID-0-{os.getpid()}.jsonl"
    ]


def test_a_loop_that_calls_all_the_time_writes_once_a_second_and_loses_nothing(
    folder: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("train_generator", total=1_000, clock=clock) as progress:
        for shown in range(1, 1_001):
            clock.now_s += 1 / 128
            progress.update(shown, loss_g=float(shown))
    reported = events(folder)
    assert [event.done for event in reported] == [0, 128, 256, 384, 512, 640, 768, 896, 1_000]
    assert reported[-1].numbers == {"loss_g": 1_000.0}
    assert len(capsys.readouterr().err.splitlines()) == 2  # for people, once in ten seconds is enough


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_null(folder: Path, number: float) -> None:
    with Progress("train_generator", total=1) as progress:
        progress.update(1, loss_d=number)
    assert events(folder)[-1].numbers == {"loss_d": None}


def test_speed_counts_what_this_run_did_not_what_was_there_before(folder: Path, clock: Clock) -> None:
    with Progress("train_generator", total=1_000, clock=clock) as progress:
        progress.skip_to(900)
        clock.now_s += 5
        progress.update(950)
    assert [event.per_s for event in events(folder)] == [None, 10.0, 10.0]
    assert [event.done for event in events(folder)] == [0, 950, 950]


def test_a_cut_training_says_from_where_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train_generator", total=1_000, **GAN) as progress:
        progress.skip_to(0)
        progress.skip_to(900)
    reported = capsys.readouterr().err.splitlines()
    assert reported[1:-1] == ["train_generator held out simple/normal: goes on from 90%"]


def test_the_newest_numbers_stay_until_there_are_newer_ones(folder: Path, clock: Clock) -> None:
    with Progress("train_classifier", total=2, clock=clock) as progress:
        progress.update(1, loss=0.5)
        progress.update(2)
    assert events(folder)[-1].numbers == {"loss": 0.5}


def test_speed_is_that_of_late_and_at_the_end_that_of_the_whole(folder: Path, clock: Clock) -> None:
    with Progress("train_generator", total=1_300, clock=clock) as progress:
        for second in range(1, 101):
            clock.now_s += 1
            progress.update(10 * second if second <= 50 else 500 + 16 * (second - 50))
    reported = events(folder)
    assert (reported[50].per_s, reported[-2].per_s, reported[-1].per_s) == (10.0, 16.0, 13.0)


def test_a_failure_is_reported_in_one_line_and_raised(folder: Path) -> None:
    with pytest.raises(TrainingError), Progress("train_generator", total=1):
        raise TrainingError("the losses are\nnot finite")
    assert (events(folder)[-1].state, events(folder)[-1].error) == ("failed", "the losses are not finite")


def test_a_failure_tells_no_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    with pytest.raises(ValueError), Progress("ingest", total=1):
        raise ValueError("403 for hunter2hunter2 at https://anna:geheim@minio:9000/x")
    assert events(folder)[-1].error == "ValueError: 403 for *** at https://***@minio:9000/x"


def test_progress_that_cannot_be_written_does_not_stop_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SYNTRIAL_PROGRESS", str(tmp_path / "file" / "progress"))
    with Progress("train_generator", total=1) as progress:
        progress.update(1)
    said = capsys.readouterr().err
    assert said.count("progress is no longer shown (JsonLines)") == 1
    assert "train_generator: done" in said


def test_without_a_terminal_there_is_a_line_each_ten_seconds(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with Progress("train_generator", total=4_000, **GAN, clock=clock) as progress:
        for second in range(1, 20):
            clock.now_s = second
            progress.update(200 * second, loss_g=0.5)
    assert capsys.readouterr().err.splitlines() == [
        "train_generator held out simple/normal: 4,000 images",
        "train_generator held out simple/normal: 50%, 10 s left, 200 images/s, loss_g 0.5",
        "train_generator held out simple/normal: done in 19 s, 200 images/s, loss_g 0.5",
    ]


BOX = """
import time
from syntrial.progress import Progress
with Progress("train_generator", total=10, label="[normal]") as progress:
    for shown in range(1, 11):
        time.sleep(0.05)
        progress.update(shown, loss_g=0.25)
"""


def test_on_a_terminal_there_is_a_bar_with_the_newest_numbers() -> None:
    seen = on_a_terminal(BOX)
    assert re.search(r"train_generator \[normal\] \S+ +[1-9]\d% .* left, .* images/s, loss_g 0\.25", seen)
    assert seen.rstrip().endswith("loss_g 0.25") and "train_generator [normal]: done in" in seen


def test_a_watched_box_draws_no_bar(tmp_path: Path) -> None:
    assert on_a_terminal(BOX, SYNTRIAL_PROGRESS=str(tmp_path)) == ""
    assert events(tmp_path)[-1].state == "done"


def test_a_terminal_that_cannot_move_its_cursor_gets_lines() -> None:
    assert on_a_terminal(BOX, TERM="dumb").splitlines()[0] == "train_generator [normal]: 10 images"


def test_gauges_can_be_scraped_while_a_box_runs(port: int, clock: Clock) -> None:
    with Progress("train_generator", total=10, **GAN, clock=clock) as progress:
        clock.now_s += 2
        progress.update(5, loss_g=0.75, loss_d=float("nan"), val_loss=0.25, gradient_g=2.0)
        page = scrape(f"http://127.0.0.1:{port}/metrics")
    where = 'arm="",box="train_generator",class="normal",kind="simple"'
    assert f'syntrial_step{{{where},of="",protocol="held_out",seed=""}} 5.0' in page
    assert f'syntrial_progress_ratio{{{where},of="",protocol="held_out",seed=""}} 0.5' in page
    assert f'syntrial_loss{{{where},of="g",protocol="held_out",seed=""}} 0.75' in page
    assert f'syntrial_loss{{{where},of="d",protocol="held_out",seed=""}} NaN' in page
    assert f'syntrial_loss{{{where},of="val",protocol="held_out",seed=""}} 0.25' in page
    assert f'syntrial_gradient_g{{{where},of="",protocol="held_out",seed=""}} 2.0' in page
    assert f'syntrial_images_per_second{{{where},of="",protocol="held_out",seed=""}} 2.5' in page


def test_a_taken_port_is_a_warning_and_another_port(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", port)), Progress("train_classifier", total=10, arm="original"):
        said = re.search(rf"warning: port {port} is taken; gauges are at (\S+)", capsys.readouterr().err)
        assert said and 'syntrial_step{arm="original"' in scrape(said[1])


def test_something_else_than_a_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTRIAL_METRICS_PORT", "tcp://10.0.0.7:9100")
    with pytest.raises(ConfigError, match=r"SYNTRIAL_METRICS_PORT is 'tcp://10.0.0.7:9100'; it needs a port"):
        Progress("train_generator", total=1)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A Pushgateway that remembers what was put where."""
    pushed: dict[str, str] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            pushed[self.path] = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("SYNTRIAL_PUSHGATEWAY", f"http://127.0.0.1:{server.server_port}")
        yield pushed
        server.shutdown()


def test_each_box_pushes_its_own_last_gauges_when_it_ends(gateway: dict[str, str]) -> None:
    for seed in (0, 1):
        with Progress("train_classifier", total=10, arm="original", seed=seed) as progress:
            progress.update(10, accuracy_val=0.5 + seed / 4)
        assert len(gateway) == seed + 1
    place = next(path for path in gateway if "/seed/1" in path)
    assert re.match("/metrics/job/syntrial/", place) and {"box/train_classifier", "arm/original"} <= set(
        re.findall(r"(?:box|arm)/\w+", place)
    )
    assert re.search(r'syntrial_accuracy{.*of="val".*seed="1"} 0\.75', gateway[place])
    assert 'seed="0"' not in gateway[place]


def test_a_failed_box_is_pushed_as_failed(gateway: dict[str, str]) -> None:
    with pytest.raises(TrainingError), Progress("train_generator", total=10):
        raise TrainingError("collapsed")
    assert re.search(r"syntrial_failed{.*} 1\.0", "".join(gateway.values()))


@pytest.mark.parametrize("gateway_url", ["http://anna:geheim@127.0.0.1:1", "http://127.0.0.1:nonsense", "nonsense://x"])
def test_a_gateway_that_is_not_there_is_one_warning(
    gateway_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYNTRIAL_PUSHGATEWAY", gateway_url)
    with Progress("train_generator", total=1):
        pass
    said = capsys.readouterr().err
    assert said.count("warning: the gauges were not pushed") == 1
    assert "geheim" not in said


ENDLESS = """
import os, time
from syntrial.progress import Progress
with Progress("train_generator", total=0) as progress:
    for shown in range(2_000):
        time.sleep(0.05)
        progress.update(shown)
"""
WATCHER = """
import subprocess, sys, time
from pathlib import Path
from syntrial.progress import watching
with watching(Path(sys.argv[1])):
    # with a shell in between, as kfp.local has it
    subprocess.run(["sh", "-c", '"$0" -c "$1"; true', sys.executable, sys.argv[2]])
"""


def eventually(claim: str, holds: object) -> None:
    assert callable(holds)
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"not within {PATIENCE_S} s: {claim}"
        time.sleep(0.05)


def test_a_box_whose_watcher_was_killed_ends_by_itself(folder: Path) -> None:
    command = [sys.executable, "-c", WATCHER, str(folder), ENDLESS]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as watcher:
        eventually("the box runs", lambda: any(event.event == "progress" for event in events(folder)))
        watcher.send_signal(signal.SIGKILL)
    eventually("the box ends", lambda: events(folder)[-1].event == "end")
    assert events(folder)[-1].error.endswith("the run that started this task is gone, so it ends too")


def test_a_later_watcher_does_not_keep_an_orphan_alive(folder: Path) -> None:
    with watching(folder):
        box = subprocess.Popen([sys.executable, "-c", ENDLESS], env=environment(), stderr=subprocess.PIPE)
        eventually("the box runs", lambda: any(event.event == "progress" for event in events(folder)))
    with watching(folder):
        _, said = box.communicate(timeout=PATIENCE_S)
    assert box.returncode == 1
    assert b"the run that started this task is gone" in said


def test_a_box_that_is_watched_goes_on(folder: Path, clock: Clock) -> None:
    with watching(folder), Progress("train_generator", total=2, clock=clock) as progress:
        for shown in (1, 2):
            clock.now_s += 2
            progress.update(shown)
    assert events(folder)[-1].state == "done"


def test_importing_progress_imports_nothing_large() -> None:
    large = "{'rich', 'prometheus_client', 'torch', 'kfp', 'numpy'}"
    code = f"import sys, syntrial.progress; print(*{large} & {{*sys.modules}})"
    found = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({}, "train_classifier"),
        ({"protocol": "as_printed", "kind": "simple", "label": "normal"}, "train_classifier as printed simple/normal"),
        ({"protocol": "held_out", "arm": "original", "seed": "0"}, "train_classifier held out original seed 0"),
    ],
)
def test_a_box_has_a_name_for_people(labels: dict[str, str], name: str) -> None:
    assert name_of("train_classifier", labels) == name
