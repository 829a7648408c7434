"""Runs that several tests inspect; each is made once per session."""

import argparse
import os
import shutil

import local_runs
import pytest
from kfp_server import kubeflow_server
from local_runs import ROOT, SMALL, SMOKE, TINY
from minio import Minio
from object_server import SECRET, object_server

from pipelines.cluster import client, submit
from pipelines.cluster.package import compiled
from pipelines.cluster.place import load_place
from pipelines.cluster.submit import Prepared
from syntrial.config import load_study

NOBODY = {"host": "", "namespace": "", "token_file": "", "cookie_file": ""}  # the flags of whoever gives none


@pytest.fixture(scope="session")
def xrays(tmp_path_factory):
    """A few X-rays of each class."""
    folder = tmp_path_factory.mktemp("xrays")
    for label in ("normal", "pneumonia"):
        (folder / label).mkdir()
        for path in sorted((ROOT / "data" / "sample" / "xray" / label).glob("*.png"))[:24]:
            shutil.copyfile(path, folder / label / path.name)
    return folder


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """The whole smoke study on the sample data of the repository."""
    return local_runs.run(tmp_path_factory.mktemp("smoke"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, xrays):
    """A run with the fewest boxes: no generators, no resize check."""
    return local_runs.run(tmp_path_factory.mktemp("tiny"), "--data", xrays, *TINY)


@pytest.fixture(scope="session")
def small(tmp_path_factory, xrays):
    """A run with one kind of generator and two arms."""
    return local_runs.run(tmp_path_factory.mktemp("small"), "--data", xrays, *SMALL)


@pytest.fixture
def again(tmp_path):
    """A function that copies a run's folder of runs, with its cache, for another command."""

    def copied(run):
        return shutil.copytree(run.folder.parents[1], tmp_path / "runs", symlinks=True)

    return copied


@pytest.fixture(scope="session")
def objects():
    """HOST:PORT of an object store with the buckets of a cluster."""
    with object_server() as where:
        for bucket in ("syntrial", "mlpipeline"):
            Minio(where, "somebody", SECRET, secure=False).make_bucket(bucket)
        yield where


@pytest.fixture
def kubeflow(objects, monkeypatch):
    """An empty Kubeflow, and the environment of a user in a checkout."""
    for name in [name for name in os.environ if name.startswith(("KFP_", "KF_", "SYNTRIAL_DATA"))]:
        monkeypatch.delenv(name)
    place = {"MINIO_ENDPOINT": objects, "MINIO_ACCESS_KEY": "somebody", "MINIO_SECRET_KEY": SECRET}
    monkeypatch.chdir(ROOT)
    with kubeflow_server() as server:
        for name, value in {**place, "MINIO_SECURE": "false", "KFP_ENDPOINT": server.url}.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory):
    """A study with the fewest boxes, compiled for a cluster."""
    study, place = load_study(SMOKE, TINY[1::2]), load_place(ROOT / "k8s" / "place.yaml", 0)
    uris = {"data": "minio://syntrial/xrays", "faces": "", "external": ""}
    return Prepared(study, place, compiled(study, place, uris, tmp_path_factory.mktemp("package")))


@pytest.fixture
def begin(kubeflow, tiny_study):
    """Begins a run of the tiny study, as `submit` does; each request for its state advances it."""

    def begun():
        run = submit.begin(client.connect(argparse.Namespace(**NOBODY)), tiny_study, "tiny")
        return kubeflow.runs[run["run_id"]]

    return begun
