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
def signals_reach_children():
    """In the background of a shell, or under nohup, tests ignore signals, and whatever they start would as well."""
    default = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in default.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
