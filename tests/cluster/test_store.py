"""Many studies on one object store: none takes or breaks another's training."""

import contextlib
import secrets

import pytest
from builders import real_set
from cuts import begun, contents

from syntrial.generators.settings import DcganConfig
from syntrial.store.buckets import make_buckets
from syntrial.store.transfer import open_store
from syntrial.store.uris import Location
from syntrial.train_generator import train_generator
from syntrial.training.checkpoint import Checkpoints

STUDIES = [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]  # the seed of each: five do the same work, five their own
CONFIG = DcganConfig(width=4, latent=8, batch=8, epochs=16, ema_half_life=50, collapse_below=0)
STEPS = 40  # 16 passes over 20 images, 8 at a time


@pytest.fixture
def mirror():
    """A place of the tests' own for checkpoints, of which nothing stays."""
    make_buckets(["minio://syntrial"])
    uri = f"minio://syntrial/checkpoints/tests-{secrets.token_hex(6)}"
    yield uri
    store = open_store(Location.of(uri))
    for entry in [*store.entries()]:
        store.delete(entry.name)


def test_ten_studies_at_once_end_as_each_ends_alone_and_leave_its_last_state_in_the_store(tmp_path, mirror):
    real_set(tmp_path / "xrays", 20)
    shared = {"SYNTRIAL_CHECKPOINT_URI": mirror, "SYNTRIAL_CHECKPOINT_EVERY_S": "0"}
    studies = {tmp_path / f"study-{number}": seed for number, seed in enumerate(STUDIES)}
    with contextlib.ExitStack() as stack:
        running = [
            begun(train_generator, training(out, seed), SYNTRIAL_CHECKPOINTS=f"{out}-kept", **shared)
            for out, seed in studies.items()
        ]
        for one in running:
            stack.callback(one.kill)
            one.join()
    assert [one.exitcode for one in running] == [0] * len(STUDIES)
    alone = {seed: trained_alone(tmp_path / f"alone-{seed}", seed) for seed in set(STUDIES)}
    assert not [out.name for out, seed in studies.items() if contents(out) != alone[seed]]
    keys = {entry.name.partition("/")[0] for entry in open_store(Location.of(mirror)).entries()}
    kept = [Checkpoints(key, tmp_path / "nothing", mirror).latest() for key in keys]
    assert [step for step, _ in kept] == [STEPS] * len(alone)


def training(out, seed):
    """The environment of a study's training. As in a pod, it shares only the store with others."""
    config = CONFIG.model_copy(update={"seed": seed})
    return {"images": out.parent / "xrays", "out": out, "kind": "simple", "label": "normal", "config": config}


def trained_alone(out, seed):
    """The files of a generator whose training has met nobody."""
    train_generator(**training(out, seed))
    return contents(out)
