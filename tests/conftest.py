"""Fixtures of all tests: nothing is written into the home folder, and results have the same bits everywhere."""

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
def signals_reach_children():
    """Tests in the background of a shell or under nohup ignore signals; their child processes must not."""
    default = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in default.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
