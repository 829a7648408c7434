"""Runs that several tests look at; each happens once a session."""

import shutil

import local_runs
import pytest
from local_runs import ROOT, SMALL, TINY


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
    """The whole smoke study on the sample that ships."""
    return local_runs.run(tmp_path_factory.mktemp("smoke"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, xrays):
    """The fewest boxes there are: no generators, no resize check."""
    return local_runs.run(tmp_path_factory.mktemp("tiny"), "--data", xrays, *TINY)


@pytest.fixture(scope="session")
def small(tmp_path_factory, xrays):
    """One kind of generator, two arms."""
    return local_runs.run(tmp_path_factory.mktemp("small"), "--data", xrays, *SMALL)


@pytest.fixture
def again(tmp_path):
    """A copy of a run's folder of runs, with its cache: what another command finds."""

    def copied(run):
        return shutil.copytree(run.folder.parents[1], tmp_path / "runs", symlinks=True)

    return copied
