"""A family that is no GAN takes its two files, here a file of the tests and an entry in the registry, and no more."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from builders import CLASSES, pictures, real_set, write
from cuts import contents
from pixels import PixelsConfig
from safetensors.torch import load_file

from syntrial.config import StudyConfig
from syntrial.errors import ConfigError, TrainingError
from syntrial.generators.settings import ARCHITECTURES, generator_config
from syntrial.generators.trained import TrainedGenerator
from syntrial.identity import meaning, reached
from syntrial.imageset import ImageSet, Row
from syntrial.reporting.dashboard import generator_page
from syntrial.synthesize import synthesize
from syntrial.train_generator import Task, Training, begin, learn, train_generator
from syntrial.training import machine
from syntrial.training.checkpoint import Checkpoints

ROOT = Path(__file__).parents[2]
GAN = ("dcgan", "losses", "settings")  # the files in which a GAN is known
SETTINGS = {"architecture": "pixels", "batch": 8, "epochs": 8, "spread": 0.5}


@pytest.fixture(autouse=True, scope="module")
def registered():
    """Adds the family to the registry, as the real ones are in it, and takes it out again."""
    ARCHITECTURES["pixels"] = PixelsConfig
    yield
    del ARCHITECTURES["pixels"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, registered):
    """X-rays, faces, and what was trained on them: of one class, of all, of faces, and from faces."""
    folder = tmp_path_factory.mktemp("pixels")
    real_set(folder / "xrays", 20)
    write(
        folder / "faces", [(one, Row("", "faces", f"f{i}")) for i, one in enumerate(pictures("faces", 12))], ["faces"]
    )
    for name, kind, label, images, changes in (
        ("one", "simple", "normal", "xrays", {}),
        ("all", "simple", "*", "xrays", {"conditional": True}),
        ("first", "faces", "faces", "faces", {}),
        ("next", "transfer", "normal", "xrays", {"start": "faces"}),
    ):
        start = folder / "first" if changes.get("start") else ""
        config = generator_config(SETTINGS, **changes)
        train_generator(folder / images, folder / name, kind=kind, label=label, config=config, start=start)
    return folder


def table(folder):
    """The rows of a curve."""
    with open(folder / "curves.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_it_is_trained_and_written(made):
    trained = TrainedGenerator.open(made / "one")
    assert list(table(made / "one")[0]) == ["step", "images_shown", "brightness", "deviation", "diversity"]
    assert [path.name for path in (made / "one").glob("*.safetensors")] == ["pixels.safetensors"]
    assert trained.config == PixelsConfig(**{**SETTINGS})
    seen = ImageSet.open(made / "xrays")
    assert trained.ancestors == seen.ancestors(seen.where(label="normal"))


def test_it_is_drawn_from(made, tmp_path):
    numbers = synthesize(made / "all", tmp_path / "drawn", count=70)
    drawn, real = ImageSet.open(tmp_path / "drawn"), ImageSet.open(made / "xrays")
    assert numbers == {"images": 140} and {row.source for row in drawn.rows} == {"simple/*"}
    for label in CLASSES:
        ours, theirs = (images.pixels(images.where(label=label)).mean(axis=0) for images in (drawn, real))
        assert np.abs(ours - theirs).mean() < 8  # grey values


def test_it_continues_another(made):
    seen = {name: load_file(made / name / "pixels.safetensors")["seen"].item() for name in ("first", "next")}
    shown = json.loads((made / "next" / "about.json").read_text(encoding="utf-8"))["images_shown"]
    assert seen["next"] == seen["first"] + shown
    assert TrainedGenerator.open(made / "first").ancestors < TrainedGenerator.open(made / "next").ancestors


def test_it_does_not_continue_a_gan(made, tmp_path):
    gan = generator_config({"width": 4, "latent": 8, "batch": 8, "epochs": 1, "collapse_below": 0})
    train_generator(made / "faces", tmp_path / "gan", kind="faces", label="faces", config=gan)
    config = generator_config(SETTINGS, start="faces")
    with pytest.raises(ConfigError, match="faces/faces cannot be continued here: its architecture is dcgan and"):
        train_generator(
            made / "xrays", tmp_path / "out", kind="x", label="normal", config=config, start=tmp_path / "gan"
        )


class CutError(Exception):
    """Where a training is cut."""


class Cutting:
    """As Progress, for nobody; it ends the training after some steps."""

    def __init__(self, steps):
        self.left = steps

    def skip_to(self, done):
        """Goes on from there."""
        self.skipped = done

    def update(self, done, **numbers):
        """Counts calls that report no numbers: one a step."""
        self.left -= not numbers
        if not self.left:
            raise CutError


def learnt(made, checkpoints, steps):
    """A training that is cut after so many steps, or not; and the images that it began with."""
    config, device = generator_config(SETTINGS), machine.device()
    task, progress = Task.of(ImageSet.open(made / "xrays"), "simple", "normal", config, ""), Cutting(steps)
    training = Training(begin(32, 0, config, task.name, device))
    learn(training, task.batches(device), 20, config, task.name, checkpoints, progress)
    return training, progress.skipped


def test_cut_in_two_it_ends_where_an_uncut_training_ends(made, tmp_path):
    whole, _ = learnt(made, Checkpoints("whole", tmp_path, every_s=0), -1)
    keep = Checkpoints("cut", tmp_path, every_s=0)
    with pytest.raises(CutError):
        learnt(made, keep, 7)
    cut, skipped = learnt(made, keep, -1)
    assert skipped == 6 * 8 and cut.curve == whole.curve and cut.learner.changes.steps == 20
    for one, other in zip(
        cut.learner.parts()["pixels"].values(), whole.learner.parts()["pixels"].values(), strict=True
    ):
        assert one.numpy().tobytes() == other.numpy().tobytes()
    assert all(np.array_equal(one, other) for one, other in zip(cut.pictures, whole.pictures, strict=True))


def test_the_same_bits_twice(made, tmp_path):
    config = generator_config(SETTINGS)
    train_generator(made / "xrays", tmp_path / "again", kind="simple", label="normal", config=config)
    assert contents(tmp_path / "again") == contents(made / "one")


def test_its_page_has_its_charts_and_nobody_elses(made, tmp_path):
    generator_page(made / "one", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Grey values" in page and " brightness" in page and "differ" in page
    assert "discriminator" not in page and page.count("<polyline") == 3


def test_a_collapse_is_met_with_its_own_advice(made, tmp_path):
    config = generator_config(SETTINGS, collapse_below=1.0)
    with pytest.raises(TrainingError, match=r"has collapsed: .* A larger spread helps"):
        train_generator(made / "xrays", tmp_path / "out", kind="simple", label="normal", config=config)


def test_a_study_mixes_it_with_gans_and_each_uses_its_own_settings():
    study = StudyConfig.of({"generators": {"all": {"width": 8, "spread": 0.25}, "fitted": {"architecture": "pixels"}}})
    assert study.generators["fitted"].spread == 0.25 and study.generators.simple.width == 8
    assert StudyConfig.of(study.model_dump(mode="json")) == study
    with pytest.raises(ConfigError, match=r"^generators.fitted has no 'width'; it has architecture, start, epochs"):
        StudyConfig.of({"generators": {"fitted": {"architecture": "pixels", "width": 8}}})
    with pytest.raises(ConfigError, match=r"generators.all has no 'spred'; did you mean 'spread'\?"):
        StudyConfig.of({"generators": {"all": {"spred": 1}, "fitted": {"architecture": "pixels"}}})
    with pytest.raises(ConfigError, match=r"generators.fitted.spread is 0; input should be greater than 0"):
        StudyConfig.of({"generators": {"fitted": {"architecture": "pixels", "spread": 0}}})


@pytest.mark.parametrize("verb", ["train_generator", "synthesize"])
def test_a_family_that_is_chosen_by_name_is_part_of_what_trains_and_draws_and_of_nothing_else(verb):
    assert {"generators.dcgan", "generators.losses", "training.adam"} <= {*reached([verb])}
    assert not {"generators.dcgan", "generators.seam"} & {*reached(["ingest", "split", "report"])}


def test_what_is_a_gans_own_stands_in_a_gans_files_only():
    own = re.compile(r"discriminator|latent|loss_[dg]\b|[dD]_(real|fake)")
    files = [path for folder in ("src", "components", "pipelines") for path in (ROOT / folder).rglob("*.py")]
    strangers = [path for path in files if path.parent.name != "generators" or path.stem not in GAN]
    assert len(files) - len(strangers) == len(GAN)
    assert not [path.name for path in strangers if own.search(meaning(path.read_text(encoding="utf-8")))]
