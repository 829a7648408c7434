"""`syntrial run`: runs a whole study on this machine, with the same graph as on a cluster."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pipelines
import syntrial
from pipelines.counts import Counts, costed, count_images
from pipelines.flags import add_study, locations_of, study_of, texts
from pipelines.graph import arguments_of
from pipelines.local.watch import AT_ONCE, Planned, needed_s, watch
from pipelines.plan import box_threads, guessed, images_shown, measure, planned
from syntrial.config import StudyConfig
from syntrial.errors import ConfigError, DataError, SyntrialError
from syntrial.reporting import table
from syntrial.store import atomic
from syntrial.store.uris import Location
from syntrial.words import counted

BROKEN = re.compile(r"syntrial(?:\.\w+)*\.(?P<kind>\w+Error): (?P<sentence>.+)")
# The messages of a shell for a killed process, and of torch and Python for too little memory.
MEMORY = re.compile(r"^\s*Killed$|OutOfMemoryError|can't allocate memory|^\s*MemoryError")
FULL = re.compile(rf"OSError: \[Errno (?:{'|'.join(map(str, sorted(atomic.FULL)))})\] (?P<reason>.+)")
TAIL = 25  # lines of the engine's log that are printed when a box fails for another reason than a user's mistake


def add_to(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser("run", help="run a study on this machine", description=__doc__)
    add_study(parser)
    parser.add_argument("--runs", default="runs", help="where results and the cache are kept (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print what would run and what it would cost, and stop")
    parser.set_defaults(command=run)


def run(flags: argparse.Namespace) -> int:
    """Runs a study, or prints what it would cost. Returns the exit code.

    Raises:
        SyntrialError: an error that the user can correct.
    """
    study = study_of(flags)
    locations = locations_of(flags, study)
    if flags.dry_run:
        return _dry_run(study, costed(study, locations))
    if not flags.runs:
        raise ConfigError("--runs is empty; it names the folder where results and the cache are kept, such as runs")
    runs = Path(flags.runs).resolve()
    _refuse_within(runs, locations)
    counts = count_images(study, locations)
    with _alone(runs / study.name), _in_store(runs / "store") as lock, atomic.full_reported(runs):
        folder = _new_folder(runs / study.name)
        print(f"study {study.name}: {flags.data} -> {_short(folder)}", file=sys.stderr)
        request = {
            "study": study.model_dump(mode="json"),
            "arguments": arguments_of(study, **texts(locations)),
            "store": str(runs / "store"),
        }
        atomic.write_json(folder / "run.json", request)
        code = _engine(folder, runs / "store", planned(study, counts, guessed(study)), lock)
        return _finish(folder, runs / "store") if code == 0 else _explain(folder, runs / "store", code)


def _refuse_within(runs: Path, locations: dict[str, Location]) -> None:
    """Raises ConfigError if a run would write into a folder from which it reads images."""
    for flag, location in locations.items():
        if location and not location.is_remote and runs.is_relative_to(location.path):
            raise ConfigError(
                f"--runs {runs} is inside --{flag} {location}, so the files that a run writes would count as images; "
                "give a folder outside of it"
            )


def _engine(folder: Path, store: Path, plan: list[Planned], lock: int) -> int:
    """Exit code of the process that runs the graph. That process keeps the lock, in case it outlives this one."""
    environment = {
        "SYNTRIAL_CHECKPOINTS": str(store / "checkpoints"),
        **os.environ,
        "SYNTRIAL_THREADS": box_threads(),
        "OPENBLAS_NUM_THREADS": "1",  # ingest forks its workers, which is safe only in a process without threads
        "SYNTRIAL_PROGRESS": str(folder / "progress"),
        "PYTHONSAFEPATH": "1",  # no imports from the working directory
        "PYTHONPATH": _import_path(),
    }
    command = [sys.executable, "-m", "pipelines.local.engine", str(folder)]
    with (
        tempfile.TemporaryDirectory(prefix="syntrial-", ignore_cleanup_errors=True) as scratch,
        open(folder / "engine.log", "wb") as log,
    ):
        environment["TMPDIR"] = scratch  # the engine makes a folder for each box and does not delete it
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # closed whenever this process ends; the engine then ends too
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=(lock,),
        ) as engine:
            return watch(folder / "progress", engine, plan)


def _import_path() -> str:
    """PYTHONPATH with which the engine and its boxes import the same packages as this process. Installed packages need
    none.
    """
    folders = dict.fromkeys(str(Path(package.__path__[0]).parent) for package in (pipelines, syntrial))
    folders.pop(sysconfig.get_path("purelib"), None)
    return os.pathsep.join(filter(None, [*folders, os.environ.get("PYTHONPATH", "")]))


def _finish(folder: Path, store: Path) -> int:
    """Copies the report and all artifacts it is derived from into the run's folder, and prints the table."""
    report = Path(json.loads((folder / "done.json").read_text(encoding="utf-8"))["report"])
    for path in report.iterdir():
        if path.is_dir():
            shutil.copytree(path, folder / path.name, copy_function=atomic.copy)
        else:
            atomic.copy(path, folder / path.name)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    collect(report, store / "artifacts", folder / "artifacts")
    print(table.text(results, width=min(160, max(100, shutil.get_terminal_size((120, 24)).columns))))
    print(
        f"\n{_short(folder)}/report.html has the whole report; "
        "table.md, table.csv, results.json and figures/ are next to it"
    )
    return 0


def collect(report: Path, artifacts: Path, into: Path) -> None:
    """Links all ancestors of a report into one folder. They are located by the parents recorded in each about.json.

    The links are read-only, because they are the cache's own files.
    """
    known = {_identity(about): (folder, about) for folder, about in _whole(artifacts)}
    waiting = json.loads((report / "about.json").read_text(encoding="utf-8"))["parents"]
    done: set[tuple[str, str]] = set()
    while waiting:
        identity = _identity(waiting.pop())
        if identity in done or identity not in known:
            continue
        done.add(identity)
        folder, about = known[identity]
        waiting += about["parents"]
        target = into / f"{_name(about)}-{about['digest'][:8]}"
        for path in (path for path in folder.rglob("*") if path.is_file()):
            linked = target / path.relative_to(folder)
            linked.parent.mkdir(parents=True, exist_ok=True)
            atomic.link_or_copy(path, linked)
            linked.chmod(0o444)


def _whole(artifacts: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each folder that a verb has written, with its about.json; drafts are left out."""
    for path in artifacts.glob("*/**/about.json"):
        if not any(part.startswith(".") for part in path.relative_to(artifacts).parts):
            yield path.parent, json.loads(path.read_text(encoding="utf-8"))


def _identity(about: dict[str, Any]) -> tuple[str, str]:
    # A digest alone covers rows and pixels only: without generated images, a pool has the digest of its division.
    return about["verb"], about["digest"]


def _name(about: dict[str, Any]) -> str:
    protocol = (
        about.get("protocol")
        or about.get("division", {}).get("protocol")
        or about.get("generator", {}).get("protocol", "")
    )
    detail = (
        about.get("arm") or about.get("name") or about.get("generator", {}).get("name") or f"{about.get('side', '')}px"
    )
    return "-".join(
        filter(None, (protocol, about["verb"], detail.replace("/", "-").replace(" ", "_").replace("*", "all")))
    )


def _explain(folder: Path, store: Path, code: int) -> int:
    """Reports why a run failed. Returns the exit code.

    An error that the user can correct is raised as one sentence (exit code 2). For any other error the end of the log
    is printed (exit code 1). The code after Ctrl-C is 130.
    """
    if code == 130:
        return code
    lines = (folder / "engine.log").read_text(encoding="utf-8", errors="replace").splitlines()
    for line in reversed(lines):
        if found := BROKEN.search(line):
            raise SyntrialError(found["sentence"] + _way_out(found, store))
        if found := FULL.search(line):
            raise SyntrialError(f"there is no space left ({found['reason']}); free some and start again")
        if MEMORY.search(line):
            print(
                "error: a box was killed or ran out of memory; the same command continues from the last checkpoint, "
                "and a smaller side, batch, width or resize_check.full_side needs less memory",
                file=sys.stderr,
            )
            return 1
    print("\n".join(lines[-TAIL:]), file=sys.stderr)
    print(f"a box failed; the whole log is in {_short(folder)}/engine.log", file=sys.stderr)
    return 1


def _way_out(found: re.Match[str], store: Path) -> str:
    """What to do about a damaged cache; "" for any other error."""
    if found["kind"] != "DataError" or str(store) not in found["sentence"]:
        return ""
    return f"; delete {_short(store)} and start again: its contents are then computed again"


def _dry_run(study: StudyConfig, counts: Counts) -> int:
    speed = measure(study)
    boxes = planned(study, counts, speed)
    print(f"{'box':48}{'images':>12}{'minutes':>10}")
    for box in boxes:
        print(f"{box.name:48}{box.units:>12,}{box.whole_s / 60:>10.1f}")
    minutes = round(needed_s(boxes, AT_ONCE) / 60)
    print(
        f"{counted(len(boxes), 'box', 'boxes')}; "
        f"{counted(images_shown(boxes, 'train_generator'), 'image')} shown to generators, "
        f"{images_shown(boxes, 'train_classifier'):,} to classifiers; "
        f"measured here just now: {speed.gan:,.0f} and {speed.cnn:,.0f} images/s; "
        f"about {counted(minutes, 'minute')} with {AT_ONCE} boxes of a loop in parallel and an empty cache"
    )
    return 0


def _new_folder(parent: Path) -> Path:
    folder = parent / time.strftime("%Y-%m-%d_%H%M%S")
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        time.sleep(1)  # two runs within one second
        return _new_folder(parent)
    return folder


@contextlib.contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Allows one run of a study at a time. The system releases the lock whenever the process ends."""
    with _lock(parent) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{_short(parent)} is in use by another run of this study; wait for it, or give --runs another folder"
            ) from None
        yield


@contextlib.contextmanager
def _in_store(store: Path) -> Iterator[int]:
    """Locks the store, which runs of several studies share. Yields the file descriptor of the lock.

    A run that is the only user of the store removes the drafts that killed runs left there.
    """
    with _lock(store) as file:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            atomic.sweep(store / "artifacts")
        fcntl.flock(file, fcntl.LOCK_SH)
        yield file.fileno()


def _lock(parent: Path) -> TextIO:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return open(parent / ".lock", "w")
    except OSError as error:
        raise DataError(f"{parent} cannot be written: {error.strerror}; give --runs another folder") from None


def _short(path: Path) -> str:
    """A path, relative where it is below the working directory."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
