"""Reads the state of a run's boxes from the pipeline's package and from Kubeflow's Argo workflow.

A box is two nodes of the workflow: `PATH-driver`, which resolves its inputs, checks the cache and sets the URIs of its
outputs, and `PATH`, whose pods do the work. A node with retries has a child for each try, such as `PATH(0)`. Kubeflow's
own list of a run's tasks has neither the titles of boxes nor their pods.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.tasks import Json, expanded

ENDED = ("done", "cached", "failed", "left out")
OVER = {"Succeeded": "done", "Failed": "failed", "Error": "failed"}
MESSAGE = 240  # characters of the cluster's message that are kept
LEFT_OUT = {"Skipped", "Omitted"}
TRY = re.compile(r"\([0-9]+\)")  # an iteration of a loop is (0:0)
STUCK = re.compile("Unschedulable|ErrImage|ImagePull|InvalidImage|CreateContainer")  # of a pod that does not start


@dataclass(frozen=True)
class Box:
    """The state of one box at one moment."""

    name: str  # its title, as the dashboard nests it: "as printed / arms / simple_gan / train classifier"
    state: str  # "waiting", "starting", "stuck", "running" or one of ENDED
    began: datetime | None = None
    ended: datetime | None = None
    tries: int = 0
    message: str = ""  # the cluster's message, such as why no node is free or how the pod ended
    pod: str = ""  # of the last try, or of the driver if that failed

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    def seconds(self, now: datetime) -> float:
        """Seconds from its beginning until its end, or until now."""
        return ((self.ended or now) - self.began).total_seconds() if self.began else 0.0


def titles(package: Json, arguments: Json) -> dict[str, str]:
    """The boxes of a package in the order in which they can start: path in the workflow -> title.

    Args:
        arguments: the run's. A loop over a value that is computed during the run yields no boxes.
    """
    spec = package.get("pipeline_spec") or package
    return {task.path: task.title for task in expanded(spec, arguments)}


def boxes(workflow: Json, names: dict[str, str]) -> list[Box]:
    """The state of each box.

    Args:
        workflow: the Argo workflow; empty if there is none yet.
        names: result of `titles`.
    """
    nodes = _Nodes(workflow)
    return [_box(nodes, path, name) for path, name in names.items()]


def trouble(workflow: Json) -> str:
    """The cluster's message for a workflow that failed although no box did; "" if there is none."""
    nodes = _Nodes(workflow)
    pods = [node for node in nodes.every if node["type"] == "Pod" and OVER.get(node.get("phase", "")) == "failed"]
    for pod in sorted(pods, key=_began):
        return f"{nodes.path(pod)}: {_message(pod)}"
    return str(workflow.get("status", {}).get("message") or "")


def output(workflow: Json, path: str, name: str) -> str:
    """The URI of a box's output in this run; "" if it was served from the cache, which does not record it."""
    driver = _Nodes(workflow).at(f"{path}-driver")
    patch = _outputs(driver).get("pod-spec-patch") if driver else ""
    if not patch:
        return ""
    words = [
        word for part in json.loads(patch)["containers"] for word in part.get("command", []) + part.get("args", [])
    ]
    made = json.loads(words[words.index("--executor_input") + 1])["outputs"]["artifacts"]
    return str(made[name]["artifacts"][0]["uri"])


def driver_pod(workflow: Json, path: str) -> str:
    """The pod of a box's driver; "" if there is none."""
    nodes = _Nodes(workflow)
    return next((nodes.pod_name(pod) for pod in reversed(nodes.pods(f"{path}-driver"))), "")


def log_uri(workflow: Json, pod: str) -> str:
    """The URI of a pod's stored log; "" if the workflow does not record it."""
    repository = workflow.get("status", {}).get("artifactRepositoryRef", {}).get("artifactRepository", {})
    store, nodes = repository.get("s3") or {}, _Nodes(workflow)
    scheme = "s3" if "amazonaws." in store.get("endpoint", "") else "minio"
    for node in nodes.every:
        for one in node.get("outputs", {}).get("artifacts", []):
            if one["name"] == "main-logs" and one.get("s3") and store and nodes.pod_name(node) == pod:
                return f"{scheme}://{one['s3'].get('bucket') or store['bucket']}/{one['s3']['key']}"
    return ""


class _Nodes:
    """The nodes of a workflow by path."""

    def __init__(self, workflow: Json) -> None:
        self.name = workflow.get("metadata", {}).get("name", "")
        status = workflow.get("status", {})
        nodes = status.get("nodes") or {}
        if packed := status.get("compressedNodes"):  # Argo compresses the nodes of a workflow larger than a megabyte
            nodes = json.loads(gzip.decompress(base64.b64decode(packed)))
        self.every: list[Json] = list(nodes.values())
        self._by_path: dict[str, list[Json]] = {}
        for node in self.every:
            self._by_path.setdefault(self.path(node), []).append(node)

    def path(self, node: Json) -> str:
        """The path of a node in the workflow, without the number of its try."""
        return TRY.sub("", node["name"]).removeprefix(f"{self.name}.")

    def at(self, path: str) -> Json | None:
        """The node that sums up all tries, else the newest node."""
        found = self._by_path.get(path, [])
        several = [node for node in found if node["type"] == "Retry"]
        return max(several or found, key=_began, default=None)

    def pods(self, path: str) -> list[Json]:
        """The pods at a path, oldest first."""
        return sorted((node for node in self._by_path.get(path, []) if node["type"] == "Pod"), key=_began)

    def pod_name(self, node: Json) -> str:
        number = node["id"].rpartition("-")[2]
        return node["id"] if node["id"] == self.name else f"{self.name}-{node['templateName']}-{number}"


def _box(nodes: _Nodes, path: str, name: str) -> Box:
    driver, body = nodes.at(f"{path}-driver"), nodes.at(path)
    if driver is None:
        return Box(name, "waiting")
    if {driver.get("phase"), (body or {}).get("phase")} & LEFT_OUT:
        return Box(name, "left out")
    if _outputs(driver).get("cached-decision") == "true":
        return Box(name, "cached", _time(driver, "startedAt"), _time(driver, "finishedAt"))
    tries = nodes.pods(f"{path}.executor")
    if driver.get("phase") == "Succeeded":
        newest, state, ended = tries[-1] if tries else {}, _state(body, tries), _time(body or {}, "finishedAt")
    else:
        newest = (nodes.pods(f"{path}-driver") or [{}])[-1]
        state, ended = OVER.get(str(driver.get("phase")), "starting"), _time(driver, "finishedAt")
    return Box(
        name,
        state,
        _time(newest if state == "running" else driver, "startedAt"),
        ended,
        len(tries),
        _message(newest) if state in ("failed", "stuck") else "",
        nodes.pod_name(newest) if newest else "",
    )


def _state(body: Json | None, tries: list[Json]) -> str:
    """State of a box whose driver has succeeded."""
    if body and body.get("phase") in OVER:
        return OVER[body["phase"]]
    newest = tries[-1] if tries else {}
    if newest.get("phase", "Pending") != "Pending":
        return "running"
    return "stuck" if STUCK.match(_message(newest)) else "starting"


def _outputs(node: Json) -> Json:
    return {one["name"]: one.get("value") for one in node.get("outputs", {}).get("parameters", [])}


def _message(node: Json) -> str:
    return " ".join(str(node.get("message") or "").split())[:MESSAGE]


def _began(node: Json) -> str:
    return str(node.get("startedAt") or "")


def _time(node: Json, field: str) -> datetime | None:
    value = node.get(field)
    return datetime.fromisoformat(value).astimezone(UTC) if value else None
