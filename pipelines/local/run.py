"""`syntrial run`: a whole study on this machine, through the same graph that a cluster runs."""

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
from pipelines.counts import Counts, costed, counted
from pipelines.flags import add_study, locations_of, study_of, texts
from pipelines.graph import arguments_of
from pipelines.local.watch import AT_ONCE, Planned, needed_s, watch
from pipelines.plan import box_threads, guessed, images_shown, measure, planned
from syntrial.config import StudyConfig
from syntrial.errors import ConfigError, DataError, SyntrialError
from syntrial.reporting import table
from syntrial.store import atomic
from syntrial.store.uris import Location

BROKEN = re.compile(r"syntrial(?:\.\w+)*\.(?P<kind>\w+Error): (?P<sentence>.+)")
# How a shell tells that a system ended a process, and how torch and Python tell that there is no memory.
MEMORY = re.compile(r"^\s*Killed$|OutOfMemoryError|can't allocate memory|^\s*MemoryError")
FULL = re.compile(rf"OSError: \[Errno (?:{'|'.join(map(str, sorted(atomic.FULL)))})\] (?P<reason>.+)")
TAIL = 25  # lines of the engine's log that are shown when a box fails by no fault of a person


def add_to(commands: Any) -> None:
    """The command's flags."""
    parser = commands.add_parser("run", help="run a study on this machine", description=__doc__)
    add_study(parser)
    parser.add_argument("--runs", default="runs", help="where results and the cache are kept (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print what would run and what it would cost, and stop")
    parser.set_defaults(command=run)


def run(flags: argparse.Namespace) -> int:
    """Runs a study, or prints what it would cost. Returns the exit code; raises SyntrialError for what a person can
    mend.
    """
    study = study_of(flags)
    locations = locations_of(flags, study)
    if flags.dry_run:
        return _dry_run(study, costed(study, locations))
    if not flags.runs:
        raise ConfigError("--runs is empty; it names the folder where results and the cache are kept, such as runs")
    runs = Path(flags.runs).resolve()
    _refuse_within(runs, locations)
    counts = counted(study, locations)
    with _alone(runs / study.name), _in_store(runs / "store") as lock, atomic.told_when_full(runs):
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
    """Raises ConfigError where a run would write among the images that it reads."""
    for flag, location in locations.items():
        if location and not location.is_remote and runs.is_relative_to(location.path):
            raise ConfigError(
                f"--runs {runs} lies within --{flag} {location}, where what a run writes would count as images; give a "
                "folder outside of it"
            )


def _engine(folder: Path, store: Path, plan: list[Planned], lock: int) -> int:
    """Exit code of the process that runs the graph. It holds the open lock too, in case it outlives this process."""
    environment = {
        "SYNTRIAL_CHECKPOINTS": str(store / "checkpoints"),
        **os.environ,
        "SYNTRIAL_THREADS": box_threads(),
        "OPENBLAS_NUM_THREADS": "1",  # a process without threads can be copied, which is how ingest gets its workers
        "SYNTRIAL_PROGRESS": str(folder / "progress"),
        "PYTHONSAFEPATH": "1",  # whatever lies in the folder that the run is started in
        "PYTHONPATH": _import_path(),
    }
    command = [sys.executable, "-m", "pipelines.local.engine", str(folder)]
    with (
        tempfile.TemporaryDirectory(prefix="syntrial-", ignore_cleanup_errors=True) as scratch,
        open(folder / "engine.log", "wb") as log,
    ):
        environment["TMPDIR"] = scratch  # the engine makes a folder for each box and leaves it
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # closed however this process ends, and then the engine ends too
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=(lock,),
        ) as engine:
            return watch(folder / "progress", engine, plan)


def _import_path() -> str:
    """By which the engine and its boxes import the packages that this process did; installed ones are found anyway."""
    folders = dict.fromkeys(str(Path(package.__path__[0]).parent) for package in (pipelines, syntrial))
    folders.pop(sysconfig.get_path("purelib"), None)
    return os.pathsep.join(filter(None, [*folders, os.environ.get("PYTHONPATH", "")]))


def _finish(folder: Path, store: Path) -> int:
    """Brings the report and everything it rests on into the run's folder, and shows the table."""
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
        "table.md, table.csv, results.json and figures/ lie beside it"
    )
    return 0


def collect(report: Path, artifacts: Path, into: Path) -> None:
    """Everything a report descends from, found by what its parents are recorded under, linked into one folder.

    Nobody may write to the links: they are the cache's own files.
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
    """Each folder that a verb has written, with what it says of itself; no drafts."""
    for path in artifacts.glob("*/**/about.json"):
        if not any(part.startswith(".") for part in path.relative_to(artifacts).parts):
            yield path.parent, json.loads(path.read_text(encoding="utf-8"))


def _identity(about: dict[str, Any]) -> tuple[str, str]:
    # A digest alone is of rows and pixels: without generated images a pool is its division under another name.
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
    """One sentence when a person can mend it (exit code 2), else the end of the log (exit code 1). 130 after Ctrl-C."""
    if code == 130:
        return code
    lines = (folder / "engine.log").read_text(encoding="utf-8", errors="replace").splitlines()
    for line in reversed(lines):
        if found := BROKEN.search(line):
            raise SyntrialError(found["sentence"] + _way_out(found, store))
        if found := FULL.search(line):
            raise SyntrialError(f"there is no room ({found['reason']}); make room and start again")
        if MEMORY.search(line):
            print(
                "error: a box was killed or had no memory left; the same command goes on where it was, and a smaller "
                "side, batch, width or resize_check.full_side needs less",
                file=sys.stderr,
            )
            return 1
    print("\n".join(lines[-TAIL:]), file=sys.stderr)
    print(f"a box failed; all of its log is in {_short(folder)}/engine.log", file=sys.stderr)
    return 1


def _way_out(found: re.Match[str], store: Path) -> str:
    """What helps where the cache itself is damaged, by whatever happened to its files."""
    if found["kind"] != "DataError" or str(store) not in found["sentence"]:
        return ""
    return f"; delete {_short(store)} and start again: what it holds is made anew"


def _dry_run(study: StudyConfig, counts: Counts) -> int:
    speed = measure(study)
    boxes = planned(study, counts, speed)
    print(f"{'box':48}{'images':>12}{'minutes':>10}")
    for box in boxes:
        print(f"{box.name:48}{box.units:>12,}{box.whole_s / 60:>10.1f}")
    print(
        f"{len(boxes)} boxes; {images_shown(boxes, 'train_generator'):,} images shown to generators, "
        f"{images_shown(boxes, 'train_classifier'):,} to classifiers; "
        f"measured here just now: {speed.gan:,.0f} and {speed.cnn:,.0f} images/s; "
        f"about {needed_s(boxes, AT_ONCE) / 60:,.0f} minutes with {AT_ONCE} boxes of a loop side by side, all anew"
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
    """One run of a study at a time. The system lets go of the lock however the process ends."""
    with _lock(parent) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{_short(parent)} is in use by another run of this study; wait for it, or give --runs another place"
            ) from None
        yield


@contextlib.contextmanager
def _in_store(store: Path) -> Iterator[int]:
    """Runs of several studies share a store. One that finds itself alone there removes what killed ones left behind.

    Yields the number of the open lock.
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
        raise DataError(f"{parent} cannot be written: {error.strerror}; --runs takes another place") from None


def _short(path: Path) -> str:
    """Relative to here where it lies below."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
