"""Runs studies on the cluster's Kubeflow with the commands of a user, and inspects the runs."""

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import lab
from local_runs import ROOT, command, environment
from minio import Minio, MinioAdmin
from minio.credentials import StaticProvider

from pipelines.cluster.client import connect
from pipelines.cluster.remote import Look, RemoteRuns
from pipelines.cluster.workflow import Box

NAMESPACE = "kubeflow"
NOBODY = {"host": "", "namespace": "", "token_file": "", "cookie_file": ""}  # the flags of whoever gives none
PLACE = {  # small enough for a machine of two cores
    "light": {"cpu": 0.1, "cpu_limit": 1, "memory": "1Gi", "retries": 0},
    "train": {"cpu": 0.3, "cpu_limit": 1, "memory": "2Gi", "retries": 2},
}
PATIENCE_S = 2 * lab.PATIENCE_S  # a run is dozens of pods, one after another
EVERY_S = "1"  # between two looks at a run, and between two checkpoints

T = TypeVar("T")


@dataclass(frozen=True)
class Person:
    """A user with keys to the cluster's store, who uses its Kubeflow from this checkout."""

    folder: Path  # of their own
    access: str = field(default_factory=lambda: f"tests{secrets.token_hex(6)}")
    secret: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def checkpoints(self) -> str:
        """Nobody else's, so that no training has ended before it begins."""
        return f"checkpoints/{self.access}"

    @property
    def environment(self) -> dict[str, str]:
        keys = {"MINIO_ACCESS_KEY": self.access, "MINIO_SECRET_KEY": self.secret}
        return environment(**keys, REGISTRY=lab.REGISTRY)

    def deploy(self) -> None:
        """Keys, then what boxes need, beside a store that is there: as docs/kubeflow.md says for any other S3."""
        given = StaticProvider(os.environ["MINIO_ACCESS_KEY"], os.environ["MINIO_SECRET_KEY"])
        admin = MinioAdmin(endpoint=os.environ["MINIO_ENDPOINT"], credentials=given, secure=False)
        admin.add_service_account(access_key=self.access, secret_key=self.secret)
        keys = self.folder / "keys.env"
        keys.write_text(f"accesskey={self.access}\nsecretkey={self.secret}\n", encoding="utf-8")
        lab.kubectl("delete", "secret", "syntrial-store", f"--namespace={NAMESPACE}", "--ignore-not-found")
        overlay = self._overlay()
        tools = {"PYTHON": sys.executable, "KUBECTL": lab.program(), "KEYS": str(keys)}
        done = subprocess.run(
            [ROOT / "k8s" / "deploy", overlay],
            env=self.environment | tools,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def pipelines(self, *words: object) -> subprocess.CompletedProcess[str]:
        """`python -m pipelines ...`, to its end."""
        return subprocess.run(
            command(*words), cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )

    def begin(self, *words: object) -> "Run":
        """A study's run."""
        return Run(self.pipelines("submit", *words, *self.here))

    def submit(self, *words: object) -> "Run":
        """The same, waited for."""
        return self.begin(*words, "--wait", "--every", EVERY_S)

    @property
    def here(self) -> tuple[object, ...]:
        """The words that say where a study runs."""
        path = self.folder / "place.yaml"
        path.write_text(json.dumps(PLACE), encoding="utf-8")
        return ("--gpus", "0", "--place", path)

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """Of what lies in the store."""
        return [str(one.object_name) for one in self._store.list_objects(bucket, f"{prefix}/", recursive=True)]

    def contents(self, bucket: str, prefix: str) -> dict[str, bytes]:
        """The same, with what it holds."""
        return {key: self._store.get_object(bucket, key).read() for key in self.keys(bucket, prefix)}

    def delete(self, bucket: str, prefix: str) -> None:
        """All that lies there."""
        for key in self.keys(bucket, prefix):
            self._store.remove_object(bucket, key)

    def logs(self, run: "Run") -> dict[str, bytes]:
        """What was stored of the logs of a run's pods, by key."""
        return self.contents("mlpipeline", f"private-artifacts/{NAMESPACE}/{run.workflow}")

    @property
    def _store(self) -> Minio:
        return Minio(os.environ["MINIO_ENDPOINT"], self.access, self.secret, secure=False)

    def _overlay(self) -> Path:
        """The base with the address of this store in it."""
        folder = self.folder / "overlay"
        folder.mkdir()
        base = (ROOT / "k8s" / "base" / "store.yaml").read_text(encoding="utf-8")
        changes = {
            r"\bminio:9000": os.environ["MINIO_POD_ENDPOINT"],
            r"(?<=minio://syntrial/)checkpoints": self.checkpoints,
            '(?<=EVERY_S: )"60"': f'"{EVERY_S}"',
        }
        for pattern, instead in changes.items():
            base, count = re.subn(pattern, instead, base)
            assert count, f"k8s/base/store.yaml no longer says {pattern}"
        (folder / "store.yaml").write_text(base, encoding="utf-8")
        kustomization = {
            "namespace": NAMESPACE,
            "resources": [os.path.relpath(ROOT / "k8s" / "base", folder.resolve())],
            "patches": [{"path": "store.yaml"}],
        }
        (folder / "kustomization.yaml").write_text(json.dumps(kustomization), encoding="utf-8")
        return folder


@dataclass(frozen=True)
class Run:
    """A run, as reported by the command that began it."""

    done: subprocess.CompletedProcess[str]

    @property
    def name(self) -> str:
        found = re.search(r"^run (\S+) \(", self.done.stderr, re.MULTILINE)
        assert found, f"no run was begun: {self.done.stderr}"
        return found[1]

    @property
    def look(self) -> Look:
        """What its boxes do now."""
        return look_at(self.name)

    @property
    def workflow(self) -> str:
        """The name of what does its boxes."""
        return str(self.look.workflow["metadata"]["name"])

    @property
    def selector(self) -> str:
        """Of its pods."""
        return f"--selector=workflows.argoproj.io/workflow={self.workflow}"

    @property
    def pods(self) -> list[dict[str, Any]]:
        """All that it has had."""
        return lab.objects("pods", f"--namespace={NAMESPACE}", self.selector)

    def ended(self) -> Look:
        """Its boxes, once it is over."""
        wait_for(lambda: self.look.is_over, self.reported)
        return self.look

    def reported(self) -> str:
        """What it has come to, in lines."""
        return "\n".join(f"{box.name}: {box.state} {box.message}" for box in self.look.boxes)

    def log(self, box: Box) -> str:
        """What a box said."""
        return "\n".join(known().log(self.look, box.pod))


def known() -> RemoteRuns:
    """The runs of the Kubeflow."""
    return RemoteRuns(connect(argparse.Namespace(**NOBODY)))


def look_at(name: str) -> Look:
    """The current state of a run."""
    runs = known()
    return runs.look(runs.find(name)["run_id"])


def wait_for(happened: Callable[[], T], reported: Callable[[], object] = str) -> T:
    """The first true result of `happened`; fails with the message of the second function if that takes too long."""
    end_s = time.monotonic() + PATIENCE_S
    while not (found := happened()):
        assert time.monotonic() < end_s, f"what was waited for did not happen; {reported()}"
        time.sleep(1)
    return found
