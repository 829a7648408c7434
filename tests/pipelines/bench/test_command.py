"""The bench measures what it says; how fast this machine is, no test says."""

import subprocess

import pytest
from local_runs import ROOT, SMOKE, command, environment

from pipelines.__main__ import main
from pipelines.bench.command import Figure, _spans
from pipelines.bench.turns import EnoughError, Turns

ROWS = [
    "generator: images/s to the bare loop",
    "generator with DiffAugment: images/s to the bare loop",
    "generator: checkpoints, share of the time",
    "CNN: images/s to the bare loop, within epochs",
    "CNN: evaluation",
    "CNN, augmented on the fly: images/s to the bare loop, within epochs",
    "CNN, augmented on the fly: evaluation",
    "ingest of 1024 px files: files/s to a pool of Pillow alone",
    "ingest: peak memory, MB, of 2 files",
    "ingest: peak memory, MB, of 20 files",
    "ingest: peak memory of ten times as many files",
    "the slowest box without torch, except the report: seconds from start to end",
    "the report: seconds until it reads scores",
    "the slowest box with torch: seconds without importing torch",
    "boxes that import torch although they do not train",
]


def test_every_figure_has_its_row():
    words = command("bench", "--study", SMOKE, "--rounds", 1, "--files", 20)
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    head, *lines = done.stdout.splitlines()
    assert head.startswith("sizes of smoke: 32 px; cpu")
    assert [line[: len(row)] for line, row in zip(lines, ROWS, strict=True)] == ROWS
    assert lines[-1].split()[-3:] == ["0.000", "<=", "0"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--rounds", 0), "argument --rounds: 0 is not a whole number of rounds from 1 to 1000"),
        (("--files", 3), "argument --files: 3 is not a whole number of files from 20 to 400"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(flags, told, capsys):
    assert main(["bench", *map(str, flags)]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("value", "bound"), [(0.95, ">= 0.95"), (0.5, "<= 0.5"), (7.0, "")])
def test_a_figure_on_its_bound_keeps_it(value, bound):
    assert Figure("one", value, bound).kept
    assert "MISSED" not in Figure("one", value, bound).line


@pytest.mark.parametrize(("value", "bound"), [(0.94, ">= 0.95"), (0.51, "<= 0.5")])
def test_a_figure_beyond_its_bound_says_so(value, bound):
    assert Figure("one", value, bound).line.endswith("MISSED")


def test_a_loop_and_a_bare_one_take_equally_many_steps_by_turns():
    seen = []
    turns = Turns(lambda: seen.append("bare"), block=2, turns=2, between=1)
    with turns:
        turns.skip_to(0)
        with pytest.raises(EnoughError):
            for step in range(1, 100):
                seen.append("loop")
                turns.update(step, loss=0.0)  # logged numbers are not a step
                turns.update(step)
    assert seen == ["loop", "loop", "bare", "bare", "loop"] * 2
    assert turns.ratio() > 0


def test_a_boxs_seconds_are_read_from_the_engines_log():
    log = """
23:59:59.900 - INFO - Executing task \x1b[96m'train-generator'\x1b[0m
    [KFP Executor 2026-11-23 07:29:41,543 INFO]: Looking for component `train_generator`
00:00:01.400 - INFO - Task \x1b[96m'train-generator'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
"""
    assert _spans(log) == {"train_generator": 1.5}
