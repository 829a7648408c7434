"""A generator learns from its own images, stops when it makes no sense, and survives being killed."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from builders import pictures, real_set, write
from safetensors.numpy import load_file

from syntrial.config import SplitConfig
from syntrial.errors import ConfigError, DataError, TrainingError
from syntrial.generators.settings import DcganConfig
from syntrial.generators.trained import TrainedGenerator
from syntrial.imageset import ImageSet, Row
from syntrial.split import split
from syntrial.synthesize import synthesize
from syntrial.train_generator import Task, train_generator
from syntrial.training.machine import device

TINY = DcganConfig(width=4, latent=8, batch=8, epochs=4, collapse_below=0, ema_half_life=50)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    config = SplitConfig(val_share=0.25, test_share=0.25)
    split(real_set(folder / "real", 24), folder / "held_out", protocol="held_out", config=config)
    rows = [(image, Row("", "faces", f"f{i}")) for i, image in enumerate(pictures("faces", 12))]
    write(folder / "faces", rows, ["faces"])
    return folder


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("SYNTRIAL_THREADS", "1")


@pytest.fixture(scope="module")
def faces(parts):
    train_generator(parts / "faces", parts / "faces-gan", kind="faces", label="faces", config=TINY)
    return parts / "faces-gan"


def trained(parts, out, **settings):
    config = TINY.model_copy(update=settings)
    train_generator(parts / "held_out", out, kind="simple", label="normal", config=config)
    return out


def contents(folder):
    """All that must be equal between two trainings, to the bit."""
    names = (
        "generator.safetensors",
        "discriminator.safetensors",
        "curves.csv",
        "lineage.csv",
        "samples.png",
        "about.json",
    )
    return {name: (folder / name).read_bytes() for name in names}


def test_it_learns_from_the_training_images_of_its_class_and_says_so(parts, tmp_path):
    generator = TrainedGenerator.open(trained(parts, tmp_path / "gan"))
    images = ImageSet.open(parts / "held_out")
    chosen = images.where(label="normal", split="train")
    assert generator.ancestors == {(images.rows[i].sha256, images.rows[i].group) for i in chosen}
    assert generator.about["real_images"] == len(chosen)
    assert generator.about["images_shown"] >= TINY.epochs * len(chosen)


def test_with_other_threads_it_does_not_go_on_from_what_one_thread_has_kept(parts, monkeypatch):
    task = Task.of(ImageSet.open(parts / "held_out"), "simple", "normal", TINY, "")
    keys = [task.key(device())]
    monkeypatch.setenv("SYNTRIAL_THREADS", "2")
    keys.append(task.key(device()))
    monkeypatch.setenv("SYNTRIAL_THREADS", "1")
    assert keys[0] != keys[1] and task.key(device()) == keys[0]


def test_with_another_order_of_classes_it_does_not_go_on_from_labels_that_mean_others(parts):
    whole = ImageSet.open(parts / "held_out")
    turned = replace(whole, about={**whole.about, "classes": whole.classes[::-1]})
    keys = [Task.of(images, "simple", "normal", TINY, "").key(device()) for images in (whole, turned)]
    assert whole.digest == turned.digest and keys[0] != keys[1]


def test_every_number_is_written_down_and_finite(parts, tmp_path):
    rows = list(csv.DictReader((trained(parts, tmp_path / "gan") / "curves.csv").read_text().splitlines()))
    readings = ("loss_d", "loss_g", "d_real", "d_fake", "gradient_d", "gradient_g")
    assert tuple(rows[0]) == ("step", "images_shown", *readings, "diversity")
    assert np.isfinite([[float(value) for value in row.values()] for row in rows]).all()


def test_the_same_training_gives_the_same_bits(parts, tmp_path, monkeypatch):
    first = contents(trained(parts, tmp_path / "one"))
    monkeypatch.setenv("SYNTRIAL_CHECKPOINTS", str(tmp_path / "others"))
    assert contents(trained(parts, tmp_path / "two")) == first


def test_another_seed_gives_another_generator(parts, tmp_path):
    one, two = trained(parts, tmp_path / "one"), trained(parts, tmp_path / "two", seed=1)
    assert contents(one)["generator.safetensors"] != contents(two)["generator.safetensors"]


def test_losses_that_are_not_finite_end_it_by_name(parts, tmp_path):
    with pytest.raises(TrainingError, match=r"generator simple/normal: \w+ is (nan|-?inf) at step \d+\. A smaller"):
        trained(parts, tmp_path / "gan", lr=1e30, epochs=30)
    assert not (tmp_path / "gan").exists()


def test_a_collapsed_generator_is_named(parts, tmp_path):
    with pytest.raises(TrainingError, match="simple/normal has collapsed: at step"):
        trained(parts, tmp_path / "gan", collapse_below=1.0, epochs=12)


def test_a_transfer_starts_from_the_faces_and_descends_from_them(parts, faces, tmp_path):
    config = TINY.model_copy(update={"epochs": 1, "start": "faces"})
    train_generator(parts / "held_out", tmp_path / "gan", kind="transfer", label="normal", config=config, start=faces)
    generator = TrainedGenerator.open(tmp_path / "gan")
    assert generator.about["started_from"] == "faces/faces"
    assert generator.about["machines"] == TrainedGenerator.open(faces).about["machines"] != []
    assert TrainedGenerator.open(faces).ancestors < generator.ancestors


@pytest.mark.parametrize("kept", [True, False])
def test_a_transfer_keeps_the_discriminator_or_not(parts, faces, tmp_path, kept):
    config = TINY.model_copy(update={"epochs": 1, "lr": 1e-12, "start": "faces", "transfer_discriminator": kept})
    train_generator(parts / "held_out", tmp_path / "gan", kind="transfer", label="normal", config=config, start=faces)
    ours, theirs = (
        load_file(folder / "discriminator.safetensors")["last.weight"] for folder in (tmp_path / "gan", faces)
    )
    assert np.allclose(ours, theirs, atol=1e-6) == kept


def test_a_transfer_to_other_networks_is_refused(parts, faces, tmp_path):
    config = TINY.model_copy(update={"width": 8, "start": "faces"})
    with pytest.raises(ConfigError, match=r"faces/faces cannot be continued here: its width is 4 and here it is 8"):
        train_generator(
            parts / "held_out", tmp_path / "gan", kind="transfer", label="normal", config=config, start=faces
        )


def test_one_generator_of_all_classes_draws_each(parts, tmp_path):
    config = TINY.model_copy(update={"conditional": True})
    train_generator(parts / "held_out", tmp_path / "gan", kind="simple", label="*", config=config)
    synthesize(tmp_path / "gan", tmp_path / "drawn", count=3)
    images = ImageSet.open(tmp_path / "drawn")
    assert [row.label for row in images.rows] == ["normal"] * 3 + ["pneumonia"] * 3
    assert {row.source for row in images.rows} == {"simple/*"}


@pytest.mark.parametrize(
    ("kind", "label", "settings", "error", "sentence"),
    [
        ("simple", "Normal", {}, ConfigError, "there is no class 'Normal' in the images; there are normal, pneumonia"),
        ("simple", "*", {}, ConfigError, "conditional is False"),
        ("transfer", "normal", {"start": "faces"}, ConfigError, "needs a trained generator to start from"),
        (
            "simple",
            "normal",
            {"start": "faces"},
            ConfigError,
            "generator simple continues faces, so it needs a trained generator to start from",
        ),
    ],
)
def test_what_does_not_fit_is_refused(parts, tmp_path, kind, label, settings, error, sentence):
    with pytest.raises(error, match=sentence):
        config = TINY.model_copy(update=settings)
        train_generator(parts / "held_out", tmp_path / "gan", kind=kind, label=label, config=config)


def test_only_a_transfer_continues_another_generator(parts, faces, tmp_path):
    with pytest.raises(ConfigError, match="generator simple continues no other, since its setting start is empty"):
        train_generator(parts / "held_out", tmp_path / "gan", kind="simple", label="normal", config=TINY, start=faces)


def test_one_image_is_too_few(tmp_path):
    one = write(tmp_path / "one", [(pictures("normal", 1)[0], Row("", "normal", "a"))], ["normal", "pneumonia"])
    with pytest.raises(DataError, match="training images of normal: 1; a generator needs at least 2"):
        train_generator(one, tmp_path / "gan", kind="simple", label="normal", config=TINY)


@pytest.mark.parametrize("side", [6, 16, 50])
def test_images_of_a_side_that_no_generator_draws_are_refused(side, tmp_path):
    rows = [(np.full((side, side), i, np.uint8), Row("", "normal", f"g{i}")) for i in range(4)]
    images = write(tmp_path / "images", rows, ["normal", "pneumonia"])
    with pytest.raises(DataError, match=f"images of {side} px; generators draw 32, 64, 128, 256 px"):
        train_generator(images, tmp_path / "gan", kind="simple", label="normal", config=TINY)


def test_a_folder_that_is_no_generator_is_refused(parts, tmp_path):
    with pytest.raises(DataError, match="is not a trained generator"):
        synthesize(parts / "faces", tmp_path / "drawn", count=1)


def test_a_smaller_draw_is_the_beginning_of_a_larger_one(faces, tmp_path):
    for count in (5, 70):
        synthesize(faces, tmp_path / str(count), count=count)
    few, many = (ImageSet.open(tmp_path / str(count)) for count in (5, 70))
    assert np.array_equal(few.pixels(), many.pixels(range(5)))


def test_drawn_images_bear_the_images_their_generator_has_seen(faces, tmp_path):
    synthesize(faces, tmp_path / "drawn", count=2)
    images = ImageSet.open(tmp_path / "drawn")
    assert images.ancestors([0]) == TrainedGenerator.open(faces).ancestors
    assert {row.source for row in images.rows} == {"faces/faces"}


def test_no_image_is_no_draw(faces, tmp_path):
    with pytest.raises(ConfigError, match="images_per_class is 0"):
        synthesize(faces, tmp_path / "drawn", count=0)
