"""A cluster with the images of this checkout. Without one, each test here is skipped by name."""

import lab
import pytest
from kubeflow_runs import Person


@pytest.fixture(scope="session", autouse=True)
def cluster():
    """The cluster; without one, tests are skipped with the names of the missing variables."""
    if missing := lab.missing():
        pytest.skip(f'NOT RUN, for want of a cluster: {", ".join(missing)}; eval "$(../shared/cluster/up)" starts one')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIO_SECURE", "false")  # between the machine and itself
        yield


@pytest.fixture(scope="session")
def images(cluster):
    """The images of all stages, in the cluster's registry."""
    lab.build_images()
    return lab.REGISTRY


@pytest.fixture(scope="session")
def kubeflow(images, tmp_path_factory):
    """Somebody who uses the cluster's Kubeflow Pipelines, in which everything is that boxes need. Names what is missing
    where there is none.
    """
    if lab.missing("KFP_ENDPOINT"):
        pytest.skip("NOT RUN, for want of Kubeflow Pipelines: the cluster has none")
    person = Person(tmp_path_factory.mktemp("person"))
    person.deploy()
    return person
