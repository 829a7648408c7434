"""Runs on a cluster: looked up by name or id, with their boxes, and the logs of boxes that failed."""

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

RUNS = "/apis/v2beta1/runs"
CACHE = "/apis/v1alpha1/tasks"  # what each box that ran has left in the engine's cache
FINGERPRINT = re.compile(r'cache_fingerprint"\s*value:\{string_value:"([0-9a-f]{64})"')
OVER = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
STOPPED = ("CANCELING", "CANCELED")
PAGE = 20  # runs asked for at a time: each comes with all its tasks
TAIL = 25  # lines of a log
PATIENCE_S = 10.0  # with a store that may be out of reach from here for good
# Kubeflow's own lines around the box's, and the box's inputs, as JSON.
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
        # A run that is ended quickly has no time to say so in its history; its workflow was given no time at all.
        ended = self.workflow.get("spec", {}).get("activeDeadlineSeconds") == 0
        state = state_of(self.run)
        return "CANCELED" if ended and state == "FAILED" else state

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    @property
    def share(self) -> float:
        """Of the boxes, over: 0 to 1."""
        return sum(box.has_ended for box in self.boxes) / max(1, len(self.boxes))

    @property
    def progress(self) -> str:
        """How many boxes are over, for people."""
        return f"{sum(box.has_ended for box in self.boxes)} of {len(self.boxes)} boxes"

    @property
    def failed(self) -> list[Box]:
        """The first to fail comes first."""
        failed = [box for box in self.boxes if box.state == "failed"]
        return sorted(failed, key=lambda box: box.ended or datetime.max.replace(tzinfo=UTC))


class RemoteRuns:
    """What a Kubeflow knows of its runs. Packages are asked for once, and so is a store that is out of reach."""

    def __init__(self, kubeflow: Kubeflow) -> None:
        self.kubeflow = kubeflow
        self._packages: dict[str, Json] = {}
        self._store_is_away = False

    def newest(self, experiment: str = "", **query: Any) -> Iterator[Json]:
        """Newest first, all or those of an experiment's id."""
        mine = {"namespace": self.kubeflow.namespace} if self.kubeflow.namespace else {}
        whose = {"experiment_id": experiment} if experiment else mine
        return self.kubeflow.pages(RUNS, "runs", page_size=PAGE, sort_by="created_at desc", **whose, **query)

    def find(self, word: str) -> Json:
        """The newest run with a name, or the one whose id begins so.

        Raises:
            KubeflowError: there is none, or several ids begin so.
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
        """A run and its boxes, as they are now."""
        run = self.kubeflow.ask("GET", f"{RUNS}/{segment(run_id)}")
        kept = self._workflow(run_id)
        names = workflow.titles(self._package(run), run.get("runtime_config", {}).get("parameters") or {})
        return Look(run, workflow.boxes(kept, names), kept)

    def log(self, look: Look, pod: str) -> list[str]:
        """The log of the box in a pod, without Kubeflow's own lines around it."""
        return EXECUTOR.sub("", LAUNCHER.sub("", self._said(look, pod))).rstrip().splitlines()

    def output(self, look: Look, path: str, name: str) -> str:
        """The URI of what a box made, in this run or in that from which the cache has it; "" where that is unknown.

        Only the log of the box's driver has the fingerprint that the cache was asked for.
        """
        if uri := workflow.output(look.workflow, path, name):
            return uri
        pod = workflow.driver_pod(look.workflow, path)
        found = FINGERPRINT.search(self._said(look, pod)) if pod else None
        if not found:
            return ""
        with contextlib.suppress(KubeflowError):  # the run may be deleted
            wanted = where("fingerprint", "EQUALS", found[1], "op")
            page = self.kubeflow.ask("GET", CACHE, filter=wanted, page_size=1, sort_by="created_at desc")
            for one in page.get("tasks", []):
                return workflow.output(self._workflow(one["runId"]), path, name)
        return ""

    def stop(self, run_id: str) -> None:
        """Ends a run; its boxes are killed."""
        self.kubeflow.ask("POST", f"{RUNS}/{segment(run_id)}:terminate")

    def _workflow(self, run_id: str) -> Json:
        """Only the older form of the interface gives it."""
        found = self.kubeflow.ask("GET", f"/apis/v1beta1/runs/{segment(run_id)}")
        return dict(json.loads(found.get("pipeline_runtime", {}).get("workflow_manifest") or "{}"))

    def _said(self, look: Look, pod: str) -> str:
        """The log of a pod; where that is gone, what was stored of it."""
        node = f"runs/{segment(look.run['run_id'])}/nodes/{segment(pod)}"
        text = self.kubeflow.text(f"/apis/v1alpha1/{node}/log")
        if not text.startswith('{"error_message"'):  # an error, for all that it comes as "200 OK"
            return text
        try:
            stored = self.kubeflow.ask("GET", f"/apis/v2beta1/{node}/artifacts/main-logs:read")
        except KubeflowError:  # it finds none in a workflow so large that its nodes are compressed
            return self._fetched(workflow.log_uri(look.workflow, pod))
        return base64.b64decode(stored["data"]).decode("utf-8", errors="replace")

    def _fetched(self, uri: str) -> str:
        """A text in the object store; "" where there is none, or where the store is out of reach from here."""
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
    """Why a run failed, in lines: each box that did with the end of its log, the first to fail first."""
    for box in look.failed:
        log = runs.log(look, box.pod) if box.pod else []
        sentence = next((found["sentence"] for line in reversed(log) if (found := BROKEN.search(line))), "")
        tries = f" after {box.tries} tries" if box.tries > 1 else ""
        yield f"{box.name} failed{tries}{': ' if sentence or box.message else ''}{sentence or box.message}"
        if not sentence:
            yield from (f"    {line}" for line in _end(log) or ["(Kubeflow has no log of it)"])
    if not look.failed and look.state == "FAILED":
        yield f"no box failed, but the workflow: {workflow.trouble(look.workflow) or 'it does not say why'}"


def _end(log: list[str]) -> list[str]:
    """The last TAIL lines, but nothing before the last traceback: there the engine has printed the box's inputs."""
    began = max((number for number, line in enumerate(log) if line.startswith("Traceback ")), default=0)
    return log[max(began, len(log) - TAIL) :]


def state_of(run: Json) -> str:
    """Kubeflow lets a run that was canceled end as one that failed; its history knows better."""
    state, before = str(run.get("state") or "PENDING"), run.get("state_history") or []
    canceled = state == "FAILED" and any(one.get("state") == "CANCELING" for one in before)
    return "CANCELED" if canceled else state


def moment(run: Json, field: str) -> datetime | None:
    """A time of a run; Kubeflow writes 1970 for what has not come yet."""
    value = run.get(field)
    found = datetime.fromisoformat(value).astimezone(UTC) if value else None
    return found if found and found.year > 1970 else None
