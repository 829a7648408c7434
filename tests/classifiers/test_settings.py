"""A classifier is an entry of the registry, and a file with its network."""

import json

import pytest
import torch
from builders import pooled_set
from torch import nn

from syntrial.classifiers.settings import CLASSIFIERS, Architecture, ClassifierConfig, classifier_config
from syntrial.classifiers.trained import TrainedClassifier, new_network
from syntrial.config import AugmentConfig, StudyConfig, load_study
from syntrial.errors import ConfigError, DataError
from syntrial.imageset import ImageSet
from syntrial.settings import setting, settings_of
from syntrial.train_classifier import train_classifier


class StubConfig(ClassifierConfig):
    """A setting of its own."""

    cells: int = setting(2, "squares along an edge whose mean grey is looked at", "this test", ge=1)


class Stub(nn.Module):
    """A linear look at a few means."""

    def __init__(self, classes, config):
        super().__init__()
        self.pool, self.head = nn.AdaptiveAvgPool2d(config.cells), nn.Linear(config.cells**2, classes)

    def forward(self, images_N1SS):
        return self.head(self.pool(images_N1SS).flatten(1))


@pytest.fixture
def stub():
    """One architecture more."""
    CLASSIFIERS["stub"] = Architecture(StubConfig, f"{__name__}:Stub", smallest=8)
    yield StubConfig(architecture="stub", cells=3, epochs=1)
    del CLASSIFIERS["stub"]


def test_another_architecture_goes_from_a_study_file_to_a_trained_classifier(stub, tmp_path):
    (tmp_path / "study.yaml").write_text("classifier: {architecture: stub, cells: 3, epochs: 1}\n")
    study = load_study(tmp_path / "study.yaml")
    assert study.classifier == stub
    assert StudyConfig.of(json.loads(study.model_dump_json())) == study
    assert {"classifier.cells": 3}.items() <= {row["name"]: row["value"] for row in settings_of(study)}.items()
    images = pooled_set(tmp_path / "pool", "held_out")
    train_classifier(
        images, tmp_path / "out", arm="original", seeds=[0], config=study.classifier, augmentation=AugmentConfig()
    )
    found = TrainedClassifier.open(tmp_path / "out" / "classifiers" / "seed-0")
    assert found.config == stub
    assert found.probabilities(ImageSet.open(images), torch.device("cpu")).shape[1] == 2


def test_a_setting_of_another_architecture_is_refused_by_name(stub):
    with pytest.raises(ConfigError, match="classifier has no 'width'; it has architecture, epochs"):
        StudyConfig.of({"classifier": {"architecture": "stub", "width": 8}})
    with pytest.raises(ConfigError, match=r"classifier\.cells is 0; input should be greater"):
        StudyConfig.of({"classifier": {"architecture": "stub", "cells": 0}})


def test_images_smaller_than_an_architecture_reads_are_refused(stub, tmp_path):
    CLASSIFIERS["stub"] = Architecture(StubConfig, f"{__name__}:Stub", smallest=64)
    images = pooled_set(tmp_path / "pool", "held_out")
    with pytest.raises(DataError, match="images of 32 px; the classifier needs at least 64 px"):
        train_classifier(images, tmp_path / "out", arm="original", seeds=[0], config=stub, augmentation=AugmentConfig())


def test_an_unknown_architecture_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"^architecture is 'resnet'; it may be cnn$"):
        classifier_config({"architecture": "resnet"})


@pytest.mark.parametrize("network", ["syntrial.classifiers.nothing:Cnn", "syntrial.classifiers.cnn:Nothing"])
def test_an_entry_that_leads_nowhere_is_named(network, stub):
    CLASSIFIERS["stub"] = Architecture(StubConfig, network)
    with pytest.raises(ConfigError, match=f"classifier stub: {network} cannot be imported"):
        new_network(2, stub)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_entry_builds_a_network_that_reads_its_smallest_image(name):
    kind = CLASSIFIERS[name]
    network = new_network(3, kind.settings(architecture=name)).eval()
    assert network(torch.zeros(2, 1, kind.smallest, kind.smallest)).shape == (2, 3)
