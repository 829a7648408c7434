"""`syntrial submit`: runs a study on a cluster, with the same graph as on this machine."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.cluster.client import Json, Kubeflow, TakenError, add_kubeflow, connect, segment
from pipelines.cluster.containers import refuse_without_clone
from pipelines.cluster.cost import pods, summary
from pipelines.cluster.follow import follow
from pipelines.cluster.package import NAME, Compiled, compiled
from pipelines.cluster.place import Place, add_place, load_place
from pipelines.cluster.remote import RUNS, Look, RemoteRuns, why_failed
from pipelines.cluster.results import add_report, show_results
from pipelines.cluster.upload import uploaded
from pipelines.counts import costed, count_images
from pipelines.flags import add_study, locations_of, study_of, texts
from syntrial import __version__
from syntrial.config import StudyConfig
from syntrial.errors import ConfigError
from syntrial.store import token
from syntrial.store.uris import NOWHERE, Location, StorageError
from syntrial.words import counted

PIPELINES = "/apis/v2beta1/pipelines"
CHECKPOINTS = "minio://syntrial/checkpoints"  # default of SYNTRIAL_CHECKPOINT_URI
EVERY_S = 5.0  # between two requests for the state of a run


@dataclass(frozen=True)
class Prepared:
    """A study, ready to run on a cluster."""

    study: StudyConfig
    place: Place
    package: Compiled


def add_to(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser("submit", help="run a study on a cluster", description=__doc__)
    add_shared(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would run and what it would cost, and send nothing"
    )
    parser.add_argument("--wait", action="store_true", help="show the run until it is over, then its table")
    parser.add_argument(
        "--every", type=seconds, default=EVERY_S, metavar="SECONDS", help="pause between requests (%(default)s)"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="run every box again; training that has ended comes from its checkpoint"
    )
    add_report(parser)
    parser.set_defaults(command=submit)


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that `submit` and `schedule` share."""
    add_study(parser)
    add_place(parser)
    add_kubeflow(parser)
    parser.add_argument("--experiment", default="", help="experiment of the runs (default: the study's name)")


def seconds(text: str) -> float:
    """Parses a pause in seconds: more than 0, at most 3600."""
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not a pause; it must be more than 0 and at most 3600 seconds")
    return value


def submit(flags: argparse.Namespace) -> int:
    """Begins a run. Returns the exit code.

    With --wait it is 1 for a run that does not succeed, and 130 after Ctrl-C, which does not affect the run.
    """
    if flags.report and not flags.wait:
        raise ConfigError(
            "--report downloads the report of a run that has ended; give --wait as well, or use status --report"
        )
    with tempfile.TemporaryDirectory() as scratch:
        if flags.dry_run:
            return _dry_run(flags, Path(scratch))
        kubeflow = connect(flags)
        begun = prepared(flags, Path(scratch))
        if flags.fresh:
            token.renew(Location.of(os.environ.get("SYNTRIAL_CHECKPOINT_URI") or CHECKPOINTS))
        run = begin(kubeflow, begun, flags.experiment or begun.study.name)
    name = run["display_name"]
    print(f"run {name} ({run['run_id']}) of pipeline code {begun.package.code}", file=sys.stderr)
    if not flags.wait:
        print(f"syntrial status {name} shows it", file=sys.stderr)
        print(run["run_id"])
        return 0
    return wait(RemoteRuns(kubeflow), run, flags.every, flags.report)


def prepared(flags: argparse.Namespace, scratch: Path, dry: bool = False) -> Prepared:
    """Loads and compiles the study that the flags name, and uploads its local data."""
    refuse_without_clone()
    study, place = study_of(flags), load_place(flags.place, flags.gpus)
    locations = locations_of(flags, study)
    count_images(study, {name: NOWHERE if found.is_remote else found for name, found in locations.items()})
    return Prepared(study, place, compiled(study, place, texts(uploaded(study, locations, scratch, dry)), scratch))


def begin(kubeflow: Kubeflow, begun: Prepared, experiment: str) -> Json:
    """Creates a run. The pipeline is uploaded as a new version if this code has none yet."""
    name = f"{begun.study.name}-{time.strftime('%Y-%m-%d_%H%M%S')}"
    body = {**run_of(kubeflow, begun, experiment), "display_name": name}
    return dict(kubeflow.ask("POST", RUNS, body))


def run_of(kubeflow: Kubeflow, begun: Prepared, experiment: str) -> Json:
    """The part of a request that runs and schedules share: code, arguments and service account."""
    return {
        "experiment_id": kubeflow.experiment(experiment, create=True),
        "pipeline_version_reference": version(kubeflow, begun.package),
        "runtime_config": {"parameters": begun.package.arguments},
        "service_account": begun.place.service_account,
    }


def version(kubeflow: Kubeflow, package: Compiled) -> Json:
    """The ids of the pipeline and of the version with this code; uploads them if they do not exist."""
    pipeline = pipeline_id(kubeflow) or _made(kubeflow)
    path = f"{PIPELINES}/{segment(pipeline)}/versions"
    found = kubeflow.named(path, "pipeline_versions", package.code)
    if not found:
        about = {"name": package.code, "pipelineid": pipeline, "description": f"syntrial {__version__}"}
        try:
            found = [kubeflow.upload(f"{PIPELINES}/upload_version", package.path, **about)]
        except TakenError:  # created by another client in the meantime
            found = kubeflow.named(path, "pipeline_versions", package.code)
    return {"pipeline_id": pipeline, "pipeline_version_id": found[0]["pipeline_version_id"]}


def pipeline_id(kubeflow: Kubeflow) -> str:
    """The id of the pipeline that contains all our versions; "" if it does not exist yet."""
    mine = {"namespace": kubeflow.namespace} if kubeflow.namespace else {}
    found = kubeflow.named(PIPELINES, "pipelines", NAME, **mine)
    return str(found[0]["pipeline_id"]) if found else ""


def wait(runs: RemoteRuns, run: Json, every_s: float, report: str = "") -> int:
    """Shows a run until it is over, then its result. Returns the exit code."""
    name = run["display_name"]
    try:
        look = follow(runs, run["run_id"], sys.stderr, every_s)
    except KeyboardInterrupt:
        print(f"\nthe run continues; syntrial status {name} shows it, cancel {name} ends it", file=sys.stderr)
        return 130
    return ended(runs, look, report)


def ended(runs: RemoteRuns, look: Look, report: str = "") -> int:
    """Prints the result of a run: its table, or the failed boxes and why. Returns the exit code."""
    if look.state == "SUCCEEDED":
        show_results(runs, look, report)
        return 0
    for line in why_failed(look, runs) if look.state == "FAILED" else ():
        print(line, file=sys.stderr)
    print(f"run {look.run['display_name']} {look.state.lower()}", file=sys.stderr)
    return 1


def _made(kubeflow: Kubeflow) -> str:
    mine = {"namespace": kubeflow.namespace} if kubeflow.namespace else {}
    body = {"display_name": NAME, "description": "A controlled trial for synthetic training images", **mine}
    try:
        return str(kubeflow.ask("POST", PIPELINES, body)["pipeline_id"])
    except TakenError:
        return pipeline_id(kubeflow)


def _dry_run(flags: argparse.Namespace, scratch: Path) -> int:
    """Prints what would run and what it would cost, without a request to Kubeflow."""
    begun = prepared(flags, scratch, dry=True)
    print(f"study {begun.study.name}: version {begun.package.code} of the pipeline {NAME}")
    spec = next(yaml.safe_load_all(begun.package.path.read_text(encoding="utf-8")))
    try:
        counts = costed(begun.study, locations_of(flags, begun.study))
    except (ConfigError, StorageError) as error:
        print(f"{counted(pods(spec, begun.package.arguments), 'pod')}, without retries and with an empty cache")
        print(f"the rest of the cost depends on the number of images, which is unknown: {error}", file=sys.stderr)
        return 0
    for line in summary(begun.study, counts, spec, begun.package.arguments, begun.place.gpus):
        print(line)
    return 0
