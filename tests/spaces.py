"""A namespace on the cluster for tests: k8s/ deploys a store there, and pods of our images run in it."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import lab
from local_runs import ROOT
from minio import Minio

K8S = ROOT / "k8s"
CHECKS = ("enforce", "warn")  # what a namespace does with pods, and with whatever makes pods, below its standard

T = TypeVar("T")
Object = dict[str, Any]


class Space:
    """A namespace, requests to it, and the folder of an overlay that deploys a store there."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def kubectl(self, *words: object, **more: Any) -> str:
        return lab.kubectl("--namespace", self.name, *words, **more)

    def get(self, what: str, path: str) -> str:
        """A field of an object; "" where one of both is not there."""
        return self.kubectl("get", *what.split(), f"--output=jsonpath={{{path}}}", check=False)

    def create(self, kind: str, name: str, spec: Object, **metadata: Any) -> None:
        version = {"Job": "batch/v1"}.get(kind, "v1")
        one = {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}
        self.kubectl("create", "--filename=-", stdin=json.dumps(one))

    def run(self, name: str, spec: Object, tries: int = 1) -> None:
        """Begins a Job of a pod, a further one after each that fails or is lost."""
        template = {"metadata": {"labels": {"app.kubernetes.io/part-of": "syntrial"}}, "spec": spec}
        self.create("Job", name, {"backoffLimit": tries - 1, "template": template})

    def finished(self, job: str) -> str:
        """What the last pod of a Job printed, once the Job is complete."""
        ends = '.status.conditions[?(@.status=="True")].type'
        end = until(lambda: re.search("Complete|Failed", self.get(f"job {job}", ends)), lambda: self.said_of(job))
        assert end[0] == "Complete", self.said_of(job)
        return self.log(job)

    def pod(self, job: str) -> str:
        """The newest pod of a Job."""
        pods = lab.objects("pods", f"--selector=job-name={job}", f"--namespace={self.name}")
        return max(pods, key=lambda one: one["metadata"]["creationTimestamp"])["metadata"]["name"] if pods else ""

    def log(self, job: str, *words: object) -> str:
        """What its newest pod has printed so far."""
        return self.kubectl("logs", self.pod(job), *words, check=False)

    def said_of(self, job: str) -> str:
        """What the cluster knows of a Job, for whoever has to find out what is wrong with it."""
        asked = (("get", "pods", "--output=wide"), ("get", "events", "--sort-by=.lastTimestamp"))
        reported = [self.kubectl(*words, check=False)[-3000:] for words in asked]
        return "\n".join([*reported, self.log(job, "--tail=30")])

    def keys(self) -> dict[str, str]:
        """The store's, as the cluster has them: encoded."""
        return dict(json.loads(self.get("secret syntrial-store", ".data") or "{}"))

    def store(self) -> Minio:
        """MinIO, as the service's address reaches it now; a client of an earlier pod may wait for that one."""
        template = "{{.data.accesskey | base64decode}} {{.data.secretkey | base64decode}}"
        keys = self.kubectl("get", "secret", "syntrial-store", f"--output=go-template={template}").split()
        return Minio(f"{self.get('service minio', '.spec.clusterIP')}:9000", *keys, secure=False)

    def read(self, bucket: str, key: str) -> bytes:
        with contextlib.closing(self.store().get_object(bucket, key)) as response:
            return bytes(response.read())


def until(happened: Callable[[], T], reported: Callable[[], str], limit_s: float = lab.PATIENCE_S) -> T:
    """The first true result of `happened`; fails with the message of `reported` if that takes too long."""
    end_s = time.monotonic() + limit_s
    while not (found := happened()):
        assert time.monotonic() < end_s, f"what was waited for did not happen:\n{reported()}"
        time.sleep(0.5)
    return found


@contextlib.contextmanager
def space(name: str, folder: Path, shipped: str = "laptop", *components: str) -> Iterator[Space]:
    """A new namespace that enforces the Pod Security Standard `restricted`; deleted afterwards.

    Its overlay is one that ships, in this namespace, with components of k8s/.
    """
    _drop(name)
    write_overlay(folder, name, shipped, components)
    labels = {f"pod-security.kubernetes.io/{check}": "restricted" for check in CHECKS}
    one = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    lab.kubectl("create", "--filename=-", stdin=json.dumps(one))
    try:
        yield Space(name, folder)
    finally:
        _drop(name)


def _drop(name: str) -> None:
    lab.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")
    # Without the grace that they would have: nobody needs what they hold.
    lab.kubectl("delete", "pods", "--all", f"--namespace={name}", "--force", "--grace-period=0", check=False)
    lab.kubectl("delete", "namespace", name, "--ignore-not-found", f"--timeout={lab.PATIENCE_S}s")


def write_overlay(folder: Path, namespace: str, shipped: str, components: Iterable[str]) -> None:
    """Writes an overlay that deploys a shipped overlay into another namespace, as a user would."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [os.path.relpath(K8S / "overlays" / shipped, folder)],
        "components": [os.path.relpath(K8S / name, folder) for name in components],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization), encoding="utf-8")


def script(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Runs k8s/deploy, undeploy or render as a user without keys of their own."""
    own = {"KUBECTL": lab.program(), "PYTHON": sys.executable, "REGISTRY": lab.REGISTRY, "KEYS": "none"}
    command = [str(K8S / name), *map(str, words)]
    return subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)


def deploy(where: Space) -> str:
    """Runs k8s/deploy. Returns its output."""
    done = script("deploy", where.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def undeploy(where: Space, *words: str) -> None:
    done = script("undeploy", where.folder, *words)
    assert done.returncode == 0, done.stdout + done.stderr


def pod(image: str, script: str, environment: dict[str, str] | None = None, **spec: Any) -> Object:
    """The spec of a pod that runs a shell script in an image, with no more rights than a box has on the cluster.

    It says nothing of who it runs as: that is for the image to say.
    """
    keys = {"MINIO_ACCESS_KEY": "accesskey", "MINIO_SECRET_KEY": "secretkey"}
    secret = {name: {"secretKeyRef": {"name": "syntrial-store", "key": key}} for name, key in keys.items()}
    plain = {"SYNTRIAL_THREADS": "1", "SYNTRIAL_WORKERS": "1", "OPENBLAS_NUM_THREADS": "1", **(environment or {})}
    container = {
        "name": "main",
        "image": image,
        "command": ["sh", "-euc", script],
        "envFrom": [{"configMapRef": {"name": "syntrial-store"}}],
        "env": [
            *({"name": name, "valueFrom": value} for name, value in secret.items()),
            *({"name": name, "value": value} for name, value in plain.items()),
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "restartPolicy": "Never",
        "serviceAccountName": "syntrial",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        **spec,
    }
