"""A trained generator on disk: it comes back as it was, and is continued by networks that fit it only."""

import json

import pytest
import torch

from syntrial.errors import ConfigError, DataError
from syntrial.generators.settings import DcganConfig
from syntrial.generators.trained import TrainedGenerator
from syntrial.train_generator import begin

CPU = torch.device("cpu")


def config(**settings):
    return DcganConfig.of({"width": 4, "latent": 8, **settings})


def trained(folder, side=32, classes=(), **settings):
    """A generator on disk, as training leaves it."""
    wanted = config(seed=5, **settings)
    learner = begin(side, len(classes), wanted, "faces/faces", CPU)
    about = {"name": "faces/faces", "label": "*" if classes else "faces", "side": side, "classes": list(classes)}
    folder.mkdir(parents=True)
    lineage = {"faces/faces": {("a" * 64, "somebody")}}
    TrainedGenerator.write(folder, {**about, "config": wanted.model_dump()}, learner.parts(), lineage)
    return TrainedGenerator.open(folder), learner.changes.average, learner.changes.discriminator


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("with_judge", [True, False])
def test_a_transfer_continues_the_networks_with_the_judge_or_without_it(with_judge, tmp_path):
    source, generator, discriminator = trained(tmp_path / "faces")
    wanted = config(start="faces", transfer_discriminator=with_judge)
    players = begin(32, 0, wanted, "transfer/normal", CPU, source).changes
    fresh = begin(32, 0, config(), "transfer/normal", CPU).changes
    assert same(players.generator, generator) and same(players.average, generator)
    assert same(players.discriminator, discriminator) == with_judge
    assert same(players.discriminator, fresh.discriminator) != with_judge


def test_a_conditional_transfer_keeps_what_the_faces_know_and_begins_with_the_classes_anew(tmp_path):
    source, generator, _ = trained(tmp_path / "faces")
    players = begin(32, 2, config(), "transfer/*", CPU, source).changes
    fresh = begin(32, 2, config(), "transfer/*", CPU).changes
    found, own = (one.generator.state_dict()["layers.0.weight"] for one in (players, fresh))
    assert torch.equal(found[:8], generator.state_dict()["layers.0.weight"])
    assert torch.equal(found[8:], own[8:]) and len(found) == 10
    assert torch.equal(players.discriminator.embedding.weight, fresh.discriminator.embedding.weight)


@pytest.mark.parametrize("there", [{"side": 64}, {"width": 8}, {"latent": 16}, {"latent": 6}, {"latent": 4}], ids=str)
@pytest.mark.parametrize("classes", [0, 2])
def test_networks_of_another_size_are_refused_by_it(there, classes, tmp_path):
    source, _, _ = trained(tmp_path / "faces", **there)
    ((name, value),) = there.items()
    with pytest.raises(ConfigError, match=rf"faces/faces cannot be continued here: its {name} is {value} and") as no:
        begin(32, classes, config(), "transfer/normal", CPU, source)
    assert str(no.value).endswith("side, architecture, latent, width and normalisation must be the same")


def test_a_judge_of_another_normalisation_is_refused(tmp_path):
    source, _, _ = trained(tmp_path / "faces", normalisation="none")
    with pytest.raises(ConfigError, match="its normalisation is none and here it is batch"):
        begin(32, 0, config(), "transfer/normal", CPU, source)


@pytest.mark.parametrize("classes", [(), ("normal", "pneumonia")])
def test_a_generator_comes_back_from_disk_as_it_was(classes, tmp_path):
    source, generator, _ = trained(tmp_path / "faces", classes=classes)
    drawing = source.learner(CPU).changes.average
    assert same(drawing, generator) and not drawing.training
    assert source.ancestors == {("a" * 64, "somebody")}
    assert source.config == config(seed=5)


@pytest.mark.parametrize("name", ["about.json", "lineage.csv"])
def test_a_folder_that_is_no_trained_generator_is_refused(name, tmp_path):
    folder = trained(tmp_path / "faces")[0].folder
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"faces is not a trained generator: .*{name}"):
        TrainedGenerator.open(folder)


@pytest.mark.parametrize("part", ["generator.safetensors", "discriminator.safetensors", "lineage.csv"])
def test_a_generator_that_is_not_whole_any_more_is_refused(part, tmp_path):
    folder = tmp_path / "faces"
    trained(folder)
    whole = (folder / part).read_bytes()
    for damage in (whole[: len(whole) // 2], whole[:-2] + b"x" + whole[-1:]):
        (folder / part).write_bytes(damage)
        with pytest.raises(DataError, match=r"was changed after it was written|is not a trained generator"):
            TrainedGenerator.open(folder)
    (folder / part).unlink()
    with pytest.raises(DataError, match=f"is not a trained generator: it lacks {part}"):
        TrainedGenerator.open(folder)


@pytest.mark.parametrize(
    "change", [{"side": 64}, {"classes": ["b", "a"]}, {"config": config(seed=6).model_dump()}], ids=str
)
def test_a_generator_whose_description_was_changed_is_refused(change, tmp_path):
    trained(tmp_path / "faces")
    path = tmp_path / "faces" / "about.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match="was changed after it was written"):
        TrainedGenerator.open(tmp_path / "faces")


def test_a_folder_of_something_else_is_refused_with_what_it_lacks(tmp_path):
    (tmp_path / "about.json").write_text('{"verb": "train_classifier"}')
    (tmp_path / "lineage.csv").write_text("generator,sha256,group\n")
    with pytest.raises(DataError, match="is not a trained generator: its files state no 'name'"):
        TrainedGenerator.open(tmp_path)
