"""What every family of generators does, what the players of a GAN want, and how they learn."""

import copy
import math

import numpy as np
import pytest
import torch

from syntrial.generators.dcgan import Discriminator, Generator
from syntrial.generators.losses import LOSSES, gradient_penalty
from syntrial.generators.seam import learner_of
from syntrial.generators.settings import ARCHITECTURES, DcganConfig
from syntrial.train_generator import begin, diversity, is_due

CPU = torch.device("cpu")
TINY = {"width": 4, "latent": 8, "batch": 8}


@pytest.fixture(params=ARCHITECTURES)
def family(request):
    """The settings of each family, small."""
    settings = {name: value for name, value in TINY.items() if name in ARCHITECTURES[request.param].model_fields}
    return ARCHITECTURES[request.param].of(settings)


@pytest.mark.parametrize("side", [32, 64, 128, 256])
@pytest.mark.parametrize("classes", [0, 3])
def test_every_family_draws_every_side(family, side, classes):
    images = begin(side, classes, family, "test", CPU).draw(torch.tensor([0, classes - 1 if classes else 0]))
    assert images.shape == (2, 1, side, side)
    assert images.min() >= -1 and images.max() <= 1


def test_a_familys_settings_name_it_and_what_learns_with_them(family):
    assert ARCHITECTURES[family.architecture] is type(family)
    assert type(begin(32, 0, family, "test", CPU)) is learner_of(family)


def test_a_family_charts_its_readings_and_reads_as_many_numbers_as_it_names(family):
    learner, real = begin(32, 0, family, "test", CPU), torch.rand(8, 1, 32, 32) * 2 - 1
    numbers = learner.step([(real, torch.zeros(8, dtype=torch.int64))] * family.batches_per_step, 0)
    assert len(learner.read(numbers)) == len(learner.readings)
    assert {name for names in learner.charts.values() for name in names} == {*learner.readings}


def test_a_family_that_is_built_from_its_parts_draws_as_it_did(family):
    learner, label = begin(32, 2, family, "test", CPU), torch.tensor([0, 1, 1])
    learner.step([(torch.rand(8, 1, 32, 32), torch.ones(8, dtype=torch.int64))] * family.batches_per_step, 0)
    again = learner_of(family).begin(32, 2, family, CPU, learner.parts())
    for one in (learner, again):
        torch.manual_seed(0)
        one.drawn = one.draw(label)
    assert torch.equal(learner.drawn, again.drawn)


def test_the_players_of_a_conditional_gan_use_the_class():
    latent, images = torch.randn(1, 8).repeat(2, 1), torch.rand(1, 1, 32, 32).repeat(2, 1, 1, 1)
    label = torch.tensor([0, 1])
    one, other = Generator(32, 4, 8, 2).eval()(latent, label)
    assert not torch.equal(one, other)
    first, second = Discriminator(32, 4, "batch", 2).eval()(images, label)
    assert first != second


@pytest.mark.parametrize("normalisation", ["batch", "spectral", "none"])
def test_normalisation_is_what_it_is_called(normalisation):
    discriminator = Discriminator(32, 4, normalisation)
    kinds = {type(layer).__name__ for layer in discriminator.modules()}
    assert ("BatchNorm2d" in kinds) == (normalisation == "batch")
    assert ("_SpectralNorm" in kinds) == (normalisation == "spectral")


def test_weights_begin_the_same_under_spectral_normalisation_and_without():
    found = []
    for normalisation in ("spectral", "none"):
        torch.manual_seed(0)
        discriminator = Discriminator(32, 4, normalisation, 2)
        found.append([weight.detach() for weight in discriminator.parameters() if weight.dim() > 1])
    normed, plain = (sorted(weights, key=torch.Tensor.numel) for weights in found)
    assert all(torch.equal(one, other) for one, other in zip(normed, plain, strict=True))
    assert float(plain[-1].std()) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("non_saturating", math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)), math.log1p(math.exp(1))),
        ("hinge", 0 + 0, 1.0),
        ("wgan_gp", -1 - 2, 1.0),
    ],
)
def test_losses_at_a_point_worked_out_by_hand(name, discriminator, generator):
    real, fake = torch.tensor([2.0]), torch.tensor([-1.0])
    assert float(LOSSES[name].discriminator(real, fake)) == pytest.approx(discriminator)
    assert float(LOSSES[name].generator(fake)) == pytest.approx(generator)


@pytest.mark.parametrize("name", LOSSES)
def test_a_better_judgement_costs_the_discriminator_less_and_the_generator_more(name):
    loss, low, high = LOSSES[name], torch.tensor([-0.5]), torch.tensor([0.5])
    assert loss.discriminator(high, low) < loss.discriminator(low, high)
    assert loss.generator(low) > loss.generator(high)


@pytest.mark.parametrize(("slope", "penalty"), [(1.0, 0.0), (3.0, 4.0)])
def test_the_gradient_penalty_is_the_squared_distance_of_the_slope_from_one(slope, penalty):
    def judge(images, label):
        return images[:, 0, 0, 0] * slope

    real, fake = torch.rand(4, 1, 4, 4), torch.rand(4, 1, 4, 4)
    found = gradient_penalty(judge, real, fake, torch.zeros(4, dtype=torch.int64))
    assert float(found) == pytest.approx(penalty, abs=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "hinge", "normalisation": "spectral"},
        {"loss": "wgan_gp", "normalisation": "none"},
        {"discriminator_steps": 3},
        {"diffaugment": ["color", "translation", "cutout"]},
        {"ema_half_life": 0},
    ],
    ids=str,
)
def test_both_players_move_and_nothing_becomes_infinite(settings):
    config = DcganConfig(**TINY, **settings)
    learner = begin(32, 0, config, "test", CPU)
    players = learner.changes
    before = [weight.clone() for net in (players.generator, players.discriminator) for weight in net.parameters()]
    real = torch.rand(8, 1, 32, 32) * 2 - 1
    for _ in range(2):
        numbers = learner.step([(real, torch.zeros(8, dtype=torch.int64))] * config.discriminator_steps, 0)
    after = [weight for net in (players.generator, players.discriminator) for weight in net.parameters()]
    assert torch.isfinite(numbers).all()
    still = [one for one, other in zip(before, after, strict=True) if torch.equal(one, other)]
    assert len(still) <= 2  # a difference of outputs does not feel biases, as long as all their features are active
    assert any(not torch.equal(one, other) for one, other in zip(before, players.generator.parameters(), strict=False))


@pytest.mark.parametrize(
    ("half_life", "ramp_up", "images_shown", "batches"),
    [(8, 0.05, 9999, 1), (10_000, 0.05, 160, 1), (10_000, 0.5, 16, 1), (24, 1.0, 24, 3)],
)
def test_an_old_weight_counts_half_after_the_half_life_which_is_at_most_a_share_of_the_images_shown(
    half_life, ramp_up, images_shown, batches
):
    config = DcganConfig(**TINY, ema_half_life=half_life, ema_ramp_up=ramp_up, discriminator_steps=batches)
    learner = begin(32, 0, config, "test", CPU)
    players = learner.changes
    before = [weight.clone() for weight in players.average.parameters()]
    real = [(torch.rand(8, 1, 32, 32), torch.zeros(8, dtype=torch.int64))]
    learner.step(real * batches, images_shown)
    for old, new, kept in zip(before, players.generator.parameters(), players.average.parameters(), strict=True):
        torch.testing.assert_close(kept, (old + new) / 2)


@pytest.mark.parametrize(("steps", "times"), [(7, 8), (8, 8), (15, 8), (99, 50), (1000, 50)])
def test_what_happens_some_times_in_a_training_happens_as_often_and_after_the_last_step(steps, times):
    happens = [done for done in range(1, steps + 1) if is_due(done, steps, times)]
    assert len(happens) == min(times, steps) and happens[-1] == steps
    gaps = np.diff([0, *happens])
    assert max(gaps) - min(gaps) <= 1


def test_without_a_half_life_the_newest_weights_are_kept():
    config = DcganConfig(**TINY, ema_half_life=0)
    learner = begin(32, 0, config, "test", CPU)
    players = learner.changes
    learner.step([(torch.rand(8, 1, 32, 32), torch.zeros(8, dtype=torch.int64))], 0)
    for new, kept in zip(players.generator.parameters(), players.average.parameters(), strict=True):
        torch.testing.assert_close(kept, new)


def test_the_discriminators_gradients_are_those_of_its_own_loss():
    config = DcganConfig(**TINY)
    learner, real = begin(32, 0, config, "test", CPU), torch.rand(8, 1, 32, 32)
    players, label = learner.changes, torch.zeros(8, dtype=torch.int64)
    own = copy.deepcopy(players)
    torch.manual_seed(0)
    learner.step([(real, label)], 0)
    torch.manual_seed(0)
    fake = own.generator(learner.noise(label), label).detach()
    loss = LOSSES[config.loss].discriminator(own.discriminator(real, label), own.discriminator(fake, label))
    loss.backward()
    for alone, found in zip(own.discriminator.parameters(), players.discriminator.parameters(), strict=True):
        torch.testing.assert_close(found.grad, alone.grad)


def test_the_discriminator_learns_to_tell_noise_from_stripes():
    config = DcganConfig(**TINY)
    learner = begin(32, 0, config, "test", CPU)
    stripes = torch.sin(torch.arange(32.0)).expand(8, 1, 32, 32).contiguous()
    reported = [learner.step([(stripes, torch.zeros(8, dtype=torch.int64))], 0)[2:].tolist() for _ in range(30)]
    assert reported[-1][0] > 0.6 > 0.4 > reported[-1][1]


def test_images_that_are_all_alike_have_no_diversity():
    one = torch.rand(1, 1, 32, 32)
    assert diversity(one.expand(8, 1, 32, 32)) == pytest.approx(0, abs=1e-6)
    assert diversity(torch.rand(8, 1, 32, 32)) < diversity(torch.rand(8, 1, 1, 1).expand(8, 1, 32, 32))
