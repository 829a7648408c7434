"""Processes that read images: gone when their parent is, and one that dies is said."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
XRAY = next((ROOT / "data" / "sample" / "xray" / "normal").glob("*.png"))
PROGRAM = """
import multiprocessing, sys, time
from pathlib import Path
from syntrial.reading.archives import stored
from syntrial.config import IngestConfig
from syntrial.reading.workers import take_all
if __name__ == "__main__":
    store, files = stored(Path(sys.argv[1]), Path(sys.argv[1]))
    for taken in take_all(store, files, 64, IngestConfig(), ""):
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def running(tmp_path):
    """A process that reads images with two others and pauses after each: itself, and those."""
    for i in range(12):
        Image.open(XRAY).resize((1000, 1000)).save(tmp_path / f"{i}.bmp")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "SYNTRIAL_WORKERS": "2"}
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path), "0.2"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        yield parent, [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(happened, limit_s=20):
    end = time.monotonic() + limit_s
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)
    return happened()


def test_nothing_is_left_of_a_run_that_was_killed(running):
    parent, children = running
    assert len(children) >= 2 and all(map(alive, children))
    parent.kill()
    assert wait_until(lambda: not any(map(alive, children)))


def test_a_process_that_was_ended_from_outside_is_said_in_one_sentence(running):
    parent, children = running
    for child in children:
        if alive(child):
            os.kill(child, signal.SIGKILL)
    assert "DataError: a process that read images was killed" in parent.communicate(timeout=30)[1]
