"""`syntrial status` and `cancel`: shows the runs on a cluster, and ends a run."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from pipelines.cluster.client import Json, KubeflowError, add_kubeflow, connect
from pipelines.cluster.remote import OVER, STOPPED, Look, RemoteRuns, moment, state_of
from pipelines.cluster.results import add_report
from pipelines.cluster.submit import ended, pipeline_id
from pipelines.cluster.workflow import Box
from syntrial.errors import ConfigError
from syntrial.progress import duration

SHOWN = 10  # runs


def add_to(commands: Any) -> None:
    """Adds both commands and their flags."""
    parser = commands.add_parser("status", help="show the runs on a cluster, or one of them", description=__doc__)
    parser.add_argument("run", nargs="?", default="", help="name, id, or beginning of the id (default: the last runs)")
    parser.add_argument("--experiment", default="", help="only runs of this experiment")
    add_kubeflow(parser)
    add_report(parser)
    parser.set_defaults(command=status)
    parser = commands.add_parser("cancel", help="end a run on a cluster", description="Ends a run on a cluster.")
    parser.add_argument("run", help="name, id, or beginning of the id")
    add_kubeflow(parser)
    parser.set_defaults(command=cancel)


def status(flags: argparse.Namespace) -> int:
    """Shows the last runs, or one run's boxes and how it ended. Returns the exit code."""
    if flags.report and not flags.run:
        raise ConfigError(
            "--report downloads the report of one run; name that run as well, such as status NAME --report F"
        )
    kubeflow = connect(flags)
    runs = RemoteRuns(kubeflow)
    if not flags.run:
        experiment = kubeflow.experiment(flags.experiment) if flags.experiment else ""
        pipeline = pipeline_id(kubeflow)
        if not pipeline:
            raise KubeflowError("nothing has been submitted to this Kubeflow yet; use syntrial submit")
        _show_runs(runs, experiment, pipeline)
        return 0
    look = runs.look(runs.find(flags.run)["run_id"])
    _show(look)
    if look.is_over:
        ended(runs, look, flags.report)
    elif flags.report:
        raise KubeflowError(f"the run {look.run['display_name']} is not over, so it has no report yet")
    return 0


def cancel(flags: argparse.Namespace) -> int:
    """Ends a run. Returns the exit code."""
    kubeflow = connect(flags)
    runs = RemoteRuns(kubeflow)
    run = runs.find(flags.run)
    state = state_of(run)
    if state in OVER and state not in STOPPED:
        raise KubeflowError(f"the run {run['display_name']} has {state.lower()}; there is nothing to end")
    if state not in STOPPED:
        runs.stop(run["run_id"])
    print(f"run {run['display_name']}: its boxes are ended; their training is kept in checkpoints", file=sys.stderr)
    return 0


def _show_runs(runs: RemoteRuns, experiment: str, pipeline: str) -> None:
    ours = (run for run in runs.newest(experiment) if _pipeline(run) == pipeline)
    now = datetime.now(UTC)
    print(f"{'RUN':10}{'NAME':40}{'STATE':11}{'BEGAN (UTC)':18}TOOK")
    for run in islice(ours, SHOWN):
        began, over = moment(run, "created_at") or now, moment(run, "finished_at") or now
        took = duration((over - began).total_seconds())
        state = state_of(run).lower()
        print(f"{run['run_id'][:8]:9} {run['display_name']:39} {state:10} {began:%Y-%m-%d %H:%M}  {took}")


def _show(look: Look) -> None:
    now = datetime.now(UTC)
    began = moment(look.run, "created_at") or now
    print(f"{look.run['display_name']} ({look.run['run_id']}): {look.state.lower()}, {look.progress}")
    print(f"began {began:%Y-%m-%d %H:%M:%S} UTC")
    for box in look.boxes:
        print(f"  {_state(box, look):10} {box.name:70} {_times(box, now)}".rstrip())


def _state(box: Box, look: Look) -> str:
    if look.state in STOPPED and box.state == "failed":
        return "ended"
    return "left out" if look.is_over and not box.has_ended else box.state


def _times(box: Box, now: datetime) -> str:
    if box.began is None or box.state == "cached":
        return ""
    took = duration(box.seconds(now))
    tries = f", try {box.tries}" if box.tries > 1 else ""
    message = f", {box.message}" if box.message else ""
    return f"{took if box.ended else f'since {box.began:%H:%M:%S} ({took})'}{tries}{message}"


def _pipeline(run: Json) -> str:
    return str(run.get("pipeline_version_reference", {}).get("pipeline_id", ""))
