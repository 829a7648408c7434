"""What holds for every test: nothing is written into anybody's home, and the same bits everywhere."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def places(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTRIAL_CHECKPOINTS", str(tmp_path_factory.mktemp("checkpoints")))
        patch.setenv("SYNTRIAL_DEVICE", "cpu")
        patch.setenv("SYNTRIAL_THREADS", "1")
        yield
