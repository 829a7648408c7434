"""Runs studies on this machine with the commands of a user, and inspects the runs."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from syntrial.progress import name_of

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "studies" / "smoke.yaml"
PATIENCE_S = 120  # of a test, before it calls something that should happen soon a failure


def settings(*changes: str) -> list[str]:
    """The command-line words that change settings."""
    return [word for change in changes for word in ("--set", change)]


SHARES = "split={val_share: 0.3, test_share: 0.3}"  # so that few patients suffice for each part
TINY = settings("name=tiny", "arms=[original]", "resize_check.full_side=0", SHARES)
SMALL = settings(
    "name=small",
    "arms=[original, simple_gan]",
    "images_per_class=5",
    "generators.simple.epochs=40",  # so that there is time to kill it
    "resize_check.full_side=0",
    SHARES,
)


def environment(checkout: Path = ROOT, **own: str) -> dict[str, str]:
    """The environment of a user in the checkout, independent of how the tests were started."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNTRIAL_")}
    return {**inherited, "PYTHONPATH": str(checkout / "src"), **own}


def command(*words: object) -> list[str]:
    """`python -m pipelines ...`"""
    return [sys.executable, "-m", "pipelines", *map(str, words)]


def run(runs: Path, *words: object, checkout: Path = ROOT, **own: str) -> "Run":
    """Runs a study until it ends, successfully or not."""
    words = ("run", "--study", SMOKE, "--runs", runs, *words)
    began_s = time.monotonic()
    done = subprocess.run(
        command(*words),
        cwd=checkout,
        env=environment(checkout, **own),
        capture_output=True,
        text=True,
        check=False,
    )
    return Run(newest(runs), done, time.monotonic() - began_s)


def newest(runs: Path) -> Path:
    """The folder of the run that began last."""
    return max(runs.glob("*/2*"), default=runs, key=lambda folder: folder.name)


def heard(folder: Path) -> dict[str, dict]:
    """The newest event of each box that has reported in a run: name of the box -> event."""
    boxes = {}
    for path in (folder / "progress").glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            boxes[name_of(event["box"], event["labels"])] = event
    return boxes


@dataclass
class Run:
    """A run that has ended."""

    folder: Path
    done: subprocess.CompletedProcess
    elapsed_s: float

    @property
    def code(self) -> int:
        return self.done.returncode

    @property
    def results(self) -> bytes:
        return (self.folder / "results.json").read_bytes()

    @property
    def boxes(self) -> list[str]:
        """Names of those that ran, and were not served from the cache."""
        return sorted(heard(self.folder))

    @property
    def errors(self) -> list[str]:
        return [line for line in self.done.stderr.splitlines() if line.startswith("error: ")]


def processes(folder: Path) -> dict[int, str]:
    """The living processes of the run in a folder: id -> command line."""
    mark = f"SYNTRIAL_PROGRESS={folder}/progress".encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ProcessLookupError):
            continue
    return found


def wait_until(happened, limit_s: float = PATIENCE_S):
    """The first true result of `happened`; fails if that takes too long."""
    end_s = time.monotonic() + limit_s
    while not (found := happened()):
        assert time.monotonic() < end_s, "what was waited for did not happen"
        time.sleep(0.05)
    return found
