"""Looks up runs on a cluster by name or id, with their boxes, outputs and logs."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from pipelines.cluster import workflow
from pipelines.cluster.client import Json, Kubeflow, KubeflowError, nearest, segment, where
from pipelines.cluster.workflow import Box
from pipelines.local.run import BROKEN
from syntrial.errors import ConfigError
from syntrial.store.objects import ObjectStore
from syntrial.store.uris import Location, StorageError
from syntrial.words import counted

RUNS = "/apis/v2beta1/runs"
CACHE = "/apis/v1alpha1/tasks"  # the entries of the engine's cache, one per box that ran
FINGERPRINT = re.compile(r'cache_fingerprint"\s*value:\{string_value:"([0-9a-f]{64})"')
OVER = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
STOPPED = ("CANCELING", "CANCELED")
PAGE = 20  # runs per request: each contains all its tasks
TAIL = 25  # lines of a log
PATIENCE_S = 10.0  # for a store that may never be reachable from this machine
# Kubeflow's lines in the log of a box, among them the box's inputs as JSON.
LAUNCHER = re.compile(r"^[IWEF][0-9]{4} [0-9:.]+ +[0-9]+ \w+\.go:[0-9]+\].*\n?", re.MULTILINE)
EXECUTOR = re.compile(r"^\[KFP Executor [^]]*\]: .*\n(?:\{\n(?:[ }].*\n)*?\}\n)?", re.MULTILINE)


@dataclass(frozen=True)
class Look:
    """A run at one moment."""

    run: Json
    boxes: list[Box]
    workflow: Json

    @property
    def state(self) -> str:
        # The history of a run that was canceled early may lack the entry; its workflow then has a deadline of 0 s.
        ended = self.workflow.get("spec", {}).get("activeDeadlineSeconds") == 0
        state = state_of(self.run)
        return "CANCELED" if ended and state == "FAILED" else state

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    @property
    def share(self) -> float:
        """Share of the boxes that have ended, 0 to 1."""
        return sum(box.has_ended for box in self.boxes) / max(1, len(self.boxes))

    @property
    def progress(self) -> str:
        """How many boxes have ended, as text."""
        return f"{sum(box.has_ended for box in self.boxes)} of {counted(len(self.boxes), 'box', 'boxes')}"

    @property
    def failed(self) -> list[Box]:
        """The boxes that failed, in the order of their failures."""
        failed = [box for box in self.boxes if box.state == "failed"]
        return sorted(failed, key=lambda box: box.ended or datetime.max.replace(tzinfo=UTC))


class RemoteRuns:
    """The runs of a Kubeflow. Each package is requested once, and a store that cannot be reached is tried once."""

    def __init__(self, kubeflow: Kubeflow) -> None:
        self.kubeflow = kubeflow
        self._packages: dict[str, Json] = {}
        self._store_is_away = False

    def newest(self, experiment: str = "", **query: Any) -> Iterator[Json]:
        """The runs, newest first: all, or those of the experiment with the given id."""
        mine = {"namespace": self.kubeflow.namespace} if self.kubeflow.namespace else {}
        whose = {"experiment_id": experiment} if experiment else mine
        return self.kubeflow.pages(RUNS, "runs", page_size=PAGE, sort_by="created_at desc", **whose, **query)

    def find(self, word: str) -> Json:
        """The newest run with the name `word`, else the run whose id begins with `word`.

        Raises:
            KubeflowError: there is none, or several ids begin with it.
        """
        for run in self.newest(filter=where("display_name", "EQUALS", word)):
            return run
        found = self.newest(filter=where("run_id", "IS_SUBSTRING", word))
        begins = [run for run in found if run["run_id"].startswith(word)]
        if len(begins) > 1:
            ids = ", ".join(run["run_id"] for run in begins[:5])
            raise KubeflowError(f"the ids of several runs begin with {word}: {ids}; give more of it")
        if not begins:
            known = [str(run["display_name"]) for run in islice(self.newest(), PAGE)]
            raise KubeflowError(f"{self.kubeflow.name} has no run {word!r}; {nearest(word, known)}")
        return begins[0]

    def look(self, run_id: str) -> Look:
        """The current state of a run and of its boxes."""
        run = self.kubeflow.ask("GET", f"{RUNS}/{segment(run_id)}")
        kept = self._workflow(run_id)
        names = workflow.titles(self._package(run), run.get("runtime_config", {}).get("parameters") or {})
        return Look(run, workflow.boxes(kept, names), kept)

    def log(self, look: Look, pod: str) -> list[str]:
        """The log of a pod's box, without Kubeflow's own lines."""
        return EXECUTOR.sub("", LAUNCHER.sub("", self._said(look, pod))).rstrip().splitlines()

    def output(self, look: Look, path: str, name: str) -> str:
        """The URI of a box's output, made in this run or in the run that filled the cache; "" if it is unknown.

        The cache key of the box is found only in the log of its driver.
        """
        if uri := workflow.output(look.workflow, path, name):
            return uri
        pod = workflow.driver_pod(look.workflow, path)
        found = FINGERPRINT.search(self._said(look, pod)) if pod else None
        if not found:
            return ""
        with contextlib.suppress(KubeflowError):  # the run may have been deleted
            wanted = where("fingerprint", "EQUALS", found[1], "op")
            page = self.kubeflow.ask("GET", CACHE, filter=wanted, page_size=1, sort_by="created_at desc")
            for one in page.get("tasks", []):
                return workflow.output(self._workflow(one["runId"]), path, name)
        return ""

    def stop(self, run_id: str) -> None:
        """Ends a run and kills its boxes."""
        self.kubeflow.ask("POST", f"{RUNS}/{segment(run_id)}:terminate")

    def _workflow(self, run_id: str) -> Json:
        """The Argo workflow of a run, which only version 1 of the API returns."""
        found = self.kubeflow.ask("GET", f"/apis/v1beta1/runs/{segment(run_id)}")
        return dict(json.loads(found.get("pipeline_runtime", {}).get("workflow_manifest") or "{}"))

    def _said(self, look: Look, pod: str) -> str:
        """The log of a pod, or its stored copy once the pod is deleted."""
        node = f"runs/{segment(look.run['run_id'])}/nodes/{segment(pod)}"
        text = self.kubeflow.text(f"/apis/v1alpha1/{node}/log")
        if not text.startswith('{"error_message"'):  # an error, although its status is 200
            return text
        try:
            stored = self.kubeflow.ask("GET", f"/apis/v2beta1/{node}/artifacts/main-logs:read")
        except KubeflowError:  # the API lacks it if the workflow is so large that its nodes are compressed
            return self._fetched(workflow.log_uri(look.workflow, pod))
        return base64.b64decode(stored["data"]).decode("utf-8", errors="replace")

    def _fetched(self, uri: str) -> str:
        """A text from the object store; "" if it does not exist, or if the store cannot be reached."""
        above, _, name = uri.rpartition("/")
        try:
            if not self._store_is_away:
                return ObjectStore(Location.of(above), PATIENCE_S).read_bytes(name).decode("utf-8", errors="replace")
        except StorageError:
            self._store_is_away = True
        except (ConfigError, FileNotFoundError):
            pass
        return ""

    def _package(self, run: Json) -> Json:
        if "pipeline_spec" in run:
            return dict(run["pipeline_spec"])
        version = run.get("pipeline_version_reference") or {}
        pipeline, number = (segment(version.get(key, "")) for key in ("pipeline_id", "pipeline_version_id"))
        path = f"/apis/v2beta1/pipelines/{pipeline}/versions/{number}"
        if path not in self._packages:
            self._packages[path] = self.kubeflow.ask("GET", path)["pipeline_spec"]
        return self._packages[path]


def why_failed(look: Look, runs: RemoteRuns) -> Iterator[str]:
    """Why a run failed, as lines: each failed box with the end of its log, in the order of the failures."""
    for box in look.failed:
        log = runs.log(look, box.pod) if box.pod else []
        sentence = next((found["sentence"] for line in reversed(log) if (found := BROKEN.search(line))), "")
        tries = f" after {counted(box.tries, 'try', 'tries')}" if box.tries > 1 else ""
        yield f"{box.name} failed{tries}{': ' if sentence or box.message else ''}{sentence or box.message}"
        if not sentence:
            yield from (f"    {line}" for line in _end(log) or ["(Kubeflow has no log of it)"])
    if not look.failed and look.state == "FAILED":
        yield f"no box failed, but the workflow did: {workflow.trouble(look.workflow) or 'it gives no reason'}"


def _end(log: list[str]) -> list[str]:
    """The last TAIL lines, but none before the last traceback, where the engine has logged the box's inputs."""
    began = max((number for number, line in enumerate(log) if line.startswith("Traceback ")), default=0)
    return log[max(began, len(log) - TAIL) :]


def state_of(run: Json) -> str:
    """The state of a run. Kubeflow reports a canceled run as failed; its history shows the cancellation."""
    state, before = str(run.get("state") or "PENDING"), run.get("state_history") or []
    canceled = state == "FAILED" and any(one.get("state") == "CANCELING" for one in before)
    return "CANCELED" if canceled else state


def moment(run: Json, field: str) -> datetime | None:
    """A time of a run; None if it has not come yet, for which Kubeflow writes 1970."""
    value = run.get(field)
    found = datetime.fromisoformat(value).astimezone(UTC) if value else None
    return found if found and found.year > 1970 else None
