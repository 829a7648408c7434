"""What holds for every test: nothing is written into anybody's home, and the same bits everywhere."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def places(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTRIAL_CHECKPOINTS", str(tmp_path_factory.mktemp("checkpoints")))
        patch.setenv("SYNTRIAL_DEVICE", "cpu")
        patch.setenv("SYNTRIAL_THREADS", "1")
        yield


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_reaches_children():
    """A shell that starts the tests in its background has them ignore Ctrl-C, and whatever they start would as well."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
