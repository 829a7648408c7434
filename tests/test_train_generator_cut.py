"""A GAN's training that is cut or goes wrong: it ends where an uncut one ends, or says why and keeps what was good."""

import random

import pytest
import torch
from builders import real_set
from cuts import contents, killed, steps_kept
from safetensors.torch import load_file

from syntrial.errors import TrainingError
from syntrial.generators.dcgan import Players
from syntrial.generators.losses import LOSSES
from syntrial.generators.settings import DcganConfig
from syntrial.train_generator import Training, begin, learn, refuse_collapsed, train_generator
from syntrial.training.checkpoint import Checkpoints

CONFIG = DcganConfig(width=4, latent=8, batch=8, epochs=16, ema_half_life=50, collapse_below=0)
STEPS = 40  # 16 passes over 20 images, 8 at a time


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """20 X-rays of each class, and an uncut training on those of one."""
    folder = tmp_path_factory.mktemp("sets")
    real_set(folder / "xrays", 20)
    train_generator(folder / "xrays", folder / "whole", kind="simple", label="normal", config=CONFIG)
    return folder


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """A folder of checkpoints of the test's own, one for every step."""
    monkeypatch.setenv("SYNTRIAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("SYNTRIAL_CHECKPOINT_EVERY_S", "0")
    return tmp_path / "checkpoints"


def kept(checkpoints):
    """The newest state of the one training that has checkpoints."""
    (folder,) = (path for path in checkpoints.iterdir() if path.is_dir())
    return Checkpoints(folder.name, checkpoints).latest()


def test_what_is_kept_is_finite_and_checkpoints_are_gone(whole, tmp_path, checkpoints):
    train_generator(whole / "xrays", tmp_path / "out", kind="simple", label="normal", config=CONFIG)
    assert all(value.isfinite().all() for value in load_file(tmp_path / "out" / "generator.safetensors").values())
    assert steps_kept(checkpoints) == 0


def test_killed_at_random_moments_it_ends_exactly_where_an_uncut_training_ends(whole, tmp_path, checkpoints):
    moments, kills = random.Random(0), 0
    arguments = {"kind": "simple", "label": "normal", "config": CONFIG}
    for _ in range(4):
        run = {"images": whole / "xrays", "out": tmp_path / "out", **arguments}
        kills += killed(train_generator, run, checkpoints, moments.randint(1, 5), moments.uniform(0, 0.01))
        assert not (tmp_path / "out").exists()
    assert kills == 4 <= steps_kept(checkpoints) < STEPS
    train_generator(whole / "xrays", tmp_path / "out", **arguments)
    assert contents(tmp_path / "out") == contents(whole / "whole")


class Noise:
    """As Batches, of noise; at one step it breaks off, or what it gives is no picture."""

    batch, device = 8, torch.device("cpu")

    def __init__(self, fails_at=None, blank_at=None):
        self.fails_at, self.blank_at = fails_at, blank_at

    def __call__(self, step):
        if step == self.fails_at:
            raise KeyboardInterrupt
        torch.manual_seed(step)
        images = torch.rand(8, 1, 32, 32) * 2 - 1
        return images * torch.nan if step == self.blank_at else images, torch.zeros(8, dtype=torch.int64)

    def sample(self, count):
        return self(0)[0]


def beginning(config=CONFIG):
    """A training before its first step."""
    return Training(begin(32, 0, config, "toy", torch.device("cpu")))


def leaves(value, where=""):
    """Path -> bytes of a tensor, or plain value, of everything in a state."""
    if isinstance(value, dict | list | tuple):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return {path: leaf for key, one in inner for path, leaf in leaves(one, f"{where}/{key}").items()}
    return {where: value.numpy().tobytes() if isinstance(value, torch.Tensor) else value}


class Silent:
    """As Progress, for nobody."""

    def skip_to(self, done):
        self.skipped = done

    def update(self, done, **numbers):
        self.done = done


@pytest.mark.parametrize(
    "settings", [{}, {"discriminator_steps": 2, "diffaugment": ["translation"]}, {"loss": "hinge"}], ids=str
)
@pytest.mark.parametrize("every_s", [0, 3600])
def test_broken_off_inside_a_step_everything_that_changes_is_the_same_in_the_end(settings, every_s, tmp_path):
    config, progress = CONFIG.model_copy(update=settings), Silent()

    def learnt(folder, fails_at=None):
        training = beginning(config)
        learn(training, Noise(fails_at), 8, config, "toy", Checkpoints("toy", folder, every_s=every_s), progress)
        return training

    uncut = learnt(tmp_path / "uncut")
    with pytest.raises(KeyboardInterrupt):
        learnt(tmp_path / "cut", fails_at=6 * config.discriminator_steps - 1)
    cut = learnt(tmp_path / "cut")
    kept_step = 5 if every_s == 0 else 4  # the last, or half-time
    assert progress.skipped == kept_step * 8 * config.discriminator_steps
    assert leaves(cut.state()) == leaves(uncut.state())


def test_the_weights_it_began_with_are_forgotten_however_short_the_training(tmp_path):
    config = CONFIG.model_copy(update={"ema_half_life": 10**6})
    training = beginning(config)
    players = training.learner.changes
    for weight in players.average.parameters():
        weight.fill_(1e6)
    learn(training, Noise(), 8, config, "toy", Checkpoints("toy", tmp_path, every_s=3600), Silent())
    for kept_weight, newest in zip(players.average.parameters(), players.generator.parameters(), strict=True):
        torch.testing.assert_close(kept_weight, newest, atol=0.01, rtol=0)


def test_a_checkpoint_is_exactly_the_fields_of_what_changes():
    state = beginning().state()
    assert list(state) == list(Training.__dataclass_fields__)
    assert list(state["learner"]) == list(Players.__dataclass_fields__)


# Training that makes no sense


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_that_is_not_finite_ends_it_by_name(loss, whole, tmp_path):
    config = CONFIG.model_copy(update={"lr": 1e25, "loss": loss, "normalisation": "none"})
    with pytest.raises(
        TrainingError,
        match=r"simple/normal: (loss|d|gradient)_\w+ is -?(nan|inf) at step 2\..* it was too early for a checkpoint$",
    ):
        train_generator(whole / "xrays", tmp_path / "out", kind="simple", label="normal", config=config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("every_s", "good"), [(0, 5), (3600, 4)])
def test_the_last_good_checkpoint_is_kept_and_is_finite(every_s, good, tmp_path):
    keep = Checkpoints("toy", tmp_path, every_s=every_s)
    with pytest.raises(
        TrainingError, match=rf"toy: loss_d is nan at step 6\..*; the checkpoint of step {good} is kept$"
    ):
        learn(beginning(), Noise(blank_at=5), 8, CONFIG, "toy", keep, Silent())
    step, state = keep.latest()
    assert step == good
    for network in ("generator", "discriminator", "average"):
        assert all(value.isfinite().all() for value in state["learner"][network].values())


@pytest.mark.parametrize("every_s", [0, 3600])
def test_a_collapse_is_named_and_what_is_kept_is_older(every_s, whole, tmp_path, checkpoints, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_CHECKPOINT_EVERY_S", str(every_s))
    config = CONFIG.model_copy(update={"collapse_below": 1.0})
    with pytest.raises(
        TrainingError,
        match=r"has collapsed: at step 24 its images differ 0\.\d+ ti.*; the checkpoint of step 20 is kept$",
    ):
        train_generator(whole / "xrays", tmp_path / "out", kind="simple", label="normal", config=config)
    assert not (tmp_path / "out").exists() and kept(checkpoints)[0] == 20


def judged(diversities, first_step):
    """The last of these readings, one a step, of a training of ten steps."""
    rows = [[first_step + number, 8.0, *[0.5] * 6, one] for number, one in enumerate(diversities)]
    training = beginning()
    training.curve = rows[:-1]
    refuse_collapsed(rows[-1], training, CONFIG.model_copy(update={"collapse_below": 0.1}), 10, "toy")


@pytest.mark.parametrize(
    ("diversities", "first_step"), [([0.0] * 7, 1), ([0.2, 0.0, 0.0], 7), ([0.0, 0.0, 0.2], 7), ([0.0, 0.0], 7)]
)
def test_pictures_that_are_alike_early_or_for_a_moment_are_no_collapse(diversities, first_step):
    judged(diversities, first_step)


def test_pictures_that_are_alike_three_times_past_half_time_are_a_collapse():
    with pytest.raises(TrainingError, match="toy has collapsed: at step 8 "):
        judged([0.0] * 8, 1)
