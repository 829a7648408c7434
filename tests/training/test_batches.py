"""Batches are a function of the step."""

from collections import Counter

import numpy as np
import pytest
import torch

from syntrial.errors import ConfigError
from syntrial.training.batches import Batches, Order, as_float, as_grey, fits

CPU = torch.device("cpu")


def stream(count=10, batch=4, seed=0, resident=True):
    images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    labels = np.arange(count) % 3
    return Batches(lambda wanted: images[wanted], labels, side=4, batch=batch, seed=seed, device=CPU, resident=resident)


def test_each_pass_shows_each_image_once():
    order = Order(7, seed=3)
    for lap in range(4):
        assert sorted(order.slice(lap * 7, 7)) == list(range(7))


def test_where_the_order_stands_depends_on_the_position_alone():
    walked = Order(7, seed=3)
    whole = np.concatenate([walked.slice(start, 5) for start in range(0, 35, 5)])
    assert np.array_equal(Order(7, seed=3).slice(21, 9), whole[21:30])
    assert not np.array_equal(Order(7, seed=4).slice(0, 7), whole[:7])


def test_batches_are_full_and_show_all_images_equally_often():
    batches = stream()
    shown = Counter()
    for step in range(5):
        images, labels = batches(step)
        assert images.shape == (4, 1, 4, 4) and labels.shape == (4,)
        shown.update(as_grey(images)[:, 0, 0].tolist())
    assert set(shown.values()) == {2}


def test_images_keep_their_labels():
    images, labels = stream()(3)
    assert torch.equal(as_grey(images)[:, 0, 0] % 3, labels)


@pytest.mark.parametrize("first", [0, 17])
def test_read_ahead_batches_are_those_that_live_on_the_device(first):
    resident, ahead = stream(), stream(resident=False)
    for step in range(first, first + 12):
        for one, other in zip(resident(step), ahead(step), strict=True):
            assert torch.equal(one, other)
    ahead.close()


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(
    ("count", "positions"), [(1, [0]), (3, [0, 3, 6]), (5, [0, 2, 4, 6, 8]), (10, range(10)), (64, range(10))]
)
def test_a_sample_comes_from_all_over_the_set(count, positions, resident):
    batches = stream(resident=resident)
    assert as_grey(batches.sample(count))[:, 0, 0].tolist() == list(positions)
    batches.close()


def test_a_set_smaller_than_a_batch_is_one_batch():
    assert stream(count=3, batch=8).batch == 3


def test_grey_values_survive_the_way_to_the_device_and_back():
    grey = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    assert torch.equal(as_grey(as_float(grey)), grey)
    assert as_float(grey).min() == -1 and as_float(grey).max() == 1


def test_how_much_may_stay_on_the_device_can_be_stated(monkeypatch):
    monkeypatch.setenv("SYNTRIAL_RESIDENT_BYTES", "100")
    assert fits(100, CPU) and not fits(101, CPU)


@pytest.mark.parametrize("stated", ["much", "-1", "1.5"])
def test_a_number_of_bytes_that_is_none_is_refused(stated, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_RESIDENT_BYTES", stated)
    with pytest.raises(ConfigError, match=f"SYNTRIAL_RESIDENT_BYTES is '{stated}'; it needs a whole number of bytes"):
        fits(100, CPU)
