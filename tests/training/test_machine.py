"""What the numbers are computed with is the machine's, or what a person has said, or refused in one sentence."""

import json

import pytest
import torch

from syntrial.errors import ConfigError
from syntrial.training.machine import description, device, joined, kind, reseed
from syntrial.training.seeds import seed_for


def test_the_cpu_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("SYNTRIAL_DEVICE", "cpu")
    assert device() == torch.device("cpu")


def test_without_a_wish_it_is_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.delenv("SYNTRIAL_DEVICE")
    assert device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("wanted", ["gpu", "cuda:99", "cpu:x", "meta", "a picture"])
def test_a_device_that_is_not_there_is_refused_by_name(wanted, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_DEVICE", wanted)
    with pytest.raises(ConfigError, match=f"SYNTRIAL_DEVICE is '{wanted}', which this machine does not have, or"):
        device()


def test_threads_are_as_many_as_asked_for(monkeypatch):
    monkeypatch.setenv("SYNTRIAL_THREADS", "2")
    device()
    assert torch.get_num_threads() == 2
    monkeypatch.setenv("SYNTRIAL_THREADS", "1")
    device()
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5", " ", "²"])
def test_threads_that_are_no_number_are_refused(threads, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_THREADS", threads)
    with pytest.raises(ConfigError, match=f"SYNTRIAL_THREADS is '{threads}'; it needs a whole number from 1"):
        device()


def test_what_could_change_a_number_is_reported_and_the_machine_is_not_named(monkeypatch):
    monkeypatch.setenv("SYNTRIAL_THREADS", "1")
    reported = description(device())
    versions = {"python", "torch", "numpy", "pillow"}
    assert versions | {"device", "cpu_capability", "threads", "architecture"} == set(reported)
    assert reported["threads"] == 1 and reported["torch"] == torch.__version__
    json.dumps(reported)


def test_an_interrupted_computation_is_another_with_other_threads_on_a_cpu_alone(monkeypatch):
    kinds = set()
    for threads in ("2", "1"):
        monkeypatch.setenv("SYNTRIAL_THREADS", threads)
        kinds |= {kind(device()), kind(torch.device("cuda:0"))}
    assert kinds == {"cpu, 1 threads", "cpu, 2 threads", "cuda:0"}


def test_machines_are_joined_in_their_order_and_each_once():
    own, other = description(device()), {"device": "another"}
    assert joined([], device()) == [own]
    assert joined([other], device()) == [other, own]
    assert joined([own, other], device()) == [own, other]


def test_what_is_drawn_depends_on_the_parts_alone():
    drawn = []
    for parts in ((0, "gan", 1), (0, "gan", 2), (0, "gan", 1)):
        reseed(torch.device("cpu"), *parts)
        drawn.append(torch.randn(3).tolist())
    assert drawn[0] == drawn[2] != drawn[1]


def test_seeding_is_that_of_torch():
    reseed(torch.device("cpu"), 0, "gan", 1)
    ours = torch.randn(3)
    torch.manual_seed(seed_for(0, "gan", 1))
    assert torch.equal(torch.randn(3), ours)
