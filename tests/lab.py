"""The cluster on which tests/cluster runs. It is started before the tests; environment variables name its address."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from local_runs import ROOT

REGISTRY = "127.0.0.1:5000"
NEEDED = ("KUBECONFIG", "MINIO_ENDPOINT", "MINIO_POD_ENDPOINT", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")
PATIENCE_S = 300  # before what should happen soon is called a failure
BUILD_OPTIONS = "--isolation=oci --runtime=runc --network=host"  # for a builder that is itself in a container


def missing(*also: str) -> list[str]:
    """The environment variables for a cluster that are not set."""
    return [name for name in (*NEEDED, *also) if not os.environ.get(name)]


def kubectl(*words: object, stdin: str | None = None, check: bool = True) -> str:
    """Runs kubectl. Returns its output."""
    done = subprocess.run(
        [program(), *map(str, words)], input=stdin, capture_output=True, text=True, check=False, cwd=ROOT
    )
    if check and done.returncode:
        raise AssertionError(f"kubectl {' '.join(map(str, words))}: {done.stderr}")
    return done.stdout


def program() -> str:
    """The cluster's own kubectl, or that of the machine."""
    own = Path(os.environ["KUBECONFIG"]).parent / "bin" / "kubectl"
    return str(own) if own.exists() else shutil.which("kubectl") or "kubectl"


def objects(kind: str, *words: object) -> list[dict[str, Any]]:
    """The objects of a kind, as returned by the API."""
    return list(json.loads(kubectl("get", kind, *words, "--output=json"))["items"])


def build_images() -> None:
    """Builds the images of this checkout, and pushes them to the cluster's registry."""
    environment = {"BUILD_OPTIONS": BUILD_OPTIONS, **os.environ, "REGISTRY": REGISTRY, "PYTHONPATH": "src"}
    subprocess.run([sys.executable, "-m", "pipelines.cluster.build_images"], cwd=ROOT, env=environment, check=True)
