"""Runs a verb and kills it while it works; reads the contents of its folders."""

import csv
import glob
import multiprocessing
import os
import signal
import time
from pathlib import Path

from syntrial.training.checkpoint import NAME

# The children start with torch loaded, so that a kill costs no four seconds.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(
    ["torch", "pydantic", "PIL.Image", "syntrial.train_generator", "syntrial.train_classifier"]
)


def table(path):
    """The rows of a CSV file by column name."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder):
    """Name below the folder -> bytes of every file."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def steps_kept(checkpoints):
    """The sum of the newest checkpointed steps of all works in a folder."""
    newest = {}
    for path in map(Path, glob.glob(f"{checkpoints}/*/*.pt")):  # not Path.glob: folders may vanish meanwhile
        newest[path.parent] = max(newest.get(path.parent, 0), int(NAME.fullmatch(path.name)[1]))
    return sum(newest.values())


def killed(verb, arguments, checkpoints, steps, wait_s=0.0):
    """Runs a verb in a process of its own, which is killed `wait_s` after it has kept `steps` steps more.

    It keeps every step. Returns whether it was killed before it ended.
    """
    goal = steps_kept(checkpoints) + steps
    places = {"SYNTRIAL_CHECKPOINTS": str(checkpoints), "SYNTRIAL_CHECKPOINT_EVERY_S": "0"}
    process = begun(verb, arguments, **places)
    while process.is_alive() and steps_kept(checkpoints) < goal:
        time.sleep(0.001)
    time.sleep(wait_s)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def begun(verb, arguments, **places):
    """Starts a verb in a process of its own, with these environment variables; returns while it runs."""
    process = FRESH.Process(target=_in_places, args=({**os.environ, **places}, verb, arguments))
    process.start()
    return process


def _in_places(environment, verb, arguments):
    os.environ.update(environment)
    verb(**arguments)
