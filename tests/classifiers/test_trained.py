"""A trained classifier on disk: whole, unchanged, and the same for whoever opens it."""

import json
import shutil

import pytest
import torch
from builders import CLASSES, pooled_set, real_set
from safetensors.torch import load_file, save_file

from syntrial.classifiers.exported import export_classifier, has_onnx
from syntrial.classifiers.settings import CnnConfig
from syntrial.classifiers.trained import WEIGHTS, TrainedClassifier
from syntrial.config import AugmentConfig
from syntrial.errors import DataError
from syntrial.export import export
from syntrial.imageset import ImageSet
from syntrial.train_classifier import train_classifier

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    return pooled_set(tmp_path_factory.mktemp("pool"), "held_out")


@pytest.fixture(scope="module")
def classifier(pooled, tmp_path_factory):
    """Of one seed of the arm simple_gan."""
    out = tmp_path_factory.mktemp("trained") / "out"
    config, augmentation = CnnConfig(epochs=2, width=4), AugmentConfig()
    train_classifier(pooled, out, arm="simple_gan", seeds=[4], config=config, augmentation=augmentation)
    return out / "classifiers" / "seed-4"


@pytest.fixture
def copy(classifier, tmp_path):
    return shutil.copytree(classifier, tmp_path / "copy")


def test_it_says_everything_that_is_needed_to_use_it(classifier):
    about = TrainedClassifier.open(classifier).about
    assert (about["architecture"], about["classes"], about["side"], about["seed"]) == ("cnn", CLASSES, 32, 4)
    assert about["preprocessing"]["grey_range"] == [-1, 1] and about["preprocessing"]["resize_filter"] == "lanczos"
    assert about["settings"]["width"] == 4 and about["recipe"]["add"] == "simple"
    assert about["parents"][0]["verb"] == "pool"


@pytest.mark.parametrize("name", ["about.json", "lineage.csv", WEIGHTS])
def test_one_that_is_not_whole_is_refused(name, copy):
    (copy / name).unlink()
    with pytest.raises(DataError, match=f"is not a trained classifier: it lacks {name}"):
        TrainedClassifier.open(copy)


def test_the_folder_of_all_seeds_is_refused_with_where_they_are(classifier):
    with pytest.raises(DataError, match=r"lacks weights\.safetensors; name one of the seeds in its folder classifiers"):
        TrainedClassifier.open(classifier.parent.parent)


def changed_weights(copy):
    weights = load_file(copy / WEIGHTS)
    weights["head.1.bias"] += 1
    save_file(weights, copy / WEIGHTS)


def changed_classes(copy):
    about = json.loads((copy / "about.json").read_text())
    (copy / "about.json").write_text(json.dumps({**about, "classes": about["classes"][::-1]}))


def changed_lineage(copy):
    lines = (copy / "lineage.csv").read_text().splitlines(keepends=True)
    (copy / "lineage.csv").write_text("".join(lines[:-1]))


@pytest.mark.parametrize("change", [changed_weights, changed_classes, changed_lineage])
def test_one_that_was_changed_is_refused(change, copy):
    change(copy)
    with pytest.raises(DataError, match="was changed after it was written"):
        TrainedClassifier.open(copy)


def test_images_of_another_side_are_refused(classifier, tmp_path):
    images = ImageSet.open(real_set(tmp_path / "large", 2, side=64))
    with pytest.raises(DataError, match=r"has images of 64 px; .* reads 32 px"):
        TrainedClassifier.open(classifier).probabilities(images, CPU)


def test_what_is_exported_rebuilds_the_network(classifier, tmp_path):
    numbers = export(classifier, tmp_path / "out")
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert (about["verb"], about["architecture"], about["classes"]) == ("export", "cnn", CLASSES)
    assert {"settings", "side", "preprocessing"} <= set(about)
    own, exported = load_file(classifier / WEIGHTS), load_file(tmp_path / "out" / WEIGHTS)
    assert own.keys() == exported.keys() and all(torch.equal(own[name], exported[name]) for name in own)
    assert numbers["onnx"] == has_onnx() == (tmp_path / "out" / "classifier.onnx").exists()
    assert numbers["parameters"] == sum(
        weight.numel() for weight in TrainedClassifier.open(classifier).network().parameters()
    )


@pytest.mark.filterwarnings("ignore")
def test_the_onnx_file_gives_torchs_probabilities_whatever_the_number_of_images(classifier, pooled, tmp_path):
    if not has_onnx():
        pytest.skip("onnx and onnxscript are not installed: NOTHING was tested of the ONNX export")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: the ONNX file was NOT run")
    export_classifier(classifier, tmp_path / "out")
    session, images = runtime.InferenceSession(tmp_path / "out" / "classifier.onnx"), ImageSet.open(pooled)
    expected = TrainedClassifier.open(classifier).probabilities(images, CPU)
    for count in (1, len(images.rows)):
        (found,) = session.run(["probabilities"], {"images": images.pixels(range(count))})
        assert found == pytest.approx(expected[:count], abs=1e-5)
