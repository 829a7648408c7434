"""A Kubeflow Pipelines for tests: it keeps what it is given and answers as version 2.17 does, but its boxes do nothing.

A run goes on by one box each time somebody looks at it. What its boxes do is a `Play`. The workflow of a run has the
names, tries and parameters that the real one's has; what is not needed to read them is left out.
"""

import base64
import contextlib
import gzip
import hashlib
import json
import operator
import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

Json = dict[str, Any]
OVER = ("SUCCEEDED", "FAILED")
TRY = re.compile(r"\([0-9]+\)")
FITS = {"EQUALS": operator.eq, "IS_SUBSTRING": operator.contains}
EPOCH = datetime(2026, 11, 23, 3, tzinfo=UTC)


@dataclass
class Play:
    """The behaviour of the boxes of a run.

    Args:
        fails: path of the box that fails, such as "root.ingest".
        tries: pods of that box, of which all fail.
        log: of the box that fails; None where nobody has it any more.
        stored_log: the pod is gone, and only what was stored of its log can be had.
        cached: paths of boxes that come from the cache.
        hasty: what is canceled ends before anybody has written down that it was canceled.
        queued: path of a box whose pod finds no node.
        broken: why not even the first box begins.
        packed: the workflow is so large that its nodes are compressed, and Kubeflow finds no stored log by them.
        root: where outputs go.
    """

    fails: str = ""
    tries: int = 1
    log: str | None = ""
    stored_log: bool = False
    cached: tuple[str, ...] = ()
    hasty: bool = False
    queued: str = ""
    packed: bool = False
    broken: str = ""
    root: str = "minio://mlpipeline/v2/artifacts"


class Refusal(Exception):  # noqa: N818  an answer
    """An error response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class KubeflowServer:
    """A server at `url`, once it is started. Tests may read and change its whole state."""

    token: str = ""  # that it wants to see; "": anybody may ask
    cookie: str = ""
    multi_user: bool = False
    play: Play = field(default_factory=Play)
    pipelines: dict[str, Json] = field(default_factory=dict)
    versions: dict[str, Json] = field(default_factory=dict)
    experiments: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, "Run"] = field(default_factory=dict)
    schedules: dict[str, Json] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    on_look: Any = None  # called with each run that somebody looks at
    refuse: dict[tuple[str, str], int] = field(default_factory=dict)  # method and path -> status, once
    before: dict[str, Any] = field(default_factory=dict)  # path -> called, once, before a request is answered
    page: int = 100  # items of a list, at most
    port: int = 0

    def start(self) -> str:
        """Its URL, the same after every start."""
        self._listener = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self.port = self._listener.server_port
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()
        return self.url

    def stop(self) -> None:
        """From now on connections are refused."""
        self._listener.shutdown()
        self._listener.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def uploads(self) -> int:
        return sum(path.endswith("/upload_version") for _, path in self.requests)

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[str, bytes]:
        """Content type and content. Raises Refusal."""
        self.requests.append((method, path))
        if happens := self.before.pop(path, None):
            happens(path)
        if status := self.refuse.pop((method, path), 0):
            raise Refusal(status, "the test made it refuse")
        for pattern, verb, action in ROUTES:
            if verb == method and (match := re.fullmatch(pattern, path)):
                found = action(self, *map(unquote, match.groups()), query, body)
                if isinstance(found, str):
                    return "text/plain", found.encode()
                return "application/json", json.dumps(found).encode()
        raise Refusal(404, "Not Found")

    def _mine(self, query: dict[str, str]) -> None:
        if self.multi_user and "experiment_id" not in query and query.get("namespace") != "alice":
            raise Refusal(403, f"User 'alice' is not authorized in {query.get('namespace', '')!r}")

    def _listed(self, name: str, items: list[Json], query: dict[str, str]) -> Json:
        for predicate in json.loads(query.get("filter", "{}")).get("predicates", []):
            fits = FITS[predicate.get("operation") or predicate["op"]]
            items = [one for one in items if fits(one[predicate["key"]], predicate["string_value"])]
        if query.get("sort_by", "").endswith(" desc"):
            items = items[::-1]
        first, size = int(query.get("page_token") or 0), min(self.page, int(query.get("page_size", 10)))
        page = {name: items[first : first + size]} if items[first : first + size] else {}
        return {**page, **({"next_page_token": str(first + size)} if first + size < len(items) else {})}

    # Pipelines and versions

    def health(self, query: dict[str, str], body: bytes) -> Json:
        return {"commit_sha": "unknown", "tag_name": "2.17.0", "multi_user": self.multi_user}

    def list_pipelines(self, query: dict[str, str], body: bytes) -> Json:
        return self._listed("pipelines", [*self.pipelines.values()], query)

    def create_pipeline(self, query: dict[str, str], body: bytes) -> Json:
        made = _known(body, "display_name", "name", "description", "namespace")
        if any(one["display_name"] == made["display_name"] for one in self.pipelines.values()):
            raise Refusal(409, "the name already exists")
        return _kept(self.pipelines, "pipeline_id", made)

    def list_versions(self, pipeline: str, query: dict[str, str], body: bytes) -> Json:
        ours = [one for one in self.versions.values() if one["pipeline_id"] == pipeline]
        return self._listed("pipeline_versions", ours, query)

    def get_version(self, pipeline: str, version: str, query: dict[str, str], body: bytes) -> Json:
        return _of(self.versions, version, "pipeline version")

    def upload_version(self, query: dict[str, str], body: bytes) -> Json:
        name, pipeline = query["name"], query["pipelineid"]
        if any((one["display_name"], one["pipeline_id"]) == (name, pipeline) for one in self.versions.values()):
            raise Refusal(409, "Failed to create a pipeline version")
        documents = [*yaml.safe_load_all(body)]
        spec = documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
        made = {"display_name": name, "name": name, "pipeline_id": pipeline, "pipeline_spec": spec}
        return _kept(self.versions, "pipeline_version_id", made)

    # Experiments and runs

    def list_experiments(self, query: dict[str, str], body: bytes) -> Json:
        self._mine(query)
        return self._listed("experiments", [*self.experiments.values()], query)

    def create_experiment(self, query: dict[str, str], body: bytes) -> Json:
        made = _known(body, "display_name", "description", "namespace")
        self._mine(made)
        return _kept(self.experiments, "experiment_id", made)

    def list_runs(self, query: dict[str, str], body: bytes) -> Json:
        self._mine(query)
        wanted = query.get("experiment_id")
        runs = [run.shown for run in self.runs.values() if not wanted or run.made["experiment_id"] == wanted]
        return self._listed("runs", runs, query)

    def create_run(self, query: dict[str, str], body: bytes) -> Json:
        made = _known(
            body,
            *("display_name", "experiment_id", "pipeline_version_reference", "runtime_config", "service_account"),
        )
        _of(self.experiments, made["experiment_id"], "experiment")
        version = _of(self.versions, made["pipeline_version_reference"]["pipeline_version_id"], "pipeline version")
        spec = version["pipeline_spec"]
        _kept_run = Run(made, spec.get("pipeline_spec", spec), self.play)
        self.runs[_kept_run.id] = _kept_run
        return _kept_run.shown

    def get_run(self, run: str, query: dict[str, str], body: bytes) -> Json:
        found = _of(self.runs, run, "run")
        found.go_on()
        if self.on_look:
            self.on_look(found)
        return found.shown

    def get_run_with_workflow(self, run: str, query: dict[str, str], body: bytes) -> Json:
        found = _of(self.runs, run, "run")
        kept = {"workflow_manifest": json.dumps(found.workflow())} if found.state != "PENDING" else {}
        return {"run": {"id": run}, "pipeline_runtime": kept}

    def terminate(self, run: str, query: dict[str, str], body: bytes) -> Json:
        _of(self.runs, run, "run").cancel()
        return {}

    def log(self, run: str, pod: str, query: dict[str, str], body: bytes) -> str:
        found = _of(self.runs, run, "run")
        said = None if found.play.stored_log else found.said(pod)
        if said is None:
            return json.dumps({"error_message": "Failed to read logs", "error_details": "..."}, separators=(",", ":"))
        return said

    def stored(self, run: str, pod: str, query: dict[str, str], body: bytes) -> Json:
        found = _of(self.runs, run, "run")
        said = found.said(pod) if found.play.stored_log and not found.play.packed else None
        if said is None:
            raise Refusal(404, "artifact not found")
        return {"data": base64.b64encode(said.encode()).decode()}

    def list_cached(self, query: dict[str, str], body: bytes) -> Json:
        made = [
            {"id": str(uuid.uuid4()), "runId": run.id, "fingerprint": fingerprint(path), "created_at": _stamp(EPOCH)}
            for run in self.runs.values()
            for path in run.paths[: max(0, run.done)]
            if path not in run.play.cached
        ]
        return self._listed("tasks", made, query)

    # Schedules

    def list_schedules(self, query: dict[str, str], body: bytes) -> Json:
        self._mine(query)
        return self._listed("recurringRuns", [*self.schedules.values()], query)

    def create_schedule(self, query: dict[str, str], body: bytes) -> Json:
        made = _known(
            body,
            *("display_name", "description", "experiment_id", "pipeline_version_reference", "runtime_config", "mode"),
            *("service_account", "trigger", "max_concurrency", "no_catchup"),
        )
        if len(made["trigger"]["cron_schedule"]["cron"].split()) not in (5, 6):
            raise Refusal(400, "Schedule cron is not a supported format")
        return _kept(self.schedules, "recurring_run_id", {**made, "status": f"{made['mode']}D"})

    def delete_schedule(self, schedule: str, query: dict[str, str], body: bytes) -> Json:
        _of(self.schedules, schedule, "recurring run")
        del self.schedules[schedule]
        if query.get("propagation_policy") != "ORPHAN":
            self.runs = {key: run for key, run in self.runs.items() if run.schedule != schedule or run.state in OVER}
        return {}

    def switch_schedule(self, schedule: str, mode: str, query: dict[str, str], body: bytes) -> Json:
        _of(self.schedules, schedule, "recurring run")["mode"] = mode.upper()
        return {}

    def fire(self, schedule: str) -> "Run":
        """A run of a schedule, as if its time had come."""
        made = _of(self.schedules, schedule, "recurring run")
        kept = ("experiment_id", "pipeline_version_reference", "runtime_config", "service_account")
        body = {**{key: made[key] for key in kept}, "display_name": f"run-of-{made['display_name']}"}
        run = self.runs[self.create_run({}, json.dumps(body).encode())["run_id"]]
        run.schedule = schedule
        return run


ID = "([^/:]+)"
V2, V1 = "/apis/v2beta1", "/apis/v1beta1"
ROUTES = [
    (f"{V2}/healthz", "GET", KubeflowServer.health),
    (f"{V2}/pipelines", "GET", KubeflowServer.list_pipelines),
    (f"{V2}/pipelines", "POST", KubeflowServer.create_pipeline),
    (f"{V2}/pipelines/upload_version", "POST", KubeflowServer.upload_version),
    (f"{V2}/pipelines/{ID}/versions", "GET", KubeflowServer.list_versions),
    (f"{V2}/pipelines/{ID}/versions/{ID}", "GET", KubeflowServer.get_version),
    (f"{V2}/experiments", "GET", KubeflowServer.list_experiments),
    (f"{V2}/experiments", "POST", KubeflowServer.create_experiment),
    (f"{V2}/runs", "GET", KubeflowServer.list_runs),
    (f"{V2}/runs", "POST", KubeflowServer.create_run),
    (f"{V2}/runs/{ID}", "GET", KubeflowServer.get_run),
    (f"{V2}/runs/{ID}:terminate", "POST", KubeflowServer.terminate),
    (f"{V1}/runs/{ID}", "GET", KubeflowServer.get_run_with_workflow),
    (f"/apis/v1alpha1/runs/{ID}/nodes/{ID}/log", "GET", KubeflowServer.log),
    (f"{V2}/runs/{ID}/nodes/{ID}/artifacts/main-logs:read", "GET", KubeflowServer.stored),
    ("/apis/v1alpha1/tasks", "GET", KubeflowServer.list_cached),
    (f"{V2}/recurringruns", "GET", KubeflowServer.list_schedules),
    (f"{V2}/recurringruns", "POST", KubeflowServer.create_schedule),
    (f"{V2}/recurringruns/{ID}", "DELETE", KubeflowServer.delete_schedule),
    (f"{V2}/recurringruns/{ID}:(enable|disable)", "POST", KubeflowServer.switch_schedule),
]


class Run:
    """A run, and its Argo workflow."""

    def __init__(self, made: Json, spec: Json, play: Play) -> None:
        self.id, self.made, self.play = str(uuid.uuid4()), made, play
        self.state, self.schedule, self.began, self.canceled = "PENDING", "", EPOCH, False
        self.name = f"syntrial-{self.id[:5]}"
        self.paths = list(_paths(spec, spec["root"]["dag"]["tasks"], made["runtime_config"]["parameters"], "root"))
        self.done = -1  # boxes that are over

    def go_on(self) -> None:
        """One box further."""
        if self.state == "CANCELING":
            self.state = "FAILED"
        if self.state in OVER or (self.play.queued and self.paths[max(0, self.done)] == self.play.queued):
            return
        self.state, self.done = "RUNNING", self.done + 1
        if self.play.broken or (self.done and self.paths[self.done - 1] == self.play.fails):
            self.state, self.done = "FAILED", self.done - 1
        elif self.done == len(self.paths):
            self.state = "SUCCEEDED"

    @property
    def shown(self) -> Json:
        times = {"created_at": _stamp(self.began), "finished_at": _stamp(datetime.fromtimestamp(0, UTC))}
        if self.state in OVER:
            times["finished_at"] = _stamp(self.began + timedelta(seconds=20 * len(self.paths)))
        history = ["PENDING", "RUNNING", *(["CANCELING"] if self.canceled and not self.play.hasty else []), self.state]
        shown = {"run_id": self.id, "state": self.state, **self.made, **times}
        return {**shown, "state_history": [{"state": state} for state in history]}

    def cancel(self) -> None:
        """It ends at the next look, as one that failed; only its history tells."""
        self.state, self.canceled = "CANCELING", True

    def output(self, path: str) -> str:
        """Where a box puts what it makes."""
        box = path.rpartition(".")[2]
        return f"{self.play.root}/syntrial/{self.id}/{box}/{uuid.uuid5(uuid.NAMESPACE_URL, self.id)}/{box}"

    def said(self, pod: str) -> str | None:
        """The log of a pod; None where there is no such pod, or its log is lost."""
        named = {self._pod_name(node): node for node in self._nodes()}
        if pod not in named:
            return None
        path, is_driver, _ = TRY.sub("", named[pod]["name"]).removeprefix(f"{self.name}.").partition("-driver")
        if not is_driver:
            return self.play.log
        value = f'value:{{string_value:"{fingerprint(path)}"}}'
        return f'I1123 container.go:204] Created execution: custom_properties:{{key:"cache_fingerprint"  {value}}}\n'

    def stored(self) -> dict[str, str]:
        """What lies in the store of the logs of its pods: key -> text."""
        pods = [self._pod_name(node) for node in self._nodes() if node["type"] == "Pod"]
        return {self._key(pod): text for pod in pods if (text := self.said(pod)) is not None}

    def _key(self, pod: str) -> str:
        return f"private-artifacts/{self.name}/{pod}/main.log"

    def _pod_name(self, node: Json) -> str:
        return f"{self.name}-{node['templateName']}-{node['id'].rpartition('-')[2]}"

    def workflow(self) -> Json:
        nodes = {node["id"]: node for node in self._nodes()}
        for node in nodes.values():
            if node["type"] == "Pod" and node["finishedAt"]:
                log = {"name": "main-logs", "s3": {"key": self._key(self._pod_name(node))}}
                node["outputs"] = {**node.get("outputs", {}), "artifacts": [log]}
        repository = {"s3": {"endpoint": "minio:9000", "bucket": "mlpipeline"}}
        status: Json = {"phase": self.state.title(), "nodes": nodes}
        status["artifactRepositoryRef"] = {"artifactRepository": repository}
        if self.play.packed:
            text = gzip.compress(json.dumps(status.pop("nodes")).encode())
            status["compressedNodes"] = base64.b64encode(text).decode()
        deadline = {"activeDeadlineSeconds": 0} if self.canceled else {}
        return {"metadata": {"name": self.name}, "spec": deadline, "status": status}

    def _nodes(self) -> Iterator[Json]:
        yield self._node("", "Retry", "entrypoint", "Running", 0, 0)
        if self.play.broken:
            yield self._node("root-driver(0)", "Pod", "system-dag-driver", "Error", 0, 1, message=self.play.broken)
            return
        for number, path in enumerate(self.paths):
            if number <= self.done:
                killed, over = self.canceled and self.state in OVER, number < self.done
                failed = killed or (self.state == "FAILED" and path == self.play.fails)
                yield from self._box(number, path, "Succeeded" if over else "Failed" if failed else "Running")
            elif self.state in OVER:
                yield self._node(f"{path}-driver", "Skipped", "system-container-driver", "Omitted", 0, 0)

    def _box(self, number: int, path: str, phase: str) -> Iterator[Json]:
        began, ended = 20 * number, 20 * number + 15 if phase != "Running" else None
        cached = path in self.play.cached
        values = {"pod-spec-patch": "" if cached else self._patch(path), "cached-decision": str(cached).lower()}
        outputs = {"parameters": [{"name": name, "value": value} for name, value in values.items()]}
        driver = "system-container-driver"
        for tried, kind in (("", "Retry"), ("(0)", "Pod")):
            yield self._node(f"{path}-driver{tried}", kind, driver, "Succeeded", began, began + 5, outputs=outputs)
        executor, impl = "retry-system-container-executor", "retry-system-container-impl"
        for tried, kind in (("", "Retry"), ("(0)", "DAG")):
            yield self._node(f"{path}{tried}", kind, executor, phase, began + 5, ended)
        if cached:
            yield self._node(f"{path}.executor", "Skipped", impl, "Skipped", began + 5, ended)
            return
        yield self._node(f"{path}.executor", "Retry", impl, phase, began + 5, ended)
        for one in range(self.play.tries if path == self.play.fails else 1):
            yield self._pod(f"{path}.executor({one})", path, phase, began + 5 + one, ended)

    def _pod(self, name: str, path: str, phase: str, began: int, ended: int | None) -> Json:
        message = "main: Error (exit code 1)" if phase == "Failed" else None
        if self.canceled and phase == "Failed":
            message = "Step exceeded its deadline"
        if path == self.play.queued and phase == "Running":
            phase, message = "Pending", "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
        return self._node(name, "Pod", "retry-system-container-impl", phase, began, ended, message=message)

    def _node(
        self, path: str, kind: str, template: str, phase: str, began: int, ended: int | None, **more: Any
    ) -> Json:
        """Argo's word for a box, a try or a graph. Everything above it has been tried once, and says so."""
        *above, last = path.split(".")
        name = ".".join([f"{self.name}(0)", *(f"{one}(0)" for one in above), last]) if path else self.name
        number = uuid.uuid5(uuid.NAMESPACE_URL, name).int % 10**9
        times = {"startedAt": _stamp(EPOCH + timedelta(seconds=began))}
        times["finishedAt"] = _stamp(EPOCH + timedelta(seconds=ended)) if ended is not None else None
        shown = {"id": f"{self.name}-{number}" if path else name, "name": name, "displayName": last}
        return {**shown, "type": kind, "templateName": template, "phase": phase, **times, **more}

    def _patch(self, path: str) -> str:
        box = path.rpartition(".")[2]
        made = {
            "artifacts": [
                {"uri": f"{self.play.root}/syntrial/{self.id}/{box}/{uuid.uuid5(uuid.NAMESPACE_URL, self.id)}/{box}"}
            ]
        }
        given = {"inputs": {}, "outputs": {"artifacts": {box: made}}}
        words = ["/kfp-launcher/launch", "--run_id", self.id, "--executor_input", json.dumps(given)]
        return json.dumps({"containers": [{"name": "main", "command": words}]})


def _paths(spec: Json, tasks: Json, given: Json, above: str) -> Iterator[str]:
    """The boxes of a graph, in the order in which the workflow runs them."""
    left = dict(tasks)
    while left:
        key = next(key for key, task in left.items() if not any(one in left for one in task.get("dependentTasks", [])))
        task = left.pop(key)
        component = spec["components"][task["componentRef"]["name"]]
        if "dag" not in component:
            yield f"{above}.{key}"
            continue
        inputs = task.get("inputs", {}).get("parameters", {})
        inner = {name: _value(one, given) for name, one in inputs.items()}
        below = component["dag"]["tasks"]
        if "parameterIterator" not in task:
            yield from _paths(spec, below, inner, f"{above}.{key}")
            continue
        items = task["parameterIterator"]["items"]
        turns = json.loads(items["raw"]) if "raw" in items else inner[items["inputParameter"]]
        for turn in range(len(turns)):
            yield from _paths(spec, below, inner, f"{above}.{key}.iteration-iterations({turn}:{turn}).iteration-item")


def _value(one: Json, given: Json) -> Any:
    if "componentInputParameter" in one:
        return given.get(one["componentInputParameter"])
    return one.get("runtimeValue", {}).get("constant")


def fingerprint(path: str) -> str:
    """The cache key of a box; here it depends on the path in the graph only."""
    return hashlib.sha256(path.encode()).hexdigest()


def _known(body: bytes, *names: str) -> Json:
    """A request's JSON; like the real server it refuses unknown fields."""
    made = json.loads(body)
    if strange := [name for name in made if name not in names]:
        raise Refusal(400, f"unknown field {strange[0]!r}")
    return made


def _kept(items: dict[str, Json], key: str, made: Json) -> Json:
    made = {key: str(uuid.uuid4()), **made, "created_at": _stamp(EPOCH)}
    items[made[key]] = made
    return made


def _of(items: dict[str, Any], key: str, what: str) -> Any:
    if key not in items:
        raise Refusal(404, f"{what} {key} not found")
    return items[key]


def _stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _handler(server: KubeflowServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            where = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(where.query, keep_blank_values=True).items()}
            try:
                if not self.may_ask():
                    raise Refusal(401, "Unauthenticated")
                self.send(200, *server.answer(self.command, where.path, query, self.content(body)))
            except Refusal as refusal:
                content = json.dumps({"code": refusal.status, "message": str(refusal), "details": []})
                self.send(refusal.status, "application/json", content.encode())

        do_GET = do_POST = do_DELETE = do

        def may_ask(self) -> bool:
            bearer = not server.token or self.headers.get("Authorization") == f"Bearer {server.token}"
            return bearer and (not server.cookie or self.headers.get("Cookie") == server.cookie)

        def content(self, body: bytes) -> bytes:
            kind = self.headers.get("Content-Type", "")
            if not kind.startswith("multipart/"):
                return body
            message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
            return message.get_payload()[0].get_payload(decode=True)

        def send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None: ...

    return Handler


@contextlib.contextmanager
def kubeflow_server(**settings: Any) -> Iterator[KubeflowServer]:
    """An empty Kubeflow."""
    server = KubeflowServer(**settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()
