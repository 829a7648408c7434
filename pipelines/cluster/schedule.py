"""`syntrial schedule`: runs a study on a cluster repeatedly. A schedule is identified by its name."""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.cluster.client import Json, Kubeflow, KubeflowError, connect, nearest, segment
from pipelines.cluster.cron import Cron
from pipelines.cluster.submit import Prepared, add_shared, pipeline_id, prepared, run_of
from syntrial.errors import ConfigError
from syntrial.progress import duration
from syntrial.words import counted

SCHEDULES = "/apis/v2beta1/recurringruns"


def add_to(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser("schedule", help="run a study on a cluster repeatedly", description=__doc__)
    add_shared(parser)
    parser.add_argument("--name", default="", help="name of the schedule (default: the study's name)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--cron", help="times in UTC: second minute hour day month weekday, such as '0 0 3 * * 1'")
    what.add_argument("--list", action="store_true", help="show the schedules and their next times")
    what.add_argument("--pause", metavar="NAME", help="start no more runs until --resume")
    what.add_argument("--resume", metavar="NAME", help="start runs again; missed runs are not made up for")
    what.add_argument("--remove", metavar="NAME", help="delete a schedule; its runs stay")
    parser.set_defaults(command=schedule)


def schedule(flags: argparse.Namespace) -> int:
    """Creates, lists, pauses, resumes or removes schedules. Returns the exit code."""
    cron = None if flags.cron is None else Cron.of(flags.cron)
    kubeflow = connect(flags)
    if cron:
        with tempfile.TemporaryDirectory() as scratch:
            return put(kubeflow, prepared(flags, Path(scratch)), flags, cron)
    if flags.list:
        return _list(kubeflow)
    for name, action in ((flags.pause, _pause), (flags.resume, _resume), (flags.remove, _remove)):
        if name is not None:
            for one in _known(kubeflow, name):
                action(kubeflow, one)
    return 0


def put(kubeflow: Kubeflow, begun: Prepared, flags: argparse.Namespace, cron: Cron) -> int:
    """Creates a schedule. An existing one of that name is deleted only after the new one exists."""
    name = flags.name or begun.study.name
    before = [one for one in _ours(kubeflow) if one["display_name"] == name]
    paused = bool(before) and all(_is_paused(one) for one in before)
    wanted = {
        **run_of(kubeflow, begun, flags.experiment or begun.study.name),
        "display_name": name,
        "description": f"study {begun.study.name}",
        "mode": "DISABLE" if paused else "ENABLE",
        "trigger": {"cron_schedule": {"cron": cron.text}},
        "max_concurrency": "1",
        "no_catchup": True,
    }
    kept = [one for one in before if all(one.get(key) == value for key, value in wanted.items())][:1]
    if not kept:
        kubeflow.ask("POST", SCHEDULES, wanted)
    for one in before:
        if one not in kept:
            _delete(kubeflow, one)
    word = "unchanged" if kept and len(before) == 1 else "changed" if before else "new"
    print(f"schedule {name}: {word}, {_next(wanted)}", file=sys.stderr)
    return 0


def _list(kubeflow: Kubeflow) -> int:
    ours = _ours(kubeflow)
    print(f"{'NAME':24}{'CRON':24}{'NEXT':48}STUDY")
    for one in ours:
        print(f"{one['display_name']:23} {_cron(one):23} {_next(one):47} {one.get('description', '')}")
    return 0


def _pause(kubeflow: Kubeflow, one: Json) -> None:
    kubeflow.ask("POST", f"{SCHEDULES}/{segment(one['recurring_run_id'])}:disable")
    print(f"schedule {one['display_name']}: paused; a run that has begun continues", file=sys.stderr)


def _resume(kubeflow: Kubeflow, one: Json) -> None:
    kubeflow.ask("POST", f"{SCHEDULES}/{segment(one['recurring_run_id'])}:enable")
    print(f"schedule {one['display_name']}: {_next({**one, 'mode': 'ENABLE'})}", file=sys.stderr)


def _remove(kubeflow: Kubeflow, one: Json) -> None:
    _delete(kubeflow, one)
    print(f"schedule {one['display_name']}: removed; its runs stay", file=sys.stderr)


def _delete(kubeflow: Kubeflow, one: Json) -> None:
    # With another policy, running runs would be deleted with their schedule.
    kubeflow.ask("DELETE", f"{SCHEDULES}/{segment(one['recurring_run_id'])}", propagation_policy="ORPHAN")


def _ours(kubeflow: Kubeflow) -> list[Json]:
    """All schedules of our pipeline."""
    mine = {"namespace": kubeflow.namespace} if kubeflow.namespace else {}
    pipeline = pipeline_id(kubeflow)
    every = kubeflow.pages(SCHEDULES, "recurringRuns", **mine) if pipeline else []
    return [one for one in every if one.get("pipeline_version_reference", {}).get("pipeline_id") == pipeline]


def _known(kubeflow: Kubeflow, name: str) -> list[Json]:
    ours = _ours(kubeflow)
    found = [one for one in ours if one["display_name"] == name]
    if not found:
        known = [one["display_name"] for one in ours]
        raise KubeflowError(f"{kubeflow.name} has no schedule {name!r}; {nearest(name, known)}")
    return found


def _cron(one: Json) -> str:
    return str(one.get("trigger", {}).get("cron_schedule", {}).get("cron", ""))


def _is_paused(one: Json) -> bool:
    return bool(one.get("mode") == "DISABLE")


def _next(one: Json) -> str:
    """When a schedule starts its next run, as text."""
    if _is_paused(one):
        return "paused"
    now = datetime.now(UTC)
    try:
        then = Cron.of(_cron(one)).after(now)
    except ConfigError:  # created by another program
        return "unknown"
    return f"next {then:%a %Y-%m-%d %H:%M:%S} UTC, in {_until((then - now).total_seconds())}" if then else "never"


def _until(seconds: float) -> str:
    days, rest_s = divmod(round(seconds), 86400)
    return f"{counted(days, 'day')} {rest_s // 3600} h" if days > 1 else duration(seconds)
